"""The lock that writers hold around what must be committed together."""

from __future__ import annotations

import threading


class WriterLock:
    """A re-entrant thread lock that knows whether the calling thread holds it.

    Writers hold it around what must be committed together, and a push holds it to read lengths (`ZipScheduler` also to
    claim dropped files): no hash, no walk of the tree and no request happens under it. It is no lock between processes;
    those need none, since line files are cut at their last newline.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._holder: int | None = None  # written by the thread that holds _lock
        self._depth = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock; `timeout` in seconds, -1 for no limit. Returns whether it was taken."""
        taken = self._lock.acquire(blocking, timeout)
        if taken:
            self._holder = threading.get_ident()
            self._depth += 1
        return taken

    def release(self) -> None:
        """Give the lock back; only the thread that holds it may."""
        if not self.is_mine():
            raise RuntimeError("release of a lock that this thread does not hold")
        self._depth -= 1
        if self._depth == 0:
            self._holder = None
        self._lock.release()

    def locked(self) -> bool:
        """Whether any thread holds it."""
        return self._holder is not None

    def is_mine(self) -> bool:
        """Whether the calling thread holds it."""
        return self._holder == threading.get_ident()

    def after_fork_in_child(self) -> None:
        """Free it from a thread that the child does not have; where the forking thread held it, it still does."""
        if not self.is_mine():
            self._lock = threading.RLock()
            self._holder, self._depth = None, 0

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()
