"""What a push reads from the repository: its head, its newest commits, the files at some paths."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from hubspool.client.repo_info import RepoFile, parse_commit
from hubspool.client.target import Target
from hubspool.errors import BadRequestError, BadResponseError, RemoteEntryNotFoundError

if TYPE_CHECKING:
    from hubspool.client.hf_api import HfApi
    from hubspool.client.repo_info import GitCommitInfo

_WRITER = re.compile(r"^hubspool-writer: (\S+)$", re.MULTILINE)
_PUSH = re.compile(r"^hubspool-push: (\S+)$", re.MULTILINE)


def description(push_id: str, writer: str) -> str:
    """Return the commit description, which identifies the push and its writer to all writers of the repository."""
    return f"hubspool-push: {push_id}\nhubspool-writer: {writer}"


@dataclass(frozen=True)
class RemoteFile:
    """A file on the Hub, as paths-info describes it.

    Args:
        path: in the repository.
        size: in bytes.
        content_id: sha256 of the content (LFS, Xet), or its git blob id.
    """

    path: str
    size: int
    content_id: str


class RepoReader(Protocol):
    """The reads that a planner needs, all at one revision."""

    def files(self, paths: Sequence[str]) -> dict[str, RemoteFile]:
        """Return path → file for those of `paths` that exist."""

    def read(self, path: str, start: int, length: int) -> bytes:
        """Return `length` bytes of a file from `start` on, fewer at its end."""


@dataclass
class ForeignChanges:
    """Remembers since when a path of ours had foreign content: a single read may be stale.

    Args:
        seconds: how long foreign content must stay to count.

    Attributes:
        closed: path → what was done about it.
    """

    seconds: float
    closed: dict[str, str] = field(default_factory=dict)
    _since: dict[str, float] = field(default_factory=dict)

    def is_certain(self, path: str, now: float) -> bool:
        """Record foreign content at `path`; return True if the first record is at least `seconds` old."""
        return now - self._since.setdefault(path, now) >= self.seconds

    def clear(self, path: str) -> None:
        """Record that the content at `path` is ours."""
        self._since.pop(path, None)


@dataclass(frozen=True)
class Head:
    """The newest page of a branch's commits.

    Args:
        oids: commit ids, newest first.
        writers: id of a hubspool writer → time of its newest commit.
        at: the Hub's time when it answered; this machine's clock may be hours off.
        pushes: id of a hubspool push → its commit, for those among them.
    """

    oids: tuple[str, ...]
    writers: dict[str, datetime]
    at: datetime
    pushes: dict[str, GitCommitInfo] = field(default_factory=dict)

    @property
    def oid(self) -> str:
        """The newest commit."""
        return self.oids[0]

    def writers_within(self, seconds: float) -> set[str]:
        """Return the writers that committed in the last `seconds`."""
        since = self.at - timedelta(seconds=seconds)
        return {writer for writer, at in self.writers.items() if at > since}


class RemoteRepo:
    """Reads one branch of one repository; implements `RepoReader`. Every call is a request.

    Not guaranteed: fresh answers. The Hub's replicas lag by some seconds.
    """

    def __init__(self, api: HfApi, target: Target) -> None:
        self.api = api
        self.target = target

    def head(self) -> Head:
        """Return the newest page of commits, in one request.

        Raises:
            BadResponseError: the branch has no commits.
        """
        page, now = self.api.client().dated(self.target.route("commits"))
        if not page:
            raise BadResponseError(f"{self.target.repo_id} lists no commits at {self.target.revision}.")
        commits = [parse_commit(entry) for entry in page]
        writers: dict[str, datetime] = {}
        for commit in commits:
            for writer in _WRITER.findall(commit.message):
                writers.setdefault(writer, commit.created_at)
        pushes = {push: commit for commit in commits for push in _PUSH.findall(commit.message)}
        return Head(tuple(commit.commit_id for commit in commits), writers, now, pushes)

    def identity(self) -> str | None:
        """Return the Hub's `_id` of the repository; a repository that is deleted and created again gets a new one."""
        return self.api.repo_info(self.target.repo_id, repo_type=self.target.repo_type).internal_id

    def files(self, paths: Sequence[str]) -> dict[str, RemoteFile]:
        """Return path → file for those of `paths` that exist.

        If the Hub refuses to look (400), `paths` is halved until the refused path is alone; no file can be there. The
        commit is then refused for that file only.
        """
        if not paths:
            return {}
        try:
            entries = self.api.get_paths_info(
                self.target.repo_id, paths, repo_type=self.target.repo_type, revision=self.target.revision
            )
        except BadRequestError:
            middle = len(paths) // 2
            return {**self.files(paths[:middle]), **self.files(paths[middle:])} if middle else {}
        return {
            entry.path: RemoteFile(entry.path, entry.size, entry.content_id)
            for entry in entries
            if isinstance(entry, RepoFile)
        }

    def read(self, path: str, start: int, length: int) -> bytes:
        """Return `length` bytes of a file from `start` on, fewer at its end."""
        if length == 0:
            return b""
        headers = {"Range": f"bytes={start}-{start + length - 1}"}
        return self.api.client().content(self.target.file_url(path), length, headers)

    def text(self, path: str) -> str | None:
        """Return a small text file; None if it does not exist."""
        try:
            content = self.api.client().content(self.target.file_url(path))
        except RemoteEntryNotFoundError:
            return None
        return content.decode("utf-8")
