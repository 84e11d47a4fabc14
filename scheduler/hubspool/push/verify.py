"""Checks a repository of rows: decides what is wrong from what was read of it, without I/O.

The bytes of a part, their range in its segment and their digest are written down in several places: in the description
of the commit that wrote the part, in the manifest of a joined file, in the metadata of a Parquet file or an archive, in
the ledger of the folder. What one of them says and another one denies is a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from itertools import groupby
from pathlib import PurePosixPath
from typing import NamedTuple

from hubspool.push.compaction import OldFile
from hubspool.push.encodings import Span
from hubspool.push.manifest import HeldPart, JoinedRun, run_ranges
from hubspool.push.published import MARKERS, uncovered
from hubspool.push.remote import NamedPart, RemoteFile
from hubspool.spool.segment_name import RangeName, SegmentName, part_number


class Severity(str, Enum):
    """How bad a finding is."""

    DAMAGE = "damage"
    """Rows are lost, changed or doubled, or the dataset does not load: the exit code is 1."""
    WARNING = "warning"
    """Something to know; a push or a person deals with it."""
    NOTE = "note"
    """Something that cannot be checked."""


class FoundKind(Enum):
    """What `hubspool verify` finds: its name, its severity, and the reference that tells it."""

    UNREADABLE = ("unreadable", Severity.DAMAGE, "the file")
    CONTENT_CHANGED = ("content-changed", Severity.DAMAGE, "descriptions of commits, manifests")
    PART_MISSING = ("part-missing", Severity.DAMAGE, "descriptions of commits, manifests")
    PART_DOUBLED = ("part-doubled", Severity.DAMAGE, "descriptions of commits, manifests, metadata of files")
    RANGE_OVERLAP = ("range-overlap", Severity.DAMAGE, "descriptions of commits, manifests, metadata of files")
    MANIFEST_WRONG = ("manifest-wrong", Severity.DAMAGE, "manifests")
    STRAY_FILE = ("stray-file", Severity.DAMAGE, "the card")
    CARD_WRONG = ("card-wrong", Severity.DAMAGE, "the card")
    ID_TWICE = ("id-twice", Severity.DAMAGE, "the rows")
    LEDGER_NEWER = ("ledger-newer", Severity.DAMAGE, "the ledger")
    LEDGER_OLDER = ("ledger-older", Severity.WARNING, "the ledger")
    SEGMENT_NEWER = ("segment-newer", Severity.WARNING, "the ledger")
    UNKNOWN = ("unknown", Severity.WARNING, "the ledger")
    RANGE_GAP = ("range-gap", Severity.WARNING, "descriptions of commits, manifests, metadata of files")
    GHOST = ("ghost", Severity.WARNING, "manifests")
    UNCHECKED = ("unchecked", Severity.NOTE, "none")

    def __init__(self, label: str, severity: Severity, reference: str) -> None:
        self.label, self.severity, self.reference = label, severity, reference


@dataclass(frozen=True)
class Found:
    """One thing that was found; `path` is in the repository or, for what the ledger tells, on this disk."""

    path: str
    kind: FoundKind
    sentence: str

    def fields(self) -> dict[str, str]:
        """Return the finding as JSON values."""
        kind = {"kind": self.kind.label, "severity": self.kind.severity.value}
        return {"path": self.path, **kind, "sentence": self.sentence}


@dataclass(frozen=True)
class FileFacts:
    """What was read of a file of rows.

    Args:
        rows: how many it has.
        columns: of all its rows.
        span: the lines that it says to hold; None for JSON Lines.
        ids: sha256 and git blob id of its content.
        hashes: (offset, size) → sha256 of these bytes, for what the manifests name.
        damage: why it cannot be read.
    """

    rows: int = 0
    columns: frozenset[str] = frozenset()
    span: Span | None = None
    ids: Collection[str] = ()
    hashes: Mapping[tuple[int, int], str] = field(default_factory=dict)
    damage: str = ""


class Config(NamedTuple):
    """A config of the card: name, columns, whether it loads a file, whether it does by a scheduler's pattern."""

    name: str
    columns: frozenset[str]
    loads: Callable[[str], bool]
    loads_as_ours: Callable[[str], bool]


