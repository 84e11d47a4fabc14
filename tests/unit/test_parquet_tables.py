"""Lines of the spool are read once, by Arrow, which must find every damaged line that a look at each line finds."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest

from hubspool.client.file_range import FileRange
from hubspool.push.encodings import Span
from hubspool.push.lines import damaged_lines
from hubspool_templates.parquet import parquet_encoding
from hubspool_templates.parquet.media import MediaEncoder
from hubspool_templates.parquet.parquet_encoding import ParquetEncoding
from hubspool_templates.schema import Schema

ROWS = [
    {"id": n, "text": "ψῆφος " * (n % 4), "score": n / 3 if n % 3 else None, "tags": ["a"] * (n % 2), "ok": n % 2 == 0}
    for n in range(400)
]
LINES = [orjson.dumps(row, None, orjson.OPT_APPEND_NEWLINE) for row in ROWS]


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    path = tmp_path / "train-20260102-0123456789ab-00000.parquet.jsonl"
    path.write_bytes(b"".join(LINES))
    return path


@pytest.fixture
def encoding() -> ParquetEncoding:
    return ParquetEncoding(lambda _: Schema())


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what was read from the disk."""
    found: list[int] = []
    read: Callable[[FileRange], bytes] = parquet_encoding._read

    def counted(lines: FileRange) -> bytes:
        found.append(lines.size)
        return read(lines)

    monkeypatch.setattr(parquet_encoding, "_read", counted)
    return found


def whole(path: Path) -> FileRange:
    return FileRange(path, 0, path.stat().st_size)


def rows_of(path: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = pq.read_table(io.BytesIO(path.read_bytes())).to_pylist()
    return found


def flipped_bit(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def lost_block(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(data))
    data[start : start + 64] = bytes(len(data[start : start + 64]))


def lost_bytes(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(data))
    del data[start : start + chance.randrange(1, 40)]


def foreign_line(data: bytearray, chance: random.Random) -> None:
    at = data.index(b"\n", chance.randrange(len(data) - 1)) + 1
    data[at:at] = chance.choice(
        [b"null\n", b"\n", b"[1]\n", b"7\n", b'"x"\n', b'{"text":"\xff"}\n', b"\xef\xbb\xbf{}\n"]
    )


@pytest.mark.parametrize("damage", [flipped_bit, lost_block, lost_bytes, foreign_line])
def test_what_no_look_at_each_line_would_let_pass_arrow_does_not_either(
    damage: Callable[[bytearray, random.Random], None], segment: Path
) -> None:
    chance, missed, damaged, kept = random.Random(damage.__name__), [], 0, 0
    for turn in range(300):
        data = bytearray(b"".join(LINES))
        damage(data, chance)
        if not data.endswith(b"\n"):
            data += b"\n"
        segment.write_bytes(data)
        expected = damaged_lines(segment, 0, len(data))
        damaged += bool(expected)
        encoding = ParquetEncoding(lambda _: Schema())
        if encoding.damaged(whole(segment)) != expected:
            missed.append((turn, bytes(data)))
        kept += encoding._ahead is not None
    assert missed == []
    assert damaged > 100
    assert kept > 20 or damaged == 300


def test_lines_that_were_checked_are_not_read_again_for_the_file(
    encoding: ParquetEncoding, segment: Path, reads: list[int], tmp_path: Path
) -> None:
    lines = whole(segment)
    assert encoding.damaged(lines) == ()
    out = tmp_path / "out.parquet"
    assert encoding.encode(Span(segment.name, 0, lines.end), lines, None, out)
    assert reads == [lines.size]
    assert rows_of(out) == ROWS


def test_each_part_of_a_segment_gets_its_own_rows_also_when_it_is_asked_for_again(
    encoding: ParquetEncoding, segment: Path, reads: list[int], tmp_path: Path
) -> None:
    ends = [0, sum(map(len, LINES[:7])), sum(map(len, LINES[:233])), segment.stat().st_size]
    encoding.damaged(whole(segment))
    found: list[dict[str, object]] = []
    for number, (start, end) in enumerate(pairwise(ends)):
        for again in range(2 if end != ends[-1] else 1):
            out = tmp_path / f"{number}-{again}.parquet"
            assert encoding.encode(Span(segment.name, start, end), FileRange(segment, start, end), None, out)
        found += rows_of(out)
    assert found == ROWS
    assert len(reads) == 1


def test_a_file_grows_by_the_lines_that_were_checked(
    encoding: ParquetEncoding, segment: Path, reads: list[int], tmp_path: Path
) -> None:
    middle, end = sum(map(len, LINES[:20])), segment.stat().st_size
    first, second = tmp_path / "1.parquet", tmp_path / "2.parquet"
    encoding.damaged(FileRange(segment, 0, middle))
    encoding.encode(Span(segment.name, 0, middle), FileRange(segment, 0, middle), None, first)
    encoding.damaged(FileRange(segment, middle, end))
    assert encoding.encode(Span(segment.name, 0, end), FileRange(segment, middle, end), first, second)
    assert rows_of(second) == ROWS
    assert reads == [middle, end - middle]


def test_lines_of_another_segment_than_the_last_one_are_read_again(
    encoding: ParquetEncoding, segment: Path, tmp_path: Path
) -> None:
    other = segment.with_name(segment.name.replace("00000", "00001"))
    other.write_bytes(LINES[0])
    for path in (segment, other):
        encoding.damaged(whole(path))
    for path, expected in ((segment, ROWS), (other, ROWS[:1])):
        out = tmp_path / f"{path.stem}.parquet"
        encoding.encode(Span(path.name, 0, path.stat().st_size), whole(path), None, out)
        assert rows_of(out) == expected


def test_media_and_what_is_too_long_to_keep_are_looked_at_line_by_line(
    encoding: ParquetEncoding, segment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment.write_bytes(MediaEncoder().encode({"sound": b"\0" * 50}) + b"torn\n")
    assert encoding.damaged(whole(segment)) == damaged_lines(segment, 0, segment.stat().st_size) != ()
    segment.write_bytes(b"".join(LINES) + b"torn\n")
    less = replace(parquet_encoding.DEFAULTS, read_ahead_bytes=segment.stat().st_size - 1)
    monkeypatch.setattr(parquet_encoding, "DEFAULTS", less)
    assert encoding.damaged(whole(segment)) == damaged_lines(segment, 0, segment.stat().st_size) != ()
    assert encoding._ahead is None
