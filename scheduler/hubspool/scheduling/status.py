"""`SchedulerStatus`: what `status()` returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from hubspool.push.events import CommitEvent, State


@dataclass(frozen=True)
class SchedulerStatus:
    """A snapshot of a scheduler; taken without a request to the Hub.

    Args:
        state: what the thread is doing.
        pending_files: files that have something to send or are skipped, as of the last scan.
        pending_rows: rows of the spool, of any process, that are not known to be on the Hub; None without a spool.
        pending_bytes: bytes not known to be on the Hub, as of the last look.
        last_commit: commit id (40 hex digits) of the last commit that landed, or None.
        last_commit_at: its time, UTC.
        last_error: what the last failed push said, until one succeeds.
        last_error_hint: what to do about it.
        consecutive_failures: pushes that failed since the last one that did not.
        next_push_at: when the next push is due, UTC; None once stopped.
        repo_url: address of the repo as a person opens it, or None while it is not known.
        commits_in_repo: commits that this scheduler made since it started.
        skipped: files that the Hub refused, that could not be read, or whose content somebody changed on the Hub, and
            what `restore` could not download, with the reason (path → reason).
        postponed: files of which something is sent later, with the reason (path → reason): an unfinished last line, a
            segment that waits for its second look.
        is_healthy: False if for two periods no push succeeded or went on, or one of the pending files did not get on,
            whatever the reason; the next success of that kind makes it True again.
        recent_commits: the last 30 commits of this scheduler since it started, oldest first.
    """

    state: State
    pending_files: int
    pending_rows: int | None
    pending_bytes: int
    last_commit: str | None
    last_commit_at: datetime | None
    last_error: str | None
    last_error_hint: str | None
    consecutive_failures: int
    next_push_at: datetime | None
    repo_url: str | None
    commits_in_repo: int
    skipped: dict[str, str]
    postponed: dict[str, str] = field(default_factory=dict)
    is_healthy: bool = True
    recent_commits: tuple[CommitEvent, ...] = ()
