"""Lines of the spool as Arrow tables: with Arrow's own reader where they are plain, value by value where not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from hubspool.client.file_range import FileRange
from hubspool.push.lines import count_lines
from hubspool_templates.parquet.arrow_types import arrow_type, features
from hubspool_templates.parquet.media import TAG, TIME, Media, dtype_of, media_kind, read_line
from hubspool_templates.schema import EXACT_INT, JSON_DTYPES, FieldType, ListOf, Schema, as_text, shape_of

if TYPE_CHECKING:
    import pyarrow as pa

#: Dtypes that later rows may widen.
INFERRED = JSON_DTYPES | {TIME}
#: The key of a table's, and a file's, metadata that holds its columns.
COLUMNS = b"hubspool.columns"
BLOCK = 1024 * 1024
_UNFIT = "_unfit"
_PLAIN = frozenset({"null", "bool", "int64", "float64", "string"})


@dataclass
class ReadAhead:
    """Lines that were read to see whether they are whole, kept as a table for the encoding that follows.

    Args:
        lines: what was read.
        schema: the columns of `table`.
    """

    lines: FileRange
    schema: Schema
    table: pa.Table
    _rows: dict[int, int] = field(default_factory=dict)  # position in the file → row of the table

    def __post_init__(self) -> None:
        self._rows[self.lines.start] = 0

    def rows(self, lines: FileRange, schema: Schema) -> pa.Table | None:
        """Return these lines' rows, or None where they were not read, or with other columns.

        Ranges are asked for in the order of the file; one may be asked for again.
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
    """Return the columns that cannot hold what a line has for them."""
    return [name.removesuffix(_UNFIT) for name in added(arrow_table([read_line(line)], schema), schema)]


def learned(rows: Iterable[dict[str, Any]], schema: Schema) -> Schema:
    """Return the columns that hold these rows too."""
    seen: set[object] = set()
    for row in rows:
        shape = shape_of(row)
        if shape is None or shape not in seen:
            schema = schema.merge(Schema.of_row(row, dtype_of), inferred=INFERRED)
            seen.add(shape)
    return schema


def fast_table(data: bytes, schema: Schema) -> pa.Table | None:
    """Return what Arrow's own reader makes of these lines; None where they are not just what the columns say.

    It also takes a line that is empty, or ``null``, and text that is not UTF-8; so that is looked for besides.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import json

    if not schema.fields or TAG in schema.fields or not all(_is_plain(kind) for kind in schema.fields.values()):
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
    for column in map(_flat, table.columns):  # integers that a float does not hold have a type of their own
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            low, high = pc.min_max(column).as_py().values()
            if low is not None and max(-low, high) > EXACT_INT:
                return None
    return table


def _flat(column: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    return _flat(pc.list_flatten(column)) if pa.types.is_list(column.type) else column


def _is_plain(kind: FieldType) -> bool:
    if isinstance(kind, ListOf):
        return _is_plain(kind.item)
    return isinstance(kind, str) and kind in _PLAIN


def arrow_schema(schema: Schema) -> pa.Schema:
    """Return the columns as Arrow has them, with the metadata that `datasets` and we read them from."""
    import pyarrow as pa

    metadata = {
        b"huggingface": orjson.dumps({"info": {"features": features(schema)}}),
        COLUMNS: orjson.dumps(schema.to_features()),
    }
    return pa.schema([(name, arrow_type(kind)) for name, kind in schema.fields.items()], metadata)


def arrow_table(rows: list[dict[str, Any]], schema: Schema) -> pa.Table:
    """Return the rows as a table; for values that do not fit it has further columns."""
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
    """Return the columns of a table that are there for values which do not fit."""
    return [name for name in table.column_names if name not in schema.fields]


def _stored(value: Any, kind: FieldType) -> Any:  # noqa: PLR0911  one kind of column after the other
    """Return a value as Arrow takes it for a column of this type."""
    if value is None:
        return None
    if isinstance(kind, ListOf):
        return [_stored(item, kind.item) for item in value] if isinstance(value, list) else _misfit(value)
    if isinstance(kind, Schema):
        if not isinstance(value, dict):
            return _misfit(value)
        return {name: _stored(item, kind.fields.get(name, "null")) for name, item in value.items()}
    if kind == "json":
        return _json(value)
    if kind == "string":
        return as_text(value, kind, _json) if isinstance(value, (bool, int, float)) else _text(value)
    if isinstance(value, Media):
        return {"bytes": value.bytes, "path": value.path} if media_kind(kind) else value.bytes
    if media_kind(kind):
        return {"bytes": value, "path": None} if isinstance(value, bytes) else _misfit(value)
    return value


def _misfit(value: Any) -> Any:
    raise TypeError(f"a {type(value).__name__} does not fit")


def _text(value: Any) -> Any:
    return value if isinstance(value, str) or not hasattr(value, "isoformat") else value.isoformat()


def _json(value: Any) -> str:
    from base64 import b64encode

    def convert(inner: Any) -> Any:
        if isinstance(inner, Media):
            return vars(inner)
        return b64encode(inner).decode() if isinstance(inner, bytes) else inner.isoformat()

    if isinstance(value, float) and value - value != 0:
        return f'"{value}"'
    return orjson.dumps(value, convert, orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS).decode()
