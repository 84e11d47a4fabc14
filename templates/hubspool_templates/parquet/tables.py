"""Lines of the spool as Arrow tables: plain lines with Arrow's own reader, other lines value by value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from hubspool.extending import FileRange, count_lines
from hubspool_templates.parquet.arrow_types import arrow_type, datasets_features
from hubspool_templates.parquet.media import TAG, Media, dtype_of, media_of_column, read_line
from hubspool_templates.schema import FieldType, Learner, ListOf, Schema, as_text
from hubspool_templates.value_kinds import EXACT_INT, PARQUET_DTYPES, PLAIN_DTYPES

if TYPE_CHECKING:
    import pyarrow as pa

#: The key in the metadata of a table, and of a file, whose value is the columns.
COLUMNS = b"hubspool.columns"
#: Bytes that are read or copied at once.
BLOCK = 1024 * 1024
_UNFIT = "_unfit"


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
    return [name.removesuffix(_UNFIT) for name in added(arrow_table([read_line(line)], schema), schema)]


def learned(rows: Iterable[dict[str, Any]], schema: Schema) -> Schema:
    """Return `schema`, widened until it holds these rows."""
    learner = Learner(schema, dtype_of, PARQUET_DTYPES)
    for row in rows:
        learner.add(row)
    return learner.schema


def fast_table(data: bytes, schema: Schema) -> pa.Table | None:
    """Return these lines as Arrow's own reader reads them; None if some value is not of its column's type.

    Arrow also accepts empty lines, ``null``, and text that is not UTF-8, so these are checked here.
    """
    import pyarrow as pa
    from pyarrow import json

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
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_integer(column.type) and not pa.types.is_floating(column.type):
        return False
    low, high = pc.min_max(column).as_py().values()
    return low is not None and max(-low, high) > EXACT_INT


def _flat(column: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    return _flat(pc.list_flatten(column)) if pa.types.is_list(column.type) else column


def _is_plain(kind: FieldType) -> bool:
    if isinstance(kind, ListOf):
        return _is_plain(kind.item)
    return isinstance(kind, str) and kind in PLAIN_DTYPES


def arrow_schema(schema: Schema) -> pa.Schema:
    """Return the columns as an Arrow schema, with the metadata that `datasets` and this package read."""
    import pyarrow as pa

    metadata = {
        b"huggingface": orjson.dumps({"info": {"features": datasets_features(schema)}}),
        COLUMNS: orjson.dumps(schema.to_features()),
    }
    return pa.schema([(name, arrow_type(kind)) for name, kind in schema.fields.items()], metadata)


def arrow_table(rows: list[dict[str, Any]], schema: Schema) -> pa.Table:
    """Return the rows as a table. A value that does not fit its column goes to another column, ``<name>_unfit``."""
    import pyarrow as pa

    columns: dict[str, pa.Array] = {}
    unfit: dict[str, list[str | None]] = {}
    for name, kind in schema.fields.items():
        wanted, values = arrow_type(kind), [row.get(name) for row in rows]
        try:
            columns[name] = pa.array(values if _is_plain(kind) else [_stored(v, kind) for v in values], wanted)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            fitting = []
            for number, value in enumerate(values):
                try:
                    fitting.append(pa.scalar(_stored(value, kind), wanted).as_py())
                except (pa.ArrowException, TypeError, ValueError, OverflowError):
                    fitting.append(None)
                    unfit.setdefault(f"{name}{_UNFIT}", [None] * len(rows))[number] = _json(value)
            columns[name] = pa.array(fitting, wanted)
    columns.update({name: pa.array(values, pa.string()) for name, values in unfit.items()})
    return pa.table(columns)


def added(table: pa.Table, schema: Schema) -> list[str]:
    """Return the columns that `arrow_table` added for values that do not fit."""
    return [name for name in table.column_names if name not in schema.fields]


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
        return {name: _stored(item, kind.fields.get(name, "null")) for name, item in _expected(dict, value).items()}
    if kind == "json":
        return _json(value)
    if kind == "string":
        return as_text(value, kind, _json) if isinstance(value, (bool, int, float)) else _text(value)
    if media_of_column(kind):
        return (
            {"bytes": value.bytes, "path": value.path}
            if isinstance(value, Media)
            else {"bytes": _expected(bytes, value), "path": None}
        )
    return value.bytes if isinstance(value, Media) else value


def _expected(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"a {type(value).__name__} does not fit")
    return value


def _text(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value


def _json(value: Any) -> str:
    from base64 import b64encode

    def convert(inner: Any) -> Any:
        if isinstance(inner, Media):
            return {"kind": inner.media, "bytes": inner.bytes, "path": inner.path}
        return b64encode(inner).decode() if isinstance(inner, bytes) else inner.isoformat()

    if isinstance(value, float) and value - value != 0:
        return f'"{value}"'
    return orjson.dumps(value, convert, orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS).decode()