class Held(NamedTuple):
    """What a manifest says of a part."""

    manifest: str
    run: JoinedRun
    part: HeldPart


class Piece(NamedTuple):
    """The bytes [start, end) of a segment, in a part of a file on the Hub."""

    start: int
    end: int
    number: int
    path: str


@dataclass
class RepoSnapshot:
    """What was read of a repository at one commit.

    Args:
        commit: its id.
        files: path → file, of the whole repository.
        facts: path → what was read, of the files of rows that are no ghosts.
        named: path → what the newest commit says that names the part.
        manifests: path → runs; None for one that cannot be read.
        configs: of the card; what is wrong with the card, where it cannot be read.
        twice: id → files that have it, of rows that are there more than once; a correction has other values.
        unnamed: parts that no commit names although it must: their segment has earlier parts that one names.
        commits: ids of the commits that lead to it.
        is_dataset: its files are loaded by its card; those of a model need none.
    """

    commit: str
    files: Mapping[str, RemoteFile]
    facts: dict[str, FileFacts] = field(default_factory=dict)
    named: Mapping[str, NamedPart] = field(default_factory=dict)
    manifests: Mapping[str, Sequence[JoinedRun] | None] = field(default_factory=dict)
    configs: Sequence[Config] | str = ()
    twice: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unnamed: Collection[str] = ()
    commits: Collection[str] = ()
    is_dataset: bool = False

    @cached_property
    def runs(self) -> dict[str, list[tuple[str, JoinedRun]]]:
        """Path of a joined file → its runs in their order, each with its manifest."""
        found: dict[str, list[tuple[str, JoinedRun]]] = {}
        for manifest, runs in self.manifests.items():
            for run in runs or ():
                found.setdefault(run.path, []).append((manifest, run))
        return {path: sorted(runs, key=lambda each: each[1].offset) for path, runs in found.items()}

    @cached_property
    def held(self) -> dict[str, list[Held]]:
        """Path of a part → what the manifests say of it."""
        found: dict[str, list[Held]] = {}
        for manifest, run in (each for runs in self.runs.values() for each in runs):
            for path, part in run.parts():
                found.setdefault(path, []).append(Held(manifest, run, part))
        return found

    @cached_property
    def sources(self) -> dict[str, OldFile]:
        """Path → file of rows that a scheduler of ours wrote, without the ghosts."""
        found = ((path, OldFile.of(file)) for path, file in self.files.items())
        return {path: source for path, source in found if source is not None and path not in self.held}

    @cached_property
    def pieces(self) -> dict[str, list[Piece]]:
        """File name of a segment → the ranges of it that are on the Hub, as far as they are known."""
        found: dict[str, list[Piece]] = {}
        for path, (held, *_) in self.held.items():
            named, start = self.named.get(path), held.part.start
            start = named.start if start is None and named else start
            if start is not None:
                piece = Piece(start, start + held.part.size, held.part.number, held.run.path or held.manifest)
                found.setdefault(held.run.segment, []).append(piece)
        for path, facts in self.facts.items():
            segment, named = segment_of(path), self.named.get(path)
            span = facts.span or (Span(segment, named.start, named.end) if named and segment else None)
            if segment and span and not facts.damage:
                found.setdefault(span.segment, []).append(Piece(span.start, span.end, part_number(path), path))
        return found

    @cached_property
    def untold(self) -> set[str]:
        """The months with a manifest that cannot be read."""
        return {PurePosixPath(path).parent.name for path, runs in self.manifests.items() if runs is None}

    @property
    def partly_known(self) -> set[str | None]:
        """The segments with a part whose range is not known, or that is missing."""
        known = {piece.path for pieces in self.pieces.values() for piece in pieces}
        lost = (path for path in self.named if path not in self.files and path not in self.held)
        joined = (held for path, (held, *_) in self.held.items() if path not in self.named)
        return {
            *(segment_of(path) for path in (*self.sources, *lost) if path not in known),
            *(held.run.segment for held in joined if held.part.start is None),
        }

    def to_name(self) -> list[str]:
        """Return the parts that no commit names, of segments of which one names an earlier part."""
        first: dict[str | None, int] = {}
        for path in self.named:
            first[segment_of(path)] = min(part_number(path), first.get(segment_of(path), part_number(path)))
        return [
            path
            for path, source in self.sources.items()
            if not source.level and path not in self.named
            and first.get(segment_of(path), part_number(path)) < part_number(path)
        ]  # fmt: skip

    def hub_end(self, path: str, start: int) -> int | None:
        """Return the end of what the Hub has of a part that begins at `start` of its segment; None: not known."""
        if path in self.held:
            return self.held[path][0].part.end(start)
        if path not in self.files:
            return start
        facts = self.facts.get(path)
        if facts is None or facts.damage:
            return None
        return facts.span.end if facts.span else start + self.files[path].size


