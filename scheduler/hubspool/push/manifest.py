"""Manifests: what each joined file was made of. A commit that joins parts adds one and deletes the parts.

The manifest wins: where one names a path, it says what the Hub holds of that part, whatever stands at the path and
whatever the ledger says. A file at such a path is a ghost: a commit from before the join that landed after it. A
search of all interleavings (tests/unit/test_compaction_model.py) showed that weaker rules lose or double rows.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path, PurePosixPath

import orjson

from hubspool.client.operations import CommitOperationAdd
from hubspool.errors import HubspoolError, RemoteEntryNotFoundError
from hubspool.files import sha256_of
from hubspool.push.remote import Head, RemoteRepo
from hubspool.push.removal import REMOVALS, Removal
from hubspool.spool.segment_name import RECORDS, JoinedName, SegmentName, part_number

#: Folder of the manifests in the repository.
MANIFESTS = f"{RECORDS}/manifest"


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
        starts: where each part begins in the segment, in bytes; empty for JSON Lines of which no commit says it, so
            that only its ledger knows.
        rows: in all these parts.
        counts: rows of each part; empty where they were not counted.
        sha256: of the bytes that the joined file holds of them; empty for other formats than JSON Lines.
        file: sha256 of the joined file; empty in manifests of older versions.
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
    file: str = ""

    def parts(self) -> Iterator[tuple[str, HeldPart]]:
        """Yield the path of each part, and what the joined file holds of it."""
        segment, folder = SegmentName.of(self.segment), _folder(self.folder)
        stem, suffix = f"{folder}/{segment.stem}" if folder else segment.stem, segment.suffix or "jsonl"
        for number in range(self.first, self.first + len(self.sizes)):
            yield f"{stem}-p{number:04d}.{suffix}", self.part(number)

    def part(self, number: int) -> HeldPart:
        """Return what the joined file holds of a part of this run."""
        index = number - self.first
        start = self.starts[index] if self.starts else None
        return HeldPart(number, self.sizes[index], self.digests[index], start, is_whole=not self.removed)

    def ranges(self) -> list[tuple[int, int]]:
        """Return start and end of each part in the segment, in bytes; empty if they are not known."""
        return [(start, start + size) for start, size in zip(self.starts, self.sizes, strict=False)]

    def has(self, number: int) -> bool:
        """Return whether the part with this number is in this run."""
        return self.first <= number < self.first + len(self.sizes)

    def continues_with(self, other: JoinedRun) -> bool:
        """Return whether `other` begins where this run ends: with the next part of its segment, in the same file."""
        same = (self.segment, self.folder, self.path) == (other.segment, other.folder, other.path)
        alike = (bool(self.starts), bool(self.counts)) == (bool(other.starts), bool(other.counts))
        return same and alike and other.first == self.first + len(self.sizes)

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
        is_whole: no row of its run was removed on purpose.
    """

    number: int
    size: int
    digest: str
    start: int | None = None
    is_whole: bool = True

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
    try:
        for line in content.splitlines():
            found = {name: value for name, value in orjson.loads(line).items() if name in known}
            tuples = {name: tuple(found.get(name, ())) for name in ("sizes", "digests", "starts", "counts")}
            runs.append(JoinedRun(**{**found, **tuples}))
            if not _is_sound(runs[-1]):
                raise ValueError(f"a value of {runs[-1].segment} is of another kind, or is missing")
    except (TypeError, AttributeError) as error:
        raise ValueError(str(error)) from error
    return runs


def _is_sound(run: JoinedRun) -> bool:
    texts = (run.segment, run.folder, run.path, run.sha256, run.file, *run.digests)
    numbers = (run.offset, run.first, run.rows, run.removed, *run.sizes, *run.starts, *run.counts)
    if not (all(isinstance(each, str) for each in texts) and all(isinstance(each, int) for each in numbers)):
        return False
    lengths = {len(run.sizes), len(run.digests), *(len(each) for each in (run.starts, run.counts) if each)}
    return SegmentName.parse(run.segment) is not None and min(numbers) >= 0 and len(lengths) == 1 and lengths != {0}


