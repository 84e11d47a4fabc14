"""How a push takes the lock of the app's writers: with a limit."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from hubspool.scheduling.defaults import DEFAULTS


class LimitedLock(AbstractContextManager[bool]):
    """Holds `scheduler.lock` if it is free in time; a context manager whose value says whether it does.

    `scheduler.lock` itself is a plain `threading.Lock`. Rejected: a class of ours that knows its holder. Ctrl-C between
    its `acquire` and the return of its `__enter__` left it held for ever, and only the thread that took it could give
    it back. So nobody can tell who holds the lock, and a push must not wait for it without a limit.

    Used by the pushing thread only.

    Args:
        lock: returns the lock, which a subclass may have replaced.
        seconds_left: returns the time that those who wait for the push still have, inf where nobody waits.

    Attributes:
        waited: seconds after which this push went on without the lock; None while it did not.
    """

    def __init__(self, lock: Callable[[], Any], seconds_left: Callable[[], float]) -> None:
        self._lock = lock
        self._seconds_left = seconds_left
        self._held: Any = None
        self.waited: float | None = None

    def __enter__(self) -> bool:
        lock, began = self._lock(), time.monotonic()
        while not lock.acquire(timeout=0 if self.waited is not None else DEFAULTS.writer_lock_poll):
            waited = time.monotonic() - began
            # Asked again and again: the process may begin to end while a push waits.
            limit = min(DEFAULTS.writer_lock_wait, self._seconds_left() * DEFAULTS.writer_lock_share)
            if self.waited is not None or waited >= limit:
                self.waited = self.waited or waited  # a push that went on without the lock does not wait again
                return False
        self._held = lock
        return True

    def __exit__(self, *exc_info: object) -> None:
        lock, self._held = self._held, None
        if lock is not None:
            lock.release()
