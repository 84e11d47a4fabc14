"""Ends long work on many items between two of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class StoppedError(Exception):
    """The work is to end before its next step."""


class WhileGoing(list[T]):
    """Items; to iterate over them raises `StoppedError` once `may_go_on` returns False."""

    def __init__(self, items: Iterable[T], may_go_on: Callable[[], bool]) -> None:
        super().__init__(items)
        self._may_go_on = may_go_on

    def __iter__(self) -> Iterator[T]:
        for item in super().__iter__():
            if not self._may_go_on():
                raise StoppedError
            yield item
