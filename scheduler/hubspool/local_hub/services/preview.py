"""Previews of files for the pages: the beginning of a text, and the first rows of a table."""

from __future__ import annotations

import csv
import io
import itertools
import json
from dataclasses import dataclass
from typing import Any

from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.services import parquet_head
from hubspool.local_hub.services.content import ContentStore
from hubspool.local_hub.services.file_access import RepositoryFile, read

#: Formats that every browser shows.
_IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".avif")


@dataclass(frozen=True)
class TablePreview:
    """The first rows of a file, as text."""

    columns: list[str]
    rows: list[list[str]]


def is_image(path: str) -> bool:
    """Whether a browser shows the file as an image, by its name; SVG is not one of them, since it can hold scripts."""
    return path.lower().endswith(_IMAGES)


def head(file: RepositoryFile, contents: ContentStore) -> str:
    """Return the beginning of a file as text."""
    return b"".join(read(file, contents, 0, LIMITS.preview_text)).decode("utf-8", "replace")


def table(file: RepositoryFile, contents: ContentStore) -> TablePreview | None:
    """Return the first rows of JSON Lines, CSV or Parquet; None for another or a broken file."""
    name = file.path.lower()
    try:
        if name.endswith((".jsonl", ".ndjson")):
            return _lines_table(file, contents)
        if name.endswith((".csv", ".tsv")):
            return _csv_table(file, contents, "\t" if name.endswith("tsv") else ",")
        if name.endswith(".parquet") and file.size <= LIMITS.preview_parquet:
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
    rows, _ = parquet_head.first_rows(
        b"".join(read(file, contents, 0, file.size)),
        rows=LIMITS.preview_rows,
        columns=LIMITS.preview_columns,
        memory=LIMITS.preview_memory,
        seconds=LIMITS.preview_seconds,
    )
    return _table(rows)


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
