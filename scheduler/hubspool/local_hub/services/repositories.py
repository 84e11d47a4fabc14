"""Creates, finds, renames and removes repositories, and checks who may read and change them."""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Generic, Literal, TypeVar

from hubspool.local_hub.identifiers import (
    EMPTY_FILE,
    MAIN,
    AnyType,
    is_content_hash,
    is_repo_id,
    is_repo_name,
    plural,
    split_url_path,
    url_path,
)
from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.services.api_errors import (
    ApiError,
    RepositoryRenamedError,
    login_needed,
    repo_not_found,
    revision_not_found,
)
from hubspool.local_hub.services.attributes import default_attributes
from hubspool.local_hub.services.content import ContentStore, LfsPointer
from hubspool.local_hub.storage.accounts import User
from hubspool.local_hub.storage.durable_files import DurableFiles
from hubspool.local_hub.storage.git_store import GitStore
from hubspool.local_hub.storage.lru import LruCache
from hubspool.local_hub.storage.tree_edit import TreeEdit

_SETTINGS = "hubspool.json"  # beside git's files, so that one rename creates or removes a whole repository
_HELD = "hubspool-content.txt"
_RENAMED = ".moved"  # suffix of a file that holds the new name of a renamed repository
_log = logging.getLogger("hubspool.local_hub")
T = TypeVar("T")
R = TypeVar("R", bound="BaseRepository")
K = TypeVar("K", bound="BaseRepository | Path")
Right = Literal["read", "contribute", "write"]


def iso(seconds: float) -> str:
    """Return a Unix time as the Hub writes it: ISO 8601 in UTC, with milliseconds and a Z."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class RepositorySettings:
    """The metadata of a repository, beside its git content.

    Attributes:
        id: the repository's own id, which a new name does not change.
        created_at: in the format of `iso`.
        gated: clients read it; this Hub does not enforce it.
    """

    id: str
    private: bool
    created_at: str
    sdk: str | None = None
    gated: str | bool = False


class HeldContent:
    """The SHA-256 and the Xet hashes of the large content that one repository holds, in a file of its folder.

    All repositories share one store of content. Only content in this list may be committed to the repository, and read
    through it; a pointer in git alone gives no right to the content that it names. The list keeps what later commits
    remove, because the history still names it.

    Thread-safety: every method may be called from any thread.
    """

    def __init__(self, files: DurableFiles, path: Path, named: Callable[[], set[str]]) -> None:
        self._files = files
        self._path = path
        self._named = named  # what the repository names: the list of one that is older than such lists
        self._lock = threading.Lock()
        self._known: set[str] | None = None

    def __contains__(self, sha256: str) -> bool:
        with self._lock:
            return sha256 in self._load()

    def add(self, found: Iterable[str]) -> None:
        """Remember content, which must be stored already; it is on the disk when this method returns."""
        with self._lock:
            known = self._load()
            if new := sorted({*found} - known):
                # a newline first: a line that a killed process left unfinished spoils itself only
                self._files.append(self._path, "".join(f"\n{sha256}" for sha256 in new).encode())
                known.update(new)

    def remove(self, gone: Iterable[str]) -> None:
        """Forget content: nobody can read it through this repository any more."""
        with self._lock:
            known = self._load()
            known.difference_update(gone)
            self._files.write(self._path, "\n".join(sorted(known)).encode())

    def _load(self) -> set[str]:
        if self._known is None:
            try:
                self._known = {*filter(is_content_hash, self._path.read_text(encoding="ascii").split())}
            except FileNotFoundError:
                self._known = self._named()
                self._files.write(self._path, "\n".join(sorted(self._known)).encode())
        return self._known


class BaseRepository:
    """What repositories and buckets have in common.

    Attributes:
        id: `namespace/name`.
        path: its folder.
        contents: the large content of all repositories.
        held: the large content that it holds.
    """

    def __init__(self, files: DurableFiles, contents: ContentStore, path: Path) -> None:
        self.type, self.id = split_url_path("/".join(path.with_suffix("").parts[-3:]))
        self.path = path
        self.files, self.contents = files, contents
        self.settings = RepositorySettings(**json.loads((path / _SETTINGS).read_text(encoding="utf-8")))
        self.held = HeldContent(files, path / _HELD, self._named)
        self._lock = threading.Lock()

    def _named(self) -> set[str]:
        """Return the large content that it names."""
        raise NotImplementedError

    def close(self) -> None:
        """Close its files."""

    @property
    def namespace(self) -> str:
        return self.id.partition("/")[0]

    @property
    def url_path(self) -> str:
        """Its path in the addresses of pages."""
        return url_path(self.type, self.id)

    def size_of(self, sha256: str) -> int | None:
        """Return the size of content in bytes; None if this repository does not hold it."""
        return self.contents.size(sha256) if sha256 in self.held else None

    def size_of_xet(self, file: str) -> int | None:
        """As `size_of`, by the Xet hash."""
        sha256 = self.contents.xet.sha256_of_file(file)
        is_held = file == EMPTY_FILE or file in self.held or (sha256 is not None and sha256 in self.held)
        return self.contents.xet.file_size(file) if is_held else None

    def change_settings(self, settings: RepositorySettings) -> None:
        """Replace the metadata, on the disk first."""
        self.files.write(self.path / _SETTINGS, json.dumps(asdict(settings)).encode())
        self.settings = settings

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the repository's lock: one commit or change of a ref at a time.

        Raises:
            ApiError: 409 if another change does not end within `HubLimits.lock_seconds`.
        """
        if not self._lock.acquire(timeout=LIMITS.lock_seconds):
            raise ApiError(409, "Another commit is in progress on this repository. Please try again.")
        try:
            yield
        finally:
            self._lock.release()


