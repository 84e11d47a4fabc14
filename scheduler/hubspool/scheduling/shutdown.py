"""The ways out of a process: atexit, SIGTERM, fork.

One budget per process: all schedulers flush at the same time. What did not get out in time is on the disk and is sent
by the next start, so correctness never depends on any of this.
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
from types import FrameType
from typing import Any, Protocol

from hubspool.scheduling.watchdog import Watchdog

logger = logging.getLogger(__name__)


class Leaver(Protocol):
    """A scheduler, as far as the end of the process is concerned."""

    exit_budget: float

    def begin_leaving(self, deadline: float) -> Future[Any] | None:
        """Start the final push; called without waiting for any lock that a paused thread may hold."""

    def end_leaving(self) -> None:
        """The time of the final push is over; the process may go on all the same."""

    def after_fork_in_child(self) -> None:
        """Become the child's own."""

    def look_after(self) -> None:
        """Start a dead thread again, and report one that does not move."""


_live: dict[int, Leaver] = {}
_lock = threading.RLock()  # re-entrant: a signal handler may run inside register()
_installed = False
_leaving = False
_previous: Any = None


def register(leaver: Leaver, *, handle_signals: bool) -> None:
    """Include a scheduler in what happens at the end of the process.

    Args:
        handle_signals: also flush on SIGTERM. Only from the main thread; from another one only atexit is left, because
            Python installs signal handlers in the main thread alone.
    """
    global _installed  # noqa: PLW0603  one set of handlers per process
    with _lock:
        _live[id(leaver)] = leaver
        if not _installed:
            _installed = True
            atexit.register(_at_exit)
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=_after_fork_in_child)
    _watchdog.start()
    if handle_signals and threading.current_thread() is threading.main_thread():
        _install_sigterm()


def unregister(leaver: Leaver) -> None:
    """Leave a scheduler out again: it was stopped."""
    with _lock:
        _live.pop(id(leaver), None)


def live() -> list[Leaver]:
    """Return the schedulers that have not been stopped."""
    with _lock:
        return list(_live.values())


_watchdog = Watchdog(live)
#: When the process began to leave (monotonic); what comes soon after belongs to the same leaving.
_began: float | None = None
_SAME_LEAVING_SECONDS = 60.0


def budget_left(budget: float) -> float:
    """Return what is left of a budget for leaving, seconds.

    SIGTERM, an app's own `stop` and atexit follow each other when a process ends; together they get one budget, not
    three.
    """
    if _began is None or time.monotonic() - _began > _SAME_LEAVING_SECONDS:
        return budget
    return max(_began + budget - time.monotonic(), 0.2)


def flush_all() -> None:
    """Let every scheduler do its final push, all at the same time, within the largest of their budgets."""
    leavers = live()
    if not leavers:
        return
    global _began  # noqa: PLW0603
    budget = budget_left(max(leaver.exit_budget for leaver in leavers))
    now = time.monotonic()
    if _began is None or now - _began > _SAME_LEAVING_SECONDS:
        _began = now
    deadline = now + budget
    try:
        futures = [future for leaver in leavers if (future := leaver.begin_leaving(deadline)) is not None]
        _, unfinished = wait_for(futures, timeout=max(deadline - time.monotonic(), 0))
    finally:
        for leaver in leavers:
            leaver.end_leaving()
    if unfinished:
        logger.warning(
            "leaving with %d pushes unfinished: their data is on this disk and is sent at the next start",
            len(unfinished),
        )


def _at_exit() -> None:
    global _leaving  # noqa: PLW0603
    if not _leaving:
        _leaving = True
        flush_all()


def _install_sigterm() -> None:
    global _previous  # noqa: PLW0603
    current = signal.getsignal(signal.SIGTERM)
    if current is _on_sigterm or current is None:  # None: installed by C code that we could not chain to
        return
    _previous = current
    signal.signal(signal.SIGTERM, _on_sigterm)


def _on_sigterm(signum: int, frame: FrameType | None) -> None:
    """Flush, then do what SIGTERM did before."""
    global _leaving  # noqa: PLW0603
    if _leaving:
        return
    _leaving = True
    signal.signal(signum, signal.SIG_IGN)  # a second SIGTERM would abort the flush
    try:
        flush_all()
    except BaseException:  # Ctrl-C in the middle of it: the app may go on, and then this is still its handler
        signal.signal(signum, _on_sigterm)
        raise
    finally:
        _leaving = False  # atexit flushes once more: the previous handler may let the app write its last rows
    previous: Callable[[int, FrameType | None], Any] | int | None = _previous
    if callable(previous):
        signal.signal(signum, previous)
        previous(signum, frame)
    elif previous == signal.SIG_IGN:
        signal.signal(signum, _on_sigterm)
    else:
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)  # the exit status says SIGTERM, as it would have without us
        # Still here: the kernel drops a signal without a handler for process 1, as which a container's program runs.
        raise SystemExit(128 + signum)


def _after_fork_in_child() -> None:
    global _lock, _leaving  # noqa: PLW0603
    _lock = threading.RLock()
    _leaving = False
    _watchdog.after_fork_in_child()
    for leaver in list(_live.values()):
        leaver.after_fork_in_child()
    if _live:
        _watchdog.start()
