"""Xorbs and shards made by hand, as a client that does not keep to the rules sends them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from hubspool.local_hub.identifiers import hash_from_text
from hubspool.local_hub.storage import xet_hash
from hubspool.local_hub.storage.xet_format import MAGIC
from hubspool.local_hub.storage.xet_hash import Node

_BOOKEND = b"\xff" * 32 + bytes(16)


@dataclass(frozen=True)
class Xorb:
    """Chunks, uncompressed, with their true hashes."""

    chunks: tuple[bytes, ...]

    @property
    def nodes(self) -> list[Node]:
        return [(xet_hash.chunk_hash(chunk), len(chunk)) for chunk in self.chunks]

    @property
    def hash(self) -> bytes:
        return xet_hash.xorb_hash(self.nodes)

    @property
    def file_hash(self) -> bytes:
        return xet_hash.file_hash(self.nodes)

    @property
    def body(self) -> bytes:
        sizes = [len(chunk).to_bytes(3, "little") for chunk in self.chunks]
        return b"".join(b"\0" + size + b"\0" + size + chunk for size, chunk in zip(sizes, self.chunks, strict=True))


def shard(
    file_hash: bytes,
    xorb: bytes,
    nodes: Sequence[Node],
    *,
    count: int | None = None,
    length: int | None = None,
    proof: bytes | None = None,
    sha256: str | None = None,
    listed: Sequence[Node] = (),
) -> bytes:
    """Return a shard with one file: the first `count` chunks of a xorb; `listed` are the chunks that it says it has."""
    count = len(nodes) if count is None else count
    length = sum(size for _, size in nodes[:count]) if length is None else length
    flags = 1 << 31 | (1 << 30 if sha256 else 0)
    data = struct.pack("<32sQQ", MAGIC, 2, 0) + struct.pack("<32sIIQ", file_hash, flags, 1, 0)
    data += struct.pack("<32sIIII", xorb, 0, length, 0, count)
    data += (proof or xet_hash.proof(nodes[:count])) + bytes(16)
    if sha256:
        data += hash_from_text(sha256) + bytes(16)
    data += _BOOKEND
    if listed:
        total = sum(size for _, size in listed)
        data += struct.pack("<32sIIII", xorb, 0, len(listed), total, total)
        start = 0
        for name, size in listed:
            data += struct.pack("<32sIIII", name, start, size, 0, 0)
            start += size
    return data + _BOOKEND
