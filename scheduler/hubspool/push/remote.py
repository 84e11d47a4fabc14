"""What a push reads from the repository: its head, its newest commits, the files at some paths."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from hubspool.client.download import download
from hubspool.client.repo_info import RepoFile, parse_commit
from hubspool.client.target import Target
from hubspool.errors import BadRequestError, BadResponseError, RemoteEntryNotFoundError
from hubspool.spool.segment_name import is_part_path

if TYPE_CHECKING:
    from pathlib import Path

    from hubspool.client.hf_api import HfApi
    from hubspool.client.operations import CommitOperation
    from hubspool.client.repo_info import CommitInfo, GitCommitInfo
    from hubspool.push.part import Part

#: How many parts the description of a commit names; what a commit of more writes can be checked by its size alone.
MOST_NAMED_PARTS = 200

_WRITER = re.compile(r"^hubspool-writer: (\S+)$", re.MULTILINE)
_PUSH = re.compile(r"^hubspool-push: (\S+)$", re.MULTILINE)
_PART = re.compile(r"^hubspool-part: (.+) (\d+) (\d+) ([0-9a-f]+)$", re.MULTILINE)
_JOIN = re.compile(r"^hubspool-join: (\S+)$", re.MULTILINE)


def description(push_id: str, writer: str, parts: Iterable[Part] = ()) -> str:
    """Return the description of a commit of rows.

    It identifies the push and its writer to all writers of the repository, and names up to 200 of the parts that the
    commit writes: path, start and end in the segment (bytes), sha256 of that range.
    """
    named = islice((part for part in parts if is_part_path(part.path)), MOST_NAMED_PARTS)
    return "\n".join(
        [
            f"hubspool-push: {push_id}",
            f"hubspool-writer: {writer}",
            *(_part_line(part.path, part.start, part.sent_end, part.sending_sha256) for part in named),
        ]
    )


def _part_line(path: str, start: int, end: int, sha256: str | None) -> str:
    return f"hubspool-part: {path} {start} {end} {sha256}"


def join_description(manifest: str) -> str:
    """Return the description of a commit that joins parts: the path of its manifest."""
    return f"hubspool-join: {manifest}"


@dataclass(frozen=True)
class NamedPart:
    """What the description of a commit says of a part: the bytes [start, end) of its segment, and their sha256."""

    commit: str
    start: int
    end: int
    sha256: str


def named_parts(commits: Iterable[GitCommitInfo]) -> dict[str, NamedPart]:
    """Return path → what the newest commit says that names it, the newest path first.

    Args:
        commits: newest first.
    """
    found: dict[str, NamedPart] = {}
    for commit in commits:
        for path, start, end, sha256 in _PART.findall(commit.message):
            if is_part_path(path):
                found.setdefault(path, NamedPart(commit.commit_id, int(start), int(end), sha256))
    return found


def squash_description(commits: Iterable[GitCommitInfo]) -> str:
    """Return the description of the one commit that takes the place of `commits`: it names their newest 200 parts."""
    named = islice(named_parts(commits).items(), MOST_NAMED_PARTS)
    return "\n".join(_part_line(path, part.start, part.end, part.sha256) for path, part in named)


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
        joins: the commits among them that joined parts.
        late_parts: paths of parts that commits after the newest join wrote; one that a manifest names is a ghost.
    """

    oids: tuple[str, ...]
    writers: dict[str, datetime]
    at: datetime
    pushes: dict[str, GitCommitInfo] = field(default_factory=dict)
    joins: frozenset[str] = frozenset()
    late_parts: frozenset[str] = frozenset()

    def shows_no_join_since(self, oid: str) -> bool:
        """Return True if the page reaches back to the commit `oid`, and no commit after it joined parts."""
        return oid in self.oids and self.joins.isdisjoint(self.oids[: self.oids.index(oid)])

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

    Args:
        api: the client.
        target: the repository and branch, or commit.
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
        joins = [index for index, commit in enumerate(commits) if _JOIN.search(commit.message)]
        late = commits[: joins[0]] if joins else commits
        return Head(
            tuple(commit.commit_id for commit in commits),
            writers,
            now,
            pushes={push: commit for commit in commits for push in _PUSH.findall(commit.message)},
            joins=frozenset(commits[index].commit_id for index in joins),
            late_parts=frozenset(found[0] for commit in late for found in _PART.findall(commit.message)),
        )

    def at(self, oid: str) -> RemoteRepo:
        """Return a reader of one commit: it never answers with what is older."""
        return RemoteRepo(self.api, replace(self.target, revision=oid))

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

    def content(self, path: str) -> bytes:
        """Return a small file."""
        return self.api.client().content(self.target.file_url(path))

    def text(self, path: str) -> str | None:
        """Return a small text file; None if it does not exist."""
        try:
            return self.content(path).decode("utf-8")
        except RemoteEntryNotFoundError:
            return None

    def download(self, path: str, to: Path) -> None:
        """Write a file of any size to `to`."""
        download(self.api.client(), self.target.file_url(path), to, force=True, local_only=False)

    def commit(self, operations: Sequence[CommitOperation], message: str, description: str, parent: str) -> CommitInfo:
        """Make a commit on top of `parent`, and of no other commit."""
        return self.api.create_commit(
            self.target.repo_id,
            operations,
            commit_message=message,
            commit_description=description,
            repo_type=self.target.repo_type,
            revision=self.target.revision,
            parent_commit=parent,
        )

    def squash(self) -> None:
        """Replace the history of the branch by one commit."""
        target = self.target
        self.api.super_squash_history(target.repo_id, repo_type=target.repo_type, branch=target.revision)

    def other_refs(self) -> list[str]:
        """Return the names of all other branches, tags and pull requests."""
        found = self.api.list_repo_refs(
            self.target.repo_id, repo_type=self.target.repo_type, include_pull_requests=True
        )
        refs = [*found.branches, *found.tags, *(found.pull_requests or [])]
        return [each.name for each in refs if each.name != self.target.revision]

    def large_files(self) -> dict[str, tuple[str, str]]:
        """Return sha256 → (the Hub's id, a path) of all large files, also those that only the history has."""
        url = f"{self.target.api_url}/lfs-files"
        return {entry["oid"]: (entry["fileOid"], entry["filename"]) for entry in self.api.client().pages(url)}

    def delete_large_files(self, identifiers: Sequence[str]) -> None:
        """Delete large files for ever.

        Raises:
            BadRequestError, ForbiddenError: the Hub keeps them.
        """
        body = {"deletions": {"sha": [*identifiers], "rewriteHistory": True}}
        self.api.client().request("POST", f"{self.target.api_url}/lfs-files/batch", json=body)

    def list_files(self, folder: str, *, recursive: bool = False) -> dict[str, RemoteFile]:
        """Return path → file for all files in a folder; nothing if there is no such folder."""
        try:
            entries = list(
                self.api.list_repo_tree(
                    self.target.repo_id,
                    folder or None,
                    recursive=recursive,
                    repo_type=self.target.repo_type,
                    revision=self.target.revision,
                )
            )
        except RemoteEntryNotFoundError:
            return {}
        return {
            entry.path: RemoteFile(entry.path, entry.size, entry.content_id)
            for entry in entries
            if isinstance(entry, RepoFile)
        }
