"""What a push reads from the repo: its head, its newest commits, what stands at a path."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from hubspool.client.repo_info import RepoFile, parse_commit
from hubspool.client.target import Target
from hubspool.errors import BadResponseError, RemoteEntryNotFoundError
from hubspool.push.remote_files import HubFile

if TYPE_CHECKING:
    from hubspool.client.hf_api import HfApi
    from hubspool.client.http import HubClient

_WRITER = re.compile(r"^hubspool-writer: (\S+)$", re.MULTILINE)


def description(push_id: str, writer: str) -> str:
    """Return the lines at the end of a commit's message by which its writers find their own, and each other's."""
    return f"hubspool-push: {push_id}\nhubspool-writer: {writer}"


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


class HubView:
    """Reads one branch of one repo; implements `hub_files.HubReader`. Every call asks the Hub anew.

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
        return self.api._client()