class Repository(BaseRepository):
    """One git repository.

    Attributes:
        git: its content.
    """

    def __init__(self, files: DurableFiles, contents: ContentStore, path: Path, *, folder_limit: int | None) -> None:
        super().__init__(files, contents, path)
        self.git = GitStore(files, path, folder_limit)
        self._blobs: LruCache[str, tuple[int, LfsPointer | None]] = LruCache(LIMITS.cached_sizes)

    def _named(self) -> set[str]:
        """Return what all stored pointers name, also those of old commits."""
        pointers = (LfsPointer.parse(self.git.blob(oid.decode())) for oid in self.git.repo.object_store)
        return {pointer.sha256 for pointer in pointers if pointer is not None}

    def close(self) -> None:
        self.git.close()

    def describe_blob(self, oid: str) -> tuple[int, LfsPointer | None]:
        """Return the bytes of a blob, and the pointer in it, from memory if it was asked for before.

        The pointer is None for another file, and for a pointer to content that is not held here.
        """
        known = self._blobs.get(oid)
        if known is None:
            blob = self.git.blob(oid)
            known = len(blob), LfsPointer.parse(blob)
            self._blobs.put(oid, known)
        size, pointer = known
        return size, pointer if pointer is not None and pointer.sha256 in self.held else None

    def revision(self, rev: str, *, commits_back: int = 0) -> str:
        """Return the commit of a revision, or the one `commits_back` before it (for stale answers).

        Raises:
            ApiError: 404 RevisionNotFound.
        """
        oid = self.git.find_commit(rev)
        if oid is None:
            raise revision_not_found(rev)
        for _, record in zip(range(commits_back + 1), self.git.history(oid), strict=False):
            oid = record.oid
        return oid


