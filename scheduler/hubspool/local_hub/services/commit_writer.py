"""A commit: a list of operations that happens as a whole or not at all."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from hubspool.local_hub.services.api_errors import HubError, entry_not_found, member, revision_not_found
from hubspool.local_hub.services.attributes import Attributes, lfs_rule
from hubspool.local_hub.services.content import SHA256, Contents, Pointer
from hubspool.local_hub.services.refs import changeable
from hubspool.local_hub.services.repositories import Repository
from hubspool.local_hub.storage.git_store import GitStore
from hubspool.local_hub.storage.tree_edit import PathConflictError, TreeEdit

MAX_REGULAR = 10 << 20  # bytes of one file that is not in LFS
_STALE = "The branch was updated since you opened this page. Please refresh and try again."

Step = Callable[[TreeEdit], None]


def check_path(path: str) -> str:
    """The path, if it stays inside the repository.

    Raises:
        HubError: 422.
    """
    parts = path.split("/")
    if len(parts) > 100 or any(len(part) > 255 for part in parts):
        raise HubError(422, f"Invalid path {path[:100]!r}…: more than 100 folders, or a name of more than 255 letters")
    if any(part in ("", ".", "..") or part.lower() == ".git" for part in parts):
        raise HubError(422, f"Invalid path {path!r}: it must stay inside the repository and outside '.git'")
    if "\\" in path or any(ord(letter) < 32 or ord(letter) == 127 for letter in path):
        raise HubError(422, f"Invalid path {path!r}: no backslash or control character")
    if not path.isascii():
        try:
            path.encode()
        except UnicodeEncodeError:
            raise HubError(422, f"Invalid path {path!r}: not UTF-8") from None
    return path


@dataclass
class CommitRequest:
    """A parsed commit. Contents are in the object store already; nothing points to them before `apply`."""

    summary: str = ""
    description: str = ""
    parent: str | None = None
    steps: list[Step] = field(default_factory=list)
    lfs_paths: list[str] = field(default_factory=list)

    @property
    def message(self) -> str:
        return f"{self.summary}\n\n{self.description}" if self.description else self.summary


def parse(lines: Iterable[bytes], git: GitStore, contents: Contents) -> CommitRequest:
    """Read the lines of a commit, storing each file as it comes so that memory holds one at a time.

    Raises:
        HubError: 400 or 422 for the line that cannot be applied; then nothing is stored.
    """
    with git.gather():
        return _parse(lines, git, contents)


def _parse(lines: Iterable[bytes], git: GitStore, contents: Contents) -> CommitRequest:
    request = CommitRequest()
    too_large: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            item = orjson.loads(line)  # which knows a limit of nesting
            key, value = item["key"], item["value"]
        except (ValueError, TypeError, KeyError):
            raise HubError(400, f"Line {number} of the commit is not an object with key and value") from None
        if key == "header":
            request.summary = member(value, "summary", str, "")
            request.description = member(value, "description", str, "")
            request.parent = member(value, "parentCommit", str, "") or None
        else:
            _parse_operation(key, value, git, contents, request, too_large)
    if not request.summary:
        raise HubError(400, "A commit needs a header with a summary")
    if too_large:
        raise HubError(
            400,
            "Your push was rejected because it contains files larger than 10 MiB. Please use LFS or Xet for them. "
            f"Offending files: {', '.join(too_large)}",
        )
    return request


def _parse_operation(
    key: str,
    value: dict[str, Any],
    git: GitStore,
    contents: Contents,
    request: CommitRequest,
    too_large: list[str],
) -> None:
    path = member(value, "path", str, "")
    path = check_path(path.rstrip("/") if key == "deletedFolder" else path)
    if key == "file":
        content = _content(path, value)
        if len(content) > MAX_REGULAR:
            too_large.append(path)
        else:
            request.steps.append(_set(path, git.add_blob(content)))
    elif key == "lfsFile":
        pointer = _pointer(path, value, contents)
        request.steps.append(_set(path, git.add_blob(pointer.encode())))
        request.lfs_paths.append(path)
    elif key == "deletedFile":
        request.steps.append(_remove_file(path))
    elif key == "deletedFolder":
        request.steps.append(_remove_folder(path))
    else:
        raise HubError(400, f"Unknown operation {key!r} for {path!r}")


def _content(path: str, value: dict[str, Any]) -> bytes:
    content, encoding = value.get("content"), value.get("encoding", "utf-8")
    try:
        if encoding == "base64":
            return base64.b64decode(content or "", validate=True)
        if encoding == "utf-8" and isinstance(content, str):
            return content.encode()
    except (ValueError, TypeError, binascii.Error):
        pass
    raise HubError(400, f"The content of {path!r} is not {encoding}")


def _pointer(path: str, value: dict[str, Any], contents: Contents) -> Pointer:
    oid = member(value, "oid", str, "")
    known = member(value, "algo", str, "sha256") == "sha256" and SHA256.fullmatch(oid)
    size = contents.size(oid) if known else None
    if size is None:
        raise HubError(400, f"The LFS object {oid} of {path!r} was not uploaded. Upload it before the commit.")
    if value.get("size") is not None and value["size"] != size:
        raise HubError(400, f"The LFS object {oid} of {path!r} has {size} bytes, the commit says {value['size']}.")
    return Pointer(oid, size)


def _set(path: str, oid: str) -> Step:
    return lambda edit: edit.set(path, oid)


def _remove_file(path: str) -> Step:
    def step(edit: TreeEdit) -> None:
        if edit.blob(path) is None:
            raise entry_not_found(message="A file with this name doesn't exist")
        edit.remove(path)

    return step


def _remove_folder(path: str) -> Step:
    def step(edit: TreeEdit) -> None:
        if not edit.remove(path):
            raise entry_not_found(message="A folder with this name doesn't exist")

    return step


def apply(repo: Repository, rev: str, request: CommitRequest, author: str) -> str:
    """Make the commit on a branch or pull request; returns its id. The ref moves last.

    Raises:
        HubError: 404 for an unknown ref or a deleted path that is not there, 412 when the branch moved on,
            422 when a file and a folder would share a path.
    """
    ref = changeable(rev)
    with repo.changing():
        head = repo.git.ref(ref)
        if head is None:
            raise revision_not_found(rev)
        if request.parent is not None and not head.startswith(request.parent):
            raise HubError(412, _STALE)
        commit = build(repo, head, request, author)
        repo.git.set_ref(ref, commit)
    return commit


def build(repo: Repository, base: str, request: CommitRequest, author: str) -> str:
    """Store the commit on top of `base`; nothing points to it yet."""
    edit = TreeEdit(repo.git, repo.git.commit(base).root)
    with repo.git.gather():
        try:
            for step in request.steps:
                step(edit)
            _cover_by_rules(repo.git, edit, request.lfs_paths)
        except PathConflictError as error:
            raise HubError(422, f"A file and a folder cannot both be called {str(error)!r}") from None
        return repo.git.add_commit(edit.write(), [base], author, request.message)


def _cover_by_rules(git: GitStore, edit: TreeEdit, paths: list[str]) -> None:
    """Add a `.gitattributes` line for each LFS file that no rule covers, as the real Hub does."""
    if not paths:
        return
    blob = edit.blob(".gitattributes")
    text = git.blob(blob).decode("utf-8", "replace") if blob is not None else ""
    attributes = Attributes(text)
    missing = [lfs_rule(path) for path in paths if edit.blob(path) is not None and not attributes.is_lfs(path)]
    if missing:
        start = text if text.endswith("\n") or not text else text + "\n"
        edit.set(".gitattributes", git.add_blob((start + "\n".join(dict.fromkeys(missing)) + "\n").encode()))
