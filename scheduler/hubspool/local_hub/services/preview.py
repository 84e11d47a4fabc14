"""Previews for the pages: the first rows of a table, and the rows and bytes of a folder."""

from __future__ import annotations

import csv
import io
import itertools
import json
from dataclasses import dataclass
from typing import Any

from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.services.content import ContentStore
from hubspool.local_hub.services.file_access import RepositoryFile, load_file, read
from hubspool.local_hub.services.repositories import Repository
from hubspool.local_hub.storage.git_store import TreeEntry
from hubspool.local_hub.storage.lru import LruCache

LINES, TABLES, PARQUET = (".jsonl", ".ndjson"), (".csv", ".tsv"), ".parquet"


@dataclass(frozen=True)
class TablePreview:
    """The first rows of a file, as text."""

    columns: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class FolderTotals:
    """Rows and bytes of a folder; `rows` is the sum over the files whose rows were counted."""

    rows: int = 0
    size: int = 0

    def __add__(self, other: FolderTotals) -> FolderTotals:
        return FolderTotals(self.rows + other.rows, self.size + other.size)


def head(file: RepositoryFile, contents: ContentStore) -> str:
    """Return the beginning of a file as text."""
    return b"".join(read(file, contents, 0, LIMITS.preview_text)).decode("utf-8", "replace")


def table(file: RepositoryFile, contents: ContentStore) -> TablePreview | None:
    """Return the first rows of JSON Lines, CSV or Parquet; None for another or a broken file."""
    name = file.path.lower()
    try:
        if name.endswith(LINES):
            return _lines_table(file, contents)
        if name.endswith(TABLES):
            return _csv_table(file, contents, "\t" if name.endswith("tsv") else ",")
        if name.endswith(PARQUET) and file.size <= LIMITS.preview_parquet:
            return _parquet_table(file, contents)
    except (ImportError, ValueError, RecursionError, csv.Error, OSError, ArithmeticError, NotImplementedError):
        return None  # pyarrow's own errors are ValueError, OSError and NotImplementedError, too
    return None


def _lines_table(file: RepositoryFile, contents: ContentStore) -> TablePreview | None:
    lines = head(file, contents).split("\n")
    complete = lines if file.size <= LIMITS.preview_text else lines[:-1]
    records = [json.loads(line) for line in complete[: LIMITS.preview_rows] if line.strip()]
    return _table([record if isinstance(record, dict) else {"": record} for record in records])


def _csv_table(file: RepositoryFile, contents: ContentStore, delimiter: str) -> TablePreview | None:
    reader = csv.reader(io.StringIO(head(file, contents)), delimiter=delimiter)
    columns, *rows = list(itertools.islice(reader, LIMITS.preview_rows + 1)) or [[]]
    return _table([dict(zip(columns, row, strict=False)) for row in rows])


def _parquet_table(file: RepositoryFile, contents: ContentStore) -> TablePreview | None:
    import pyarrow.parquet

    content = io.BytesIO(b"".join(read(file, contents, 0, file.size)))
    with pyarrow.parquet.ParquetFile(content) as parquet:
        names = parquet.schema_arrow.names[: LIMITS.preview_columns]
        batch = next(parquet.iter_batches(batch_size=LIMITS.preview_rows, columns=names), None)
        return _table(batch.to_pylist() if batch is not None else [])


def _table(records: list[dict[str, Any]]) -> TablePreview | None:
    columns = list(dict.fromkeys(name for record in records for name in record))[: LIMITS.preview_columns]
    rows = [[_cell(record[name]) if name in record else "" for name in columns] for record in records]
    return TablePreview([str(name) for name in columns], rows) if rows else None


def _cell(value: object) -> str:
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):  # an image or a sound in Parquet
        return f"{value.get('path') or 'binary'}, {len(value['bytes']):,} bytes"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LIMITS.preview_cell else f"{text[: LIMITS.preview_cell]}…"


class RowCounter:
    """Counts the rows and bytes of folders, and caches the results.

    Not exact while many files are new: one call reads at most `budget` bytes, and leaves the rows of the remaining
    files to the next call.

    Thread-safety: every method may be called from any thread.
    """

    def __init__(self, contents: ContentStore, budget: int = LIMITS.counted) -> None:
        self._contents, self._budget = contents, budget
        self._totals: LruCache[str, FolderTotals] = LruCache(LIMITS.cached_totals)

    def totals(self, repo: Repository, root: str, left: list[int] | None = None) -> FolderTotals:
        """Return the totals of a folder with everything below it.

        Args:
            repo: repository of the folder.
            root: id of the folder's tree.
            left: bytes that may still be read, shared by several calls; each call lowers it.
        """
        left = [self._budget] if left is None else left
        before, cached = left[0], self._totals.get(root)
        if cached is not None:
            return cached
        total = FolderTotals()
        for entry in repo.git.walk(TreeEntry("", root, is_folder=True), recursive=False):
            total += self.totals(repo, entry.oid, left) if entry.is_folder else self._file(repo, entry, left)
        if left[0] >= 0 or before == left[0]:
            self._totals.put(root, total)
        return total

    def _file(self, repo: Repository, entry: TreeEntry, left: list[int]) -> FolderTotals:
        name = entry.path.lower()
        key = f"{entry.oid}{name[name.rfind('.') :]}"
        if (cached := self._totals.get(key)) is not None:
            return cached
        file = load_file(repo, entry)
        is_stored = file.pointer is None or self._contents.size(file.pointer.sha256) == file.size
        if not name.endswith((*LINES, *TABLES, PARQUET)) or not is_stored:
            return FolderTotals(0, file.size)
        left[0] -= file.size if not name.endswith(PARQUET) else 0
        if left[0] < 0:
            return FolderTotals(0, file.size)
        total = FolderTotals(self._rows(file, name), file.size)
        self._totals.put(key, total)
        return total

    def _rows(self, file: RepositoryFile, name: str) -> int:
        if not name.endswith(PARQUET):
            return sum(piece.count(b"\n") for piece in read(file, self._contents, 0, file.size)) - name.endswith(TABLES)
        try:
            import pyarrow.parquet

            tail = b"".join(read(file, self._contents, max(0, file.size - 8), file.size))
            length = int.from_bytes(tail[:4], "little") + 8
            footer = b"".join(read(file, self._contents, max(0, file.size - length), file.size))
            return int(pyarrow.parquet.read_metadata(io.BytesIO(b"PAR1" + footer)).num_rows)
        except (ImportError, ValueError, OSError):
            return 0
