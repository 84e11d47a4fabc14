"""The ledger: SQLite record of intents (what was sent) and acknowledgements (what the Hub is known to have).

A row that was written survives a kill and a power loss (`StateDb`). Without the ledger, parts are found again on the
Hub by their names (`rules.recovered_parts`), after a wait: a commit of before may still land.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import uuid
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import astuple, replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from hubspool.client.target import Target
from hubspool.files import Stat, StatePaths, place_of, publish, sync_file
from hubspool.push import rules
from hubspool.push.defaults import DEFAULTS
from hubspool.push.part import Closed, Part
from hubspool.spool.rescue import KeptLock
from hubspool.spool.segment_name import segments_in
from hubspool.state_db import StateDb

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1

_SCHEMA = """
create table if not exists target (
    id integer primary key, endpoint text not null, repo_type text not null, repo_id text not null,
    revision text not null, path_in_repo text not null, hub_id text, last_oid text,
    unique (endpoint, repo_type, repo_id, revision, path_in_repo));
create table if not exists place (id integer primary key check (id = 1), text text not null);
create table if not exists recovery (
    target integer not null, source text not null, looked_at real, found integer, done integer,
    primary key (target, source)) without rowid;
create table if not exists doubt (
    target integer not null, source text not null, content_id text not null, until real not null,
    primary key (target, source, content_id)) without rowid;
create table if not exists removal (path text primary key) without rowid;
create table if not exists recipe (id integer primary key, options text not null unique);
create table if not exists settled (
    target integer not null, path text not null, size integer not null, mtime_ns integer not null,
    ctime_ns integer not null, inode integer not null, primary key (target, path)) without rowid;
create table if not exists sighting (
    path text primary key, size integer not null, mtime_ns integer not null, ctime_ns integer not null,
    inode integer not null, seen_ns integer not null) without rowid;
create table if not exists part (
    target integer not null, source text not null, number integer not null, path text not null,
    "start" integer not null, "end" integer not null, rows integer not null, sha256 text, content_id text,
    commits integer not null, opened_at real not null, closed text,
    sending_end integer, sending_sha256 text, sending_id text, push_id text, sent_at real, head integer not null,
    primary key (target, source, number)) without rowid;