@dataclass
class BucketSnapshot(RepoSnapshot):
    """What was read of a bucket, whose files name their ranges.

    Args:
        published: file name of a segment → ranges that markers name.
    """

    published: Mapping[str, Sequence[tuple[int, int]]] = field(default_factory=dict)

    @cached_property
    def sources(self) -> dict[str, OldFile]:
        """Nothing: no commit or manifest has to name the files."""
        return {}

    @cached_property
    def pieces(self) -> dict[str, list[Piece]]:
        """File name of a segment → its ranges in the bucket, and those that were published and deleted."""
        found: dict[str, list[Piece]] = {}
        for path in self.files:
            if (name := RangeName.parse(PurePosixPath(path).name)) is not None:
                found.setdefault(str(name.segment), []).append(Piece(name.start, name.end, 0, path))
        for segment, ranges in self.published.items():
            here = found.setdefault(segment, [])
            files = [each for each in here if segment.count(".") > 1 and uncovered(each.start, each.end, ranges)]
            for start, end in sorted(ranges):
                if any(uncovered(each.start, each.end, [(start, end)]) != [each[:2]] for each in files):
                    here.append(Piece(start, end, 0, f"{MARKERS}/"))  # it cannot be cut, so it is not published
                    continue
                gaps = uncovered(start, end, [(piece.start, piece.end) for piece in here])
                here += [Piece(first, last, 0, f"{MARKERS}/") for first, last in gaps]
        return found

    def hub_end(self, path: str, start: int) -> int | None:
        """Return up to where the ranges of a segment go on that begin at `start`."""
        segment = segment_of(path)
        known = [(piece.start, piece.end) for piece in self.pieces.get(segment or "", ())]
        stop = max([start, *(end for _, end in known)])
        return next((first for first, _ in uncovered(start, stop, known)), stop)


def segment_of(path: str) -> str | None:
    """Return the file name of the segment of a part; None if the path is not that of a part."""
    name = PurePosixPath(path).name
    if (part := RangeName.parse(name)) is not None:
        return str(part.segment)
    segment = SegmentName.of_part(name)
    return None if segment is None else str(segment)


def findings(seen: RepoSnapshot) -> list[Found]:
    """Return what is wrong with a repository, or cannot be checked."""
    found = [*_manifests(seen), *_missing(seen), *_contents(seen), *_unnamed(seen), *_ranges(seen)]
    found += [*_card(seen), *_unchecked(seen)]
    for path in sorted(path for path in seen.files if path in seen.held):
        text = f"its rows are in {seen.held[path][0].run.path or 'no file, on purpose'} too; the next push deletes it"
        found.append(Found(path, FoundKind.GHOST, text))
    known = (FoundKind.PART_DOUBLED, FoundKind.MANIFEST_WRONG)
    return [*found, *_twice(seen, {finding.path for finding in found if finding.kind in known})]


def _twice(seen: RepoSnapshot, doubled: Collection[str]) -> Iterator[Found]:
    """Tell of rows with an id that are there twice, but for files that are known to be doubled as a whole."""
    found: dict[tuple[str, ...], list[str]] = {}
    for identifier, paths in seen.twice.items():
        found.setdefault(tuple(sorted(paths)), []).append(identifier)
    for paths, ids in found.items():
        if set(paths).isdisjoint(doubled):
            more = f", and {len(ids) - 1} more ids" if len(ids) > 1 else ""
            text = f"its row with the id {ids[0]} is in {', '.join(sorted({*paths[:-1]}))} too{more}"
            yield Found(paths[-1], FoundKind.ID_TWICE, text)


