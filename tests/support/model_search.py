"""Searches all states that a model can reach; the tests of rules say which of them are wrong."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

W = TypeVar("W", bound=Hashable)


def first_wrong(start: W, steps: Callable[[W], Iterable[W]], is_wrong: Callable[[W], bool]) -> tuple[W | None, int]:
    """Return a wrong state, if one can be reached, and how many states were seen by then.

    Args:
        start: the first state.
        steps: returns the states that may follow one.
        is_wrong: whether a state breaks a promise.
    """
    waiting, seen = [start], {start}
    while waiting:
        state = waiting.pop()
        if is_wrong(state):
            return state, len(seen)
        new = [following for following in dict.fromkeys(steps(state)) if following not in seen]
        seen.update(new)
        waiting += new
    return None, len(seen)
