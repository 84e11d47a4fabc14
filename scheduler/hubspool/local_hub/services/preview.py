"""What a page shows of files: the first rows of a table, and how many rows and bytes a folder holds."""

from __future__ import annotations

import csv
import io
import itertools
import json
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hubspool.local_hub.services.content import Contents, Pointer
from hubspool.local_hub.services.file_access import File
from hubspool.local_hub.services.repositories import Repository
from hubspool.local_hub.storage.git_store import Entry

ROWS, COLUMNS, CELL = 20, 30, 200  # rows, columns and letters of a cell that are shown
_HEAD = 256 << 10  # bytes of a text that are looked at
_MAX_PARQUET = 64 << 20  # bytes: pyarrow takes a row group into memory
_KEPT = 4096  # folders and files whose totals are remembered
LINES, TABLES, PARQUET = (".jsonl", ".ndjson"), (".csv", ".tsv"), ".parquet"


@dataclass(frozen=True)
class Table:
    """The first rows of a file, as text."""

    columns: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Totals:
    """Rows and bytes of a folder; `rows` counts the files whose rows are known."""

    rows: int = 0
    size: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(self.rows + other.rows, self.size + other.size)


def read(file: File, contents: Contents, start: int, end: int) -> Iterator[bytes]:
    """The bytes [start, end) of a file, wherever they are kept."""
    if file.pointer is None:
        return iter((file.blob[start:end],))
    return contents.read(file.pointer.sha256, start, min(end, file.size))


def head(file: File, contents: Contents) -> str:
    """The beginning of a file as text."""
    return b"".join(read(file, contents, 0, _HEAD)).decode("utf-8", "replace")


def table(file: File, contents: Contents) -> Table | None:
    """The first rows of JSON Lines, CSV or Parquet; None when it is no table, or broken."""
    name = file.path.lower()
    try:
        if name.endswith(LINES):
            lines = head(file, contents).split("\n")
            complete = lines if file.size <= _HEAD else lines[:-1]
            records = [json.loads(line) for line in complete[:ROWS] if line.strip()]
            return _table([record if isinstance(record, dict) else {"": record} for record in records])
        if name.endswith(TABLES):
            reader = csv.reader(io.StringIO(head(file, contents)), delimiter="\t" if name.endswith("tsv") else ",")
            columns, *rows = list(itertools.islice(reader, ROWS + 1)) or [[]]
            return _table([dict(zip(columns, row, strict=False)) for row in rows])
        if name.endswith(PARQUET) and file.size <= _MAX_PARQUET:
            import pyarrow.parquet

            with pyarrow.parquet.ParquetFile(io.BytesIO(b"".join(read(file, contents, 0, file.size)))) as parquet:
                names = parquet.schema_arrow.names[:COLUMNS]
                batch = next(parquet.iter_batches(batch_size=ROWS, columns=names), None)
                return _table(batch.to_pylist() if batch is not None else [])
    except (ImportError, ValueError, RecursionError, csv.Error, OSError, ArithmeticError, NotImplementedError):
        return None  # pyarrow's own errors are ValueError, OSError and NotImplementedError, too
    return None


def _table(records: list[dict[str, Any]]) -> Table | None:
    columns = list(dict.fromkeys(name for record in records for name in record))[:COLUMNS]
    rows = [[_cell(record[name]) if name in record else "" for name in columns] for record in records]
    return Table([str(name) for name in columns], rows) if rows else None


def _cell(value: object) -> str:
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):  # an image or a sound in Parquet
        return f"{value.get('path') or 'binary'}, {len(value['bytes']):,} bytes"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= CELL else f"{text[:CELL]}…"


class Counter:
    """Rows and bytes of folders; what is counted once is remembered.

    Not exact while much is new: one call reads `budget` bytes at most, and leaves the rows of other files out until
    it is asked again. Thread-safety: every method may be called from any thread.
    """

    def __init__(self, contents: Contents, budget: int = 64 << 20) -> None:
        self._contents, self._budget = contents, budget
        self._known: OrderedDict[str, Totals] = OrderedDict()
        self._lock = threading.Lock()

    def totals(self, repo: Repository, root: str, left: list[int] | None = None) -> Totals:
        """Of a folder and all below it; `left` is the budget of several calls together."""
        left = [self._budget] if left is None else left
        before, known = left[0], self._get(root)
        if known is not None:
            return known
        total = Totals()
        for entry in repo.git.walk(Entry("", root, is_folder=True), recursive=False):
            total += self.totals(repo, entry.oid, left) if entry.is_folder else self._file(repo, entry, left)
        if left[0] >= 0 or before == left[0]:
            self._keep(root, total)
        return total

    def _file(self, repo: Repository, entry: Entry, left: list[int]) -> Totals:
        name = entry.path.lower()
        key = f"{entry.oid}{name[name.rfind('.') :]}"
        if (known := self._get(key)) is not None:
            return known
        blob = repo.git.blob(entry.oid)
        pointer = Pointer.parse(blob)
        file = File(entry.path, entry.oid, pointer.size if pointer else len(blob), pointer, blob)
        here = pointer is None or self._contents.size(pointer.sha256) == pointer.size
        if not name.endswith((*LINES, *TABLES, PARQUET)) or not here:
            return Totals(0, file.size)
        left[0] -= file.size if not name.endswith(PARQUET) else 0
        if left[0] < 0:
            return Totals(0, file.size)
        total = Totals(self._rows(file, name), file.size)
        self._keep(key, total)
        return total

    def _rows(self, file: File, name: str) -> int:
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

    def _get(self, key: str) -> Totals | None:
        with self._lock:
            if (known := self._known.get(key)) is not None:
                self._known.move_to_end(key)
            return known

    def _keep(self, key: str, total: Totals) -> None:
        with self._lock:
            self._known[key] = total
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
