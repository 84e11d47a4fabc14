"""CommitScheduler: keeps a local folder on the Hub from a background thread."""

from __future__ import annotations

import functools
import html
import logging
import time
from collections.abc import AsyncIterator, Callable, Container, Iterable, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

from hubspool.errors import HubspoolError, LockHeldError, OtherAccountError
from hubspool.scheduling.defaults import DEFAULTS, Compact
from hubspool.scheduling.folder_push import push_folder, shared_budget
from hubspool.scheduling.messages import OURS, described, short_traceback, shortened
from hubspool.scheduling.options import PublishOptions, destination_of, full_signature, unknown_option, warn_of
from hubspool.scheduling.push_loop import Urgency
from hubspool.scheduling.status import NOT_COMPACTED
from hubspool.scheduling.worker import Worker, join, open_unless_known
from hubspool.scheduling.writer_lock import LimitedLock

if TYPE_CHECKING:
    from hubspool.client.operations import CommitOperationAdd
    from hubspool.client.patterns import Patterns
    from hubspool.client.repo_info import CommitInfo
    from hubspool.client.target import Target
    from hubspool.push.budget import Budget
    from hubspool.push.defaults import PushLimits
    from hubspool.push.encodings import Encoding
    from hubspool.push.events import CommitEvent, CommitPlan, ErrorEvent
    from hubspool.push.remover import RemovalReport
    from hubspool.scheduling.daily import Rows
    from hubspool.scheduling.status import SchedulerStatus

logger = logging.getLogger(__name__)

S = TypeVar("S", bound="CommitScheduler")
T = TypeVar("T")
P = ParamSpec("P")

_MINUTE = 60.0


def _starting(init: Callable[..., None], kind: type) -> Callable[..., None]:
    """Wrap an `__init__` so that it refuses unknown options, and the outermost one starts the scheduler.

    No push may run before the object is built, a subclass's own `__init__` included.
    """

    @functools.wraps(init)
    def build_and_start(self: CommitScheduler, *args: Any, **kwargs: Any) -> None:
        if (unknown := unknown_option(kind, kwargs)) is not None:
            raise unknown
        outermost = not self._building
        self._building = True
        try:
            init(self, *args, **kwargs)
        except BaseException as error:  # noqa: BLE001  raised again, without our frames
            if "_worker" in vars(self):
                self._worker.stop(self, flush=False, timeout=None)
            raise shortened(error)  # noqa: B904  the same error
        if outermost:
            self._building = False
            self._start()

    return build_and_start


