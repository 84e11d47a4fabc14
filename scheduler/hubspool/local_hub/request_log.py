"""The requests that a local Hub answered, for tests that count requests and bytes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hubspool.local_hub.limits import LIMITS


@dataclass(frozen=True)
class RequestRecord:
    """One request. It is recorded before the client has the whole answer.

    Attributes:
        method: in capitals.
        path: as the client sent it, percent-encoded, without the query (which can hold a signature).
        status: of the answer; 0 if the connection was dropped before one.
        bytes_in: bytes of the request's body that were read.
        bytes_out: bytes of the answer's body that were sent.
        route: name of the route, "" if there is none.
    """

    method: str
    path: str
    status: int
    bytes_in: int
    bytes_out: int
    route: str


class RequestLog:
    """The newest requests, oldest first; keeps at most `HubLimits.requests_logged` of them.

    Thread-safety: the server's thread writes, any thread reads.
    """

    def __init__(self) -> None:
        self._records: deque[RequestRecord] = deque(maxlen=LIMITS.requests_logged)
        self._running = 0
        self._changed = threading.Condition()

    def begin(self) -> None:
        """Count a request that is being answered."""
        with self._changed:
            self._running += 1

    def add(self, record: RequestRecord) -> None:
        """Append a record."""
        with self._changed:
            self._records.append(record)
            self._changed.notify_all()

    def end(self) -> None:
        """End what `begin` counted."""
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def clear(self) -> None:
        """Remove all records."""
        with self._changed:
            self._records.clear()

    def of(self, *routes: str) -> list[RequestRecord]:
        """Return the requests of these routes."""
        return [record for record in self if record.route in routes]

    def wait_for(
        self, wanted: Callable[[RequestRecord], bool], *, count: int = 1, timeout: float = LIMITS.wait_seconds
    ) -> bool:
        """Wait until `wanted` is true for `count` recorded requests; return False after `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: sum(map(wanted, self._records)) >= count, timeout)

    def wait_idle(self, timeout: float = LIMITS.wait_seconds) -> bool:
        """Wait until no request is being answered; return False after `timeout` seconds."""
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
