"""How a commit is made: ask how each file is to be sent, send large contents, post the rest in one request.

Source of the protocol: huggingface_hub 2.4.0 and https://huggingface.co/docs/hub/api.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from hubspool.errors import (
    BadRequestError,
    BadResponseError,
    HfHubHTTPError,
    HFValidationError,
)
from hubspool.operations import (
    CommitOperation,
    CommitOperationAdd,
    CommitOperationDelete,
    new_blob_hash,
)
from hubspool.repo_info import CommitInfo, RepoUrl
from hubspool.session import UNLESS_APPLIED, HubClient
from hubspool.target import Target
from hubspool.validation import check_commit_id

logger = logging.getLogger(__name__)

#: The preupload route answers 413 to more.
FILES_PER_PREUPLOAD = 256
_OID = re.compile(r"[0-9a-f]{40}")


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


def check_operations(operations: Sequence[CommitOperation]) -> None:
    """Check what can be checked before anything is sent.

    Raises:
        HFValidationError: Something that is not an operation, or one that was committed already.
    """
    added: set[str] = set()
    for operation in operations:
        if isinstance(operation, CommitOperationAdd):
            path = operation.path_in_repo
            if operation._is_committed:
                raise HFValidationError(
                    f"{operation!r} was committed already.",
                    hint="Make a new CommitOperationAdd for a new commit.",
                )
            if path in added:
                warnings.warn(f"Two operations of one commit write {path!r}: the last one counts.", stacklevel=3)
            added.add(path)
        elif isinstance(operation, CommitOperationDelete):
            if any(_covers(operation, path) for path in added):
                warnings.warn(f"One commit adds and then deletes {operation.path_in_repo!r}.", stacklevel=3)
        else:
            raise HFValidationError(
                f"{operation!r} cannot be committed.",
                hint="create_commit takes CommitOperationAdd and CommitOperationDelete.",
            )


def _covers(deletion: CommitOperationDelete, path: str) -> bool:
    deleted = PurePosixPath(deletion.path_in_repo)
    return deleted == PurePosixPath(path) or deleted in PurePosixPath(path).parents


def text_of(additions: Sequence[CommitOperationAdd], path: str) -> str | None:
    """Return the text of the addition at `path`, None without one."""
    for addition in additions:
        if addition.path_in_repo == path:
            try:
                return b"".join(addition.blocks()).decode()
            except UnicodeDecodeError:
                raise HFValidationError(f"{path} is not UTF-8 text.", path=path) from None
    return None


def check_readme(client: HubClient, target: Target, additions: Sequence[CommitOperationAdd]) -> None:
    """Have the Hub check the front matter of a README.md among `additions`.

    Raises:
        HFValidationError: The Hub would refuse it; the message says why.
    """
    content = text_of(additions, "README.md")
    if content is None or not content.lstrip().startswith("---"):
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
        if error.status_code == 404:  # a Hub without this route decides when it gets the commit
            return
        raise
    for warning in answer.get("warnings") or []:
        logger.warning("README.md: %s", warning.get("message", warning))


def fetch_upload_modes(
    client: HubClient,
    target: Target,
    additions: Sequence[CommitOperationAdd],
    *,
    create_pr: bool,
    gitignore: str | None,
    gitattributes: str | None,
) -> None:
    """Ask the Hub how each addition is to be sent, and note the answers in the additions.

    Args:
        client: The Hub.
        target: Where they go.
        additions: Not asked about yet.
        create_pr: They are for a pull request.
        gitignore: Rules that come with the same commit and count before the Hub's own.
        gitattributes: The same.
    """
    rules = {"gitIgnore": gitignore, "gitAttributes": gitattributes}
    for first in range(0, len(additions), FILES_PER_PREUPLOAD):
        batch = additions[first : first + FILES_PER_PREUPLOAD]
        answer = client.json(
            "POST",
            target.route("preupload"),
            params={"create_pr": "1"} if create_pr else None,
            json={
                "files": [
                    {"path": a.path_in_repo, "size": a.size, "sample": base64.b64encode(a.sample).decode()}
                    for a in batch
                ],
                **{name: text for name, text in rules.items() if text is not None},
            },
        )
        _note_modes(batch, answer)


def _note_modes(batch: Sequence[CommitOperationAdd], answer: Any) -> None:
    try:
        told = {entry["path"]: entry for entry in answer["files"]}
        for addition in batch:
            entry = told[addition.path_in_repo]
            mode = entry["uploadMode"]
            if mode not in ("lfs", "regular"):
                raise BadResponseError(f"Unknown upload mode {mode!r} for {addition.path_in_repo}.")
            # LFS storage takes no empty objects.
            addition._upload_mode = mode if addition.size else "regular"
            addition._should_ignore = bool(entry.get("shouldIgnore"))
            addition._remote_oid = entry.get("oid")
    except (KeyError, TypeError):
        raise BadResponseError("The preupload route did not answer for every file.") from None


def select_changes(operations: Sequence[CommitOperation]) -> list[CommitOperation]:
    """Return the operations that change something: no ignored additions, and none that the Hub has.

    An addition of what the Hub has is still needed where the same commit deletes its path.
    """
    deletions = [op for op in operations if isinstance(op, CommitOperationDelete)]
    changes: list[CommitOperation] = []
    for operation in operations:
        if isinstance(operation, CommitOperationAdd):
            path = operation.path_in_repo
            if operation.should_ignore:
                logger.info("%s is not committed: a .gitignore leaves it out.", path)
                continue
            if operation.is_unchanged and not any(_covers(deletion, path) for deletion in deletions):
                logger.debug("%s is not committed: the Hub has the same content.", path)
                continue
        changes.append(operation)
    return changes


def post_commit(
    client: HubClient, target: Target, request: CommitRequest, operations: Sequence[CommitOperation]
) -> CommitInfo:
    """Post the commit.

    It is posted again only while it is certain that it was not applied, and a repetition can help: refused
    connections, 429, and 409 with another commit in progress.

    Raises:
        RequestError: ``error.outcome`` says whether the commit may exist nevertheless.
        LocalFileError: A content is not what was described; nothing was committed.
    """
    url = target.route("commit")
    answer = client.json(
        "POST",
        url,
        policy=UNLESS_APPLIED,
        params={"create_pr": "1"} if request.create_pr else None,
        body=_CommitBody(request, operations),
        headers={"Content-Type": "application/x-ndjson"},
        commit=True,
    )
    oid = answer.get("commitOid") if isinstance(answer, dict) else None
    if not isinstance(oid, str) or not _OID.fullmatch(oid):
        raise BadResponseError(f"POST {url} was answered without the id of a commit.", method="POST", url=url)
    return CommitInfo(
        commit_url=answer.get("commitUrl") or target.commit_url(oid),
        commit_message=request.message,
        commit_description=request.description,
        oid=oid,
        repo_url=RepoUrl(target.web_url, target.endpoint),
        pr_url=answer.get("pullRequestUrl") if request.create_pr else None,
    )


class _CommitBody:
    """The lines of a commit, made anew at each iteration, with contents read in blocks.

    Its length is computed beforehand: a body of unknown length has to be sent chunked, which not every proxy
        takes.
    """

    def __init__(self, request: CommitRequest, operations: Sequence[CommitOperation]) -> None:
        header: dict[str, Any] = {"summary": request.message, "description": request.description}
        if request.parent_commit is not None:
            header["parentCommit"] = request.parent_commit
        self._header = _line("header", header)
        self._operations = operations

    def __len__(self) -> int:
        return len(self._header) + sum(_size_of_line(operation) for operation in self._operations)

    def __iter__(self) -> Iterator[bytes]:
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