class CommitScheduler:
    """Keeps a local folder on the Hub: every `every` minutes it commits what is new in the folder.

    It assumes append-only files: programs add rows at the end of files and add files, and take nothing back. A line
    file (``.jsonl .ndjson .csv .tsv .log .txt``, and ``.json`` with one object a line) is sent up to its last newline;
    if it no longer begins with what was committed, `on_existing` decides. Any other file that changes, and any that
    `versioned` selects, is committed whole, as a new version. A file that is deleted locally stays on the Hub. What
    stands after the last newline of a line file is sent once the file has not changed for 10 seconds, and by `flush`,
    `stop` and the end of the process (of JSON Lines only a complete object).

    Not promised: rows since the last push when the machine's disk is wiped (a Space restart) before the final push
    ended; the order of rows across writers; that a push sees a file whole while a program rewrites it without the lock.
    What is written through a memory map (`mmap`, `numpy.memmap`) often leaves the file's times as they were, and no
    push notices it but those of `flush`, `stop` and the end of the process, which compare contents: of files below 64
    MiB, the newest first, up to 256 MiB in total. Pipes, sockets and devices in the folder are left out.

    Made again in one process for the same repository, path and folder (a notebook cell, a script that Streamlit runs
    again), it shares thread, ledger, status and lock with the objects before it. The options, callables and
    `push_to_hub` of the newest one count from its next push on; `state_dir` cannot differ, nor can a row scheduler's
    `durability` and schema. `stop` flushes and detaches
    one object, and ends the thread with the last; an object that the program has dropped does not count, except the
    newest.

    The first push starts as soon as the object is built, subclasses included. An error of a push does not end the
    background thread: it is logged, kept in `status()` and raised by the future of `trigger()`, and the next period
    tries again.

    Args:
        repo_id: the repository, ``user/name``; a name alone belongs to the token's user. Or ``hf://buckets/OWNER/NAME``
            and a path: a bucket has no type, revision or history, and `on_existing` is asked before a file is sent, so
            that what another program writes in that moment is replaced.
        folder_path: the folder; created if missing.
        every: minutes between two pushes.
        path_in_repo: the folder's path in the repository; the root by default.
        repo_type: "model" (default), "dataset", or "space" (which must exist, and not be the one that this runs in).
        revision: branch; "main" by default.
        private: visibility of a repository that is created. None means True: nobody publishes data by accident.
        token: used in place of HF_TOKEN and the token file.
        allow_patterns, ignore_patterns: globs on the path in the folder.
        squash_history: True squashes the branch into one commit after each commit; a number N squashes it when it has
            more than N commits. The whole history is lost.
        hf_api: client to use; of a `huggingface_hub.HfApi` the endpoint, token and headers are used.
        on_existing: "keep_both", "overwrite" or "error": what to do where the Hub has other content at a path.
        versioned: globs on the path in the folder, of files that the program rewrites (``state.json``,
            ``board.csv``): each keeps its name and becomes a new version, as files that are no line data do.
        restore: before the constructor returns, download what the repository has and the folder lacks, up to 30 s; if
            that fails, `on_existing` decides as for any other folder, and `status()` shows the error.
        strict: raise in the constructor when the Hub cannot be reached or refuses; by default rows stay pending.
        handle_signals: flush on SIGTERM too (from the main thread only).
        exit_budget: seconds that the end of the process may take for the final push.
        state_dir: gets a folder with the ledger and the push lock for each folder or spool that has this `state_dir`;
            by default they are in ``.cache/huggingface/hubspool`` in the folder, or in the spool.
        allow_own_space: push to the Space that this process runs in, although each commit restarts it.
        commit_message: text, or a function of the `CommitPlan`.
        on_before_commit, on_commit, on_error: called in the background thread, without the lock; `on_error` also in the
            thread of the constructor and in that of the watchdog (see `ErrorEvent`).

    Raises:
        ValueError: a value is unusable; the message names it.

    Thread-safety: all methods may be called from any thread, except that a hook or an override of `push_to_hub` must
    not wait for a push (`flush`, `stop`, the future of `trigger`). `lock` is a plain `threading.Lock` for files that
    belong together. A push holds it to read lengths. It waits for it for 10 s, then sends line files without it and
    fails with `LockHeldError`, as do `flush` and `stop`. Rows need no lock. In a forked child it is free.

    Callers use `lock`, `trigger`, `flush`, `stop`, `status`, `metrics`, `forget`, `pending_rows` and `lifespan`;
    `last_future` and `last_commit` are those of the latest push; `repo_id` gets its namespace from the Hub's answer for
    the token. `private` and `last_uploaded` (local path → time of change, s, of files that this object has sent) are
    there for code of `huggingface_hub`'s scheduler that reads them.

    A subclass may override `push_to_hub` and use in it `api`, `folder_path`, `path_in_repo`, `repo_id`, `repo_type`,
    `revision`, `target`, `lock`, `last_commit` and `is_final_push`; `with self.limited_lock as is_held` waits for the
    lock no longer than a push does; `retries_push` says whether a failed call is repeated within the period. A subclass
    that keeps `push_to_hub` may override `additional_operations`, `chosen_paths`, `encoding`, `pending_rows`, `recipe`,
    `appended`, `left_in_folder` and the class attributes `keep_local`, `compact`, `retain_days`, `budget`, `is_sending`
    and `versions_rewritten`; it may call `rows_on_hub` and `waiting_rows`, and `shared` for what must exist once for
    all objects of a folder. With `spool_name` set, it sends the rows that it writes to `spool_folder`.
    """

    #: Whether segments stay in the folder after all of their rows are on the Hub.
    keep_local = True
    #: Whether the parts of past days are joined into few files, once a day by one of all replicas.
    compact: Compact = False
    #: Rows of segments that began more days ago are removed from the repository, and not sent; None keeps them.
    retain_days: int | None = None
    #: Line data that no longer begins with what was committed becomes a new version; False: as `on_existing` says.
    versions_rewritten = False
    #: The commits that all writers of the repository share; None: `Budget()`, or no limit on a local Hub.
    budget: Budget | None = None
    #: The split of the rows that a subclass writes to a `Spool` in `spool_folder`; None sends the folder's files. A
    #: subclass sets it, and `encoding`, before `super().__init__()`.
    spool_name: str | None = None
    #: How rows of the spool are stored in another format; None stores them as they are.
    encoding: Encoding | None = None
    #: False: this object creates no folder, thread or request. A subclass sets it before `super().__init__()`.
    is_sending = True

    #: The numbers of a push; None: `push.defaults.DEFAULTS`. Tests shorten its waits.
    _limits: PushLimits | None = None
    _publishing: PublishOptions | None = None  # of the rows of a bucket; a subclass sets it
    #: Seconds since the epoch. Tests move it.
    _clock: Callable[[], float] = time.time
    _building = False  # written by the thread that builds the object
    #: Option → value: what all objects of one folder must have in common; a subclass adds to it before `__init__`.
    _fixed: Mapping[str, object] = {}
    _worker: Worker
    __signature__: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # Not a metaclass: it would hide the signature, and conflict with those of a subclass's other bases.
        super().__init_subclass__(**kwargs)
        cls.__signature__ = full_signature(cls)
        if "_push_to_hub" in cls.__dict__:
            logger.warning("%s._push_to_hub is never called: override push_to_hub, which is public", cls.__name__)
        if "__init__" in cls.__dict__:
            cls.__init__ = _starting(cls.__dict__["__init__"], cls)  # type: ignore[method-assign]

    def __init__(
        self,
        *,
        repo_id: str,
        folder_path: str | Path,
        every: float = DEFAULTS.every,
        path_in_repo: str | None = None,
        repo_type: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        token: str | None = None,
        allow_patterns: Patterns = None,
        ignore_patterns: Patterns = None,
        squash_history: bool | int = False,
        hf_api: Any | None = None,
        on_existing: str = "keep_both",
        versioned: Patterns = None,
        restore: bool = False,
        strict: bool = False,
        handle_signals: bool = True,
        exit_budget: float = DEFAULTS.exit_budget,
        state_dir: str | Path | None = None,
        allow_own_space: bool = False,
        commit_message: str | Callable[[CommitPlan], str] | None = None,
        on_before_commit: Callable[[CommitPlan], None] | None = None,
        on_commit: Callable[[CommitEvent], None] | None = None,
        on_error: Callable[[ErrorEvent], None] | None = None,
    ) -> None:
        repo_id, repo_type, path_in_repo = destination_of(locals())
        # The rooms below load with the first object, so that the import costs little; and in this thread: a fork copies
        # the lock of a module that the pushing thread is importing, and the child would wait for it for ever.
        from hubspool.client.validation import check_folder, check_path_in_repo
        from hubspool.push.budget import Turns
        from hubspool.push.pusher import Pusher  # noqa: F401  used by the pushing thread
        from hubspool.push.rules import OnExisting
        from hubspool.scheduling.repo_setup import RepoSetup

        self.folder_path = check_folder(folder_path) if self.is_sending else Path(folder_path)
        self.path_in_repo = check_path_in_repo(path_in_repo.strip("/")) if path_in_repo else ""
        self.private = True if private is None else bool(private)
        self.last_uploaded: dict[Path, float] = {}  # written by the pushing thread
        self._setup = setup = RepoSetup(
            repo_id,
            repo_type=repo_type,
            revision=revision,
            path_in_repo=self.path_in_repo,
            private=self.private,
            api=hf_api,
            token=token,
            folder=self.folder_path,
            state_dir=Path(state_dir) if state_dir else None,
            rows=(self.spool_name, self.encoding.suffix if self.encoding else "jsonl") if self.spool_name else None,
            allow_own_space=allow_own_space,
        )
        self.api = setup.api
        self.repo_type = repo_type
        self.revision = revision
        self.token = token
        self.every = every
        self.allow_patterns = allow_patterns
        self.ignore_patterns = ignore_patterns
        self.squash_history = squash_history
        self.on_existing = OnExisting(on_existing)
        self.versioned = versioned
        self.exit_budget = exit_budget
        self._period = every * _MINUTE
        self.limited_lock = LimitedLock(lambda: self.lock, lambda: self._runner.seconds_allowed)
        self._handle_signals = handle_signals
        self._commit_message = commit_message
        self._on_before_commit = on_before_commit
        self._allow_own_space = bool(allow_own_space)
        self._on_commit = on_commit
        self._on_error = on_error
        fixed = {"state_dir": str(Path(state_dir).resolve()) if state_dir else None, **self._fixed}
        self._state_root = Path(state_dir) if state_dir else setup.state_dir
        make = functools.partial(
            Worker,
            fixed,
            setup=setup,
            turns=Turns(self._period, shared_budget(self)),
            period=self._period,
        )
        error = open_unless_known(setup) if self.is_sending else None
        self._worker = worker = join(self, setup, error, fixed, make) if self.is_sending else make()
        self._setup, self._tracker, self._runner, self.lock = worker.setup, worker.tracker, worker.runner, worker.lock
        if self.is_sending:
            self._prepare(error, is_first=setup is worker.setup, restore=restore, strict=strict)
        else:
            self._runner.loop.last_future.set_result(None)
            self._runner.stop(flush=False, timeout=0, is_last=lambda: True)

    def _prepare(self, failed: Exception | None, *, is_first: bool, restore: bool, strict: bool) -> None:
        """Open the ledger and the repository, and download what the folder lacks.

        Only the first object of a worker waits for the Hub, unless a later one is `strict` or restores the folder.

        Raises:
            HubspoolError, TimeoutError: with `strict`. Otherwise rows stay pending and the first push tries again.
            OtherAccountError: always, because rows of this token's account must not wait among those of another.
        """
        if is_first:
            warn_of(self.every, self.folder_path, is_limited=self._setup.has_budget)
        try:
            try:
                if is_first and failed is not None:
                    raise failed
                if is_first or strict or restore:
                    self._setup.open(patient=False)
            finally:  # after the Hub has said which repository this is, and so which spool its rows have
                self._setup.remember(self.recipe())
            if restore:
                self._restore()
        except (HubspoolError, TimeoutError) as error:
            if strict or isinstance(error, OtherAccountError):
                raise
            self._tracker.note_error(error, retry_in=0)

    def _restore(self) -> None:
        from hubspool.scheduling.restore import restore

        with self._worker.restoring:
            if not self._worker.restored:
                tracker, path = self._tracker, self.path_in_repo or "."
                try:
                    restore(self.api, self.target, self.path_in_repo, self.folder_path, self.chosen_paths())
                except (HubspoolError, TimeoutError) as error:
                    # Kept: a push that succeeds in the next second must not hide it.
                    reason = f"restore=True has not downloaded all of it, and on_existing decides: {error}"
                    logger.warning("%s: %s", self.repo_id, reason)
                    tracker.note_permanent({path: reason})
                    raise
                tracker.note_permanent({})
                self._worker.restored = True

    @property
    def repo_id(self) -> str:
        """The repository's id; without a namespace until the Hub has named the token's user."""
        return self._setup.repo_id

    @property
    def target(self) -> Target:
        """The repository and branch that this object pushes to; for subclasses."""
        return self._setup.target

    @property
    def spool_folder(self) -> Path:
        """The folder of this object's segments, for a subclass that sets `spool_name`; `folder_path` for any other."""
        return self.folder_path if self._setup.spool is None else self._setup.spool.path

    @property
    def is_final_push(self) -> bool:
        """Whether the running push is that of `flush`, `stop` or the end of the process; for `push_to_hub`."""
        return self._worker.urgency is Urgency.FINAL

    @property
    def last_commit(self) -> CommitInfo | None:
        """The newest commit; written by the pushing thread."""
        return self._worker.last_commit

    @last_commit.setter
    def last_commit(self, commit: CommitInfo | None) -> None:
        self._worker.last_commit = commit

    @property
    def retries_push(self) -> bool:
        """Whether a failed push is repeated within the period; only the author of an override knows what that does."""
        return type(self).push_to_hub is CommitScheduler.push_to_hub

    @property
    def last_future(self) -> Future[CommitInfo | None]:
        """The future of the latest push: done, running, or about to start."""
        return self._runner.loop.last_future

    def trigger(self) -> Future[CommitInfo | None]:
        """Push as soon as possible, in the background.

        Returns:
            The future of that push. While a push is running it is the next one's, because the running one may already
            have read the folder. A writer that has used its share of the Hub's commits waits for its period. Once
            stopped, a cancelled future.
        """
        return self._runner.loop.trigger() if self.is_sending else self.last_future

    @short_traceback
    def flush(self, timeout: float | None = None) -> CommitInfo | None:
        """Wait until everything written so far is on the Hub.

        Args:
            timeout: seconds; None waits as long as the error of each failed push can pass without user action.

        Returns:
            The last commit of this call, or None where nothing was left to send.

        Raises:
            FlushTimeout: not done in time; the data stays on the disk and is sent later. `SecondLookError`, a subclass,
                at once if rows whose ledger was lost wait for longer than `timeout`.
            RateLimitedError: the Hub asks for a longer wait than `timeout`.
            NotStoredError: some files cannot be stored; it names them.
            HubspoolError: the Hub refuses, and waiting does not help.
            LockHeldError: somebody holds the lock, under which a push cannot read the folder.
            RuntimeError: the caller is a hook or an override of `push_to_hub`; or the scheduler is stopped.
        """
        if self._building:
            raise RuntimeError("flush() was called in the constructor; the first push starts after it.")
        return self._runner.flush(timeout) if self.is_sending else None

    @short_traceback
    def forget(self, rows: Rows, timeout: float | None = None) -> RemovalReport:
        """Remove rows from the repository's files and history, and from this disk; docs/privacy.md has what is left.

        Args:
            rows: key → value, which all must match: all replicas remove them at their next push. Or a function of a row
                that returns True for those to remove, called in the pushing thread: it does not reach other replicas.
            timeout: seconds; None waits as `flush` does, whose errors it raises too.
        """
        return self._worker.removing.remove(rows, lambda: self.flush(timeout), self._setup)

    @short_traceback
    def stop(self, flush: bool = True, timeout: float | None = None) -> None:
        """Send what is left, then end the thread, if no other object shares it; stopping twice does nothing.

        Args:
            flush: False leaves on the disk what is not sent yet.
            timeout: seconds for the flush; `exit_budget` by default.

        Raises:
            FlushTimeout, HubspoolError: the flush failed. The object is stopped all the same.
        """
        self._worker.stop(self, flush=flush, timeout=timeout)

    def status(self) -> SchedulerStatus:
        """Return a snapshot of what is known, without a request."""
        rows = self.pending_rows() if self.is_sending else None
        return self._tracker.status(
            pending_rows=rows,
            seconds_left=self._runner.loop.seconds_left,
            repo_url=self._setup.repo_url,
            pending=self._setup.pending() if rows else (0, 0) if rows == 0 else None,
            compaction=self._worker.compaction.times() if self.compact or self._publishing else NOT_COMPACTED,
        )

    def metrics(self) -> dict[str, float]:
        """Return counters and gauges for a monitoring system, without a request.

        The names follow OpenTelemetry: ``hubspool.rows.appended``, ``.acknowledged`` and ``.pending`` (rows),
        ``hubspool.data.appended``, ``.acknowledged`` and ``.pending`` (bytes), ``hubspool.pending.age`` (seconds since
        all that existed was on the Hub: the oldest pending row is not older; a row that an earlier process left counts
        from the start of this one), ``hubspool.pushes``, ``hubspool.push.failures``, ``hubspool.requests`` (of
        `hf_api`, which schedulers may share, without those of hf_xet), ``hubspool.parts``, ``hubspool.compactions``.

        All counters begin with this process; those of schedulers that share a destination are together. Without a
        spool of rows those of appended and pending rows are missing. Thread-safe.
        """
        status, counts = self.status(), self._tracker.counts
        appended, size = self.appended()
        rows = {"appended": appended, "acknowledged": counts["rows"], "pending": status.pending_rows}
        data = {"appended": size, "acknowledged": counts["bytes"], "pending": status.pending_bytes}
        return {
            **{f"hubspool.rows.{name}": value for name, value in rows.items() if value is not None},
            **{f"hubspool.data.{name}": value for name, value in data.items() if value is not None},
            "hubspool.pending.age": self._tracker.pending_age() if status.pending_files else 0.0,
            "hubspool.pushes": counts["pushes"],
            "hubspool.push.failures": counts["failures"],
            "hubspool.requests": self.api.client().session.counts["requests"],
            "hubspool.parts": counts["parts"],
            "hubspool.compactions": counts["compactions"],
        }

    def appended(self) -> tuple[int | None, int | None]:
        """Return how many rows and bytes this process wrote to the spool; None without a spool of rows."""
        return None, None

    def pending_rows(self) -> int | None:
        """Return how many rows of the spool are not known to be on the Hub; None without a spool of rows."""
        return None

    def rows_on_hub(self, sources: Iterable[str]) -> int:
        """Return how many lines of these files in the folder are known to be on the Hub; no request is made."""
        return self._setup.rows_on_hub(sources)

    def waiting_rows(self, known: Container[str]) -> int:
        """Return the lines of the spool's segments, but for those in `known`, that are not known to be on the Hub."""
        return self._setup.waiting_rows(known)

    def __repr__(self) -> str:
        """Return what it keeps where, and its status in a few lines."""
        name = type(self).__name__
        if self._building or "_worker" not in vars(self):
            return f"<{name}, not built>"
        return f"{name}({self.repo_id!r}, {str(self.folder_path)!r}, every={self.every:g})\n{self.status()}"

    def _repr_html_(self) -> str:
        name = html.escape(f"{type(self).__name__} of {self.folder_path}")
        return f"<b>{name}</b>{self.status()._repr_html_()}"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse to be copied and pickled: a copy would have neither the thread nor the rows."""
        raise TypeError(
            f"A {type(self).__name__} cannot be copied or pickled: it has a thread, locks and rows on this disk."
            " Make a new one where you need it; objects for the same folder and repository share both."
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
            # The user's exception wins; ours is its context, unless flush() has raised it already.
            logger.warning("%s: the final push failed too: %s", self.repo_id, error)
            if exc_value.__context__ is None and described(error)[0] != described(exc_value)[0]:
                exc_value.__context__ = error

    @asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[None]:  # noqa: ARG002  the ASGI signature
        """For FastAPI and Starlette: ``app = FastAPI(lifespan=scheduler.lifespan)`` stops the scheduler at shutdown."""
        import asyncio

        yield
        await asyncio.to_thread(self.stop)

    def recipe(self) -> dict[str, Any]:
        """Return the options that make this scheduler again (``hubspool flush``), as JSON values; no token."""
        kind = type(self)
        return {
            "class": kind.__name__ if kind.__module__.split(".")[0] in OURS else f"{kind.__module__}.{kind.__name__}",
            "endpoint": self.api.endpoint,
            "repo_id": self._setup.address,
            "repo_type": self.repo_type,
            "revision": self.revision,
            "path_in_repo": self.path_in_repo,
            "private": self.private,
            "every": self.every,
            "allow_patterns": self.allow_patterns,
            "ignore_patterns": self.ignore_patterns,
            "on_existing": self.on_existing.value,
            "versioned": self.versioned,
            "allow_own_space": self._allow_own_space,
        }

    def push_to_hub(self) -> CommitInfo | None:
        """Send what is new in the folder. Override it to send something else.

        Runs in the background thread every `every` minutes, on `trigger`, `flush`, `stop` and at the end of the
        process; never twice at once. What an override raises is logged and kept in `status()`, and the next period
        calls it again, not sooner: its author must avoid empty commits and know what a repeated call does.

        Returns:
            The last commit, or None where there was nothing to commit.
        """
        return push_folder(self) if self.is_sending else None

    def _push(self) -> CommitInfo | None:
        self._setup.open(patient=True)
        self._setup.collect_rows()
        self.limited_lock.waited = None
        commit = self.push_to_hub()
        if (waited := self.limited_lock.waited) is not None:
            raise LockHeldError(self.folder_path, waited)
        return commit

    def additional_operations(self, plan: CommitPlan) -> Iterable[CommitOperationAdd]:  # noqa: ARG002  for subclasses
        """Return files for the same commit as `plan` (a dataset card); for subclasses.

        The commit then carries parentCommit, so that it replaces only the versions that these files were made from.
        """
        return ()

    def left_in_folder(self) -> Mapping[str, str]:
        """Return path → reason of what a subclass cannot take from the folder; `status` and `flush` tell it."""
        return {}

    def chosen_paths(self) -> Callable[[str], bool]:
        """Return the test of which paths in the folder are sent; a `state_dir` in the folder never is."""
        from hubspool.client.patterns import path_filter

        chosen = path_filter(self.allow_patterns, self.ignore_patterns or [])
        folder, state = self.folder_path.resolve(), self._state_root.resolve()
        if not state.is_relative_to(folder) or state == folder:
            return chosen
        own = f"{state.relative_to(folder).as_posix()}/"
        return lambda path: not path.startswith(own) and chosen(path)

    def _start(self) -> None:
        """Start to push; the outermost `__init__` calls it."""
        if self.is_sending:
            self._worker.start(self)
            where = (self.folder_path, self.repo_id, self.every)
            logger.info("Scheduled job to push '%s' to '%s' every %g minutes.", *where)

    def shared(self, name: str, make: Callable[[], T], close: Callable[[T], None] | None = None) -> T:
        """Return what must exist once for all objects that share a thread (a `Spool`); for subclasses.

        Args:
            name: of the thing; a subclass of one class uses each name for one thing.
            make: makes it for the first object; must not wait, nor keep a reference to that object.
            close: called with it before the flush of the last object that stops, and at its end.
        """
        return self._worker.shared(name, make, close)


CommitScheduler.__signature__ = full_signature(CommitScheduler)
CommitScheduler.__init__ = _starting(CommitScheduler.__init__, CommitScheduler)  # type: ignore[method-assign]
