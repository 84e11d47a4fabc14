"""The byte formats of Xet: chunks inside a xorb, and shards. Pure functions over bytes and open files.

Source: the Xet protocol specification of the Hub's documentation, and what hf_xet sends.
"""

from __future__ import annotations

import struct
import time
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import lz4.frame

from hubspool.local_hub.identifiers import hash_to_text
from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.storage import xet_hash
from hubspool.local_hub.storage.xet_hash import Node

_CHUNK_HEADER = 8
_RECORD = 48
_BOOKEND = b"\xff" * 32 + bytes(16)
MAGIC = b"HFRepoMetaData\x00\x55\x69\x67\x45\x6a\x7b\x81\x57\x83\xa5\xbd\xd9\x5c\xcd\xd1\x4a\xa9"
_HAS_VERIFICATION, _HAS_METADATA = 1 << 31, 1 << 30
_IS_DEDUP_CHUNK = 1 << 31


@dataclass(frozen=True)
class XorbLayout:
    """The positions of the chunks of one xorb, in bytes.

    Attributes:
        offsets: position of each chunk's header, and of the end of the last chunk.
        starts: position of each chunk in the unpacked xorb, and the unpacked size.
    """

    offsets: tuple[int, ...]
    starts: tuple[int, ...]


def scan_xorb(file: BinaryIO) -> XorbLayout:
    """Return the layout of a xorb; reads only the headers. A footer, which older clients append, ends the scan.

    Raises:
        ValueError: The file is not a sequence of chunks.
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
    """Yield the unpacked chunks [first, last)."""
    for index in range(first, last):
        file.seek(layout.offsets[index])
        data = file.read(layout.offsets[index + 1] - layout.offsets[index])
        yield _unpack(data[4], data[_CHUNK_HEADER:], layout.starts[index + 1] - layout.starts[index])


def unpacked_nodes(file: BinaryIO) -> list[Node]:
    """Return the hash and size of each chunk of a xorb, computed from its content.

    Raises:
        ValueError: The file is not a xorb.
    """
    layout = scan_xorb(file)
    return [(xet_hash.chunk_hash(chunk), len(chunk)) for chunk in read_chunks(file, layout, 0, len(layout.starts) - 1)]


def chunk_at(layout: XorbLayout, unpacked_offset: int) -> int:
    """Return the index of the chunk that holds this position of the unpacked xorb."""
    return bisect_right(layout.starts, unpacked_offset) - 1


def _unpack(scheme: int, data: bytes, size: int) -> bytes:
    content = data if scheme == 0 else _decompress(data, size)
    if len(content) != size:
        raise ValueError(f"a chunk unpacks to {len(content)} bytes, its header says {size}")
    if scheme != 2:
        return content
    grouped, position = bytearray(size), 0  # four planes, one for each byte of a group of four
    for plane in range(4):
        length = (size - plane + 3) // 4
        grouped[plane::4] = content[position : position + length]
        position += length
    return bytes(grouped)


def _decompress(data: bytes, size: int) -> bytes:
    """Unpack an LZ4 frame of at most `size` bytes, so that a small chunk cannot fill the memory."""
    decompressor = lz4.frame.LZ4FrameDecompressor()
    try:
        content: bytes = decompressor.decompress(data, max_length=size + 1)
    except RuntimeError as error:
        raise ValueError(f"not an LZ4 frame: {error}") from None
    if not decompressor.eof:
        raise ValueError(f"not an LZ4 frame of {size} bytes")
    return content


@dataclass(frozen=True)
class Term:
    """A part of a file: the chunks [first, last) of a xorb, `length` unpacked bytes."""

    xorb: str
    length: int
    first: int
    last: int


@dataclass(frozen=True)
class FileEntry:
    """One file of a shard.

    Attributes:
        proofs: one for each term, see `xet_hash.proof`.
        sha256: the uploader's claim, or None.
    """

    hash: str
    terms: tuple[Term, ...]
    proofs: tuple[bytes, ...]
    sha256: str | None


@dataclass(frozen=True)
class XorbEntry:
    """One xorb of a shard; `section` is its part of the shard in bytes, which begins at `offset`."""

    hash: str
    section: bytes
    offset: int

    def deduplicated_chunks(self, first_of_files: frozenset[int]) -> Iterator[bytes]:
        """Yield the chunks that clients ask for: flagged ones, one in 1024 by hash, and the first of each file."""
        for index, (chunk, _start, _size, flags) in enumerate(_chunks(self.section)):
            if flags & _IS_DEDUP_CHUNK or index in first_of_files or int.from_bytes(chunk[24:], "little") % 1024 == 0:
                yield chunk


def section_nodes(section: bytes) -> list[Node]:
    """Return the hash and size of each chunk that a xorb's section lists."""
    return [(chunk, size) for chunk, _start, size, _flags in _chunks(section)]


