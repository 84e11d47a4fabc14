"""The rules of the commit protocol: what to commit, and what to protect. Pure functions without I/O.

A search of all interleavings of lost, late and repeated commits showed that these rules lose and double no row. A rule
that looks simpler (a path grows again after a repeated commit succeeded) loses rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from heapq import nlargest
from typing import TypeVar

from hubspool.files import Stat
from hubspool.push.compare import Relation
from hubspool.push.defaults import PushLimits
from hubspool.push.lines import Kind
from hubspool.push.part import Closed, Part
from hubspool.push.published import uncovered
from hubspool.spool.segment_name import SegmentName, part_path, range_path, versioned_path

T = TypeVar("T")


class OnExisting(str, Enum):
    """What to do if a path that this folder wants to write has other content on the Hub."""

    KEEP_BOTH = "keep_both"
    """Rows go to a new path beside it; any other file becomes a new version, and the history keeps the old one."""
    OVERWRITE = "overwrite"
    """The local file replaces it."""
    ERROR = "error"
    """The file is skipped with an error; nothing is written."""


@dataclass(frozen=True)
class Upload:
    """Bytes [part.start, end) of a source that are to become the content at the part's path.

    Args:
        part: the part as the ledger has it.
        end: its new end in the source, in bytes.
        guarded: the commit must carry parentCommit, since others may write to this path; False for parts of segments.
        replaces: id of the content at the path that is to be replaced, or None.
    """

    part: Part
    end: int
    guarded: bool = False
    replaces: str | None = None

    @property
    def is_repeat(self) -> bool:
        """Return True if these bytes were sent before, with an unknown outcome."""
        return self.part.in_doubt

    @property
    def begins_part(self) -> bool:
        """Return True if it is the first of a part of a segment."""
        return self.part.commits == 0 and not self.guarded

    @property
    def size(self) -> int:
        """Size of the content in bytes; if the lines are encoded, the size of the lines."""
        return self.part.head + self.end - self.part.start

    @property
    def new_bytes(self) -> int:
        """Number of bytes that no acknowledged commit contains."""
        return max(self.end - self.part.end, 0)


@dataclass(frozen=True)
class FileState:
    """One of the user's files, compared with the ledger and the Hub.

    Args:
        source: its path in the folder.
        kind: of its content.
        parts: its parts in the ledger, in order; a prefix of the local file that was found on the Hub counts as
            a part (`adopted`).
        end: of the range to send, in bytes.
        header: length of a table's first line, in bytes; the content of every further part begins with it.
        intact: the local bytes of the last part are still those that were committed.
        versions_rewritten: if `intact` is False, the file becomes a new version; by default `OnExisting` decides.
        same: [start, `end`) is exactly the content of the last part on the Hub.
        relation: how [0, end) compares with the file at `candidate_path`; without meaning if that is None.
        remote_id: id of the content of that file.
    """

    source: str
    kind: Kind
    parts: Sequence[Part]
    end: int
    header: int = 0
    intact: bool = False
    versions_rewritten: bool = False
    same: bool = False
    relation: Relation = Relation.ABSENT
    remote_id: str | None = None


@dataclass(frozen=True)
class FileDecision:
    """The result of `plan_file`: parts to write to the ledger, at most one upload, or the reason to skip the file."""

    parts: tuple[Part, ...] = ()
    upload: Upload | None = None
    refused: str | None = None


@dataclass(frozen=True)
class Naming:
    """Names the paths in the repository.

    Args:
        prefix: the folder's path in the repository, with a trailing ``/``, or empty.
        folder_id: the folder's random id; two folders that continue the same file use different paths.
        by_range: the path of a segment's part tells its range, as in a bucket; otherwise its number.
    """

    prefix: str
    folder_id: str
    by_range: bool = False

    def part(self, source: str, number: int, start: int, now: float, head: int = 0) -> Part:
        """Return an unsent part of a user's file; if `start` is not 0, its content begins with the `head` bytes."""
        path = self.prefix + versioned_path(source, number, self.folder_id)
        return Part(source, number, path, start, start, opened_at=now, head=min(head, start))

    def segment_part(self, source: str, number: int, start: int, now: float) -> Part:
        """Return an unsent part of a segment."""
        return Part(source, number, self.prefix + part_path(source, number), start, start, opened_at=now)

    def up_to(self, part: Part, end: int) -> Part:
        """Return an unsent part of a segment with the path of its bytes up to `end`."""
        if not self.by_range:
            return part
        return replace(part, path=self.prefix + range_path(part.source, part.start, end))


