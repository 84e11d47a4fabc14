"""How a commit is made: ask how each file is to be sent, send large contents, post the rest in one request.

Source of the protocol: huggingface_hub 2.4.0 and https://huggingface.co/docs/hub/api.
"""

from __future__ import annotations

import base64
import logging
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hubspool.client.commit_body import CommitBody, CommitRequest
from hubspool.client.http import HubClient
from hubspool.client.operations import CommitOperation, CommitOperationAdd, CommitOperationCopy, CommitOperationDelete
from hubspool.client.repo_info import CommitInfo, RepoUrl
from hubspool.client.retry import UNLESS_APPLIED
from hubspool.client.target import Target
from hubspool.errors import BadRequestError, BadResponseError, HfHubHTTPError, HFValidationError

logger = logging.getLogger(__name__)

#: What the Hub takes in one commit: files by reference, and bytes of content inside the request.
LARGE_FILES_PER_COMMIT = 25_000
REGULAR_BYTES_PER_COMMIT = 1_000_000_000
#: The Hub keeps no larger file outside LFS.
_LARGEST_REGULAR = 10 * 1024 * 1024
_OID = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class UploadRules:
    """What the Hub is told about files that are to be uploaded.

    Attributes:
        create_pr: They are for a pull request.
        gitignore, gitattributes: Rules that come with the same commit and count before the Hub's own.
    """

    create_pr: bool = False
    gitignore: str | None = None
    gitattributes: str | None = None

    @property
    def texts(self) -> dict[str, str]:
        """The rules as the preupload route takes them."""
        given = {"gitIgnore": self.gitignore, "gitAttributes": self.gitattributes}
        return {name: text for name, text in given.items() if text is not None}


def check_operations(operations: Sequence[CommitOperation]) -> None:
    """Check what can be checked before anything is sent.

    Raises:
        HFValidationError: Something that is not an operation, or one that was committed already.
    """
    added: set[str] = set()
    within: set[str] = set()
    for operation in operations:
        if isinstance(operation, (CommitOperationAdd, CommitOperationCopy)):
            path = operation.path_in_repo
            if isinstance(operation, CommitOperationAdd) and operation._is_committed:
                raise HFValidationError(
                    f"{operation!r} was committed already.",
                    hint="Make a new CommitOperationAdd for a new commit.",
                )
            if path in added:
                warnings.warn(f"Two operations of one commit write {path!r}: the last one counts.", stacklevel=4)
            added.add(path)
            within |= _with_folders(path)
        elif isinstance(operation, CommitOperationDelete):
            if operation.path_in_repo.rstrip("/") in within:
                warnings.warn(f"One commit writes and then deletes {operation.path_in_repo!r}.", stacklevel=4)
        else:
            raise HFValidationError(
                f"{operation!r} cannot be committed.",
                hint="create_commit takes CommitOperationAdd, CommitOperationDelete and CommitOperationCopy.",
            )


def _with_folders(path: str) -> set[str]:
    """Return a path and the folders that it is in."""
    found, end = {path}, path.rfind("/")
    while end > 0:
        found.add(path[:end])
        end = path.rfind("/", 0, end)
    return found


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
    client: HubClient, target: Target, batch: Sequence[CommitOperationAdd], rules: UploadRules
) -> None:
    """Ask the Hub how each addition is to be sent, and note the answers in the additions.

    Args:
        client: The Hub.
        target: Where they go.
        batch: Not asked about yet; the route answers 413 to more than 256.
        rules: What comes along with them.
    """
    answer = client.json(
        "POST",
        target.route("preupload"),
        params={"create_pr": "1"} if rules.create_pr else None,
        json={
            "files": [
                {"path": a.path_in_repo, "size": a.size, "sample": base64.b64encode(a.sample).decode()} for a in batch
            ],
            **rules.texts,
        },
    )
    _note_modes(batch, answer)


def check_limits(additions: Sequence[CommitOperationAdd]) -> None:
    """Check that one commit can carry the additions; the Hub must have been asked about each of them.

    Raises:
        HFValidationError: It cannot; the hint names the call that can.
    """
    carried = [addition for addition in additions if not addition.should_ignore]
    large = [addition for addition in carried if addition.upload_mode == "lfs"]
    regular = [addition for addition in carried if addition.upload_mode == "regular"]
    # Whether a file is there already takes reading it, so that is only asked where it matters.
    if len(large) > LARGE_FILES_PER_COMMIT:
        count = sum(not addition.is_unchanged for addition in large)
        if count > LARGE_FILES_PER_COMMIT:
            raise _too_much(f"{count} large files; the Hub takes {LARGE_FILES_PER_COMMIT}")
    if sum(addition.size for addition in regular) > REGULAR_BYTES_PER_COMMIT:
        size = sum(addition.size for addition in regular if not addition.is_unchanged)
        if size > REGULAR_BYTES_PER_COMMIT:
            raise _too_much(f"{size} bytes of regular files; the Hub takes {REGULAR_BYTES_PER_COMMIT}")


def may_exceed_limits(additions: Sequence[CommitOperationAdd]) -> bool:
    """Return whether `check_limits` could refuse the additions, as far as number and sizes tell."""
    small = sum(addition.size for addition in additions if addition.size <= _LARGEST_REGULAR)
    return len(additions) > LARGE_FILES_PER_COMMIT or small > REGULAR_BYTES_PER_COMMIT


def _too_much(what: str) -> HFValidationError:
    return HFValidationError(
        f"One commit cannot carry {what}. Nothing was committed.",
        hint="Use upload_large_folder, which makes as many commits as it takes.",
    )


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
            addition._sample = None
    except (KeyError, TypeError):
        raise BadResponseError("The preupload route did not answer for every file.") from None


def select_changes(operations: Sequence[CommitOperation]) -> list[CommitOperation]:
    """Return the operations that change something: no ignored additions, and none that the Hub has.

    An addition of what the Hub has is still needed where the same commit deletes its path, or writes it twice.
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
        body=CommitBody(request, operations),
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