def run_ranges(runs: Sequence[JoinedRun], size: int) -> list[tuple[int, int]]:
    """Return (offset, size) of each run in a joined file of JSON Lines: it goes up to the next one, or the end."""
    ends = [*(run.offset for run in runs[1:]), size]
    return [(run.offset, end - run.offset) for run, end in zip(runs, ends, strict=False)]


def with_sha256(runs: Sequence[JoinedRun], file: Path) -> list[JoinedRun]:
    """Return the runs of a joined file of JSON Lines; one without sha256 gets that of its bytes in the file."""
    here = [run for run in runs if run.path]
    ranges = dict(zip(here, run_ranges(here, file.stat().st_size if here else 0), strict=True))
    return [replace(run, sha256=run.sha256 or sha256_of(file, *ranges[run])) if run.path else run for run in runs]


def new_manifest(
    month: str, at: datetime, runs: Iterable[JoinedRun], files: Iterable[CommitOperationAdd], ending: str = ""
) -> CommitOperationAdd:
    """Return what adds a manifest; its path is the month, the time of the commit, and a random id.

    Args:
        month: of the segments.
        at: the time of the commit.
        runs: the lines. Those in `files` get the sha256 of their file, those without a path have none, and the others
            keep theirs.
        files: joined files of the same commit.
        ending: of the name.
    """
    contents = {file.path_in_repo: file.sha256 for file in files}
    lines = (replace(run, file=contents.get(run.path, run.file if run.path else "")).line() for run in runs)
    path = f"{MANIFESTS}/{month}/{at:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:12]}{ending}.jsonl"
    return CommitOperationAdd(path, b"".join(lines))


def written_at(path: str) -> datetime | None:
    """Return the time in the name of a manifest; None if it has none."""
    try:
        return datetime.strptime(f"{PurePosixPath(path).name[:15]}+0000", "%Y%m%dT%H%M%S%z")
    except ValueError:
        return None


