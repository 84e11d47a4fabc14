"""What a row may hold, and what becomes of it: every line of the rules."""

from __future__ import annotations

import io
import itertools
import json
import logging
import math
import re
import uuid
from collections import OrderedDict, UserDict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from pathlib import Path, PurePosixPath
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pytest
from pydantic import BaseModel

from hubspool.errors import HFValidationError
from hubspool_templates.parquet.media import MediaEncoder, read_line
from hubspool_templates.values import RowEncoder, appended


class Colour(Enum):
    RED = "red"
    NESTED = ("a", "b")


class Pair(NamedTuple):
    left: int
    right: int


class Level(IntEnum):
    HIGH = 3


class Text(str):
    pass


@dataclass
class Point:
    x: int = 1


def label(value: object) -> str:
    return re.sub(" at 0x[0-9a-f]+", "", repr(value))[:60]  # addresses differ from worker to worker


class Model(BaseModel):
    name: str
    inner: Mapping[str, Any]


class Tensor:
    """As torch's: `tolist`."""

    def tolist(self) -> list[float]:
        return [0.5, 1.5]


class EagerTensor:
    """As tensorflow's: `numpy`."""

    def numpy(self) -> np.ndarray[Any, Any]:
        return np.array([[1], [2]])


def in_full(value: Any) -> Any:
    return value.astimezone(timezone.utc).isoformat(timespec="microseconds")


def stored(value: Any) -> Any:
    line = RowEncoder().encode({"v": value})
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    return json.loads(line)["v"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (0, 0),
        (-(2**63), -(2**63)),
        (2**63 - 1, 2**63 - 1),
        (1.5, 1.5),
        (-0.0, -0.0),
        (5e-324, 5e-324),
        ("", ""),
        ("two\nlines\u2028\x00\x1f\x7f", "two\nlines\u2028\x00\x1f\x7f"),
        ("👩\u200d👧 \u202e", "👩\u200d👧 \u202e"),
        ({"a": {"b": [1, None, {"c": []}]}}, {"a": {"b": [1, None, {"c": []}]}}),
        ({}, {}),
        ([], []),
        ((1, (2, "x")), [1, [2, "x"]]),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (UserDict(a=1), {"a": 1}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (Text("sub"), "sub"),
        (datetime(2026, 1, 2, 3, 4, 5, 678901, timezone.utc), "2026-01-02T03:04:05.678901+00:00"),
        (datetime(2026, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=9))), "2026-01-02T03:04:00.000000+09:00"),
        (datetime(2026, 1, 2, 3, 4), "2026-01-02T03:04:00.000000+00:00"),  # noqa: DTZ001  the naive case
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4, 5), "03:04:05"),
        (Decimal("1.10"), "1.10"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (PurePosixPath("a/b"), "a/b"),
        (Path("/x"), "/x"),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (Colour.NESTED, ["a", "b"]),
        (np.int64(5), 5),
        (np.uint8(200), 200),
        (np.float32(0.5), 0.5),
        (np.float64(0.1), 0.1),
        (np.bool_(True), True),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.arange(6).reshape(2, 3).T, [[0, 3], [1, 4], [2, 5]]),
        (np.array(7), 7),
        (np.array(["a", "b"]), ["a", "b"]),
        (np.array([True, False]), [True, False]),
        (np.str_("text"), "text"),
        (np.array([], dtype=float), []),
        (np.float16(0.5), 0.5),
        (np.array([1.5], dtype=np.float16), [1.5]),
        (np.array([1, 2], dtype=">i4"), [1, 2]),
        (np.array([1.5], dtype=">f8"), [1.5]),
        (np.datetime64("2026-01-02T03:04:05.678901234"), "2026-01-02T03:04:05.678901+00:00"),
        (np.array(["2026-01-02T03:04", "NaT"], dtype="M8[ns]"), ["2026-01-02T03:04:00.000000+00:00", None]),
        (np.datetime64("NaT"), None),
        (np.timedelta64(1500, "ms"), 1.5),
        (Point(), {"x": 1}),
        ([Point(2)], [{"x": 2}]),
        (Pair(1, 2), {"left": 1, "right": 2}),
        (Model(name="a", inner={"at": pd.NaT, "b": {1}}), {"name": "a", "inner": {"at": None, "b": [1]}}),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset(), []),
        ({"a": 1}.keys(), ["a"]),
        ({"a": 1}.values(), [1]),
        (range(3), [0, 1, 2]),
        (deque([1, deque([2])]), [1, [2]]),
        ((n * n for n in range(3)), [0, 1, 4]),
        (map(str, [1]), ["1"]),
        (timedelta(minutes=1, microseconds=500_000), 60.5),
        (pd.Timedelta("1s"), 1.0),
        (pd.NA, None),
        (pd.NaT, None),
        ({"a": [pd.NA, pd.NaT]}, {"a": [None, None]}),
        (pd.Timestamp("2026-01-02T03:04:05.678901234Z"), "2026-01-02T03:04:05.678901+00:00"),
        (pd.Series([1, 2]), [1, 2]),
        (pd.Series([1, None], dtype="Int64"), [1, None]),
        (pd.Series(["a", pd.NA]), ["a", None]),
        (pd.Series(pd.to_datetime(["2026-01-02", None], utc=True)), ["2026-01-02T00:00:00.000000+00:00", None]),
        (pd.Index([1]), [1]),
        (pa.array([1, None]), [1, None]),
        (pa.scalar("x"), "x"),
        (pa.chunked_array([[1], [None]]), [1, None]),
        (pd.Categorical(["a", None]), ["a", None]),
        (pd.Series([np.array([1]), None]), [[1], None]),
        ({np.str_("a"): {Text("b"): 1}}, {"a": {"b": 1}}),
        (Tensor(), [0.5, 1.5]),
        (EagerTensor(), [[1], [2]]),
    ],
    ids=label,
)
def test_values_are_stored_as_the_rules_say_and_alike_for_parquet(value: Any, expected: Any) -> None:
    if isinstance(value, Iterator):
        value, again = itertools.tee(value)
    else:
        again = value
    for_parquet = read_line(MediaEncoder().encode({"v": again}))["v"]
    found = json.loads(orjson.dumps(for_parquet, in_full, orjson.OPT_PASSTHROUGH_DATETIME))
    assert found == (expected if not isinstance(for_parquet, datetime) else in_full(datetime.fromisoformat(expected)))
    found = stored(value)
    assert found == expected
    assert type(found) is type(expected)


