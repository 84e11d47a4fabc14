"""Stores large content that was uploaded with Xet: xorbs of chunks, and shards that list the chunks of each file."""

from __future__ import annotations

import functools
import hashlib
import logging
import secrets
import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubspool.local_hub.identifiers import EMPTY_FILE, hash_from_text, hash_to_text
from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.storage import xet_hash
from hubspool.local_hub.storage.durable_files import DurableFiles
from hubspool.local_hub.storage.lru import LruCache
from hubspool.local_hub.storage.xet_format import (
    FileEntry,
    Shard,
    Term,
    XorbLayout,
    chunk_at,
    dedup_shard,
    parse_shard,
    read_chunks,
    scan_xorb,
    section_nodes,
    unpacked_nodes,
)
from hubspool.local_hub.storage.xet_hash import Node

_log = logging.getLogger("hubspool.local_hub")


@dataclass(frozen=True)
class ShardSection:
    """The position of a xorb's description inside a stored shard, in bytes."""

    shard: Path
    offset: int
    length: int


@dataclass(frozen=True)
class ChunkRange:
    """The chunks [first, last) of a xorb that hold a wanted range.

    Attributes:
        length: unpacked bytes of these chunks.
        skip: unpacked bytes before the wanted range.
    """

    xorb: str
    length: int
    first: int
    last: int
    skip: int