def _manifests(seen: RepoSnapshot) -> Iterator[Found]:
    for path, runs in seen.manifests.items():
        if runs is None:
            text = "it cannot be read; nothing tells what its joined file is made of"
            yield Found(path, FoundKind.MANIFEST_WRONG, text)
    for path, source in seen.sources.items():
        if source.level and path not in seen.runs and f"{source.day:%Y-%m}" not in seen.untold:
            yield Found(path, FoundKind.MANIFEST_WRONG, f"no manifest says what it holds{_twin(seen, path)}")
    for part, (first, *others) in seen.held.items():
        for held in others:
            text = f"{held.manifest} and {first.manifest} both name {part}, in {held.run.path} and {first.run.path}"
            yield Found(held.run.path or held.manifest, FoundKind.PART_DOUBLED, text)


def _missing(seen: RepoSnapshot) -> Iterator[Found]:
    for path, named in seen.named.items():
        is_there = path in seen.files or path in seen.held
        if not is_there and SegmentName.of(segment_of(path) or "").month not in seen.untold:
            text = f"commit {named.commit[:8]} wrote {_bytes(named, path)} to it, and no file and no manifest has them"
            yield Found(path, FoundKind.PART_MISSING, text)
    for path, runs in seen.runs.items():
        if path and path not in seen.files:
            text = f"{runs[0][0]} says that it holds {sum(run.rows for _, run in runs)} rows, and it does not exist"
            yield Found(path, FoundKind.PART_MISSING, text)


def _contents(seen: RepoSnapshot) -> Iterator[Found]:
    for path, facts in seen.facts.items():
        if facts.damage:
            yield Found(path, FoundKind.UNREADABLE, facts.damage)
        elif (name := RangeName.parse(PurePosixPath(path).name)) is not None:
            span = facts.span or Span(str(name.segment), name.start, name.start + seen.files[path].size)
            if span != Span(str(name.segment), name.start, name.end):
                text = f"its name says bytes {name.start} to {name.end}, and it holds {span.start} to {span.end}"
                yield Found(path, FoundKind.CONTENT_CHANGED, text)
        elif path in seen.runs:
            yield from _joined(seen, path, facts)
        elif (named := seen.named.get(path)) is not None:
            span = Span(segment_of(path) or "", named.start, named.end)
            is_told = not named.content_id and facts.span  # by an older version, of a file that says what it has
            if facts.span != span if is_told else (named.content_id or named.sha256) not in facts.ids:
                text = f"it does not hold what commit {named.commit[:8]} wrote: {_bytes(named, path)}"
                yield Found(path, FoundKind.CONTENT_CHANGED, text)


def _joined(seen: RepoSnapshot, path: str, facts: FileFacts) -> Iterator[Found]:
    """Compare a joined file with its manifests: with what is left of it where rows were removed on purpose."""
    runs = seen.runs[path]
    names = ", ".join(dict.fromkeys(manifest for manifest, _ in runs))
    rows = sum(run.rows - run.removed for _, run in runs)
    if all(run.rows for _, run in runs) and rows != facts.rows:
        yield Found(path, FoundKind.CONTENT_CHANGED, f"it has {facts.rows} rows, and {names} says {rows}")
        return
    files = {run.file for _, run in runs} - {""}
    is_right = {*facts.ids} >= files
    where = run_ranges([run for _, run in runs], seen.files[path].size)
    wrong = [each for each, at in zip(runs, where, strict=True) if each[1].sha256 not in ("", facts.hashes.get(at))]
    for manifest, run in wrong:
        if files and is_right:
            text = f"its sha256 of {run.segment} in {path} is wrong: the bytes are right by the sha256 of the file"
            yield Found(manifest, FoundKind.MANIFEST_WRONG, text)
        else:
            text = f"its bytes from {run.offset} on are not those of {run.segment} that {manifest} names"
            yield Found(path, FoundKind.CONTENT_CHANGED, text)
    if not is_right and not wrong and all(run.sha256 for _, run in runs):
        text = f"its sha256 of {path} is wrong: the bytes are right by the sha256 of each segment"
        yield Found(runs[0][0], FoundKind.MANIFEST_WRONG, text)
    elif not is_right and not wrong:
        yield Found(path, FoundKind.CONTENT_CHANGED, f"it is not the file that {names} names")


