"""CommitScheduler: keeps a local folder on the Hub from a background thread."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubspool.client.patterns import Patterns, path_filter
from hubspool.client.validation import check_folder, check_path_in_repo
from hubspool.errors import HFValidationError, HubspoolError, PushLockBusyError
from hubspool.files import disk_of, state_folder
from hubspool.push.budget import BOUNDLESS, Budget
from hubspool.push.committer import PushHooks
from hubspool.push.events import CommitEvent, CommitPlan, ErrorEvent
from hubspool.push.pusher import Pusher
from hubspool.push.rules import OnExisting
from hubspool.scheduling.lifecycle import Lifecycle
from hubspool.scheduling.push_loop import Urgency
from hubspool.scheduling.repo_setup import RepoSetup
from hubspool.scheduling.restore import restore as fetch
from hubspool.scheduling.squash import SquashPolicy
from hubspool.scheduling.status_tracker import StatusTracker
from hubspool.scheduling.writer_lock import WriterLock
from hubspool.spool.segment_name import new_writer_id

if TYPE_CHECKING:
    from hubspool.client.operations import CommitOperationAdd
    from hubspool.client.repo_info import CommitInfo
    from hubspool.push.encodings import Encoding

logger = logging.getLogger(__name__)

_MINUTE = 60.0
_MAX_MINUTES = 366 * 24 * 60
_OURS = ("hubspool", "hubspool_templates")
#: Seconds to wait while another process pushes the same folder; its push takes our rows along.
_PATIENCE = 5.0
_FINAL_PATIENCE = 60.0


class CommitScheduler(Lifecycle):
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
        squash_history: True squashes the branch into one commit after each commit; a number, when more than so many
            have gathered. All history is lost.
        hf_api: client to use; of a huggingface_hub client the endpoint, token and headers are taken over.
        on_existing: "keep_both", "overwrite" or "error": what to do where the Hub has other content at a path.
        restore: before the constructor returns, fetch what the repo has and the folder lacks, up to 30 s; if that
            fails, `on_existing` decides as for any other folder, and `status()` says so.
        strict: raise in the constructor when the repo cannot be reached, instead of spooling until it can.
        handle_signals: flush on SIGTERM too (from the main thread only).
        exit_budget: seconds that the end of the process may take for the final flush.
        state_dir: folder of the ledger and the push lock; ``.cache/huggingface/hubspool`` in the folder by default.
        allow_own_space: push to the very Space that this runs in, although each commit restarts it.
        commit_message: text, or a function of the `CommitPlan`.
        on_before_commit, on_commit, on_error: called in the background thread, without the lock.

    Raises:
        ValueError: a value is unusable; the message names it.

    Thread-safety: all methods may be called from any thread, except that `flush` and `stop` must not be called with the
    lock held.

    Subclasses may override `push_to_hub`, and use `api`, `folder_path`, `path_in_repo`, `repo_id`, `repo_type`,
    `revision`, `target`, `lock` and `is_final_push` in it; those that keep it, `additional_operations`,
    `chosen_paths`, `encoding` and `recipe`.
    """

    #: Whether segments of ours stay in the folder after all of them is on the Hub.
    keep_local = True
    #: What the repo's writers share. None: what the Hub is known to take, and no bound on one of this machine.
    budget: Budget | None = None
    #: How rows of the spool are stored in another form; None stores them as they are.
    encoding: Encoding | None = None

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
        squash_history: bool | int = False,
        hf_api: Any | None = None,
        on_existing: str = "keep_both",
        restore: bool = False,
        strict: bool = False,
        handle_signals: bool = True,
        exit_budget: float = 8,
        state_dir: str | Path | None = None,
        allow_own_space: bool = False,
        commit_message: str | Callable[[CommitPlan], str] | None = None,
        on_before_commit: Callable[[CommitPlan], None] | None = None,
        on_commit: Callable[[CommitEvent], None] | None = None,
        on_error: Callable[[ErrorEvent], None] | None = None,
    ) -> None:
        if isinstance(every, bool) or not isinstance(every, (int, float)) or not 0 < every <= _MAX_MINUTES:
            raise HFValidationError(f"every is {every!r}.", hint="Give a number of minutes from 0 to a year.")
        if on_existing not in [*OnExisting]:
            raise HFValidationError(
                f"on_existing is {on_existing!r}.", hint=f"Use one of {[*map(str.__str__, OnExisting)]}."
            )
        self.folder_path = check_folder(folder_path)
        self.path_in_repo = check_path_in_repo(path_in_repo.strip("/")) if path_in_repo else ""
        self._setup = RepoSetup(
            repo_id,
            repo_type=repo_type,
            revision=revision,
            path_in_repo=self.path_in_repo,
            private=True if private is None else private,
            api=hf_api,
            token=token,
            state_dir=Path(state_dir) if state_dir else state_folder(self.folder_path),
            allow_own_space=allow_own_space,
        )
        self.api = self._setup.api
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
        self._allow_own_space = allow_own_space
        self._squash = SquashPolicy(squash_history)
        self._tracker = StatusTracker(on_commit, on_error)
        self._writer_id = new_writer_id()
        self._pusher: Pusher | None = None  # used by the pushing thread only
        self._period = every * _MINUTE
        self._committed_at: float | None = None  # monotonic; used by the pushing thread only
        self._start_over()
        if every < 5 and not self._setup.is_local:
            logger.warning(
                "every=%s minutes means up to %d commits an hour; the Hub takes about 128 an hour and repo, from all"
                " writers together",
                every,
                round(60 / every),
            )
        for step in (self._remember, self._open, *([self._restore] if restore else [])):
            try:
                step()
            except (HubspoolError, TimeoutError) as error:
                if strict:
                    raise
                self._tracker.note_error(self.repo_id, error, retry_in=0)
                break  # it heals by itself: rows wait on the disk, and the first push tries again
        disk = disk_of(self.folder_path)
        if not disk.is_reliable:
            logger.warning(
                "%s is on a %s mount, where locks and fsync are not reliable; rows may be lost with the mount. Use a"
                " local disk, or at least state_dir=... on one.",
                self.folder_path,
                disk.kind,
            )

    def _remember(self) -> None:
        self._setup.ledger.remember(self.recipe())

    def _open(self) -> None:
        self._setup.open(patient=False)

    def _restore(self) -> None:
        fetch(self.api, self.target, self.path_in_repo, self.folder_path, self.chosen_paths())

    def recipe(self) -> dict[str, Any]:
        """Return the options that make this scheduler again (``hubspool flush``), as JSON values; no token."""
        kind = type(self)
        return {
            "class": kind.__name__ if kind.__module__.split(".")[0] in _OURS else f"{kind.__module__}.{kind.__name__}",
            "endpoint": self.api.endpoint,
            "repo_id": self.repo_id,
            "repo_type": self.repo_type,
            "revision": self.revision,
            "path_in_repo": self.path_in_repo,
            "private": self._setup.private,
            "every": self.every,
            "allow_patterns": self.allow_patterns,
            "ignore_patterns": self.ignore_patterns,
            "on_existing": self.on_existing.value,
            "allow_own_space": self._allow_own_space,
        }

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
        final = self.is_final_push
        patience = _FINAL_PATIENCE if final else _PATIENCE
        try:
            result = self._pusher.push(final=final, lock_timeout=self._attempts.seconds_left(patience))
        finally:
            self._tracker.note_result(self._pusher.result)
        if result is None:
            if final:  # a flush must not say that our rows are on the Hub when somebody else may send them
                raise PushLockBusyError(self.folder_path)
            logger.info("%s: another process is pushing this folder; it takes our rows along", self.folder_path)
            return None
        self.last_commit = result.commit or self.last_commit
        if result.commit is not None:
            self._committed_at = time.monotonic()
        if (wait := self._turn_in(result.writers)) > 0:
            self._loop.put_off(wait)
        if result.commit is not None and not result.in_doubt:
            self._squash.after_commit(self.api, self.target, result.commit.oid)
        return result.commit

    def _turn_in(self, writers: int) -> float:
        """Return the seconds until the repo's other writers have had their share of the hour's commits."""
        if self._committed_at is None or not writers:
            return 0.0
        period = self._budget.period(self._period, writers, random.random())  # noqa: S311  jitter
        return period - (time.monotonic() - self._committed_at) if period > self._period else 0.0

    @property
    def _budget(self) -> Budget:
        return self.budget or (BOUNDLESS if self._setup.is_local else Budget())

    def _is_turn(self, writers: int) -> bool:
        """Whether to commit now. Fifty replicas that start together would use up the hour in its first minutes."""
        wait = 0.0 if self._urgency is not Urgency.PERIOD else self._turn_in(writers)
        if wait > 0:
            logger.info("%s: %d writers share it; our turn is in %.0f s", self.repo_id, writers, wait)
        return wait <= 0

    def additional_operations(self, plan: CommitPlan) -> Iterable[CommitOperationAdd]:  # noqa: ARG002  for subclasses
        """Return files to go into the same commit as `plan` (a dataset card); for subclasses.

        The commit then carries parentCommit: what was read to make these files is what they replace.
        """
        return ()

    def rows_on_hub(self, sources: Iterable[str]) -> int:
        """Return how many lines of these files in the folder are known to be on the Hub; no request is made."""
        return self._setup.rows_on_hub(sources)

    def _new_pusher(self) -> Pusher:
        return Pusher(
            api=self.api,
            target=self.target,
            path_in_repo=self.path_in_repo,
            folder=self.folder_path,
            ledger=self._setup.ledger,
            chosen=self.chosen_paths(),
            lock=self.lock,
            writer=self._writer_id,
            on_existing=self.on_existing,
            rest_seconds=self._period,
            keep_local=self.keep_local,
            budget=self._budget,
            encoding=self.encoding,
            hooks=PushHooks(
                enter=self._tracker.enter,
                is_turn=self._is_turn,
                message=self._message,
                before_commit=self._on_before_commit or _nothing,
                additional_operations=self.additional_operations,
                committed=lambda event, commit: self._tracker.note_commit(self.repo_id, event, commit),
            ),
        )

    def chosen_paths(self) -> Callable[[str], bool]:
        """Return what tells whether a path in the folder is to be sent; a `state_dir` in it never is."""
        chosen = path_filter(self.allow_patterns, self.ignore_patterns or [])
        folder, state = self.folder_path.resolve(), self._setup.state_dir.resolve()
        if not state.is_relative_to(folder) or state == folder:
            return chosen
        own = f"{state.relative_to(folder).as_posix()}/"
        return lambda path: not path.startswith(own) and chosen(path)

    def _message(self, plan: CommitPlan) -> str:
        given = self._commit_message
        if given is not None:
            return given(plan) if callable(given) else given
        if not plan.rows_new:
            return "Scheduled commit"
        return f"Add {plan.rows_new} row{'s' if plan.rows_new > 1 else ''}"

    def after_fork_in_child(self) -> None:
        """Become the child's own, with a writer id of its own; internal."""
        self._writer_id = new_writer_id()
        self._pusher = None
        super().after_fork_in_child()

    @property
    def retries_push(self) -> bool:
        """Whether a failed push is repeated within the period: what a repeat of an override does, its author knows."""
        return type(self).push_to_hub is CommitScheduler.push_to_hub


def _nothing(plan: CommitPlan) -> None:
    """Stand for a hook that was not given."""
