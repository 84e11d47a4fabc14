"""What stands in a repository at a revision: folders, files, and the commit that last changed each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from hubspool.local_hub.services.api_errors import HubError, entry_not_found
from hubspool.local_hub.services.content import Contents, Pointer
from hubspool.local_hub.services.repositories import Repository, iso
from hubspool.local_hub.storage.git_store import CommitRecord, Entry

PAGE, EXPANDED_PAGE = 1000, 50  # entries of one answer


@dataclass(frozen=True)
class File:
    """A file at a revision; `size` is that of its content, `pointer` is set when git holds only a pointer to it."""

    path: str
    oid: str
    size: int
    pointer: Pointer | None
    blob: bytes


def open_file(repo: Repository, commit: str, path: str) -> File:
    """The file at `path`.

    Raises:
        HubError: 404 EntryNotFound, with the commit, so that clients remember the absence.
    """
    entry = repo.git.entry(repo.git.commit(commit).root, path)
    if entry is None or entry.is_folder:
        raise entry_not_found(commit)
    blob = repo.git.blob(entry.oid)
    pointer = Pointer.parse(blob)
    return File(path, entry.oid, pointer.size if pointer else len(blob), pointer, blob)


def describe(repo: Repository, entry: Entry, contents: Contents | None = None) -> dict[str, object]:
    """An entry as tree and paths-info answer it."""
    if entry.is_folder:
        return {"type": "directory", "path": entry.path, "size": 0, "oid": entry.oid}
    blob = repo.git.blob(entry.oid)
    described: dict[str, object] = {"type": "file", "path": entry.path, "size": len(blob), "oid": entry.oid}
    if (pointer := Pointer.parse(blob)) is not None:
        described["size"] = pointer.size
        described["lfs"] = {"oid": pointer.sha256, "size": pointer.size, "pointerSize": len(blob)}
        if contents is not None and (xet_hash := contents.xet_hash(pointer.sha256)) is not None:
            described["xetHash"] = xet_hash
    return described


@dataclass(frozen=True)
class Page:
    """Part of a listing; `cursor` asks for the next part, None at the end."""

    entries: list[dict[str, object]]
    cursor: str | None


def list_folder(
    repo: Repository,
    commit: str,
    path: str,
    contents: Contents | None,
    *,
    recursive: bool,
    expand: bool,
    limit: int,
    cursor: str | None,
) -> Page:
    """One page of a folder's entries.

    Raises:
        HubError: 404 EntryNotFound when no folder is at `path`, 400 for a cursor that was not ours.
    """
    folder = repo.git.entry(repo.git.commit(commit).root, path)
    if folder is None or not folder.is_folder:
        raise entry_not_found(commit)
    if cursor is not None and not cursor.isdecimal():
        raise HubError(400, f"Invalid cursor {cursor!r}")
    start = int(cursor or 0)
    found = list(islice(repo.git.walk(folder, recursive=recursive), start, start + limit + 1))
    entries = [describe(repo, entry, contents) for entry in found[:limit]]
    if expand:
        add_last_commits(repo, commit, entries)
    return Page(entries, str(start + limit) if len(found) > limit else None)


def describe_paths(
    repo: Repository, commit: str, paths: Iterable[str], contents: Contents | None, *, expand: bool
) -> list[dict[str, object]]:
    """The entries at these paths; what is not there is left out."""
    root = repo.git.commit(commit).root
    found = (repo.git.entry(root, path.strip("/")) for path in dict.fromkeys(paths))
    entries = [describe(repo, entry, contents) for entry in found if entry is not None and entry.path]
    if expand:
        add_last_commits(repo, commit, entries)
    return entries


def add_last_commits(repo: Repository, commit: str, entries: list[dict[str, object]]) -> None:
    """Add to each entry the newest commit that changed it."""
    left = {str(entry["path"]): entry for entry in entries}
    for record, parent in _with_parents(repo, commit):
        for path in list(left):
            before = repo.git.entry(parent.root, path) if parent is not None else None
            if before is None or before.oid != left[path]["oid"]:
                entry = left.pop(path)
                entry["lastCommit"] = {"id": record.oid, "title": title(record), "date": iso(record.date)}
        if not left:
            return


def _with_parents(repo: Repository, commit: str) -> Iterator[tuple[CommitRecord, CommitRecord | None]]:
    newer: CommitRecord | None = None
    for record in repo.git.history(commit):
        if newer is not None:
            yield newer, record
        newer = record
    if newer is not None:
        yield newer, None


def title(record: CommitRecord) -> str:
    """The first line of a commit message."""
    return record.message.partition("\n")[0]
