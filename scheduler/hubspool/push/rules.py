"""What to commit, and what to protect: decisions only, values in, values out.

Which interleavings of lost, late and repeated commits these rules survive was found by searching all of them; the
rule that looks simpler (let a path grow again once a repeated commit succeeded) loses rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from hubspool.push.compare import Relation
from hubspool.push.lines import Kind
from hubspool.push.part import Closed, Part
from hubspool.spool.segment_name import part_path, versioned_path


class OnExisting(str, Enum):
    """What to do where the Hub holds other content at a path that this folder wants to write."""

    KEEP_BOTH = "keep_both"
    """Rows go to a new path beside it; any other file becomes a new version, and the history keeps the old one."""
    OVERWRITE = "overwrite"
    """The local file replaces it."""
    ERROR = "error"
    """The file is set aside with an error; nothing is written."""


@dataclass(frozen=True)
class Rules:
    """Numbers that shape parts and commits.

    Sixteen commits, because a path that was grown by many small pushes stops being deduplicated (600 pushes to one
    path sent 17.7 bytes a byte), and because every version of a large file counts against the owner's storage. For both
    reasons three commits are enough once it holds `large_bytes`: each growth sends its last, unfinished chunk anew
    (45 kB on average), so that 600 pushes of 100 kB to parts of sixteen commits sent 1.49 bytes a byte.
    A record file cannot continue under another name, so one of more than `record_bytes` waits until it has grown by a
    sixteenth, or for half an hour.
    """

    part_commits: int = 16
    part_bytes: int = 32 * 1024 * 1024
    large_commits: int = 3
    large_bytes: int = 256 * 1024
    part_seconds: float = 24 * 3600
    batch_files: int = 1000
    batch_bytes: int = 100_000_000
    record_growth: float = 1 / 16
    record_seconds: float = 30 * 60
    record_bytes: int = 1024 * 1024


@dataclass(frozen=True)
class Upload:
    """Make bytes [part.start, end) of the part's source stand at the part's path.

    Args:
        part: the part as the ledger has it.
        end: where it will end in the source; bytes.
        guarded: the commit must carry parentCommit, since others may write to this path.
        replaces: id of the content at the path that was seen and is to be replaced, or None.
    """

    part: Part
    end: int
    guarded: bool = False
    replaces: str | None = None

    @property
    def is_repeat(self) -> bool:
        """Whether these very bytes were sent before, with an outcome that is not known."""
        return self.part.in_doubt

    @property
    def size(self) -> int:
        """Bytes of the content; where the lines are encoded, of what they are encoded from."""
        return self.part.head + self.end - self.part.start

    @property
    def new_bytes(self) -> int:
        """Bytes that no acknowledged commit holds."""
        return max(self.end - self.part.end, 0)


@dataclass(frozen=True)
class FileDecision:
    """What `plan_file` found: parts to write to the ledger, at most one upload, or the reason to set the file aside."""

    parts: tuple[Part, ...] = ()
    upload: Upload | None = None
    refused: str | None = None


@dataclass(frozen=True)
class Naming:
    """How paths in the repo are made.

    Args:
        prefix: the folder's path in the repo, with a trailing ``/``, or empty.
        folder_id: the folder's random id; keeps two folders that continue the same name from meeting.
    """

    prefix: str
    folder_id: str

    def part(self, source: str, number: int, start: int, now: float, head: int = 0) -> Part:
        """Return an unsent part of one of the user's files; `head` bytes of its header come before a later start."""
        path = self.prefix + versioned_path(source, number, self.folder_id)
        return Part(source, number, path, start, start, opened_at=now, head=min(head, start))

    def segment_part(self, source: str, number: int, start: int, now: float) -> Part:
        """Return an unsent part of a segment."""
        return Part(source, number, self.prefix + part_path(source, number), start, start, opened_at=now)


def open_part(parts: Sequence[Part], now: float, rules: Rules) -> Part | None:
    """Return the part of a segment that may still grow, if any: the last one, unless it is closed or full."""
    if not parts:
        return None
    last = parts[-1]
    return None if last.closed or last.in_doubt or _is_full(last, now, rules) else last


def position_of(parts: Sequence[Part]) -> int:
    """Return up to where a source is spoken for: acknowledged, or sent with an unknown outcome; bytes."""
    if not parts:
        return 0
    last = parts[-1]
    return last.end if last.sending_end is None else last.sending_end


