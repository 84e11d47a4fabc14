"""Lines of the spool as a Parquet file that grows by whole row groups."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from hubspool.extending import Encoding, FileRange, Span, is_object
from hubspool_templates.defaults import DEFAULTS
from hubspool_templates.parquet.arrow_types import leaves
from hubspool_templates.parquet.media import is_tagged, media_of_column, read_line
from hubspool_templates.parquet.tables import (
    BLOCK,
    COLUMNS,
    ReadAhead,
    arrow_schema,
    arrow_table,
    fast_table,
    learned,
)
from hubspool_templates.schema import FieldType, Schema, innermost

logger = logging.getLogger(__name__)

#: The key in a file's metadata whose value says which lines the file holds.
RANGE = b"hubspool.range"


class ParquetEncoding(Encoding):
    """Writes Parquet files that `datasets`, pandas, polars and duckdb read.

    A file has the columns that were known when its part began: declared, in the card, or in an earlier row. A row
    with another column closes the open part. A value that does not fit a column which a person decided on (declared,
    or written into the card) goes to the column ``<name>_unfit``, as JSON.

    Args:
        known: returns the columns that the card has for rows of the given columns; called once, in the pushing thread.
        declared: the columns that the caller declared.

    Attributes:
        schema: the columns of all rows that were encoded.
    """

    suffix = "parquet"
    part_commits = 8

    def __init__(self, known: Callable[[Schema], Schema], declared: Schema | None = None) -> None:
        self.schema = declared or Schema()
        self._known: Callable[[Schema], Schema] | None = known
        self._ahead: ReadAhead | None = None

    def damaged(self, lines: FileRange) -> tuple[tuple[int, int], ...]:
        """Return the ranges of lines that are no JSON object.

        Arrow's reader, which reads all lines in any case, refuses such lines too. If it accepts all of them, its table
        is kept for `encode`, so that the lines of one segment at a time are read once, not twice.
        """
        self._ahead = self._read_ahead(lines)
        return super().damaged(lines) if self._ahead is None else ()

    def encode(self, span: Span, lines: FileRange, grown: Path | None, out: Path) -> bool:
        if grown is None:
            schema, table = self._table(lines)
            _write(table, schema, lines.size, span, out)
            self.schema = schema  # not before: what a row that cannot be stored would change is not kept
            self._free_read_ahead(lines)
            return True
        try:
            schema = columns_of_file(grown)
            table = self._rows(lines, schema)
            if table is None:
                return False
            _write(table, schema, lines.size, span, out, grown)
            self._free_read_ahead(lines)
            before, after = pq.read_metadata(grown), pq.read_metadata(out)
            return bool(after.num_rows == before.num_rows + table.num_rows and range_of(after) == span)
        except (pa.ArrowException, ValueError, KeyError) as error:
            # Perhaps another version of pyarrow wrote it. The rows go to a new file, which needs nothing of this one.
            logger.warning("%s cannot be continued, a new file begins: %s", grown.name, error)
            return False

    def span_of(self, size: int, read: Callable[[int, int], bytes]) -> Span | None:
        tail = read(max(size - DEFAULTS.footer_bytes, 0), min(DEFAULTS.footer_bytes, size))
        length = int.from_bytes(tail[-8:-4], "little") + 8
        if tail[-4:] != b"PAR1" or length > size:
            return None
        if length > len(tail):
            tail = read(size - length, length)
        try:
            return range_of(pq.read_metadata(io.BytesIO(tail)))
        except (pa.ArrowException, ValueError):
            return None

    def is_current(self, path: Path) -> bool:
        columns = columns_of_file(path)
        return self.schema.extend(columns).can_read(columns)

    def reuse(self, path: Path) -> None:
        self.schema = self.schema.extend(columns_of_file(path))

    def _read_ahead(self, lines: FileRange) -> ReadAhead | None:
        if not 0 < lines.size <= DEFAULTS.read_ahead_bytes:
            return None
        data = _read(lines)
        sample = _sample(data)
        # Arrow's reader knows no media; and nothing may be learned from damaged lines.
        if is_tagged(data[:BLOCK]) or not all(map(is_object, sample)):
            return None
        schema = self._learned(map(read_line, sample))
        table = fast_table(data, schema)
        return None if table is None else ReadAhead(lines, schema, table)

    def _free_read_ahead(self, lines: FileRange) -> None:
        """Free the table that was read ahead once all its lines are encoded."""
        if self._ahead is not None and self._ahead.lines.path == lines.path and self._ahead.lines.end <= lines.end:
            self._ahead = None

    def _learned(self, rows: Iterable[dict[str, Any]]) -> Schema:
        if self._known is not None:
            rows = list(rows)
            self.schema = self._known(learned(rows, self.schema)).extend(self.schema)
            self._known = None
        return learned(rows, self.schema)

    def _table(self, lines: FileRange) -> tuple[Schema, pa.Table]:
        """Return the rows of these lines, in columns that hold all rows so far."""
        if self._ahead is not None:
            schema = self.schema.extend(self._ahead.schema)
            if (table := self._ahead.rows(lines, schema)) is not None:
                return schema, table
        data = _read(lines)
        schema = self._learned(map(read_line, _sample(data)))
        if (table := fast_table(data, schema)) is not None:
            return schema, table
        rows = [read_line(line) for line in data.splitlines()]
        table, schema = arrow_table(rows, self._learned(rows))
        return schema, table

    def _rows(self, lines: FileRange, schema: Schema) -> pa.Table | None:
        """Return the rows of these lines in the given columns; None if they need other columns."""
        if self._ahead is not None and (table := self._ahead.rows(lines, schema)) is not None:
            return table
        data = _read(lines)
        if (table := fast_table(data, schema)) is not None:
            return table
        rows = [read_line(line) for line in data.splitlines()]
        if learned(rows, schema) != schema:
            return None
        table, columns = arrow_table(rows, schema)
        return table if columns == schema else None


def _sample(data: bytes) -> list[bytes]:
    """Return the first lines."""
    lines = data.splitlines() if len(data) < BLOCK else data[:BLOCK].splitlines()[:-1]
    return lines[: DEFAULTS.sample_rows]


def _read(lines: FileRange) -> bytes:
    with lines.open() as file:
        return file.read(lines.size)  # without the size Python would read 8 kB at a time


def _write(table: pa.Table, schema: Schema, size: int, span: Span, out: Path, grown: Path | None = None) -> None:
    """Write a new file, or a copy of `grown` with more row groups after its own and one footer for both.

    The old row groups are copied, not read and written again, which would give other bytes: so they and their page
    indexes keep their positions, and the old part of the footer stays right.
    """
    arrow = arrow_schema(schema)
    rows = max(1, min(DEFAULTS.row_group_rows, table.num_rows * DEFAULTS.row_group_bytes // max(size, 1)))
    with pa.OSFile(str(out), "wb") as sink, opened_writer(arrow, schema, sink) as writer:
        if grown is not None:
            with grown.open("rb") as old:
                left = _footer_start(grown)
                left -= len(old.read(sink.tell()))  # the first four bytes, which the writer has written already
                while left > 0 and (block := old.read(min(left, BLOCK))):
                    left -= sink.write(block)
        writer.write_table(pa.Table.from_arrays(table.columns, schema=arrow), row_group_size=rows)
        writer.add_key_value_metadata({RANGE: _range_text(span)})
    if grown is not None:
        _join_footers(grown, out, span)


def opened_writer(arrow: pa.Schema, schema: Schema, sink: Any) -> pq.ParquetWriter:
    """Return a writer of files that `datasets` reads, and of which a changed file sends only what changed."""
    media = {name for name, kind in schema.fields.items() if _has_media(kind)}
    texts = [leaf for field in arrow if field.name not in media for leaf in leaves(field.type, field.name)]
    pictures = [leaf for field in arrow if field.name in media for leaf in leaves(field.type, field.name)]
    return pq.ParquetWriter(
        sink,
        arrow,
        compression={**dict.fromkeys(texts, "zstd"), **dict.fromkeys(pictures, "none")},
        use_dictionary=texts,
        write_statistics=texts,
        use_content_defined_chunking=True,
        write_page_index=True,
    )


def _join_footers(grown: Path, out: Path, span: Span) -> None:
    metadata = pq.read_metadata(grown)
    before = metadata.metadata[RANGE]
    metadata.append_row_groups(pq.read_metadata(out))
    footer = io.BytesIO()
    metadata.write_metadata_file(footer)
    # Only the range changed in the old footer, and its length is fixed, so it is replaced in place.
    if footer.getvalue().count(before) != 1 or len(before) != len(_range_text(span)):
        raise ValueError("the footer does not hold the range exactly once")
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


def range_of(metadata: Any) -> Span | None:
    """Return the lines that a file encodes, from its metadata; None if it says nothing of them."""
    words = (metadata.metadata or {}).get(RANGE, b"").decode().rsplit(" ", 2)
    return Span(words[0], int(words[1]), int(words[2])) if len(words) == 3 else None


def columns_of_file(path: Path) -> Schema:
    """Return the columns of a file that `ParquetEncoding` wrote."""
    return Schema.of_features(orjson.loads(pq.read_metadata(path).metadata[COLUMNS]))


def _has_media(kind: FieldType) -> bool:
    return any(each == "binary" or media_of_column(each) is not None for each in innermost(kind))
