"""The ways out of a process: atexit and SIGTERM.

One budget per process: all schedulers flush at the same time. What is not sent in time stays on the disk and the next
start sends it, so correctness never depends on this module.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from types import FrameType
from typing import Any

from hubspool import fork
from hubspool.scheduling.defaults import DEFAULTS

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ShutdownHook:
    """What the end of the process does with one scheduler.

    Args:
        budget: returns the seconds that its final push may take.
        begin: starts the final push, which must end at the given monotonic time; returns its future, or None where the
            scheduler is stopped. It must not wait for a lock that another thread may hold.
        end: removes the deadline, in case the process goes on.
    """

    budget: Callable[[], float]
    begin: Callable[[float], Future[Any] | None]
    end: Callable[[], None]


class ProcessExit(fork.ForkAware):
    """Flushes the registered schedulers when the process ends; one object per process.

    Thread-safety: any thread may register; signal handlers and atexit run in the main thread.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # re-entrant: a signal handler may run inside register()
        self._hooks: list[ShutdownHook] = []  # written under _lock
        self._installed = False  # written under _lock
        # Below: written by the main thread.
        self._leaving = False
        self._previous: Any = None  # the handler of SIGTERM before ours
        self._began: float | None = None  # monotonic time of the first flush of this exit

    def register(self, hook: ShutdownHook, *, handle_signals: bool) -> None:
        """Flush a scheduler at the end of the process.

        Args:
            hook: the scheduler's.
            handle_signals: also flush on SIGTERM. From another thread than the main one only atexit is left, because
                Python installs signal handlers in the main thread alone.
        """
        with self._lock:
            if hook not in self._hooks:
                self._hooks.append(hook)
            if not self._installed:
                self._installed = True
                atexit.register(self._at_exit)
                fork.register(self)
        if handle_signals and threading.current_thread() is threading.main_thread():
            self._install_sigterm()

    def unregister(self, hook: ShutdownHook) -> None:
        """Remove the hook of a stopped scheduler."""
        with self._lock:
            if hook in self._hooks:
                self._hooks.remove(hook)

    def budget_left(self, budget: float) -> float:
        """Return what is left of a budget for the exit, seconds.

        SIGTERM, an app's own `stop` and atexit follow each other when a process ends; together they get one budget, not
        three.
        """
        if self._began is None or time.monotonic() - self._began > DEFAULTS.same_exit:
            return budget
        return max(self._began + budget - time.monotonic(), 0.2)

    def flush_all(self) -> None:
        """Let every scheduler do its final push, all at the same time, within the largest of their budgets."""
        with self._lock:
            hooks = list(self._hooks)
        if not hooks:
            return
        budget = self.budget_left(max(hook.budget() for hook in hooks))
        now = time.monotonic()
        if self._began is None or now - self._began > DEFAULTS.same_exit:
            self._began = now
        deadline = now + budget
        try:
            futures = [future for hook in hooks if (future := hook.begin(deadline)) is not None]
            _, unfinished = wait_for(futures, timeout=max(deadline - time.monotonic(), 0))
        finally:
            for hook in hooks:
                hook.end()
        if unfinished:
            logger.warning(
                "the process ends with %d unfinished pushes: their data is on this disk and the next start sends it",
                len(unfinished),
            )

    def after_fork_in_child(self) -> None:
        """Free the lock from a thread that the child does not have; the child may exit on its own."""
        self._lock = threading.RLock()
        self._leaving = False

    def _at_exit(self) -> None:
        if not self._leaving:
            self._leaving = True
            self.flush_all()

    def _install_sigterm(self) -> None:
        current = signal.getsignal(signal.SIGTERM)
        if current == self._on_sigterm or current is None:  # None: installed by C code that we could not chain to
            return
        self._previous = current
        signal.signal(signal.SIGTERM, self._on_sigterm)

    def _on_sigterm(self, signum: int, frame: FrameType | None) -> None:
        """Flush, then do what SIGTERM did before."""
        if self._leaving:
            return
        self._leaving = True
        signal.signal(signum, signal.SIG_IGN)  # a second SIGTERM would abort the flush
        try:
            self.flush_all()
        except BaseException:  # Ctrl-C during the flush: the app may go on, and then this is still its handler
            signal.signal(signum, self._on_sigterm)
            raise
        finally:
            self._leaving = False  # atexit flushes once more: the previous handler may let the app write its last rows
        previous: Callable[[int, FrameType | None], Any] | int | None = self._previous
        if callable(previous):
            signal.signal(signum, previous)
            previous(signum, frame)
        elif previous == signal.SIG_IGN:
            signal.signal(signum, self._on_sigterm)
        else:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)  # the exit status says SIGTERM, as it would have without us
            # Still here: the kernel drops a signal without a handler for process 1, as which a container's program
            # runs.
            raise SystemExit(128 + signum)


#: The exit of this process.
process_exit = ProcessExit()
