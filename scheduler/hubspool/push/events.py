"""What a push reports: the state it is in, the commit it is about to make, commits and errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum


class State(str, Enum):
    """What the scheduler's thread is doing."""

    IDLE = "idle"
    """Waiting for the next period or a trigger."""
    SCANNING = "scanning"
    """Looking for what is new in the folder."""
    UPLOADING = "uploading"
    """Sending content; nothing is visible on the Hub yet."""
    COMMITTING = "committing"
    """The commit request is under way."""
    BACKING_OFF = "backing off"
    """The last try of this push failed for a passing reason; waiting for the next one."""
    STOPPING = "stopping"
    """Sending what is left before the end."""
    STOPPED = "stopped"
    """The thread has ended. What is appended now waits on disk for the next start."""


@dataclass(frozen=True)
class CommitPlan:
    """What the next commit will hold; handed to `commit_message`, `on_before_commit` and `additional_operations`.

    Args:
        paths: paths in the repo.
        bytes_total: content at those paths.
        bytes_new: of it, what no earlier commit holds.
        rows_new: lines among the new bytes.
        new: the new bytes themselves: file in the folder, and where in it they begin and end.
        parent: the commit that the paths without a spool's part replace content of; None while none is known.
    """

    paths: tuple[str, ...]
    bytes_total: int
    bytes_new: int
    rows_new: int
    new: tuple[tuple[str, int, int], ...] = ()
    parent: str | None = None


@dataclass(frozen=True)
class CommitEvent:
    """What `on_commit` receives, in the scheduler's thread and without the lock held.

    Args:
        oid: commit id, 40 hex digits.
        paths: paths in the repo.
        bytes_new: content that no earlier commit holds.
        rows_new: lines in it.
        at: when it was seen to have landed, UTC.
    """

    oid: str
    paths: tuple[str, ...]
    bytes_new: int
    rows_new: int
    at: datetime = field(default_factory=lambda: datetime.now(timezone.utc), compare=False)


@dataclass(frozen=True)
class ErrorEvent:
    """What `on_error` receives, in the scheduler's thread and without the lock held."""

    error: BaseException
    consecutive_failures: int
    retry_at: datetime | None
