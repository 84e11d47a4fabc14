"""What stands on the Hub for a part: the bytes of its range, or an encoding of their lines (Parquet, an archive)."""

from __future__ import annotations

import os
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

import orjson

from hubspool.client.file_range import FileRange
from hubspool.errors import HubspoolError, LocalFileError
from hubspool.files import sync_folder
from hubspool.push.compare import Digest, digests, has_content
from hubspool.push.lines import damaged_lines
from hubspool.push.part import Part
from hubspool.push.remote import HubFile, HubReader
from hubspool.spool.segment_name import SegmentName

_MANIFEST = ".json"


@dataclass(frozen=True)
class Span:
    """Whole lines of a segment: its file name, where they begin and end in it (bytes)."""

    segment: str
    start: int
    end: int


class Encoding(ABC):
    """How lines of the spool are stored in another form. To be subclassed; `CommitScheduler.encoding` takes an object.

    Not promised to be asked once: after a lost state folder the same lines may be encoded again, and must give the same
    rows, not the same bytes.

    Used by the pushing thread only.
    """

    #: Suffix of the parts on the Hub, without the dot; the spool's segments carry it too.
    form: str
    #: How often a part may be committed: 1 where its content cannot grow.
    part_commits = 16
    #: Lines of a part, in bytes.
    part_bytes = 32 * 1024 * 1024

    @abstractmethod
    def encode(self, span: Span, lines: FileRange, grown: Path | None, out: Path) -> bool:
        """Write the file for all of `span`, and into it what `span_of` reads.

        Args:
            span: what the file holds.
            lines: those of `span` that `grown` lacks; all where that is None.
            grown: an earlier file of the same part, for the lines before `lines`. What the two files have in common
                is sent only once where it is at the beginning.
            out: where to write.

        Returns:
            False where these lines cannot go on in `grown`; its part is then closed, and they begin the next one.
        """

    @abstractmethod
    def span_of(self, size: int, read: Callable[[int, int], bytes]) -> Span | None:
        """Return what a file on the Hub holds, or None where it is not one of ours.

        Args:
            size: of the file, in bytes.
            read: position, length → bytes; each call is a request.
        """

    def damaged(self, lines: FileRange) -> tuple[tuple[int, int], ...]:
        """Return the ranges of those lines that cannot be encoded, for they are no JSON object; they are left out.

        Asked before `encode`, for all new lines of a segment. An encoding whose own reader finds out may keep what it
        has read.
        """
        return damaged_lines(lines.path, lines.start, lines.end)

    def reuse(self, path: Path) -> None:  # noqa: B027  not every encoding has to know
        """Take note of a file that was made before, perhaps by another process, and is sent now."""

    def release(self, segment: Path, size: int) -> None:  # noqa: B027  not every encoding has to know
        """Take note that `size` bytes of a segment, all that were looked at, are on the Hub, before it is removed.

        May be called more than once. A segment that is larger now has lines that are not on the Hub, and stays.
        """


@dataclass(frozen=True)
class Content:
    """Bytes that are to stand at a part's path, and their sha256."""

    range: FileRange
    sha256: str


class Contents:
    """Says what stands on the Hub for a part of a file: the bytes of the range as they are.

    Used by the pushing thread only, like its subclass.
    """

    #: The form of the segments that it can send; those of another form are left to their own scheduler.
    form = ""

    def content(self, path: Path, part: Part, end: int, digest: Digest) -> Content:
        """Return the content for [part.start, `end`).

        Args:
            path: the local file.
            digest: of that range.

        Raises:
            OSError: the file is gone, or cannot be read.
        """
        stat = path.stat()
        return Content(FileRange(path, part.start, end, (stat.st_dev, stat.st_ino), part.head), digest.sha256)

    def can_grow(self, path: Path, part: Part, end: int, digest: Digest) -> bool:  # noqa: ARG002  for the subclass
        """Whether the content of an open part can go on to `end`."""
        return True

    def damaged(self, path: Path, start: int, end: int) -> tuple[tuple[int, int], ...]:
        """Return the ranges of the lines in [start, `end`) of a segment that are damaged, and not sent."""
        return damaged_lines(path, start, end)

    def reach(self, path: Path, part: Part, end: int, file: HubFile, hub: HubReader) -> int | None:  # noqa: ARG002
        """Return up to where `file`, which stands at the part's path, holds the local one; None where it is not ours.

        Args:
            end: up to where it was to be sent.
        """
        if file.size > part.head + end - part.start:
            return None
        ours = has_content(path, file.size, file.content_id, part.start, part.head)
        return part.start + file.size - part.head if ours else None

    def held(self, source: str, file: HubFile, hub: HubReader) -> tuple[int | None, int] | None:  # noqa: ARG002
        """Return where in a segment a file on the Hub begins, and how many of its bytes it holds.

        It begins at None where that is the end of the file before; the answer is None for a file of somebody else's.
        """
        return None, file.size

    def tidy(self, known: Mapping[str, Sequence[Part]], folder: Path) -> None:
        """Remove what no part needs any more."""

    def release(self, path: Path, size: int) -> None:
        """Take note that a segment, `size` bytes of which are on the Hub, is about to be removed if that is all."""