def _chunks(section: bytes) -> Iterator[tuple[Any, ...]]:
    return struct.iter_unpack("<32sIII4x", section[_RECORD:])


@dataclass(frozen=True)
class Shard:
    """The content of an uploaded shard."""

    files: tuple[FileEntry, ...]
    xorbs: tuple[XorbEntry, ...]


def parse_shard(data: bytes) -> Shard:
    """Read an uploaded shard; its optional footer is ignored.

    Raises:
        ValueError: The bytes are not a shard of version 2.
    """
    if data[:32] != MAGIC or data[32:40] != struct.pack("<Q", 2):
        raise ValueError("not a shard of version 2")
    records = _Records(data)
    return Shard(tuple(_parse_files(records)), tuple(_parse_xorbs(records)))


class _Records:
    """Reads a shard record by record, from behind its header."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = _RECORD

    def take(self, count: int = 1) -> bytes:
        start, self.position = self.position, self.position + count * _RECORD
        if self.position > len(self.data):
            raise ValueError("the shard is cut short")
        return self.data[start : self.position]

    def entries(self) -> Iterator[tuple[bytes, int, int]]:
        """Yield hash, flags and count of each entry of a section; the caller takes the records behind them."""
        while (header := self.take()) != _BOOKEND:
            yield struct.unpack("<32sII8x", header)


def _parse_files(records: _Records) -> Iterator[FileEntry]:
    for file_hash, flags, count in records.entries():
        rows = struct.iter_unpack("<32s4xIII", records.take(count))
        terms = tuple(Term(hash_to_text(xorb), *numbers) for xorb, *numbers in rows)
        proofs = records.take(count if flags & _HAS_VERIFICATION else 0)
        sha256 = hash_to_text(records.take()[:32]) if flags & _HAS_METADATA else None
        unpacked = tuple(proof for (proof,) in struct.iter_unpack("<32s16x", proofs))
        yield FileEntry(hash_to_text(file_hash), terms, unpacked, sha256)


def _parse_xorbs(records: _Records) -> Iterator[XorbEntry]:
    for xorb_hash, _flags, count in records.entries():
        offset = records.position - _RECORD
        records.take(count)
        yield XorbEntry(hash_to_text(xorb_hash), records.data[offset : records.position], offset)


def dedup_shard(section: bytes, key: bytes) -> bytes:
    """Return a shard without files that lists the chunks of one stored xorb. Clients refuse it without the footer.

    The hashes of the chunks are keyed: a client finds the chunks that it has, and learns nothing about the others.
    """
    footer_size = 200
    chunks = struct.iter_unpack("<32s16s", section[_RECORD:])
    listed = section[:_RECORD] + b"".join(xet_hash.keyed(chunk, key) + rest for chunk, rest in chunks)
    body = struct.pack("<32sQQ", MAGIC, 2, footer_size) + _BOOKEND + listed + _BOOKEND
    now, offset = int(time.time()), len(body)
    footer = struct.pack("<QQQ", 1, _RECORD, 2 * _RECORD)  # version, file section, xorb section
    footer += struct.pack("<QQ", offset, 0) * 3 + key  # three empty lookup tables
    footer += struct.pack("<QQ", now, now + LIMITS.dedup_seconds) + bytes(48 + 24) + struct.pack("<Q", offset)
    return body + footer