class BaseRepositories(Generic[R]):
    """All repositories, or all buckets, of one root.

    Args:
        files: of the root.
        open_at: returns the repository in a folder.

    Thread-safety: every method may be called from any thread.
    """

    def __init__(self, files: DurableFiles, open_at: Callable[[Path], R]) -> None:
        self._files = files
        self._open_at = open_at
        self._open: dict[Path, R] = {}
        self._damaged: set[Path] = set()  # those that the log has named
        self._lock = threading.Lock()

    def _fill(self, path: Path, repo_type: AnyType, repo_id: str, sdk: str | None) -> None:
        """Write the first content of a repository; its folder does not exist."""
        raise NotImplementedError

    def _path(self, repo_type: AnyType, repo_id: str, suffix: str = ".git") -> Path:
        """Return the path of a repository, which may exist under a name that differs in case, or has yet to exist."""
        path = self._files.root / "repos" / plural(repo_type)
        for name in f"{repo_id}{suffix}".split("/"):
            is_new = path.is_dir() and not (path / name).exists()
            same = (found.name for found in path.iterdir() if found.name.lower() == name.lower()) if is_new else ()
            path /= next(iter(same), name)
        return path

    def _load(self, repo_type: AnyType, repo_id: str) -> R | None:
        return self._load_from(self._path(repo_type, repo_id)) if is_repo_id(repo_id) else None

    def _load_from(self, path: Path) -> R | None:
        with self._lock:
            if path not in self._open and (path / _SETTINGS).is_file():
                self._open[path] = self._open_at(path)
            return self._open.get(path)

    def at(self, path: str) -> R:
        """Return a repository by its `url_path`, without a check of rights.

        Raises:
            ApiError: 404.
        """
        repo = self._load(*split_url_path(path))
        if repo is None:
            raise repo_not_found()
        return repo

    def find(self, user: User | None, repo_type: AnyType, repo_id: str, right: Right = "read") -> R:
        """Return a repository if `user` has this right.

        `contribute` means opening pull requests: every token with the role `write` may do that where it may read.

        Raises:
            ApiError: 401 or 404 if there is no repository that this user may read, 403 without the right, 307 if the
                repository was renamed.
        """
        repo = self._load(repo_type, repo_id)
        new_id = self._new_id(repo_type, repo_id) if repo is None else None
        if new_id is not None:
            repo = self._load(repo_type, new_id)
        if repo is None or not may_read(user, repo):
            raise repo_not_found() if user is not None else login_needed("RepoNotFound")
        if new_id is not None:
            raise RepositoryRenamedError(new_id)
        may_contribute = right == "contribute" and user is not None and user.role == "write"
        if right != "read" and not may_contribute:
            check_writer(user, repo.url_path)
        return repo

    def _new_id(self, repo_type: AnyType, repo_id: str) -> str | None:
        """Return the newest name of a renamed repository, or None; it may have been renamed several times."""
        seen: set[str] = set()
        while is_repo_id(repo_id):
            renamed = self._path(repo_type, repo_id, _RENAMED)
            if repo_id in seen or not renamed.is_file():
                break
            seen.add(repo_id)
            repo_id = renamed.read_text(encoding="utf-8")
        return repo_id if seen else None

    def visible(self, user: User | None, repo_type: AnyType) -> list[R]:
        """Return the repositories of a type that `user` may read."""
        base = self._files.root / "repos" / plural(repo_type)
        found = self.whole(sorted(base.glob("*/*.git")), self._load_from)
        return [repo for repo in found if repo is not None and may_read(user, repo)]

    def whole(self, repos: Iterable[K], read: Callable[[K], T]) -> list[T]:
        """Return what `read` returns for each repository, or its folder, without damaged ones, which the log names."""
        found = []
        for repo in repos:
            try:
                found.append(read(repo))
            except Exception:  # noqa: BLE001 - a damaged repository fails in many ways, and must not fail the others
                path = repo.path if isinstance(repo, BaseRepository) else repo
                if path not in self._damaged:
                    self._damaged.add(path)
                    _log.exception("The repository in %s is damaged: listings leave it out", path)
        return found

    def create(
        self, user: User | None, repo_type: AnyType, repo_id: str, *, private: bool, sdk: str | None = None
    ) -> R:
        """Create a repository with its first content; one rename makes both visible.

        Raises:
            ApiError: 400 for an invalid name, 401 or 403 without the right, 409 if it exists.
        """
        repo_id = _check_new_id(user, repo_id)
        if repo_type == "space" and sdk not in ("gradio", "docker", "static", "streamlit"):
            raise ApiError(400, f"A Space needs an sdk: gradio, docker, static or streamlit, not {sdk!r}.")
        with self._lock:
            path = self._path(repo_type, repo_id)
            if (path / _SETTINGS).is_file():
                raise ApiError(409, f"You already created this {repo_type} repo")
            temporary = self._files.temporary_path()
            self._fill(temporary, repo_type, repo_id, sdk)
            settings = RepositorySettings(secrets.token_hex(12), private, iso(time.time()), sdk)
            (temporary / _SETTINGS).write_text(json.dumps(asdict(settings)), encoding="utf-8")
            (temporary / _HELD).touch()
            if path.exists():  # a late commit to a deleted repository of this name stored an object
                self._files.discard(path)
            self._files.adopt(temporary, path)
            path.with_suffix(_RENAMED).unlink(missing_ok=True)
            self._open.pop(path, None)
        return self.at(url_path(repo_type, repo_id))

    def delete(self, repo: R) -> None:
        """Remove a repository; one rename makes it invisible."""
        with repo.changing(), self._lock:
            self._open.pop(repo.path, None)
            repo.close()
            if repo.path.exists():
                self._files.discard(repo.path)

    def move(self, user: User | None, repo: R, new_id: str) -> None:
        """Rename a repository. Requests for the old name are redirected until a new repository takes that name.

        Raises:
            ApiError: 400 for an invalid name, 403 without the right to both namespaces, 409 if the name is taken.
        """
        check_owner(user, repo.namespace)
        checked_id = _check_new_id(user, new_id)
        with repo.changing(), self._lock:
            path = self._path(repo.type, checked_id)
            if path == repo.path and checked_id.partition("/")[2] != repo.id.partition("/")[2]:
                path = path.with_name(f"{checked_id.partition('/')[2]}.git")  # the new name differs in case only
            elif (path / _SETTINGS).is_file():
                raise ApiError(409, f"A {repo.type} repository called {new_id} already exists")
            if not repo.path.exists():
                raise repo_not_found()
            if path.exists() and not path.samefile(repo.path):  # they are one where the disk ignores the case of names
                self._files.discard(path)
            self._files.write(repo.path.with_suffix(_RENAMED), new_id.encode())  # without effect before the rename
            repo.close()
            self._open.pop(repo.path, None)
            self._files.adopt(repo.path, path)
            path.with_suffix(_RENAMED).unlink(missing_ok=True)

    def close(self) -> None:
        """Close the files of every repository."""
        with self._lock:
            for repo in self._open.values():
                repo.close()
            self._open.clear()


