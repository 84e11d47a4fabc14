"""Encodes all lines of a part: a row that the encoding cannot store is stored as text, and holds up no other row."""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import IO

from hubspool.client.file_range import FileRange
from hubspool.errors import HubspoolError
from hubspool.push.encodings import Encoding, Span


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
