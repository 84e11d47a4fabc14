"""CommitScheduler: keeps a local folder on the Hub from a background thread."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from hubspool import shutdown
from hubspool.attempts import Attempts, may_pass
from hubspool.board import Board
from hubspool.connection import Connection
from hubspool.errors import (
    FlushTimeout,
    HFValidationError,
    HubspoolError,
    NotStoredError,
)
from hubspool.patterns import Patterns, path_filter
from hubspool.plan import OnExisting
from hubspool.push import CommitPlan, Hooks, Pusher
from hubspool.segment import new_writer_id
from hubspool.status import CommitEvent, ErrorEvent, SchedulerStatus, State
from hubspool.validation import check_path_in_repo
from hubspool.worker import Worker
from hubspool.writer_lock import WriterLock

if TYPE_CHECKING:
    from hubspool.operations import CommitOperationAdd
    from hubspool.repo_info import CommitInfo

logger = logging.getLogger(__name__)

_MINUTE = 60.0


class _StartsWhenBuilt(type):
    """Starts a scheduler after the last `__init__` of a subclass: its first push must not run before that."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        scheduler = super().__call__(*args, **kwargs)
        scheduler._start()
        return scheduler


class CommitScheduler(metaclass=_StartsWhenBuilt):
    """Keeps a local folder on the Hub: every `every` minutes what is new in it becomes a commit.

    It assumes append-only files: rows are added at the end, files are added, nothing is taken back. A line file
    (``.jsonl .ndjson .csv .tsv .log .txt``, and ``.json`` with an object a line) is sent up to its last newline; if it
    no longer begins with what was committed, `on_existing` says what happens. Any other file that changes is committed
    whole as a new version. What is deleted locally stays on the Hub.

    Not promised: what was written since the last push when the machine's disk is wiped (a Space restart) before the
    final flush ended; the order of rows across writers; that a file that is rewritten in place without the lock is
    seen whole.

    The first push starts as soon as the object is built, subclasses included. Errors never leave the background
    thread: they are logged, kept in `status()` and in the future of `trigger()`, and the next period tries again.

    Args:
        repo_id: the repo, ``user/name``; a name alone is the token's user's.
        folder_path: the folder; made if missing.
        every: minutes between pushes.
        path_in_repo: where in the repo the folder stands; its root by default.
        repo_type: "model" (default), "dataset", or "space" (which must exist and not be the one we run in).
        revision: branch; "main" by default.
        private: of a repo that has to be made. None means True: users' data is not published by accident.
        token: overrides HF_TOKEN and the token file.
        allow_patterns, ignore_patterns: globs on the path in the folder.
        squash_history: squash the branch into one commit after each commit. All history is lost.
        hf_api: client to use; of a huggingface_hub client the endpoint, token and headers are taken over.
        on_existing: "keep_both", "overwrite" or "error": what to do where the Hub has other content at a path.
        strict: raise in the constructor when the repo cannot be reached, instead of spooling until it can.
        handle_signals: flush on SIGTERM too (from the main thread only).
        exit_budget: seconds that the end of the process may take for the final flush.
        state_dir: folder of the ledger and the push lock; ``.cache/huggingface/hubspool`` in the folder by default.
        commit_message: text, or a function of the `CommitPlan`.
        on_before_commit, on_commit, on_error: called in the background thread, without the lock.

    Raises:
        ValueError: a value is unusable; the message names it.

    Thread-safety: all methods may be called from any thread, except that `flush` and `stop` must not be called with the
    lock held.

    Subclasses may override `push_to_hub`, and use `api`, `folder_path`, `path_in_repo`, `repo_id`, `repo_type`,
    `revision` and `lock` in it.
    """

    #: Whether segments of ours stay in the folder after all of them is on the Hub.
    keep_local = True

    def __init__(
        self,
        *,
        repo_id: str,
        folder_path: str | Path,
        every: int | float = 5,
        path_in_repo: str | None = None,
        repo_type: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        token: str | None = None,
        allow_patterns: Patterns = None,
        ignore_patterns: Patterns = None,
        squash_history: bool = False,
        hf_api: Any | None = None,
        on_existing: str = "keep_both",
        strict: bool = False,
        handle_signals: bool = True,
        exit_budget: float = 8,
        state_dir: str | Path | None = None,
        commit_message: str | Callable[[CommitPlan], str] | None = None,
        on_before_commit: Callable[[CommitPlan], None] | None = None,
        on_commit: Callable[[CommitEvent], None] | None = None,
        on_error: Callable[[ErrorEvent], None] | None = None,
    ) -> None:
        if isinstance(every, bool) or not isinstance(every, (int, float)) or not every > 0:
            raise HFValidationError(f"every is {every!r}.", hint="Give a positive number of minutes.")
        if on_existing not in [*OnExisting]:
            raise HFValidationError(
                f"on_existing is {on_existing!r}.", hint=f"Use one of {[*map(str.__str__, OnExisting)]}."
            )
        self.folder_path = _made_folder(folder_path)
        self.path_in_repo = check_path_in_repo(path_in_repo.strip("/")) if path_in_repo else ""
        self._connection = Connection(
            repo_id,
            repo_type=repo_type,
            revision=revision,
            private=True if private is None else private,
            api=hf_api,
            token=token,
            state_dir=Path(state_dir) if state_dir else self.folder_path / ".cache" / "huggingface" / "hubspool",
        )
        self.api = self._connection.api
        self.repo_type = repo_type
        self.revision = revision
        self.token = token
        self.every = every
        self.allow_patterns = allow_patterns
        self.ignore_patterns = ignore_patterns
        self.squash_history = squash_history
        self.on_existing = OnExisting(on_existing)
        self.exit_budget = exit_budget
        self.lock = WriterLock()
        self._handle_signals = handle_signals
        self._commit_message = commit_message
        self._on_before_commit = on_before_commit
        self._board = Board(on_commit, on_error)
        self._writer_id = new_writer_id()
        self._pusher: Pusher | None = None  # used by the pushing thread only, like _final
        self._final = False
        self._last_commit: CommitInfo | None = None  # written by the pushing thread, read by flush
        self._start_over()
        if every < 5 and not self._connection.is_local:
            logger.warning(
                "every=%s minutes means up to %d commits an hour; the Hub takes about 128 an hour and repo, from all"
                " writers together",
                every,
                round(60 / every),
            )
        try:
            self._connection.open(patient=False)
        except HubspoolError as error:
            if strict:
                raise
            self._board.note_error(self.repo_id, error, retry_in=0)

    @property
    def repo_id(self) -> str:
        """The repo's id; without a namespace only while a name alone was given and the Hub could not be asked."""
        return self._connection.repo_id

    @property
    def last_future(self) -> Future[CommitInfo | None]:
        """The future of the latest push: done, running, or about to start."""
        return self._worker.last_future

    def push_to_hub(self) -> CommitInfo | None:
        """Send what is new in the folder. Override it to send something else.

        Runs in the background thread every `every` minutes, on `trigger`, `flush`, `stop` and at the end of the
        process; never twice at once. What an override raises is logged and kept in `status()`, and it is called again
        in the next period, not sooner: its author cares for empty commits and for what a repeat does.

        Returns:
            The last commit, or None where there was nothing to commit.
        """
        if self._pusher is None:
            self._pusher = self._new_pusher()
        result = self._pusher.push(final=self._final, lock_timeout=self._attempts.seconds_left(5.0))
        if result is None:
            logger.info("%s: another process is pushing this folder; it takes our rows along", self.folder_path)
            return None
        self._board.note_result(result)
        self._last_commit = result.commit or self._last_commit
        if result.commit is not None and self.squash_history:
            self.api.super_squash_history(repo_id=self.repo_id, repo_type=self.repo_type, branch=self.revision)
        return result.commit

    def additional_operations(self, plan: CommitPlan) -> Iterable[CommitOperationAdd]:  # noqa: ARG002  for subclasses
        """Return files to go into the same commit as `plan` (a dataset card); for subclasses.

        The commit then carries parentCommit: what was read to make these files is what they replace.
        """
        return ()

    def pending_rows(self) -> int | None:
        """Return how many rows of this process are not known to be on the Hub; None without a spool of rows."""
        return None

    def rows_on_hub(self, sources: Iterable[str]) -> int:
        """Return how many lines of these files in the folder are known to be on the Hub; no request is made."""
        return self._connection.rows_on_hub(self.path_in_repo, sources)

    def trigger(self) -> Future[CommitInfo | None]:
        """Push as soon as possible, in the background.

        Returns:
            The future of that push. While one is running it is the next one's: the running one may have looked already.
        """
        return self._worker.trigger()

    def flush(self, timeout: float | None = None) -> CommitInfo | None:
        """Wait until everything written so far is on the Hub.

        Args:
            timeout: seconds; None waits as long as the reasons for failing are passing ones.

        Returns:
            The last commit this took, or None where nothing was left to send.

        Raises:
            FlushTimeout: not done in time; the data stays on the disk and is sent later.
            NotStoredError: some files cannot be stored; it names them.
            HubspoolError: the Hub refuses, and waiting does not help.
            RuntimeError: the caller holds the lock, under which a push cannot look at the folder.
        """
        self._refuse_under_lock("flush")
        deadline = None if timeout is None else time.monotonic() + timeout
        before = self._last_commit
        while True:
            future = self._worker.trigger(final=True)
            if future.cancelled():
                raise RuntimeError(
                    f"The scheduler of {self.repo_id} is stopped; what is on the disk is sent by the next."
                )
            try:
                commit = future.result(None if deadline is None else max(deadline - time.monotonic(), 0))
            except FutureTimeout:
                raise FlushTimeout(
                    f"{self.repo_id}: the flush of {self.folder_path} did not end in {timeout} seconds.",
                    hint="What is pending stays on the disk and is sent later; status() says what holds it up.",
                ) from self._board.error
            except HubspoolError as error:
                if not may_pass(error):
                    raise
                continue
            if self._board.set_aside:
                raise NotStoredError(self._board.set_aside)
            # The push that ran when we were called may have taken everything along.
            return self._last_commit if self._last_commit is not before else commit

    def stop(self, flush: bool = True, timeout: float | None = None) -> None:
        """Send what is left, then end the thread; stopping twice does nothing.

        Args:
            flush: False leaves on the disk what is not sent yet.
            timeout: seconds for the flush; `exit_budget` by default.

        Raises:
            FlushTimeout, HubspoolError: the flush failed. The thread has ended all the same.
        """
        self._refuse_under_lock("stop")
        if self._worker.stopping.is_set():
            return
        budget = self.exit_budget if timeout is None else timeout
        self._attempts.deadline = time.monotonic() + budget
        try:
            if flush:
                self.flush(budget)
        finally:
            self._board.enter(State.STOPPING)
            shutdown.unregister(self)
            if self._worker.stop(timeout=budget):
                self._connection.close()
            self._board.enter(State.STOPPED)

    def status(self) -> SchedulerStatus:
        """Return what is known without asking the Hub or looking at the folder."""
        return self._board.status(
            pending_rows=self.pending_rows(),
            seconds_left=self._worker.seconds_left,
            repo_url=self._connection.repo_url,
        )

    def __enter__(self) -> CommitScheduler:
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

    def begin_leaving(self) -> Future[CommitInfo | None] | None:
        """Start the final push at the end of the process; internal."""
        self._attempts.deadline = time.monotonic() + self.exit_budget
        future = self._worker.trigger(final=True)
        return None if future.cancelled() else future

    def after_fork_in_child(self) -> None:
        """Become the child's own: thread, session, ledger connection and writer id; internal."""
        self.lock = WriterLock()
        self._writer_id = new_writer_id()
        self._pusher = None
        self._connection.after_fork_in_child()
        self._start_over()
        self._worker.start(at_once=False)

    def _new_pusher(self) -> Pusher:
        return Pusher(
            api=self.api,
            target=self._connection.target,
            path_in_repo=self.path_in_repo,
            folder=self.folder_path,
            ledger=self._connection.ledger,
            chosen=path_filter(self.allow_patterns, self.ignore_patterns or []),
            lock=self.lock,
            writer=self._writer_id,
            on_existing=self.on_existing,
            rest_seconds=self.every * _MINUTE,
            keep_local=self.keep_local,
            hooks=Hooks(
                enter=self._board.enter,
                message=self._message,
                before_commit=self._on_before_commit or _nothing,
                additional_operations=self.additional_operations,
                committed=lambda event, commit: self._board.note_commit(self.repo_id, event, commit),
            ),
        )

    def _message(self, plan: CommitPlan) -> str:
        given = self._commit_message
        if given is not None:
            return given(plan) if callable(given) else given
        return f"Add {plan.rows_new} rows" if plan.rows_new else "Scheduled commit"

    def _start_over(self) -> None:
        """Make the thread's objects, for a new scheduler or for a fork's child."""
        period = self.every * _MINUTE
        self._worker: Worker[CommitInfo | None] = Worker(self._run_push, period, f"hubspool-push-{self.repo_id}")
        self._attempts = Attempts(self._board, self._worker.stopping, period)

    def _start(self) -> None:
        for other in shutdown.live():
            if isinstance(other, CommitScheduler) and other is not self and other._key() == self._key():
                # A notebook cell run twice, or a reload: the newer object takes over. No flush: it sends all there is.
                logger.info("%s: a newer scheduler for %s takes over", self.folder_path, self.repo_id)
                shutdown.unregister(other)
                other._worker.stop(timeout=1)
                other._board.enter(State.STOPPED)
        shutdown.register(self, handle_signals=self._handle_signals)
        self._worker.start(at_once=True)
        logger.info("%s is pushed to %s every %s minutes", self.folder_path, self.repo_id, self.every)

    def _key(self) -> tuple[object, ...]:
        return self.folder_path, self.repo_id, self.repo_type, self.revision, self.path_in_repo

    def _run_push(self, final: bool) -> CommitInfo | None:
        """One call of the worker."""
        own = type(self).push_to_hub is not CommitScheduler.push_to_hub
        self._final = final

        def push() -> CommitInfo | None:
            self._connection.open(patient=True)
            return self.push_to_hub()

        return self._attempts.run(push, name=self.repo_id, repeat=not own)

    def _refuse_under_lock(self, what: str) -> None:
        if self.lock.is_mine():
            raise RuntimeError(
                f"{what}() was called with the lock held, which the push needs to look at the folder."
                " Leave the `with scheduler.lock` block first."
            )


def _nothing(plan: CommitPlan) -> None:
    pass


def _made_folder(given: str | Path) -> Path:
    folder = Path(given).expanduser().resolve()
    if folder.is_file():
        raise HFValidationError(f"folder_path is a file: {folder}.", hint="Pass the folder that it is in.", path=folder)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