def room(parts: Sequence[Part], now: float, rules: Rules) -> int:
    """Return how many bytes the next part to be written can take before it is full."""
    current = open_part(parts, now, rules)
    return rules.part_bytes if current is None else rules.part_bytes - (current.end - current.start)


def plan_segment(
    source: str, parts: Sequence[Part], ranges: Sequence[tuple[int, int]], naming: Naming, now: float, rules: Rules
) -> list[Upload]:
    """Return the uploads that bring a segment's rows to the Hub.

    Args:
        source: the segment's path in the folder.
        parts: what the ledger knows of it, in order.
        ranges: whole lines after `position_of(parts)`, ascending; each fits a part (`room` for the first, `part_bytes`
            for others), and between two of them there may be damaged lines, which no part holds.
        naming: how paths in the repo are made.
        now: seconds since the epoch.
    """
    uploads = [Upload(part, part.sending_end) for part in parts if part.sending_end is not None]
    current = open_part(parts, now, rules)
    number = len(parts)
    for start, end in ranges:
        if current is None or current.end != start:
            current = naming.segment_part(source, number, start, now)
            number += 1
        uploads.append(Upload(current, end))
        current = None
    return uploads


def plan_file(
    source: str,
    kind: Kind,
    parts: Sequence[Part],
    end: int,
    *,
    intact: bool,
    same: bool,
    relation: Relation,
    remote_id: str | None,
    header: int,
    on_existing: OnExisting,
    naming: Naming,
    now: float,
) -> FileDecision:
    """Decide about one of the user's files, none of whose parts is in doubt.

    Args:
        source: its path in the folder.
        kind: what its bytes mean for a cut.
        parts: what the ledger knows of it, in order; a file that was found on the Hub as a prefix of the local one
            counts as known (`adopted`).
        end: up to where it is to be sent; bytes.
        intact: [start, end) of the last part is still what was committed.
        same: [start, `end`) is exactly what the last part holds on the Hub.
        relation: how [0, end) compares with what stands at `candidate_path`; means nothing where that is None.
        remote_id: id of the content there.
        header: length of a table's first line, which every further part begins with; bytes.
        on_existing: the caller's wish.
        naming: how paths in the repo are made.
        now: seconds since the epoch.
    """
    last = parts[-1] if parts else naming.part(source, 0, 0, now)
    if last.closed:
        last = naming.part(source, last.number + 1, last.end, now, header)
    if last.content_id is None and last.start == 0:
        return _first_commit(last, end, relation, remote_id, on_existing)
    if same or (kind.is_lines and intact and end <= last.end):
        return FileDecision()
    if kind.is_lines and not intact:
        if on_existing is OnExisting.ERROR:
            return FileDecision(refused=f"{source} no longer begins with what was committed, and on_existing='error'")
        if on_existing is OnExisting.KEEP_BOTH:
            ended = replace(last, closed=Closed.REWRITTEN)
            return FileDecision((ended,), Upload(naming.part(source, last.number + 1, 0, now), end, guarded=True))
    return FileDecision(upload=Upload(last, end, guarded=True))


def candidate_path(source: str, parts: Sequence[Part], naming: Naming) -> str | None:
    """Return the path whose content on the Hub `plan_file` must know, or None where the ledger knows it."""
    if not parts:
        return naming.part(source, 0, 0, 0).path
    last = parts[-1]
    if last.closed:
        return None if last.end else naming.part(source, last.number + 1, 0, 0).path
    return last.path if last.content_id is None and last.start == 0 else None


def is_due(size: int, new_bytes: int, seconds: float, rules: Rules) -> bool:
    """Whether the `new_bytes` of a record file are to be sent, `size` bytes of which were sent `seconds` ago."""
    return size < rules.record_bytes or new_bytes >= size * rules.record_growth or seconds >= rules.record_seconds


def met(part: Part, kind: Kind, relation: Relation, on_existing: OnExisting) -> Part | None:
    """Return the part closed, where its path holds rows that are not this file's; None where it may be used.

    The next part then gets a name of its own. Other files, and callers who chose to overwrite or to be told, keep the
    path.
    """
    if kind.is_lines and relation is Relation.DIVERGED and on_existing is OnExisting.KEEP_BOTH:
        return replace(part, closed=Closed.FOREIGN)
    return None


