"""Makes one commit: checks its operations, leaves out what changes nothing, and posts the rest in one request.

Source of the protocol: huggingface_hub 2.4.0 and https://huggingface.co/docs/hub/api.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hubspool.client.defaults import DEFAULTS
from hubspool.client.http import HubClient
from hubspool.client.operations import (
    CommitOperation,
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
)
from hubspool.client.repo_info import CommitInfo, RepoUrl
from hubspool.client.retry import UNLESS_APPLIED
from hubspool.client.target import Target
from hubspool.client.validation import check_commit_id
from hubspool.errors import BadRequestError, BadResponseError, HfHubHTTPError, HFValidationError
from hubspool.files import new_blob_hash

logger = logging.getLogger(__name__)

_OID = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class CommitRequest:
    """The header of a commit.

    Attributes:
        message: first line; not empty.
        description: the rest, sent exactly as given.
        parent_commit: the head that the revision must have; otherwise the Hub refuses the commit (412).
        create_pr: open a pull request instead of committing to the revision.
    """

    message: str
    description: str | None = None
    parent_commit: str | None = None
    create_pr: bool | None = False

    def __post_init__(self) -> None:
        if not isinstance(self.message, str) or not self.message:
            raise HFValidationError(f"commit_message is {self.message!r}.", hint="Give the commit a message.")
        if self.parent_commit is not None:
            check_commit_id(self.parent_commit)


def check_operations(operations: Sequence[CommitOperation]) -> None:
    """Check what can be checked before anything is sent.

    Raises:
        HFValidationError: an object that is not an operation, or an addition that was committed already.
    """
    added: set[str] = set()
    within: set[str] = set()
    for operation in operations:
        if isinstance(operation, (CommitOperationAdd, CommitOperationCopy)):
            path = operation.path_in_repo
            if isinstance(operation, CommitOperationAdd) and operation.is_committed:
                raise HFValidationError(
                    f"{operation!r} was committed already.",
                    hint="Make a new CommitOperationAdd for a new commit.",
                )
            if path in added:
                warnings.warn(f"Two operations of one commit write {path!r}: the last one counts.", stacklevel=5)
            added.add(path)
            within |= _with_folders(path)
        elif isinstance(operation, CommitOperationDelete):
            if operation.path_in_repo.rstrip("/") in within:
                warnings.warn(f"One commit writes and then deletes {operation.path_in_repo!r}.", stacklevel=5)
        else:
            raise HFValidationError(
                f"{operation!r} cannot be committed.",
                hint="create_commit takes CommitOperationAdd, CommitOperationDelete and CommitOperationCopy.",
            )


def check_readme(client: HubClient, target: Target, additions: Sequence[CommitOperationAdd]) -> None:
    """Let the Hub check the front matter of a README.md among `additions`.

    Raises:
        HFValidationError: the Hub would refuse it; the message says why.
    """
    content = next((a.text() for a in additions if a.path_in_repo == "README.md"), None)
    if content is None:
        return
    try:
        answer = client.json(
            "POST",
            f"{client.endpoint}/api/validate-yaml",
            json={"content": content, "repoType": target.repo_type},
        )
    except BadRequestError as error:
        raise HFValidationError(
            f"The front matter of README.md is not valid: {error.server_message}.",
            hint="See https://huggingface.co/docs/hub/datasets-cards.",
            path="README.md",
        ) from error
    except HfHubHTTPError as error:
        if error.status_code == 404:  # a Hub without this route checks README.md when it gets the commit
            return
        raise
    for warning in answer.get("warnings") or []:
        logger.warning("README.md: %s", warning.get("message", warning))


def select_changes(operations: Sequence[CommitOperation]) -> list[CommitOperation]:
    """Return the operations that change something: no ignored additions, and none that the Hub has already.

    An addition of content that the Hub has is still needed where the same commit deletes its path or writes it twice.
    """
    deleted = {op.path_in_repo.rstrip("/") for op in operations if isinstance(op, CommitOperationDelete)}
    written = Counter(op.path_in_repo for op in operations if isinstance(op, CommitOperationAdd))
    changes: list[CommitOperation] = []
    for operation in operations:
        if isinstance(operation, CommitOperationAdd):
            path = operation.path_in_repo
            if operation.should_ignore:
                logger.info("%s is not committed: a .gitignore leaves it out.", path)
                continue
            needed = written[path] > 1 or bool(deleted and _with_folders(path) & deleted)
            if not needed and operation.is_unchanged:
                logger.debug("%s is not committed: the Hub has the same content.", path)
                continue
        changes.append(operation)
    return changes


def _with_folders(path: str) -> set[str]:
    """Return a path and the folders that it is in."""
    found, end = {path}, path.rfind("/")
    while end > 0:
        found.add(path[:end])
        end = path.rfind("/", 0, end)
    return found


def post_commit(
    client: HubClient, target: Target, request: CommitRequest, operations: Sequence[CommitOperation]
) -> CommitInfo:
    """Post the commit.

    The request is repeated only if the commit was certainly not applied and repeating can help: after a refused
    connection, 429, and 409 while another commit is in progress.

    Raises:
        RequestError: ``error.outcome`` says whether the commit may exist nevertheless.
        LocalFileError: a content changed since it was described; nothing was committed.
    """
    url = target.route("commit")
    answer = client.json(
        "POST",
        url,
        policy=UNLESS_APPLIED,
        params={"create_pr": "1"} if request.create_pr else None,
        body=CommitBody(request, operations),
        headers={"Content-Type": "application/x-ndjson"},
        commit=True,
    )
    oid = answer.get("commitOid") if isinstance(answer, dict) else None
    if not isinstance(oid, str) or not _OID.fullmatch(oid):
        raise BadResponseError(f"POST {url} was answered without the id of a commit.", method="POST", url=url)
    info = commit_info(target, request, oid)
    pr_url = answer.get("pullRequestUrl") if request.create_pr else None
    return replace(info, commit_url=answer.get("commitUrl") or info.commit_url, pr_url=pr_url)


def commit_info(target: Target, request: CommitRequest, oid: str, *, is_noop: bool = False) -> CommitInfo:
    """Return the result of a request whose commit, or else the revision's head, is `oid`."""
    return CommitInfo(
        commit_url=target.commit_url(oid),
        commit_message=request.message,
        commit_description=request.description or "",
        oid=oid,
        repo_url=RepoUrl(target.web_url, target.endpoint),
        is_noop=is_noop,
    )


