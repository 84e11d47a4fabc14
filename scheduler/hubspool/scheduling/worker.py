"""Worker: what the schedulers of one destination share in this process."""

from __future__ import annotations

import gc
import logging
import threading
import traceback
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from hubspool import fork
from hubspool.errors import HFValidationError, HubspoolError
from hubspool.scheduling.push_loop import Urgency
from hubspool.scheduling.push_runner import PushRunner
from hubspool.scheduling.status_tracker import StatusTracker, call_hook
from hubspool.spool.segment_name import new_writer_id

if TYPE_CHECKING:
    from hubspool.client.repo_info import CommitInfo
    from hubspool.push.budget import Turns
    from hubspool.push.events import CommitEvent, ErrorEvent
    from hubspool.push.pusher import Pusher
    from hubspool.scheduling.commit_scheduler import CommitScheduler
    from hubspool.scheduling.repo_setup import RepoSetup

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Worker(fork.ForkAware):
    """Holds what exists once for all schedulers of one destination in this process: thread, ledger, status, lock.

    A program that makes its scheduler again (a notebook cell, a script that Streamlit runs again, Gradio's reload) gets
    one more handle of the same worker. The options, callables and `push_to_hub` of the newest handle count from its
    next push on. The worker keeps the newest handle alive, and the others only as long as the program does; the thread
    ends when the last of them is stopped, or with the process.

    Thread-safety: any thread may call the methods; one lock for all workers guards the handles and what they share.

    Args:
        fixed: option → value, for the options that cannot differ between handles.
        setup: the repository and the ledger.
        turns: of the pushing thread.
        period: seconds between two pushes.

    Attributes:
        restoring: held by the constructor that downloads what the folder lacks.
        restored: whether that was done.
        last_commit: the newest commit; written by the pushing thread, as are the three below.
        urgency: of the running push.
        was_postponed: whether that push was requested, and had to wait for other writers.
        pusher: made by the first push.
    """

    def __init__(
        self,
        fixed: Mapping[str, object],
        *,
        setup: RepoSetup,
        turns: Turns,
        period: float,
    ) -> None:
        # Here, since they need the whole client, and `import hubspool` is light.
        from hubspool.scheduling.daily import DailyCompaction, Removing, SquashPolicy

        self.fixed = fixed
        self.setup = setup
        self.turns = turns
        self.squash = SquashPolicy(False)
        self.compaction = DailyCompaction()
        self.removing = Removing(turns)
        self.lock = threading.Lock()
        self.tracker = StatusTracker(lambda: setup.repo_id, self._on_commit, self._on_error, period)
        setup.rescue.listeners.add(self.tracker)
        self.restoring = threading.Lock()
        fork.renew(self, "restoring", threading.Lock)
        self.restored = False
        self.writer_id = new_writer_id()
        self.last_commit: CommitInfo | None = None
        self.urgency = Urgency.PERIOD
        self.was_postponed = False
        self.pusher: Pusher | None = None
        self._pushing: CommitScheduler | None = None  # the handle whose options the running push uses
        self._has_looked = False  # at the other spools of the folder
        # Below: any thread writes them, while it holds the lock of `_Process` (at the end of this module).
        self._newest: CommitScheduler | None = None
        self._handles: weakref.WeakValueDictionary[int, CommitScheduler] = weakref.WeakValueDictionary()
        self._shared: dict[str, Any] = {}
        self._closing: list[Callable[[], None]] = []
        self._ended = False
        self.runner = PushRunner(self, period)

    @property
    def repeats(self) -> bool:
        """Whether a failed push may be repeated within the period."""
        return self._newest is not None and self._newest.retries_push

    def exit_budget(self) -> float:
        """Return the seconds that the end of the process may take for the final push."""
        return 0.0 if self._newest is None else self._newest.exit_budget

    def shared(self, name: str, make: Callable[[], T], close: Callable[[T], None] | None) -> T:
        """Return what `make` made for the first caller with that name; see `CommitScheduler.shared`."""
        with _process.lock:
            if name not in self._shared:
                self._shared[name] = made = make()
                if close is not None:
                    self._closing.append(partial(close, made))
            found: T = self._shared[name]
            return found

    def start(self, handle: CommitScheduler) -> None:
        """Let a handle that is completely built be the newest; the first one starts the thread."""
        with _process.lock:
            if id(handle) not in self._handles:  # its own `__init__` has stopped it
                return
            refused = self.tracker.error is not None and self.setup.api.token != handle.api.token
            is_first = self._newest is None
            self._use(handle)
            workers = [*_process.workers]
        others = [worker for worker in workers if worker is not self and worker._shared]
        if is_first and self._shared and any(other.setup.destination == self.setup.destination for other in others):
            logger.warning(
                "%s: rows for this repository are written to %s and also to another folder of this process; each folder"
                " is sent by a thread of its own. Give the same folder_path, so that they share one.",
                self.setup.repo_id,
                self.setup.folder,
            )
        fork.register(self, has_thread=True)
        self.runner.start(handle_signals=handle._handle_signals)
        if refused:  # the new token may be right
            self.runner.loop.trigger()

    def stop(self, handle: CommitScheduler, *, flush: bool, timeout: float | None) -> None:
        """Flush and detach a handle, and end the thread if it is the last one; see `CommitScheduler.stop`."""
        self.runner.loop.refuse_wait("stop", needs_thread=flush)
        try:
            if id(handle) in self._handles:
                if len(self._handles) == 1:
                    self._close_shared()  # before the flush, so that the final push may remove what it has sent
                self.runner.stop(flush=flush, timeout=timeout, is_last=lambda: self.detach(handle))
        finally:
            if self._ended:
                self._close_shared()
                self._newest = None

    def detach(self, handle: CommitScheduler) -> bool:
        """Forget a handle; return True if it was the last one, whose worker no other scheduler gets any more."""
        if self._newest is handle and len(self._handles) > 1:
            # The other handles may be garbage that only the traceback of the last error, or a cycle, still holds.
            if (error := self.tracker.error) is not None:
                traceback.clear_frames(error.__traceback__)
            gc.collect()
        with _process.lock:
            if self._handles.pop(id(handle), None) is None:
                return False
            others = list(self._handles.values())
            if others:
                built = [other for other in others if not other._building]
                if self._newest is handle and built:
                    self._use(built[-1])
                return False
            self._ended = True
            _process.workers.discard(self)
            return True

    def after_fork_in_child(self) -> None:
        """Continue in a forked child with a writer id, a thread and a pusher of its own; the handles stay valid."""
        self.writer_id = new_writer_id()
        self.pusher = self._pushing = None
        # In place, since the app may keep a reference. A thread that the child does not have may have held it.
        self.lock._at_fork_reinit()  # type: ignore[attr-defined]
        self.runner.restart_in_child()

    def _use(self, handle: CommitScheduler) -> None:
        self._newest = handle
        self.setup.api, self.setup.private = handle.api, handle.private
        self.runner.change_period(handle._period)

    def push(self, urgency: Urgency) -> CommitInfo | None:
        """Send what is new, as the newest handle says; called in the pushing thread, never twice at once."""
        handle = self._newest
        if handle is None:  # stopped
            return None
        self.urgency, self._pushing = urgency, handle
        try:
            commit = handle._push()
        finally:
            self._pushing = None
            if not self._has_looked:  # after the first push: the program has made its other schedulers by then
                self._has_looked = True
                self._warn_of_unsent()
        return commit

    def _warn_of_unsent(self) -> None:
        from hubspool.push.backlog import warn_of_unsent

        with _process.lock:
            spools = [worker.setup.spool for worker in _process.workers]
        warn_of_unsent(self.setup.folder, {spool.path for spool in spools if spool is not None})

    def _close_shared(self) -> None:
        for close in self._closing:
            close()

    def _on_commit(self, event: CommitEvent) -> None:
        if (handle := self._current()) is not None:
            call_hook(handle._on_commit, event)

    def _on_error(self, event: ErrorEvent) -> None:
        if (handle := self._current()) is not None:
            call_hook(handle._on_error, event)

    def _current(self) -> CommitScheduler | None:
        """Return the handle that pushes, else the newest one, else one that is being built."""
        with _process.lock:
            return self._pushing or self._newest or next(iter(self._handles.values()), None)


