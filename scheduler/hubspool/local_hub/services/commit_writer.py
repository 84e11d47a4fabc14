"""Parses the commits that clients send, and applies each as a whole or not at all."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson
from dulwich.index import validate_path_element_hfs, validate_path_element_ntfs

from hubspool.local_hub.identifiers import is_content_hash
from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.services import cards
from hubspool.local_hub.services.api_errors import ApiError, entry_not_found, member, revision_not_found
from hubspool.local_hub.services.attributes import GitAttributes, lfs_rule
from hubspool.local_hub.services.content import LfsPointer
from hubspool.local_hub.services.patterns import MatchBudget
from hubspool.local_hub.services.refs import changeable
from hubspool.local_hub.services.repositories import Repository
from hubspool.local_hub.storage.git_store import GitStore
from hubspool.local_hub.storage.tree_edit import FolderFullError, PathConflictError, TreeEdit

_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f]")
_AS_THE_HUB = (b"", b".", b"..")  # it takes them between backslashes, but for `..` at the beginning of a path
_STALE = "The branch was updated since you opened this page. Please refresh and try again."


def check_path(path: str) -> str:
    """Return the path if a repository can hold it.

    Raises:
        ApiError: 422 if a repository cannot hold it.
    """
    parts = path.split("/")
    try:
        names = [part.encode() for part in parts]
    except UnicodeEncodeError:
        raise ApiError(422, f"Invalid path {path!r}: not UTF-8") from None
    if len(names) > LIMITS.path_depth or any(len(name) > LIMITS.path_name for name in names):
        raise ApiError(422, f"Invalid path {path[:100]!r}…: more than 100 folders, or a name of more than 255 bytes")
    # as Windows and macOS read the names, where git refuses to check them out; a backslash separates them there
    inner = (piece for name in names if b"\\" in name for piece in name.split(b"\\") if piece not in _AS_THE_HUB)
    whole = (name for name in names if b"\\" not in name)
    if (
        not all(map(validate_path_element_ntfs, (*whole, *inner)))
        or not all(map(validate_path_element_hfs, names))
        or path.startswith("..\\")
    ):
        raise ApiError(422, f"Invalid path {path!r}: it must stay inside the repository and outside '.git'")
    if _FORBIDDEN.search(path):
        raise ApiError(422, f"Invalid path {path!r}: no control character")
    return path


def full_folders(paths: Iterable[str], limit: int | None) -> ApiError:
    """Return the Hub's refusal of folders with too many entries."""
    return ApiError(
        400,
        "Your push was rejected because it contains too many files per directory. Each directory in your git repo can "
        f"only contain up to {limit} files. Offending directories: {' '.join(paths)}",
    )


@dataclass(frozen=True)
class FileChange:
    """One operation of a commit; `blob` is the id of the new content, None for a deletion."""

    path: str
    blob: str | None = None
    is_folder: bool = False

    def apply(self, edit: TreeEdit) -> None:
        """Change a tree.

        Raises:
            ApiError: 404 if a path to delete does not exist.
        """
        if self.blob is not None:
            edit.set(self.path, self.blob)
            return
        if not edit.remove(self.path):  # a `deletedFile` of the JavaScript client may be a folder
            kind = "folder" if self.is_folder else "file"
            raise entry_not_found(message=f"A {kind} with this name doesn't exist")


@dataclass
class ParsedCommit:
    """A commit whose contents are stored; no branch holds them before `apply`.

    Attributes:
        parent: the (abbreviated) commit that the branch must be at, or None.
        lfs_paths: paths with a pointer, which need an LFS rule.
        too_large: paths of regular files that are larger than the Hub takes; `parse` refuses the commit.
    """

    summary: str = ""
    description: str = ""
    parent: str | None = None
    changes: list[FileChange] = field(default_factory=list)
    lfs_paths: list[str] = field(default_factory=list)
    too_large: list[str] = field(default_factory=list)

    @property
    def message(self) -> str:
        return f"{self.summary}\n\n{self.description}" if self.description else self.summary


def parse(lines: Iterable[bytes], repo: Repository) -> ParsedCommit:
    """Read the lines of a commit, and store each file as it is read: memory holds one file at a time.

    Raises:
        ApiError: 400 or 422 for a line that cannot be applied; then nothing is stored.
    """
    commit = ParsedCommit()
    with repo.git.gather():
        for number, line in enumerate(lines, 1):
            if line.strip():
                _read_line(commit, number, line, repo)
        if not commit.summary:
            raise ApiError(400, "A commit needs a header with a summary")
        if commit.too_large:
            raise ApiError(
                400,
                "Your push was rejected because it contains files larger than 10 MiB. Please use LFS or Xet for them. "
                f"Offending files: {', '.join(commit.too_large)}",
            )
    return commit