def test_a_missing_key_and_none_differ_only_in_the_text() -> None:
    encoder = RowEncoder()
    assert encoder.encode({}) == b"{}\n"
    assert encoder.encode({"a": None}) == b'{"a":null}\n'


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, [1.0, math.nan], {"x": (math.inf,)}, np.float64("nan"), np.float32("inf"),
     np.array([1.0, np.nan])],
    ids=label,
)  # fmt: skip
def test_numbers_that_json_lacks_become_null_with_a_warning(value: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert "null" in RowEncoder().encode({"score": value}).decode()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "score" in record.getMessage()


def test_the_warnings_come_once_per_key(caplog: pytest.LogCaptureFixture) -> None:
    encoder = RowEncoder()
    for _ in range(3):
        encoder.encode({"a": math.nan, "b": math.inf})
    assert len(caplog.records) == 2
    caplog.clear()
    for number in range(3):
        encoder.encode({"many": [math.nan] * (number + 1)})
    assert len(caplog.records) == 1


def test_a_naive_datetime_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    encoder = RowEncoder()
    for key in ("a", "b"):
        encoder.encode({key: datetime(2026, 1, 2)})  # noqa: DTZ001  the naive case
    assert len(caplog.records) == 1
    assert "UTC" in caplog.text


def test_ordinary_nulls_and_long_numbers_give_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    RowEncoder().encode({"a": None, "b": "null", "c": 2**62, "d": "9" * 40})
    assert caplog.records == []


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"n": 2**63}, "'n'"),
        ({"n": -(2**63) - 1}, "'n'"),
        ({"n": 2**64}, "'n'"),
        ({"deep": {"list": [1, 2**70]}}, r"'deep.list\[1\]'"),
        ({"n": np.uint64(2**63)}, "'n'"),
        ({"o": object()}, "'o'"),
        ({"o": SimpleNamespace(a=1)}, "'o'"),
        ({"o": Fraction(1, 2)}, "'o'"),
        ({"o": 1 + 2j}, "'o'"),
        ({"o": len}, "'o'"),
        ({"a": {"b": [{"c": object()}]}}, r"'a.b\[0\].c'"),
        ({1: "x"}, "'row'.*int"),
        ({"a": {None: 1}}, "'a'.*NoneType"),
        ({"a": {("t",): 1}}, "'a'.*tuple"),
        ({"t": "lone \ud800"}, "'t'"),
        ({"k\ud800": 1}, "row|key"),
        ({"o": np.array([object()])}, r"'o\[0\]'"),
        ({"o": np.array([1], dtype=np.longdouble)[0]}, "'o'"),
        ({"o": np.datetime64("10000-01-01")}, "'o'"),
        ({"o": np.array(["10000-01-01"], dtype="M8[s]")}, "'o'"),
        ({"o": datetime.max.replace(tzinfo=timezone(timedelta(hours=-9)))}, "'o'"),
        ({"o": datetime.min.replace(tzinfo=timezone(timedelta(hours=9)))}, "'o'"),
        ({"o": io.StringIO("x")}, "'o'.*file"),
        ({"o": pd.DataFrame({"a": [1]})}, "'o'"),
        ({"o": int}, "'o'"),
        ({"o": np.ndarray}, "'o'"),
        ({"o": np.complex64(1)}, "'o'"),
        ({"o": np.array([2**63], dtype=np.uint64)}, r"'o\[0\]'"),
    ],
    ids=label,
)
def test_what_no_column_holds_is_refused_with_its_key(row: dict[Any, Any], named: str) -> None:
    for encoder in (RowEncoder(), MediaEncoder()):
        with pytest.raises(HFValidationError, match=named) as caught:
            encoder.encode(row)
        assert isinstance(caught.value, ValueError)
        assert caught.value.hint


