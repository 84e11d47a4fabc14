"""Where line data is cut."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubspool.push.lines import (
    Kind,
    count_lines,
    cut,
    damaged_lines,
    kind_by_name,
    kind_of_json,
    line_ends,
    tail_is_complete,
)
from hubspool.push.published import uncovered


def written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "file"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a/b.jsonl", Kind.JSON_LINES),
        ("x.NDJSON", Kind.JSON_LINES),
        ("t.csv", Kind.TABLE),
        ("t.tsv", Kind.PLAIN_TABLE),
        ("run.log", Kind.TEXT),
        ("feedback.json", Kind.UNDECIDED),
        ("model.safetensors", Kind.WHOLE),
        ("events.out.tfevents.1", Kind.RECORDS),
    ],
)
def test_kind_by_name(name: str, kind: Kind) -> None:
    assert kind_by_name(name) is kind


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b'{"a": 1}\n{"a": 2}\n{"a"', Kind.JSON_LINES),
        (b'{\n  "a": 1\n}\n', Kind.WHOLE),
        (b"[1,\n2]\n", Kind.WHOLE),
        (b'{"a": 1}', Kind.UNDECIDED),
        (b'{"a": 1}\n', Kind.ONE_LINE),
        (b'{"a": 1}\n{"a"', Kind.ONE_LINE),
    ],
)
def test_a_json_file_is_lines_only_if_each_complete_line_is_an_object(tmp_path: Path, data: bytes, kind: Kind) -> None:
    assert kind_of_json(written(tmp_path, data), len(data)) is kind


def test_a_file_is_cut_at_its_last_newline(tmp_path: Path) -> None:
    path = written(tmp_path, b"one\ntwo\nthr")
    assert cut(path, Kind.JSON_LINES, 0, 11) == 8
    assert cut(path, Kind.JSON_LINES, 0, 6) == 4
    assert cut(path, Kind.JSON_LINES, 8, 11) == 8


def test_a_log_is_also_cut_at_a_carriage_return(tmp_path: Path) -> None:
    """A progress bar writes one line for hours."""
    data = b"one\n1%\r2%\r3"
    for name, end in (("a.LOG", 10), ("a.txt", 4), ("a.jsonl", 4)):
        (tmp_path / name).write_bytes(data)
        assert cut(tmp_path / name, Kind.TEXT, 0, len(data)) == end


def test_the_last_newline_is_found_before_a_long_half_line(tmp_path: Path) -> None:
    data = b"row\n" + b"x" * 3_000_000
    assert cut(written(tmp_path, data), Kind.TEXT, 0, len(data)) == 4


def test_a_newline_inside_quotes_is_no_cut(tmp_path: Path) -> None:
    data = b'id,text\n1,"two\nlines"\n2,"open\n'
    assert cut(written(tmp_path, data), Kind.TABLE, 0, len(data)) == len(b'id,text\n1,"two\nlines"\n')


def test_half_a_row_never_counts_as_complete(tmp_path: Path) -> None:
    path = written(tmp_path, b'{"a": 1}\n{"a": 2')
    assert not tail_is_complete(path, Kind.JSON_LINES, 9, 16)
    assert tail_is_complete(written(tmp_path, b'{"a": 1}\n{"a": 2}'), Kind.JSON_LINES, 9, 17)
    assert tail_is_complete(written(tmp_path, b"log\nlast"), Kind.TEXT, 4, 8)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=st.lists(st.integers(0, 60), max_size=40), tail=st.integers(0, 20), step=st.integers(1, 90))
def test_cuts_are_line_ends_that_cover_all_complete_lines(
    tmp_path_factory: pytest.TempPathFactory, rows: list[int], tail: int, step: int
) -> None:
    data = b"".join(b"x" * size + b"\n" for size in rows)
    path = tmp_path_factory.mktemp("cuts") / "file"
    path.write_bytes(data + b"y" * tail)
    end = cut(path, Kind.TEXT, 0, len(data) + tail)
    found = line_ends(path, 0, end, step)
    assert list(found) == sorted(set(found))
    assert (found[-1] if found else 0) == len(data)
    assert all(data[end - 1 : end] == b"\n" for end in found)
    for begin, end in zip((0, *found), found, strict=False):
        assert end - begin <= step or data[begin:end].count(b"\n") == 1


def test_damaged_lines_are_found_and_left_out(tmp_path: Path) -> None:
    rows = [b'{"a":1}\n', b'{"a":\0\0\n', b'{"a":3}\n', b"[4]\n"]
    path = written(tmp_path, b"".join(rows))
    damaged = damaged_lines(path, 0, path.stat().st_size)
    assert damaged == ((8, 16), (24, 28))
    assert uncovered(0, 28, damaged) == [(0, 8), (16, 24)]
    assert uncovered(8, 16, ()) == [(8, 16)]


def test_count_lines(tmp_path: Path) -> None:
    assert count_lines(written(tmp_path, b"a\nb\nc"), 0, 5) == 2
    assert count_lines(written(tmp_path, b"a\nb\nc"), 2, 4) == 1
