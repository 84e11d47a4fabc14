"""What a push reads from the repo: its head, its newest commits, what stands at a path."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from hubspool.client.repo_info import RepoFile, parse_commit
from hubspool.client.target import Target
from hubspool.errors import BadResponseError, RemoteEntryNotFoundError

if TYPE_CHECKING:
    from hubspool.client.hf_api import HfApi
    from hubspool.client.http import HubClient

_WRITER = re.compile(r"^hubspool-writer: (\S+)$", re.MULTILINE)


def description(push_id: str, writer: str) -> str:
    """Return the lines at the end of a commit's message by which its writers find their own, and each other's."""
    return f"hubspool-push: {push_id}\nhubspool-writer: {writer}"


@dataclass(frozen=True)
class HubFile:
    """What stands at a path on the Hub: bytes, and the id of the content (sha256, or git blob id)."""

    path: str
    size: int
    content_id: str


class HubReader(Protocol):
    """The reads that a survey needs, all at one revision."""

    def files(self, paths: Sequence[str]) -> dict[str, HubFile]:
        """Return what stands at those of `paths` that exist."""

    def read(self, path: str, start: int, length: int) -> bytes:
        """Return `length` bytes of a file from `start` on, fewer where it ends."""


@dataclass
class Suspects:
    """Paths of ours where foreign content was seen, and since when: reads of the Hub may be stale.

    Args:
        seconds: how long foreign content must stand to count.
    """

    seconds: float = 60.0
    _since: dict[str, float] = field(default_factory=dict)

    def is_certain(self, path: str, now: float) -> bool:
        """Note one more sighting; return whether the first one is long enough ago."""
        return now - self._since.setdefault(path, now) >= self.seconds

    def clear(self, path: str) -> None:
        """Note that what stands there is ours."""
        self._since.pop(path, None)


class AskedOnce:
    """A `HubReader` that asks for many paths in the first request about any of them."""

    def __init__(self, hub: HubReader, paths: list[str]) -> None:
        self.read = hub.read
        self._hub = hub
        self._paths = frozenset(paths)
        self._found: dict[str, HubFile] | None = None

    def files(self, paths: Sequence[str]) -> dict[str, HubFile]:
        if not self._paths.issuperset(paths):
            return self._hub.files(paths)
        if self._found is None:
            self._found = self._hub.files(sorted(self._paths))
        return {path: self._found[path] for path in paths if path in self._found}


@dataclass(frozen=True)
class Head:
    """The branch as one request saw it: its newest page of commits.

    Args:
        oids: commit ids, newest first.
        writers: hubspool writers → when the newest of their commits was made.
    """

    oids: tuple[str, ...]
    writers: dict[str, datetime]

    @property
    def oid(self) -> str:
        """The newest commit."""
        return self.oids[0]

    def writers_since(self, since: datetime) -> set[str]:
        """Return the writers that committed after `since`."""
        return {writer for writer, at in self.writers.items() if at > since}


class RemoteRepo:
    """Reads one branch of one repo; implements `HubReader`. Every call asks the Hub anew.

    What it returns may be stale by some seconds: the Hub's replicas lag.
    """

    def __init__(self, api: HfApi, target: Target) -> None:
        self.api = api
        self.target = target

    def head(self) -> Head:
        """Return the newest commit and what the newest page of commits tells of their writers; one request."""
        page = self._client().json("GET", self.target.route("commits"))
        if not page:
            raise BadResponseError(f"{self.target.repo_id} lists no commits at {self.target.revision}.")
        commits = [parse_commit(entry) for entry in page]
        writers: dict[str, datetime] = {}
        for commit in commits:
            for writer in _WRITER.findall(commit.message):
                writers.setdefault(writer, commit.created_at)
        return Head(tuple(commit.commit_id for commit in commits), writers)

    def identity(self) -> str | None:
        """Return the Hub's own id of the repo; one that was deleted and made again has another."""
        return self.api.repo_info(self.target.repo_id, repo_type=self.target.repo_type).internal_id

    def files(self, paths: Sequence[str]) -> dict[str, HubFile]:
        """Return what stands at those of `paths` that exist."""
        if not paths:
            return {}
        entries = self.api.get_paths_info(
            self.target.repo_id, paths, repo_type=self.target.repo_type, revision=self.target.revision
        )
        return {
            entry.path: HubFile(entry.path, entry.size, entry.content_id)
            for entry in entries
            if isinstance(entry, RepoFile)
        }

    def read(self, path: str, start: int, length: int) -> bytes:
        """Return `length` bytes of a file from `start` on, fewer where it ends."""
        if length == 0:
            return b""
        headers = {"Range": f"bytes={start}-{start + length - 1}", "Accept-Encoding": "identity"}
        return self._client().request("GET", self.target.file_url(path), headers=headers).content[:length]

    def text(self, path: str) -> str | None:
        """Return a small text file, or None where there is none."""
        try:
            content = self._client().request("GET", self.target.file_url(path)).content
        except RemoteEntryNotFoundError:
            return None
        return content.decode("utf-8")

    def _client(self) -> HubClient:
        return self.api.client()