def test_half_an_emoji_is_refused_with_a_hint_that_mends_the_text() -> None:
    for encoder in (RowEncoder(), MediaEncoder()):
        with pytest.raises(HFValidationError, match=r"'a.b'.*lone surrogate '\\ud83d'") as caught:
            encoder.encode({"a": {"b": "x\ud83d"}})
        assert "Convert it to a str" not in str(caught.value)
        for text, mended in [("x\ud83d", "x\N{REPLACEMENT CHARACTER}"), ("\ud83d\ude00", "\N{GRINNING FACE}")]:
            assert text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") == mended
            encoder.encode({"a": mended})
        assert "text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')" in caught.value.hint


@pytest.mark.parametrize("value", [b"bytes", bytearray(b"x"), memoryview(b"x"), {"inner": b"x"}], ids=label)
def test_media_point_to_where_they_can_be_stored(value: Any) -> None:
    with pytest.raises(HFValidationError, match="JSON has no"):
        RowEncoder().encode({"image": value})
    with pytest.raises(HFValidationError, match="ParquetScheduler"):
        RowEncoder().encode({"image": value})


def test_an_image_points_to_where_it_can_be_stored() -> None:
    from PIL import Image

    image = Image.new("RGB", (1, 1))
    with pytest.raises(HFValidationError, match=r"'picture'.*ParquetScheduler"):
        RowEncoder().encode({"picture": image})


@pytest.mark.parametrize("row", [None, [], "text", 5, [("a", 1)], Point(), Pair(1, 2)], ids=label)
def test_a_row_is_a_mapping(row: Any) -> None:
    with pytest.raises(HFValidationError, match="row"):
        RowEncoder().encode(row)


def test_a_row_may_be_any_mapping() -> None:
    assert RowEncoder().encode(MappingProxyType({"a": 1})) == b'{"a":1}\n'


@pytest.mark.parametrize("encoder", [RowEncoder(), MediaEncoder()], ids=label)
def test_a_row_with_a_loop_is_refused(encoder: RowEncoder) -> None:
    row: dict[str, Any] = {}
    row["self"] = row
    with pytest.raises(HFValidationError, match="cannot be written as JSON"):
        encoder.encode(row)


@pytest.mark.parametrize("encoder", [RowEncoder(), MediaEncoder()], ids=label)
def test_very_deep_rows_are_refused_and_not_cut(encoder: RowEncoder) -> None:
    row: Any = 1
    for _ in range(2000):
        row = {"a": row}
    with pytest.raises(HFValidationError):
        encoder.encode(row)


def test_what_a_series_of_text_lacks_is_null_and_a_number_that_is_none_stays() -> None:
    row = {"text": pd.Series(["a", None]), "number": pd.Series([1.5, None])}
    found = read_line(MediaEncoder().encode(row))
    assert found["text"] == ["a", None]
    assert math.isnan(found["number"][1])


