"""The spool: append-only row files on the local disk, one writer each."""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Container, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Literal

from hubspool import fork
from hubspool.errors import FilesMissingError, HFValidationError, SpoolFull
from hubspool.files import is_in_place
from hubspool.spool import segment_file
from hubspool.spool.defaults import DEFAULTS
from hubspool.spool.rescue import rescue_of
from hubspool.spool.segment_file import EndedSegment
from hubspool.spool.segment_name import SegmentName, new_writer_id

logger = logging.getLogger(__name__)

Durability = Literal["process", "disk"]
_FULL = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})
#: A size limit that every write exceeds, so that the first write opens a segment.
_NO_SEGMENT = -1
_NEWLINE = {ord("\n")}
_last_byte = itemgetter(-1)


class Spool(fork.ForkAware):
    """Appends rows to segments in a folder; a row survives the end of the process once `write` has returned.

    Not guaranteed: that a row of the last second survives a power loss (``durability="disk"`` guarantees that), and the
    order of rows of two spools. Bytes after the last newline of a segment belong to a row whose `write` did not return.

    The first write creates the segment. Only this object writes to it, and holds a lock (flock on its descriptor) while
    it does; the lock distinguishes a live segment from an orphan. The next segment begins at 64 MiB, at the first
    write of a new UTC day, and after an I/O error.

    Args:
        folder: the folder of the segments; created if missing.
        name: first part of every segment's name; letters, digits, ``_``, ``-`` and ``.``.
        suffix: file name suffix of the encoded parts on the Hub ("parquet", …); empty if rows are sent as they are.
        durability: "process": one `os.write` per row, a background fdatasync each second; "disk": fdatasync before
            `write` returns.
        max_bytes: limit for the size of all segments, in bytes; a write beyond it raises `SpoolFull`.
        roll_bytes: size at which a segment ends, in bytes.

    Thread-safety: all methods may be called from any thread.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        name: str = "train",
        suffix: str = "",
        durability: Durability = "process",
        max_bytes: int = DEFAULTS.max_bytes,
        roll_bytes: int = DEFAULTS.roll_bytes,
    ) -> None:
        if durability not in ("process", "disk"):
            raise HFValidationError(f"durability is {durability!r}.", hint="Give 'process' or 'disk'.")
        if max_bytes <= 0:
            raise HFValidationError(f"max_spool_bytes is {max_bytes!r}.", hint="Give a positive number of bytes.")
        self.folder = Path(folder)
        self.max_bytes = max_bytes
        self.roll_bytes = roll_bytes
        self._is_durable = self._syncs_each = durability == "disk"
        self._name = SegmentName(name, _utc_date(), new_writer_id(), -1, suffix)
        if SegmentName.parse(str(self._name.next(_utc_date()))) is None:
            raise HFValidationError(
                f"name is {name!r}, and begins file names.", hint="Use letters, digits, '_', '-' and '.'."
            )
        self._is_stopped = self._has_warned = False
        #: Writes segments again that somebody removed.
        self.rescue = rescue_of(self.folder)
        self._reset()
        self.rescue.spools.add(self)
        fork.register(self)  # also after `close`: a child must not write into this object's segment

    def _reset(self) -> None:
        """Begin without a segment and without a sync thread."""
        self._lock = threading.Lock()
        # All below, and _name, are written under _lock.
        self._fd: int | None = None
        self._size = self._synced_size = 0
        self._limit = _NO_SEGMENT  # size at which the segment, or the spool, is full
        self._rows: dict[str, int] = {}  # of the segments before this one
        self._count = 0  # rows in this one
        self._ended_size = 0  # bytes of the segments before this one
        self._ended: list[EndedSegment] = []  # not synced yet
        self._sync_fd: int | None = None  # duplicate that the sync thread closes, or a fork's child
        self._finishing = threading.Lock()  # held by the thread that finishes ended segments
        self._stopped = threading.Event()
        self._sync_thread: threading.Thread | None = None

    @property
    def writer(self) -> str:
        """The writer id in the names of this spool's segments."""
        return self._name.writer

    def rows_written(self) -> dict[str, int]:
        """Return the rows that this object wrote: file name of the segment → number."""
        with self._lock:
            return {**self._rows, str(self._name): self._count} if self._fd is not None else dict(self._rows)

    def written(self) -> tuple[int, int]:
        """Return how many rows and bytes this object wrote."""
        with self._lock:
            return sum(self._rows.values()) + self._count, self._ended_size + self._size

    def rows_kept(self) -> dict[str, int]:
        """Return `rows_written` without the segments that were removed after all their rows were on the Hub."""
        missing = self.rescue.missing
        return {n: rows for n, rows in self.rows_written().items() if n in missing or (self.folder / n).exists()}

    def rows_ended(self) -> dict[str, int]:
        """Return the rows of the segments that have ended and are synced: file name → number."""
        rows = dict(self._rows)  # before `_ended`, which gets a segment first; no lock: see `leave_removed`
        ending = {ended.path.name for ended in list(self._ended)}
        return {name: count for name, count in rows.items() if name not in ending}

    def leave_removed(self) -> bool:
        """End the segment if its file was removed or moved, so that the next row goes to a new one.

        Takes the lock only then: a push must not wait for a disk that holds up a write. Segments that have ended and
        that another thread still syncs count too; one that was removed is waited for, so that `Rescue` gets it.

        Returns:
            True if all were in their places.
        """
        ended = all(_is_there(each.path, each.fd) for each in list(self._ended))
        current = _is_there(self.folder / str(self._name), self._fd)
        if not current:
            with self._lock:  # the segment may have ended since
                current = _is_there(self.folder / str(self._name), self._fd)
                if not current:
                    self._end()
        self._finish_ended(0 if ended and current else DEFAULTS.close_seconds)
        return ended and current

    def leave(self, sources: Container[str]) -> None:
        """End the segment if it is one of `sources`, so that the next row goes to a new one."""
        with self._lock:
            if self._fd is not None and str(self._name) in sources:
                self._end()
        self._finish_ended()

    def write(self, line: bytes) -> None:
        """Append one row; when this returns, the row survives the end of the process (with "disk", a power loss).

        Args:
            line: the row; its last byte is its only newline.

        Raises:
            ValueError: `line` is not exactly one line.
            SpoolFull: `max_bytes` or the disk is full; the row is not stored.
            OSError: the write failed; the row is not stored, and the next one goes to a new segment.
        """
        if line.find(b"\n") != len(line) - 1 or not line:
            raise _not_a_line(line)
        with self._lock:
            self._append(line, 1)

    def write_many(self, lines: Iterable[bytes]) -> int:
        """Append rows in one write after reading all of `lines`; return their size in bytes.

        Not atomic: if the process ends inside the call, any number of the first rows may be stored. The same holds
        after `SpoolFull`; its `stored` is their number, and a push may have sent them already.

        Raises:
            ValueError: one of `lines` is not exactly one line; no row is stored.
            SpoolFull: as in `write`.
            OSError: as in `write`.
        """
        data, rows = bytearray(), 0
        lines = iter(lines)
        while chunk := list(islice(lines, DEFAULTS.join_rows)):
            block = b"".join(chunk)
            if b"" in chunk or block.count(b"\n") != len(chunk) or {*map(_last_byte, chunk)} != _NEWLINE:
                raise _not_a_line(next(line for line in chunk if line.find(b"\n") != len(line) - 1 or not line))
            data += block
            rows += len(chunk)
        if rows:
            with self._lock:
                self._append(data, rows)
        return len(data)

    def close(self) -> None:
        """Sync and release the segment, which ends the owner's lock.

        A later write creates a new segment, so that rows appended after `stop` are on the disk for the next start.
        """
        with self._lock:
            self._end()
            sync_thread, self._sync_thread = self._sync_thread, None
            self._stopped.set()
        if sync_thread not in (None, threading.current_thread()):  # a hook may call it there
            sync_thread.join(timeout=DEFAULTS.close_seconds)
        self._finish_ended(DEFAULTS.close_seconds)

    def reopen(self) -> None:
        """Note that a scheduler uses it: until the next `stop` no row is warned of."""
        self._is_stopped = self._has_warned = False

    def stop(self) -> None:
        """Close it because its scheduler stops; the first later row is warned of."""
        self._is_stopped = True
        self.close()

    def after_fork_in_child(self) -> None:
        """Give the child its own writer id; close the parent's descriptors, and so the shared lock, without a sync."""
        for fd in (self._fd, self._sync_fd):
            if fd is not None:
                with suppress(OSError):
                    os.close(fd)
        for ended in self._ended:
            ended.release()
        self._name = replace(self._name, date=_utc_date(), writer=new_writer_id(), seq=-1)
        self._reset()

    def _append(self, data: bytes | bytearray, rows: int) -> None:
        size = self._size + len(data)
        if size > self._limit:
            self._make_room(len(data))
            size = self._size + len(data)
        fd = self._fd
        assert fd is not None  # without a segment, _limit is below any size
        try:
            written = os.write(fd, data)
            if written != len(data):  # a full disk took 748 of 3,011 bytes without an exception
                self._write_rest(fd, data, written)
            if self._syncs_each:
                self._sync_or_cut(fd)
            self._size = size
            self._count += rows
        except OSError as error:
            if self._fd is None:  # the failed sync has ended the segment
                raise
            stored = self._cut_torn_row(fd, data)
            if error.errno not in _FULL:
                self._end(sync_failed=True)  # further writes to this file may fail too
            raise self._as_spool_full(error, stored) from error
        except BaseException:
            # An interrupt between the write and the new `_size`: bytes after `_size` may be acknowledged, so this
            # segment must not be cut there later.
            self._end()
            raise

    def _as_spool_full(self, error: OSError, stored: int = 0) -> OSError:
        """Return `SpoolFull` for the error of a full disk, and any other error unchanged."""
        if error.errno not in _FULL:
            return error
        return SpoolFull(self.folder, sum(size for _, size in _segment_sizes(self.folder)), None, stored)

    def _make_room(self, more: int) -> None:
        """Make sure that the current segment can take `more` bytes; begin a new one if it is full."""
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
                raise self._as_spool_full(error) from error
        # a row that is larger than `roll_bytes` gets a segment of its own
        self._limit = min(self.roll_bytes, self.max_bytes - others)

    def _write_rest(self, fd: int, data: bytes | bytearray, written: int) -> None:
        view = memoryview(data)
        while written < len(data):
            count = os.write(fd, view[written:])
            if count == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))
            written += count

    def _cut_torn_row(self, fd: int, data: bytes | bytearray) -> int:
        """Cut a torn row off the segment after a failed write; return how many whole rows of `data` it holds.

        Only the owner may cut, under its lock, and only after the last newline: a push may have sent anything before
        it. After a full disk the segment stays in use, unless it cannot be cut; otherwise each write would leave one
        more empty segment on the disk.
        """
        try:
            written = data[: max(os.fstat(fd).st_size - self._size, 0)]
            whole = written.rfind(b"\n") + 1
            os.ftruncate(fd, self._size + whole)
        except OSError:
            self._end(sync_failed=True)
            return 0
        stored = written.count(b"\n")
        self._size += whole
        self._count += stored
        return stored

    def _sync_or_cut(self, fd: int) -> None:
        """Sync; if that fails, cut the row off and end the segment (see `EndedSegment` for why no sync is repeated)."""
        try:
            segment_file.sync(fd)
        except OSError:
            with suppress(OSError):
                os.ftruncate(fd, self._size)
            self._end(sync_failed=True)
            raise

    def _open_segment(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._is_stopped and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "A row was appended after stop(). It is stored in %s; the next scheduler for this folder sends it, or"
                " `hubspool flush %s`.",
                self.folder,
                self.folder.parent,
            )
        self._name = self._name.next(_utc_date())
        self._fd = segment_file.create(self.folder / str(self._name))
        self._size = self._synced_size = 0
        self._count = 0
        if self._sync_thread is None:
            self._stopped = threading.Event()
            thread = threading.Thread(
                target=self._sync_loop, args=(self._stopped,), name=f"hubspool-sync-{self.writer}", daemon=True
            )
            self._syncs_each = self._is_durable
            try:
                thread.start()
            except RuntimeError:  # Python 3.12 starts no thread at exit, and no system more than it allows
                self._syncs_each = True  # by the thread that writes, until a later segment finds a thread
            else:
                self._sync_thread = thread

    def _end(self, *, sync_failed: bool = False) -> None:
        """End the segment. The sync thread syncs it, so that no writer waits until 64 MiB are on the disk."""
        if self._fd is None:
            return
        ended = EndedSegment(self.folder / str(self._name), self._fd, sync_failed)
        self._ended.append(ended)
        self._rows[str(self._name)] = self._count
        self._ended_size += self._size
        self._fd, self._limit = None, _NO_SEGMENT
        self._size = self._count = 0

    def _sync_loop(self, stopped: threading.Event) -> None:
        """Sync new rows each second, and end the segment of the day before."""
        while not stopped.wait(DEFAULTS.sync_seconds):
            with self._lock:
                if self._fd is not None and self._name.date != _utc_date():
                    self._end()
            self._sync()
            self._finish_ended()
            self.rescue.check_and_tell()

    def _sync(self) -> None:
        """Sync the current segment on a duplicate of its descriptor, without the lock: no writer waits for the disk."""
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
            logger.exception("%s: %s could not be synced; later rows go to a new file", self.folder, name)
        with self._lock:
            self._sync_fd = None
            with suppress(OSError):  # the descriptor is closed even then, and this thread must continue
                os.close(fd)
            if self._name == name and self._fd is not None:
                if failed:
                    self._end(sync_failed=True)
                else:
                    self._synced_size = size
            elif failed:  # the segment has ended since
                for ended in self._ended:
                    ended.sync_failed |= ended.path.name == str(name)

    def _finish_ended(self, timeout: float = 0) -> None:
        """Finish the segments that have ended; wait up to `timeout` seconds for another thread that does."""
        if not self._finishing.acquire(timeout=timeout):
            return
        try:
            for ended in list(self._ended):
                ended.finish()
                if (fd := ended.detach()) is not None:
                    self.rescue.keep_open(ended.path.name, fd)
                with self._lock:
                    self._ended.remove(ended)
        finally:
            self._finishing.release()


def _is_there(path: Path, fd: int | None) -> bool:
    try:
        return fd is None or is_in_place(path, fd)
    except (FilesMissingError, OSError):
        return False


def _not_a_line(line: bytes) -> ValueError:
    return ValueError(f"a row must end in its only newline: {line[:80]!r}")


def _segment_sizes(folder: Path) -> list[tuple[str, int]]:
    sizes = []
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if SegmentName.parse(entry.name) is not None:
                with suppress(FileNotFoundError):  # a push has removed it since
                    sizes.append((entry.name, entry.stat().st_size))
    return sizes


def _utc_date() -> str:
    return datetime.now(timezone.utc).strftime("%Y%m%d")
