"""A thread that works ahead: in order, bounded, and its errors arrive where they belong."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from hubspool.client.transfer.parallel import ahead


def test_items_come_in_order() -> None:
    assert list(ahead(range(1000), 2)) == list(range(1000))
    assert list(ahead([], 2)) == []


def test_not_more_is_made_than_was_asked_for() -> None:
    made: list[int] = []
    reached = threading.Event()

    def numbers() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            if number == 3:
                reached.set()
            yield number

    items = ahead(numbers(), 2)
    assert next(items) == 0
    assert reached.wait(30)  # one is used, two wait, one is in the maker's hand
    assert made == [0, 1, 2, 3]
    items.close()
    for thread in threading.enumerate():
        if thread.name == "hubspool-ahead":
            thread.join(30)
            assert not thread.is_alive()
    assert made == [0, 1, 2, 3]


@pytest.mark.parametrize("error", [ValueError("made"), KeyboardInterrupt("made")])
def test_an_error_of_the_maker_comes_after_its_items(error: BaseException) -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise error

    items = ahead(numbers(), 5)
    assert next(items) == 1
    with pytest.raises(type(error), match="made"):
        next(items)


def test_where_no_thread_can_be_started_the_items_are_made_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert list(ahead(range(10), 2)) == list(range(10))
