"""How the lines of a segment become the content of a part in another file format (Parquet, zip)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson

from hubspool.client.file_range import FileRange
from hubspool.push.defaults import DEFAULTS
from hubspool.push.joiner import Joiner
from hubspool.push.lines import damaged_lines

#: The column of rows that could not be stored, each as JSON text.
UNFIT = "_unfit"


@dataclass(frozen=True)
class Span:
    """Whole lines of a segment: the segment's file name, and their range in it (bytes)."""

    segment: str
    start: int
    end: int


class Encoding(ABC):
    """Encodes lines of a segment as a file of another format. `CommitScheduler.encoding` is an instance of a subclass.

    Not guaranteed: that a range is encoded only once. After the state folder is lost, the same lines may be encoded
    again, and must result in the same rows, not in the same bytes.

    Used by the pushing thread only.
    """

    #: File name suffix of the parts on the Hub, without the dot; the names of the segments contain it too.
    suffix: str
    #: How often a part may be committed, whatever its size; 1 if its content cannot grow.
    part_commits = DEFAULTS.part_commits
    #: Size of the lines of a part, in bytes.
    part_bytes = DEFAULTS.part_bytes
    #: What joins old files of this format into few; None: they stay as they are.
    joiner: Joiner | None = None

    @abstractmethod
    def encode(self, span: Span, lines: FileRange, grown: Path | None, out: Path) -> bool:
        """Write a file with the rows of `span`, and with what `span_of` reads.

        Args:
            span: the lines that the file encodes.
            lines: those of `span` that `grown` lacks; all of them if it is None.
            grown: an earlier file of the same part, with the lines before `lines`. The bytes that both files begin with
                are sent only once.
            out: the path to write to.

        Returns:
            False if these lines cannot extend `grown`. Its part is then closed, and the lines begin the next part.
        """

    @abstractmethod
    def span_of(self, size: int, read: Callable[[int, int], bytes]) -> Span | None:
        """Return the lines that a file on the Hub encodes; None if `encode` did not write it.

        Args:
            size: of the file, in bytes.
            read: takes a position and a length, returns the bytes; each call is a request.
        """

    def damaged(self, lines: FileRange) -> tuple[tuple[int, int], ...]:
        """Return the ranges of the lines that are not JSON objects; they are not encoded.

        Called before `encode`, for all new lines of a segment. An encoding that has to parse them for this may keep
        the result.
        """
        return damaged_lines(lines.path, lines.start, lines.end)

    def in_place_of(self, line: bytes) -> bytes:
        """Return the line to encode in place of one that `encode` raises an error for: it holds that line as text."""
        return orjson.dumps({UNFIT: line.decode("utf-8", "replace").rstrip("\n")}, None, orjson.OPT_APPEND_NEWLINE)

    def is_current(self, path: Path) -> bool:  # noqa: ARG002
        """Whether a file that was encoded before, and was never sent, may be sent; if not, it is encoded again."""
        return True

    def reuse(self, path: Path) -> None:  # noqa: B027  optional
        """Called for a file that an earlier push, perhaps of another process, has encoded and that is sent now."""

    def forget_line(self, segment: Path, line: bytes) -> None:  # noqa: B027  optional
        """Called before a line of a segment is overwritten (`hubspool forget`); removes the files that it names."""

    def release(self, segment: Path, size: int) -> None:  # noqa: B027  optional
        """Called before a segment is removed: its first `size` bytes are on the Hub.

        May be called more than once. A segment that is larger than `size` has lines that are not on the Hub, and stays.
        """
