"""Which large content a repository holds: what a Xet token of it may read, and what may be duplicated from it."""

from __future__ import annotations

import threading
from collections import OrderedDict

from hubspool.local_hub.services.content import Pointer
from hubspool.local_hub.services.repositories import Repository
from hubspool.local_hub.storage.git_store import BRANCHES, PULLS, TAGS, Entry

_KEPT = 512  # folders, or uploads


class Reachable:
    """Finds the sha256 of all large files of a tree, remembering the folders it has seen.

    Thread-safety: every method may be called from any thread.
    """

    def __init__(self) -> None:
        self._folders: OrderedDict[str, frozenset[str]] = OrderedDict()
        self._uploads: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._lock = threading.Lock()

    def of_commit(self, repo: Repository, commit: str) -> frozenset[str]:
        """What the tree of a commit holds."""
        return self._of_folder(repo, repo.git.commit(commit).root)

    def of_repository(self, repo: Repository) -> frozenset[str]:
        """What the newest commits of all refs hold."""
        heads = {head for prefix in (BRANCHES, TAGS, PULLS) for head in repo.git.refs(prefix).values()}
        return frozenset().union(*(self.of_commit(repo, head) for head in heads))

    def _of_folder(self, repo: Repository, oid: str) -> frozenset[str]:
        with self._lock:
            if (known := self._folders.get(oid)) is not None:
                self._folders.move_to_end(oid)
                return known
        found: set[str] = set()
        for entry in repo.git.walk(Entry("", oid, is_folder=True), recursive=False):
            if entry.is_folder:
                found |= self._of_folder(repo, entry.oid)
            elif (pointer := Pointer.parse(repo.git.blob(entry.oid))) is not None:
                found.add(pointer.sha256)
        with self._lock:
            self._folders[oid] = frozenset(found)
            while len(self._folders) > _KEPT:
                self._folders.popitem(last=False)
            return frozenset(found)

    def add_upload(self, repo: str, file: str) -> None:
        """Remember that a Xet file came with a token of this repository: it may be read before its commit."""
        with self._lock:
            self._uploads[repo, file] = None
            while len(self._uploads) > _KEPT:
                self._uploads.popitem(last=False)

    def was_uploaded(self, repo: str, file: str) -> bool:
        with self._lock:
            return (repo, file) in self._uploads
