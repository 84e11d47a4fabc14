"""What a push reports: its state, the next commit, commits, errors and its result."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum

from hubspool.client.repo_info import CommitInfo


class State(str, Enum):
    """What the scheduler's thread does."""

    IDLE = "idle"
    """Waiting for the next period or a trigger."""
    SCANNING = "scanning"
    """Reading the folder for new content."""
    UPLOADING = "uploading"
    """Uploading content, which is not visible on the Hub before the commit."""
    COMMITTING = "committing"
    """Waiting for the answer to the commit request."""
    BACKING_OFF = "backing off"
    """The push failed for a reason that may be temporary; waiting for the next attempt."""
    FAILING = "failing"
    """The last push failed; waiting for the next period or a trigger."""
    STOPPING = "stopping"
    """Sending the rest in the final push."""
    STOPPED = "stopped"
    """The thread has ended. Rows that are appended now stay on the disk and are sent after the next start."""


@dataclass(frozen=True)
class CommitPlan:
    """The next commit; passed to `commit_message`, `on_before_commit` and `additional_operations`.

    Args:
        paths: in the repository.
        bytes_total: size of the content at those paths.
        bytes_new: of it, bytes that no acknowledged commit contains.
        rows_new: lines among the new bytes; none in images, event files and other binary content.
        parts_new: how many of the paths are parts of a spool that the commit begins.
        new: the new ranges: path in the folder, start and end in bytes.
        parent: the commit whose content the paths that are not parts of a spool replace; None if it is not known.
    """

    paths: tuple[str, ...]
    bytes_total: int
    bytes_new: int
    rows_new: int
    parts_new: int = 0
    new: tuple[tuple[str, int, int], ...] = ()
    parent: str | None = None


@dataclass(frozen=True)
class CommitEvent:
    """A commit that landed. `on_commit` receives it in the scheduler's thread, without the lock held.

    Args:
        oid: commit id, 40 hex digits; of a bucket the id of the push.
        paths: in the repository.
        bytes_new: bytes that no earlier commit contains.
        rows_new: lines among them.
        parts_new: how many of the paths are parts of a spool that the commit began.
        joined: how many files it replaced by those at `paths`: a compaction, which adds no row.
        at: when the answer arrived, UTC.
    """

    oid: str
    paths: tuple[str, ...]
    bytes_new: int
    rows_new: int
    parts_new: int = 0
    joined: int = 0
    at: datetime = field(default_factory=lambda: datetime.now(timezone.utc), compare=False)


@dataclass(frozen=True)
class ErrorEvent:
    """A push that failed, or rows that it could store only as text (`UnfitRowsError`).

    `on_error` receives it without the lock held: in the scheduler's thread, in that of the constructor (the repository
    cannot be opened yet), or in the watchdog's (a push makes no progress).

    Args:
        error: the reason.
        consecutive_failures: failed pushes since the last that succeeded, this one included.
        retry_at: time of the next attempt, UTC; None: with the next period.
    """

    error: BaseException
    consecutive_failures: int
    retry_at: datetime | None


@dataclass(frozen=True)
class PushResult:
    """What one push did.

    Args:
        commit: the last commit; None if there was nothing to send.
        writers: number of hubspool writers that committed to the repository in the last hour, this one included; 0 if
            the push did not ask.
        pending_files, pending_bytes: what was not sent: skipped files, foreign changes, unfinished lines.
        skipped: path → reason.
        notices: path → what was done about a part that somebody changed on the Hub.
        unfit: rows that could not be stored, and are kept as text: name of the segment → position → error.
        waits_until: time of the second look that segments wait for, seconds since the epoch; 0 if none does.
        postponed: path → reason, for files of which something is sent later.
        stuck: path → the first byte that is not sent yet, of files that this push could not send to their end. A file
            that stays at the same byte for two periods makes the scheduler unhealthy.
        full_folders: folders of the repository near the Hub's limit → their entries.
        is_busy: another process holds the push lock.
        in_doubt: the outcome of a commit is unknown.
    """

    commit: CommitInfo | None = None
    writers: int = 0
    pending_files: int = 0
    pending_bytes: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    notices: dict[str, str] = field(default_factory=dict)
    unfit: dict[str, dict[int, str]] = field(default_factory=dict)
    waits_until: float = 0.0
    postponed: dict[str, str] = field(default_factory=dict)
    stuck: dict[str, int] = field(default_factory=dict)
    full_folders: dict[str, int] = field(default_factory=dict)
    is_busy: bool = False
    in_doubt: bool = False