class CommitBody:
    """The body of a commit request: NDJSON lines, whose contents are read in blocks at each iteration.

    Its length is computed beforehand: a body of unknown length has to be sent chunked, which not every proxy takes.
    """

    def __init__(self, request: CommitRequest, operations: Sequence[CommitOperation]) -> None:
        header: dict[str, Any] = {"summary": request.message, "description": request.description or ""}
        if request.parent_commit is not None:
            header["parentCommit"] = request.parent_commit
        self._header = _line("header", header)
        self._operations = operations
        self._size = len(self._header) + sum(_size_of_line(operation) for operation in operations)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        block = bytearray()
        for piece in self._pieces():
            block += piece
            if len(block) >= DEFAULTS.body_block_bytes:
                yield bytes(block)
                block.clear()
        yield bytes(block)

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
    """Return a line's bytes before its content, the addition that has the content, and the bytes after it."""
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
    """Encode a content, and raise before its last block if it is not the content that was described.

    The request is then shorter than its declared length, so the Hub does not apply it.
    """
    digest = new_blob_hash(addition.size)
    previous: bytes | None = None
    for block in addition.blocks():
        if previous is not None:
            yield previous
        digest.update(block)
        previous = base64.b64encode(block)
    addition.set_git_blob_id(digest.hexdigest())
    if previous is not None:
        yield previous
