"""Lines of the spool as Arrow tables: plain lines with Arrow's own reader, other lines value by value."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from itertools import chain, count
from math import isnan
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json

from hubspool.extending import FileRange, count_lines
from hubspool_templates.parquet.arrow_types import arrow_type, datasets_features
from hubspool_templates.parquet.media import TAG, Media, dtype_of, media_of_column, read_line
from hubspool_templates.schema import FieldType, Given, Learner, ListOf, Schema, as_text, type_of_feature
from hubspool_templates.value_kinds import EXACT_INT, PARQUET_DTYPES, PLAIN_DTYPES

#: The key in the metadata of a table, and of a file, whose value is the columns.
COLUMNS = b"hubspool.columns"
#: Bytes that are read or copied at once.
BLOCK = 1024 * 1024
_UNFIT = "unfit"
_NULL = type(None)
_OWN_TYPES: dict[str, set[type]] = {"bool": {bool, _NULL}, "int64": {int, _NULL}, "float64": {int, float, _NULL}}


@dataclass
class ReadAhead:
    """Lines that were read in the check for damage, kept as a table for the encoding that follows.

    Args:
        lines: the lines that were read.
        schema: the columns of `table`.
        table: the rows.
    """

    lines: FileRange
    schema: Schema
    table: pa.Table
    _rows: dict[int, int] = field(default_factory=dict)  # position in the file → row of the table

    def __post_init__(self) -> None:
        self._rows[self.lines.start] = 0

    def rows(self, lines: FileRange, schema: Schema) -> pa.Table | None:
        """Return the rows of these lines; None if they were not read, or were read with other columns.

        Callers ask for ranges in the order of the file, and may ask for one range twice.
        """
        if lines.path != self.lines.path or schema != self.schema or lines.end > self.lines.end:
            return None
        first = self._rows.get(lines.start)
        if first is None:
            return None
        count = count_lines(lines.path, lines.start, lines.end)
        self._rows[lines.end] = first + count
        return self.table.slice(first, count)


def misfits(line: bytes, schema: Schema) -> list[str]:
    """Return the columns that cannot hold the line's values."""
    row = read_line(line)
    return [name for name, kind in schema.fields.items() if _array([row], name, kind) is None]


def learned(rows: Iterable[dict[str, Any]], schema: Schema) -> Schema:
    """Return `schema`, extended for these rows."""
    learner = Learner(None, dtype_of, PARQUET_DTYPES)
    for row in rows:
        learner.add(row)
    return schema.extend(learner.schema)


def fast_table(data: bytes, schema: Schema) -> pa.Table | None:
    """Return these lines as Arrow's own reader reads them; None if some value is not of its column's type.

    Arrow also accepts empty lines, ``null``, and text that is not UTF-8, so these are checked here.
    """
    if not schema.fields or TAG in schema.fields or not all(map(_is_plain, schema.fields.values())):
        return None
    try:
        table = json.read_json(
            pa.BufferReader(data),
            read_options=json.ReadOptions(block_size=8 * BLOCK),
            parse_options=json.ParseOptions(explicit_schema=arrow_schema(schema), unexpected_field_behavior="error"),
        )
        table.validate(full=True)
    except pa.ArrowException:
        return None
    if table.num_rows != data.count(b"\n"):
        return None
    if all(column.null_count for column in table.columns) and (data.startswith(b"null") or b"\nnull" in data):
        return None
    return None if any(map(_has_wide_int, map(_flat, table.columns))) else table


def _has_wide_int(column: Any) -> bool:
    """Whether a column has a number that float64 may not hold: such columns have a type of their own."""
    if not pa.types.is_integer(column.type) and not pa.types.is_floating(column.type):
        return False
    low, high = pc.min_max(column).as_py().values()
    return low is not None and max(-low, high) > EXACT_INT


def _flat(column: Any) -> Any:
    return _flat(pc.list_flatten(column)) if pa.types.is_list(column.type) else column


