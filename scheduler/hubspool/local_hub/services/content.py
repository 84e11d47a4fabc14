"""Large content by its SHA-256, whether it was uploaded with LFS or with Xet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hubspool.local_hub.storage.lfs_store import LfsStore, read_range
from hubspool.local_hub.storage.xet_store import XetStore

_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (\d{1,15})\n")


@dataclass(frozen=True)
class LfsPointer:
    """The small file that git holds in place of large content; `size` in bytes."""

    sha256: str
    size: int

    def encode(self) -> bytes:
        """Return the pointer file, byte for byte as the Hub writes it."""
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n".encode()

    @classmethod
    def parse(cls, blob: bytes) -> LfsPointer | None:
        """Return the pointer in a blob, or None if it is another file."""
        match = _POINTER.fullmatch(blob) if len(blob) < 200 else None
        return cls(match[1].decode(), int(match[2])) if match else None


class ContentStore:
    """Finds large content by its SHA-256, and reads ranges of it in bounded memory.

    Attributes:
        uses_xet: whether clients get Xet tokens; without them they use LFS.
    """

    def __init__(self, lfs: LfsStore, xet: XetStore, *, uses_xet: bool) -> None:
        self.lfs = lfs
        self.xet = xet
        self.uses_xet = uses_xet

    def size(self, sha256: str) -> int | None:
        """Return the size in bytes, or None if the content is not stored."""
        size = self.lfs.size(sha256)
        if size is None and (file := self.xet.file_of_sha256(sha256)) is not None:
            size = self.xet.file_size(file)
        return size

    def xet_hash(self, sha256: str) -> str | None:
        """Return the Xet hash of content; None if it was uploaded with LFS, or if clients use LFS."""
        return self.xet.file_of_sha256(sha256) if self.uses_xet else None

    def read(self, sha256: str, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes [start, end) of stored content."""
        if self.lfs.size(sha256) is not None:
            return read_range(self.lfs.path(sha256), start, end)
        file = self.xet.file_of_sha256(sha256)
        if file is None:
            raise FileNotFoundError(f"no content with the SHA-256 {sha256}")
        return self.xet.read(file, start, end)
