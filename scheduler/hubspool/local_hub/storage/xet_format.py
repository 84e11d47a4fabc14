"""The byte formats of Xet: hashes, chunks inside a xorb, shards. Pure functions over bytes and open files."""

from __future__ import annotations

import functools
import re
import struct
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from hubspool.local_hub.storage import lz4_frame

HASH = re.compile(r"[0-9a-f]{64}")
MAX_XORB = 64 << 20  # bytes
_CHUNK_HEADER = 8
_RECORD = 48
_BOOKEND = b"\xff" * 32 + bytes(16)
_MAGIC = b"HFRepoMetaData\x00\x55\x69\x67\x45\x6a\x7b\x81\x57\x83\xa5\xbd\xd9\x5c\xcd\xd1\x4a\xa9"
_HAS_VERIFICATION, _HAS_METADATA = 1 << 31, 1 << 30
_IS_DEDUP_CHUNK = 1 << 31


def spell(raw: bytes) -> str:
    """The text of a hash: each group of eight bytes is read as a little-endian number."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", raw))


def unspell(text: str) -> bytes:
    """The inverse of `spell`."""
    return struct.pack("<4Q", *(int(text[i : i + 16], 16) for i in range(0, 64, 16)))


@dataclass(frozen=True)
class XorbLayout:
    """Where the chunks of one xorb lie.

    Attributes:
        offsets: Byte offset of each chunk's header, and one more: where the last one ends.
        starts: Unpacked offset of each chunk, and one more: the unpacked size.
    """

    offsets: tuple[int, ...]
    starts: tuple[int, ...]

    @property
    def chunks(self) -> int:
        return len(self.offsets) - 1


def scan_xorb(file: BinaryIO) -> XorbLayout:
    """Read only the headers; a footer, which older clients append, ends the scan.

    Raises:
        ValueError: It is not a sequence of chunks.
    """
    offsets, starts = [0], [0]
    size = file.seek(0, 2)
    while (position := offsets[-1]) < size:
        file.seek(position)
        header = file.read(_CHUNK_HEADER)
        if header[:7] == b"XETBLOB":
            break
        packed = int.from_bytes(header[1:4], "little")
        unpacked = int.from_bytes(header[5:8], "little")
        if len(header) < _CHUNK_HEADER or header[0] != 0 or header[4] > 2 or position + _CHUNK_HEADER + packed > size:
            raise ValueError(f"no chunk header at byte {position}")
        offsets.append(position + _CHUNK_HEADER + packed)
        starts.append(starts[-1] + unpacked)
    if len(offsets) == 1:
        raise ValueError("no chunk in it")
    return XorbLayout(tuple(offsets), tuple(starts))


def read_chunks(file: BinaryIO, layout: XorbLayout, first: int, last: int) -> Iterator[bytes]:
    """The unpacked content of the chunks [first, last)."""
    for index in range(first, last):
        file.seek(layout.offsets[index])
        data = file.read(layout.offsets[index + 1] - layout.offsets[index])
        yield _unpack(data[4], data[_CHUNK_HEADER:], layout.starts[index + 1] - layout.starts[index])


def chunk_at(layout: XorbLayout, unpacked_offset: int) -> int:
    """The index of the chunk that holds this offset of the unpacked xorb."""
    return bisect_right(layout.starts, unpacked_offset) - 1


def _unpack(scheme: int, data: bytes, size: int) -> bytes:
    if scheme == 0:
        content = data
    else:
        content = _lz4()(data, size)
        if scheme == 2:  # four planes, one for each byte of a 4-byte group
            grouped, position, plain = content, 0, bytearray(size)
            for plane in range(4):
                length = (size - plane + 3) // 4
                plain[plane::4] = grouped[position : position + length]
                position += length
            content = bytes(plain)
    if len(content) != size:
        raise ValueError(f"a chunk unpacks to {len(content)} bytes, its header says {size}")
    return content


@functools.cache
def _lz4() -> Callable[[bytes, int], bytes]:
    """The decoder of pyarrow where it is installed (always beside `datasets`); ours reads text at 11 MB/s."""
    try:
        import pyarrow
    except ImportError:
        return lambda data, _size: lz4_frame.decompress(data)

    def decode(data: bytes, size: int) -> bytes:
        try:
            content: bytes = pyarrow.decompress(data, decompressed_size=size, codec="lz4", asbytes=True)
        except (OSError, pyarrow.ArrowException) as error:
            raise ValueError(f"not an LZ4 frame: {error}") from None
        return content

    return decode


@dataclass(frozen=True)
class Term:
    """The chunks [first, last) of a xorb, `length` unpacked bytes: one step of a file's reconstruction."""

    xorb: bytes
    length: int
    first: int
    last: int


