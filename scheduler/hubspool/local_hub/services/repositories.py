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

from hubspool.local_hub.services.api_errors import (
    HubError,
    RepoMovedError,
    login_needed,
    repo_not_found,
    revision_not_found,
)
from hubspool.local_hub.services.attributes import default_attributes
from hubspool.local_hub.storage.accounts import User
from hubspool.local_hub.storage.durable_files import Disk
from hubspool.local_hub.storage.git_store import BRANCHES, GitStore
from hubspool.local_hub.storage.tree_edit import TreeEdit

RepoType = Literal["model", "dataset", "space"]
REPO_TYPES: tuple[RepoType, ...] = ("model", "dataset", "space")
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_SETTINGS = "hubspool.json"  # beside git's own files, so that one rename makes or removes all of a repository
_MOVED = ".moved"  # ends the name of a file that says what a repository is called now
_MAIN = f"{BRANCHES}main"
Right = Literal["read", "contribute", "write"]
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
    """What a repository is, besides its git content. `created_at` as the Hub writes it.

    `gated` is told, not enforced.
    """

    id: str
    private: bool
    created_at: str
    sdk: str | None = None
    gated: str | bool = False


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

    def at(self, url_path: str) -> Repository:
        """The repository at `namespace/name`, `datasets/namespace/name` or `spaces/namespace/name`, for everybody.

        Raises:
            HubError: 404.
        """
        prefix, _, repo_id = url_path.partition("/")
        kind = next((kind for kind in REPO_TYPES if f"{kind}s" == prefix), None)
        repo = self._load(kind, repo_id) if kind is not None else self._load("model", url_path)
        if repo is None:
            raise repo_not_found()
        return repo

    def find(self, user: User | None, repo_type: RepoType, repo_id: str, right: Right = "read") -> Repository:
        """The repository, if `user` has this right; who may read it and write somewhere may open pull requests.

        Raises:
            HubError: 401 or 404 when it is not there for this user, 403 without the right, 307 when it has another
                name now.
        """
        repo = self._load(repo_type, repo_id)
        new_id = self._new_id(repo_type, repo_id) if repo is None else None
        if new_id is not None:
            repo = self._load(repo_type, new_id)
        if repo is None or not may_read(user, repo):
            raise repo_not_found() if user is not None else login_needed("RepoNotFound")
        if new_id is not None:
            raise RepoMovedError(new_id)
        if right == "contribute" and user is not None and user.role == "write":
            return repo
        if right != "read":
            check_writer(user, repo.url_path)
        return repo

    def _new_id(self, repo_type: RepoType, repo_id: str) -> str | None:
        """What a repository that was moved is called now, however often it was."""
        seen: set[str] = set()
        while repo_id.count("/") == 1 and all(_NAME.fullmatch(part) for part in repo_id.split("/")):
            moved = self._path(repo_type, repo_id).with_suffix(_MOVED)
            if repo_id in seen or not moved.is_file():
                break
            seen.add(repo_id)
            repo_id = moved.read_text(encoding="utf-8")
        return repo_id if seen else None

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
        _check_name(name)
        check_owner(user, namespace)
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
            path.with_suffix(_MOVED).unlink(missing_ok=True)
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

    def move(self, user: User | None, repo: Repository, new_id: str) -> None:
        """Give a repository another name; the old one leads to it until it is used again.

        Raises:
            HubError: 400 for a bad name, 403 without the right to both namespaces, 409 when the name is taken.
        """
        namespace, _, name = new_id.partition("/")
        _check_name(name)
        for owner in (repo.namespace, namespace):
            check_owner(user, owner)
        path = self._path(repo.type, new_id)
        with repo.changing(), self._lock:
            if (path / _SETTINGS).is_file():
                raise HubError(409, f"The name {new_id!r} is taken")
            if not repo.path.exists():
                raise repo_not_found()
            if path.exists():
                self._disk.discard(path)
            self._disk.write(repo.path.with_suffix(_MOVED), new_id.encode())  # means nothing before the rename
            repo.git.close()
            self._open.pop(repo.path, None)
            self._disk.adopt(repo.path, path)
            path.with_suffix(_MOVED).unlink(missing_ok=True)

    def close(self) -> None:
        """Close every repository."""
        with self._lock:
            for repo in self._open.values():
                repo.git.close()
            self._open.clear()


def may_read(user: User | None, repo: Repository) -> bool:
    """Public repositories are for everybody, private ones for their owner."""
    return not repo.settings.private or (user is not None and user.may_read(repo.url_path))


def check_writer(user: User | None, repo: str) -> None:
    """Only the owner of a namespace, with a token that may write, or a token for this repository changes it.

    Raises:
        HubError: 401 without a token, 403 otherwise.
    """
    if user is None:
        raise login_needed()
    if not user.may_write(repo):
        raise _no_right(user, repo)


def check_owner(user: User | None, namespace: str) -> None:
    """Only a token for everything in a namespace makes, moves and removes repositories there.

    Raises:
        HubError: 401 without a token, 403 otherwise.
    """
    if user is None:
        raise login_needed()
    if user.role != "write" or namespace not in user.namespaces:
        raise _no_right(user, namespace)


def _no_right(user: User, what: str) -> HubError:
    return HubError(
        403, f"You don't have the rights to write to {what!r}: you are {user.name!r} with the role {user.role!r}."
    )


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or any(bad in name for bad in ("--", "..")) or name.endswith((".git", ".ipynb")):
        raise HubError(400, f"Invalid repository name {name!r}: use letters, digits, '-', '_' and '.', at most 96.")


def _first_commit(git: GitStore, repo_type: RepoType, name: str, author: str, sdk: str | None) -> None:
    edit = TreeEdit(git, None)
    edit.set(".gitattributes", git.add_blob(default_attributes(repo_type).encode()))
    if sdk is not None:
        card = f"---\ntitle: {name}\nsdk: {sdk}\n---\n"
        edit.set("README.md", git.add_blob(card.encode()))
    git.set_ref(_MAIN, git.add_commit(edit.write(), [], author, "initial commit"))
