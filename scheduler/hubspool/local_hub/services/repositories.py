"""Repositories: what they are called, who may see and change them."""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from hubspool.local_hub.services.attributes import default_attributes
from hubspool.local_hub.services.errors import HubError, login_needed, repo_not_found, revision_not_found
from hubspool.local_hub.storage.accounts import User
from hubspool.local_hub.storage.disk import Disk
from hubspool.local_hub.storage.git_store import BRANCHES, GitStore
from hubspool.local_hub.storage.tree_edit import TreeEdit

RepoType = Literal["model", "dataset", "space"]
REPO_TYPES: tuple[RepoType, ...] = ("model", "dataset", "space")
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_SETTINGS = "hubspool.json"  # beside git's own files, so that one rename makes or removes all of a repository
_MAIN = f"{BRANCHES}main"
LOCK_SECONDS = 30  # how long a commit waits for the one before it


def url_prefix(repo_type: RepoType) -> str:
    """What stands before `namespace/name` in addresses that people see."""
    return "" if repo_type == "model" else f"{repo_type}s/"


def iso(seconds: float) -> str:
    """A time as the Hub writes it, in milliseconds and with a Z."""
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


@dataclass(frozen=True)
class Settings:
    """What a repository is, besides its git content. `created_at` as the Hub writes it."""

    id: str
    private: bool
    created_at: str
    sdk: str | None = None


class Repository:
    """One repository that the caller was allowed to see.

    Attributes:
        id: `namespace/name`.
        git: Its content.
    """

    def __init__(self, disk: Disk, path: Path, repo_type: RepoType, repo_id: str) -> None:
        self.type: RepoType = repo_type
        self.id = repo_id
        self.path = path
        self._disk = disk
        self.settings = Settings(**json.loads((path / _SETTINGS).read_text(encoding="utf-8")))
        self.git = GitStore(disk, path)
        self._lock = threading.Lock()

    @property
    def namespace(self) -> str:
        return self.id.partition("/")[0]

    @property
    def url_path(self) -> str:
        return f"{url_prefix(self.type)}{self.id}"

    def change_settings(self, settings: Settings) -> None:
        self._disk.write(self.path / _SETTINGS, json.dumps(asdict(settings)).encode())
        self.settings = settings

    def revision(self, rev: str, *, commits_back: int = 0) -> str:
        """The commit that `rev` stands for, or an earlier one (for stale answers).

        Raises:
            HubError: 404 RevisionNotFound.
        """
        oid = self.git.find_commit(rev)
        if oid is None:
            raise revision_not_found(rev)
        for _, record in zip(range(commits_back + 1), self.git.history(oid), strict=False):
            oid = record.oid
        return oid

    @contextmanager
    def changing(self) -> Iterator[None]:
        """One commit or ref change at a time.

        Raises:
            HubError: 409 when another one does not end.
        """
        if not self._lock.acquire(timeout=LOCK_SECONDS):
            raise HubError(409, "Another commit is in progress on this repository. Please try again.")
        try:
            yield
        finally:
            self._lock.release()


