"""Which files are joined with which."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta, timezone

import pytest

from hubspool.push.compaction import Join, due
from hubspool.push.defaults import PushLimits
from hubspool.push.part import Closed, Part
from hubspool.push.remote import RemoteFile
from hubspool.push.rules import after_changed_in_doubt, compacted
from hubspool.scheduling.daily import seconds_until_due

TODAY = date(2026, 1, 20)
JOINED = "train-20260102-joined.0123456789ab-00000-p{level:04d}.jsonl"


def part(
    day: int, number: int = 0, *, name: str = "train", seq: int = 0, suffix: str = "jsonl", month: str = "2026-01"
) -> str:
    stem = f"{name}-{month.replace('-', '')}{day:02d}-0123456789ab-{seq:05d}-p{number:04d}"
    return f"data/{month}/{stem}.{suffix}"


def joins(paths: Iterable[str], size: int = 10, held: frozenset[str] = frozenset(), before: date = TODAY) -> list[Join]:
    files = [RemoteFile(path, size, "0" * 64) for path in paths]
    return due(files, lambda path: path in held or None, before, PushLimits())


def sizes(found: list[Join]) -> list[int]:
    return [len(join.sources) for join in found]


def test_at_most_500_parts_and_32_mib_are_joined_into_one_file() -> None:
    paths = [part(1, number) for number in range(1203)]
    assert sizes(joins(paths)) == [500, 500, 203]
    assert sizes(joins(paths[:10], size=8 << 20)) == [4, 4, 2]
    assert sizes(joins(paths[:3], size=33 << 20)) == []


def test_parts_are_joined_in_the_order_of_their_segment() -> None:
    paths = [part(2, 1), part(2, 0), part(1, 3), part(2, 0, seq=1)]
    found = joins(paths)
    assert [source.path for source in found[0].sources] == [part(1, 3), part(2, 0), part(2, 1), part(2, 0, seq=1)]


@pytest.mark.parametrize(
    "other",
    [
        part(2, name="test"),
        part(2, suffix="parquet"),
        part(16),
        part(2, month="2025-12"),
        part(2).replace("data/", "more/"),
        "data/2026-01/votes.jsonl",
        "data/2026-01/train-2026-0123456789ab-00000-p0000.jsonl",
        "README.md",
        f"data/2026-01/{JOINED.format(level=0)}",
    ],
    ids=["split", "format", "half", "month", "folder", "foreign", "no date", "card", "joined never"],
)
def test_what_does_not_belong_to_the_parts_stays(other: str) -> None:
    found = joins([part(1), part(2), other])
    assert [source.path for join in found for source in join.sources] == [part(1), part(2)]


def test_parts_of_today_are_left_alone() -> None:
    found = joins([part(18), part(19), part(20), part(21)])
    assert [source.path for join in found for source in join.sources] == [part(18), part(19)]


def test_a_file_at_a_path_that_a_manifest_names_is_not_joined() -> None:
    assert joins([part(1), part(2)], held=frozenset([part(2)])) == []


def test_files_of_days_are_joined_two_days_after_their_half_of_the_month() -> None:
    paths = [f"data/2026-01/{JOINED.format(level=1)}", f"data/2026-01/{JOINED.format(level=1).replace('02-', '15-')}"]
    assert joins(paths, before=date(2026, 1, 17)) == []
    assert sizes(joins(paths, before=date(2026, 1, 18))) == [2]
    assert joins([path.replace("p0001", "p0002") for path in paths], before=date(2027, 1, 1)) == []


def test_files_without_a_folder_for_their_month_are_joined_where_they_are() -> None:
    """The card of the first version has no pattern for another folder."""
    flat = [part(1, number).replace("data/2026-01/", "data/") for number in range(2)]
    (join,) = joins([*flat, part(1, 2)])
    assert join.path("0123456789ab") == "data/train-20260101-joined.0123456789ab-00000-p0001.jsonl"
    (again,) = joins([join.path("0" * 12), join.path("1" * 12)], before=date(2026, 1, 18))
    assert again.path("0123456789ab") == "data/train-20260101-joined.0123456789ab-00000-p0002.jsonl"


def test_a_part_that_was_joined_never_grows() -> None:
    known = Part("train-20260101-0123456789ab-00000.jsonl", 0, part(1), 0, 10, 0.0)
    after = compacted(known, 10, 1, "a", "b")
    assert (after.closed, after.end) == (Closed.COMPACTED, 10)
    assert after_changed_in_doubt(known, 0, has_landed=False, is_last=True).closed is Closed.FOREIGN


NOW = datetime(2026, 1, 20, 12, tzinfo=timezone.utc)
HOUR = 3600


@pytest.mark.parametrize(
    ("age", "parts", "wait"),
    [
        (None, 0, 20),
        (None, 100, 20),  # too few: the parts of another day are to come first
        (None, 101, 0),
        (0, 101, 20),
        (5, 101, 15),
        (5, 50_000, 15),
        (19.5, 101, 0.5),
        (20, 101, 0),
        (20, 100, 20),
        (1000, 101, 0),
        (1000, 2, 20),
        (-3, 101, 23),
    ],
)
def test_files_are_joined_when_the_newest_join_is_20_hours_old_and_there_are_more_than_100(
    age: float | None, parts: int, wait: float
) -> None:
    newest = None if age is None else NOW - timedelta(hours=age)
    assert seconds_until_due(newest, parts, NOW) == wait * HOUR
