"""A SQLite file for what must survive kills, power loss, damage and forks."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from hubspool import fork
from hubspool.errors import StateFileError
from hubspool.files import sync_file, sync_folder

logger = logging.getLogger(__name__)

#: How long a statement waits for another process that writes, in seconds.
_BUSY_SECONDS = 30.0


class StateDb(fork.ForkAware):
    """One SQLite file in write-ahead mode with ``synchronous=FULL``: a committed row survives a kill and a power loss.

    Not guaranteed: that the rows of an earlier run are there. A file that is damaged, or that a later version of this
    program wrote, is renamed (never removed), and an empty one takes its place.

    Thread-safe. Several processes may open the same file.

    Args:
        path: the file; its folder is created if missing.
        schema: SQL that creates the tables; it must be harmless to run again.
        version: of the schema; a file with a larger ``user_version`` is renamed.
        opened: called with each new connection.

    Raises:
        StateFileError: the file cannot be opened now (disk full, too many open files, locked, a folder in its place).
    """

    def __init__(
        self, path: Path, schema: str, version: int, opened: Callable[[sqlite3.Connection], None] = lambda _: None
    ) -> None:
        self.path = path
        self._schema = schema
        self._version = version
        self._opened = opened
        self._is_forking = False
        self._lock = threading.RLock()
        self._identities: list[tuple[int, int] | None] = []  # of the files of the connection
        self._db: sqlite3.Connection | None = self._open()  # None: closed, opened again at the next use
        fork.register(self)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection for queries, under the lock."""
        with self._lock:
            yield self._connection()

    def rows(self, query: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        with self.read() as db:
            return db.execute(query, parameters).fetchall()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection for one transaction, durable at the end of the block; rolled back by an exception.

        Raises:
            StateFileError: the transaction failed.
        """
        try:
            with self._lock, self._connection() as db:
                yield db
        except sqlite3.OperationalError as error:
            raise StateFileError(self.path, str(error)) from error

    def is_in_place(self) -> bool:
        """Return True if the paths still name the files of the connection; opens it if it is closed."""
        with self.read():
            return self._found() == self._identities

    def put_back(self, adapt: Callable[[sqlite3.Connection, Path], None]) -> bool:
        """Write the removed file again, with all that the connection still reads; the next use opens the new one.

        The caller makes sure that no process writes to the removed file.

        Args:
            adapt: called with the new file, before it gets its name.

        Returns:
            False if another file has the path; it is left alone.

        Raises:
            StateFileError: the disk is full, or the folder cannot be written.
        """
        hidden = self.path.with_name(f".{self.path.name}.new")
        with self._lock:
            if self._found()[0] not in (None, self._identities[0]):
                return False
            try:
                hidden.unlink(missing_ok=True)
                with closing(sqlite3.connect(hidden)) as copy:
                    self._connection().backup(copy)
                    with copy:
                        adapt(copy, hidden)
                sync_file(hidden)
                self.close()
                self._remove_log()
                hidden.replace(self.path)
                sync_folder(self.path.parent)
            except (OSError, sqlite3.Error) as error:
                raise StateFileError(self.path, f"it was removed, and {error}") from error
            return True

    def _remove_log(self) -> None:
        """Remove the log of a file that was removed: SQLite would apply it to the new one, and share its locks."""
        for path in self._paths()[1:]:
            path.unlink(missing_ok=True)

    def _paths(self) -> list[Path]:
        return [self.path.with_name(self.path.name + suffix) for suffix in ("", "-wal", "-shm")]

    def _found(self) -> list[tuple[int, int] | None]:
        """Return the device and inode that each path names now."""
        found: list[tuple[int, int] | None] = []
        for path in self._paths():
            try:
                stat = path.stat()
                found.append((stat.st_dev, stat.st_ino))
            except (FileNotFoundError, NotADirectoryError):
                found.append(None)
        return found

    def close(self) -> None:
        """Close the file; a later use opens it again."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def before_fork(self) -> None:
        """Close the connection, between two transactions.

        SQLite keeps its locks per process and file: a child's copy would keep counting a transaction of its parent.
        """
        self._lock.acquire()
        self._is_forking = self._db is not None
        self.close()

    def after_fork_in_parent(self) -> None:
        """Open the file again: if it is removed before the next use, `put_back` needs the connection."""
        try:
            if self._is_forking:
                self._connection()
        except (OSError, sqlite3.Error):
            logger.debug("%s cannot be opened now; the next use reports it", self.path, exc_info=True)
        finally:
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Create a lock of the child's own; the next use opens a connection."""
        self._lock = threading.RLock()

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            self._db = self._open()
        return self._db

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return self._connect()
        except (OSError, sqlite3.OperationalError) as error:
            # Disk full, too many open files, locked: the file itself may be intact, and must be kept.
            raise StateFileError(self.path, str(error)) from error
        except sqlite3.DatabaseError as error:
            stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
            kept = self.path.with_name(f"{self.path.name}.{stamp}-{uuid.uuid4().hex[:6]}.kept")
            logger.warning(
                "%s cannot be read (%s): renamed to %s, an empty one takes its place", self.path, error, kept.name
            )
            for suffix in ("", "-wal", "-shm"):
                part = self.path.with_name(self.path.name + suffix)
                if part.exists():
                    part.replace(kept.with_name(kept.name + suffix))
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        if not self.path.exists():
            self._remove_log()
        db = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, check_same_thread=False)
        try:
            version = db.execute("pragma user_version").fetchone()[0]
            if version > self._version:
                raise sqlite3.DatabaseError(f"version {version}, this program knows {self._version}")
            with closing(db.execute("pragma journal_mode = wal")):
                pass
            db.execute("pragma synchronous = full")
            db.executescript(self._schema)
            if db.execute("pragma quick_check").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("damaged")
            db.execute(f"pragma user_version = {self._version}")
            self._opened(db)
            self._identities = self._found()
        except BaseException:
            db.close()
            raise
        return db