class Repositories:
    """All repositories of one root.

    Thread-safety: every method may be called from any thread.
    """

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._open: dict[Path, Repository] = {}
        self._lock = threading.Lock()

    def _path(self, repo_type: RepoType, repo_id: str) -> Path:
        return self._disk.root / "repos" / f"{repo_type}s" / f"{repo_id}.git"

    def _load(self, repo_type: RepoType, repo_id: str) -> Repository | None:
        parts = repo_id.split("/")
        if len(parts) != 2 or not all(_NAME.fullmatch(part) for part in parts):
            return None
        path = self._path(repo_type, repo_id)
        with self._lock:
            if path not in self._open:
                if not (path / _SETTINGS).is_file():
                    return None
                self._open[path] = Repository(self._disk, path, repo_type, repo_id)
            return self._open[path]

    def find(self, user: User | None, repo_type: RepoType, repo_id: str, *, write: bool = False) -> Repository:
        """The repository, if `user` may read (or write) it.

        Raises:
            HubError: 401 or 404 when it is not there for this user, 403 when it may not be written.
        """
        repo = self._load(repo_type, repo_id)
        if repo is None or not may_read(user, repo):
            raise repo_not_found() if user is not None else login_needed("RepoNotFound")
        if write:
            check_writer(user, repo.namespace)
        return repo

    def visible(self, user: User | None, repo_type: RepoType) -> list[Repository]:
        """Every repository of a type that `user` may read."""
        base = self._disk.root / "repos" / f"{repo_type}s"
        found = []
        for path in sorted(base.glob("*/*.git")):
            repo = self._load(repo_type, f"{path.parent.name}/{path.name.removesuffix('.git')}")
            if repo is not None and may_read(user, repo):
                found.append(repo)
        return found

    def create(
        self, user: User | None, repo_type: RepoType, repo_id: str, *, private: bool, sdk: str | None
    ) -> Repository:
        """Make a repository with its first commit; it appears whole.

        Raises:
            HubError: 400 for a bad name, 401 or 403 without the right, 409 when it exists.
        """
        namespace, _, name = repo_id.partition("/")
        if not _NAME.fullmatch(name) or any(bad in name for bad in ("--", "..")) or name.endswith((".git", ".ipynb")):
            raise HubError(400, f"Invalid repository name {name!r}: use letters, digits, '-', '_' and '.', at most 96.")
        check_writer(user, namespace)
        if repo_type == "space" and sdk not in ("gradio", "docker", "static", "streamlit"):
            raise HubError(400, f"A Space needs an sdk: gradio, docker, static or streamlit, not {sdk!r}.")
        path = self._path(repo_type, repo_id)
        with self._lock:
            if (path / _SETTINGS).is_file():
                raise HubError(409, f"You already created this {repo_type} repo")
            temporary = self._disk.temporary_path()
            GitStore.init(temporary)
            settings = Settings(secrets.token_hex(12), private, iso(datetime.now(timezone.utc).timestamp()), sdk)
            (temporary / _SETTINGS).write_text(json.dumps(asdict(settings)), encoding="utf-8")
            git = GitStore(self._disk, temporary)
            _first_commit(git, repo_type, name, namespace, sdk)
            git.close()
            if path.exists():  # a commit to the deleted repository of this name still stored an object
                self._disk.discard(path)
            self._disk.adopt(temporary, path)
            self._open.pop(path, None)
        repo = self._load(repo_type, repo_id)
        if repo is None:  # deleted by somebody else just now
            raise repo_not_found()
        return repo

    def delete(self, repo: Repository) -> None:
        """Remove a repository: it is gone for everybody at once."""
        with repo.changing(), self._lock:
            self._open.pop(repo.path, None)
            repo.git.close()
            if repo.path.exists():
                self._disk.discard(repo.path)

    def close(self) -> None:
        """Close every repository."""
        with self._lock:
            for repo in self._open.values():
                repo.git.close()
            self._open.clear()


def may_read(user: User | None, repo: Repository) -> bool:
    """Public repositories are for everybody, private ones for their owner."""
    return not repo.settings.private or (user is not None and user.name == repo.namespace and user.role != "none")


def check_writer(user: User | None, namespace: str) -> None:
    """Only the owner of a namespace changes what is in it, and only with a token that may write.

    Raises:
        HubError: 401 without a token, 403 otherwise.
    """
    if user is None:
        raise login_needed()
    if user.role != "write":
        raise HubError(403, f"You don't have the rights to write to {namespace!r}: this token's role is {user.role!r}.")
    if user.name != namespace:
        raise HubError(403, f"You don't have the rights to write to {namespace!r}: you are {user.name!r}.")


def _first_commit(git: GitStore, repo_type: RepoType, name: str, author: str, sdk: str | None) -> None:
    edit = TreeEdit(git, None)
    edit.set(".gitattributes", git.add_blob(default_attributes(repo_type).encode()))
    if sdk is not None:
        card = f"---\ntitle: {name}\nsdk: {sdk}\n---\n"
        edit.set("README.md", git.add_blob(card.encode()))
    git.set_ref(_MAIN, git.add_commit(edit.write(), [], author, "initial commit"))
