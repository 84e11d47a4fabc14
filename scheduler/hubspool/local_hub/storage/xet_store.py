"""Large content as Xet keeps it: chunks in xorbs, and shards that say which chunks make up a file."""

from __future__ import annotations

import functools
import hashlib
import logging
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubspool.local_hub.storage.durable_files import Disk
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
    spell,
    unspell,
)

_log = logging.getLogger("hubspool.local_hub")


@dataclass(frozen=True)
class Section:
    """Where a xorb's description lies inside a stored shard."""

    shard: Path
    offset: int
    length: int


@dataclass(frozen=True)
class Piece:
    """A term cut to whole chunks around a wanted range; the first `skip` unpacked bytes are not wanted."""

    xorb: str
    length: int
    first: int
    last: int
    skip: int


class XetStore:
    """Xorbs and shards on disk; what is known about them in memory, read again from the shards at start.

    Does not check that a xorb's name is the hash of its content: a client that lies about it harms the local
    Hub's deduplication, and the sha256 check of the files that use it then refuses them. Nothing is ever
    removed.

    Thread-safety: every method may be called from any thread; `_lock` guards the indexes.
    """

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._lock = threading.Lock()
        self._files: dict[bytes, tuple[Term, ...]] = {}
        self._by_sha256: dict[str, bytes] = {}
        self._sha256: dict[bytes, str] = {}
        self._sections: dict[bytes, Section] = {}
        self._chunks: dict[bytes, bytes] = {}  # askable chunk -> xorb
        self._digests = _PrefixDigests()
        self.layout = functools.lru_cache(maxsize=512)(self._scan)
        for path in sorted((disk.root / "xet" / "shards").glob("*")):
            try:
                self._index(parse_shard(path.read_bytes()), path)
            except ValueError as error:  # the disk's fault: what was sent broken was refused
                _log.warning("Shard %s is damaged; its files cannot be read: %s", path, error)

    # -- xorbs

    def xorb_path(self, xorb: str) -> Path:
        return self._disk.root / "xet" / "xorbs" / xorb[:2] / xorb

    def has_xorb(self, xorb: str) -> bool:
        return self.xorb_path(xorb).exists()

    def add_xorb(self, xorb: str, temporary: Path) -> bool:
        """Keep an uploaded xorb; False when it was here already.

        Raises:
            ValueError: It is not a xorb.
        """
        with temporary.open("rb") as file:
            scan_xorb(file)
        if self.has_xorb(xorb):
            return False
        self._disk.adopt(temporary, self.xorb_path(xorb))
        return True

    def _scan(self, xorb: str) -> XorbLayout:
        with self.xorb_path(xorb).open("rb") as file:
            return scan_xorb(file)

    # -- shards

    def add_shard(self, data: bytes) -> list[str]:
        """Check a shard against the content that is here, keep it, and make its files readable; returns their hashes.

        Raises:
            ValueError: It names chunks that are not here, or a sha256 that its content does not have.
        """
        shard = parse_shard(data)
        for entry in shard.files:
            self._check(entry)
        path = self._disk.root / "xet" / "shards" / hashlib.sha256(data).hexdigest()
        self._disk.write(path, data)
        self._index(shard, path)
        return [spell(entry.hash) for entry in shard.files]

    def _check(self, entry: FileEntry) -> None:
        for term in entry.terms:
            name = spell(term.xorb)
            if not self.has_xorb(name):
                raise ValueError(f"xorb {name} is not here")
            starts = self.layout(name).starts
            if not term.first < term.last < len(starts) or starts[term.last] - starts[term.first] != term.length:
                raise ValueError(f"xorb {name} has no chunks {term.first} to {term.last} of {term.length} bytes")
        if entry.sha256 is not None and self._digests.sha256(self, entry.terms) != entry.sha256:
            raise ValueError(f"the content of file {spell(entry.hash)} does not have the sha256 {entry.sha256}")

    def _index(self, shard: Shard, path: Path) -> None:
        firsts = defaultdict(set)
        for entry in shard.files:
            if entry.terms:
                firsts[entry.terms[0].xorb].add(entry.terms[0].first)
        with self._lock:
            for entry in shard.files:
                self._files[entry.hash] = entry.terms
                if entry.sha256 is not None:
                    self._by_sha256[entry.sha256] = entry.hash
                    self._sha256[entry.hash] = entry.sha256
            for xorb in shard.xorbs:
                self._sections[xorb.hash] = Section(path, xorb.offset, len(xorb.section))
                for chunk in xorb.askable_chunks(frozenset(firsts[xorb.hash])):
                    self._chunks[chunk] = xorb.hash

    def dedup_answer(self, chunk: str) -> bytes | None:
        """A shard that describes the xorb holding this chunk, None when no one may ask for it."""
        with self._lock:
            xorb = self._chunks.get(unspell(chunk))
            section = self._sections.get(xorb) if xorb is not None else None
        if section is None:
            return None
        with section.shard.open("rb") as file:
            file.seek(section.offset)
            return dedup_shard([file.read(section.length)])

    # -- files

    def file_of_sha256(self, sha256: str) -> str | None:
        """The Xet hash of the file with this content, None when it is not here."""
        with self._lock:
            found = self._by_sha256.get(sha256)
        return spell(found) if found is not None else None

    def sha256_of_file(self, file: str) -> str | None:
        """The sha256 of a file's content, None when the file or its sha256 is not known."""
        with self._lock:
            return self._sha256.get(unspell(file))

    def file_size(self, file: str) -> int | None:
        """Bytes of a file, None when it is not here."""
        terms = self._files.get(unspell(file))
        return sum(term.length for term in terms) if terms is not None else None

    def pieces(self, file: str, start: int, end: int) -> list[Piece]:
        """What must be read for the bytes [start, end) of a file that is here."""
        pieces, position = [], 0
        for term in self._files[unspell(file)]:
            low, high = max(start - position, 0), min(end - position, term.length)
            position += term.length
            if low >= high:
                continue
            layout = self.layout(spell(term.xorb))
            origin = layout.starts[term.first]
            first, last = chunk_at(layout, origin + low), chunk_at(layout, origin + high - 1) + 1
            length = layout.starts[last] - layout.starts[first]
            pieces.append(Piece(spell(term.xorb), length, first, last, origin + low - layout.starts[first]))
        return pieces

    def read(self, file: str, start: int, end: int) -> Iterator[bytes]:
        """The bytes [start, end) of a file that is here, a chunk at a time."""
        left = end - start
        for piece in self.pieces(file, start, end):
            skip = piece.skip
            for chunk in self.read_chunks(piece.xorb, piece.first, piece.last):
                wanted = chunk[skip : skip + left]
                skip = 0
                left -= len(wanted)
                yield wanted

    def read_chunks(self, xorb: str, first: int, last: int) -> Iterator[bytes]:
        """The unpacked chunks [first, last) of a xorb that is here."""
        with self.xorb_path(xorb).open("rb") as opened:
            yield from read_chunks(opened, self.layout(xorb), first, last)


