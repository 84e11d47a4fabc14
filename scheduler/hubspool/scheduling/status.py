"""`SchedulerStatus`: what `status()` returns."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone

from hubspool.client.defaults import DEFAULTS as CLIENT
from hubspool.push.events import CommitEvent, State


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return the number with its noun: "1 file", "2 files"; `plural` is needed where it is not the noun with an s."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def full_folder_text(path: str, entries: int) -> str:
    """Return the warning of a folder in the repository that is nearly full."""
    return (
        f"The folder {path or '/'} of the repository has {entries:,} entries; the Hub refuses more than"
        f" {CLIENT.files_per_folder:,}. Write new files to another folder, or store them in archives (ZipScheduler)."
    )


@dataclass(frozen=True)
class CompactionTimes:
    """What the daily compaction knows; of a bucket, what is known about its publishes.

    Args:
        files: data files of the repository, as of its last look; None before the first.
        last_at: when files were last joined, UTC; None if that is not known.
        next_at: when it looks again, UTC; None if it is off.
        error: why the last look, or the join after it, failed; None if it did not.
    """

    files: int | None = None
    last_at: datetime | None = None
    next_at: datetime | None = None
    error: str | None = None


NOT_COMPACTED = CompactionTimes()


@dataclass(frozen=True)
class SchedulerStatus:
    """A snapshot of a scheduler; taken without a request to the Hub. `print` shows the main fields in a few lines.

    Args:
        state: what the thread is doing; ``failing`` while it waits after a push that failed.
        pending_files: files that have something to send or are skipped, as of the last scan.
        pending_rows: rows of the spool, of any process, that are not known to be on the Hub; None without a spool.
        pending_bytes: bytes not known to be on the Hub: of the pending rows now, of other files as of the last scan.
        last_commit: commit id (40 hex digits) of the last commit that landed, of a bucket the id of the push; or None.
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
        parts: part files that its commits began since it started.
        files_on_hub: data files of the repository, as of the last look of the daily compaction; None before the first.
        last_compaction_at: when files of the repository were last joined, by anybody, UTC; None if it is not known. Of
            a bucket with `publish_to`: when this scheduler last published rows.
        next_compaction_at: when this scheduler looks whether old files are to be joined, or rows to be published, UTC;
            None: never.
        last_compaction_error: why its last look, or the join or publish after it, failed; None if it did not.
        full_folders: folders of the repository near the Hub's limit of 10,000 entries → their entries, as far as this
            scheduler knows them: of its own files, or of a spool's repository as of that look.
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
    parts: int = 0
    files_on_hub: int | None = None
    last_compaction_at: datetime | None = None
    next_compaction_at: datetime | None = None
    last_compaction_error: str | None = None
    full_folders: dict[str, int] = field(default_factory=dict)

    @property
    def warnings(self) -> list[str]:
        """What will stop pushes if nothing is done about it, in sentences."""
        what = "Rows were not published" if "/buckets/" in (self.repo_url or "") else "Old files were not joined"
        failed = [f"{what}: {self.last_compaction_error}"] if self.last_compaction_error else []
        return [*(full_folder_text(*folder) for folder in self.full_folders.items()), *failed]

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
        if self.files_on_hub is not None:
            joined = f", joined at {_clock(self.last_compaction_at)}" if self.last_compaction_at else ""
            yield "on the Hub", f"{counted(self.files_on_hub, 'data file')}{joined}"
        for text in self.warnings:
            yield "warning", text
        for path, reason in list(self.skipped.items())[:3]:
            yield "skipped", f"{path}: {reason}"
        if len(self.skipped) > 3:
            yield "", f"and {len(self.skipped) - 3} more"


def _clock(at: datetime) -> str:
    today = datetime.now(timezone.utc).astimezone().date()
    at = at.astimezone()
    return f"{at:%H:%M:%S}" if at.date() == today else f"{at:%Y-%m-%d %H:%M}"
