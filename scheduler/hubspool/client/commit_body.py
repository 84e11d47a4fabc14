"""The body of a commit request, sent in blocks."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hubspool.client.operations import CommitOperation, CommitOperationAdd, CommitOperationDelete, new_blob_hash
from hubspool.client.validation import check_commit_id
from hubspool.errors import HFValidationError

#: Sent at a time; a block for each of 25,000 lines would be as many system calls here and wake-ups there.
_BLOCK_BYTES = 128 * 1024


@dataclass(frozen=True)
class CommitRequest:
    """The header of a commit.

    Attributes:
        message: First line; not empty.
        description: The rest, sent exactly as it is given.
        parent_commit: The head that the revision must have; otherwise the Hub refuses (412).
        create_pr: Open a pull request instead of committing to the revision.
    """

    message: str
    description: str = ""
    parent_commit: str | None = None
    create_pr: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.message, str) or not self.message:
            raise HFValidationError(f"commit_message is {self.message!r}.", hint="Give the commit a message.")
        if self.parent_commit is not None:
            check_commit_id(self.parent_commit)


class CommitBody:
    """The lines of a commit, made anew at each iteration, with contents read in blocks.

    Its length is computed beforehand: a body of unknown length has to be sent chunked, which not every proxy takes.
    """

    def __init__(self, request: CommitRequest, operations: Sequence[CommitOperation]) -> None:
        header: dict[str, Any] = {"summary": request.message, "description": request.description}
        if request.parent_commit is not None:
            header["parentCommit"] = request.parent_commit
        self._header = _line("header", header)
        self._operations = operations
        self._size = len(self._header) + sum(_size_of_line(operation) for operation in operations)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        held = bytearray()
        for piece in self._pieces():
            held += piece
            if len(held) >= _BLOCK_BYTES:
                yield bytes(held)
                held.clear()
        yield bytes(held)

    def _pieces(self) -> Iterator[bytes]:
        yield self._header
        for operation in self._operations:
            head, content, tail = _split_line(operation)
            yield head
            if content is not None:
                yield from _base64_blocks(content)
                yield tail


def _line(key: str, value: dict[str, Any]) -> bytes:
    return json.dumps({"key": key, "value": value}).encode() + b"\n"


def _split_line(operation: CommitOperation) -> tuple[bytes, CommitOperationAdd | None, bytes]:
    """Return what stands before the content, whose content it is, and what stands after it."""
    path = operation.path_in_repo
    if isinstance(operation, CommitOperationDelete):
        key = "deletedFolder" if operation.is_folder else "deletedFile"
        return _line(key, {"path": path}), None, b""
    assert isinstance(operation, CommitOperationAdd)
    if operation.upload_mode == "lfs":
        pointer = {"path": path, "algo": "sha256", "oid": operation.sha256, "size": operation.size}
        return _line("lfsFile", pointer), None, b""
    whole = _line("file", {"path": path, "encoding": "base64", "content": ""})
    return whole[: -len(b'"}}\n')], operation, b'"}}\n'


def _size_of_line(operation: CommitOperation) -> int:
    head, content, tail = _split_line(operation)
    return len(head) + len(tail) + (4 * ((content.size + 2) // 3) if content is not None else 0)


def _base64_blocks(addition: CommitOperationAdd) -> Iterator[bytes]:
    """Encode a content, and fail before its last block when it is not the one that was described.

    The request is then shorter than it said, so the Hub does not apply it.
    """
    digest = new_blob_hash(addition.size)
    held: bytes | None = None
    for block in addition.blocks():
        if held is not None:
            yield held
        digest.update(block)
        held = base64.b64encode(block)
    addition.set_git_blob_id(digest.hexdigest())
    if held is not None:
        yield held
