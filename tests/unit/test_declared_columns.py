"""Columns of a declared type: a value is stored as it is, or refused; Arrow alone would cut 1.5 to 1."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from hubspool_templates.parquet.arrow_types import schema_of
from hubspool_templates.parquet.media import MediaEncoder, read_line
from hubspool_templates.parquet.tables import arrow_table, misfits


def in_column(kind: Any, value: Any) -> Any:
    """The value in a column of a declared type; "refused" if it does not fit."""
    schema = schema_of({"v": kind})
    line = MediaEncoder(schema).encode({"v": value})
    if misfits(line, schema):
        return "refused"
    return arrow_table([read_line(line)], schema)[0].to_pylist()[0]["v"]


NOON = datetime(2026, 1, 2, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("int64", 1.5), ("int64", True), (["int64"], [1, 1.5]), ({"a": "uint8"}, {"a": 0.5}), ("float64", True),
        ("bool", 1), ("timestamp[us, tz=UTC]", 60), ("timestamp[us, tz=UTC]", 1.5), ("date32", 3), ("date32", NOON),
        ("time64[us]", 3), ("duration[ms]", "1 s"), ("decimal128(10, 2)", "x"), ("decimal128(10, 2)", 1.5),
        ({"_type": "Array2D", "dtype": "int32", "shape": [1, 2]}, [[1, 1.5]]),
        ({"_type": "ClassLabel", "names": ["a", "b"]}, 0.5), ({"_type": "ClassLabel", "names": ["a", "b"]}, True),
    ],
    ids=repr,
)  # fmt: skip
def test_a_value_that_a_declared_type_would_change_is_refused(kind: Any, value: Any) -> None:
    assert in_column(kind, value) == "refused"


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("int64", 2.0), ("float64", 2), (["float64"], [1, None, 2.5]), ("date32", date(2026, 1, 2)),
        ("time64[us]", time(1, 2, 3, 4)), ("duration[ms]", timedelta(minutes=1)), ("timestamp[us, tz=UTC]", NOON),
        ("decimal128(10, 2)", Decimal("1.10")), ("decimal128(10, 2)", 3), ("float32", 0.5), ("string", "x"),
        ({"_type": "Array2D", "dtype": "float32", "shape": [1, 2]}, [[1, 1.5]]),
        ({"_type": "ClassLabel", "names": ["a", "b"]}, 1),
    ],
    ids=repr,
)  # fmt: skip
def test_a_value_of_a_declared_type_is_stored_as_it_is(kind: Any, value: Any) -> None:
    assert in_column(kind, value) == value
