"""Hashes byte ranges of local files, and compares local files with files on the Hub."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from mmap import ACCESS_READ, mmap
from pathlib import Path

from hubspool.files import blocks, has_content, open_regular
from hubspool.push.remote import RemoteFile

#: How much of a local file is read to find lines by their digest.
_SEARCH_BYTES = 1 << 30
#: How much of a file on the Hub is downloaded to find its content in a local file.
_PROBE_BYTES = 4096


class Relation(Enum):
    """How [0, end) of a local file compares with the file at its path on the Hub."""

    ABSENT = "absent"
    EQUAL = "equal"
    LOCAL_EXTENDS = "local extends the Hub's"
    HUB_EXTENDS = "the Hub's extends local"
    DIVERGED = "diverged"


@dataclass(frozen=True)
class Digest:
    """The content of a range: its sha256 in lower-case hex digits, and the number of lines that end in it.

    `identity` is the ``(st_dev, st_ino)`` of the file that was read.
    """

    sha256: str
    rows: int
    identity: tuple[int, int]


def digests(path: Path, start: int, ends: Sequence[int], head: int = 0) -> list[Digest]:
    """Return the digests of the first `head` bytes plus [start, end), for each of the ascending `ends`, in one pass.

    Raises:
        EOFError: the file is shorter than the last end.
    """
    state, rows, position = sha256(), 0, start
    found = []
    with open_regular(path) as file:
        stat = os.fstat(file.fileno())
        first = file.read(head)
        state.update(first)
        rows += first.count(b"\n")
        for end in ends:
            for block in blocks(file, position, end):
                state.update(block)
                rows += block.count(b"\n")
                position += len(block)
            if position < end:
                raise EOFError(f"{path} ends at byte {position}; {end} were expected: it was cut during the push.")
            found.append(Digest(state.hexdigest(), rows, (stat.st_dev, stat.st_ino)))
    return found


def find_content(
    path: Path, end: int, remote: RemoteFile, read_remote: Callable[[int, int], bytes], head: int = 0
) -> int | None:
    """Return where in [0, `end`) of a local file the content of a file on the Hub begins, at the start of a line.

    Downloads at most `_PROBE_BYTES`.

    Args:
        path: the local file.
        end: of the range to search, in bytes.
        remote: the file on the Hub; its first `head` bytes are those of the local file.
        read_remote: returns bytes of `remote`; takes a position and a length.
        head: in bytes.
    """
    length = remote.size - head
    if not 0 < length <= end:
        return None
    probe = read_remote(head, min(length, _PROBE_BYTES))
    with open_regular(path) as file, mmap(file.fileno(), 0, access=ACCESS_READ) as local:
        start = local.find(probe, 0, end)
        while start >= 0 and start + length <= end:
            begins_line = start == 0 or local[start - 1 : start] == b"\n"
            if begins_line and has_content(path, remote.size, remote.content_id, start, head):
                return start
            start = local.find(probe, start + 1, end)
    return None


def find_digest(path: Path, end: int, size: int, content_id: str, most: int = _SEARCH_BYTES) -> int | None:
    """Return where in [0, `end`) of a file of lines whole lines of `size` bytes have the id of a content on the Hub.

    Args:
        path: the local file.
        end: of the range to search, in bytes.
        size: of the content.
        content_id: of the content.
        most: bytes to read for it; what is not found by then is not found.
    """
    with open_regular(path) as file:
        begins, position = [0], 0
        for line in file:
            position += len(line)
            begins.append(position)
    ends = {*begins}
    for begin in begins:
        if size and begin + size <= end and begin + size in ends:
            most -= size
            if most < 0:
                return None
            if has_content(path, size, content_id, begin):
                return begin
    return None


def common_lines(path: Path, start: int, remote: bytes) -> int:
    """Return how many bytes of whole lines a local file from `start` on and `remote` have in common."""
    with open_regular(path) as file:
        file.seek(start)
        local = file.read(len(remote))
    length = next((i for i, (ours, theirs) in enumerate(zip(local, remote, strict=False)) if ours != theirs), None)
    return local.rfind(b"\n", 0, min(len(local), len(remote)) if length is None else length) + 1


def relate(
    path: Path, end: int, remote: RemoteFile | None, read_remote: Callable[[int], bytes], read_limit: int
) -> Relation:
    """Compare [0, end) of a local file with the file at its path on the Hub.

    Downloads nothing unless the Hub's file is the longer one. Then its first `end` bytes are downloaded; if `end` is
    more than `read_limit` bytes, the files count as diverged.

    Args:
        path: the local file.
        end: of the range to compare, in bytes.
        remote: the file on the Hub; None if there is none.
        read_remote: returns the first bytes of `remote`; takes their number.
        read_limit: in bytes.
    """
    if remote is None:
        return Relation.ABSENT
    if remote.size <= end:
        if not has_content(path, remote.size, remote.content_id):
            return Relation.DIVERGED
        return Relation.EQUAL if remote.size == end else Relation.LOCAL_EXTENDS
    if end > read_limit:
        return Relation.DIVERGED
    with open_regular(path) as file:
        return Relation.HUB_EXTENDS if read_remote(end) == file.read(end) else Relation.DIVERGED
