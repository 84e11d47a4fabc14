"""Checks what the objects of a pack unpack to, in bounded memory and before anything unpacks them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path

from hubspool.local_hub.limits import LIMITS

_HEADER, _CHECKSUM = 12, 20
_OFS_DELTA, _REF_DELTA = 6, 7
_LONGEST_SIZES = 32  # bytes that hold the two sizes at the beginning of a delta


class PackTooLargeError(ValueError):
    """An object of a pack, or all of them, would take too much memory."""


def check_sizes(pack: Path) -> None:
    """Read the sizes that a pack says; dulwich then refuses objects that are larger than they say.

    Raises:
        PackTooLargeError: with the limit.
        ValueError, IndexError, zlib.error: The file is not a pack.
    """
    total = 0
    with pack.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        for size in _sizes(data):
            total += size
            if size > LIMITS.git_object:
                raise PackTooLargeError(
                    f"it contains an object of {size} bytes, more than {LIMITS.git_object}: use git-lfs or Xet"
                )
            if total > LIMITS.git_push:
                raise PackTooLargeError(f"it unpacks to more than {LIMITS.git_push} bytes: push fewer commits at once")


def _sizes(data: mmap) -> Iterator[int]:
    """Yield the size of each object, and of what each delta makes."""
    position = _HEADER
    for _ in range(int.from_bytes(data[8:_HEADER], "big")):
        kind, size = data[position] >> 4 & 7, data[position] & 15
        for shift in range(4, 64, 7):
            position += 1
            if data[position - 1] < 128:
                break
            size |= (data[position] & 127) << shift
        else:
            raise ValueError("a size of more than 9 bytes")
        if kind == _OFS_DELTA:
            while data[position] & 128:
                position += 1
            position += 1
        elif kind == _REF_DELTA:
            position += _CHECKSUM
        yield size
        start, position = _inflate(data, position, size)
        if kind in (_OFS_DELTA, _REF_DELTA):
            yield _size_after_delta(start)


def _inflate(data: mmap, position: int, size: int) -> tuple[bytes, int]:
    """Return the first bytes of what is packed here, and the position behind it."""
    unzip, start, left = zlib.decompressobj(), b"", size
    piece = b""
    length = min(LIMITS.upload_block, size + 1024)  # a slice is a copy, and there can be a million small objects
    while not unzip.eof:
        piece = unzip.unconsumed_tail or data[position : position + length]
        if not piece:
            raise ValueError("the pack is cut short")
        position += 0 if unzip.unconsumed_tail else len(piece)
        plain = unzip.decompress(piece, min(left, LIMITS.memory_block) + 1)
        left -= len(plain)
        if left < 0:
            raise ValueError("an object is larger than it says")
        start += plain[: _LONGEST_SIZES - len(start)]
    return start, position - len(unzip.unused_data)


def _size_after_delta(start: bytes) -> int:
    position = 0
    while start[position] & 128:  # the size of the object that it changes
        position += 1
    size, shift = 0, 0
    for byte in start[position + 1 :]:
        size |= (byte & 127) << shift
        shift += 7
        if not byte & 128:
            return size
    raise ValueError("a delta is cut short")
