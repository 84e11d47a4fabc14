"""The life of a scheduler: its thread begins, pushes, flushes, and ends with the process, a fork or a call."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from hubspool.errors import FlushTimeout, HubspoolError, NotStoredError, StalledError
from hubspool.push.events import State
from hubspool.scheduling import shutdown
from hubspool.scheduling.attempts import Attempts, may_pass
from hubspool.scheduling.push_loop import PushLoop, Urgency
from hubspool.scheduling.repo_setup import RepoSetup
from hubspool.scheduling.status import SchedulerStatus
from hubspool.scheduling.status_tracker import StatusTracker
from hubspool.scheduling.writer_lock import WriterLock
from hubspool.settings import Settings

if TYPE_CHECKING:
    from hubspool.client.repo_info import CommitInfo
    from hubspool.client.target import Target

logger = logging.getLogger(__name__)

S = TypeVar("S", bound="Lifecycle")


def _starting(init: Callable[..., None]) -> Callable[..., None]:
    """Wrap an `__init__` so that the outermost one starts the scheduler: no push may run before the object is built."""

    @functools.wraps(init)
    def built(self: Lifecycle, *args: Any, **kwargs: Any) -> None:
        outermost = not self._building
        self._building = True
        init(self, *args, **kwargs)
        if outermost:
            self._building = False
            self.begin()

    return built


class Lifecycle:
    """Calls `push_to_hub` in the background; what it sends is the subclass's, `CommitScheduler`'s, concern.

    Thread-safety: all methods may be called from any thread, except that `flush` and `stop` must not be called with the
    lock held.
    """

    folder_path: Path
    lock: WriterLock
    exit_budget: float
    _setup: RepoSetup
    _tracker: StatusTracker
    _period: float
    _handle_signals: bool
    #: The newest commit that this object made; written by the pushing thread.
    last_commit: CommitInfo | None = None
    _building = False  # by whoever builds the object
    _urgency = Urgency.PERIOD  # of the push that runs; written and read by the pushing thread

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # Not a metaclass: it would hide the signature, and conflict with those of a subclass's other bases.
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = _starting(cls.__dict__["__init__"])  # type: ignore[method-assign]

    def push_to_hub(self) -> CommitInfo | None:
        """Send what is new; called in the background thread, never twice at once."""
        raise NotImplementedError

    @property
    def repo_id(self) -> str:
        """The repo's id; without a namespace only while a name alone was given and the Hub could not be asked."""
        return self._setup.repo_id

    @property
    def target(self) -> Target:
        """The repo and branch that is pushed to; for subclasses."""
        return self._setup.target

    @property
    def is_final_push(self) -> bool:
        """Whether the push that runs is that of a flush, of `stop` or of the process's end; for `push_to_hub`."""
        return self._urgency is Urgency.FINAL

    @property
    def retries_push(self) -> bool:
        """Whether a failed push is repeated within the period; for subclasses."""
        return True

    @property
    def last_future(self) -> Future[CommitInfo | None]:
        """The future of the latest push: done, running, or about to start."""
        return self._loop.last_future

    def trigger(self) -> Future[CommitInfo | None]:
        """Push as soon as possible, in the background.

        Returns:
            The future of that push. While one is running it is the next one's: the running one may have looked already.
        """
        return self._loop.trigger()

    def flush(self, timeout: float | None = None) -> CommitInfo | None:
        """Wait until everything written so far is on the Hub.

        Args:
            timeout: seconds; None waits as long as the reasons for failing are passing ones.

        Returns:
            The last commit that was made meanwhile, or None where nothing was left to send.

        Raises:
            FlushTimeout: not done in time; the data stays on the disk and is sent later.
            NotStoredError: some files cannot be stored; it names them.
            HubspoolError: the Hub refuses, and waiting does not help.
            RuntimeError: the caller holds the lock, under which a push cannot look at the folder.
        """
        self._refuse_under_lock("flush")
        deadline = None if timeout is None else time.monotonic() + timeout
        before = self.last_commit
        while True:
            future = self._loop.trigger(final=True)
            wait_for([future], timeout=None if deadline is None else max(deadline - time.monotonic(), 0))
            if future.cancelled():
                raise RuntimeError(
                    f"The scheduler of {self.repo_id} is stopped; what is on the disk is sent by the next."
                )
            if not future.done():
                raise FlushTimeout(
                    f"{self.repo_id}: the flush of {self.folder_path} did not end in {timeout} seconds.",
                    hint="What is pending stays on the disk and is sent later; status() says what holds it up.",
                ) from self._tracker.error
            error = future.exception()
            if isinstance(error, HubspoolError) and self.retries_push and may_pass(error):
                continue
            if error is not None:
                raise error
            if self._tracker.skipped:
                raise NotStoredError(self._tracker.skipped)
            # Also of the push that was running when we were called: it may have taken everything along.
            return None if self.last_commit is before else self.last_commit

    def stop(self, flush: bool = True, timeout: float | None = None) -> None:
        """Send what is left, then end the thread; stopping twice does nothing.

        Args:
            flush: False leaves on the disk what is not sent yet.
            timeout: seconds for the flush; `exit_budget` by default.

        Raises:
            FlushTimeout, HubspoolError: the flush failed. The thread has ended all the same.
        """
        self._refuse_under_lock("stop")
        if self._loop.stopping.is_set():
            return
        budget = shutdown.budget_left(self.exit_budget) if timeout is None else timeout
        self._attempts.deadline = time.monotonic() + budget
        try:
            if flush:
                self.flush(budget)
        finally:
            self._tracker.enter(State.STOPPING)
            shutdown.unregister(self)
            if self._loop.stop(timeout=self._attempts.seconds_left(budget)):
                self._setup.close()
            self._tracker.enter(State.STOPPED)

    def pending_rows(self) -> int | None:
        """Return how many rows of this process are not known to be on the Hub; None without a spool of rows."""
        return None

    def status(self) -> SchedulerStatus:
        """Return what is known without asking the Hub or looking at the folder."""
        return self._tracker.status(
            pending_rows=self.pending_rows(),
            seconds_left=self._loop.seconds_left,
            repo_url=self._setup.repo_url,
        )

    def __enter__(self: S) -> S:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.stop()
        except Exception as error:
            if exc_value is None:
                raise
            # The user's exception wins; ours is shown above it.
            logger.warning("the final push failed too: %s", error)
            exc_value.__context__ = exc_value.__context__ or error

    @asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[None]:  # noqa: ARG002  the ASGI signature
        """For FastAPI and Starlette: ``app = FastAPI(lifespan=scheduler.lifespan)`` stops the scheduler at shutdown."""
        import asyncio

        yield
        await asyncio.to_thread(self.stop)

    def begin_leaving(self, deadline: float) -> Future[CommitInfo | None] | None:
        """Start the final push at the end of the process, to be over at `deadline` (monotonic); internal."""
        self._attempts.deadline = deadline
        future = self._loop.trigger(final=True)
        return None if future.cancelled() else future

    def end_leaving(self) -> None:
        """Lift the deadline of the final push; internal."""
        self._attempts.deadline = None

    def look_after(self) -> None:
        """Start a dead thread again, and report one that does not move; internal, called by the watchdog."""
        if self._loop.revive():
            logger.error("%s: the pushing thread had died and was started again", self.repo_id)
        limit = 2 * Settings.from_env().commit_timeout
        stuck = self._tracker.seconds_without_progress()
        if stuck > limit and not isinstance(self._tracker.error, StalledError):
            self._tracker.note_error(self.repo_id, StalledError(self._tracker.state.value, stuck), retry_in=None)

    def after_fork_in_child(self) -> None:
        """Become the child's own: locks, thread, session and ledger connection; internal."""
        self.lock.after_fork_in_child()
        self._tracker.after_fork_in_child()
        self._setup.after_fork_in_child()
        self._start_over()
        self._loop.start(at_once=False)

    def _start_over(self) -> None:
        """Make the thread's objects, for a new scheduler or for a fork's child."""
        self._loop: PushLoop[CommitInfo | None] = PushLoop(self._call, self._period, f"hubspool-push-{self.repo_id}")
        self._attempts = Attempts(self._tracker, self._loop.stopping, self._period)

    def begin(self) -> None:
        """Begin to push; called once, when the object is built; for subclasses."""
        for other in shutdown.live():
            if isinstance(other, Lifecycle) and other is not self and other._key() == self._key():
                # A notebook cell run twice, or a reload: the newer object takes over. No flush: it sends all there is.
                logger.info("%s: a newer scheduler for %s takes over", self.folder_path, self.repo_id)
                shutdown.unregister(other)
                other._loop.stop(timeout=1)
                other._tracker.enter(State.STOPPED)
        shutdown.register(self, handle_signals=self._handle_signals)
        self._loop.start(at_once=True)
        logger.info("%s is pushed to %s every %g minutes", self.folder_path, self.repo_id, self._period / 60)

    def _key(self) -> tuple[object, ...]:
        """What two schedulers must not both push."""
        return self.folder_path, self._setup.key

    def _call(self, urgency: Urgency) -> CommitInfo | None:
        """One call of the worker."""
        self._urgency = urgency

        def push() -> CommitInfo | None:
            self._setup.open(patient=True)
            return self.push_to_hub()

        return self._attempts.run(push, name=self.repo_id, repeat=self.retries_push)

    def _refuse_under_lock(self, what: str) -> None:
        if self.lock.is_mine():
            raise RuntimeError(
                f"{what}() was called with the lock held, which the push needs to look at the folder."
                " Leave the `with scheduler.lock` block first."
            )
