"""Joins files of one format: JSON Lines here; an `Encoding` of another format has a subclass."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import orjson

#: Whether a row is to be removed.
Matches = Callable[[Mapping[str, Any]], bool]


class Joiner:
    """Joins files of one format; this one joins JSON Lines. An `Encoding` of another format has a subclass."""

    #: The joined file has the bytes of the others one after the other.
    keeps_bytes = True

    def key_of(self, path: Path) -> object:
        """Return what files must share to be joined into one; None for a file that is not joined.

        A file of lines without a newline at its end was changed by somebody else.
        """
        with path.open("rb") as file:
            if file.seek(0, 2) == 0:
                return None
            file.seek(-1, 2)
            return True if file.read(1) == b"\n" else None

    def join(self, paths: Sequence[Path], out: Path) -> list[int]:
        """Write a file with the content of all others, in their order; return where each begins in it."""
        offsets = []
        with out.open("wb") as joined:
            for path in paths:
                offsets.append(joined.tell())
                with path.open("rb") as file:
                    _copy(file, joined)
        return offsets

    def remove(self, path: Path, out: Path, matches: Matches) -> list[tuple[int, int]]:
        """Write the rows of a file that do not match to `out`, which is of no use if all rows match, or none.

        Returns:
            (offset, size) of each row that matches: its bytes here; its number, and 1, in other formats.
        """
        removed, position = [], 0
        with path.open("rb") as file, out.open("wb") as kept:
            for line in file:
                if (row := self.row_of(line)) and matches(row):
                    removed.append((position, len(line)))
                else:
                    kept.write(line)
                position += len(line)
        return removed

    def row_of(self, line: bytes) -> Mapping[str, Any]:
        """Return the row of a line of a segment; an empty one for a line that is damaged."""
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            return {}
        return row if isinstance(row, dict) else {}

    def rows(self, path: Path) -> int:
        """Return the number of rows in a file."""
        with path.open("rb") as file:
            return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))

    def range_of(self, path: Path) -> tuple[int, int] | None:  # noqa: ARG002
        """Return the bytes [start, end) of the segment that a part holds; None where only its size is known."""
        return None

    def segment_of(self, path: Path) -> str | None:  # noqa: ARG002
        """Return the file name of the segment that `range_of` is about; None where the file does not say it."""
        return None

    def check(self, path: Path) -> Iterator[tuple[Collection[str], Collection[object]]]:
        """Read a whole file, and yield the columns and the values of ``id`` of some rows at a time.

        Raises:
            ValueError: it is damaged; the message says where.
        """
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    raise ValueError(f"line {number}, the last one, is cut: it has no newline at its end")
                try:
                    row = orjson.loads(line)
                    ids = (row.get("id"),)
                except (ValueError, AttributeError):
                    raise ValueError(f"line {number} is no JSON object") from None
                yield row, ids


def _copy(file: IO[bytes], out: IO[bytes]) -> None:
    for chunk in iter(lambda: file.read(1 << 20), b""):
        out.write(chunk)