def open_part(parts: Sequence[Part], now: float, limits: PushLimits) -> Part | None:
    """Return the part of a segment that may still grow: the last one, unless it is closed, in doubt or full."""
    if not parts:
        return None
    last = parts[-1]
    return None if last.closed or last.in_doubt or _is_full(last, now, limits) else last


def position_of(parts: Sequence[Part]) -> int:
    """Return the end of what was sent of a source (acknowledged or in doubt), in bytes."""
    return max((part.sent_end for part in parts), default=0)


def missing(parts: Sequence[Part], end: int) -> list[tuple[int, int]]:
    """Return the ranges of [0, `end`) that no part contains, ascending."""
    return uncovered(0, end, [(part.start, part.sent_end) for part in parts])


def removed_parts(source: str, parts: Sequence[Part], ranges: Sequence[tuple[int, int, int]]) -> list[Part]:
    """Return the parts, and one more for each range (start, end, rows) of lines that were removed and never sent."""
    first = min([0, *(part.number for part in parts)])
    new = [
        Part(source, first - number, source, start, end, 0.0, rows=rows, closed=Closed.REMOVED)
        for number, (start, end, rows) in enumerate(ranges, 1)
    ]
    return [*reversed(new), *parts]


def bytes_left(parts: Sequence[Part], now: float, limits: PushLimits) -> int:
    """Return how many bytes the next upload of a segment can add to its part before the part is full."""
    current = open_part(parts, now, limits)
    return limits.part_bytes if current is None else limits.part_bytes - (current.end - current.start)


def plan_segment(
    source: str,
    parts: Sequence[Part],
    ranges: Sequence[tuple[int, int]],
    naming: Naming,
    now: float,
    limits: PushLimits,
) -> list[Upload]:
    """Return the uploads for a segment.

    Args:
        source: the segment's path in the folder.
        parts: its parts in the ledger, in order.
        ranges: whole lines that no part contains, ascending. Each fits a part (`bytes_left` for one that continues the
            open part, `part_bytes` for the others); between two of them there may be damaged lines.
        naming: names the paths in the repository.
        now: seconds since the epoch.
        limits: the limits of parts.
    """
    uploads = [Upload(part, part.sending_end) for part in parts if part.sending_end is not None]
    current = open_part(parts, now, limits)
    number = parts[-1].number + 1 if parts else 0
    for start, end in ranges:
        if current is None or current.end != start:
            current = naming.segment_part(source, number, start, now)
            number += 1
        uploads.append(Upload(naming.up_to(current, end), end))
        current = None
    return uploads


def plan_file(file: FileState, on_existing: OnExisting, naming: Naming, now: float) -> FileDecision:
    """Decide about one of the user's files, none of whose parts is in doubt.

    Args:
        file: what is known of it.
        on_existing: the caller's choice.
        naming: names the paths in the repository.
        now: seconds since the epoch.
    """
    source, end = file.source, file.end
    own = naming.part(source, 0, 0, now)
    last = file.parts[-1] if file.parts else own
    if last.closed:
        last = next_part(file.parts, naming, now, file.header)
    if file.kind is Kind.WHOLE and last.path != own.path:  # it was line data before
        last = replace(own, number=len(file.parts))
    elif not file.kind.is_lines and last.start:
        last = naming.part(source, len(file.parts), 0, now)
    if last.content_id is None and last.start == 0:
        return _first_commit(last, file, on_existing)
    if file.same or (file.kind.is_lines and file.intact and end <= last.end):
        return FileDecision()
    if file.kind.is_lines and not file.intact:
        if on_existing is OnExisting.ERROR:
            return FileDecision(refused=f"{source} no longer begins with what was committed, and on_existing='error'")
        # A part that begins inside the file cannot become a version of it.
        if last.start or (on_existing is OnExisting.KEEP_BOTH and not file.versions_rewritten):
            ended = replace(last, closed=Closed.REWRITTEN)
            return FileDecision((ended,), Upload(naming.part(source, last.number + 1, 0, now), end, guarded=True))
    return FileDecision(upload=Upload(last, end, guarded=True))


