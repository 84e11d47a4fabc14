"""Buckets: files without history, in Xet's store, and the changes that watchers are told.

A bucket is a folder with a log of changes: a line each, appended before a batch is answered. A line that a killed
process left unfinished does not count; the lines before it do, as a batch may be applied in part.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_left
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.services.api_errors import ApiError, entry_not_found, member, repo_not_found
from hubspool.local_hub.services.content import ContentStore
from hubspool.local_hub.services.file_access import FolderPage, StoredFile
from hubspool.local_hub.services.repositories import BaseRepositories, BaseRepository, iso
from hubspool.local_hub.storage.durable_files import DurableFiles
from hubspool.local_hub.storage.xet_store import XetStore

_LOG = "hubspool-files.jsonl"
SizeOf = Callable[[dict[str, Any]], int]
_NO_KEY = re.compile(r"[\x00-\x1f\x7f\\]|\.\.$")


def now() -> int:
    """Return the time in milliseconds since 1970, the unit of all times of a bucket."""
    return int(time.time() * 1000)


@dataclass(frozen=True)
class BucketEntry(StoredFile):
    """A file in a bucket.

    Attributes:
        mtime: when its content changed, as the client said; None if it said nothing.
        content_type: as the client said.
        uploaded_at: when its batch arrived.
    """

    mtime: int | None
    content_type: str | None
    uploaded_at: int

    def describe(self) -> dict[str, object]:
        """Return it in the form of the answers to tree and paths-info requests."""
        described: dict[str, object] = {"type": "file", "path": self.path, "size": self.size, "xetHash": self.xet_hash}
        if self.mtime is not None:
            described["mtime"] = iso(self.mtime / 1000)
        return {**described, "uploadedAt": iso(self.uploaded_at / 1000)}


@dataclass(frozen=True)
class Change:
    """One change of a path; `number` counts them, and `file` is None for a deletion."""

    number: int
    at: int
    path: str
    op: str
    file: BucketEntry | None

    def encode(self) -> bytes:
        """Return its line in the log."""
        file = self.file
        values = (file.size, file.xet_hash, file.mtime, file.content_type) if file is not None else None
        return orjson.dumps([self.number, self.at, self.path, self.op, values])

    @classmethod
    def decode(cls, line: bytes, store: XetStore) -> Change | None:
        """Return the change of a line; None for a line that is not whole."""
        try:
            number, at, path, op, values = orjson.loads(line)
            size, xet_hash, mtime, kind = values or (0, "", None, None)
            file = BucketEntry(path, size, xet_hash, store, mtime, kind, at) if values is not None else None
            return cls(number, at, path, op, file)
        except (ValueError, TypeError):
            return None

    def describe(self) -> dict[str, object]:
        """Return it in the form of the answers to event requests."""
        described = self.file.describe() if self.file is not None else {"path": self.path}
        described.pop("type", None)
        return {**described, "op": self.op}


@dataclass(frozen=True)
class BucketState:
    """The files of a bucket at one moment, and the newest changes.

    Attributes:
        files: by path.
        number: of the last change.
        updated_at: when that was.
        recent: changes that watchers may still ask for.
        forgotten_at: when the newest change was that is not in `recent`.
    """

    files: Mapping[str, BucketEntry]
    number: int
    updated_at: int
    recent: tuple[Change, ...] = ()
    forgotten_at: int = 0

    @cached_property
    def paths(self) -> list[str]:
        """All paths, sorted."""
        return sorted(self.files)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())

    def open(self, path: str) -> BucketEntry:
        """Return the file at `path`.

        Raises:
            ApiError: 404 EntryNotFound.
        """
        if path not in self.files:
            raise entry_not_found()
        return self.files[path]

    def after(self, changes: Iterable[Change]) -> BucketState:
        """Return the state after some changes."""
        files, recent = dict(self.files), [*self.recent]
        for change in changes:
            recent.append(change)
            if change.file is not None:
                files[change.path] = change.file
            else:
                files.pop(change.path, None)
        if not recent:
            return self
        newest, horizon = recent[-1], now() - LIMITS.bucket_replay_seconds * 1000
        kept = tuple(change for change in recent[-LIMITS.bucket_changes :] if change.at >= horizon)
        dropped = recent[: len(recent) - len(kept)]
        forgotten_at = dropped[-1].at if dropped else self.forgotten_at
        return BucketState(files, newest.number, newest.at, kept, forgotten_at)

    def listing(self, prefix: str, *, recursive: bool, limit: int, cursor: str = "") -> FolderPage:
        """Return the files whose path begins with a text; if not `recursive`, folders in place of what they hold.

        Args:
            prefix: a text, not a folder: `dat` finds `data/x`. A folder's own content is listed for its name, too.
            recursive: list files only.
            limit: entries of a page.
            cursor: of the page before.
        """
        entries: list[dict[str, object]] = []
        at = bisect_left(self.paths, max(prefix, cursor))
        while at < len(self.paths) and (path := self.paths[at]).startswith(prefix):
            if len(entries) == limit:
                return FolderPage(entries, path)
            start = len(prefix) + path.startswith(f"{prefix}/")
            end = -1 if recursive else path.find("/", start)
            if end < 0:
                entries.append(self.files[path].describe())
                at += 1
            else:
                start, at = at, bisect_left(self.paths, f"{path[:end]}0", at)  # the character behind the slash
                newest = max(self.files[inside].uploaded_at for inside in self.paths[start:at])
                entries.append({"type": "directory", "path": path[:end], "uploadedAt": iso(newest / 1000)})
        return FolderPage(entries, None)


class Bucket(BaseRepository):
    """One bucket.

    Attributes:
        state: its files; a change replaces it, so that a reader keeps what it has begun to read.
    """

    def __init__(self, files: DurableFiles, contents: ContentStore, path: Path) -> None:
        super().__init__(files, contents, path)
        self._log = path / _LOG
        self._read_log()

    def state_before(self, count: int) -> BucketState:
        """Return the files before the newest changes, for stale answers."""
        newest = self.state.number - count
        return BucketState({}, 0, 0).after(change for change in self._changes() if change.number <= newest)

    def _changes(self) -> list[Change]:
        lines = self._log.read_bytes().splitlines()
        return [change for line in lines if (change := Change.decode(line, self.contents.xet)) is not None]

    def _read_log(self) -> None:
        changes = self._changes()
        created = int(self._log.stat().st_mtime * 1000)
        self.state = state = BucketState({}, 0, created).after(changes)
        if len(changes) > 2 * len(state.files) + LIMITS.bucket_dead_lines:
            known = state.number - len(state.recent)  # the last change that is forgotten keeps its number and time
            files = {id(file) for file in state.files.values()}
            kept = [change for change in changes if change.number >= known or id(change.file) in files]
            self.files.write(self._log, b"".join(change.encode() + b"\n" for change in kept))

    def _named(self) -> set[str]:
        return {file.xet_hash for file in self.state.files.values()}

    def batch(self, operations: Iterable[Any], size_of: SizeOf) -> list[dict[str, str]]:
        """Apply operations in their order; return those that failed, with the reason.

        Args:
            operations: the objects of the request's lines.
            size_of: returns the size of the content that an operation names; raises ApiError if the bucket may not hold
                it.

        Raises:
            ApiError: 404 if the bucket was deleted or renamed; 409 as `changing`.
        """
        with self.changing():
            if not self._log.exists():
                raise repo_not_found()
            at = max(now(), self.state.updated_at)  # changes are in the order of their times, whatever the clock does
            files: ChainMap[str, BucketEntry | None] = ChainMap({}, self.state.files)  # type: ignore[arg-type]
            done: list[Change] = []
            failed: list[dict[str, str]] = []
            for operation in operations:
                path = str(operation.get("path", "")) if isinstance(operation, dict) else ""
                before = files.get(path)
                try:
                    file = _new_file(operation, path, at, size_of, self.contents.xet)
                    if file is None and before is None:
                        raise entry_not_found()
                except ApiError as error:
                    failed.append({"path": path, "error": error.message})
                    continue
                op = "delete" if file is None else "add" if before is None else "update"
                done.append(Change(self.state.number + len(done) + 1, at, path, op, file))
                files[path] = file
            if done:
                self.held.add(change.file.xet_hash for change in done if change.file is not None)
                try:
                    self.files.append(self._log, b"".join(b"\n" + change.encode() for change in done))
                except OSError:
                    self._read_log()  # some of the lines may be there
                    raise
                self.state = self.state.after(done)
        return failed


def _new_file(operation: Any, path: str, at: int, size_of: SizeOf, store: XetStore) -> BucketEntry | None:
    """Return the file that an operation creates; None if it deletes.

    Raises:
        ApiError: the operation is invalid.
    """
    kind = member(operation, "type", str, "")
    if kind not in ("addFile", "copyFile", "deleteFile"):
        raise ApiError(400, f"Invalid operation type {kind!r}")
    if kind == "deleteFile":
        return None
    _check_key(member(operation, "path", str, ""))
    mtime = member(operation, "mtime", int, -1)
    if not -1 <= mtime <= LIMITS.newest_commit * 1000:
        raise ApiError(400, f"Invalid mtime {mtime}: milliseconds since 1970")
    content_type = member(operation, "contentType", str, "")
    if len(content_type) > LIMITS.path_name or not content_type.isascii() or not content_type.isprintable():
        raise ApiError(400, "Invalid contentType")
    content = size_of(operation), operation["xetHash"], store
    return BucketEntry(path, *content, mtime if mtime >= 0 else None, content_type or None, at)


def _check_key(path: str) -> None:
    """Check a path by the rules of S3 keys, and the limits of repositories.

    Raises:
        ApiError: 400.
    """
    parts = path.split("/")
    if len(parts) > LIMITS.path_depth or any(len(part.encode()) > LIMITS.path_name for part in parts):
        raise ApiError(400, "Invalid path: more than 100 folders, or a name of more than 255 bytes")
    if _NO_KEY.search(path) or not all(part not in ("", ".", "..") for part in parts):
        raise ApiError(400, "Invalid path: no empty name, '.', '..', '..' at the end, backslash or control character")


class Buckets(BaseRepositories[Bucket]):
    """All buckets."""

    def _fill(self, path: Path, *_: object) -> None:
        path.mkdir()
        (path / _LOG).touch()
