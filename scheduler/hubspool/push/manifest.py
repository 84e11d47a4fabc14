"""Manifests: what each joined file was made of. A commit that joins parts adds one and deletes the parts.

The manifest wins: where one names a path, it says what the Hub holds of that part, whatever stands at the path and
whatever the ledger says. A file at such a path is a ghost: a commit from before the join that landed after it. A
search of all interleavings (tests/unit/test_compaction_model.py) showed that weaker rules lose or double rows.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import orjson

from hubspool.push.removal import Removal
from hubspool.spool.segment_name import SegmentName, part_path

if TYPE_CHECKING:
    from hubspool.push.remote import Head, RemoteRepo

#: Folder of the manifests in the repository; `datasets` reads no file in a folder that begins with a dot.
MANIFESTS = ".hubspool/manifest"


@dataclass(frozen=True)
class JoinedRun:
    """Consecutive parts of one segment in one joined file: a line of a manifest.

    Args:
        segment: file name of the segment.
        folder: in the repository, that the parts were in; empty for its root.
        path: of the joined file.
        offset: where it holds the first of the parts: a byte of JSON Lines, a row of other formats.
        first: number of the first part.
        sizes: bytes of the segment in each part.
        digests: id of each part's content: sha256, or a git blob id for a regular file; empty for JSON Lines of which
            rows were removed, since who guesses the row could check it.
        starts: where each part begins in the segment, in bytes; empty for JSON Lines, where only its ledger knows.
        rows: in all these parts.
        counts: rows of each part; empty where they were not counted.
        sha256: of the bytes that the joined file holds of them; empty for other formats than JSON Lines.
        removed: rows that were removed on purpose from the joined file (`hubspool forget`, `retain_days`).

    A run whose `path` is empty has no file any more: all its rows were removed on purpose.
    """

    segment: str
    folder: str
    path: str
    offset: int
    first: int
    sizes: tuple[int, ...]
    digests: tuple[str, ...]
    starts: tuple[int, ...] = ()
    rows: int = 0
    sha256: str = ""
    removed: int = 0
    counts: tuple[int, ...] = ()

    def parts(self) -> Iterator[tuple[str, HeldPart]]:
        """Yield the path of each part, and what the joined file holds of it."""
        for index, size in enumerate(self.sizes):
            number = self.first + index
            path = str(PurePosixPath(self.folder) / PurePosixPath(part_path(self.segment, number)).name)
            yield path, HeldPart(number, size, self.digests[index], self.starts[index] if self.starts else None)

    def continues_with(self, other: JoinedRun) -> bool:
        """Return whether `other` begins where this run ends: with the next part of its segment, in the same file."""
        same = (self.segment, self.folder, self.path) == (other.segment, other.folder, other.path)
        return same and other.first == self.first + len(self.sizes)

    def extended(self, other: JoinedRun) -> JoinedRun:
        """Return this run with the parts of one that continues it."""
        return replace(
            self,
            sizes=(*self.sizes, *other.sizes),
            digests=(*self.digests, *other.digests),
            starts=(*self.starts, *other.starts),
            rows=self.rows + other.rows,
            counts=(*self.counts, *other.counts),
        )

    def line(self) -> bytes:
        """Return the run as a line of a manifest."""
        return orjson.dumps(asdict(self), option=orjson.OPT_APPEND_NEWLINE)


@dataclass(frozen=True)
class HeldPart:
    """What a joined file holds of one part.

    Args:
        number: of the part.
        size: bytes of the segment.
        digest: id of the part's content on the Hub.
        start: in the segment, in bytes; None if the ledger of its writer alone knows it.
    """

    number: int
    size: int
    digest: str
    start: int | None = None

    def end(self, start: int) -> int:
        """Return the end of the part in its segment, in bytes; `start` counts where the manifest does not say it."""
        return (start if self.start is None else self.start) + self.size


def parse(content: bytes) -> list[JoinedRun]:
    """Return the runs of a manifest; fields that a later version added are left out.

    Raises:
        ValueError: it is damaged.
    """
    known = {each.name for each in fields(JoinedRun)}
    runs = []
    for line in content.splitlines():
        found = {name: value for name, value in orjson.loads(line).items() if name in known}
        tuples = {name: tuple(found.get(name, ())) for name in ("sizes", "digests", "starts", "counts")}
        runs.append(JoinedRun(**{**found, **tuples}))
    return runs


def manifest_path(month: str, at: datetime, identifier: str) -> str:
    """Return the path of a new manifest: the month of its segments, the time of the commit, and a random id."""
    return f"{MANIFESTS}/{month}/{at:%Y%m%dT%H%M%S}-{identifier}.jsonl"


def written_at(path: str) -> datetime | None:
    """Return the time in the name of a manifest; None if it has none."""
    try:
        return datetime.strptime(f"{PurePosixPath(path).name[:15]}+0000", "%Y%m%dT%H%M%S%z")
    except ValueError:
        return None


@dataclass
class Manifests:
    """The manifests of a repository, as far as they were read. Used by the pushing thread.

    A month is read when a segment of it is first asked for; later, only what commits with a join have added. Each file
    is downloaded once, since a manifest never changes.
    """

    _seen: str = ""  # the commit up to which `_parts` is complete, for `_months`
    _months: set[str] = field(default_factory=set)
    _files: dict[str, list[JoinedRun]] = field(default_factory=dict)  # path of the manifest → its runs
    _parts: dict[str, HeldPart] = field(default_factory=dict)
    #: Path → removal of rows, as of the same commit.
    removals: dict[str, Removal] = field(default_factory=dict)

    def read(self, repo: RemoteRepo, head: Head, sources: Iterable[str], also: Iterable[str] = ()) -> None:
        """Read what is missing up to the commit `head.oid`, for the months of some segments or parts, and others.

        Raises:
            HubspoolError: a request failed.
        """
        months = self._months | {month for source in sources if (month := _month_of(source))} | {*also}
        if head.shows_no_join_since(self._seen) and months == self._months:
            self._seen = head.oid
            return
        at = repo.at(head.oid)
        paths = [path for month in sorted(months) for path in at.list_files(f"{MANIFESTS}/{month}")]
        for path in paths:
            if path not in self._files:
                self._files[path] = parse(at.content(path))
        self._files = {path: self._files[path] for path in paths}
        self._parts = dict(each for runs in self._files.values() for run in runs for each in run.parts())
        self.removals = Removal.read_all(at, self.removals)
        self._months, self._seen = months, head.oid

    def held(self, path: str) -> HeldPart | None:
        """Return what a joined file holds of the part at `path`; None if it was not joined."""
        return self._parts.get(path)

    def of_segment(self, source: str) -> dict[int, HeldPart]:
        """Return number → part, for all joined parts of a segment."""
        stem = SegmentName.of(source).stem
        return {
            held.number: held for path, held in self._parts.items() if PurePosixPath(path).name.startswith(f"{stem}-p")
        }

    def newest(self) -> datetime | None:
        """Return the time of the newest manifest that was read; None if there is none."""
        return max(filter(None, map(written_at, self._files)), default=None)

    def runs_in(self, path: str) -> list[JoinedRun]:
        """Return the runs that a joined file is made of, in its order."""
        found = [run for runs in self._files.values() for run in runs if run.path == path]
        return sorted(found, key=lambda run: run.offset)

    def replaced_by(self, paths: Collection[str]) -> tuple[list[str], list[JoinedRun]]:
        """Return the manifests that name joined files which are joined once more, and what they say of others."""
        old = [path for path, runs in self._files.items() if any(run.path in paths for run in runs)]
        return old, [run for path in old for run in self._files[path] if run.path not in paths]


def _month_of(source: str) -> str | None:
    """Return the month of a segment or part by its name, and of a joined file by its folder."""
    path = PurePosixPath(source)
    if (segment := SegmentName.parse(path.name) or SegmentName.of_part(path.name)) is not None:
        return segment.month
    return path.parent.name if re.fullmatch(r"\d{4}-\d\d", path.parent.name) else None
