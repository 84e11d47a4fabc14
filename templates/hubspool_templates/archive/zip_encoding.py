"""Lines of the spool as a zip archive, the same bytes for the same lines."""

from __future__ import annotations

import logging
import re
import shutil
import unicodedata
import zipfile
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

import orjson

from hubspool.extending import Encoding, FileRange, HFValidationError, Joiner, Span
from hubspool_templates.archive.inbox import claimed_path, remove_claimed
from hubspool_templates.media_types import COMMON_SUFFIX, is_compressed, media_of
from hubspool_templates.schema import FieldType, Learner, Schema
from hubspool_templates.values import appended, stored_again

logger = logging.getLogger(__name__)

METADATA = "metadata.jsonl"
#: Names that `datasets` reads as metadata, in any folder of an archive.
_RESERVED = frozenset({METADATA, "metadata.csv", "metadata.parquet"})
_DATE = (1980, 1, 1, 0, 0, 0)  # the first date that a zip archive can hold
_LARGE = 2**31 - 1
#: Length of the end-of-central-directory record, and the most that the comment after it may have.
_END_BYTES = 22 + 512


class ZipEncoding(Encoding):
    """Writes one archive for the lines of a part: their files, and ``metadata.jsonl`` with a line for each file.

    Members are sorted, dated 1980, and stored without compression if their type is compressed already. The same lines
    give the same bytes with one version of zlib. The archive's comment says which lines it holds.
    """

    suffix = "zip"
    part_commits = 1

    def __init__(self) -> None:
        self._media: dict[str, FieldType] = {}
        self._learner = Learner()

    def encode(self, span: Span, lines: FileRange, grown: Path | None, out: Path) -> bool:
        """Write the archive of all lines; an archive that was committed never grows."""
        if grown is not None:
            return False
        rows: list[dict[str, Any]] = []
        with lines.open() as file:
            for line in file:
                rows.append(orjson.loads(line))
                rows[-1]["plain"] = appended(line)["metadata"]
        spool = lines.path.parent
        kept = []
        for row in rows:
            if "claim" in row and not (claimed := claimed_path(spool, row["claim"])).is_file():
                logger.error("%s is lost: its file %s is gone from this disk", row["name"], claimed)
            else:
                kept.append(row)
        members = sorted(zip(distinct([row["name"] for row in kept]), kept, strict=True), key=lambda pair: pair[0])
        with zipfile.ZipFile(out, "x") as archive:
            for name, row in members:
                _write_member(archive, name, row, spool)
            archive.writestr(member_info(METADATA, 0), b"".join(_metadata_lines(members)))
            if hint := folder_hint([name for name, _ in members]):
                archive.writestr(zipfile.ZipInfo(hint, _DATE), b"")
            archive.comment = orjson.dumps(asdict(span))
        self._learn([{"file_name": name, **row["metadata"]} for name, row in members])
        return True

    def in_place_of(self, line: bytes) -> bytes:
        row = orjson.loads(line)
        content = {key: row.pop(key) for key in ("claim", "data") if key in row}
        text = orjson.dumps(row).decode()
        suffix = re.sub(r"[^.\w]", "", PurePosixPath(str(row.get("name"))).suffix, flags=re.ASCII)
        name = f"unfit-{sha256(line).hexdigest()[:12]}{suffix}"
        return orjson.dumps({"name": name, "metadata": {"_unfit": text}, **content}, None, orjson.OPT_APPEND_NEWLINE)

    def reuse(self, path: Path) -> None:
        """Learn the columns of an archive that was written before."""
        with zipfile.ZipFile(path) as archive:
            for line in archive.read(METADATA).splitlines():  # text that is JSON of something else makes a json column
                self._learn([orjson.loads(line), appended(line)])

    @property
    def columns(self) -> Schema:
        """The columns of all archives that were written or reused."""
        return Schema({**self._media, **self._learner.schema.fields})

    def _learn(self, table: list[dict[str, Any]]) -> None:
        for row in table:
            name = row.pop("file_name")
            if media := media_of(name):
                self._media[media] = media
            self._learner.add(row)

    def span_of(self, size: int, read: Callable[[int, int], bytes]) -> Span | None:
        """Return the range that the archive's comment names; one request."""
        length = min(size, _END_BYTES)
        end = read(size - length, length)
        start = end.rfind(b"PK\x05\x06")
        if start < 0:
            return None
        return span_of_comment(end[start + 22 :])

    def forget_line(self, segment: Path, line: bytes) -> None:
        """Remove the claimed file of the line, which would otherwise be taken for one that has no line yet."""
        if claim := orjson.loads(line).get("claim"):
            claimed_path(segment.parent, claim).unlink(missing_ok=True)

    def release(self, segment: Path, size: int) -> None:
        """Remove the claimed files of this segment, unless it has lines that are not on the Hub."""
        if segment.exists() and segment.stat().st_size == size:
            remove_claimed(segment)


