"""Repositories, files and commits as the Hub describes them: plain values.

They have the fields that hubspool uses or that callers of huggingface_hub commonly read; other fields of the Hub's
answers are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from hubspool.client.validation import check_listed_path
from hubspool.errors import BadResponseError, HFValidationError

P = ParamSpec("P")
T = TypeVar("T")


class RepoUrl(str):
    """The address of a repository's page; its parts are attributes, and `is_new` says if the call created it."""

    __slots__ = ("endpoint", "is_new", "namespace", "repo_id", "repo_name", "repo_type")

    endpoint: str
    namespace: str | None
    repo_name: str
    repo_id: str
    repo_type: str
    is_new: bool

    def __new__(cls, url: str, endpoint: str | None = None) -> RepoUrl:
        """Split `url`; the default `endpoint` is its scheme and host."""
        self = super().__new__(cls, url)
        if endpoint is None:
            scheme, _, rest = url.partition("://")
            endpoint = f"{scheme}://{rest.split('/')[0]}"
        parts = url.removeprefix(endpoint).strip("/").split("/")
        self.repo_type, self.is_new = "model", False
        if len(parts) > 1 and parts[0] in ("datasets", "spaces", "models", "buckets"):
            self.repo_type = parts.pop(0)[:-1]
        if not 1 <= len(parts) <= 2 or not all(parts):
            raise HFValidationError(f"Not the address of a repository of {endpoint}: {url!r}.")
        self.endpoint = endpoint
        self.repo_id = "/".join(parts)
        self.repo_name = parts[-1]
        self.namespace = parts[0] if len(parts) == 2 else None
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return RepoUrl, (str(self), self.endpoint)

    @property
    def url(self) -> str:
        """The address as a plain `str`."""
        return str(self)

    def __repr__(self) -> str:
        return f"RepoUrl({str(self)!r}, repo_type={self.repo_type!r}, repo_id={self.repo_id!r})"


@dataclass(frozen=True)
class CommitInfo:
    """The result of a commit: the new commit, or the head if nothing had changed.

    Attributes:
        commit_url: address of the commit's page.
        commit_message, commit_description: as given by the caller.
        oid: id of the commit.
        repo_url: address of the repository's page.
        pr_url: address of the pull request that was opened for the commit.
        is_noop: nothing had changed, so no commit was made and `oid` is the revision's head.
    """

    commit_url: str
    commit_message: str
    commit_description: str
    oid: str
    repo_url: RepoUrl
    pr_url: str | None = None
    is_noop: bool = False

    @property
    def pr_num(self) -> int | None:
        """Number of the pull request."""
        return int(self.pr_url.rstrip("/").rpartition("/")[2]) if self.pr_url else None

    @property
    def pr_revision(self) -> str | None:
        """Revision of the pull request, such as ``refs/pr/1``."""
        return f"refs/pr/{self.pr_num}" if self.pr_url else None

    def __str__(self) -> str:
        return self.commit_url


@dataclass(frozen=True)
class BlobLfsInfo:
    """A large file: size in bytes, sha256, size of its pointer in bytes."""

    size: int
    sha256: str
    pointer_size: int | None = None


@dataclass(frozen=True)
class LastCommitInfo:
    """The commit that last changed a path."""

    oid: str
    title: str
    date: datetime


@dataclass(frozen=True)
class RepoFile:
    """A file of a repository; `size` in bytes is the content's, also for large files."""

    path: str
    size: int
    blob_id: str
    lfs: BlobLfsInfo | None = None
    xet_hash: str | None = None
    last_commit: LastCommitInfo | None = None

    @property
    def rfilename(self) -> str:
        """The path, named as in `RepoSibling`."""
        return self.path

    @property
    def content_id(self) -> str:
        """Id of the content: sha256 of a large file, git's blob id of another."""
        return self.lfs.sha256 if self.lfs is not None else self.blob_id


@dataclass(frozen=True)
class RepoFolder:
    """A folder of a repository."""

    path: str
    tree_id: str
    last_commit: LastCommitInfo | None = None


@dataclass(frozen=True)
class GitCommitInfo:
    """A commit in a repository's history."""

    commit_id: str
    authors: list[str]
    created_at: datetime
    title: str
    message: str
    formatted_title: str | None = None
    formatted_message: str | None = None


@dataclass(frozen=True)
class GitRefInfo:
    """A branch, tag or pull request and its commit."""

    name: str
    ref: str
    target_commit: str


