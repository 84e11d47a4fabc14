"""Joins files of one format: JSON Lines here; an `Encoding` of another format has a subclass."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import orjson

from hubspool.errors import HFValidationError
from hubspool.push.kinds import columns_of, together

if TYPE_CHECKING:
    from hubspool.push.defaults import PushLimits
    from hubspool.push.encodings import Span

T = TypeVar("T")

#: Whether a row is to be removed.
Matches = Callable[[Mapping[str, Any]], bool]


class Joiner:
    """Joins files of one format; this one joins JSON Lines. An `Encoding` of another format has a subclass."""

    #: The joined file has the bytes of the others one after the other.
    keeps_bytes = True

    def key_of(self, path: Path) -> object:
        """Return what decides which files are joined into one: those whose keys are equal, or `kinds_of` go together.

        Returns:
            None for a file that is not joined: somebody else wrote or changed it.
        """
        with path.open("rb") as file:
            return self.kinds_of(file)

    def kinds_of(self, lines: Iterable[bytes]) -> dict[str, Any] | None:
        """Return the kinds of the columns of JSON lines; None if a line is cut or is no object, or if there is none."""
        return columns_of(lines)

    def memory_of(self, path: Path) -> int:  # noqa: ARG002
        """Return how many bytes of memory a join takes for this file until it ends; 0 if it reads blocks."""
        return 0

    def join(self, paths: Sequence[Path], out: Path) -> list[int]:
        """Write a file with the content of all others, in their order; return where each begins in it."""
        offsets = []
        with out.open("wb") as joined:
            for path in paths:
                offsets.append(joined.tell())
                with path.open("rb") as file:
                    _copy(file, joined)
        return offsets

    def from_lines(self, lines: Path, out: Path) -> None:
        """Write a file of this format with the rows of JSON Lines, in their order; `lines` may go.

        Raises:
            HFValidationError: it cannot hold such rows.
        """
        if not self.keeps_bytes:
            raise HFValidationError("These files cannot be made of JSON Lines.", hint="Leave out --format.")
        lines.rename(out)

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
            return sum(1 for _ in file)  # also a last one without newline, as an editor may leave it

    def span_of(self, path: Path) -> Span | None:  # noqa: ARG002
        """Return the lines of a segment that a part holds; None where the file does not say it.

        A file of another format than JSON Lines that does not name the segment of its path is not joined.
        """
        return None

    def is_sound(self, path: Path) -> bool:
        """Read a whole file; return False if it is damaged."""
        try:
            for _ in self.check(path):
                pass
        except ValueError:
            return False
        return True

    def check(self, path: Path) -> Iterator[tuple[Collection[str], Iterable[tuple[object, bytes]]]]:
        """Read a whole file, and yield the columns of some rows at a time, and the ``id`` of each with all its values.

        The values of two rows are equal bytes if the rows are equal.

        Raises:
            ValueError: it is damaged; the message says where.
        """
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    raise ValueError(f"line {number}, the last one, is cut: it has no newline at its end")
                try:
                    row = orjson.loads(line)
                    ids = ((row.get("id"), line),)
                except (ValueError, AttributeError):
                    raise ValueError(f"line {number} is no JSON object") from None
                yield row, ids


def grouped(files: Iterable[tuple[T, Path, Joiner, object]], limits: PushLimits) -> list[list[T]]:
    """Return which files are joined into one each: those whose keys go together, up to the limits of a joined file.

    Args:
        files: each with its path on this disk, what joins it, and its key (`Joiner.key_of`).
        limits: `join_bytes` and `join_memory` count.
    """
    groups: list[tuple[object, int, int, list[T]]] = []
    for file, path, joiner, key in files:
        size, memory = path.stat().st_size, joiner.memory_of(path)
        for number, (other, sizes, memories, members) in enumerate(groups):
            is_within = sizes + size <= limits.join_bytes and memories + memory <= limits.join_memory
            if is_within and (both := together(other, key)) is not None:
                groups[number] = both, sizes + size, memories + memory, [*members, file]
                break
        else:
            groups.append((key, size, memory, [file]))
    return [members for *_, members in groups]


def _copy(file: IO[bytes], out: IO[bytes]) -> None:
    for chunk in iter(lambda: file.read(1 << 20), b""):
        out.write(chunk)
