"""Lines of the spool as a Parquet file that grows by whole row groups."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from hubspool.encoding import Encoding, Span
from hubspool.file_range import FileRange
from hubspool_templates.media import TIME, Media, dtype_of, is_tagged, media_kind, read_line
from hubspool_templates.parquet_types import arrow_type, features, leaves
from hubspool_templates.schema import EXACT_INT, JSON_DTYPES, FieldType, ListOf, Schema, as_text, shape_of

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

#: Dtypes that later rows may widen.
INFERRED = JSON_DTYPES | {TIME}
#: A viewer, and `datasets`, read one row group at a time.
GROUP_ROWS = 50_000
GROUP_BYTES = 16 * 1024 * 1024
#: Rows that tell the columns of most others.
SAMPLE = 100
#: Keys of a file's metadata: what it holds, and its columns.
_RANGE = b"hubspool.range"
_COLUMNS = b"hubspool.columns"
_UNFIT = "_unfit"
_PLAIN = frozenset({"null", "bool", "int64", "float64", "string"})
_TAIL = 64 * 1024
_BLOCK = 1024 * 1024


class ParquetEncoding(Encoding):
    """Makes Parquet files that `datasets`, pandas, polars and duckdb read.

    All files have the columns that were known when they were begun: given, in the card, or met in a row before. A row
    with another one closes the open part. A value that a decided column (given, or written into the card by a person)
    cannot hold goes to the column ``<name>_unfit``, as JSON.

    Args:
        known: reads the columns that the card has; called once, in the pushing thread.
        declared: the columns that the caller gave.
    """

    form = "parquet"
    part_commits = 8

    def __init__(self, known: Callable[[], Schema], declared: Schema | None = None) -> None:
        self.schema = declared or Schema()
        self._known: Callable[[], Schema] | None = known

    def encode(self, span: Span, lines: FileRange, grown: Path | None, out: Path) -> bool:
        import pyarrow as pa
        import pyarrow.parquet as pq

        with lines.open() as file:
            data = file.read()
        if grown is None:
            schema, table = self._table(data)
            _write(table, schema, len(data), span, out)
            return True
        try:
            schema = _columns(grown)
            table = _fast_table(data, schema) or self._slow_table(data, schema)
            if table is None:
                return False
            _write(table, schema, len(data), span, out, grown)
            before, after = pq.read_metadata(grown), pq.read_metadata(out)
            return bool(after.num_rows == before.num_rows + table.num_rows and _range(after) == span)
        except (pa.ArrowException, ValueError, KeyError) as error:
            # Another version of pyarrow, perhaps: whatever keeps a file from growing, a new one holds these rows.
            logger.warning("%s does not grow: %s", grown.name, error)
            return False

    def span_of(self, size: int, read: Callable[[int, int], bytes]) -> Span | None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        tail = read(max(size - _TAIL, 0), min(_TAIL, size))
        length = int.from_bytes(tail[-8:-4], "little") + 8
        if tail[-4:] != b"PAR1" or length > size:
            return None
        if length > len(tail):
            tail = read(size - length, length)
        try:
            return _range(pq.read_metadata(io.BytesIO(tail)))
        except (pa.ArrowException, ValueError):
            return None

    def reuse(self, path: Path) -> None:
        self.schema = self.schema.merge(_columns(path), inferred=INFERRED)

    def _table(self, data: bytes) -> tuple[Schema, pa.Table]:
        """Return the rows of these lines, in columns that hold all rows met so far."""
        if self._known is not None:
            self.schema = self._known().merge(self.schema, inferred=INFERRED)
            self._known = None
        first = data.splitlines()[:SAMPLE] if len(data) < _BLOCK else data[:_BLOCK].splitlines()[:-1][:SAMPLE]
        self.schema = _learned(map(read_line, first), self.schema)
        table = _fast_table(data, self.schema)
        if table is None:
            rows = [read_line(line) for line in data.splitlines()]
            self.schema = _learned(rows, self.schema)
            table = _arrow_table(rows, self.schema)
            if len(table.schema) > len(self.schema.fields):
                self.schema = Schema({**self.schema.fields, **dict.fromkeys(_added(table, self.schema), "json")})
        return self.schema, table

    def _slow_table(self, data: bytes, schema: Schema) -> pa.Table | None:
        """Return the rows of these lines in given columns, or None where they need others, which are learned."""
        rows = [read_line(line) for line in data.splitlines()]
        needed = _learned(rows, schema)
        if needed != schema:
            self.schema = self.schema.merge(needed, inferred=INFERRED)
            return None
        table = _arrow_table(rows, schema)
        return None if _added(table, schema) else table


def misfits(line: bytes, schema: Schema) -> list[str]:
    """Return the columns that cannot hold what a line has for them."""
    return [name.removesuffix(_UNFIT) for name in _added(_arrow_table([read_line(line)], schema), schema)]


def _learned(rows: Iterable[dict[str, Any]], schema: Schema) -> Schema:
    seen: set[object] = set()
    for row in rows:
        shape = shape_of(row)
        if shape is None or shape not in seen:
            schema = schema.merge(Schema.of_row(row, dtype_of), inferred=INFERRED)
            seen.add(shape)
    return schema


def _fast_table(data: bytes, schema: Schema) -> pa.Table | None:
    """Return what Arrow's own reader makes of these lines; None where they are not just what the columns say."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import json

    if not schema.fields or not all(_is_plain(kind) for kind in schema.fields.values()) or is_tagged(data):
        return None
    try:
        table = json.read_json(
            pa.BufferReader(data),
            read_options=json.ReadOptions(block_size=8 * _BLOCK),
            parse_options=json.ParseOptions(explicit_schema=_arrow_schema(schema), unexpected_field_behavior="error"),
        )
    except pa.ArrowException:
        return None
    for column in map(_flat, table.columns):  # integers that a float does not hold have a type of their own
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            low, high = pc.min_max(column).as_py().values()
            if low is not None and max(-low, high) > EXACT_INT:
                return None
    return table if table.num_rows == data.count(b"\n") else None


