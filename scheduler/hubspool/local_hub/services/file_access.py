"""Reads a repository at a commit: folders, files, and the commit that last changed each of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from hubspool.local_hub.services.api_errors import entry_not_found
from hubspool.local_hub.services.content import ContentStore, LfsPointer
from hubspool.local_hub.services.repositories import Repository, iso
from hubspool.local_hub.storage.git_store import GitStore, TreeEntry


@dataclass(frozen=True)
class RepositoryFile:
    """A file at a commit.

    Attributes:
        oid: id of its blob.
        size: bytes of its content.
        pointer: set if git holds only a pointer to the content.
        size_in_git: bytes of what git holds: the content or the pointer.
        git: where that is.
    """

    path: str
    oid: str
    size: int
    pointer: LfsPointer | None
    size_in_git: int
    git: GitStore

    @property
    def blob(self) -> bytes:
        """What git holds."""
        return self.git.blob(self.oid)


@dataclass(frozen=True)
class StoredFile:
    """A file whose content is in Xet's store, under its hash; `size` in bytes."""

    path: str
    size: int
    xet_hash: str


def open_file(repo: Repository, commit: str, path: str) -> RepositoryFile:
    """Return the file at `path`.

    Raises:
        ApiError: 404 EntryNotFound, with the commit, so that clients can cache the answer.
    """
    entry = repo.git.entry(repo.git.commit(commit).root, path)
    if entry is None or entry.is_folder:
        raise entry_not_found(commit)
    return load_file(repo, entry)


def load_file(repo: Repository, entry: TreeEntry) -> RepositoryFile:
    """Return the file of an entry."""
    size_in_git, pointer = repo.describe_blob(entry.oid)
    return RepositoryFile(
        entry.path, entry.oid, pointer.size if pointer else size_in_git, pointer, size_in_git, repo.git
    )


def read(file: RepositoryFile | StoredFile, contents: ContentStore, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes [start, end) of a file, from git or from the store of large content."""
    if isinstance(file, StoredFile):
        return contents.xet.read(file.xet_hash, start, min(end, file.size))
    if file.pointer is None:
        return read_blob(file, start, end)
    return contents.read(file.pointer.sha256, start, min(end, file.size))


def read_blob(file: RepositoryFile, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes [start, end) of what git holds."""
    return iter((file.blob[start:end],))


def describe(repo: Repository, entry: TreeEntry, contents: ContentStore) -> dict[str, object]:
    """Return an entry in the form of the answers to tree and paths-info requests."""
    if entry.is_folder:
        return {"type": "directory", "path": entry.path, "size": 0, "oid": entry.oid}
    file = load_file(repo, entry)
    described: dict[str, object] = {"type": "file", "path": file.path, "size": file.size, "oid": file.oid}
    if (pointer := file.pointer) is not None:
        described["lfs"] = {"oid": pointer.sha256, "size": pointer.size, "pointerSize": file.size_in_git}
        if (xet_hash := contents.xet_hash(pointer.sha256)) is not None:
            described["xetHash"] = xet_hash
    return described


@dataclass(frozen=True)
class FolderPage:
    """A part of a folder's entries; `cursor` asks for the next part, None at the end."""

    entries: list[dict[str, object]]
    cursor: str | None


def list_folder(
    repo: Repository,
    commit: str,
    path: str,
    contents: ContentStore,
    *,
    limit: int,
    recursive: bool = False,
    expand: bool = False,
    cursor: str | None = None,
) -> FolderPage:
    """Return one page of a folder's entries.

    Raises:
        ApiError: 404 EntryNotFound if `path` is not a folder.
    """
    folder = repo.git.entry(repo.git.commit(commit).root, path)
    if folder is None or not folder.is_folder:
        raise entry_not_found(commit)
    walk = repo.git.walk(folder, recursive=recursive, after=cursor or "")
    found = list(islice(walk, limit + 1))
    entries = [describe(repo, entry, contents) for entry in found[:limit]]
    if expand:
        add_last_commits(repo, commit, entries)
    following = found[limit - 1].cursor[len(path) + 1 if path else 0 :] if len(found) > limit else None
    return FolderPage(entries, following)


def describe_paths(
    repo: Repository, commit: str, paths: Iterable[str], contents: ContentStore, *, expand: bool
) -> list[dict[str, object]]:
    """Return the entries at these paths, without paths that do not exist."""
    root = repo.git.commit(commit).root
    found = (repo.git.entry(root, path.strip("/")) for path in dict.fromkeys(paths))
    entries = [describe(repo, entry, contents) for entry in found if entry is not None and entry.path]
    if expand:
        add_last_commits(repo, commit, entries)
    return entries


def add_last_commits(repo: Repository, commit: str, entries: list[dict[str, object]]) -> None:
    """Add to each entry the newest commit that changed it."""
    left = {str(entry["path"]): entry for entry in entries}
    for record in repo.git.history(commit):
        parent_root = repo.git.commit(record.parents[0]).root if record.parents else None
        for path in list(left):
            before = repo.git.entry(parent_root, path) if parent_root is not None else None
            if before is None or before.oid != left[path]["oid"]:
                entry = left.pop(path)
                entry["lastCommit"] = {"id": record.oid, "title": record.title, "date": iso(record.date)}
        if not left:
            return
