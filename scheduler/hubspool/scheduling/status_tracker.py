"""Tracks a scheduler's state and reports it through `status()` and the hooks."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from hubspool import fork
from hubspool.errors import HubspoolError, StalledError, UnfitRowsError
from hubspool.push.events import CommitEvent, ErrorEvent, PushResult, State
from hubspool.scheduling.defaults import DEFAULTS
from hubspool.scheduling.messages import described, in_words, is_expected
from hubspool.scheduling.status import NOT_COMPACTED, CompactionTimes, SchedulerStatus, full_folder_text
from hubspool.settings import Settings

if TYPE_CHECKING:
    from hubspool.client.repo_info import CommitInfo

logger = logging.getLogger(__name__)


class StatusTracker:
    """Tracks a scheduler's state and reports it through `status()`, the log and the hooks.

    Thread-safe. Hooks are called in the thread that reports, without any lock; what they raise is logged, since a hook
    must not stop a push.

    Args:
        name: returns the name of the repository for log lines.
        on_commit, on_error: the caller's hooks, or None.
        period: seconds between two pushes.
    """

    def __init__(
        self,
        name: Callable[[], str],
        on_commit: Callable[[CommitEvent], None] | None = None,
        on_error: Callable[[ErrorEvent], None] | None = None,
        period: float = math.inf,
    ) -> None:
        self.period = period  # longer while other writers have their turn; written by the pushing thread
        self._name = name
        self._on_commit = on_commit
        self._on_error = on_error
        self._lock = threading.RLock()  # re-entrant: a signal handler may ask for the status
        fork.renew(self, "_lock", threading.RLock)
        # What others read is written under _lock.
        self.state = State.IDLE
        self._moved_at = self._succeeded_at = time.monotonic()
        self._result = PushResult()  # of the last push, with what the running one is to send
        self._left: Mapping[str, str] = {}  # path → why it was not handed to the last push
        self._stuck: dict[tuple[str, int], float] = {}  # path and first byte that is left → since when
        self._permanent: Mapping[str, str] = {}
        self._unfit = 0  # rows that are kept as text
        self._last_commit: str | None = None
        self._last_commit_at: datetime | None = None
        self.error: BaseException | None = None  # of the last push; None after one that did not fail
        self._failures = 0
        self._gave_up = False  # the attempts of a push ended since the last success
        self._commits = 0
        self._all_sent_at = time.monotonic()
        #: ``pushes`` that ended, ``failures``, acknowledged ``rows`` and ``bytes``, ``parts`` begun, ``compactions``.
        self.counts: Counter[str] = Counter()  # written by the pushing thread
        self._recent: deque[CommitEvent] = deque(maxlen=30)

    @property
    def skipped(self) -> dict[str, str]:
        """Path → why it was not sent, as of the last push."""
        with self._lock:
            return {**self._result.skipped, **self._left}

    def enter(self, state: State) -> None:
        """Note what the thread is doing now; a stopped scheduler stays stopped, whatever its thread still does."""
        with self._lock:
            if self.state is State.STOPPED:
                return
            self.state = state
            self._moved_at = time.monotonic()

    def seconds_without_progress(self) -> float:
        """Return how long ago the running push entered its state; 0 while no push runs."""
        with self._lock:
            busy = self.state in (State.SCANNING, State.UPLOADING, State.COMMITTING)
            return time.monotonic() - self._moved_at if busy else 0.0

    def report_stall(self) -> None:
        """Report a push that stays in one state for twice the time-out of a commit, once; the watchdog calls it."""
        stuck = self.seconds_without_progress()
        if stuck > 2 * Settings.from_env().commit_timeout and not isinstance(self.error, StalledError):
            self.note_error(StalledError(self.state.value, stuck), retry_in=None)

    def note_planned(self, result: PushResult) -> None:
        """Note what a push that has begun is to send."""
        with self._lock:
            self._result = replace(
                self._result,
                pending_files=result.pending_files,
                pending_bytes=result.pending_bytes,
                postponed=result.postponed,
            )

    def note_result(self, result: PushResult, left: Mapping[str, str]) -> None:
        """Note what a push left, and what the scheduler did not hand to it (path → reason)."""
        with self._lock:
            rows = [reason for lines in result.unfit.values() for reason in lines.values()]
            unfit = UnfitRowsError(len(rows), rows[-1]) if rows else None
            notices = {**result.notices, **({"#unfit": str(unfit)} if unfit else {})}
            is_new, self._unfit = len(rows) > self._unfit, len(rows)
            full = {path: n for path, n in result.full_folders.items() if path not in self._result.full_folders}
            self._result, self._left = replace(result, notices=notices), dict(left)
            now = time.monotonic()
            stuck = {**result.stuck, **dict.fromkeys(left, -1)}
            self._stuck = {each: self._stuck.get(each, now) for each in stuck.items()}
        for path, count in full.items():
            logger.warning("%s: %s", self._name(), full_folder_text(path, count))
        if unfit and is_new:
            logger.error("%s: %s", self._name(), unfit)
            call_hook(self._on_error, ErrorEvent(unfit, self._failures, None))

    def note_all_sent(self, since: float) -> None:
        """Note that what existed at a monotonic time is on the Hub."""
        with self._lock:
            self._all_sent_at = since

    def pending_age(self) -> float:
        """Return how many seconds ago all that existed was on the Hub; the oldest pending row is not older.

        A row that an earlier process left counts from the start of this one.
        """
        with self._lock:
            return time.monotonic() - self._all_sent_at

    def note_permanent(self, notices: Mapping[str, str]) -> None:
        """Note what no push changes (path → reason); `status().skipped` has it."""
        with self._lock:
            self._permanent = notices

    def note_success(self) -> None:
        """Note that a push ended without an error."""
        self.counts["pushes"] += 1
        with self._lock:
            self.error, self._failures, self._gave_up = None, 0, False
            if not self._result.is_busy:  # another process pushes, which is no success of ours
                self._succeeded_at = time.monotonic()
        self.enter(State.IDLE)

    def note_commit(self, event: CommitEvent, commit: CommitInfo) -> None:
        """Note a commit that landed."""
        logger.info(
            "%s: %d files, %d new bytes: %s", self._name(), len(event.paths), event.bytes_new, commit.commit_url
        )
        self.counts += Counter(
            rows=event.rows_new, bytes=event.bytes_new, parts=event.parts_new, compactions=bool(event.joined)
        )
        with self._lock:
            self._last_commit, self._last_commit_at = event.oid, event.at
            self._commits += 1
            self._recent.append(event)
        call_hook(self._on_commit, event)

    def note_wait(self, error: BaseException) -> None:
        """Note that a request of the running push failed and is repeated soon; the push has not failed."""
        with self._lock:
            self.error = error
        self.enter(State.BACKING_OFF)

    def note_error(self, error: BaseException, retry_in: float | None, next_try: str | None = None) -> None:
        """Note a push that failed.

        It is logged in one line; an error that `is_expected` has a traceback only at DEBUG. The level is WARNING (ERROR
        for an unexpected one) for a failure that changes the state: an error of another kind than the last, or the
        first push that gives up. The same again is INFO, so that an outage of a day does not fill the log, but for the
        tenth and every hundredth; as is an error that no repetition ends
        and whose push is made again at once.

        Args:
            retry_in: seconds until it is tried again; None: with the next period.
            next_try: the same in words.
        """
        retry_at = None if retry_in is None else _now() + timedelta(seconds=retry_in)
        if next_try is None:
            next_try = "with the next period" if retry_in is None else in_words(retry_in)
        expected = is_expected(error)
        self.counts["failures"] += 1
        with self._lock:
            ends_first = retry_in is None and not self._gave_up
            is_new = not self._failures or ends_first or _kind(error) != _kind(self.error)
            self.error = error
            self._failures += 1
            self._gave_up = self._gave_up or retry_in is None
            failures = self._failures
        repeated = retry_in == 0 and expected and not getattr(error, "retryable", False)
        loud = not repeated and (is_new or failures == 10 or failures % 100 == 0)
        logger.log(
            (logging.WARNING if expected else logging.ERROR) if loud else logging.INFO,
            "%s: the push failed%s, next try %s: %s",
            self._name(),
            f" ({failures} in a row)" if failures > 1 else "",
            next_try,
            " ".join(str(error).split()) if isinstance(error, HubspoolError) else " ".join(described(error)).strip(),
            exc_info=error if (loud and not expected) or logger.isEnabledFor(logging.DEBUG) else None,
        )
        call_hook(self._on_error, ErrorEvent(error, failures, retry_at))

    def _is_healthy(self) -> bool:
        if self.state is State.STOPPED:
            return True
        # A large upload may take many periods.
        moved_at = self._moved_at if self.state is State.UPLOADING else self._succeeded_at
        oldest = min([max(self._succeeded_at, moved_at), *self._stuck.values()])
        return time.monotonic() - oldest <= DEFAULTS.late_periods * self.period

    def status(
        self,
        *,
        pending_rows: int | None,
        seconds_left: float | None,
        repo_url: str | None,
        pending: tuple[int, int] | None = None,
        compaction: CompactionTimes = NOT_COMPACTED,
    ) -> SchedulerStatus:
        """Return a snapshot; `pending` are files and bytes of a spool that are not known to be on the Hub.

        None: those of the last push.
        """
        with self._lock:
            error, result = self.error, self._result
            message, hint = ("", "") if error is None else described(error)
            files, size = pending or (result.pending_files, result.pending_bytes)
            return SchedulerStatus(
                state=State.FAILING if self.state is State.IDLE and self._failures else self.state,
                pending_files=files + len(self._left),
                pending_rows=pending_rows,
                pending_bytes=size,
                last_commit=self._last_commit,
                last_commit_at=self._last_commit_at,
                last_error=message or None,
                last_error_hint=hint or None,
                consecutive_failures=self._failures,
                next_push_at=None if seconds_left is None else _now() + timedelta(seconds=seconds_left),
                repo_url=repo_url,
                commits_in_repo=self._commits,
                skipped={**self._permanent, **self.skipped, **result.notices},
                postponed=dict(result.postponed),
                is_healthy=self._is_healthy(),
                recent_commits=tuple(self._recent),
                parts=self.counts["parts"],
                files_on_hub=compaction.files,
                last_compaction_at=compaction.last_at,
                next_compaction_at=compaction.next_at,
                last_compaction_error=compaction.error,
                full_folders=dict(result.full_folders),
            )


def call_hook(hook: Callable[..., None] | None, event: object) -> None:
    """Call a hook of the user, if there is one, and log what it raises."""
    if hook is None:
        return
    try:
        hook(event)
    except Exception:  # the caller's code; its failure is shown and must not count as a failed push
        logger.exception("the hook %r failed", hook)


def _kind(error: BaseException | None) -> tuple[type, object]:
    return type(error), getattr(error, "status_code", None)


def _now() -> datetime:
    return datetime.now(timezone.utc)
