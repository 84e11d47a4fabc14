"""The content of a part: the bytes of its range, or an encoded file, in which a row that cannot be stored is text."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import IO

from hubspool.client.file_range import FileRange
from hubspool.errors import HubspoolError, LocalFileError
from hubspool.files import has_content, open_regular
from hubspool.push.compare import Digest, common_lines, digests, find_content, find_digest
from hubspool.push.defaults import DEFAULTS
from hubspool.push.encodings import Encoding, Span
from hubspool.push.lines import Kind, cut, damaged_lines
from hubspool.push.manifest import HeldPart
from hubspool.push.part import Part
from hubspool.push.remote import RemoteFile, RepoReader
from hubspool.push.rules import after_changed_in_doubt, after_foreign_change, compacted
from hubspool.spool.segment_name import SegmentName
from hubspool.spool.staging import StagedFile, StagingFolder


@dataclass(frozen=True)
class Payload:
    """The content to commit at a part's path: a range of a local file, and its sha256."""

    range: FileRange
    sha256: str


class Payloads:
    """Provides the content of parts. The user's files, and segments without an encoding, are sent as they are.

    An encoded file is staged (synced, with a manifest) before the ledger or a request refers to it, and kept until it
    is acknowledged; that of an open part is kept to be extended.

    Used by the pushing thread only.

    Args:
        encoding: of the segments with its suffix; None if there is none.
        folder: the staging folder of the target.
        unfit: receives the lines that the encoding could not store: name of the segment → position of the line → error.
    """

    def __init__(self, encoding: Encoding | None, folder: Path, unfit: dict[str, dict[int, str]] | None = None) -> None:
        self.unfit = {} if unfit is None else unfit
        self.encoding = encoding
        #: Suffix of the segments that are sent here; the scheduler that wrote the others sends them.
        self.suffix = encoding.suffix if encoding else ""
        self._staging = StagingFolder(folder, self.suffix)

    def payload(self, path: Path, part: Part, end: int, digest: Digest) -> Payload:
        """Return the content for [part.start, `end`).

        Args:
            path: the local file.
            part: the part to commit.
            end: its new end in the file, in bytes.
            digest: of that range.

        Raises:
            OSError: the file is gone, or cannot be read.
            LocalFileError: the lines cannot be encoded.
        """
        encoding = self._encoding_of(part.source)
        if encoding is None:
            return Payload(FileRange(path, part.start, end, digest.identity, part.head), digest.sha256)
        staged = self._stage(encoding, path, part, end, digest, self._base(part))
        staged = staged or self._stage(encoding, path, part, end, digest, None)
        assert staged is not None  # every range can begin a part
        return Payload(FileRange(self._staging.path_of(part.path, end), 0, staged.size), staged.sha256)

    def can_extend(self, path: Path, part: Part, end: int, digest: Digest) -> bool:
        """Return True if the content of an open part of a segment can be extended to `end`."""
        if self.encoding is None:
            return True
        return self._stage(self.encoding, path, part, end, digest, self._base(part)) is not None

    def damaged(self, path: Path, start: int, end: int) -> tuple[tuple[int, int], ...]:
        """Return the ranges of the damaged lines in [start, `end`) of a segment, which are not sent."""
        if self.encoding is None:
            return damaged_lines(path, start, end)
        try:
            return self.encoding.damaged(FileRange(path, start, end))
        except (OSError, HubspoolError):
            raise
        except Exception:  # noqa: BLE001  of a library: `encode` meets it again, and then asks which lines they are
            return damaged_lines(path, start, end)

    def verified_end(self, path: Path, part: Part, file: RemoteFile, reader: RepoReader) -> int | None:
        """Return the end of the range that `file`, at the part's path on the Hub, holds; None if it is not ours.

        Args:
            path: the local file.
            part: the part to commit.
            file: the file at the part's path.
            reader: reads from `file`.
        """
        found = self.range_on_hub(path, part, file, reader)
        if found is None or found[0] != part.start:
            return None
        # An encoded file of a longer range is ours although its content is unknown: rows that the Hub once had are not
        # sent again, even if a person has since removed some of them. Other content of a known range is a person's.
        known = part.end if part.sending_end is None else part.sending_end - 1
        return found[1] if self._encoding_of(part.source) is None or found[1] > known else None

    def range_on_hub(
        self, path: Path, part: Part, file: RemoteFile, reader: RepoReader, *, anywhere: int | None = None
    ) -> tuple[int, int] | None:
        """Return the range of a local file that `file` on the Hub holds, in bytes; None if it is not ours.

        If the Hub's file goes on after the local one, as for a copy of a folder, the range ends with the local file.

        Args:
            path: the local file.
            part: has the path of `file`, and the start where the range is expected.
            file: the file on the Hub.
            reader: reads from `file`.
            anywhere: the range may begin at another line; the file has this many bytes of the local file's beginning (a
                table's header) before it. None: it may not.
        """
        encoding, size = self._encoding_of(part.source), path.stat().st_size
        if encoding is not None:
            span = self._span(encoding, part.source, file, reader)
            return None if span is None or span.end > size else (span.start, span.end)
        start, length = part.start, file.size - part.head
        if has_content(path, file.size, file.content_id, start, part.head):
            return start, start + length
        if 0 < size - start < length <= DEFAULTS.compare_bytes:
            with open_regular(path) as local:
                local.seek(start)
                if local.read() == reader.read(file.path, part.head, size - start):
                    return start, size
        if anywhere is None:
            return None
        found = find_content(path, size, file, partial(reader.read, file.path), anywhere)
        return None if found is None else (found, found + file.size - anywhere)

    def after_join(
        self, path: Path, part: Part, held: HeldPart, *, has_landed: bool = False, is_last: bool = True
    ) -> Part:
        """Return a part of a segment after its file was joined with others (`rules.compacted`).

        Args:
            path: the local file.
            part: as the ledger has it.
            held: what the manifest says of it.
            has_landed: its commit in doubt landed before the join.
            is_last: its commit in doubt can land no more, or has landed after the join.
        """
        end = held.end(part.start)
        if part.content_id == held.digest and part.end == end:
            return compacted(part, end, part.rows, part.sha256 or "", held.digest)
        is_ours = end <= path.stat().st_size
        if is_ours and self._encoding_of(part.source) is None:
            # Of a part of which rows were removed, the manifest has no digest, and this disk has other bytes.
            is_removed = not held.digest and cut(path, Kind.TEXT, 0, end) == end
            is_ours = is_removed or has_content(path, held.size, held.digest, part.start, 0)
        if not is_ours:
            rows = digests(path, part.start, [part.sent_end])[0].rows if has_landed else 0
            return after_changed_in_doubt(part, rows, has_landed=has_landed, is_last=is_last)
        digest = digests(path, part.start, [end])[0]
        return compacted(part, end, digest.rows, digest.sha256, held.digest)

    def range_of_joined(self, path: Path, held: HeldPart, starts: Sequence[int]) -> tuple[int, int] | None:
        """Return the range of a segment that a joined file holds of one of its parts; None if it is not found.

        Args:
            path: the segment.
            held: what the manifest says of the part.
            starts: where it may begin if no commit says it; other lines are tried after these.
        """
        size = path.stat().st_size
        start = held.start
        if start is None and held.digest:
            at = (each for each in starts if has_content(path, held.size, held.digest, each))
            start = next(at, None)
            start = find_digest(path, size, held.size, held.digest) if start is None else start
        return None if start is None or held.end(start) > size else (start, held.end(start))

    def closed_by_others(
        self, path: Path, part: Part, kind: Kind | None, file: RemoteFile | None, reader: RepoReader
    ) -> Part:
        """Return the part after somebody changed or removed its content on the Hub (`rules.after_foreign_change`).

        Lines of a user's file that the Hub has at the same place are acknowledged: another copy of the folder, which
        had them too, has sent them.
        """
        closed = after_foreign_change(part, kind)
        if kind is None or not kind.is_lines or file is None or file.size > DEFAULTS.compare_bytes:
            return closed
        end = part.start + common_lines(path, part.start, reader.read(file.path, part.head, file.size))
        if end <= part.end:
            return closed
        digest = digests(path, part.start, [end], part.head)[0]
        return replace(closed, end=end, rows=digest.rows, sha256=digest.sha256)

    def clean_up(self, known: Mapping[str, Sequence[Part]], folder: Path) -> None:
        """Remove the encoded files that no part needs.

        Args:
            known: the parts of each source.
            folder: the folder of the segments.
        """
        if self.encoding is None:
            return
        needed = {
            self._staging.path_of(part.path, end).name
            for parts in known.values()
            for part in parts
            for end in _ends(part)
            if end == part.sending_end or not part.closed  # to repeat a commit, or to be extended
        }
        sent = {source: max(part.end for part in parts) for source, parts in known.items() if parts}
        self._staging.clean_up(needed, sent, folder)

    def release(self, path: Path, size: int) -> None:
        """Tell the encoding that the first `size` bytes of a segment are on the Hub, before it is removed."""
        if self.encoding is not None:
            self.encoding.release(path, size)

    def _stage(
        self, encoding: Encoding, path: Path, part: Part, end: int, digest: Digest, base: Path | None
    ) -> StagedFile | None:
        """Return the staged file for [part.start, `end`), encoded now if there is none; None if `base` cannot grow."""
        out = self._staging.path_of(part.path, end)
        found = self._staging.find(out)
        is_known = found is not None and (found.start, found.lines) == (part.start, digest.sha256)
        if is_known and (part.in_doubt or encoding.is_current(out)):
            encoding.reuse(out)
            return found
        hidden = self._staging.new_file()
        lines = FileRange(path, part.end if base else part.start, end)
        try:
            if not self._encode(encoding, Span(path.name, part.start, end), lines, base, hidden):
                return None
            staged = self._staging.add(hidden, StagedFile(part.source, part.start, end, part.path, digest.sha256))
        except (OSError, HubspoolError):
            raise
        except Exception as error:  # any other error of a library about these lines must not hold up the others
            raise LocalFileError(f"{path} cannot be stored as {self.suffix}: {error!r}", path=path) from error
        finally:
            hidden.unlink(missing_ok=True)
        self._staging.remove_superseded(part.path, [*_ends(part), end])
        return staged

    def _encode(self, encoding: Encoding, span: Span, lines: FileRange, base: Path | None, out: Path) -> bool:
        """Encode lines; keep those that the encoding cannot store as text. Return False if `base` cannot grow."""
        if base is not None:
            return refusal(encoding, span, lines, base, out) is None
        found = encode_all(encoding, span, lines, out)
        if found:
            self.unfit.setdefault(span.segment, {}).update(found)
        return True

    def _base(self, part: Part) -> Path | None:
        """Return the staged file with the content that the Hub has of a part, to extend it."""
        path = self._staging.path_of(part.path, part.end)
        found = self._staging.find(path) if part.end > part.start else None
        return path if found is not None and found.sha256 == part.content_id else None

    def _span(self, encoding: Encoding, source: str, file: RemoteFile, reader: RepoReader) -> Span | None:
        span = encoding.span_of(file.size, lambda start, length: reader.read(file.path, start, length))
        return span if span is not None and span.segment == PurePosixPath(source).name else None

    def _encoding_of(self, source: str) -> Encoding | None:
        segment = SegmentName.parse(PurePosixPath(source).name)
        return self.encoding if segment is not None and segment.suffix == self.suffix else None


