"""Reports a push that makes no progress."""

from __future__ import annotations

import logging
import threading
import weakref
from contextlib import suppress
from typing import Protocol

from hubspool import fork
from hubspool.scheduling.defaults import DEFAULTS

logger = logging.getLogger(__name__)


class Watched(Protocol):
    """What the watchdog looks at."""

    def report_stall(self) -> None:
        """Report a push without progress; must not wait for anything."""


class Watchdog(fork.ForkAware):
    """Looks at all schedulers of the process from one daemon thread.

    Python cannot end a thread from outside, so a push that hangs in a call of the operating system is only reported:
    in `status().last_error` and through `on_error`.

    Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Below: written under _lock.
        self._watched: weakref.WeakSet[Watched] = weakref.WeakSet()
        #: The thread that looks; the hooks that it calls must not wait for a push.
        self.thread: threading.Thread | None = None

    def watch(self, watched: Watched) -> None:
        """Look at `watched` from now on; the first call starts the thread."""
        with self._lock:
            self._watched.add(watched)
            if self.thread is None or not self.thread.is_alive():
                fork.register(self)
                thread = threading.Thread(target=self._run, name="hubspool-watchdog", daemon=True)
                with suppress(RuntimeError):  # Python 3.12 starts no thread at exit; the next scheduler tries again
                    thread.start()
                    self.thread = thread

    def unwatch(self, watched: Watched) -> None:
        """Stop looking at `watched`."""
        with self._lock:
            self._watched.discard(watched)

    def after_fork_in_child(self) -> None:
        """Forget the parent's thread; a scheduler that starts in the child begins its own."""
        self._lock = threading.Lock()
        self.thread = None

    def look(self) -> None:
        """Look at everything once."""
        with self._lock:
            watched = list(self._watched)
        for each in watched:
            try:
                each.report_stall()
            except Exception:  # the other schedulers are still to be looked at
                logger.exception("the watchdog could not look at %r", each)

    def _run(self) -> None:
        pause = threading.Event()  # never set: a daemon thread ends with the process
        while not pause.wait(DEFAULTS.watchdog_interval):
            self.look()


#: The watchdog of this process.
watchdog = Watchdog()
