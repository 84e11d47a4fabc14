"""Joins archives of media and their metadata into one."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from hubspool.extending import Joiner, Matches
from hubspool_templates.archive.zip_encoding import METADATA, distinct, folder_hint, member_info, span_of_comment
from hubspool_templates.media_types import media_of

_JOINED = b'{"joined":true}'


class ZipJoiner(Joiner):
    """Joins archives that `ZipEncoding` wrote: all members, with numbers where two names are equal, and their metadata.

    Memory: the metadata of all archives.
    """

    keeps_bytes = False

    def key_of(self, path: Path) -> object:
        try:
            with zipfile.ZipFile(path) as archive:
                is_ours = archive.comment == _JOINED or span_of_comment(archive.comment) is not None
                names = archive.namelist()
        except (zipfile.BadZipFile, OSError):
            return None
        return frozenset(map(media_of, names)) - {None} if is_ours and METADATA in names else None

    def rows(self, path: Path) -> int:
        with zipfile.ZipFile(path) as archive:
            return len(archive.read(METADATA).splitlines())

    def range_of(self, path: Path) -> tuple[int, int] | None:
        with zipfile.ZipFile(path) as archive:
            span = span_of_comment(archive.comment)
        return None if span is None else (span.start, span.end)

    def segment_of(self, path: Path) -> str | None:
        with zipfile.ZipFile(path) as archive:
            span = span_of_comment(archive.comment)
        return None if span is None else span.segment

    def check(self, path: Path) -> Iterator[tuple[Collection[str], Collection[object]]]:
        try:
            with zipfile.ZipFile(path) as archive:
                names = {*archive.namelist()}
                if METADATA not in names:
                    raise ValueError(f"the archive has no {METADATA}")
                if (damaged := archive.testzip()) is not None:
                    raise ValueError(f"its member {damaged} is damaged")
                for number, line in enumerate(archive.read(METADATA).splitlines(), 1):
                    row = orjson.loads(line)
                    if row.pop("file_name") not in names:
                        raise ValueError(f"its {METADATA} names a member in line {number} that it does not have")
                    yield row, (row.get("id"),)
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, AttributeError) as error:
            raise ValueError(f"it cannot be read as an archive: {error}") from error

    def row_of(self, line: bytes) -> Mapping[str, Any]:
        row = super().row_of(line)
        return {**row.get("metadata", {}), "file_name": row.get("name")} if row else {}

    def remove(self, path: Path, out: Path, matches: Matches) -> list[tuple[int, int]]:
        table = _table(path)
        removed = [number for number, row in enumerate(table) if matches(row)]
        if removed:
            _write([path], [[row for number, row in enumerate(table) if number not in {*removed}]], out)
        return [(number, 1) for number in removed]

    def join(self, paths: Sequence[Path], out: Path) -> list[int]:
        return _write(paths, [_table(path) for path in paths], out)


def _table(path: Path) -> list[dict[str, Any]]:
    with zipfile.ZipFile(path) as archive:
        return [orjson.loads(line) for line in archive.read(METADATA).splitlines()]


def _write(paths: Sequence[Path], tables: Sequence[Sequence[dict[str, Any]]], out: Path) -> list[int]:
    """Write an archive with these rows of others, and their members; return the number of the first row of each."""
    names = iter(distinct([row["file_name"] for table in tables for row in table]))
    offsets: list[int] = []
    rows: list[dict[str, Any]] = []
    with zipfile.ZipFile(out, "x") as joined:
        for path, table in zip(paths, tables, strict=True):
            offsets.append(len(rows))
            with zipfile.ZipFile(path) as archive:
                for row in table:
                    name = next(names)
                    old = archive.getinfo(row["file_name"])
                    with archive.open(old) as content, joined.open(member_info(name, old.file_size), "w") as member:
                        shutil.copyfileobj(content, member, 1 << 20)
                    rows.append({**row, "file_name": name})
        joined.writestr(member_info(METADATA, 0), b"".join(orjson.dumps(row) + b"\n" for row in rows))
        if hint := folder_hint([row["file_name"] for row in rows]):
            joined.writestr(zipfile.ZipInfo(hint, (1980, 1, 1, 0, 0, 0)), b"")
        joined.comment = _JOINED
    return offsets