class Repositories(BaseRepositories[Repository]):
    """All git repositories."""

    def _fill(self, path: Path, repo_type: AnyType, repo_id: str, sdk: str | None) -> None:
        namespace, _, name = repo_id.partition("/")
        GitStore.init(path)
        git = GitStore(self._files, path)
        edit = TreeEdit(git, None)
        edit.set(".gitattributes", git.add_blob(default_attributes(repo_type).encode()))
        if sdk is not None:
            card = f"---\ntitle: {name}\nsdk: {sdk}\n---\n"
            edit.set("README.md", git.add_blob(card.encode()))
        git.set_ref(MAIN, git.add_commit(edit.write(), [], namespace, "initial commit"))
        git.close()


def may_read(user: User | None, repo: BaseRepository) -> bool:
    """Whether `user` may read a repository: everybody reads public ones."""
    return not repo.settings.private or (user is not None and user.may_read(repo.url_path))


def check_writer(user: User | None, repo: str) -> None:
    """Check that `user` may change a repository, given by its `url_path`.

    Raises:
        ApiError: 401 without a token, 403 without the right.
    """
    if user is None or not user.may_write(repo):
        raise _no_right(user, repo)


def check_owner(user: User | None, namespace: str) -> str:
    """Return a namespace as it is spelled, if `user` may create, rename and remove repositories in it.

    Raises:
        ApiError: 401 without a token, 403 without the right.
    """
    if user is not None and user.role == "write":
        for own in user.namespaces:
            if own.lower() == namespace.lower():
                return own
    raise _no_right(user, namespace)


def _no_right(user: User | None, what: str) -> ApiError:
    if user is None:
        return login_needed()
    role = f"you are {user.name!r} with the role {user.role!r}"
    return ApiError(403, f"You don't have the rights to write to {what!r}: {role}.")


def _check_new_id(user: User | None, repo_id: str) -> str:
    """Return the id of a repository that `user` may create, with the namespace as it is spelled.

    Raises:
        ApiError: 400 for an invalid name; otherwise as `check_owner`.
    """
    namespace, _, name = repo_id.partition("/")
    if not is_repo_name(name) or any(bad in name for bad in ("--", "..")) or name.endswith((".git", ".ipynb")):
        raise ApiError(400, f"Invalid repository name {name!r}: use letters, digits, '-', '_' and '.', at most 96.")
    return f"{check_owner(user, namespace)}/{name}"