@dataclass(frozen=True)
class FileEntry:
    """One file of a shard. `sha256` is what the uploader claims, None when it made no claim."""

    hash: bytes
    terms: tuple[Term, ...]
    sha256: str | None

    @property
    def size(self) -> int:
        return sum(term.length for term in self.terms)


@dataclass(frozen=True)
class XorbEntry:
    """One xorb of a shard; `section` is its part of the shard as it was sent, `offset` where that begins."""

    hash: bytes
    section: bytes
    offset: int

    def askable_chunks(self, first_of_files: frozenset[int]) -> Iterator[bytes]:
        """The chunks that clients ask for: flagged ones, every 1024th by hash, the first of a file."""
        for index in range(len(self.section) // _RECORD - 1):
            chunk, _start, _size, flags = struct.unpack_from("<32sIII", self.section, _RECORD * (index + 1))
            if flags & _IS_DEDUP_CHUNK or index in first_of_files or int.from_bytes(chunk[24:], "little") % 1024 == 0:
                yield chunk


@dataclass(frozen=True)
class Shard:
    """What an uploaded shard says."""

    files: tuple[FileEntry, ...]
    xorbs: tuple[XorbEntry, ...]


def parse_shard(data: bytes) -> Shard:
    """Read an uploaded shard; a footer, if there is one, is not looked at.

    Raises:
        ValueError: It is not a shard of version 2.
    """
    if data[:32] != _MAGIC or data[32:40] != struct.pack("<Q", 2):
        raise ValueError("not a shard of version 2")
    try:
        files, position = _parse_files(data, _RECORD)
        return Shard(tuple(files), tuple(_parse_xorbs(data, position)))
    except struct.error:
        raise ValueError("the shard is cut short") from None


def _parse_files(data: bytes, position: int) -> tuple[list[FileEntry], int]:
    files = []
    while data[position : position + _RECORD] != _BOOKEND:
        file_hash, flags, count = struct.unpack_from("<32sII", data, position)
        position += _RECORD
        terms = []
        for _ in range(count):
            xorb, _flags, length, first, last = struct.unpack_from("<32sIIII", data, position)
            terms.append(Term(xorb, length, first, last))
            position += _RECORD
        if flags & _HAS_VERIFICATION:
            position += _RECORD * count
        sha256 = None
        if flags & _HAS_METADATA:
            (raw,) = struct.unpack_from("<32s", data, position)
            sha256 = spell(raw)
            position += _RECORD
        files.append(FileEntry(file_hash, tuple(terms), sha256))
    return files, position + _RECORD


def _parse_xorbs(data: bytes, position: int) -> Iterator[XorbEntry]:
    while data[position : position + _RECORD] != _BOOKEND:
        xorb_hash, _flags, count = struct.unpack_from("<32sII", data, position)
        end = position + _RECORD * (count + 1)
        if end > len(data):
            raise ValueError("the shard is cut short")
        yield XorbEntry(xorb_hash, data[position:end], position)
        position = end


def dedup_shard(sections: list[bytes], *, days: int = 7) -> bytes:
    """A shard without files that tells a client which chunks are here already. Clients insist on its footer."""
    footer_size = 200
    body = struct.pack("<32sQQ", _MAGIC, 2, footer_size) + _BOOKEND + b"".join(sections) + _BOOKEND
    now, offset = int(time.time()), len(body)
    footer = struct.pack("<QQQ", 1, _RECORD, 2 * _RECORD)  # version, file section, xorb section
    footer += struct.pack("<QQ", offset, 0) * 3 + bytes(32)  # three empty lookup tables; no key
    footer += struct.pack("<QQ", now, now + days * 86400) + bytes(48 + 24) + struct.pack("<Q", offset)
    return body + footer
