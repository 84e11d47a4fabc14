"""Writes one git pack: a commit of thousands of files becomes two files on the disk, not thousands."""

from __future__ import annotations

import hashlib
from pathlib import Path

from dulwich.object_format import SHA1
from dulwich.pack import write_pack_header, write_pack_index_v2, write_pack_object

from hubspool.local_hub.limits import LIMITS


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
            self._entries[name] = (
                offset,
                write_pack_object(self._file.write, kind, [raw], SHA1, compression_level=LIMITS.compression),
            )

    def finish(self) -> tuple[str, Path]:
        """Complete the pack and write its index; return git's name for both files, and the path of the index."""
        self._file.seek(0)
        write_pack_header(self._file.write, len(self._entries))  # the number of objects is known only now
        self._file.seek(0)
        digest = hashlib.sha1()  # noqa: S324 - git's checksum
        while block := self._file.read(LIMITS.memory_block):
            digest.update(block)
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
