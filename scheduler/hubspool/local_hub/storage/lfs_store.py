"""Stores large content that was uploaded with LFS: one file for each SHA-256."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hubspool.files import blocks, sha256_of
from hubspool.local_hub.storage.durable_files import DurableFiles


def read_range(path: Path, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes [start, end) of a file in blocks."""
    with path.open("rb") as file:
        yield from blocks(file, start, end)


class LfsStore:
    """Keeps LFS objects, and the parts of multipart uploads until their object is complete.

    Nothing removes the parts of an upload that is never completed.
    """

    def __init__(self, files: DurableFiles) -> None:
        self._files = files

    def path(self, oid: str) -> Path:
        return self._files.root / "lfs" / oid[:2] / oid[2:4] / oid

    def _part(self, upload: str, number: int) -> Path:
        return self._files.root / "lfs-parts" / upload / str(number)

    def size(self, oid: str) -> int | None:
        """Return the size of an object in bytes, or None if it is not stored."""
        try:
            return self.path(oid).stat().st_size
        except FileNotFoundError:
            return None

    def add(self, oid: str, temporary: Path) -> bool:
        """Move an uploaded file to its place; return False if its SHA-256 is not `oid`."""
        if sha256_of(temporary, 0, temporary.stat().st_size) != oid:
            return False
        self._files.adopt(temporary, self.path(oid))
        return True

    def add_part(self, upload: str, number: int, temporary: Path) -> str:
        """Move one part of an upload to its place; return its ETag."""
        etag = sha256_of(temporary, 0, temporary.stat().st_size)[:32]
        self._files.adopt(temporary, self._part(upload, number))
        return etag

    def join_parts(self, upload: str, oid: str, numbers: list[int]) -> bool:
        """Join parts to an object; return False if one is missing, or if the SHA-256 of the whole is not `oid`."""
        parts = [self._part(upload, number) for number in numbers]
        with self._files.temporary_file() as whole:
            try:
                with whole.open("wb") as out:
                    for part in parts:
                        out.writelines(read_range(part, 0, part.stat().st_size))
            except FileNotFoundError:
                return False
            if not self.add(oid, whole):
                return False
        for part in parts:
            part.unlink(missing_ok=True)
        return True
