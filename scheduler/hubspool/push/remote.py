"""What a push reads from the repository, and commits to it: its head, its newest commits, the files at some paths."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from hubspool.client.download import download
from hubspool.client.hf_api import HfApi
from hubspool.client.operations import CommitOperation, CommitOperationAdd
from hubspool.client.repo_info import CommitInfo, GitCommitInfo, RepoFile, RepoFolder, parse_commit
from hubspool.client.repos import fetch_paths_info, fetch_tree
from hubspool.client.retry import AT_COMMIT, NEWER_HEAD, ON_HEAD, Caller, call_with_retries
from hubspool.client.target import Target
from hubspool.errors import (
    BadRequestError,
    BadResponseError,
    ChangedMeanwhileError,
    RemoteEntryNotFoundError,
    RevisionNotFoundError,
)
from hubspool.push.part import Part
from hubspool.spool.segment_name import is_part_path, part_rule

if TYPE_CHECKING:
    from hubspool.client.transfer.options import TransferOptions

_T = TypeVar("_T")

#: Operations, title and description of a commit.
Change: TypeAlias = tuple[Sequence[CommitOperation], str, str]

#: How many parts the description of a commit names; what a commit of more writes can be checked by its size alone.
MOST_NAMED_PARTS = 200

#: How many commits are read to learn what they say of parts.
MOST_READ_COMMITS = 10_000

_WRITER = re.compile(r"^hubspool-writer: (\S+)$", re.MULTILINE)
_PUSH = re.compile(r"^hubspool-push: (\S+)$", re.MULTILINE)
_PART = re.compile(r"^hubspool-part: (.+) (\d+) (\d+) ([0-9a-f]+)(?: ([0-9a-f]+))?$", re.MULTILINE)
_JOIN = re.compile(r"^hubspool-join: (\S+)$", re.MULTILINE)


def description(push_id: str, writer: str, parts: Iterable[Part] = ()) -> str:
    """Return the description of a commit of rows.

    It identifies the push and its writer to all writers of the repository, and names up to 200 of the parts that the
    commit writes: path, start and end in the segment (bytes), sha256 of that range, and the id of the content on the
    Hub where that is not the sha256.
    """
    named = islice((part for part in parts if is_part_path(part.path)), MOST_NAMED_PARTS)
    return "\n".join(
        [
            f"hubspool-push: {push_id}",
            f"hubspool-writer: {writer}",
            *(_part_line(p.path, p.start, p.sent_end, p.sending_sha256, p.sending_id) for p in named),
        ]
    )


def _part_line(path: str, start: int, end: int, sha256: str | None, content_id: str | None) -> str:
    more = f" {content_id}" if content_id and content_id != sha256 else ""
    return f"hubspool-part: {path} {start} {end} {sha256}{more}"


def join_description(manifest: str) -> str:
    """Return the description of a commit that joins parts: the path of its manifest."""
    return f"hubspool-join: {manifest}"


@dataclass(frozen=True)
class NamedPart:
    """What the description of a commit says of a part: the bytes [start, end) of its segment, and their sha256.

    `content_id` is empty where the content is these bytes, stored as a large file, or in commits of older versions.
    """

    commit: str
    start: int
    end: int
    sha256: str
    content_id: str = ""


def named_parts(commits: Iterable[GitCommitInfo]) -> dict[str, NamedPart]:
    """Return path → what the newest commit says that names it, the newest path first.

    Args:
        commits: newest first.
    """
    found: dict[str, NamedPart] = {}
    for commit in commits:
        for path, start, end, *ids in _PART.findall(commit.message):
            if is_part_path(path):
                found.setdefault(path, NamedPart(commit.commit_id, int(start), int(end), *ids))
    return found


def squash_description(commits: Iterable[GitCommitInfo], keep: Callable[[str], bool] = lambda _: True) -> str:
    """Return the description of the one commit that takes the place of `commits`: it names their newest 200 parts.

    Args:
        commits: newest first.
        keep: returns False for the path of a part that is not to be named.
    """
    named = islice((each for each in named_parts(commits).items() if keep(each[0])), MOST_NAMED_PARTS)
    return "\n".join(_part_line(path, p.start, p.end, p.sha256, p.content_id) for path, p in named)


class PartRecords:
    """What the commits of a branch say of parts; they are read from the newest back, as far as is needed.

    Used by one thread.
    """

    def __init__(self, repo: RemoteRepo) -> None:
        self._commits = repo.commits()
        self._named: dict[str, NamedPart] = {}

    def of(self, paths: Iterable[str], since: date) -> dict[str, NamedPart]:
        """Return path → what the newest commit says that names it, for those of `paths` that one names.

        Args:
            paths: of parts.
            since: no commit of an earlier day names them.
        """
        wanted = [*paths]
        missing = {*wanted} - self._named.keys()
        while missing and (commit := next(self._commits, None)) is not None:
            for path, part in named_parts([commit]).items():
                self._named.setdefault(path, part)
            missing -= self._named.keys()
            if commit.created_at.date() < since:
                break
        return {path: self._named[path] for path in wanted if path in self._named}


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

    @property
    def version(self) -> tuple[str, str]:
        """Path and content: a key for what was learned of a file."""
        return self.path, self.content_id


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
        joins: the commits among them that joined or removed rows → the file in `.hubspool/` that each wrote.
        late_parts: paths of parts that commits after the newest join wrote; one that a manifest names is a ghost.
        named: path of a part → what the newest of the commits that name it says.
        asked_at: monotonic and wall clock of this machine before the request, seconds.
    """

    oids: tuple[str, ...]
    writers: dict[str, datetime]
    at: datetime
    pushes: dict[str, GitCommitInfo] = field(default_factory=dict)
    joins: dict[str, str] = field(default_factory=dict)
    late_parts: frozenset[str] = frozenset()
    named: dict[str, NamedPart] = field(default_factory=dict)
    asked_at: tuple[float, float] = (0.0, 0.0)

    def joins_since(self, oid: str) -> list[str] | None:
        """Return what the joins after the commit `oid` wrote; None if the page does not reach back to it."""
        if oid not in self.oids:
            return None
        return [self.joins[each] for each in self.oids[: self.oids.index(oid)] if each in self.joins]

    def landed_before(self, push_id: str | None, file: str) -> bool:
        """Return True if the page shows that a push landed before the join that wrote `file`."""
        join = next((oid for oid, path in self.joins.items() if path == file), None)
        if join is None or push_id not in self.pushes:
            return False
        return self.oids.index(self.pushes[push_id].commit_id) > self.oids.index(join)

    def latest_day(self) -> date:
        """Return the day (UTC) that the Hub's clock shows by now, or the next one: never an earlier one."""
        waited = max(time.monotonic() - self.asked_at[0], time.time() - self.asked_at[1])
        return (self.at + timedelta(seconds=waited + 1)).date()

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
        target: the branch, or one commit.
        is_commit: the target is a commit that exists: a replica that does not know it yet is asked again.
    """

    def __init__(self, api: HfApi, target: Target, *, is_commit: bool = False) -> None:
        self.api = api
        self.target = target
        self._is_commit = is_commit

    def _ask(self, call: Callable[[], _T]) -> _T:
        return self.api.client().session.retrying(call, AT_COMMIT) if self._is_commit else call()

    def head(self) -> Head:
        """Return the newest page of commits, in one request.

        Raises:
            BadResponseError: the branch has no commits.
        """
        asked_at = (time.monotonic(), time.time())
        page, now = self._ask(lambda: self.api.client().dated(self.target.route("commits")))
        if not page:
            raise BadResponseError(f"{self.target.repo_id} lists no commits at {self.target.revision}.")
        commits = [parse_commit(entry) for entry in page]
        writers: dict[str, datetime] = {}
        for commit in commits:
            for writer in _WRITER.findall(commit.message):
                writers.setdefault(writer, commit.created_at)
        joins = {index: found[1] for index, commit in enumerate(commits) if (found := _JOIN.search(commit.message))}
        late = commits[: min(joins, default=len(commits))]
        return Head(
            tuple(commit.commit_id for commit in commits),
            writers,
            now,
            pushes={push: commit for commit in commits for push in _PUSH.findall(commit.message)},
            joins={commits[index].commit_id: path for index, path in joins.items()},
            late_parts=frozenset(named_parts(late)),
            named=named_parts(commits),
            asked_at=asked_at,
        )

    def commits(self, *, has_all: bool = False) -> Iterator[GitCommitInfo]:
        """Yield the newest 10,000 commits, or all of them, newest first; a request for each 50."""
        pages = self.api.client().pages(self.target.route("commits"))
        return map(parse_commit, islice(pages, None if has_all else MOST_READ_COMMITS))

    def await_other_head(self, oid: str, pause: Callable[[float], bool]) -> bool:
        """Wait until the newest commit is another one than `oid`; return False if it is none after a minute.

        Args:
            oid: what the Hub said, although a newer commit was made.
            pause: waits for so many seconds; returns True to stop.
        """

        def ask() -> None:
            if self.head().oid == oid:
                raise RevisionNotFoundError(f"{self.target.repo_id} has no newer commit than {oid}.")

        try:
            call_with_retries(ask, NEWER_HEAD, Caller(pause))
        except RevisionNotFoundError:
            return False
        return True

    def at(self, oid: str) -> RemoteRepo:
        """Return a reader of one commit: it never answers with what is older."""
        return RemoteRepo(self.api, replace(self.target, revision=oid), is_commit=True)

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
            return _files(self._ask(lambda: fetch_paths_info(self.api.client(), self.target, paths)))
        except BadRequestError:
            middle = len(paths) // 2
            return {**self.files(paths[:middle]), **self.files(paths[middle:])} if middle else {}

    def read(self, path: str, start: int, length: int) -> bytes:
        """Return `length` bytes of a file from `start` on, fewer at its end."""
        if length == 0:
            return b""
        headers = {"Range": f"bytes={start}-{start + length - 1}"}
        return self._ask(lambda: self.api.client().content(self.target.file_url(path), length, headers))

    def content(self, path: str) -> bytes:
        """Return a small file."""
        return self._ask(lambda: self.api.client().content(self.target.file_url(path)))

    def text(self, path: str) -> str | None:
        """Return a small text file; None if it does not exist."""
        try:
            return self.content(path).decode("utf-8")
        except RemoteEntryNotFoundError:
            return None

    def download(self, path: str, to: Path) -> None:
        """Write a file of any size to `to`."""
        url = self.target.file_url(path)
        self._ask(lambda: download(self.api.client(), url, to, force=True, local_only=False))

    def attributes(self, suffix: str) -> list[CommitOperationAdd]:
        """Return a new ``.gitattributes``, unless there is a rule that stores parts with this suffix through Xet."""
        text, rule = self.text(".gitattributes") or "", part_rule(suffix)
        with_rule = f"{text.rstrip()}\n{rule}\n".lstrip()
        return [] if rule in text.splitlines() else [CommitOperationAdd(".gitattributes", with_rule.encode())]

    def preupload(
        self,
        additions: Iterable[CommitOperationAdd],
        *,
        options: TransferOptions | None = None,
        free_memory: bool = True,
    ) -> None:
        """Upload large contents before their commit; see `HfApi.preupload_lfs_files`."""
        target = self.target
        self.api.preupload_lfs_files(
            target.repo_id,
            additions,
            repo_type=target.repo_type,
            revision=target.revision,
            options=options,
            free_memory=free_memory,
        )

    def commit_at_head(
        self, change: Callable[[Head], Change | None], attempts: int, caller: Caller
    ) -> CommitInfo | None:
        """Make the commit that `change` describes on top of the newest commit; again if others come first.

        Args:
            change: is called in each attempt with the newest commit; returns None to make no commit.
            attempts: in all.
            caller: who waits.

        Returns:
            None if `change` returned None, or raised ChangedMeanwhileError.

        Raises:
            ConflictError, ParentCommitMismatchError: others came first each time.
        """

        def attempt() -> CommitInfo | None:
            head = self.head()
            try:
                wanted = change(head)
            except ChangedMeanwhileError:  # what was prepared does not fit any commit any more
                return None
            return None if wanted is None else self.commit(*wanted, head.oid)

        return call_with_retries(attempt, replace(ON_HEAD, attempts=attempts), caller)

    def commit(
        self, operations: Sequence[CommitOperation], message: str, description: str, parent: str | None
    ) -> CommitInfo:
        """Make a commit on top of `parent`, and of no other commit; None: of whatever is the newest."""
        return self.api.create_commit(
            self.target.repo_id,
            operations,
            commit_message=message,
            commit_description=description,
            repo_type=self.target.repo_type,
            revision=self.target.revision,
            parent_commit=parent,
        )

    def squash(self, commits: Iterable[GitCommitInfo], keep: Callable[[str], bool] = lambda _: True) -> None:
        """Replace the history of the branch by one commit; the arguments are those of `squash_description`."""
        target = self.target
        message = f"Super-squash branch '{target.revision}'\n\n{squash_description(commits, keep)}"
        self.api.super_squash_history(
            target.repo_id, repo_type=target.repo_type, branch=target.revision, commit_message=message.rstrip()
        )

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
            return self._ask(lambda: _files(fetch_tree(self.api.client(), self.target, folder, recursive=recursive)))
        except RemoteEntryNotFoundError:
            return {}


def _files(entries: Iterable[RepoFile | RepoFolder]) -> dict[str, RemoteFile]:
    files = (entry for entry in entries if isinstance(entry, RepoFile))
    return {file.path: RemoteFile(file.path, file.size, file.content_id) for file in files}