@dataclass
class Manifests:
    """The manifests of a repository, as far as they were read. Used by one thread.

    A month is read when a segment of it is first asked for; later, only what commits with a join have added. Each file
    is downloaded once, since a manifest never changes.
    """

    _seen: str = ""  # the commit up to which `_files` is complete, for `_months`
    _months: set[str] = field(default_factory=set)
    _files: dict[str, list[JoinedRun]] = field(default_factory=dict)  # path of the manifest → its runs
    #: File name of a segment → its runs, and the manifest of each. A `HeldPart` for each part would take four times the
    #: memory: a year of four replicas has 140,000.
    _runs: dict[str, list[tuple[str, JoinedRun]]] = field(default_factory=dict)
    #: Path → removal of rows, as of the same commit.
    removals: dict[str, Removal] = field(default_factory=dict)

    def read(
        self, repo: RemoteRepo, head: Head, sources: Iterable[str], also: Iterable[str] = (), *, only: bool = False
    ) -> None:
        """Read what is missing up to the commit `head.oid`, for the months of some segments or parts, and others.

        Args:
            repo: the branch.
            head: of the branch.
            sources: segments and parts.
            also: months.
            only: forget all other months.

        Raises:
            HubspoolError: a request failed, or a manifest is damaged.
        """
        asked = {month for source in sources if (month := _month_of(source))} | {*also}
        known, self._months = self._months, asked if only else self._months | asked
        new, at = head.joins_since(self._seen), repo.at(head.oid)
        found = dict(self._files)
        try:
            for month in sorted(self._months):
                folder = f"{MANIFESTS}/{month}"
                if new is None or month not in known:
                    there = {*at.list_files(folder)}
                    found = {path: runs for path, runs in found.items() if path in there or not _is_in(path, folder)}
                    found |= {path: _read(at, path) for path in sorted(there - found.keys())}
                    continue
                for path in sorted({path for path in new if _is_in(path, folder)} - found.keys()):
                    with suppress(RemoteEntryNotFoundError):  # its parts were joined once more, in a newer manifest
                        runs = _read(at, path)
                        found = {other: each for other, each in found.items() if not _names(runs, each)}
                        found[path] = runs
            if new is None or any(_is_in(path, REMOVALS) for path in new):
                self.removals = Removal.read_all(at, self.removals)
        except BaseException:
            self._months = known & self._months
            raise
        found = {path: runs for path, runs in found.items() if PurePosixPath(path).parent.name in self._months}
        if found.keys() != self._files.keys():
            self._files, self._runs = found, {}
            for path, run in ((path, run) for path, runs in found.items() for run in runs):
                self._runs.setdefault(run.segment, []).append((path, run))
        self._seen = head.oid

    def held(self, path: str) -> HeldPart | None:
        """Return what a joined file holds of the part at `path`; None if it was not joined."""
        found = self._found(path)
        return None if found is None else found[1].part(part_number(path))

    def of_segment(self, source: str) -> dict[int, HeldPart]:
        """Return number → part, for all joined parts of a segment."""
        runs = self._runs.get(PurePosixPath(source).name, ())
        return {part.number: part for _, run in runs for _, part in run.parts()}

    def runs_of_segment(self, segment: str) -> list[JoinedRun]:
        """Return all runs of the segment with this file name."""
        return [run for _, run in self._runs.get(segment, ())]

    def named_in(self, path: str) -> str:
        """Return the manifest that names the part at `path`; an empty text if none does."""
        found = self._found(path)
        return "" if found is None else found[0]

    def run_of(self, path: str) -> JoinedRun:
        """Return the run that has the part at `path`, which a manifest names."""
        found = self._found(path)
        assert found is not None
        return found[1]

    def _found(self, path: str) -> tuple[str, JoinedRun] | None:
        """Return the manifest and the run that have the part at `path`; None if there is none."""
        folder, _, name = path.rpartition("/")
        segment = SegmentName.of_part(name)
        runs = () if segment is None else self._runs.get(str(segment), ())
        here = ((file, run) for file, run in runs if _folder(run.folder) == folder and run.has(part_number(name)))
        return next(here, None)

    def newest(self) -> datetime | None:
        """Return the time of the newest manifest that was read; None if there is none."""
        return max(filter(None, map(written_at, self._files)), default=None)

    def runs_in(self, path: str) -> list[JoinedRun]:
        """Return the runs that a joined file is made of, in its order."""
        found = [run for runs in self._files.values() for run in runs if run.path == path]
        return sorted(found, key=lambda run: run.offset)

    def naming(self, segment: str) -> set[str]:
        """Return the manifests that name parts of the segment with this file name."""
        return {path for path, _ in self._runs.get(segment, ())}

    def runs_of(self, manifest: str) -> list[JoinedRun]:
        """Return the runs of a manifest."""
        return self._files[manifest]

    def replaced_by(self, paths: Collection[str]) -> tuple[list[str], list[JoinedRun]]:
        """Return the manifests that name joined files which are joined once more, and what they say of others."""
        old = [path for path, runs in self._files.items() if any(run.path in paths for run in runs)]
        return old, [run for path in old for run in self._files[path] if run.path not in paths]


def _read(repo: RemoteRepo, path: str) -> list[JoinedRun]:
    try:
        return parse(repo.content(path))
    except ValueError as error:
        if isinstance(error, HubspoolError):
            raise
        raise HubspoolError(
            f"{path} on the Hub is damaged: {error}. It says which rows joined files have.",
            hint="Put back the version of the commit that added it; `hubspool verify` shows what else is damaged.",
            path=path,
        ) from error


def _folder(path: str) -> str:
    return "" if path == "." else path


def _is_in(path: str, folder: str) -> bool:
    return path.startswith(f"{folder}/")


def _names(new: Iterable[JoinedRun], old: Iterable[JoinedRun]) -> bool:
    """Return whether a manifest has taken the place of an older one: a part is named by one of them."""
    return not {path for run in new for path, _ in run.parts()}.isdisjoint(p for run in old for p, _ in run.parts())


def _month_of(source: str) -> str | None:
    """Return the month of a segment, part or joined file; None for any other file."""
    name = PurePosixPath(source).name
    found = SegmentName.parse(name) or SegmentName.of_part(name) or JoinedName.parse(name)
    return None if found is None else found.month
