"""What was asked of the local Hub, for tests that count requests and bytes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class RequestRecord:
    """One request; a client that has its answer finds it recorded.

    Attributes:
        method: In capitals.
        path: As it was sent, still percent-encoded, without the query (which can carry a permission).
        status: Of the answer; 0 when the connection was dropped before one.
        bytes_in: Of the request's body, as far as it was read.
        bytes_out: Of the answer's body, as far as it was sent.
        route: Name of the route, "" when there is none.
    """

    method: str
    path: str
    status: int
    bytes_in: int
    bytes_out: int
    route: str


class RequestLog:
    """The newest requests, oldest first; older ones than `limit` are forgotten.

    Thread-safety: written by the server's thread, read by any.
    """

    def __init__(self, limit: int = 100_000) -> None:
        self._records: deque[RequestRecord] = deque(maxlen=limit)
        self._running = 0
        self._changed = threading.Condition()

    def begin(self) -> None:
        with self._changed:
            self._running += 1

    def add(self, record: RequestRecord) -> None:
        with self._changed:
            self._records.append(record)
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def clear(self) -> None:
        with self._changed:
            self._records.clear()

    def of(self, *routes: str) -> list[RequestRecord]:
        """The requests of these routes."""
        return [record for record in self if record.route in routes]

    def wait_for(self, wanted: Callable[[RequestRecord], bool], *, count: int = 1, timeout: float = 30) -> bool:
        """Wait until `count` recorded requests are wanted ones; False after `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: sum(map(wanted, self._records)) >= count, timeout)

    def wait_idle(self, timeout: float = 30) -> bool:
        """Wait until no request is being answered; False after `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._running == 0, timeout)

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[RequestRecord]:
        with self._changed:
            return iter(list(self._records))

    def __getitem__(self, index: int) -> RequestRecord:
        with self._changed:
            return self._records[index]