def _unnamed(seen: RepoSnapshot) -> Iterator[Found]:
    for path in seen.unnamed:
        text = f"no commit of a scheduler wrote it, though one wrote earlier parts of its segment{_twin(seen, path)}"
        yield Found(path, FoundKind.PART_DOUBLED, text)


def _twin(seen: RepoSnapshot, path: str) -> str:
    twins = [p for p, file in seen.files.items() if p != path and file.content_id == seen.files[path].content_id]
    return f"; its bytes are those of {twins[0]}" if twins else ""


def _ranges(seen: RepoSnapshot) -> Iterator[Found]:
    """Compare the ranges of each segment: none may be in two files. A gap may be right: damaged lines are not sent."""
    partly = seen.partly_known
    for segment, pieces in seen.pieces.items():

        def order(piece: Piece, segment: str = segment) -> tuple[int, int, bool, int]:
            return piece.start, piece.end, segment_of(piece.path) not in (segment, None), piece.number

        last = Piece(0, 0, -1, "")
        for piece in sorted(pieces, key=order):
            there = f"bytes {piece.start} to {piece.end} of {segment}"
            if piece.start < last.end:
                kind = FoundKind.PART_DOUBLED if piece[:2] == last[:2] else FoundKind.RANGE_OVERLAP
                text = f"it has {there}, and {last.path} has bytes {last.start} to {last.end}"
                yield Found(piece.path, kind, text)
            elif piece.start > last.end and segment not in partly:
                text = f"no part has bytes {last.end} to {piece.start} of {segment}"
                text += ": lines that are damaged on the disk, were removed there, or are not sent yet"
                yield Found(piece.path, FoundKind.RANGE_GAP, text)
            last = max(last, piece, key=lambda each: each.end)


def _card(seen: RepoSnapshot) -> Iterator[Found]:
    if isinstance(seen.configs, str):
        yield Found("README.md", FoundKind.CARD_WRONG, seen.configs)
        return
    for path, file in seen.files.items():
        names = [config.name for config in seen.configs if OldFile.of(file) is None and config.loads_as_ours(path)]
        if names:
            text = f"no scheduler wrote it, and the config {names[0]} loads it with the rows of schedulers"
            yield Found(path, FoundKind.STRAY_FILE, text)
    loaded = [path for path in seen.sources if any(config.loads(path) for config in seen.configs)]
    unread = sorted(seen.sources.keys() - loaded) if seen.is_dataset else []
    for folder, paths in groupby(unread, lambda path: str(PurePosixPath(path).parent)):
        yield Found(folder, FoundKind.CARD_WRONG, f"no config of the card loads {len([*paths])} of its files of rows")
    for config in seen.configs:
        found = sorted(
            (path, facts.columns - config.columns)
            for path, facts in seen.facts.items()
            if config.columns and not facts.columns <= config.columns and config.loads(path)
        )
        columns = ", ".join(sorted({column for _, names in found for column in names}))
        if found:
            text = f"its config {config.name} lacks columns that {found[0][0]} has: {columns}"
            yield Found("README.md", FoundKind.CARD_WRONG, f"{text}; load_dataset fails")


def _unchecked(seen: RepoSnapshot) -> Iterator[Found]:
    def is_unchecked(path: str) -> bool:
        facts = seen.facts.get(path)
        return facts is None or not (facts.span or facts.damage or path in seen.named or path in seen.runs)

    parts = (path for path, source in seen.sources.items() if not source.level)
    paths = sorted(path for path in parts if path not in seen.unnamed and is_unchecked(path))
    for folder, group in groupby(paths, lambda path: str(PurePosixPath(path).parent)):
        count = len([*group])
        text = f"{count} of its files cannot be checked: no commit and no manifest says what was sent of them"
        yield Found(folder, FoundKind.UNCHECKED, text)


def _bytes(named: NamedPart, path: str) -> str:
    return f"bytes {named.start} to {named.end} of {segment_of(path)}"