class XetStore:
    """Keeps xorbs and shards on the disk, and indexes of them in memory, which are read from the shards at start.

    Names are hashes of content, which are computed when the content arrives; nothing that is stored is replaced. A
    shard names only chunks that its uploader has, see `xet_hash.proof`. Does not know who may read a file, and never
    removes anything.

    Thread-safety: every method may be called from any thread. `_lock` is held while a shard enters the indexes; readers
    need no lock, since no entry changes.
    """

    def __init__(self, files: DurableFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._terms: dict[str, tuple[Term, ...]] = {}
        self._by_sha256: dict[str, str] = {}
        self._sha256: dict[str, str] = {}
        self._sections: dict[str, ShardSection] = {}
        self._chunks: dict[bytes, str] = {}  # chunk that clients ask for: xorb
        self._digests = _PrefixDigests()
        self._key = secrets.token_bytes(32)  # of the deduplication answers
        self._known_nodes: LruCache[str, list[Node]] = LruCache(LIMITS.cached_layouts)
        self.layout = functools.lru_cache(maxsize=LIMITS.cached_layouts)(self._scan)
        for path in sorted((files.root / "xet" / "shards").glob("*")):
            try:
                self._index(parse_shard(path.read_bytes()), path)
            except ValueError as error:  # only damage of the disk: `add_shard` refuses broken shards
                _log.warning("Shard %s is damaged; its files cannot be read: %s", path, error)

    # -- xorbs

    def xorb_path(self, xorb: str) -> Path:
        return self._files.root / "xet" / "xorbs" / xorb[:2] / xorb

    def has_xorb(self, xorb: str) -> bool:
        return self.xorb_path(xorb).exists()

    def add_xorb(self, xorb: str, temporary: Path) -> bool:
        """Move an uploaded xorb to its place; return False if it is stored already.

        Raises:
            ValueError: The file is not a xorb of this name.
        """
        nodes = _nodes_of(temporary)
        if hash_to_text(xet_hash.xorb_hash(nodes)) != xorb:
            raise ValueError(f"its content does not have the hash {xorb}")
        try:
            if self.has_xorb(xorb) and _nodes_of(self.xorb_path(xorb)) == nodes:
                return False
        except ValueError:
            pass  # the disk has damaged it
        self._files.adopt(temporary, self.xorb_path(xorb))
        self._known_nodes.put(xorb, nodes)
        self.layout.cache_clear()
        return True

    def _nodes(self, xorb: str) -> list[Node]:
        """Return the hash and size of each chunk of a stored xorb, from a shard if one describes it: that is faster."""
        nodes = self._known_nodes.get(xorb)
        if nodes is None:
            section = self._section(xorb)
            nodes = section_nodes(section) if section is not None else _nodes_of(self.xorb_path(xorb))
            self._known_nodes.put(xorb, nodes)
        return nodes

    def _section(self, xorb: str) -> bytes | None:
        found = self._sections.get(xorb)
        if found is None:
            return None
        with found.shard.open("rb") as file:
            file.seek(found.offset)
            return file.read(found.length)

    def _scan(self, xorb: str) -> XorbLayout:
        with self.xorb_path(xorb).open("rb") as file:
            return scan_xorb(file)

    # -- shards

    def add_shard(self, data: bytes) -> list[str]:
        """Check a shard against the stored xorbs, keep it, and index its files; return their Xet hashes and SHA-256.

        Raises:
            ValueError: The shard names chunks that are not stored or that its uploader does not have, or a hash that
                its content does not have.
        """
        shard = parse_shard(data)
        for xorb in shard.xorbs:
            if not self.has_xorb(xorb.hash) or section_nodes(xorb.section) != self._nodes(xorb.hash):
                raise ValueError(f"xorb {xorb.hash} is not stored, or has other chunks")
        for entry in shard.files:
            self._check(entry)
        path = self._files.root / "xet" / "shards" / hashlib.sha256(data).hexdigest()
        self._files.write(path, data)
        self._index(shard, path)
        named = (name for entry in shard.files for name in (entry.hash, entry.sha256))
        return [name for name in named if name is not None]

    def _check(self, entry: FileEntry) -> None:
        chunks: list[Node] = []
        if len(entry.proofs) != len(entry.terms):
            raise ValueError(f"file {entry.hash} has no verification of its chunks")
        for term, proof in zip(entry.terms, entry.proofs, strict=True):
            if not self.has_xorb(term.xorb):
                raise ValueError(f"xorb {term.xorb} is not stored")
            part = self._nodes(term.xorb)[term.first : term.last]
            if len(part) != term.last - term.first or not part or sum(size for _, size in part) != term.length:
                raise ValueError(f"xorb {term.xorb} has no chunks {term.first} to {term.last} of {term.length} bytes")
            if xet_hash.proof(part) != proof:
                raise ValueError(f"the verification of chunks {term.first} to {term.last} of xorb {term.xorb} is wrong")
            chunks += part
        if hash_to_text(xet_hash.file_hash(chunks)) != entry.hash:
            raise ValueError(f"the chunks of file {entry.hash} make up another file")
        if entry.sha256 is not None and self._digests.sha256(self, entry.terms) != entry.sha256:
            raise ValueError(f"the content of file {entry.hash} does not have the sha256 {entry.sha256}")

    def _index(self, shard: Shard, path: Path) -> None:
        firsts = defaultdict(set)
        for entry in shard.files:
            if entry.terms:
                firsts[entry.terms[0].xorb].add(entry.terms[0].first)
        with self._lock:
            for entry in shard.files:
                self._terms.setdefault(entry.hash, entry.terms)
                if entry.sha256 is not None:
                    self._by_sha256.setdefault(entry.sha256, entry.hash)
                    self._sha256.setdefault(entry.hash, entry.sha256)
            for xorb in shard.xorbs:
                self._sections.setdefault(xorb.hash, ShardSection(path, xorb.offset, len(xorb.section)))
                for chunk in xorb.deduplicated_chunks(frozenset(firsts[xorb.hash])):
                    self._chunks.setdefault(chunk, xorb.hash)

    def dedup_answer(self, chunk: str) -> bytes | None:
        """Return a shard that describes the xorb of a chunk; None for a chunk that is not indexed."""
        xorb = self._chunks.get(hash_from_text(chunk))
        section = self._section(xorb) if xorb is not None else None
        return dedup_shard(section, self._key) if section is not None else None

    # -- files

    def file_of_sha256(self, sha256: str) -> str | None:
        """Return the Xet hash of the file with this content, or None."""
        return self._by_sha256.get(sha256)

    def sha256_of_file(self, file: str) -> str | None:
        """Return the SHA-256 of a file's content; None if the file or its SHA-256 is unknown."""
        return self._sha256.get(file)

    def file_size(self, file: str) -> int | None:
        """Return the size of a file in bytes, or None."""
        if file == EMPTY_FILE:
            return 0
        terms = self._terms.get(file)
        return sum(term.length for term in terms) if terms is not None else None

    def chunk_ranges(self, file: str, start: int, end: int) -> list[ChunkRange]:
        """Return the chunks that hold the bytes [start, end) of a stored file."""
        pieces, position = [], 0
        for term in self._terms[file]:
            low, high = max(start - position, 0), min(end - position, term.length)
            position += term.length
            if low >= high:
                continue
            layout = self.layout(term.xorb)
            origin = layout.starts[term.first]
            first, last = chunk_at(layout, origin + low), chunk_at(layout, origin + high - 1) + 1
            length = layout.starts[last] - layout.starts[first]
            pieces.append(ChunkRange(term.xorb, length, first, last, origin + low - layout.starts[first]))
        return pieces

    def read(self, file: str, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes [start, end) of a stored file, chunk by chunk."""
        left = end - start
        for piece in self.chunk_ranges(file, start, end) if left > 0 else ():
            skip = piece.skip
            for chunk in self.read_chunks(piece.xorb, piece.first, piece.last):
                wanted = chunk[skip : skip + left]
                skip = 0
                left -= len(wanted)
                yield wanted

    def read_chunks(self, xorb: str, first: int, last: int) -> Iterator[bytes]:
        """Yield the unpacked chunks [first, last) of a stored xorb."""
        with self.xorb_path(xorb).open("rb") as opened:
            yield from read_chunks(opened, self.layout(xorb), first, last)


def _nodes_of(path: Path) -> list[Node]:
    with path.open("rb") as file:
        return unpacked_nodes(file)


class _PrefixDigests:
    """Computes the SHA-256 of files that grow without reading the same beginning again.

    A log that is pushed 600 times would be read 600 times from its first byte. This class keeps the state of the
    digest of the newest files, some chunks before their end, because the last chunks change when a file grows.
    """

    def __init__(self) -> None:
        self._states: LruCache[bytes, Any] = LruCache(LIMITS.cached_digests)

    def sha256(self, store: XetStore, terms: tuple[Term, ...]) -> str:
        chunks = [(term.xorb, index) for term in terms for index in range(term.first, term.last)]
        keys, rolling = [], b""
        for xorb, index in chunks:
            rolling = hashlib.blake2b(rolling + f"{xorb} {index}".encode(), digest_size=16).digest()
            keys.append(rolling)
        done, digest = self._longest(keys)
        for at in range(done, len(chunks)):
            xorb, index = chunks[at]
            for content in store.read_chunks(xorb, index, index + 1):
                digest.update(content)
            if at == len(chunks) - 1 - LIMITS.digest_back:
                self._states.put(keys[at], digest.copy())
        return str(digest.hexdigest())

    def _longest(self, keys: list[bytes]) -> tuple[int, Any]:
        for at in range(len(keys) - 1, -1, -1):
            if (state := self._states.get(keys[at])) is not None:
                return at + 1, state.copy()
        return 0, hashlib.sha256()
