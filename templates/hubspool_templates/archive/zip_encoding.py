"""Lines of the spool as a zip archive, the same bytes for the same lines."""

from __future__ import annotations

import logging
import re
import shutil
import unicodedata
import zipfile
from base64 import b64decode
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

import orjson

from hubspool.client.file_range import FileRange
from hubspool.errors import HFValidationError
from hubspool.push.encodings import Encoding, Span
from hubspool_templates.archive.inbox import claims_of, remove_claims
from hubspool_templates.schema import FieldType, Learner, Schema

logger = logging.getLogger(__name__)

METADATA = "metadata.jsonl"
#: What `datasets` reads as metadata, wherever in an archive it stands.
_RESERVED = frozenset({METADATA, "metadata.csv", "metadata.parquet"})
#: Kinds that deflate would only make slower.
_COMPRESSED = re.compile(
    r"7z|aac|avif?|br|bz2|flac|gif|gz|heic|jpe?g|jxl|m4a|mkv|mov|mp[34g]|ogg|opus|parquet|png|rar|web[mp]|wma|xz|zip|zst"
)
#: Column that `datasets` puts a file into, by its kind.
_MEDIA = {
    "image": re.compile(r"avif|bmp|gif|heic|ico|jpe?g|png|ppm|tga|tiff?|webp"),
    "audio": re.compile(r"aac|aiff?|flac|m4a|mp3|ogg|opus|wav|wma"),
    "video": re.compile(r"avi|mkv|mov|mp4|mpe?g|webm"),
}
_HINTS = {"image": ".png.png", "audio": ".wav.wav", "video": ".mp4.mp4"}
_DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip archive can hold
_LARGE = 2**31 - 1
#: The end-of-central-directory record, and room for our comment behind it.
_END_BYTES = 22 + 512


class ZipEncoding(Encoding):
    """Makes one archive of the lines of a part: their files, and ``metadata.jsonl`` with a line for each.

    Members are sorted, dated 1980 and stored where their kind is compressed already; the same lines give the same
    bytes, on one version of zlib. The archive's comment says which lines it holds.
    """

    form = "zip"
    part_commits = 1

    def __init__(self) -> None:
        self._media: dict[str, FieldType] = {}
        self._learner = Learner()

    def encode(self, span: Span, lines: FileRange, grown: Path | None, out: Path) -> bool:
        """Write the archive of all lines; one that was sent never grows."""
        if grown is not None:
            return False
        with lines.open() as file:
            rows: list[dict[str, Any]] = [orjson.loads(line) for line in file]
        root = claims_of(lines.path.parent)
        kept = []
        for row in rows:
            if "claim" in row and not (root / row["claim"]).is_file():
                logger.error("%s: the file that waited as %s is gone from this disk", row["name"], root / row["claim"])
            else:
                kept.append(row)
        members = sorted(zip(distinct([row["name"] for row in kept]), kept, strict=True), key=lambda pair: pair[0])
        with zipfile.ZipFile(out, "x") as archive:
            for name, row in members:
                if "claim" in row:
                    source = root / row["claim"]
                    info = _info(name, source.stat().st_size)
                    with (
                        source.open("rb") as content,
                        archive.open(info, "w", force_zip64=info.file_size > _LARGE) as to,
                    ):
                        shutil.copyfileobj(content, to, 1024 * 1024)
                else:
                    archive.writestr(_info(name, 0), b64decode(row["data"]))
            table = [{"file_name": name, **row["metadata"]} for name, row in members]
            archive.writestr(_info(METADATA, 0), b"".join(orjson.dumps(row) + b"\n" for row in table))
            if hint := _hint([name for name, _ in members]):
                archive.writestr(zipfile.ZipInfo(hint, _DATE), b"")
            archive.comment = orjson.dumps(asdict(span))
        self._learn(table)
        return True

    def reuse(self, path: Path) -> None:
        """Learn the columns of an archive that was made before."""
        with zipfile.ZipFile(path) as archive:
            self._learn([orjson.loads(line) for line in archive.read(METADATA).splitlines()])

    @property
    def columns(self) -> Schema:
        """The columns of all archives that were made or reused."""
        return Schema({**self._media, **self._learner.schema.fields})

    def _learn(self, table: list[dict[str, Any]]) -> None:
        for row in table:
            name = row.pop("file_name")
            self._media.update({kind: kind for kind, suffixes in _MEDIA.items() if suffixes.fullmatch(_suffix(name))})
            self._learner.add(row)

    def span_of(self, size: int, read: Callable[[int, int], bytes]) -> Span | None:
        """Read the archive's comment, in one request."""
        length = min(size, _END_BYTES)
        end = read(size - length, length)
        start = end.rfind(b"PK\x05\x06")
        if start < 0:
            return None
        try:
            return Span(**orjson.loads(end[start + 22 :]))
        except (orjson.JSONDecodeError, TypeError):
            return None

    def release(self, segment: Path, size: int) -> None:
        """Remove the files that waited for this segment, unless it has lines that are not on the Hub."""
        if segment.exists() and segment.stat().st_size == size:
            remove_claims(segment)


def member_name(name: str) -> str:
    """Return `name` if it may be a member's.

    Raises:
        HFValidationError: unpacked, it could leave the folder that it is unpacked to, or some system cannot hold it.
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
    """Return the names with a number where one was there before, also on disks to which both look the same."""
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


def _hint(names: list[str]) -> str | None:
    """Return the name of an empty folder that makes `datasets` see an image, audio or video folder.

    It takes a dataset for what most names in its first ten archives end in, folders included. Where each holds one
    file, and ``metadata.jsonl``, that would be JSON, and nothing would load.
    """
    found = [kind for kind, suffixes in _MEDIA.items() for name in names if suffixes.fullmatch(_suffix(name))]
    kind = max(found, key=found.count, default=None)
    return None if kind is None else f"{kind}s{_HINTS[kind]}/"


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix[1:].lower()


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _info(name: str, size: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _DATE)
    info.compress_type = zipfile.ZIP_STORED if _COMPRESSED.fullmatch(_suffix(name)) else zipfile.ZIP_DEFLATED
    info.create_system = 3  # Unix, wherever it was made
    info.external_attr = 0o644 << 16
    info.file_size = size
    return info
