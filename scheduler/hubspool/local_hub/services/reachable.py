"""Finds the large content of a repository: what its Xet tokens may read, and what may be copied from it."""

from __future__ import annotations

from hubspool.local_hub.identifiers import BRANCHES, PULLS, TAGS
from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.services.repositories import Repository
from hubspool.local_hub.storage.git_store import TreeEntry
from hubspool.local_hub.storage.lru import LruCache


class ReachableContent:
    """Finds the SHA-256 of all large files of a commit, and caches the results for each folder.

    Thread-safety: every method may be called from any thread.
    """

    def __init__(self) -> None:
        self._folders: LruCache[str, frozenset[str]] = LruCache(LIMITS.cached_folders)
        self._uploads: LruCache[tuple[str, str], bool] = LruCache(LIMITS.cached_folders)

    def of_commit(self, repo: Repository, commit: str) -> frozenset[str]:
        """Return the SHA-256 of the large files in a commit."""
        return self._of_folder(repo, repo.git.commit(commit).root)

    def of_repository(self, repo: Repository) -> frozenset[str]:
        """Return the SHA-256 of the large files in the newest commits of all refs."""
        heads = {head for prefix in (BRANCHES, TAGS, PULLS) for head in repo.git.refs(prefix).values()}
        return frozenset().union(*(self.of_commit(repo, head) for head in heads))

    def _of_folder(self, repo: Repository, oid: str) -> frozenset[str]:
        if (cached := self._folders.get(oid)) is not None:
            return cached
        found: set[str] = set()
        for entry in repo.git.walk(TreeEntry("", oid, is_folder=True), recursive=False):
            if entry.is_folder:
                found |= self._of_folder(repo, entry.oid)
            elif (pointer := repo.describe_blob(entry.oid)[1]) is not None:
                found.add(pointer.sha256)
        self._folders.put(oid, frozenset(found))
        return frozenset(found)

    def add_upload(self, repo: str, file: str) -> None:
        """Allow reads of a Xet file before its commit: it was uploaded with a token of this repository."""
        self._uploads.put((repo, file), True)

    def was_uploaded(self, repo: str, file: str) -> bool:
        """Whether `add_upload` was called for this repository and file."""
        return self._uploads.get((repo, file)) is not None