"""

_PART_FIELDS = tuple(Part.__dataclass_fields__)
_PART_COLUMNS = ", ".join(f'"{name}"' for name in _PART_FIELDS)


class Ledger:
    """The ledger of one folder.

    Not guaranteed: that the rows of an earlier run are there. A damaged file, or one of a later version of this
    program, is renamed (never removed), and an empty one takes its place.

    Thread-safe. Several processes may open it; only the holder of the push lock writes parts
    and settled files, except `start_over`.

    Args:
        directory: the state folder; created if missing.
        folder: the folder of the segments. If the ledger is new, or is found at another place than before (a copy, a
            restored backup, an image of a machine), each segment there is recovered before anything of it is sent
            (`recovering`). None: does not check.
    """

    def __init__(self, directory: Path, folder: Path | None = None) -> None:
        self.paths = StatePaths(directory)
        self._settled: dict[int, tuple[sqlite3.Connection, tuple[int, int], dict[str, Stat]]] = {}
        self._kept_lock = KeptLock(self.paths.push_lock)
        self._folder_id = ""
        note_place = (lambda _: None) if folder is None else partial(self._note_place, folder)
        self._db = StateDb(self.paths.ledger, _SCHEMA, SCHEMA_VERSION, note_place)

    @property
    def folder_id(self) -> str:
        """A random id of this folder, 32 hex digits. It has a file of its own, and so outlives a lost ledger.

        A copy of the folder gets an id of its own, so that two copies do not continue the user's files under one name.
        Not a `cached_property`: before Python 3.12 that has a lock of the class, which a fork may leave held.
        """
        path = self.paths.folder_id
        with suppress(FileNotFoundError):
            found, _, place = path.read_text().partition("\n")
            if len(found) == 32 and place in ("", place_of(path)):
                self._folder_id = found
                return found
            path.unlink()  # a damaged id, or that of the folder that this one is a copy of
        fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        fresh.touch()
        fresh.write_text(
            f"{self._folder_id or uuid.uuid4().hex}\n{place_of(fresh)}"
        )  # the inode stays when it is renamed
        sync_file(fresh)
        with suppress(FileExistsError):  # another process was faster
            publish(fresh, path)
        fresh.unlink(missing_ok=True)
        return path.read_text().partition("\n")[0]

    def _note_place(self, folder: Path, db: sqlite3.Connection) -> None:
        """Store where the ledger is; if it is new, or was somewhere else, its segments are to be recovered.

        In one transaction: of two processes that start together, the later one finds the place stored, and both do this
        before they write a row.
        """
        place = place_of(self.paths.ledger)
        with db:
            is_new = db.execute("insert or ignore into place values (1, ?)", (place,)).rowcount == 1
            if is_new and db.execute("select 1 from target").fetchone():
                return  # the ledger of an earlier version of this program
            if is_new or db.execute("update place set text = ? where text != ?", (place, place)).rowcount:
                self._recover(db, segments_in(folder))

    def recover(self, sources: Iterable[str]) -> None:
        """Let segments be recovered whose parts on the Hub are more than the ledger knows of."""
        with self._db.write() as db:
            self._recover(db, sources)

    def _recover(self, db: sqlite3.Connection, sources: Iterable[str]) -> None:
        for source in sources:
            db.execute("delete from recovery where source = ?", (source,))
            db.execute("insert into recovery (target, source) values (0, ?)", (source,))

    def forget_recovery(self, sources: Iterable[str]) -> None:
        """Let segments be sent without a recovery: all that was sent of them is in the ledger."""
        with self._db.write() as db:
            db.executemany("delete from recovery where source = ?", [(source,) for source in sources])

    def recovering(self, target: int) -> dict[str, tuple[float | None, int]]:
        """Return the segments to recover → time of the first look (None: not yet), bytes that it found."""
        rows = self._db.rows(
            "select r.source, l.looked_at, coalesce(l.found, 0) from recovery r"
            " left join recovery l on l.source = r.source and l.target = ? where r.target = 0 and l.done is not 1",
            (target,),
        )
        return {source: (looked_at, found) for source, looked_at, found in rows}

    def look(self, target: int, source: str, now: float, found: int) -> None:
        """Store that the parts of a segment were looked for on the Hub, and how many bytes were found."""
        with self._db.write() as db:
            db.execute("insert or replace into recovery values (?, ?, ?, ?, 0)", (target, source, now, found))

    def end_recovery(self, target: int, source: str, parts: Iterable[Part]) -> None:
        """Store the parts of a segment as the second look found them."""
        with self._db.write() as db:
            self._save(db, target, parts)
            db.execute("insert or replace into recovery values (?, ?, null, 0, 1)", (target, source))

    def restore(self) -> bool:
        """Write the ledger and the push lock again if they were removed; return True if they were there.

        If another process was faster, or has begun a new ledger, that one is used from now on, with what it lacks of
        this one. Called by one thread at a time.

        Raises:
            FilesMissingError: the push lock was moved, and with it the folder.
            PushLockBusyError: another process holds the push lock at the path.
            StateFileError, OSError: the ledger cannot be written now.
        """
        if self._kept_lock.is_in_place() and self._db.is_in_place():
            return True
        if self._kept_lock.take():
            if not self._db.put_back(_move_place):
                self._merge()
            self.folder_id  # noqa: B018  writes the file again
            self._kept_lock.release()
            logger.warning("the ledger in %s was removed while it was in use, and was written again", self.paths.folder)
        return False

    def _merge(self) -> None:
        """Use the ledger at the path, and add what it lacks of the removed one."""
        with closing(Ledger(self.paths.folder)) as other:
            for number, (target, path_in_repo) in self.targets().items():
                key = other.target(target, path_in_repo)
                theirs = other.parts(key)
                known = {*theirs, *other.settled(key)}
                for source, parts in self.parts(number).items():  # theirs may be an older copy
                    if source not in known or rules.position_of(theirs.get(source, [])) < rules.position_of(parts):
                        other.save(key, parts)
                if other.identity(key) == (None, None):
                    other.identify(key, *self.identity(number))
                # The new ledger lets all segments wait; what this one knows of them needs no second look.
                other.forget_recovery(other.recovering(key).keys() - self.recovering(number).keys() - known)
            for recipe in self.recipes():
                other.remember(recipe)
        self._db.close()

    def rows_on_hub(self, source: str, size: int | None = None) -> float:
        """Return how many rows of a segment are on the Hub; infinite if all are.

        Args:
            source: the segment; it may have been removed.
            size: in bytes; None if it is not known any more.
        """
        rows = self._db.rows("select sum(rows) from part where source = ? group by target", (source,))
        sizes = self._db.rows("select size from settled where path = ?", (source,))
        return math.inf if (size,) in sizes or (sizes and not rows) else max((row[0] for row in rows), default=0)

    def target(self, target: Target, path_in_repo: str, hub_id: str | None = None) -> int:
        """Return the number of a target and a path in its repository; assign one at their first use.

        The ledger keeps parts and settled files separately for each number. A repository that was renamed, or whose Hub
        has a new address, keeps its number, and gets both of its names in turn.

        Args:
            target: the repository and revision.
            path_in_repo: the path, or empty.
            hub_id: the Hub's `_id` of the repository, if it is known.
        """
        for number, known in self.targets().items():
            if known == (target, path_in_repo) and hub_id in (None, self.identity(number)[0]):
                return number
        place = (target.repo_type, target.revision, path_in_repo)
        name = (target.endpoint, target.repo_id)
        where = "where repo_type = ? and revision = ? and path_in_repo = ?"
        with self._db.write() as db:
            row = db.execute(f"select id from target {where} and hub_id = ?", (*place, hub_id)).fetchone()  # noqa: S608
            if row is None:
                db.execute(
                    "insert or ignore into target (repo_type, revision, path_in_repo, endpoint, repo_id, hub_id)"
                    " values (?, ?, ?, ?, ?, ?)",
                    (*place, *name, hub_id),
                )
                query = f"select id from target {where} and endpoint = ? and repo_id = ?"  # noqa: S608  our text
                row = db.execute(query, (*place, *name)).fetchone()
            else:
                db.execute("update or ignore target set endpoint = ?, repo_id = ? where id = ?", (*name, row[0]))
            return int(row[0])

    def targets(self) -> dict[int, tuple[Target, str]]:
        """Return number → target and path in its repository, for everything that this folder was pushed to."""
        rows = self._db.rows("select id, endpoint, repo_id, repo_type, revision, path_in_repo from target order by id")
        return {row[0]: (Target(*row[1:5]), row[5]) for row in rows}

    def identity(self, target: int) -> tuple[str | None, str | None]:
        """Return the Hub's `_id` of the repository and our last commit there, each None if it is not known."""
        rows = self._db.rows("select hub_id, last_oid from target where id = ?", (target,))
        return (rows[0][0], rows[0][1]) if rows else (None, None)

    def identify(self, target: int, hub_id: str | None, last_oid: str | None) -> None:
        """Store the Hub's `_id` of the repository and our last commit there."""
        with self._db.write() as db:
            db.execute("update target set hub_id = ?, last_oid = ? where id = ?", (hub_id, last_oid, target))

    def start_over(self, target: int) -> None:
        """Delete all about a target: its repository was created again, and a person wants everything sent to it."""
        with self._db.write() as db:
            for table in ("part", "settled", "doubt"):
                db.execute(f"delete from {table} where target = ?", (target,))  # noqa: S608  our names
            db.execute("update target set hub_id = null, last_oid = null where id = ?", (target,))

    def remember(self, recipe: dict[str, Any]) -> None:
        """Store the options of a scheduler of this folder, for ``hubspool flush``."""
        text = orjson.dumps(recipe, option=orjson.OPT_SORT_KEYS).decode()
        with self._db.write() as db:
            db.execute("insert or ignore into recipe (options) values (?)", (text,))

    def recipes(self) -> list[dict[str, Any]]:
        """Return the options of the schedulers of this folder, in the order of their first use."""
        return [orjson.loads(options) for (options,) in self._db.rows("select options from recipe order by id")]

    def removals(self) -> set[str]:
        """Return the removals of rows (their paths on the Hub) that were applied to the segments of this folder."""
        return {path for (path,) in self._db.rows("select path from removal")}

    def note_removals(self, paths: Iterable[str]) -> None:
        """Store that removals of rows were applied to all segments that are here now."""
        with self._db.write() as db:
            db.executemany("insert or ignore into removal values (?)", [(path,) for path in paths])

    def doubt(self, target: int, versions: Iterable[tuple[str, str, float]]) -> None:
        """Store versions of the user's files that may land late in a bucket: source, content id, until when."""
        with self._db.write() as db:
            db.executemany("insert or replace into doubt values (?, ?, ?, ?)", [(target, *each) for each in versions])

    def doubts(self, target: int) -> dict[str, dict[str, float]]:
        """Return source → id of each version that may land late, or has → until when, in seconds since the epoch."""
        found: dict[str, dict[str, float]] = {}
        for source, content_id, until in self._db.rows(
            "select source, content_id, until from doubt where target = ?", (target,)
        ):
            found.setdefault(source, {})[content_id] = until
        return found

    def end_doubts(self, target: int, sources: Iterable[str]) -> None:
        """Delete what `doubt` has stored of files that were looked at again."""
        if rows := [(target, source) for source in sources]:
            with self._db.write() as db:
                db.executemany("delete from doubt where target = ? and source = ?", rows)

    def settled(self, target: int) -> dict[str, Stat]:
        """Return path → `Stat` of every file whose whole content is on the Hub. Do not change the returned dict.

        It is read again only after a write: an idle push would spend half of its time on it.
        """
        with self._db.read() as db:
            version = (db.total_changes, db.execute("pragma data_version").fetchone()[0])  # ours, and others' writes
            known = self._settled.get(target)
            if known is None or known[0] is not db or known[1] != version:
                rows = db.execute(
                    "select path, size, mtime_ns, ctime_ns, inode from settled where target = ?", (target,)
                )
                known = self._settled[target] = (db, version, {row[0]: Stat(*row[1:]) for row in rows})
            return known[2]

    def settle(self, target: int, files: Iterable[tuple[str, Stat]]) -> None:
        """Store that the whole content of these files, as of their `Stat`, is on the Hub."""
        with self._db.write() as db:
            db.executemany(
                "insert or replace into settled values (?, ?, ?, ?, ?, ?)",
                [(target, path, *stat) for path, stat in files],
            )

    def parts(self, target: int) -> dict[str, list[Part]]:
        """Return source → its parts in order."""
        query = f"select {_PART_COLUMNS} from part where target = ? order by source, number"  # noqa: S608  our names
        found: dict[str, list[Part]] = {}
        for row in self._db.rows(query, (target,)):
            part = Part(*row)
            part = replace(part, closed=Closed(part.closed)) if part.closed else part  # a text in the table
            found.setdefault(part.source, []).append(part)
        return found

    def save(self, target: int, parts: Iterable[Part]) -> None:
        """Write parts in one transaction; they are durable when this returns."""
        with self._db.write() as db:
            self._save(db, target, parts)

    def replace(self, target: int, source: str, parts: Iterable[Part]) -> None:
        """Write parts in place of all others of their source."""
        with self._db.write() as db:
            db.execute("delete from part where target = ? and source = ?", (target, source))
            self._save(db, target, parts)

    def _save(self, db: sqlite3.Connection, target: int, parts: Iterable[Part]) -> None:
        marks = ", ".join("?" * (len(_PART_FIELDS) + 1))
        db.executemany(
            f"insert or replace into part (target, {_PART_COLUMNS}) values ({marks})",  # noqa: S608  our names
            [(target, *astuple(part)) for part in parts],
        )

    def first_seen(self, source: str, stat: Stat, now_ns: int) -> int:
        """Return when this folder was first pushed with a file as it is now, in nanoseconds since the epoch.

        Args:
            source: the file.
            stat: of the file, now.
            now_ns: stored if the file was never seen so.
        """
        query = "select size, mtime_ns, ctime_ns, inode, seen_ns from sighting where path = ?"
        rows = self._db.rows(query, (source,))
        if rows and rows[0][:4] == tuple(stat):
            return int(rows[0][4])
        with self._db.write() as db:
            db.execute("insert or replace into sighting values (?, ?, ?, ?, ?, ?)", (source, *stat, now_ns))
        return now_ns

    def forget(self, sources: Iterable[str]) -> None:
        """Delete the parts of segments that were removed after all of them was on the Hub.

        That they are settled stays known, for the newest such segments, so that a process which has one open does not
        write it again. Their number counts and not their age, because the clock may jump.
        """
        names = list(sources)
        if not names:
            return
        rows = [(target, name) for target in (0, *self.targets()) for name in names]
        with self._db.write() as db:
            db.executemany("delete from part where target = ? and source = ?", rows)  # found by the primary key
            db.executemany("delete from recovery where target = ? and source = ?", rows)
            db.executemany("delete from sighting where path = ?", [(name,) for name in names])
            removed = (
                "select path from settled where not exists"
                " (select 1 from part where part.target = settled.target and part.source = settled.path)"
            )
            db.execute(
                f"delete from settled where path in ({removed} order by mtime_ns desc limit -1 offset ?)",  # noqa: S608
                (DEFAULTS.kept_segments,),
            )

    def close(self) -> None:
        """Close the database; a later use opens it again."""
        self._db.close()
        self._kept_lock.close()
        self._settled.clear()


def _move_place(db: sqlite3.Connection, path: Path) -> None:
    """Store the place of a ledger that was written again: it is no copy, and its segments need no recovery."""
    db.execute("update place set text = ?", (place_of(path),))