class _PrefixDigests:
    """sha256 of files, without reading again what an earlier file began with.

    A log that is pushed 600 times would otherwise be read 600 times from its first byte. Kept: the state of
    the digest some chunks before the end of the newest files, because the last chunks change when a file
    grows.
    """

    KEPT, BACK = 256, 3

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: OrderedDict[bytes, Any] = OrderedDict()

    def sha256(self, store: XetStore, terms: tuple[Term, ...]) -> str:
        chunks = [(spell(term.xorb), index) for term in terms for index in range(term.first, term.last)]
        keys, rolling = [], b""
        for xorb, index in chunks:
            rolling = hashlib.blake2b(rolling + f"{xorb} {index}".encode(), digest_size=16).digest()
            keys.append(rolling)
        done, digest = self._longest(keys)
        for at in range(done, len(chunks)):
            xorb, index = chunks[at]
            for content in store.read_chunks(xorb, index, index + 1):
                digest.update(content)
            if at == len(chunks) - 1 - self.BACK:
                with self._lock:
                    self._states[keys[at]] = digest.copy()
                    while len(self._states) > self.KEPT:
                        self._states.popitem(last=False)
        return str(digest.hexdigest())

    def _longest(self, keys: list[bytes]) -> tuple[int, Any]:
        with self._lock:
            for at in range(len(keys) - 1, -1, -1):
                if (state := self._states.get(keys[at])) is not None:
                    self._states.move_to_end(keys[at])
                    return at + 1, state.copy()
        return 0, hashlib.sha256()
