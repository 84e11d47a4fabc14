"""`SchedulerStatus`: what `status()` returns."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone

from hubspool.push.events import CommitEvent, State


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return the number with its noun: "1 file", "2 files"; `plural` is needed where it is not the noun with an s."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


@dataclass(frozen=True)
class SchedulerStatus:
    """A snapshot of a scheduler; taken without a request to the Hub. `print` shows the main fields in a few lines.

    Args:
        state: what the thread is doing; ``failing`` while it waits after a push that failed.
        pending_files: files that have something to send or are skipped, as of the last scan.
        pending_rows: rows of the spool, of any process, that are not known to be on the Hub; None without a spool.
        pending_bytes: bytes not known to be on the Hub: of the pending rows now, of other files as of the last scan.
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

    def __str__(self) -> str:
        """Return a line for each thing that a person asks first; times are local."""
        return "\n".join(f"  {name:<11} {text}" for name, text in self._lines())

    def _repr_html_(self) -> str:
        rows = (f"<tr><th>{name}</th><td>{html.escape(text)}</td></tr>" for name, text in self._lines())
        return f"<table>{''.join(rows)}</table>"

    def _lines(self) -> Iterator[tuple[str, str]]:
        failures = f", {self.consecutive_failures} times in a row" if self.consecutive_failures > 1 else ""
        yield "state", f"{self.state.value}{failures}" + ("" if self.is_healthy else ", unhealthy")
        if self.last_error:
            yield "last error", self.last_error
        if self.last_error_hint:
            yield "next step", self.last_error_hint
        rows = "" if self.pending_rows is None else f"{counted(self.pending_rows, 'row')}, "
        yield "pending", f"{rows}{counted(self.pending_files, 'file')}, {counted(self.pending_bytes, 'byte')}"
        when = f" at {_clock(self.last_commit_at)}" if self.last_commit_at else ""
        yield "last commit", f"{self.last_commit[:8]}{when}" if self.last_commit else "none yet"
        yield "next push", f"at {_clock(self.next_push_at)}" if self.next_push_at else "none: stopped"
        yield "repository", self.repo_url or "not reached yet"
        for path, reason in list(self.skipped.items())[:3]:
            yield "skipped", f"{path}: {reason}"
        if len(self.skipped) > 3:
            yield "", f"and {len(self.skipped) - 3} more"


def _clock(at: datetime) -> str:
    today = datetime.now(timezone.utc).astimezone().date()
    at = at.astimezone()
    return f"{at:%H:%M:%S}" if at.date() == today else f"{at:%Y-%m-%d %H:%M}"