def _is_plain(kind: FieldType) -> bool:
    if isinstance(kind, ListOf):
        return _is_plain(kind.item)
    return isinstance(kind, str) and kind in PLAIN_DTYPES


def _are_exact(values: list[Any], kind: FieldType) -> bool:
    """Whether all values of a column of numbers or bools, in lists or not, are of its own type.

    Arrow itself cuts 1.5 to 1 in a column of integers, and makes 1.0 of True.
    """
    if isinstance(kind, ListOf):
        lists = [value for value in values if value is not None]
        return set(map(type, lists)) <= {list} and _are_exact(list(chain.from_iterable(lists)), kind.item)
    return isinstance(kind, str) and kind in _OWN_TYPES and set(map(type, values)) <= _OWN_TYPES[kind]


def arrow_schema(schema: Schema) -> pa.Schema:
    """Return the columns as an Arrow schema, with the metadata that `datasets` and this package read."""
    metadata = {
        b"huggingface": orjson.dumps({"info": {"features": datasets_features(schema)}}),
        COLUMNS: orjson.dumps(schema.to_features()),
    }
    return pa.schema([(name, arrow_type(kind)) for name, kind in schema.fields.items()], metadata)


def arrow_table(rows: list[dict[str, Any]], schema: Schema) -> tuple[pa.Table, Schema]:
    """Return the rows as a table, and its columns.

    A value that does not fit its column goes to another one: media and bytes to ``<name>_image``, ``<name>_binary``, …,
    all else as JSON to ``<name>_unfit``. Where a row has a column of that name, the name gets a number.
    """
    rows, fields = list(rows), dict(schema.fields)
    arrays: dict[str, pa.Array | None] = {}
    for name, kind in schema.fields.items():
        arrays[name] = _array(rows, name, kind)
        if arrays[name] is None:
            places: dict[str, str] = {}
            for number, row in enumerate(rows):
                if _array([row], name, kind) is None:
                    own = _own_kind(row[name])
                    if own not in places:
                        places[own] = _free_name(name, own, rows, fields)
                        fields[places[own]] = own
                    rows[number] = {**row, name: None, places[own]: row[name]}
            arrays.update({each: _array(rows, each, fields[each]) for each in (name, *places.values())})
    return pa.table({name: arrays[name] for name in fields}), Schema(fields)


def _array(rows: list[dict[str, Any]], name: str, kind: FieldType) -> pa.Array | None:
    """Return a column of the rows; None if a value does not fit."""
    values = [row.get(name) for row in rows]
    try:
        stored = values if _are_exact(values, kind) else [_stored(value, kind) for value in values]
        return pa.array(stored, arrow_type(kind))
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None


def _own_kind(value: Any) -> str:
    return value.media if isinstance(value, Media) else "binary" if isinstance(value, bytes) else "json"


def _free_name(name: str, kind: str, rows: list[dict[str, Any]], fields: Mapping[str, FieldType]) -> str:
    """Return the name of the column for values of this kind that do not fit into the column `name`."""
    base = f"{name}_{_UNFIT if kind == 'json' else kind}"
    names = chain([base], (f"{base}_{number}" for number in count(2)))
    return next(each for each in names if fields.get(each, kind) == kind and all(row.get(each) is None for row in rows))


def _stored(value: Any, kind: FieldType) -> Any:  # noqa: PLR0911  one kind of column after the other
    """Return a value as Arrow accepts it for a column of this type.

    Raises:
        TypeError: the value does not fit.
    """
    if value is None:
        return None
    if isinstance(kind, ListOf):
        return [_stored(item, kind.item) for item in _expected(list, value)]
    if isinstance(kind, Schema):
        columns = kind.fields
        return {name: _stored(item, columns.get(name, "null")) for name, item in _expected(dict, value).items()}
    if media := media_of_column(kind):
        if not isinstance(value, Media) or value.media != media:
            raise TypeError(f"a {type(value).__name__} is no {media}")
        return {"bytes": value.bytes, "path": value.path}
    if isinstance(kind, Given):
        return _shaped(value, kind.feature)
    if kind == "binary":
        return _expected(bytes, value)
    return _stored_scalar(value, kind)