def test_a_long_value_is_shown_in_short() -> None:
    with pytest.raises(HFValidationError) as caught:
        RowEncoder().encode({"x": {"y" * 5000: object()}, "z": "\ud800" + "y" * 5000})
    assert len(str(caught.value)) < 300


def encoded(*rows: dict[str, Any]) -> tuple[int, list[Any]]:
    """How often a new file was asked for, and the rows as they are stored."""
    widened: list[None] = []
    encoder = RowEncoder(lambda: widened.append(None))
    stored_rows = [json.loads(encoder.encode(row)) for row in rows]
    return len(widened), stored_rows


def test_numbers_are_text_from_the_row_on_that_brought_text() -> None:
    files, rows = encoded({"v": 1}, {"v": 2.5}, {"v": "a"}, {"v": 3}, {"v": 0.5}, {"v": True}, {"v": None}, {"w": 1})
    assert rows == [
        {"v": 1}, {"v": 2.5}, {"v": "a"}, {"v": "3"}, {"v": "0.5"}, {"v": "true"}, {"v": None}, {"w": 1}
    ]  # fmt: skip
    assert files == 1


def test_text_first_needs_no_new_file() -> None:
    files, rows = encoded({"v": "a"}, {"v": 1})
    assert rows == [{"v": "a"}, {"v": "1"}]
    assert files == 0


def test_a_mix_inside_one_row_is_text() -> None:
    _, rows = encoded({"v": [1, "x", None], "s": {"a": [{"b": True}, {"b": 2}]}})
    assert rows == [{"v": ["1", "x", None], "s": {"a": [{"b": "true"}, {"b": "2"}]}}]


def test_a_nested_column_widens_alone() -> None:
    files, rows = encoded({"s": {"a": 1, "b": 1}}, {"s": {"a": "x", "b": 2}}, {"s": {"a": 3, "b": 4}})
    assert rows == [{"s": {"a": 1, "b": 1}}, {"s": {"a": "x", "b": 2}}, {"s": {"a": "3", "b": 4}}]
    assert files == 1


def test_lists_and_structs_beside_others_stay_as_they_are_and_text_is_json() -> None:
    rows: list[dict[str, Any]] = [{"v": [1]}, {"v": "x"}, {"v": {"a": 1}}, {"v": 2}]
    files, stored_rows = encoded(*rows)
    assert stored_rows == [{"v": [1]}, {"v": '"x"'}, {"v": {"a": 1}}, {"v": 2}]
    assert files == 0


def test_a_widened_column_is_told_by_name(caplog: pytest.LogCaptureFixture) -> None:
    encoded({"score": 1}, {"score": "good"}, {"score": 2}, {"score": "bad"})
    (record,) = caplog.records
    assert "score" in record.getMessage()


def test_what_is_stored_as_text_is_read_back_as_it_was_appended() -> None:
    encoder = RowEncoder()
    rows: list[dict[str, Any]] = [
        {"a": "x", "b": "x", "c": ["x", {"d": [1]}]},
        {"a": 12, "b": [1], "c": ["12", None]},
        {"a": -1.5, "b": "12", "c": None},
        {"a": True, "b": '"\\u0022\\', "c": ["", "null", "2026-01-02"]},
        {"a": "12", "b": "", "c": [{"d": ["12"]}]},
        {"a": "\\u0033", "b": '{"k": "\\"}', "c": []},
        {"a": False, "b": "Ζεύς 🐈\x00\n", "c": ["-"]},
    ]
    lines = [encoder.encode(row) for row in rows]
    assert list(map(appended, lines)) == rows
    read = [json.loads(line) for line in lines]
    assert [row["a"] for row in read] == ["x", "12", "-1.5", "true", "12", "\\u0033", "false"]
    assert [json.loads(row["b"]) if isinstance(row["b"], str) else row["b"] for row in read[1:]] == [
        row["b"] for row in rows[1:]
    ]


def test_text_that_another_writer_escaped_is_left_as_it_is() -> None:
    assert appended(b'{"a": "\\u003cb\\u003e", "\\u0061": "x\\u0022y\\u0022"}') == {"a": "<b>", "a": 'x"y"'}  # noqa: F601
