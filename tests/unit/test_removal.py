"""Which rows a removal chooses, and what the manifest says of a file afterwards."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from hubspool.push.lines import matching_lines, overwrite, removed_lines
from hubspool.push.manifest import JoinedRun
from hubspool.push.part import Closed, Part
from hubspool.push.removal import Removal
from hubspool.push.remover import without_rows
from hubspool.push.rules import missing, removed_parts

AT = datetime(2026, 3, 10, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("where", "row"),
    [
        ({"user": "anna"}, {"user": "anna"}),
        ({"user": "anna"}, {"user": '"anna"'}),  # a column that became text has text as JSON
        ({"n": "5"}, {"n": 5}),
        ({"n": "5"}, {"n": "5"}),
        ({"n": "5"}, {"n": 5.0}),
        ({"n": "5.0"}, {"n": 5}),
        ({"n": 5}, {"n": 5}),
        ({"n": "true"}, {"n": True}),
        ({"n": "null"}, {"n": None}),
        ({"n": '{"b": 1, "a": [2]}'}, {"n": {"a": [2], "b": 1}}),
        ({"user.name": "anna"}, {"user": {"name": "anna"}}),
        ({"user.name": "anna"}, {"user.name": "anna"}),
        ({"user": "anna", "n": "5"}, {"user": "anna", "n": 5}),
        ({"user": "anna"}, {"_unfit": '{"user":"anna"}'}),
        ({"user": "anna"}, {"user": None, "user_unfit": '"anna"'}),
        ({"at": "2026-03-10T12:00:00+00:00"}, {"at": AT}),
        ({"n": "1.5"}, {"n": Decimal("1.5")}),
        ({"n": 5}, {"n": "5"}),
        ({"n": "10e2"}, {"n": 1000}),
        ({"n": True}, {"n": "true"}),
        ({"tags": "anna"}, {"tags": ["ben", "anna"]}),
        ({"tags": '["ben", "anna"]'}, {"tags": ["ben", "anna"]}),
        ({"messages.content": "Hello"}, {"messages": [{"content": "Hi"}, {"content": "Hello"}]}),
        ({"messages.content.text": "Hello"}, {"messages": [{"content": [{"text": "Hello"}]}]}),
    ],
)
def test_values_match_as_text_and_as_json(where: dict[str, Any], row: dict[str, Any]) -> None:
    removal = Removal.of(where, AT)
    assert removal.matches(row)
    assert Removal.parse(removal.path, removal.content()).matches(row)


@pytest.mark.parametrize(
    ("where", "row"),
    [
        ({"user": "anna"}, {"user": "Anna"}),
        ({"user": "anna"}, {"name": "anna"}),
        ({"user": "anna", "n": "5"}, {"user": "anna", "n": 6}),
        ({"n": "5"}, {"n": 50}),
        ({"n": "null"}, {}),
        ({"n": "1"}, {"n": True}),
        ({"user": "anna"}, {"user": ["Anna"]}),
        ({"version": "1.0"}, {"version": "1"}),
        ({"sid": "10e2"}, {"sid": "1000"}),
        ({"sid": 1000.0}, {"sid": "10e2"}),
        ({"n": "true"}, {"n": 1}),
        ({"n": '"5"'}, {"n": 5}),
        ({"n": "12345678901234567890123"}, {"n": "12345678901234567585792"}),
        ({"user": ""}, {"user": None}),
    ],
)
def test_other_values_do_not(where: dict[str, Any], row: dict[str, Any]) -> None:
    assert not Removal.of(where, AT).matches(row)


def test_the_list_holds_no_value_and_no_two_digests_are_equal() -> None:
    first, second = (Removal.of({"user": "anna"}, AT) for _ in range(2))
    assert b"anna" not in first.content()
    assert first.where != second.where
    assert first.path != second.path


def test_rows_of_later_days_stay() -> None:
    removal = Removal.of({"user": "anna"}, AT)
    assert removal.reaches(date(2026, 3, 10))
    assert not removal.reaches(date(2026, 3, 11))
    assert not removal.is_due(AT + timedelta(minutes=59), 3600)
    assert removal.is_due(AT + timedelta(minutes=60), 3600)


def test_the_manifest_keeps_the_ranges_and_counts_what_was_removed() -> None:
    def run(segment: str, offset: int, rows: int, **fields: Any) -> JoinedRun:
        return JoinedRun(segment, "data", "old", offset, 0, (10 * rows,), ("id",), (), rows, "sha", **fields)

    runs = [run("a", 0, 2), run("b", 20, 1), run("c", 30, 3, removed=1), run("d", 50, 1)]
    found = without_rows(runs, [(10, 10), (20, 10), (40, 10)], "new")
    assert [(each.path, each.offset, each.removed, each.sizes) for each in found] == [
        ("new", 0, 1, (20,)), ("", 10, 1, (10,)), ("new", 10, 2, (30,)), ("new", 20, 0, (10,)),
    ]  # fmt: skip
    assert [each.digests for each in found] == [("",), ("",), ("",), ("id",)]


def test_lines_are_overwritten_in_place_and_found_again(tmp_path: Path) -> None:
    segment = tmp_path / "segment"
    segment.write_bytes(b'{"n":1}\n{"user":"anna"}\n{"n":2}\n{"user":"an')
    size = segment.stat().st_size
    hits = matching_lines(segment, size, lambda line: b"an" in line)
    assert hits == [(8, 24)]  # the last line is not complete
    overwrite(segment, hits)
    assert segment.read_bytes() == b'{"n":1}\n' + b" " * 15 + b'\n{"n":2}\n{"user":"an'
    assert removed_lines(segment, 0, 32) == ((8, 24),)
    assert removed_lines(segment, 24, 32) == ()


def test_removed_lines_count_as_sent_and_have_no_path() -> None:
    part = Part("s", 0, "p", 0, 8, 0.0, rows=1)
    parts = removed_parts("s", [part], [(8, 24, 1), (32, 40, 1)])
    assert [(each.number, each.start, each.closed) for each in parts] == [
        (-2, 32, Closed.REMOVED), (-1, 8, Closed.REMOVED), (0, 0, None),
    ]  # fmt: skip
    assert missing(parts, 50) == [(24, 32), (40, 50)]
    assert removed_parts("s", parts, [(40, 50, 1)])[0].number == -3