def adopted(part: Part, end: int, rows: int, sha256: str, content_id: str) -> Part:
    """Return the part once its [start, `end`) was found standing on the Hub already."""
    return replace(part.withdrawn(), end=end, rows=rows, sha256=sha256, content_id=content_id)


def closed_unknown(part: Part) -> Part:
    """Return the part closed because it is not known which commit wrote what its path holds."""
    return replace(part, closed=Closed.UNKNOWN)


def after_foreign_change(part: Part, kind: Kind | None) -> Part:
    """Return the part after its content on the Hub turned out to be somebody else's, or gone.

    A row file's part is closed and never sent again (a person may have removed their data); later rows go to the next
    one. Any other file of the user's is versioned by the history, so the next local version goes on top.
    """
    if kind is Kind.WHOLE:
        return replace(part.withdrawn(), content_id=None, sha256=None)
    return replace(part.withdrawn(), closed=Closed.FOREIGN)


def resolved(part: Part, rows: int, remote_id: str | None) -> Part | None:
    """Return the part once a look at its path told the outcome of the commit in doubt; None if it is foreign.

    Only for paths whose commits carry parentCommit: there a commit that did not land can no longer land beside a later
    one. A spool's part stays as it is until the bytes in doubt are found on the Hub.
    """
    if remote_id == part.sending_id:
        return part.acknowledged(rows)
    return part.withdrawn() if remote_id == part.content_id else None


def landed(part: Part, rows: int, now: float, rules: Rules, *, was_in_doubt: bool) -> Part:
    """Return the part after its commit landed: closed for ever if it was in doubt before, or if it is full now."""
    part = part.acknowledged(rows)
    if was_in_doubt:
        return replace(part, closed=Closed.UNKNOWN)
    return replace(part, closed=Closed.FULL) if _is_full(part, now, rules) else part


def recovered_parts(
    source: str,
    found: Sequence[tuple[str, int, str]],
    damaged: Sequence[tuple[int, int]],
    naming: Naming,
    now: float,
    size: int,
) -> list[Part]:
    """Return the parts of a segment whose ledger was lost, from what stands on the Hub; all closed.

    Parts of a segment follow each other, so their sizes alone tell where each began.

    Args:
        found: (path, bytes of the segment that it holds, content id) of the Hub's files at the part paths of this
            segment, in any order.
        damaged: ranges that no part holds.
        size: the segment's local size: a part that reaches beyond it cannot be told from a foreign file.
    """
    by_path = {path: (length, content_id) for path, length, content_id in found}
    after = dict(damaged)
    parts: list[Part] = []
    position = 0
    for number in range(len(found)):
        while position in after:
            position = after[position]
        part = naming.segment_part(source, number, position, now)
        length, content_id = by_path.get(part.path, (0, ""))
        if not content_id or position + length > size:
            break
        parts.append(replace(part, end=position + length, content_id=content_id, commits=1, closed=Closed.FULL))
        position += length
    return parts


def batches(uploads: Sequence[Upload], rules: Rules) -> Iterator[list[Upload]]:
    """Yield commits: consecutive uploads of at most `batch_files` files and `batch_bytes` bytes each."""
    batch: list[Upload] = []
    size = 0
    for upload in uploads:
        if batch and (len(batch) >= rules.batch_files or size + upload.size > rules.batch_bytes):
            yield batch
            batch, size = [], 0
        batch.append(upload)
        size += upload.size
    if batch:
        yield batch


def _is_full(part: Part, now: float, rules: Rules) -> bool:
    return (
        part.commits >= rules.part_commits
        or (part.commits >= rules.large_commits and part.end - part.start >= rules.large_bytes)
        or part.end - part.start >= rules.part_bytes
        or now - part.opened_at >= rules.part_seconds
    )


def _first_commit(
    part: Part, end: int, relation: Relation, remote_id: str | None, on_existing: OnExisting
) -> FileDecision:
    if relation is not Relation.ABSENT and on_existing is OnExisting.ERROR:
        return FileDecision(refused=f"{part.path} exists on the Hub with other content, and on_existing='error'")
    return FileDecision(upload=Upload(part, end, guarded=True, replaces=remote_id))
