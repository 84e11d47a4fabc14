"""What a reader has read: a position in each segment, kept as a short text."""

from __future__ import annotations

import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone

import orjson

from hubspool_templates.defaults import DEFAULTS
from hubspool_templates.reading.plan import RowRange, day_of

_DIGITS = 8


@dataclass(frozen=True)
class Position:
    """How far a segment, or a file of another program, was read.

    Args:
        number: of the last part.
        units: of it that were read, bytes of lines, else rows; None if they were not counted.
        digits: the first of the id of its content then.
        late: numbers of earlier parts that were not there: they may come late, if a commit had an unknown outcome.
    """

    number: int
    units: int | None
    digits: str
    late: tuple[int, ...] = ()

    def read_of(self, piece: RowRange) -> dict[int, int | None]:
        """Return what was read of a piece: part → units; None is all."""
        read: dict[int, int | None] = {}
        for number in piece.numbers:
            if number < self.number:
                read[number] = 0 if number in self.late else None
            elif number == self.number:
                size = piece.sizes[number - piece.first] if piece.has_less and piece.sizes else None  # and no digest
                is_whole = size is not None and self.units is not None and self.units >= size
                read[number] = self.units if self.changed_in(piece) and not is_whole else None
            else:
                read[number] = 0
        return read

    def changed_in(self, piece: RowRange) -> bool:
        """Whether a piece has the last part that was read, with another content."""
        index = self.number - piece.first
        return 0 <= index < len(piece.ids) and not piece.ids[index].startswith(self.digits)

    def moved_to(self, other: Position) -> Position:
        """Return the position after a listing that shows `other`; where that listing is older, this one stays."""
        if other.number != self.number:
            return max(self, other, key=lambda each: each.number)
        last = other if (other.units or 0) > (self.units or 0) else self
        return replace(last, late=tuple(number for number in self.late if number in other.late))


@dataclass(frozen=True)
class Cursor:
    """Everything that was read.

    Args:
        commit: that was read.
        at: its time.
        positions: by segment, for those of the days before `at`; and by file, for those of other programs.
        names_files: whether it names all of these files.
        is_complete: whether it names all segments and files, of whatever day; not kept in the text.
    """

    commit: str
    at: datetime
    positions: Mapping[str, Position] = field(default_factory=dict)
    names_files: bool = False
    is_complete: bool = False

    def __str__(self) -> str:
        entries = {
            key: [each.number, each.units, each.digits, *each.late] for key, each in sorted(self.positions.items())
        }
        fields = [self.commit, int(self.at.timestamp() * 1000), self.names_files, entries]
        return urlsafe_b64encode(zlib.compress(orjson.dumps(fields), 9)).decode()

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Return the cursor of a text.

        Raises:
            ValueError: it is none.
        """
        try:
            commit, at, names_files, entries = orjson.loads(zlib.decompress(urlsafe_b64decode(text)))
            positions = {key: Position(each[0], each[1], each[2], tuple(each[3:])) for key, each in entries.items()}
            return cls(commit, datetime.fromtimestamp(at / 1000, timezone.utc), positions, names_files)
        except (ValueError, TypeError, AttributeError, zlib.error):
            raise ValueError(f"no cursor: {text[:40]!r}") from None

    def names(self, key: str) -> bool:
        """Whether a segment or file that is not in `positions` is new, or was not named because it is old."""
        day = day_of(key)
        return self.is_complete or (day >= self._first_day if day else self.names_files)

    @property
    def _first_day(self) -> str:
        return f"{self.at - timedelta(days=DEFAULTS.cursor_days):%Y%m%d}"

    def after(self, commit: str, at: datetime, read: Mapping[str, Position]) -> Cursor:
        """Return the cursor after a later read; where an answer was older, the later position stays."""
        merged = dict(self.positions)
        for key, position in read.items():
            known = merged.get(key)
            is_later = known is None or (not day_of(key) and at >= self.at)
            merged[key] = position if is_later or known is None else known.moved_to(position)
        newest = self if at < self.at else Cursor(commit, at)
        files = [key for key in merged if not day_of(key)]
        names_files = len(files) <= DEFAULTS.cursor_files
        kept = {
            key: position
            for key, position in merged.items()
            if (names_files if (day := day_of(key)) == "" else day >= newest._first_day)
        }
        return Cursor(newest.commit, newest.at, kept, names_files)


def positions_of(pieces: Iterable[RowRange], counted: Mapping[str, int]) -> dict[str, Position]:
    """Return the positions after all pieces were read.

    Args:
        pieces: of a listing, in their order.
        counted: key of a piece whose parts have no sizes → rows that its file has, if they were counted.
    """
    found: dict[str, Position] = {}
    numbers: dict[str, set[int]] = {}
    for piece in pieces:
        if not piece.is_range:  # which is sent once all before it are known: one that is not there comes no more
            numbers.setdefault(piece.key, set()).update(piece.numbers)
        units = counted.get(piece.key) if piece.sizes is None else piece.sizes[-1]
        found[piece.key] = Position(piece.numbers[-1], units, piece.ids[-1][:_DIGITS])
    return {
        key: Position(
            each.number,
            each.units,
            each.digits,
            tuple(n for n in range(each.number) if n not in numbers[key]) if key in numbers else (),
        )
        for key, each in found.items()
    }
