"""Notices a pushing thread that died or no longer moves."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Protocol

logger = logging.getLogger(__name__)

CHECK_SECONDS = 15.0


class Watched(Protocol):
    """A scheduler, as far as the watchdog is concerned."""

    def look_after(self) -> None:
        """Start a dead thread again, and report one that does not move; must not wait for anything."""


class Watchdog:
    """Looks after all schedulers of the process from one daemon thread.

    A thread cannot be ended from outside, so one that hangs in a call of the operating system is only reported
    (`status().last_error`, `on_error`); one that died is started again.

    Args:
        watched: returns what to look after.
    """

    def __init__(self, watched: Callable[[], Iterable[Watched]]) -> None:
        self._watched = watched
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None  # written under _lock

    def start(self) -> None:
        """Start the thread unless it runs."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="hubspool-watchdog", daemon=True)
                self._thread.start()

    def after_fork_in_child(self) -> None:
        """Forget the parent's thread; the next scheduler's start begins an own one."""
        self._lock = threading.Lock()
        self._thread = None

    def look(self) -> None:
        """Look after everything once."""
        for watched in self._watched():
            try:
                watched.look_after()
            except Exception:
                logger.exception("the watchdog could not look after %r", watched)

    def _run(self) -> None:
        pause = threading.Event()  # never set: a daemon thread ends with the process
        while not pause.wait(CHECK_SECONDS):
            self.look()