@dataclass(frozen=True)
class Sealed:
    """Encoded bytes on the disk, as their manifest has them.

    Args:
        source: the segment's path in the folder; `start` and `end` are positions in it.
        path: the part's path in the repo.
        lines: sha256 of the lines.
        sha256, size: of the encoded bytes.
    """

    source: str
    start: int
    end: int
    path: str
    lines: str
    sha256: str
    size: int


class EncodedContents(Contents):
    """Contents of segments that are stored in another form; the user's own files go as they are.

    Encoded bytes are sealed (synced, with a manifest) before anything else knows of them, and kept until they are
    acknowledged, so that a commit of unknown outcome is repeated with these very bytes; those of an open part are kept
    for its growth. Losing them costs no row: the lines stay until the part is acknowledged, and a second encoding of
    them holds the same rows.

    Args:
        encoding: makes the bytes.
        folder: where they are kept; one for each target.
    """

    def __init__(self, encoding: Encoding, folder: Path) -> None:
        self.form = encoding.form
        self.encoding = encoding
        self.folder = folder

    def content(self, path: Path, part: Part, end: int, digest: Digest) -> Content:
        if not self._is_encoded(part.source):
            return super().content(path, part, end, digest)
        sealed = self._seal(path, part, end, digest, self._grown(part)) or self._seal(path, part, end, digest, None)
        assert sealed is not None  # whatever can be encoded can begin a part
        return Content(FileRange(self._file(part, end), 0, sealed.size), sealed.sha256)

    def can_grow(self, path: Path, part: Part, end: int, digest: Digest) -> bool:
        return self._seal(path, part, end, digest, self._grown(part)) is not None

    def damaged(self, path: Path, start: int, end: int) -> tuple[tuple[int, int], ...]:
        try:
            return self.encoding.damaged(FileRange(path, start, end))
        except (OSError, HubspoolError):
            raise
        except Exception as error:  # as in `_seal`: one segment's lines must not keep the others back
            raise LocalFileError(f"{path} cannot be read as {self.form}: {error!r}", path=path) from error

    def reach(self, path: Path, part: Part, end: int, file: HubFile, hub: HubReader) -> int | None:
        if not self._is_encoded(part.source):
            return super().reach(path, part, end, file, hub)
        span = self._span(part.source, file, hub)
        # Rows that the Hub once had are not sent again, also where a person has taken some out of that file since.
        ours = span is not None and span.start == part.start and part.end < span.end <= path.stat().st_size
        return span.end if span is not None and ours else None

    def held(self, source: str, file: HubFile, hub: HubReader) -> tuple[int | None, int] | None:
        span = self._span(source, file, hub)
        return None if span is None else (span.start, span.end - span.start)

    def tidy(self, known: Mapping[str, Sequence[Part]], folder: Path) -> None:
        needed = set()
        for part in (part for parts in known.values() for part in parts):
            ends = {part.sending_end, None if part.closed else part.end}
            needed |= {self._file(part, end).name for end in ends if end is not None}
        for path in self._files():
            sealed = _manifest(path)
            if sealed is not None and path.name not in needed:
                sent = max((part.end for part in known.get(sealed.source, ())), default=0)
                if sealed.end > sent and (folder / sealed.source).exists():
                    continue  # its turn is still to come
            if sealed is None or path.name not in needed:
                _remove(path)

    def release(self, path: Path, size: int) -> None:
        self.encoding.release(path, size)

    def _seal(self, path: Path, part: Part, end: int, digest: Digest, grown: Path | None) -> Sealed | None:
        """Return the sealed bytes of [part.start, end), made now unless they are there; None where they cannot grow."""
        out = self._file(part, end)
        found = _manifest(out)
        if found is not None and (found.start, found.lines) == (part.start, digest.sha256) and _is_whole(out, found):
            self.encoding.reuse(out)
            return found
        self.folder.mkdir(parents=True, exist_ok=True)
        hidden = out.with_name(f".{out.name}.{uuid.uuid4().hex}")
        lines = FileRange(path, part.end if grown else part.start, end)
        try:
            if not self.encoding.encode(Span(path.name, part.start, end), lines, grown, hidden):
                hidden.unlink(missing_ok=True)
                return None
            size = hidden.stat().st_size
            sha256 = digests(hidden, 0, [size])[0].sha256
            sealed = Sealed(part.source, part.start, end, part.path, digest.sha256, sha256, size)
            _publish(hidden, out)
            hidden.write_bytes(orjson.dumps(asdict(sealed)))
            _publish(hidden, _manifest_of(out))
        except (OSError, HubspoolError):
            hidden.unlink(missing_ok=True)
            raise
        except Exception as error:  # whatever a library finds wrong with these lines must not keep the others back
            hidden.unlink(missing_ok=True)
            raise LocalFileError(f"{path} cannot be stored as {self.form}: {error!r}", path=path) from error
        sync_folder(self.folder)
        self._supersede(part, end)
        return sealed

    def _supersede(self, part: Part, end: int) -> None:
        """Remove what was sealed of a part for an end that it did not get to; an outage would fill the disk with it."""
        kept = {self._file(part, each).name for each in (part.end, part.sending_end, end) if each is not None}
        stem = PurePosixPath(part.path).stem
        for path in self._files():
            if path.name.startswith(f"{stem}-") and path.name not in kept:
                _remove(path)

    def _grown(self, part: Part) -> Path | None:
        """Return the sealed bytes that the Hub has of a part, to go on from."""
        path = self._file(part, part.end)
        found = _manifest(path) if part.end > part.start else None
        ours = found is not None and found.sha256 == part.content_id and _is_whole(path, found)
        return path if ours else None

    def _span(self, source: str, file: HubFile, hub: HubReader) -> Span | None:
        span = self.encoding.span_of(file.size, lambda start, length: hub.read(file.path, start, length))
        return span if span is not None and span.segment == PurePosixPath(source).name else None

    def _is_encoded(self, source: str) -> bool:
        segment = SegmentName.parse(PurePosixPath(source).name)
        return segment is not None and segment.form == self.form

    def _file(self, part: Part, end: int) -> Path:
        return self.folder / f"{PurePosixPath(part.path).stem}-{end}.{self.form}"

    def _files(self) -> list[Path]:
        """Return the sealed files; what a crash left unfinished is among them, and has no manifest."""
        with suppress(FileNotFoundError):
            found = list(self.folder.iterdir())
            names = {path.name for path in found}
            return [p for p in found if p.suffix != _MANIFEST or p.name.removesuffix(_MANIFEST) not in names]
        return []


def _manifest_of(path: Path) -> Path:
    return path.with_name(path.name + _MANIFEST)


def _manifest(path: Path) -> Sealed | None:
    try:
        return Sealed(**orjson.loads(_manifest_of(path).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _is_whole(path: Path, sealed: Sealed) -> bool:
    """Whether the bytes are those that were sealed: the manifest alone may have outlived a power loss."""
    try:
        return path.stat().st_size == sealed.size and digests(path, 0, [sealed.size])[0].sha256 == sealed.sha256
    except (OSError, EOFError):
        return False


def _publish(hidden: Path, path: Path) -> None:
    fd = os.open(hidden, os.O_RDWR)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    hidden.replace(path)


def _remove(path: Path) -> None:
    _manifest_of(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)
