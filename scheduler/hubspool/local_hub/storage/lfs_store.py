"""Large content that came through LFS, one file per sha256."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from hubspool.local_hub.storage.durable_files import Disk

BLOCK = 4 << 20  # bytes read at a time


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hex, in constant memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def read_range(path: Path, start: int, end: int) -> Iterator[bytes]:
    """The bytes [start, end) of a file, a block at a time."""
    with path.open("rb") as file:
        file.seek(start)
        left = end - start
        while left > 0 and (block := file.read(min(BLOCK, left))):
            left -= len(block)
            yield block


class LfsStore:
    """Objects and the parts of unfinished multipart uploads. A part lives until its object is complete."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def path(self, oid: str) -> Path:
        return self._disk.root / "lfs" / oid[:2] / oid[2:4] / oid

    def _part(self, oid: str, number: int) -> Path:
        return self._disk.root / "lfs-parts" / oid / str(number)

    def size(self, oid: str) -> int | None:
        """Bytes of the object, None when it is not here."""
        try:
            return self.path(oid).stat().st_size
        except FileNotFoundError:
            return None

    def add(self, oid: str, temporary: Path) -> bool:
        """Keep an uploaded file under its name; False when the content is not what the name says."""
        if sha256_of(temporary) != oid:
            return False
        self._disk.adopt(temporary, self.path(oid))
        return True

    def add_part(self, oid: str, number: int, temporary: Path) -> str:
        """Keep one part; returns its ETag."""
        etag = sha256_of(temporary)[:32]
        self._disk.adopt(temporary, self._part(oid, number))
        return etag

    def join_parts(self, oid: str, numbers: list[int]) -> bool:
        """Make the object of its parts; False when one is missing or the whole is not `oid`."""
        parts = [self._part(oid, number) for number in numbers]
        with self._disk.temporary_file() as whole:
            try:
                with whole.open("wb") as out:
                    for part in parts:
                        for block in read_range(part, 0, part.stat().st_size):
                            out.write(block)
            except FileNotFoundError:
                return False
            if not self.add(oid, whole):
                return False
        for part in parts:
            part.unlink(missing_ok=True)
        return True
