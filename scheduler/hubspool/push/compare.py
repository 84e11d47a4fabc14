"""Hashes of byte ranges of local files, and how a local file relates to what the Hub holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import sha1, sha256
from pathlib import Path
from typing import Protocol

_BLOCK = 1024 * 1024


class Relation(Enum):
    """How [0, end) of a local file compares with the file at its path on the Hub."""

    ABSENT = "absent"
    EQUAL = "equal"
    LOCAL_EXTENDS = "local extends the Hub's"
    HUB_EXTENDS = "the Hub's extends local"
    DIVERGED = "diverged"


class RemoteFile(Protocol):
    """What paths-info tells of a file: its size in bytes, and the sha256 (LFS, Xet) or git blob id of its content."""

    @property
    def size(self) -> int: ...
    @property
    def content_id(self) -> str: ...


class ReadRemote(Protocol):
    """Reads the first `length` bytes of the Hub's file."""

    def __call__(self, length: int) -> bytes: ...


@dataclass(frozen=True)
class Digest:
    """A range's content: lower-case hex sha256, and how many lines end in it."""

    sha256: str
    rows: int


def digests(path: Path, start: int, ends: Sequence[int], head: int = 0) -> list[Digest]:
    """Return the digest of the first `head` bytes and [start, end), for each of the ascending `ends`, in one pass.

    Raises:
        EOFError: the file is shorter than the last end.
    """
    state, rows, position = sha256(), 0, start
    found = []
    with path.open("rb") as file:
        first = file.read(head)
        state.update(first)
        rows += first.count(b"\n")
        file.seek(start)
        for end in ends:
            while position < end:
                block = file.read(min(_BLOCK, end - position))
                if not block:
                    raise EOFError(f"{path} ends at byte {position}; {end} were expected: it was cut meanwhile.")
                state.update(block)
                rows += block.count(b"\n")
                position += len(block)
            found.append(Digest(state.hexdigest(), rows))
    return found


def has_content(path: Path, size: int, content_id: str, start: int = 0, head: int = 0) -> bool:
    """Whether the file's first `head` bytes and what begins at `start` are the Hub's `size` bytes of `content_id`."""
    state = sha1(b"blob %d\0" % size, usedforsecurity=False) if len(content_id) == 40 else sha256()
    if size < head:
        return False
    with path.open("rb") as file:
        state.update(file.read(head))
        left = size - head
        file.seek(start)
        while left and (block := file.read(min(_BLOCK, left))):
            state.update(block)
            left -= len(block)
    return not left and state.hexdigest() == content_id


def relate(path: Path, end: int, remote: RemoteFile | None, read_remote: ReadRemote, read_limit: int) -> Relation:
    """Compare [0, end) of a local file with the Hub's.

    Nothing is downloaded unless the Hub's file is the longer one; then its first `end` bytes are, up to `read_limit`
    bytes, beyond which the two count as diverged.
    """
    if remote is None:
        return Relation.ABSENT
    if remote.size <= end:
        if not has_content(path, remote.size, remote.content_id):
            return Relation.DIVERGED
        return Relation.EQUAL if remote.size == end else Relation.LOCAL_EXTENDS
    if end > read_limit:
        return Relation.DIVERGED
    with path.open("rb") as file:
        return Relation.HUB_EXTENDS if read_remote(end) == file.read(end) else Relation.DIVERGED
