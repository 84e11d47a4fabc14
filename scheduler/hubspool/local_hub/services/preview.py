"""Previews of files for the pages: the beginning of a text, rows of a table, members of an archive, charts."""

from __future__ import annotations

import base64
import csv
import io
import itertools
import json
import os
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any

from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.services import event_files, parquet_head
from hubspool.local_hub.services.file_access import RepositoryFile, StoredFile

AnyFile = RepositoryFile | StoredFile
#: Formats that every browser shows.
_IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".avif")
#: What a broken file raises; pyarrow's own errors are ValueError, OSError and NotImplementedError, too. Without pyarrow
#: there is no table of a Parquet file.
_BROKEN = (ArithmeticError, EOFError, ImportError, NotImplementedError, OSError, RecursionError, ValueError, csv.Error)
#: What an archive raises as well, if it has a password, too.
_BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, struct.error, RuntimeError)
#: First bytes of the formats that are shown in a cell, and their media type.
_MAGIC = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}


@dataclass(frozen=True)
class Cell:
    """A value as text, or a small image as a `data:` address."""

    text: str
    image: str = ""


@dataclass(frozen=True)
class TablePreview:
    """Some rows of a file; the caption says how many there are."""

    columns: list[str]
    rows: list[list[Cell]]
    caption: str


class _Reader(io.RawIOBase):
    """Reads a file where it is asked to, but not more than `HubLimits.preview_archive` bytes in all."""

    def __init__(self, file: AnyFile) -> None:
        self._file = file
        self._position, self._left = 0, LIMITS.preview_archive

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = max(0, offset + (0, self._position, self._file.size)[whence])
        return self._position

    def readinto(self, buffer: Any) -> int:
        end = min(self._position + len(buffer), self._file.size)
        self._left -= max(0, end - self._position)
        if self._left < 0:
            raise ValueError("the list of members is too long for a preview")
        content = b"".join(self._file.read(self._position, end)) if end > self._position else b""
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)


def is_image(path: str) -> bool:
    """Whether a browser shows the file as an image, by its name; SVG is not one of them, since it can hold scripts."""
    return path.lower().endswith(_IMAGES)


def head(file: AnyFile) -> str:
    """Return the beginning of a file as text."""
    return b"".join(file.read(0, LIMITS.preview_text)).decode("utf-8", "replace")


def charts(file: AnyFile) -> list[event_files.Chart]:
    """Return charts of the scalars in an event file; empty for another file."""
    if "tfevents" not in file.path.rpartition("/")[2]:
        return []
    return event_files.charts(b"".join(file.read(0, LIMITS.preview_events)))


def table(file: AnyFile, *, start: int = 0) -> TablePreview | None:
    """Return rows of JSON Lines, CSV or Parquet, or the members of an archive; None for another or a broken file.

    Args:
        file: the file.
        start: bytes of an older version: of JSON Lines that begin with them, only the newer rows are shown.
    """
    name = file.path.lower()
    try:
        if name.endswith((".jsonl", ".ndjson")):
            return _lines_table(file, start)
        if name.endswith(".zip"):
            return _zip_table(file)
        if name.endswith((".csv", ".tsv")):
            return _csv_table(file, "\t" if name.endswith("tsv") else ",")
        if name.endswith(".parquet") and file.size <= LIMITS.preview_parquet:
            return _parquet_table(file)
    except _BROKEN:
        pass
    except _BROKEN_ZIP:
        if not name.endswith(".zip"):
            raise
    return None


def _lines_table(file: AnyFile, start: int) -> TablePreview | None:
    if not 0 < start < file.size or b"".join(file.read(start - 1, start)) != b"\n":
        start = 0
    end = start + LIMITS.preview_text
    text = b"".join(file.read(start, end)).decode("utf-8", "replace")
    lines = [line for line in (text if file.size <= end else text.rpartition("\n")[0]).split("\n") if line.strip()]
    records = [json.loads(line) for line in lines[: LIMITS.preview_rows]]
    total = len(lines) if file.size <= end else None
    noun = "new row" if start else "row"
    return _table([record if isinstance(record, dict) else {"": record} for record in records], total, noun)


def _zip_table(file: AnyFile) -> TablePreview | None:
    with zipfile.ZipFile(io.BufferedReader(_Reader(file))) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        shown = members[: LIMITS.preview_rows]
        rows = [[Cell(m.filename), Cell(f"{m.file_size:,} bytes"), _member_image(archive, m)] for m in shown]
    return TablePreview(["name", "size", "image"], rows, _caption(len(rows), len(members), "member")) if rows else None


def _member_image(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Cell:
    has_limit = member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    is_small = member.file_size <= LIMITS.preview_image and not member.flag_bits & 1
    if not (is_image(member.filename) and has_limit and is_small):
        return Cell("")
    with archive.open(member) as opened:
        content = opened.read(LIMITS.preview_image)  # the size in the list may be wrong
    return Cell(member.filename, _data_address(content))


def _csv_table(file: AnyFile, delimiter: str) -> TablePreview | None:
    reader = csv.reader(io.StringIO(head(file)), delimiter=delimiter)
    columns, *rows = list(itertools.islice(reader, LIMITS.preview_rows + 1)) or [[]]
    return _table([dict(zip(columns, row, strict=False)) for row in rows], None, "row")


def _parquet_table(file: AnyFile) -> TablePreview | None:
    rows, total = parquet_head.first_rows(
        b"".join(file.read(0, file.size)),
        rows=LIMITS.preview_rows,
        columns=LIMITS.preview_columns,
        memory=LIMITS.preview_memory,
        seconds=LIMITS.preview_seconds,
    )
    return _table(rows, total, "row")


def _caption(shown: int, total: int | None, noun: str) -> str:
    if total is None:
        return f"The first {shown:,} {noun}s"
    count = f"{total:,} {noun}{'' if total == 1 else 's'}"
    return count if shown == total else f"The first {shown:,} of {count}"


def _table(records: list[dict[str, Any]], total: int | None, noun: str) -> TablePreview | None:
    columns = list(dict.fromkeys(name for record in records for name in record))[: LIMITS.preview_columns]
    rows = [[_cell(record[name]) if name in record else Cell("") for name in columns] for record in records]
    return TablePreview([str(name) for name in columns], rows, _caption(len(rows), total, noun)) if rows else None


def _cell(value: object) -> Cell:
    if isinstance(value, bytes):
        return Cell(f"{len(value):,} bytes", _data_address(value))
    if isinstance(value, dict) and isinstance(content := value.get("bytes"), bytes):  # an image or a sound in Parquet
        return Cell(f"{value.get('path') or 'binary'}, {len(content):,} bytes", _data_address(content))
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return Cell(text if len(text) <= LIMITS.preview_cell else f"{text[: LIMITS.preview_cell]}…")


def _data_address(content: bytes) -> str:
    """Return a small image as an address; "" for other content."""
    kind = next((kind for magic, kind in _MAGIC.items() if content.startswith(magic)), None)
    if kind is None or len(content) > LIMITS.preview_image:
        return ""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
