"""What one push has to do, and what the planners know of each file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hubspool.files import Stat
from hubspool.push.compare import Digest
from hubspool.push.lines import Kind
from hubspool.push.part import Part
from hubspool.push.remote import RemoteFile, RepoReader
from hubspool.push.rules import Upload


@dataclass
class PushPlan:
    """What a push has to do.

    Args:
        uploads: what to send → digest of its range. The user's files come first, since rows may name them.
        kinds: kind of each user file among the uploads.
        parts: ledger rows that change without a request.
        settled: files of which nothing is left to send after the uploads, while they stay as they are.
        removable: segments that may be removed after the uploads → their size in bytes.
        skipped: path → reason, for files that are not sent.
        notices: path → what is to be told of a file, though nothing failed.
        postponed: path → reason, for files of which something is left for a later push.
        postponed_from: path → first byte that is left.
        postponed_bytes: how much that is.
        waits_until: time of the second look that segments wait for, seconds since the epoch; 0 if none does.
        final: a caller waits until everything is sent; unfinished last lines are sent if they are complete rows.
    """

    uploads: dict[Upload, Digest] = field(default_factory=dict)
    kinds: dict[str, Kind] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    settled: dict[str, Stat] = field(default_factory=dict)
    removable: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    notices: dict[str, str] = field(default_factory=dict)
    postponed: dict[str, str] = field(default_factory=dict)
    postponed_from: dict[str, int] = field(default_factory=dict)
    postponed_bytes: int = 0
    waits_until: float = 0.0
    final: bool = False

    def postpone(self, source: str, start: int, size: int, reason: str) -> None:
        """Leave the bytes [start, size) of a file for a later push."""
        if start < size:
            self.postponed[source] = reason
            self.postponed_from[source] = start
            self.postponed_bytes += size - start


@dataclass(frozen=True)
class ScannedFile:
    """A file of the snapshot, with what the ledger knows of it.

    Args:
        source: its path in the folder.
        path: its path on the disk.
        stat: from the scan.
        parts: in order.
        settled: its `Stat` when its whole content was on the Hub; None if it never was.
    """

    source: str
    path: Path
    stat: Stat
    parts: list[Part]
    settled: Stat | None


@dataclass
class PlanRun:
    """One run of the planner.

    Args:
        plan: the plan that the run extends.
        reader: reads from the Hub.
        paths: in the repository; the first `file_at` for one of them asks about all of them in one request.
        taken_ns: time of the snapshot, nanoseconds since the epoch.
        now: seconds since the epoch.
        recovering: segments to recover → time of the first look (None: not yet), bytes that it found.
        is_locked: the lengths of the user's files were taken under the writers' lock.
    """

    plan: PushPlan
    reader: RepoReader
    paths: frozenset[str]
    taken_ns: int
    now: float
    recovering: Mapping[str, tuple[float | None, int]] = field(default_factory=dict)
    is_locked: bool = True
    _found: dict[str, RemoteFile] | None = None

    def file_at(self, path: str) -> RemoteFile | None:
        """Return the file at `path` on the Hub; None if there is none."""
        if path not in self.paths:
            return self.reader.files([path]).get(path)
        if self._found is None:
            self._found = self.reader.files(sorted(self.paths))
        return self._found.get(path)