class _Process:
    """The workers of this process, for as long as somebody uses them."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # re-entrant: a signal handler may stop a scheduler inside `join`
        fork.renew(self, "lock", threading.RLock)
        self.workers: weakref.WeakSet[Worker] = weakref.WeakSet()

    def like(self, setup: RepoSetup) -> list[Worker]:
        """Return the workers that have a spool, or folder and destination, of a setup."""
        with self.lock:
            return [worker for worker in self.workers if setup.is_same(worker.setup)]


_process = _Process()


def open_unless_known(setup: RepoSetup) -> Exception | None:
    """Open a setup, but not if `join` will find its worker without; return the error.

    Only then it is known which spool the rows have: a name may lack its namespace, or a repository be renamed.
    """
    for worker in _process.like(setup):
        if setup.shares_account(worker.setup):
            return None
        with suppress(HubspoolError, TimeoutError):
            worker.setup.open(patient=False)  # its rows were first, so that its token names the account
    try:
        setup.open(patient=False)
    except (HubspoolError, TimeoutError) as error:
        return error
    return None


def join(
    handle: CommitScheduler,
    setup: RepoSetup,
    error: Exception | None,
    fixed: Mapping[str, object],
    make: Callable[[], Worker],
) -> Worker:
    """Return the worker of a setup with `handle` among its handles; `make` makes it if there is none.

    Args:
        handle: a scheduler that is being built.
        setup: its own, which another worker may have an equal of.
        error: why `setup` could not be opened.
        fixed: option → value, for the options that must be those of the worker.
        make: called under the lock, and must not wait for anything.

    Raises:
        HFValidationError: one of `fixed` differs.
        Exception: `error`, if the account of its token may be another than the worker's.
    """
    with _process.lock:
        worker = next(iter(_process.like(setup)), None)
        if worker is None:
            _process.workers.add(worker := make())
        elif error is not None and not setup.shares_account(worker.setup):
            raise error
        for name in {**worker.fixed, **fixed}:
            if (value := fixed.get(name)) != (other := worker.fixed.get(name)):
                raise HFValidationError(
                    f"{name} is {value!r}, but {other!r} in the scheduler for {worker.setup.repo_id} and"
                    f" {worker.setup.folder} that runs in this process.",
                    hint=f"Give both the same {name}, or call stop() of the other one before you make the new one.",
                )
        worker._handles[id(handle)] = handle
        return worker