def _read_line(commit: ParsedCommit, number: int, line: bytes, repo: Repository) -> None:
    try:
        item = orjson.loads(line)  # orjson limits the depth of nesting
        key, value = item["key"], item["value"]
    except (ValueError, TypeError, KeyError):
        raise ApiError(400, f"Line {number} of the commit is not an object with key and value") from None
    if key == "header":
        commit.summary = member(value, "summary", str, "")
        commit.description = member(value, "description", str, "")
        commit.parent = member(value, "parentCommit", str, "") or None
        return
    path = member(value, "path", str, "")
    path = check_path(path.rstrip("/") if key == "deletedFolder" else path)
    if key == "file":
        content = _content(path, value)
        if path == "README.md":
            _check_card(content)
        if len(content) > LIMITS.regular_file:
            commit.too_large.append(path)
        else:
            commit.changes.append(FileChange(path, repo.git.add_blob(content)))
    elif key == "lfsFile":
        pointer = _pointer(path, value, repo)
        commit.changes.append(FileChange(path, repo.git.add_blob(pointer.encode())))
        commit.lfs_paths.append(path)
    elif key in ("deletedFile", "deletedFolder"):
        commit.changes.append(FileChange(path, is_folder=key == "deletedFolder"))
    else:
        raise ApiError(400, f"Unknown operation {key!r} for {path!r}")


def _check_card(content: bytes) -> None:
    try:
        cards.parse(content.decode("utf-8", "replace"))
    except ValueError as error:
        raise ApiError(400, f"Invalid metadata in README.md: {error}") from None


def _content(path: str, value: dict[str, Any]) -> bytes:
    content, encoding = value.get("content"), value.get("encoding", "utf-8")
    try:
        if encoding == "base64":
            return base64.b64decode(content or "", validate=True)
        if encoding == "utf-8" and isinstance(content, str):
            return content.encode()
    except (ValueError, TypeError):
        pass
    raise ApiError(400, f"The content of {path!r} is not {encoding}")


def _pointer(path: str, value: dict[str, Any], repo: Repository) -> LfsPointer:
    oid = member(value, "oid", str, "")
    is_hash = member(value, "algo", str, "sha256") == "sha256" and is_content_hash(oid)
    size = repo.size_of(oid) if is_hash else None
    if size is None:
        raise ApiError(400, f"The LFS object {oid} of {path!r} was not uploaded. Upload it before the commit.")
    if value.get("size") is not None and value["size"] != size:
        raise ApiError(400, f"The LFS object {oid} of {path!r} has {size} bytes, the commit says {value['size']}.")
    return LfsPointer(oid, size)


def apply(repo: Repository, rev: str, commit: ParsedCommit, author: str) -> str:
    """Apply a commit to a branch or pull request; return its id. The ref moves last.

    Raises:
        ApiError: 404 for an unknown ref, or for the deletion of a path that does not exist; 412 if the branch is not
            at `parent`; 422 if a file and a folder would share a path.
    """
    ref = changeable(rev)
    with repo.changing():
        head = repo.git.ref(ref)
        if head is None:
            raise revision_not_found(rev)
        if commit.parent is not None and not head.startswith(commit.parent):
            raise ApiError(412, _STALE)
        oid = build(repo, head, commit, author)
        repo.git.set_ref(ref, oid)
    return oid


def build(repo: Repository, base: str, commit: ParsedCommit, author: str) -> str:
    """Store a commit whose parent is `base`; no ref points to it.

    Raises:
        ApiError: 404 for the deletion of a path that does not exist; 422 if a file and a folder would share a path; 400
            for a folder with more entries than the Hub takes.
    """
    edit = TreeEdit(repo.git, repo.git.commit(base).root)
    with repo.git.gather():
        try:
            for change in commit.changes:
                change.apply(edit)
            _cover_by_rules(repo.git, edit, commit.lfs_paths)
            tree = edit.write()
        except PathConflictError as error:
            raise ApiError(422, f"A file and a folder cannot both be called {str(error)!r}") from None
        except FolderFullError as error:
            raise full_folders([str(error)], repo.git.folder_limit) from None
        return repo.git.add_commit(tree, [base], author, commit.message)


def _cover_by_rules(git: GitStore, edit: TreeEdit, paths: list[str]) -> None:
    """Add a `.gitattributes` line for each LFS file that no rule covers, as the Hub does."""
    if not paths:
        return
    blob = edit.blob(".gitattributes")
    text = git.blob(blob).decode("utf-8", "replace") if blob is not None else ""
    attributes = GitAttributes(text)
    budget = MatchBudget()
    missing = [lfs_rule(path) for path in paths if edit.blob(path) is not None and not attributes.is_lfs(path, budget)]
    if missing:
        start = text if text.endswith("\n") or not text else text + "\n"
        edit.set(".gitattributes", git.add_blob((start + "\n".join(dict.fromkeys(missing)) + "\n").encode()))