@dataclass(frozen=True)
class GitRefs:
    """The references of a repository; `pull_requests` is None if they were not requested."""

    branches: list[GitRefInfo]
    converts: list[GitRefInfo]
    tags: list[GitRefInfo]
    pull_requests: list[GitRefInfo] | None = None


@dataclass(frozen=True)
class RepoSibling:
    """A file in the list of files of a repository's description."""

    rfilename: str
    size: int | None = None
    blob_id: str | None = None
    lfs: BlobLfsInfo | None = None


@dataclass(frozen=True)
class RepoInfo:
    """A repository at a revision.

    Attributes:
        id: ``namespace/name``.
        sha: head of the revision.
        internal_id: the Hub's own id; a repository that was deleted and created again has another one.
    """

    id: str
    sha: str | None = None
    internal_id: str | None = None
    author: str | None = None
    private: bool = False
    disabled: bool = False
    gated: str | bool = False
    last_modified: datetime | None = None
    created_at: datetime | None = None
    downloads: int | None = None
    likes: int | None = None
    tags: list[str] = field(default_factory=list)
    siblings: list[RepoSibling] = field(default_factory=list)
    card_data: Mapping[str, Any] | None = None


class ModelInfo(RepoInfo):
    """A model repository."""


class DatasetInfo(RepoInfo):
    """A dataset repository."""


class SpaceInfo(RepoInfo):
    """A Space repository."""


_INFO_BY_TYPE: dict[str, type[ModelInfo | DatasetInfo | SpaceInfo]] = {
    "model": ModelInfo,
    "dataset": DatasetInfo,
    "space": SpaceInfo,
}


def parse_date(text: str) -> datetime:
    """Parse a date of the Hub's API, always UTC: ``2024-01-31T12:00:00.000Z``."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))  # Python 3.10 does not take the Z


def of_answer(parse: Callable[P, T]) -> Callable[P, T]:
    """Make a parser raise a `BadResponseError` where an answer has another form: an app may wait in a constructor."""

    @wraps(parse)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return parse(*args, **kwargs)
        except BadResponseError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            shown = f"{type(error).__name__}: {error}"
            raise BadResponseError(f"An answer of the Hub does not have the format of its API ({shown}).") from error

    return checked


@of_answer
def parse_entry(entry: Mapping[str, Any]) -> RepoFile | RepoFolder:
    """Parse an entry of a tree or of paths-info.

    Raises:
        BadResponseError: its path is none.
    """
    path = check_listed_path(entry["path"])
    last = entry.get("lastCommit")
    commit = LastCommitInfo(last["id"], last["title"], parse_date(last["date"])) if last else None
    if entry["type"] == "directory":
        return RepoFolder(path, entry["oid"], commit)
    lfs = entry.get("lfs")
    large = BlobLfsInfo(lfs["size"], lfs["oid"], lfs.get("pointerSize")) if lfs else None
    return RepoFile(path, entry["size"], entry["oid"], large, entry.get("xetHash"), commit)


@of_answer
def parse_commit(entry: Mapping[str, Any]) -> GitCommitInfo:
    """Parse an entry of a list of commits."""
    formatted = entry.get("formatted") or {}
    return GitCommitInfo(
        commit_id=entry["id"],
        authors=[author["user"] for author in entry.get("authors", []) if "user" in author],
        created_at=parse_date(entry["date"]),
        title=entry["title"],
        message=entry.get("message", ""),
        formatted_title=formatted.get("title"),
        formatted_message=formatted.get("message"),
    )


@of_answer
def parse_repo(data: Mapping[str, Any], repo_type: str) -> ModelInfo | DatasetInfo | SpaceInfo:
    """Parse the description of a repository."""
    modified, created = data.get("lastModified"), data.get("createdAt")
    return _INFO_BY_TYPE[repo_type](
        id=data["id"],
        sha=data.get("sha"),
        internal_id=data.get("_id"),
        author=data.get("author"),
        private=bool(data.get("private")),
        disabled=bool(data.get("disabled")),
        gated=data.get("gated", False),
        last_modified=parse_date(modified) if modified else None,
        created_at=parse_date(created) if created else None,
        downloads=data.get("downloads"),
        likes=data.get("likes"),
        tags=list(data.get("tags") or []),
        siblings=[_sibling(entry) for entry in data.get("siblings") or []],
        card_data=data.get("cardData"),
    )


def _sibling(entry: Mapping[str, Any]) -> RepoSibling:
    lfs = entry.get("lfs")
    large = BlobLfsInfo(lfs["size"], lfs["sha256"], lfs.get("pointerSize")) if lfs else None
    return RepoSibling(check_listed_path(entry["rfilename"]), entry.get("size"), entry.get("blobId"), large)
