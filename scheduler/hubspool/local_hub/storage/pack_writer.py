"""One git pack, written object by object: a commit of thousands of files is two files on the disk, not thousands."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

from dulwich.object_format import SHA1
from dulwich.pack import write_pack_index_v2, write_pack_object

_BLOCK = 1 << 20


class PackWriter:
    """Writes a pack; what it holds is in memory only while it is added.

    Not thread-safe.

    Args:
        path: Where the pack grows; the index stands beside it in the end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._index = path.with_name(f"{path.name}.idx")
        self._entries: dict[bytes, tuple[int, int]] = {}  # name → offset, checksum
        self._file = path.open("w+b")
        self._file.write(_header(0))

    def add(self, oid: str, kind: int, raw: bytes) -> None:
        """Add an object: its name, git's number for its type, its content."""
        name = bytes.fromhex(oid)
        if name not in self._entries:
            offset = self._file.tell()
            self._entries[name] = (offset, write_pack_object(self._file.write, kind, [raw], SHA1, compression_level=1))

    def finish(self) -> tuple[str, Path]:
        """Complete the pack and write its index; returns git's name for both, and where the index is."""
        self._file.seek(0)
        self._file.write(_header(len(self._entries)))  # the number of objects is known only now
        self._file.seek(0)
        digest = hashlib.sha1()  # noqa: S324 - git's checksum
        while block := self._file.read(_BLOCK):
            digest.update(block)
        self._file.write(digest.digest())
        self._file.close()
        entries = [(name, *self._entries[name]) for name in sorted(self._entries)]
        with self._index.open("wb") as file:
            write_pack_index_v2(file, entries, digest.digest())
        return f"pack-{digest.hexdigest()}", self._index

    def discard(self) -> None:
        """Remove what has not been moved to its place."""
        self._file.close()
        for path in (self.path, self._index):
            path.unlink(missing_ok=True)


def _header(count: int) -> bytes:
    return b"PACK" + struct.pack(">LL", 2, count)