def _metadata_lines(members: Sequence[tuple[str, dict[str, Any]]]) -> Iterator[bytes]:
    """Yield the lines of the metadata.

    `datasets` reads them with Arrow, in which a column of one file has one kind of values: a column with others has all
    of them as text that is JSON, as its feature in the card, json, takes them.
    """
    kinds = Joiner().kinds_of(orjson.dumps(row["metadata"]) + b"\n" for _, row in members) or {}
    mixed = {name for name, kind in kinds.items() if kind == "mixed"}
    for name, row in members:
        yield orjson.dumps({"file_name": name, **stored_again(row["metadata"], row["plain"], mixed)}) + b"\n"


def columns_of_archive(path: Path) -> Schema:
    """Return the columns of an archive that `ZipEncoding` wrote, or of a joined one."""
    encoding = ZipEncoding()
    encoding.reuse(path)
    return encoding.columns


def span_of_comment(comment: bytes) -> Span | None:
    """Return the lines that an archive with this comment encodes; None if it says nothing of them."""
    try:
        return Span(**orjson.loads(comment))
    except (orjson.JSONDecodeError, TypeError):
        return None


def member_name(name: str) -> str:
    """Return `name` if it may be the name of a member.

    Raises:
        HFValidationError: unpacked, the file could leave its folder, or some file system cannot store the name.
    """
    parts = name.split("/")
    problem = None
    if not name or any(part in ("", ".", "..") for part in parts):
        problem = "it is empty, absolute, or has an empty part, '.' or '..'"
    elif "\\" in name or re.match(r"[A-Za-z]:", name) or "://" in name:
        problem = "it has a backslash, a drive letter or a scheme"
    elif any(unicodedata.category(char) in ("Cc", "Cs") for char in name):
        problem = "it has a control character, or is not UTF-8"
    elif any(len(part.encode()) > 255 for part in parts):
        problem = "a part of it is longer than 255 bytes"
    if problem:
        raise HFValidationError(
            f"{name!r} cannot be a file's name in an archive: {problem}.", hint="Pass another name."
        )
    return name


def distinct(names: list[str]) -> list[str]:
    """Return the names, numbered where two are equal or would be on a disk that ignores case."""
    taken = {*_RESERVED}
    counts: dict[str, int] = {}
    found = []
    for name in names:
        path, result = PurePosixPath(name), name
        while _folded(result) in taken or (path.name.lower() in _RESERVED and result == name):
            counts[_folded(name)] = counts.get(_folded(name), 1) + 1
            result = str(path.with_name(f"{path.stem}-{counts[_folded(name)]}{path.suffix}"))
        taken.add(_folded(result))
        found.append(result)
    return found


def _write_member(archive: zipfile.ZipFile, name: str, row: dict[str, Any], spool: Path) -> None:
    if "claim" not in row:
        archive.writestr(member_info(name, 0), b64decode(row["data"]))
        return
    source = claimed_path(spool, row["claim"])
    info = member_info(name, source.stat().st_size)
    with source.open("rb") as content, archive.open(info, "w", force_zip64=info.file_size > _LARGE) as member:
        shutil.copyfileobj(content, member, 1024 * 1024)


def folder_hint(names: list[str]) -> str | None:
    """Return the name of an empty folder that makes `datasets` read a folder of images, audio or video; or None.

    `datasets` decides by the most frequent suffix in the first ten archives, folders included. If each archive held one
    file and ``metadata.jsonl``, it would decide for JSON, and nothing would load.
    """
    found = [media for name in names if (media := media_of(name))]
    media = max(found, key=found.count, default=None)
    return None if media is None else f"{media}s.{COMMON_SUFFIX[media]}.{COMMON_SUFFIX[media]}/"


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def member_info(name: str, size: int) -> zipfile.ZipInfo:
    """Return the entry of a member, the same on every system; `size` of its content in bytes, 0 if it is small."""
    info = zipfile.ZipInfo(name, _DATE)
    info.compress_type = zipfile.ZIP_STORED if is_compressed(name) else zipfile.ZIP_DEFLATED
    info.create_system = 3  # Unix, so that every system writes the same bytes
    info.external_attr = 0o644 << 16
    info.file_size = size
    return info