def next_part(parts: Sequence[Part], naming: Naming, now: float, head: int) -> Part:
    """Return an unsent part of a user's file whose last part is closed: after its end, or all of a rewritten file."""
    last = parts[-1]
    start = 0 if last.closed is Closed.REWRITTEN else last.end
    return naming.part(last.source, last.number + 1, start, now, head)


def candidate_path(source: str, parts: Sequence[Part], naming: Naming) -> str | None:
    """Return the path whose content on the Hub `plan_file` needs to know; None if the ledger knows it."""
    if not parts:
        return naming.part(source, 0, 0, 0).path
    last = parts[-1]
    if last.closed:
        return next_part(parts, naming, 0, 0).path
    return last.path if last.content_id is None else None


def is_due(size: int, new_bytes: int, seconds: float, limits: PushLimits) -> bool:
    """Return True if the `new_bytes` of a record file are to be sent now; its first `size` were sent `seconds` ago."""
    return size < limits.record_bytes or new_bytes >= size * limits.record_growth or seconds >= limits.record_seconds


def unless_compared(settled: Mapping[str, Stat], limits: PushLimits) -> dict[str, Stat]:
    """Return the settled files without those whose content a final push compares, although their times are the same.

    The kernel notes only the first change of a page that is mapped into memory. The newest files come first, because a
    page that was written back to the disk gets a new time with its next change.
    """
    small = (
        (stat.mtime_ns, path, stat.size)
        for path, stat in settled.items()
        if stat.size < limits.compare_file_bytes
        and not (path.endswith(".jsonl") and SegmentName.parse(path.rpartition("/")[2]))
    )
    known, left = dict(settled), limits.compare_final_bytes
    for _, path, size in nlargest(left // limits.compare_cost_bytes, small):
        left -= max(size, limits.compare_cost_bytes)
        if left < 0:
            break
        del known[path]
    return known


def closed_by_conflict(part: Part, kind: Kind, relation: Relation, on_existing: OnExisting) -> Part | None:
    """Close the part if its path on the Hub has other rows; return None if the path is usable.

    The next part then gets a path of its own. Files without lines keep the path, and so do all files if the caller
    chose "overwrite" or "error".
    """
    if kind.may_be_lines and relation is Relation.DIVERGED and on_existing is OnExisting.KEEP_BOTH:
        return replace(part, closed=Closed.FOREIGN)
    return None


def adopted(part: Part, end: int, rows: int, sha256: str, content_id: str) -> Part:
    """Return the part after its [start, `end`) was found on the Hub."""
    return replace(part.withdrawn(), end=end, rows=rows, sha256=sha256, content_id=content_id)


def closed_unknown(part: Part) -> Part:
    """Return the part closed, because the commit that wrote the content at its path is unknown."""
    return replace(part, closed=Closed.UNKNOWN)


def after_foreign_change(part: Part, kind: Kind | None) -> Part:
    """Return the part after somebody changed or removed its content on the Hub.

    A part of line data is closed and never sent again (a person may have removed their data); later rows go to the next
    part. Any other file is versioned by the history, so the next local version is committed on top.
    """
    if kind is Kind.WHOLE:
        return replace(part.withdrawn(), content_id=None, sha256=None)
    return replace(part.withdrawn(), closed=Closed.FOREIGN)


def after_changed_in_doubt(part: Part, rows: int, *, has_landed: bool, is_last: bool) -> Part:
    """Return a part of a segment after a person has changed or removed its content on the Hub, before or after a join.

    Args:
        part: as the ledger has it.
        rows: lines in what was sent of it.
        has_landed: its commit in doubt is among those of the branch.
        is_last: its commit in doubt can land no more, if it has not. Until then the part stays as it is.
    """
    if part.in_doubt and has_landed:
        part = part.acknowledged(rows)
    elif part.in_doubt and not is_last:
        return part
    return after_foreign_change(part, None)


def compacted(part: Part, end: int, rows: int, sha256: str, content_id: str) -> Part:
    """Return the part after a manifest names its path: what the manifest says counts, whatever the ledger knows.

    Args:
        part: as the ledger has it.
        end: up to where the joined file has its bytes, which are those of the local file.
        rows: lines in [part.start, `end`).
        sha256: of that range.
        content_id: of the part's file before it was joined.
    """
    return replace(adopted(part, end, rows, sha256, content_id), closed=Closed.COMPACTED)


def resolved(part: Part, rows: int, remote_id: str | None) -> Part | None:
    """Return the part in doubt after its path was read, given the id of the content there; None if that is foreign.

    Only for paths whose commits carry parentCommit, where a commit that did not land cannot land after a later one. A
    part of a segment stays in doubt until its bytes are found on the Hub.
    """
    if remote_id == part.sending_id:
        return part.acknowledged(rows)
    return part.withdrawn() if remote_id == part.content_id else None


def landed(part: Part, rows: int, now: float, limits: PushLimits, *, was_in_doubt: bool) -> Part:
    """Return the part after its commit landed: closed if it was in doubt before, or if it is full now."""
    part = part.acknowledged(rows)
    if was_in_doubt:
        return replace(part, closed=Closed.UNKNOWN)
    return replace(part, closed=Closed.FULL) if _is_full(part, now, limits) else part


def looked_up(part: Part, rows: int, remote_id: str | None, published: Iterable[tuple[int, int]]) -> Part:
    """Return a part of a segment in doubt after a look at its bucket: acknowledged, or as it was, to be sent again.

    No other range of its segment may be sent before: it could overlap with one that lands late.

    Args:
        part: as the ledger has it.
        rows: lines in what was sent of it.
        remote_id: id of the content at its path, or None. Only this range has that path: other content was changed.
        published: ranges of the segment that markers name. They were on the Hub, and may have been deleted since.
    """
    if remote_id is None and uncovered(part.start, part.sent_end, published):
        return part
    is_ours = remote_id in (None, part.sending_id)
    return replace(part.acknowledged(rows), closed=Closed.UNKNOWN if is_ours else Closed.FOREIGN)


def joined_ranges(parts: Sequence[Part]) -> list[Part]:
    """Return the parts of a segment in a bucket, with those joined that follow each other and are acknowledged."""
    found: list[Part] = []
    for part in parts:
        last = found[-1] if found else part
        both_are_final = {last.closed, part.closed} <= {Closed.FULL, Closed.UNKNOWN} and not part.in_doubt
        if found and both_are_final and not last.in_doubt and last.end == part.start:
            found.pop()
            part = replace(part, start=last.start, rows=last.rows + part.rows, sha256=None)  # noqa: PLW2901
        found.append(part)
    return found


def recovered_ranges(
    source: str, known: Sequence[Part], found: Iterable[tuple[int, int]], naming: Naming, now: float
) -> list[Part]:
    """Return the parts of a segment whose ledger was lost, or is older than its bucket, after the second look.

    Args:
        source: the segment's path in the folder.
        known: the parts in the ledger, in order.
        found: ranges that files of the bucket and markers name.
        naming: names the paths in the bucket.
        now: seconds since the epoch.
    """
    parts = [replace(part.withdrawn(), closed=part.closed or Closed.UNKNOWN) for part in known if part.end > part.start]
    for start, end in sorted(found):
        for first, last in uncovered(start, end, [(part.start, part.sent_end) for part in parts]):
            part = naming.segment_part(source, parts[-1].number + 1 if parts else 0, first, now)
            parts.append(replace(naming.up_to(part, last), end=last, closed=Closed.UNKNOWN, commits=1))
    return parts


class Read(Enum):
    """What the content at a path of ours on the Hub means for its part."""

    STALE = "less than was acknowledged: the read is older than our commit, and decides nothing"
    REPEAT = "the commit in doubt has not landed: send the same bytes again"
    OURS = "acknowledged up to its end"
    NEWER = "acknowledged up to its end, which is more than the ledger knows of: it is older than the Hub"


def judged(part: Part, end: int) -> Read:
    """Return what follows if the path holds [part.start, `end`) of the local file."""
    if end < part.end:
        return Read.STALE
    if end < part.sent_end:
        return Read.REPEAT
    return Read.NEWER if end > part.sent_end else Read.OURS


@dataclass(frozen=True)
class FoundRange:
    """The range [start, end) of a segment that a file on the Hub holds, at the path of its part `number`."""

    number: int
    start: int
    end: int
    rows: int
    content_id: str


def is_second_look(first_look: float | None, now: float, limits: PushLimits) -> bool:
    """Return True if a look at the parts of a recovered segment is the last: no commit of before can land any more."""
    return first_look is not None and now - first_look >= limits.second_look_seconds


def recovered_parts(
    source: str, known: Sequence[Part], found: Sequence[FoundRange], naming: Naming, now: float
) -> list[Part]:
    """Return the parts of a segment whose ledger was lost, or is older than the Hub, after the second look.

    All are closed, since nobody knows what else was sent under their paths: what is missing goes into new parts.

    Args:
        source: the segment's path in the folder.
        known: the parts in the ledger, in order.
        found: ranges of this segment on the Hub, in any order.
        naming: names the paths in the repository.
        now: seconds since the epoch.
    """
    parts = {part.number: replace(part.withdrawn(), closed=part.closed or Closed.UNKNOWN) for part in known}
    for each in found:
        part = parts.get(each.number) or naming.segment_part(source, each.number, each.start, now)
        if each.end >= part.end or not part.content_id:
            parts[each.number] = replace(
                part, start=each.start, end=each.end, rows=each.rows, content_id=each.content_id, commits=1,
                sha256=None, closed=Closed.UNKNOWN,
            )  # fmt: skip
    return [parts[number] for number in sorted(parts)]


def batches(uploads: Sequence[Upload], limits: PushLimits) -> Iterator[list[Upload]]:
    """Yield the uploads of each commit, in order: at most `batch_files` files and `batch_bytes` bytes."""
    return cut_by_size(uploads, lambda upload: upload.size, limits.batch_files, limits.batch_bytes)


def cut_by_size(items: Iterable[T], size_of: Callable[[T], int], most: int, most_bytes: int) -> Iterator[list[T]]:
    """Yield the items in order, in lists of at most `most` items and `most_bytes` bytes; a larger item is alone."""
    batch: list[T] = []
    size = 0
    for item in items:
        if batch and (len(batch) >= most or size + size_of(item) > most_bytes):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += size_of(item)
    if batch:
        yield batch


def _is_full(part: Part, now: float, limits: PushLimits) -> bool:
    return (
        part.commits >= limits.part_commits
        or (part.commits >= limits.large_commits and part.end - part.start >= limits.large_bytes)
        or part.end - part.start >= limits.part_bytes
        or now - part.opened_at >= limits.part_seconds
    )


def _first_commit(part: Part, file: FileState, on_existing: OnExisting) -> FileDecision:
    if file.relation is not Relation.ABSENT and on_existing is OnExisting.ERROR:
        return FileDecision(refused=f"{part.path} exists on the Hub with other content, and on_existing='error'")
    return FileDecision(upload=Upload(part, file.end, guarded=True, replaces=file.remote_id))
