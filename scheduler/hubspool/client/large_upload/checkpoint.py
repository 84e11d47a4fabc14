"""Records in the folder what a large upload has done, so that an interrupted upload resumes."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from hubspool.client.large_upload.queue import LargeFile, Stage
from hubspool.client.target import Target
from hubspool.files import Stat, StatePaths
from hubspool.state_db import StateDb

_SCHEMA = """
create table if not exists large_target (
    id integer primary key, endpoint text not null, repo_type text not null, repo_id text not null,
    revision text not null, hub_id text, last_oid text, unique (endpoint, repo_type, repo_id, revision));
create table if not exists large_file (
    target integer not null, path text not null, size integer not null, mtime_ns integer not null,
    ctime_ns integer not null, inode integer not null, sha256 text not null, blob_id text not null,
    sent integer not null, committed integer not null, primary key (target, path)) without rowid;
"""


class Checkpoint:
    """Records for each file of a large upload its hashes, and whether it was sent and committed.

    A record counts only while size, mtime, ctime and inode of its file are unchanged. Threads: any.
    """

    def __init__(self, directory: Path) -> None:
        self._db = StateDb(StatePaths(directory).large_upload, _SCHEMA, version=1)

    def close(self) -> None:
        """Close the database; a later use opens it again."""
        self._db.close()

    def open_target(self, target: Target, hub_id: str | None, head: str | None) -> tuple[int, bool]:
        """Return the target's number, and whether its head is still our last commit.

        The records of a repository that was deleted and created again (another `hub_id`) are deleted.
        """
        key = (target.endpoint, target.repo_type, target.repo_id, target.revision)
        with self._db.write() as db:
            db.execute(
                "insert or ignore into large_target (endpoint, repo_type, repo_id, revision) values (?, ?, ?, ?)", key
            )
            number, known, last_oid = db.execute(
                "select id, hub_id, last_oid from large_target"
                " where endpoint = ? and repo_type = ? and repo_id = ? and revision = ?",
                key,
            ).fetchone()
            if known != hub_id:
                db.execute("delete from large_file where target = ?", (number,))
                db.execute("update large_target set hub_id = ?, last_oid = null where id = ?", (hub_id, number))
        return int(number), known == hub_id and head is not None and head == last_oid

    def recall(self, target: int, file: LargeFile, *, is_current: bool) -> None:
        """Set a file to the stage in which an earlier run left it.

        Committed files are asked about again, unless `is_current` says that nobody has committed since.
        """
        with self._db.read() as db:
            row = db.execute(
                "select size, mtime_ns, ctime_ns, inode, sha256, blob_id, sent, committed"
                " from large_file where target = ? and path = ?",
                (target, file.path),
            ).fetchone()
        if row is not None and Stat(*row[:4]) == file.stat:
            file.sha256, file.blob_id, file.is_sent = row[4], row[5], bool(row[6])
            file.is_remembered = True
            file.stage = Stage.COMMITTED if row[7] and is_current else Stage.HASHED

    def record(self, target: int, files: Iterable[LargeFile], oid: str | None = None) -> None:
        """Record the stage of these files, and our newest commit; durable when this returns."""
        now_ns = time.time_ns()
        rows = [
            (target, file.path, *file.stat, file.sha256, file.blob_id, file.is_sent, file.stage is Stage.COMMITTED)
            for file in files
            if file.sha256 is not None and not file.stat.is_racy(now_ns)
        ]
        with self._db.write() as db:
            db.executemany("insert or replace into large_file values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
            if oid is not None:
                db.execute("update large_target set last_oid = ? where id = ?", (oid, target))