def _flat(column: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    return _flat(pc.list_flatten(column)) if pa.types.is_list(column.type) else column


def _is_plain(kind: FieldType) -> bool:
    if isinstance(kind, ListOf):
        return _is_plain(kind.item)
    return isinstance(kind, str) and kind in _PLAIN


def _arrow_schema(schema: Schema) -> pa.Schema:
    import pyarrow as pa

    metadata = {
        b"huggingface": orjson.dumps({"info": {"features": features(schema)}}),
        _COLUMNS: orjson.dumps(schema.to_features()),
    }
    return pa.schema([(name, arrow_type(kind)) for name, kind in schema.fields.items()], metadata)


def _arrow_table(rows: list[dict[str, Any]], schema: Schema) -> pa.Table:
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


def _added(table: pa.Table, schema: Schema) -> list[str]:
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


def _write(table: pa.Table, schema: Schema, size: int, span: Span, out: Path, grown: Path | None = None) -> None:
    """Write a file, or the beginning of `grown` up to its footer, row groups after it, and a footer for both.

    Reading the old row groups and writing them again gives other bytes; copied, they and their page indexes stay where
    they were, and so does all that their part of the footer says.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrow = _arrow_schema(schema)
    media = {name for name, kind in schema.fields.items() if _has_media(kind)}
    texts = [leaf for field in arrow if field.name not in media for leaf in leaves(field.type, field.name)]
    pictures = [leaf for field in arrow if field.name in media for leaf in leaves(field.type, field.name)]
    rows = max(1, min(GROUP_ROWS, table.num_rows * GROUP_BYTES // max(size, 1)))
    with (
        pa.OSFile(str(out), "wb") as sink,
        pq.ParquetWriter(
            sink,
            arrow,
            compression={**dict.fromkeys(texts, "zstd"), **dict.fromkeys(pictures, "none")},
            use_dictionary=texts,
            write_statistics=texts,
            use_content_defined_chunking=True,
            write_page_index=True,
        ) as writer,
    ):
        if grown is not None:
            with grown.open("rb") as old:
                left = _footer_start(grown)
                left -= len(old.read(sink.tell()))  # the same four bytes, which the writer has written
                while left > 0 and (block := old.read(min(left, _BLOCK))):
                    left -= sink.write(block)
        writer.write_table(table.cast(arrow), row_group_size=rows)
        writer.add_key_value_metadata({_RANGE: _range_text(span)})
    if grown is not None:
        _join_footers(grown, out, span)


def _join_footers(grown: Path, out: Path, span: Span) -> None:
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(grown)
    before = metadata.metadata[_RANGE]
    metadata.append_row_groups(pq.read_metadata(out))
    footer = io.BytesIO()
    metadata.write_metadata_file(footer)
    # The one thing in it that has changed has a fixed length, so that it can be exchanged in place.
    if footer.getvalue().count(before) != 1 or len(before) != len(_range_text(span)):
        raise ValueError("the range does not stand in the footer once")
    start = _footer_start(out)
    with out.open("r+b") as file:
        file.truncate(start)
        file.seek(start)
        file.write(footer.getvalue()[4:].replace(before, _range_text(span).encode()))


def _footer_start(path: Path) -> int:
    with path.open("rb") as file:
        end = file.seek(-8, io.SEEK_END)
        return end - int.from_bytes(file.read(4), "little")


def _range_text(span: Span) -> str:
    return f"{span.segment} {span.start:020d} {span.end:020d}"


def _range(metadata: Any) -> Span | None:
    words = (metadata.metadata or {}).get(_RANGE, b"").decode().rsplit(" ", 2)
    return Span(words[0], int(words[1]), int(words[2])) if len(words) == 3 else None


def _columns(path: Path) -> Schema:
    import pyarrow.parquet as pq

    return Schema.of_features(orjson.loads(pq.read_metadata(path).metadata[_COLUMNS]))


def _has_media(kind: FieldType) -> bool:
    if isinstance(kind, Schema):
        return any(_has_media(inner) for inner in kind.fields.values())
    return _has_media(kind.item) if isinstance(kind, ListOf) else media_kind(kind) is not None or kind == "binary"
