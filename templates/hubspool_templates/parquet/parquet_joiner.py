"""Joins Parquet files of equal columns into one, row group by row group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hubspool.extending import Joiner
from hubspool_templates.defaults import DEFAULTS
from hubspool_templates.parquet.parquet_encoding import RANGE, columns_of_file, opened_writer, range_of

if TYPE_CHECKING:
    import pyarrow as pa

#: The key in the metadata of a joined file.
_JOINED = b"hubspool.joined"


class ParquetJoiner(Joiner):
    """Joins files that `ParquetEncoding` wrote; a file of another program stays. Memory: one row group."""

    keeps_bytes = False

    def key_of(self, path: Path) -> object:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            file = pq.read_metadata(path)
            schema = pq.read_schema(path)
        except (pa.ArrowException, OSError):
            return None
        if (file.metadata or {}).keys().isdisjoint((RANGE, _JOINED)):  # a grown file's schema does not name them
            return None
        known = _without_range(schema)
        return known.serialize().to_pybytes(), tuple(sorted((known.metadata or {}).items()))

    def rows(self, path: Path) -> int:
        import pyarrow.parquet as pq

        return int(pq.read_metadata(path).num_rows)

    def range_of(self, path: Path) -> tuple[int, int] | None:
        import pyarrow.parquet as pq

        span = range_of(pq.read_metadata(path))
        return None if span is None else (span.start, span.end)

    def join(self, paths: Sequence[Path], out: Path) -> list[int]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        offsets, rows = [], 0
        for path in paths:
            offsets.append(rows)
            rows += self.rows(path)
        schema = _without_range(pq.read_schema(paths[0]))
        with pa.OSFile(str(out), "wb") as sink, opened_writer(schema, columns_of_file(paths[0]), sink) as writer:
            for table in _groups(paths, schema):
                writer.write_table(table, row_group_size=max(1, table.num_rows))
            writer.add_key_value_metadata({_JOINED: "1"})
        return offsets


def _without_range(schema: pa.Schema) -> pa.Schema:
    return schema.with_metadata({k: v for k, v in (schema.metadata or {}).items() if k not in (RANGE, _JOINED)})


def _groups(paths: Sequence[Path], schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield the rows of all files in tables of the size of a row group that the viewer takes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    waiting: list[pa.Table] = []
    for path in paths:
        file = pq.ParquetFile(path)
        for number in range(file.num_row_groups):
            table = file.read_row_group(number).replace_schema_metadata(schema.metadata)
            size = sum(each.nbytes for each in (*waiting, table))
            rows = sum(each.num_rows for each in (*waiting, table))
            if waiting and (size > DEFAULTS.row_group_bytes or rows > DEFAULTS.row_group_rows):
                yield pa.concat_tables(waiting)
                waiting = []
            waiting.append(table)
    if waiting:
        yield pa.concat_tables(waiting)
