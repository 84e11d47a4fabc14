"""Joins archives of media and their metadata into one."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import orjson

from hubspool.extending import Joiner, Matches, Span
from hubspool_templates.archive.zip_encoding import METADATA, distinct, folder_hint, member_info, span_of_comment
from hubspool_templates.defaults import DEFAULTS
from hubspool_templates.media_types import media_of
from hubspool_templates.values import appended, stored_again

_JOINED = b'{"joined":true}'


class ZipJoiner(Joiner):
    """Joins archives that `ZipEncoding` wrote: all members, with numbers where two names are equal, and their metadata.

    Memory: the metadata of all archives, of which `memory_of` tells the size.
    """

    keeps_bytes = False

    def key_of(self, path: Path) -> object:
        if not self.is_sound(path):
            return None
        with zipfile.ZipFile(path) as archive:
            is_ours = archive.comment == _JOINED or span_of_comment(archive.comment) is not None
            names = archive.namelist()
            with archive.open(METADATA) as lines:
                columns = self.kinds_of(lines) if is_ours else None
        # Archives of images do not go with archives of sound.
        return columns and {**columns, "file_name": " ".join(sorted({*filter(None, map(media_of, names))}))}

    def memory_of(self, path: Path) -> int:
        with zipfile.ZipFile(path) as archive:
            return archive.getinfo(METADATA).file_size + DEFAULTS.member_memory * len(archive.infolist())

    def rows(self, path: Path) -> int:
        return sum(1 for _ in _rows(path))

    def span_of(self, path: Path) -> Span | None:
        with zipfile.ZipFile(path) as archive:
            return span_of_comment(archive.comment)

    def check(self, path: Path) -> Iterator[tuple[Collection[str], Iterable[tuple[object, bytes]]]]:
        try:
            with zipfile.ZipFile(path) as archive:
                names = {*archive.namelist()}
                if METADATA not in names:
                    raise ValueError(f"the archive has no {METADATA}")
                if (damaged := archive.testzip()) is not None:
                    raise ValueError(f"its member {damaged} is damaged")
                for number, line in enumerate(archive.read(METADATA).splitlines(), 1):
                    row = {**super().row_of(line)}
                    if not (name := str(row.pop("file_name", ""))):
                        raise ValueError(f"its {METADATA} has no file_name in line {number}")
                    if name not in names:
                        raise ValueError(f"its {METADATA} names a member in line {number} that it does not have")
                    values = orjson.dumps([row, archive.getinfo(name).CRC])  # a join may have changed the name
                    yield row, ((row.get("id"), values),)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError) as error:
            raise ValueError(f"it cannot be read as an archive: {error}") from error

    def row_of(self, line: bytes) -> Mapping[str, Any]:
        row = super().row_of(line)
        return {**row.get("metadata", {}), "file_name": row.get("name")} if row else {}

    def remove(self, path: Path, out: Path, matches: Matches) -> list[tuple[int, int]]:
        removed = [number for number, line in enumerate(_lines(path)) if matches(appended(line))]
        if removed:
            _write([path], out, {*removed})
        return [(number, 1) for number in removed]

    def join(self, paths: Sequence[Path], out: Path) -> list[int]:
        return _write(paths, out, set())


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    return (orjson.loads(line) for line in _lines(path))


def _lines(path: Path) -> Iterator[bytes]:
    with zipfile.ZipFile(path) as archive, archive.open(METADATA) as lines:
        yield from lines


def _write(paths: Sequence[Path], out: Path, removed: Set[int]) -> list[int]:
    """Write an archive with the members of others, without the rows of each that have these numbers.

    Returns:
        The number of the first row of each.
    """

    def kept(path: Path) -> Iterator[tuple[dict[str, Any], bytes]]:
        return ((orjson.loads(line), line) for number, line in enumerate(_lines(path)) if number not in removed)

    names = distinct([row["file_name"] for path in paths for row, _ in kept(path)])
    lines: list[bytes] = []
    offsets: list[int] = []
    with zipfile.ZipFile(out, "x") as joined:
        for path in paths:
            offsets.append(len(lines))
            with zipfile.ZipFile(path) as archive:
                for row, line in kept(path):
                    name = names[len(lines)]
                    old = archive.getinfo(row["file_name"])
                    with archive.open(old) as content, joined.open(member_info(name, old.file_size), "w") as member:
                        shutil.copyfileobj(content, member, 1 << 20)
                    again = {**stored_again(row, appended(line)), "file_name": name}
                    lines.append(orjson.dumps(again) + b"\n")  # no option: it keeps 4 kB for each
        with joined.open(member_info(METADATA, 0), "w") as metadata:
            metadata.writelines(lines)
        if hint := folder_hint(names):
            joined.writestr(zipfile.ZipInfo(hint, (1980, 1, 1, 0, 0, 0)), b"")
        joined.comment = _JOINED
    return offsets
