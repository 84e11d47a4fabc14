"""The spool: append-only row files on the local disk, one writer each."""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Literal

from hubspool import fork
from hubspool.errors import SpoolFull
from hubspool.spool import segment_file
from hubspool.spool.segment_file import Ended
from hubspool.spool.segment_name import SegmentName, new_writer_id

logger = logging.getLogger(__name__)

Durability = Literal["process", "disk"]
ROLL_BYTES = 64 * 1024 * 1024
SYNC_SECONDS = 1.0
_FULL = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})
#: A limit that every write exceeds, so that it looks for room first.
_NO_SEGMENT = -1
#: Rows that are joined at a time.
_AT_ONCE = 256
_NEWLINE = {ord("\n")}
_last_byte = itemgetter(-1)
#: Seconds that `close` waits for the disk.
_PATIENCE = 5.0


class Spool(fork.ForkAware):
    """Appends rows to segments in a folder, so that a row survives the end of the process once `write` returned.

    Not promised: that a row survives a power loss within the last second (use ``durability="disk"``), and any order
    between two spools. What stands after the last newline of a segment was never acknowledged.

    A segment is opened by the first write, belongs to this object alone and is locked (flock on its own descriptor)
    for as long as this object writes to it, which is how others tell a live segment from an orphan. It is rolled when
    it holds 64 MiB, at the first write of a new UTC day, and after an I/O error.

    Args:
        folder: where the segments are; made if missing.
        name: first part of every segment's name; letters, digits, ``_``, ``-`` and ``.``.
        form: what the rows become on the Hub ("parquet", …); empty where they are stored as they are.
        durability: "process": one `os.write` per row, a background fdatasync each second; "disk": fdatasync before
            `write` returns.
        max_bytes: a write that would take the spool's files beyond this raises `SpoolFull`; bytes.

    Thread-safety: all methods may be called from any thread.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        name: str = "train",
        form: str = "",
        durability: Durability = "process",
        max_bytes: int = 10 * 1024**3,
        roll_bytes: int = ROLL_BYTES,
    ) -> None:
        if durability not in ("process", "disk"):
            raise ValueError(f"durability must be 'process' or 'disk', not {durability!r}.")
        if max_bytes <= 0:
            raise ValueError(f"max_spool_bytes must be a positive number of bytes, not {max_bytes!r}.")
        self.folder = Path(folder)
        self.durability = durability
        self.max_bytes = max_bytes
        self.roll_bytes = roll_bytes
        self._lock = threading.Lock()
        # All below is written under _lock.
        self._name = SegmentName(name, _utc_date(), new_writer_id(), -1, form)
        if SegmentName.parse(str(self._name.next(_utc_date()))) is None:
            raise ValueError(f"name must be letters, digits, '_', '-' or '.', not {name!r}: it begins file names.")
        self._fd: int | None = None
        self._size = 0
        self._synced_size = 0
        self._limit = _NO_SEGMENT  # size at which the segment, or the spool, is full
        self._syncs_each = durability == "disk"
        self._rows: dict[str, int] = {}  # of the segments before this one
        self._count = 0  # rows in this one
        self._ended: list[Ended] = []  # full, but not yet confirmed by the disk
        self._sync_fd: int | None = None  # the syncer's duplicate; closed by it, or in a fork's child
        self._syncing = threading.Lock()  # held by whoever syncs
        self._wake = threading.Event()
        self._syncer: threading.Thread | None = None
        fork.register(self)  # also one whose scheduler was stopped: a child must not write into its segment

    @property
    def writer(self) -> str:
        """The writer id in this spool's segment names."""
        return self._name.writer

    def rows_written(self) -> dict[str, int]:
        """Return how many rows this object wrote to each of its segments (file name → rows)."""
        with self._lock:
            return {**self._rows, str(self._name): self._count} if self._fd is not None else dict(self._rows)

    def write(self, line: bytes) -> None:
        """Append one row: bytes that end in their only newline.

        Returns when the row will survive the end of this process (or of the machine, with "disk").

        Raises:
            ValueError: `line` is not exactly one line.
            SpoolFull: `max_bytes` or the disk is full; the row is not kept.
            OSError: the write failed; the row is not kept and the next one goes to a new segment.
        """
        if line.find(b"\n") != len(line) - 1 or not line:
            raise _not_a_line(line)
        with self._lock:
            self._append(line, 1)

    def write_many(self, lines: Iterable[bytes]) -> int:
        """Append rows in one write, once all of them are there; returns their bytes.

        After the end of the process inside the call any number of the first ones may have been kept; after `SpoolFull`
        its `stored` says how many, since a push may have taken them already.
        """
        data, rows = bytearray(), 0
        lines = iter(lines)
        # A few at a time: the second 50 MB of new memory cost as much as making 100,000 rows into lines.
        while some := list(islice(lines, _AT_ONCE)):
            block = b"".join(some)
            if b"" in some or block.count(b"\n") != len(some) or {*map(_last_byte, some)} != _NEWLINE:
                raise _not_a_line(next(line for line in some if line.find(b"\n") != len(line) - 1 or not line))
            data += block
            rows += len(some)
        if rows:
            with self._lock:
                self._append(data, rows)
        return len(data)

    def close(self) -> None:
        """Sync and release the segment; the owner's lock ends with it.

        A later write opens a new segment, so that rows appended after `stop` are on disk for the next start.
        """
        with self._lock:
            self._end()
            syncer, self._syncer = self._syncer, None
            self._wake.set()
        if syncer is not None:
            syncer.join(timeout=_PATIENCE)
        self._settle(_PATIENCE)

    def after_fork_in_child(self) -> None:
        """Give the child its own writer: drop the parent's descriptor (and with it the shared lock) without a sync."""
        self._lock = threading.Lock()
        for fd in (self._fd, self._sync_fd):
            if fd is not None:
                with suppress(OSError):
                    os.close(fd)
        for ended in self._ended:
            ended.release()
        self._ended = []
        self._syncing = threading.Lock()
        self._fd = self._sync_fd = None
        self._limit = _NO_SEGMENT
        self._name = replace(self._name, date=_utc_date(), writer=new_writer_id(), seq=-1)
        self._size = self._synced_size = 0
        self._rows = {}
        self._count = 0
        self._syncer = None
        self._wake = threading.Event()

    def _append(self, data: bytes | bytearray, rows: int) -> None:
        size = self._size + len(data)
        if size > self._limit:
            self._make_room(len(data))
            size = self._size + len(data)
        fd = self._fd
        assert fd is not None  # _limit is below any size where there is no segment
        try:
            written = os.write(fd, data)
            if written != len(data):  # seen at a full disk: 748 of 3,011 bytes, and no exception
                self._finish(fd, data, written)
            if self._syncs_each:
                self._sync_or_give_up(fd)
            self._size = size
            self._count += rows
        except OSError as error:
            if self._fd is None:  # given up by the sync
                raise
            stored = self._take_back(fd, data)
            if error.errno not in _FULL:
                self._end(is_refused=True)  # who knows what else this file cannot do
            raise self._full_or(error, stored) from error
        except BaseException:
            # An interrupt between the write and the count: the count is too small to cut by from now on, since what
            # lies behind it may be acknowledged.
            self._end()
            raise

    def _full_or(self, error: OSError, stored: int = 0) -> OSError:
        if error.errno not in _FULL:
            return error
        return SpoolFull(self.folder, sum(size for _, size in _segment_sizes(self.folder)), None, stored)

    def _make_room(self, more: int) -> None:
        """Make the current segment one that takes `more` bytes: this one, or a new one where it is full."""
        if self._fd is not None and self._size and self._size + more > self.roll_bytes:
            self._end()
        own = None if self._fd is None else str(self._name)
        others = sum(size for name, size in _segment_sizes(self.folder) if name != own)
        if others + self._size + more > self.max_bytes:
            raise SpoolFull(self.folder, others + self._size, self.max_bytes)
        if self._fd is None:
            try:
                self._open_segment()
            except OSError as error:
                raise self._full_or(error) from error
        # one row that is larger than a segment has one to itself
        self._limit = min(self.roll_bytes, self.max_bytes - others)

    def _finish(self, fd: int, data: bytes | bytearray, written: int) -> None:
        view = memoryview(data)
        while written < len(data):
            count = os.write(fd, view[written:])
            if count == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))
            written += count

    def _take_back(self, fd: int, data: bytes | bytearray) -> int:
        """Cut half a row off our own segment after a write that failed; returns how many whole rows of `data` it holds.

        Only the owner may cut, under its lock, and only what follows the last newline: a push may have taken anything
        before it. After a full disk the segment goes on (given up, the disk would be filled with empty ones), unless it
        cannot be cut.
        """
        try:
            written = data[: max(os.fstat(fd).st_size - self._size, 0)]
            whole = written.rfind(b"\n") + 1
            os.ftruncate(fd, self._size + whole)
        except OSError:
            self._end(is_refused=True)
            return 0
        stored = written.count(b"\n")
        self._size += whole
        self._count += stored
        return stored

    def _sync_or_give_up(self, fd: int) -> None:
        """Sync, or take the row back and give the segment up: a failed sync must not be tried again.

        The kernel drops the pages that it could not write, and reports success the second time.
        """
        try:
            segment_file.sync(fd)
        except OSError:
            with suppress(OSError):
                os.ftruncate(fd, self._size)
            self._end(is_refused=True)
            raise

    def _open_segment(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._name = self._name.next(_utc_date())
        self._fd = segment_file.create(self.folder / str(self._name))
        self._size = self._synced_size = 0
        self._count = 0
        if self._syncer is None:
            self._wake = threading.Event()
            self._syncer = threading.Thread(
                target=self._sync_loop, args=(self._wake,), name=f"hubspool-sync-{self.writer}", daemon=True
            )
            self._syncer.start()

    def _end(self, *, is_refused: bool = False) -> None:
        """Let the next row go to a new segment. The syncer confirms this one: a writer would wait for 64 MiB."""
        if self._fd is None:
            return
        ended = Ended(self.folder / str(self._name), self._fd, is_refused)
        self._rows[str(self._name)] = self._count
        self._fd, self._limit = None, _NO_SEGMENT
        self._size = self._count = 0
        if self._syncs_each and not is_refused:
            ended.release()
        else:
            self._ended.append(ended)

    def _sync_loop(self, stopped: threading.Event) -> None:
        """Once a second: fdatasync what is new, and end the segment of a day that is over."""
        while not stopped.wait(SYNC_SECONDS):
            with self._lock:
                if self._fd is not None and self._name.date != _utc_date():
                    self._end()
            self._sync()
            self._settle()

    def _sync(self) -> None:
        """Sync what the current segment holds, on a duplicate of its descriptor: no writer waits for the disk."""
        with self._lock:
            if self._fd is None or self._size == self._synced_size or self._syncs_each:
                return
            size, name = self._size, self._name
            self._sync_fd = fd = os.dup(self._fd)
        failed = False
        try:
            segment_file.sync(fd)
        except OSError:
            failed = True
            logger.exception("%s: the disk did not confirm %s; later rows go to a new file", self.folder, name)
        with self._lock:
            self._sync_fd = None
            with suppress(OSError):  # the descriptor is gone all the same, and this thread must go on
                os.close(fd)
            if self._name == name and self._fd is not None:
                if failed:
                    self._end(is_refused=True)
                else:
                    self._synced_size = size
            elif failed:  # it was ended meanwhile
                for ended in self._ended:
                    ended.is_refused |= ended.path.name == str(name)

    def _settle(self, patience: float = 0) -> None:
        """Confirm the segments that have ended; what another thread is at is waited for, up to `patience` seconds."""
        if not self._syncing.acquire(timeout=patience):
            return
        try:
            for ended in list(self._ended):
                ended.settle()
                with self._lock:
                    self._ended.remove(ended)
        finally:
            self._syncing.release()


def _not_a_line(line: bytes) -> ValueError:
    return ValueError(f"a row must end in its only newline: {line[:80]!r}")


def _segment_sizes(folder: Path) -> list[tuple[str, int]]:
    sizes = []
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if SegmentName.parse(entry.name) is not None:
                with suppress(FileNotFoundError):  # a pusher removed it meanwhile
                    sizes.append((entry.name, entry.stat().st_size))
    return sizes


def _utc_date() -> str:
    return datetime.now(timezone.utc).strftime("%Y%m%d")
