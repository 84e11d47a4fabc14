"""Large content, whichever way it came: LFS objects and Xet files under one name, the sha256."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hubspool.local_hub.storage.lfs_store import LfsStore, read_range
from hubspool.local_hub.storage.xet_store import XetStore

SHA256 = re.compile(r"[0-9a-f]{64}")
_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (\d{1,15})\n")


@dataclass(frozen=True)
class Pointer:
    """What git keeps in the place of large content; `size` in bytes."""

    sha256: str
    size: int

    def encode(self) -> bytes:
        """The pointer file, byte for byte as the Hub writes it."""
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n".encode()

    @classmethod
    def parse(cls, blob: bytes) -> Pointer | None:
        """The pointer in a blob, None when it is ordinary content."""
        match = _POINTER.fullmatch(blob) if len(blob) < 200 else None
        return cls(match[1].decode(), int(match[2])) if match else None


class Contents:
    """Finds large content by its sha256 and reads any range of it in bounded memory."""

    def __init__(self, lfs: LfsStore, xet: XetStore) -> None:
        self.lfs = lfs
        self.xet = xet

    def size(self, sha256: str) -> int | None:
        """Bytes, None when the content is not here."""
        size = self.lfs.size(sha256)
        if size is None and (file := self.xet.file_of_sha256(sha256)) is not None:
            size = self.xet.file_size(file)
        return size

    def xet_hash(self, sha256: str) -> str | None:
        """The Xet hash of content that readers may fetch through Xet, None when it came through LFS."""
        return self.xet.file_of_sha256(sha256)

    def read(self, sha256: str, start: int, end: int) -> Iterator[bytes]:
        """The bytes [start, end) of content that is here."""
        if self.lfs.size(sha256) is not None:
            return read_range(self.lfs.path(sha256), start, end)
        file = self.xet.file_of_sha256(sha256)
        if file is None:
            raise FileNotFoundError(f"no content with the sha256 {sha256}")
        return self.xet.read(file, start, end)