def _stored_scalar(value: Any, kind: str) -> Any:
    if isinstance(value, (Media, bytes)) or kind == "null":
        raise TypeError(f"a {type(value).__name__} does not fit")
    if kind == "json":
        return _json(value)
    if kind == "string":
        return as_text(value, kind, _text_of_number) if isinstance(value, (bool, int, float)) else _text(value)
    letters = re.match("[a-z]*", kind)
    types, convert = _CONVERSIONS.get(letters[0] if letters else "", ((object,), None))
    if not isinstance(value, types) or (isinstance(value, bool) and kind != "bool"):
        raise TypeError(f"a {type(value).__name__} does not fit")
    return value if convert is None else convert(value)


def _whole(value: float) -> int:
    if value != int(value):
        raise TypeError(f"{value} is no integer")
    return int(value)


def _decimal(value: str | int) -> Decimal:
    try:
        return Decimal(value)
    except InvalidOperation:
        raise TypeError(f"{value!r} is no number") from None


#: First letters of a dtype → types of the values, in a line, that fit, and the conversion to what Arrow takes as it is.
_CONVERSIONS: dict[str, tuple[tuple[type, ...], Callable[[Any], Any] | None]] = {
    "bool": ((bool,), None),
    **dict.fromkeys(("int", "uint"), ((int, float), _whole)),
    **dict.fromkeys(("float", "double", "halffloat"), ((int, float), None)),
    "timestamp": ((datetime,), None),
    "date": ((str,), date.fromisoformat),
    "time": ((str,), time.fromisoformat),
    "duration": ((int, float), lambda seconds: timedelta(seconds=seconds)),
    "decimal": ((str, int), _decimal),
}


def _shaped(value: Any, feature: Mapping[str, Any]) -> Any:
    """Return a value of a column with options, if it has their shape: `datasets` reads no file with another one."""
    if "list" in feature:
        items = _stored(value, type_of_feature({"list": feature["list"]}))
        return _of_length(items, feature.get("length"))
    dtype = feature.get("dtype")
    if not isinstance(dtype, Mapping):
        return _stored(value, dtype) if isinstance(dtype, str) else value
    (options,) = dtype.values()
    if names := options.get("names"):
        if _stored(value, "int64") >= len(names):
            raise TypeError(f"there is no label {value}")
        return value
    return _of_shape(value, options.get("shape") or (), options.get("dtype"))


def _of_shape(value: Any, shape: Sequence[int | None], dtype: Any) -> Any:
    if not shape:
        return _stored(value, dtype) if isinstance(dtype, str) else value
    return [_of_shape(item, shape[1:], dtype) for item in _of_length(_expected(list, value), shape[0])]


def _of_length(items: list[Any], length: int | None) -> list[Any]:
    if length is not None and length >= 0 and len(items) != length:
        raise TypeError(f"a list of {len(items)} does not fit")
    return items


def _expected(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"a {type(value).__name__} does not fit")
    return value


def _text(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value


def _text_of_number(value: float) -> str | None:
    if isinstance(value, float) and isnan(value):
        return None  # what a text is where pandas has none
    return _json(value).strip('"')  # JSON has infinity as text only


def _json(value: Any) -> str:
    from base64 import b64encode

    def convert(inner: Any) -> Any:
        if isinstance(inner, Media):
            return {"kind": inner.media, "bytes": inner.bytes, "path": inner.path}
        return b64encode(inner).decode() if isinstance(inner, bytes) else inner.isoformat()

    if isinstance(value, float) and value - value != 0:
        return f'"{value}"'
    return orjson.dumps(value, convert, orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS).decode()