def _ends(part: Part) -> list[int]:
    return [part.end] if part.sending_end is None else [part.end, part.sending_end]


class CannotGrowError(ValueError):
    """`Encoding.encode` returned False."""


@dataclass(frozen=True, slots=True)
class _Lines(FileRange):
    """Some of the lines in a range of a file, or other lines in their place. `path` only has the folder of the file."""

    content: bytes = b""

    @property
    def size(self) -> int:
        return len(self.content)

    def open(self) -> IO[bytes]:
        return io.BytesIO(self.content)


def encode_all(encoding: Encoding, span: Span, lines: FileRange, out: Path) -> dict[int, str]:
    """Encode lines as a new file at `out`; store `Encoding.in_place_of` the lines for which the encoding fails.

    They are found by halving. All lines are replaced if each of them could be stored, but not all in one file.

    Returns:
        The position of each replaced line in its file → the error.

    Raises:
        OSError, HubspoolError, MemoryError: of `encode`.
        Exception: the encoding fails for any line, also for those in place of others.
    """
    if (reason := refusal(encoding, span, lines, None, out)) is None:
        return {}
    with lines.open() as file:
        rows = file.read(lines.size).splitlines(keepends=True)
    path = lines.path.with_name(f"{lines.path.name}~")  # another name, by which the encoding cannot know these lines

    def refused(chosen: list[bytes]) -> Exception | None:
        some = _Lines(path, lines.start, lines.end, content=b"".join(chosen))
        return refusal(encoding, span, some, None, out)

    def failing(begin: int, end: int, error: Exception) -> dict[int, Exception]:
        if end - begin == 1:
            return {begin: error}
        middle, found = (begin + end) // 2, {}
        for half in ((begin, middle), (middle, end)):
            if (reason := refused(rows[slice(*half)])) is not None:
                found.update(failing(*half, reason))
        return found

    starts = list(accumulate(map(len, rows), initial=lines.start))
    last = reason
    for bad in (failing(0, len(rows), reason), dict.fromkeys(range(len(rows)), reason)):
        error = refused([encoding.in_place_of(row) if number in bad else row for number, row in enumerate(rows)])
        if error is None:
            return {starts[number]: repr(why) for number, why in bad.items()}
        last = error
    raise last


def refusal(encoding: Encoding, span: Span, lines: FileRange, base: Path | None, out: Path) -> Exception | None:
    """Encode lines; return the error of a library, or None if there is none.

    Raises:
        OSError, HubspoolError, MemoryError: of `encode`, for a reason that is not in the lines.
    """
    out.unlink(missing_ok=True)
    try:
        return None if encoding.encode(span, lines, base, out) else CannotGrowError(base)
    except (OSError, HubspoolError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  one of the rows is to blame, which the caller finds
        return error
