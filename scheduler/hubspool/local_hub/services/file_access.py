"""Reads a repository at a commit: folders, files, and the commit that last changed each of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from hubspool.local_hub.services.api_errors import entry_not_found
from hubspool.local_hub.services.content import LfsPointer
from hubspool.local_hub.services.repositories import Repository, iso
from hubspool.local_hub.storage.git_store import TreeEntry
from hubspool.local_hub.storage.xet_store import XetStore


@dataclass(frozen=True)
class RepositoryFile:
    """A file at a commit.

    Attributes:
        oid: id of its blob.
        size: bytes of its content.
        pointer: set if git holds only a pointer to the content.
        size_in_git: bytes of what git holds: the content or the pointer.
    """

    repo: Repository
    path: str
    oid: str
    size: int
    pointer: LfsPointer | None
    size_in_git: int

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes [start, end) of the content, from git or from the store of large content."""
        if self.pointer is None:
            return self.read_blob(start, end)
        return self.repo.contents.read(self.pointer.sha256, start, min(end, self.size))

    def read_blob(self, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes [start, end) of what git holds."""
        return iter((self.repo.git.blob(self.oid)[start:end],))


@dataclass(frozen=True)
class StoredFile:
    """A file whose content is in Xet's store, under its hash; `size` in bytes."""

    path: str
    size: int
    xet_hash: str
    store: XetStore

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes [start, end)."""
        return self.store.read(self.xet_hash, start, min(end, self.size))


def load_file(repo: Repository, entry: TreeEntry) -> RepositoryFile:
    """Return the file of an entry."""
    size_in_git, pointer = repo.describe_blob(entry.oid)
    size = pointer.size if pointer else size_in_git
    return RepositoryFile(repo, entry.path, entry.oid, size, pointer, size_in_git)


def describe(repo: Repository, entry: TreeEntry) -> dict[str, object]:
    """Return an entry in the form of the answers to tree and paths-info requests."""
    if entry.is_folder:
        return {"type": "directory", "path": entry.path, "size": 0, "oid": entry.oid}
    file = load_file(repo, entry)
    described: dict[str, object] = {"type": "file", "path": file.path, "size": file.size, "oid": file.oid}
    if (pointer := file.pointer) is not None:
        described["lfs"] = {"oid": pointer.sha256, "size": pointer.size, "pointerSize": file.size_in_git}
        if (xet_hash := repo.contents.xet_hash(pointer.sha256)) is not None:
            described["xetHash"] = xet_hash
    return described


@dataclass(frozen=True)
class FolderPage:
    """A part of a folder's entries; `cursor` asks for the next part, None at the end."""

    entries: list[dict[str, object]]
    cursor: str | None


@dataclass(frozen=True)
class CommitFiles:
    """The files of a repository at a commit."""

    repo: Repository
    commit: str

    @cached_property
    def _root(self) -> str:
        return self.repo.git.commit(self.commit).root

    def entry(self, path: str) -> TreeEntry | None:
        """Return the file or folder at `path`, or None."""
        return self.repo.git.entry(self._root, path)

    def open(self, path: str) -> RepositoryFile:
        """Return the file at `path`.

        Raises:
            ApiError: 404 EntryNotFound, with the commit, so that clients can cache the answer.
        """
        entry = self.entry(path)
        if entry is None or entry.is_folder:
            raise entry_not_found(self.commit)
        return load_file(self.repo, entry)

    def folder(
        self, path: str, *, limit: int, recursive: bool = False, expand: bool = False, cursor: str = ""
    ) -> FolderPage:
        """Return one page of a folder's entries; with `expand`, with the newest commit that changed each of them.

        Raises:
            ApiError: 404 EntryNotFound if `path` is not a folder.
        """
        folder = self.entry(path)
        if folder is None or not folder.is_folder:
            raise entry_not_found(self.commit)
        found = list(islice(self.repo.git.walk(folder, recursive=recursive, after=cursor), limit + 1))
        entries = self._describe(found[:limit], expand)
        following = found[limit - 1].cursor[len(path) + 1 if path else 0 :] if len(found) > limit else None
        return FolderPage(entries, following)

    def describe(self, paths: Iterable[str], *, expand: bool) -> list[dict[str, object]]:
        """Return the entries at these paths, without paths that do not exist; `expand` as in `folder`."""
        found = (self.entry(path.strip("/")) for path in paths)
        return self._describe((entry for entry in found if entry is not None and entry.path), expand)

    def _describe(self, found: Iterable[TreeEntry], expand: bool) -> list[dict[str, object]]:
        entries = [describe(self.repo, entry) for entry in found]
        if expand:
            add_last_commits(self.repo, self.commit, entries)
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
