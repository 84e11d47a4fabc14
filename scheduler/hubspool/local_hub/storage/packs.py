"""Git packs: writes one, so that a commit of thousands of files becomes two files on the disk; and checks, in bounded
memory and before anything unpacks them, what the objects of a pushed one unpack to.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path

from dulwich.object_format import SHA1
from dulwich.pack import write_pack_header, write_pack_index_v2, write_pack_object

from hubspool.files import hash_range
from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.storage.varint import read_varint

_HEADER, _CHECKSUM = 12, 20
_OFS_DELTA, _REF_DELTA = 6, 7
_LONGEST_SIZES = 32  # bytes that hold the two sizes at the beginning of a delta


class PackWriter:
    """Writes a pack object by object, with one object in memory at a time. Not thread-safe.

    Args:
        path: file of the pack; `finish` writes the index beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._index = path.with_name(f"{path.name}.idx")
        self._entries: dict[bytes, tuple[int, int]] = {}  # object id: offset, checksum
        self._file = path.open("w+b")
        write_pack_header(self._file.write, 0)

    def add(self, oid: str, kind: int, raw: bytes) -> None:
        """Add an object that the pack does not hold yet.

        Args:
            oid: id of the object.
            kind: git's number for its type.
            raw: content, without git's header.
        """
        name = bytes.fromhex(oid)
        if name not in self._entries:
            offset = self._file.tell()
            checksum = write_pack_object(self._file.write, kind, [raw], SHA1, compression_level=LIMITS.compression)
            self._entries[name] = offset, checksum

    def finish(self) -> tuple[str, Path]:
        """Complete the pack and write its index; return git's name for both files, and the path of the index."""
        self._file.seek(0)
        write_pack_header(self._file.write, len(self._entries))  # the number of objects is known only now
        digest = hashlib.sha1()  # noqa: S324 - git's checksum
        hash_range(self._file, 0, self._file.seek(0, os.SEEK_END), digest)
        self._file.write(digest.digest())
        self._file.close()
        entries = [(name, *self._entries[name]) for name in sorted(self._entries)]
        with self._index.open("wb") as file:
            write_pack_index_v2(file, entries, digest.digest())
        return f"pack-{digest.hexdigest()}", self._index

    def discard(self) -> None:
        """Remove both files, unless they were moved to their final place."""
        self._file.close()
        for path in (self.path, self._index):
            path.unlink(missing_ok=True)


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
        head, position = read_varint(data, position)
        kind, size = head >> 4 & 7, head >> 7 << 4 | head & 15
        if kind == _OFS_DELTA:
            _, position = read_varint(data, position)
        elif kind == _REF_DELTA:
            position += _CHECKSUM
        yield size
        start, position = _inflate(data, position, size)
        if kind in (_OFS_DELTA, _REF_DELTA):
            _, behind = read_varint(start, 0)  # the size of the object that it changes
            yield read_varint(start, behind)[0]


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
