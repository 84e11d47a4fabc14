"""Joins Parquet files of equal columns into one, row group by row group."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import asdict
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from hubspool.extending import FileRange, HFValidationError, Joiner, Matches, Span
from hubspool_templates.defaults import DEFAULTS
from hubspool_templates.parquet.media import TAG, Media, is_stored_otherwise, read_line, stored_value
from hubspool_templates.parquet.parquet_encoding import RANGE, ParquetEncoding, columns_of_file, opened_writer, range_of
from hubspool_templates.parquet.tables import arrow_schema, arrow_table
from hubspool_templates.schema import FieldType, Schema
from hubspool_templates.values import appended

#: The key in the metadata of a joined file.
_JOINED = b"hubspool.joined"


class ParquetJoiner(Joiner):
    """Joins files that `ParquetEncoding` wrote; a file of another program stays. Memory: one row group."""

    keeps_bytes = False

    def key_of(self, path: Path) -> object:
        try:
            metadata = pq.read_metadata(path)
            known = _without_range(metadata.schema.to_arrow_schema())
        except (pa.ArrowException, OSError):
            return None
        if (metadata.metadata or {}).keys().isdisjoint((RANGE, _JOINED)):  # the Arrow schema lacks what was added last
            return None
        return known.serialize().to_pybytes(), tuple(sorted((known.metadata or {}).items()))

    def rows(self, path: Path) -> int:
        return int(pq.read_metadata(path).num_rows)

    def span_of(self, path: Path) -> Span | None:
        return range_of(pq.read_metadata(path))

    def check(self, path: Path) -> Iterator[tuple[Collection[str], Iterator[tuple[object, bytes]]]]:
        try:
            file = pq.ParquetFile(path)
            for number in range(file.num_row_groups):
                table = file.read_row_group(number)
                has_ids = "id" in table.column_names and pa.types.is_string(table.schema.field("id").type)
                yield table.column_names, _values(table) if has_ids else iter(())
            yield file.schema_arrow.names, iter(())
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"it cannot be read as Parquet: {error}") from error

    def row_of(self, line: bytes) -> Mapping[str, Any]:
        return read_line(line) if super().row_of(line) else {}

    def remove(self, path: Path, out: Path, matches: Matches) -> list[tuple[int, int]]:
        removed, position = set(), 0
        file, columns = pq.ParquetFile(path), columns_of_file(path).fields
        as_json = {name: kind for name, kind in columns.items() if is_stored_otherwise(kind)}
        for number in range(file.num_row_groups):
            rows = file.read_row_group(number).to_pylist()
            for row in rows:
                row |= {name: stored_value(row[name], kind, asdict) for name, kind in as_json.items()}
            removed |= {position + index for index, row in enumerate(rows) if matches(row)}
            position += len(rows)
        if removed:
            self._write([path], out, removed)
        return [(number, 1) for number in sorted(removed)]

    def join(self, paths: Sequence[Path], out: Path) -> list[int]:
        offsets, rows = [], 0
        for path in paths:
            offsets.append(rows)
            rows += self.rows(path)
        self._write(paths, out, set())
        return offsets

    def from_lines(self, lines: Path, out: Path) -> None:
        rows, encoded = out.with_suffix(".rows"), out.with_suffix(".encoded")
        with lines.open("rb") as stored, rows.open("wb") as plain:
            plain.writelines(map(_plain_line, stored))
        size = rows.stat().st_size
        span = Span("", 0, size)
        ParquetEncoding(lambda columns: columns).encode(span, FileRange(rows, 0, size), None, encoded)
        rows.unlink()
        self.join([encoded], out)  # which takes the range out of its metadata

    def _write(self, paths: Sequence[Path], out: Path, removed: Set[int]) -> None:
        """Write the rows of all files, without those of which the number is in `removed`."""
        schema = _without_range(pq.read_schema(paths[0]))
        with pa.OSFile(str(out), "wb") as sink, opened_writer(schema, columns_of_file(paths[0]), sink) as writer:
            for table in _groups(paths, schema, removed):
                writer.write_table(table, row_group_size=max(1, table.num_rows))
                pa.default_memory_pool().release_unused()
            writer.add_key_value_metadata({_JOINED: "1"})


def refit(path: Path, columns: Schema) -> Schema:
    """Write the rows of a joined file so that a reader with these columns reads them; return the columns of the file.

    A value that does not fit goes to another column, as `arrow_table` says: one that the file has not. Memory: one row
    group, and the values of the columns that do not fit.
    """
    own, out = columns_of_file(path).fields, path.with_suffix(".refit")
    others = [name for name, kind in own.items() if not columns.can_read(Schema({name: kind}))]

    def is_like(name: str) -> bool:
        return any(name.startswith(f"{other}_") for other in others)

    fields: dict[str, FieldType] = {name: "null" for name in own if is_like(name)}  # so that no value fits there
    new = (name for name in columns.fields if is_like(name) and name not in own)
    fields |= {name: columns.fields[name] for name in [*new, *others]}
    with pq.ParquetFile(path) as file:

        def changed(number: int) -> tuple[pa.Table, Schema]:
            rows = file.read_row_group(number, columns=others).to_pylist()
            stored = [{name: _line_value(stored_value(row[name], own[name], _same)) for name in others} for row in rows]
            return arrow_table(stored, Schema(fields))

        filled: dict[str, FieldType] = {}
        for number in range(file.num_row_groups):  # it is not known before which columns there will be
            table, found = changed(number)
            fields = {**found.fields}
            filled |= {n: k for n, k in fields.items() if n not in own and table.column(n).null_count < table.num_rows}
        schema = Schema({**own, **{name: columns.fields[name] for name in others}, **filled})
        arrow, is_kept = arrow_schema(schema), {*own}.difference(others)
        with pa.OSFile(str(out), "wb") as sink, opened_writer(arrow, schema, sink) as writer:
            for number in range(file.num_row_groups):
                kept, fitted = file.read_row_group(number, use_threads=False), changed(number)[0]
                arrays = [(kept if name in is_kept else fitted).column(name) for name in schema.fields]
                writer.write_table(pa.table(arrays, schema=arrow), row_group_size=max(1, kept.num_rows))
            writer.add_key_value_metadata({_JOINED: "1"})
    out.replace(path)
    return schema


def _plain_line(line: bytes) -> bytes:
    """Return a line with the values that were appended, as `read_line` reads them.

    Raises:
        HFValidationError: it has the key that marks values there.
    """
    row = appended(line)
    if TAG.encode() in line and _has_key(row, TAG):
        raise HFValidationError(f"A row has the key {TAG!r}, which no Parquet file holds.", hint="Leave out --format.")
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


def _has_key(value: Any, key: str) -> bool:
    """Whether a dict in a value of JSON, or the value itself, has a key."""
    if isinstance(value, dict):
        return key in value or any(_has_key(inner, key) for inner in value.values())
    return isinstance(value, list) and any(_has_key(inner, key) for inner in value)


def _same(media: Media) -> Media:
    return media


def _line_value(value: Any) -> Any:
    """Return a value as a line of the spool has it."""
    if isinstance(value, list):
        return [_line_value(inner) for inner in value]
    if isinstance(value, dict):
        return {name: _line_value(inner) for name, inner in value.items()}
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, time) or (isinstance(value, date) and not isinstance(value, datetime)):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value


def _values(table: pa.Table) -> Iterator[tuple[object, bytes]]:
    for batch in table.to_batches(max_chunksize=1000):
        for row in batch.to_pylist():
            yield row["id"], repr([each for each in row.items() if each[1] is not None]).encode()


def _without_range(schema: pa.Schema) -> pa.Schema:
    return schema.with_metadata({k: v for k, v in (schema.metadata or {}).items() if k not in (RANGE, _JOINED)})


def _groups(paths: Sequence[Path], schema: pa.Schema, removed: Set[int]) -> Iterator[pa.Table]:
    """Yield the rows of all files in tables of the size of a row group that the viewer takes."""
    waiting: list[pa.Table] = []
    position = size = rows = 0
    for path in paths:
        file = pq.ParquetFile(path)
        for number in range(file.num_row_groups):
            table = file.read_row_group(number, use_threads=False).replace_schema_metadata(schema.metadata)
            numbers = range(position, position := position + table.num_rows)
            if not removed.isdisjoint(numbers):
                table = table.filter(pa.array([each not in removed for each in numbers]))
            size, rows = size + table.nbytes, rows + table.num_rows
            if waiting and (size > DEFAULTS.join_group_bytes or rows > DEFAULTS.row_group_rows):
                yield pa.concat_tables(waiting)
                waiting, size, rows = [], table.nbytes, table.num_rows
            waiting.append(table)
    if waiting:
        yield pa.concat_tables(waiting)
