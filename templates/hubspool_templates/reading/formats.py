"""The rows of a file, or of a range of it, with the values that were appended."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from hashlib import sha1, sha256
from pathlib import Path
from typing import IO, Any, TypeAlias

import orjson

from hubspool.extending import HFValidationError, RemoteFile, RemoteRepo
from hubspool_templates.archive.zip_encoding import METADATA
from hubspool_templates.defaults import DEFAULTS
from hubspool_templates.media_types import media_of
from hubspool_templates.parquet.media import Media, is_stored_otherwise, read_line, stored_value
from hubspool_templates.schema import FieldType, Schema
from hubspool_templates.values import appended

Row: TypeAlias = dict[str, Any]
#: A file in the cache; bytes of lines that were fetched alone; or a file on the Hub that is read in ranges.
Source: TypeAlias = "Path | bytes | RangedFile"


class RangedFile(io.RawIOBase):
    """A file on the Hub that is fetched as far as it is read. The last bytes, where its index is, are fetched once."""

    def __init__(self, repo: RemoteRepo, file: RemoteFile) -> None:
        self._repo, self._file, self._position = repo, file, 0
        self._tail_start = max(0, file.size - DEFAULTS.footer_bytes)
        self._tail = repo.read(file.path, self._tail_start, file.size - self._tail_start)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._file.size}[whence]
        return self._position

    def read(self, size: int = -1) -> bytes:
        left = self._file.size - self._position
        size = left if size is None or size < 0 else min(size, left)
        if self._position >= self._tail_start:
            begin = self._position - self._tail_start
            data = self._tail[begin : begin + size]
        else:
            data = self._repo.read(self._file.path, self._position, size)
        self._position += len(data)
        return data


def lines_of(source: Source, start: int, end: int, kinds: Mapping[str, FieldType]) -> Iterator[Row]:
    """Yield the rows of JSON Lines from byte `start` to `end`; of a file that is one JSON array, all of them."""
    times = time_columns(kinds)
    with _opened(source) as file:
        if start == 0 and file.read(64).lstrip()[:1] == b"[":
            file.seek(0)
            yield from (_row(item, "item", n) for n, item in enumerate(orjson.loads(file.read()), start=1))
            return
        file.seek(start)
        position = start
        while position < end and (line := file.readline()):
            if line.strip():
                yield with_times(_row(appended(line), "the line at byte", position), times)
            position += len(line)


def _row(value: Any, what: str, number: int) -> Row:
    if type(value) is not dict:
        raise ValueError(f"{what} {number} is no object")
    return value


def time_columns(kinds: Mapping[str, FieldType]) -> list[str]:
    """Return the columns that the card calls timestamps."""
    return [name for name, kind in kinds.items() if isinstance(kind, str) and kind.startswith("timestamp")]


def with_times(row: Row, names: list[str]) -> Row:
    """Return a row in which columns of times are datetimes."""
    for name in names:
        if isinstance(value := row.get(name), str):
            with suppress(ValueError):
                row[name] = datetime.fromisoformat(value.replace("Z", "+00:00"))
    return row


def parquet_rows(source: Source, start: int, end: int | None, as_value: Callable[[Media], Any]) -> Iterator[Row]:
    """Yield the rows of a Parquet file from row `start` to `end`. Memory: one row group, and `batch_rows` rows."""
    file = _parquet_file(source)
    from hubspool_templates.parquet.tables import COLUMNS

    metadata = file.schema_arrow.metadata or {}
    kinds = Schema.of_features(orjson.loads(metadata[COLUMNS])) if COLUMNS in metadata else _columns_of(file)
    convert = {name: kind for name, kind in kinds.fields.items() if is_stored_otherwise(kind)}
    position = 0
    for group in range(file.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        first, last = max(start - position, 0), count if end is None else min(end - position, count)
        position += count
        if first >= last:
            continue
        passed = 0
        for batch in file.iter_batches(DEFAULTS.batch_rows, row_groups=[group]):
            part = batch.slice(max(first - passed, 0), max(0, last - max(first, passed)))
            passed += batch.num_rows
            for row in part.to_pylist():
                for name, kind in convert.items():
                    row[name] = stored_value(row.get(name), kind, as_value)
                yield row


def count_parquet_rows(source: Source) -> int:
    """Return the number of rows in a Parquet file."""
    return int(_parquet_file(source).metadata.num_rows)


def archive_rows(source: Source, start: int, end: int | None, as_value: Callable[[Media], Any]) -> Iterator[Row]:
    """Yield the members of an archive from `start` to `end`: their name, content and columns."""
    with zipfile.ZipFile(source) as archive:  # type: ignore[arg-type]
        names = archive.namelist()
        if METADATA in names:
            lines = enumerate(archive.read(METADATA).splitlines(), start=1)
            table = [_row(appended(line), f"in {METADATA}, line", number) for number, line in lines]
        else:
            table = [{"file_name": name} for name in names if not name.endswith("/")]
        for number, row in enumerate(table[start:end], start=start + 1):
            if type(name := row.pop("file_name", None)) is not str:
                raise ValueError(f"line {number} of {METADATA} has no file_name")
            yield _member(name, archive.read, row, as_value)


def pending_row(
    line: bytes, form: str, times: list[str], as_value: Callable[[Media], Any], claimed: Callable[[str], bytes | None]
) -> Row | None:
    """Return the row of a line of a spool; None if the line is damaged. `claimed` reads a file that a line names."""
    try:
        if form == "parquet":
            return {name: _untagged(value, as_value) for name, value in read_line(line).items()}
        row: Row = appended(line)
        if form != "zip":
            return with_times(row, times)
        entry = orjson.loads(line)
    except (orjson.JSONDecodeError, TypeError, AttributeError):
        return None
    from base64 import b64decode

    def content(_: str) -> bytes | None:
        return claimed(entry["claim"]) if "claim" in entry else b64decode(entry["data"])

    return _member(entry["name"], content, dict(entry["metadata"]), as_value)


def plain(media: Media) -> Any:
    """Return an image as one of PIL's, if Pillow is installed and can read it; all else as bytes."""
    if media.media == "image":
        with suppress(ImportError, OSError, ValueError):
            from PIL import Image

            return Image.open(io.BytesIO(media.bytes))
    return media.bytes


def begins_with(path: Path, size: int, digits: str) -> bool:
    """Whether the first bytes of a file had a content id with these digits."""
    hashes = [sha256(), sha1(b"blob %d\0" % size)]  # noqa: S324  git's
    with path.open("rb") as file:
        left = size
        while left and (block := file.read(min(left, 1 << 20))):
            left -= len(block)
            for each in hashes:
                each.update(block)
    return left == 0 and any(each.hexdigest().startswith(digits) for each in hashes)


def _opened(source: Source) -> IO[bytes]:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    assert isinstance(source, Path)
    return source.open("rb")


def _parquet_file(source: Source) -> Any:
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ImportError('To read Parquet files needs pyarrow: pip install "hubspool[parquet]"') from error
    return pq.ParquetFile(source, pre_buffer=True)


def _columns_of(file: Any) -> Schema:
    from hubspool_templates.parquet.arrow_types import schema_of

    written = orjson.loads((file.schema_arrow.metadata or {}).get(b"huggingface", b"{}"))
    try:
        return schema_of(written.get("info", {}).get("features") or file.schema_arrow)
    except (HFValidationError, AttributeError, KeyError, TypeError):  # of another program: values as Arrow has them
        return Schema()


def _untagged(value: Any, as_value: Callable[[Media], Any]) -> Any:
    if isinstance(value, Media):
        return as_value(value)
    if isinstance(value, list):
        return [_untagged(item, as_value) for item in value]
    return {name: _untagged(item, as_value) for name, item in value.items()} if isinstance(value, dict) else value


def _member(name: str, read: Callable[[str], bytes | None], columns: Row, as_value: Callable[[Media], Any]) -> Row:
    media = media_of(name)
    content = read(name)
    value = as_value(Media(media, content, name)) if media and content is not None else content
    return {"file_name": name, media or "file": value, **columns}
