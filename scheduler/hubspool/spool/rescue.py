"""Writes the files of a running spool again after somebody removed them."""

from __future__ import annotations

import logging
import os
import sys
import threading
import weakref
from collections.abc import Container, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from hubspool import fork
from hubspool.errors import FilesMissingError, PushLockBusyError, StateFileError
from hubspool.files import BLOCK_BYTES, fcntl, is_in_place
from hubspool.spool.defaults import DEFAULTS
from hubspool.spool.segment_file import write_again

logger = logging.getLogger(__name__)


def _try_lock(fd: int) -> bool:
    """Lock an open file; return False if another descriptor has it locked."""
    assert fcntl is not None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unlock(fd: int) -> None:
    assert fcntl is not None
    fcntl.flock(fd, fcntl.LOCK_UN)


class KeptLock(fork.ForkAware):
    """Keeps the file of the push lock open, to see whether its path still names it, and replaces it if not.

    It does not lock for a push: `filelock` does, on a descriptor of its own.

    Used by one thread at a time.

    Args:
        path: the lock file; created at the first use.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None
        self._new: int | None = None  # the file that takes the place of a removed one; locked
        fork.register(self)

    def is_in_place(self) -> bool:
        """Return True if the path names the file that this process knows.

        Raises:
            FilesMissingError: the file was moved.
        """
        if self._fd is None:
            self._fd = self._open()
        return self._new is None and is_in_place(self.path, self._fd)

    def take(self) -> bool:
        """Lock the file at the path, a new one if it was removed; return True once no push runs under the removed one.

        Until `release` no other process can push, not even one that was started meanwhile and has an empty ledger.

        Raises:
            PushLockBusyError: another process has the file at the path locked.
        """
        assert self._fd is not None
        if self._new is not None and not is_in_place(self.path, self._new):  # removed once more
            os.close(self._new)
            self._new = None
        if self._new is None:
            fd = self._open()
            if not _try_lock(fd) or not is_in_place(self.path, fd):
                os.close(fd)
                raise PushLockBusyError(self.path.parent, "", 0.0)
            self._new = fd
        return os.path.samestat(os.fstat(self._fd), os.fstat(self._new)) or _try_lock(self._fd)

    def release(self) -> None:
        """Unlock the file that `take` locked, and keep it open."""
        assert self._fd is not None
        assert self._new is not None
        os.close(self._fd)
        self._fd, self._new = self._new, None
        _unlock(self._fd)

    def close(self) -> None:
        """Close the files; a later use opens the one at the path."""
        for fd in (self._fd, self._new):
            if fd is not None:
                os.close(fd)
        self._fd = self._new = None

    after_fork_in_child = close  # the child shares the locks of these descriptors

    def _open(self) -> int:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateFileError(self.path, error.strerror or str(error)) from error


class RestorableState(Protocol):
    """The ledger and the push lock of a folder."""

    def restore(self) -> bool:
        """Write the files again if they were removed; return True if they were all there.

        Raises:
            FilesMissingError: they were moved.
            HubspoolError, OSError: they cannot be written now.
        """

    def rows_on_hub(self, source: str, size: int | None) -> float:
        """Return how many rows of a segment (of `size` bytes) are on the Hub; infinite if all of them are."""


class RestorableSpool(Protocol):
    """The segments that one object of this process writes."""

    def leave_removed(self) -> bool:
        """End the segment if its file was removed, and give it to `Rescue.keep_open`; return True if it was there."""

    def leave(self, sources: Container[str]) -> None:
        """End the segment if it is one of `sources`."""

    def rows_ended(self) -> dict[str, int]:
        """Return the rows of the segments that have ended: file name → number."""


class Listener(Protocol):
    """Reports errors, as `StatusTracker` does."""

    def note_error(self, error: BaseException, retry_in: float | None) -> None:
        """Report an error."""


class Rescue(fork.ForkAware):
    """Keeps the segments of one folder open until they are on the Hub, and writes them again if they are removed.

    Not guaranteed: a segment that no running process has open is lost (a process keeps at most 64, and only those that
    it wrote or has seen in a push), and so are the files in the folder that are not segments. `missing` names what is
    lost, as far as this process wrote it.

    Get it with `rescue_of`: there is one for each folder in a process. The ledger and the push lock come first, and
    then each segment under its old name, byte for byte, so that its parts keep their paths. A segment whose writer runs
    is left to the writer's process, and a file that has the name of a removed one is left alone. A file that was moved
    is not copied. Nothing is done on Windows, which does not remove open files.

    Thread-safe.

    Args:
        folder: the folder of the segments.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        #: Segment → why it is not in the folder although rows of it are not on the Hub.
        self.missing: dict[str, str] = {}
        self.states: weakref.WeakSet[RestorableState] = weakref.WeakSet()
        self.spools: weakref.WeakSet[RestorableSpool] = weakref.WeakSet()
        #: Get each new error, in the thread that found it.
        self.listeners: weakref.WeakSet[Listener] = weakref.WeakSet()
        self._held: dict[str, int] = {}
        self._sent: set[str] = set()  # removed after all their rows were on the Hub, or moved to another spool
        self._untold: list[FilesMissingError] = []
        self._told = ""
        self._lock = threading.RLock()
        fork.renew(self, "_lock", threading.RLock)
        fork.register(self)
        weakref.finalize(self, _close_all, self._held)

    def check(self) -> bool:
        """Write again what was removed; return True if nothing was.

        Raises:
            PushLockBusyError: another process holds the push lock that replaced a removed one.
            FilesMissingError: the ledger was moved.
            HubspoolError, OSError: the ledger cannot be written now. `missing` names the segments that cannot.
        """
        if fcntl is None or not self.states:  # without a ledger, of a stopped scheduler, all would look unsent
            return True
        with self._lock:
            found = [state.restore() for state in [*self.states]]
            spools = [*self.spools]
            found += [spool.leave_removed() for spool in spools]
            found += [self._restore(source, fd) for source, fd in [*self._held.items()]]
            for spool in spools:
                self._note_lost(spool.rows_ended())
            untold, self._untold = self._untold, []
        for error in untold:  # without the lock: a listener may call code that waits for a push
            self._tell(error)
        return all(found)

    def check_and_tell(self) -> None:
        """As `check`, for a thread that runs each second: an error goes to the listeners, once while it stays."""
        try:
            self.check()
        except PushLockBusyError:
            pass  # the other process restores the ledger, or a later call does
        except Exception as error:  # noqa: BLE001  the thread must continue, and check again
            if str(error) != self._told:
                self._told = str(error)
                self._tell(error)
        else:
            self._told = ""

    def keep(self, segments: Iterable[str], unsent: Mapping[str, object]) -> None:
        """Keep those of a folder's segments open that are not wholly on the Hub."""
        if fcntl is None:
            return
        with self._lock:
            for source in segments:
                if source not in unsent:
                    self.release(source)
                elif source not in self._held and len(self._held) < DEFAULTS.held_segments:
                    with suppress(OSError):
                        self.keep_open(source, os.open(self.folder / source, os.O_RDONLY | os.O_CLOEXEC))

    def leave(self, sources: Container[str]) -> None:
        """Let new rows go to new segments, because these wait for a second look."""
        for spool in [*self.spools]:
            spool.leave(sources)

    def keep_open(self, source: str, fd: int) -> None:
        """Take over the descriptor of a segment."""
        with self._lock:
            known = self._held.get(source)
            is_known = known is not None and os.path.samestat(os.fstat(known), os.fstat(fd))
            if not is_known:
                self.release(source)
            is_full = len(self._held) >= DEFAULTS.held_segments and (self.folder / source).exists()
            if fcntl is None or is_known or is_full:
                os.close(fd)
            else:
                self._held[source] = fd

    def note_sent(self, sources: Iterable[str]) -> None:
        """Note segments that a push of this process removed after all of them was on the Hub."""
        with self._lock:
            self._sent.update(sources)

    def release(self, source: str | None = None) -> None:
        """Close a segment, or all: it is on the Hub, or the process ends."""
        with self._lock:
            for each in [*self._held] if source is None else [source]:
                if (fd := self._held.pop(each, None)) is not None:
                    os.close(fd)

    def after_fork_in_child(self) -> None:
        """Close the parent's segments: the parent restores them."""
        _close_all(self._held)
        self.missing.clear()

    def _rows_on_hub(self, source: str, size: int | None = None) -> float:
        return max((state.rows_on_hub(source, size) for state in [*self.states]), default=0)

    def _restore(self, source: str, fd: int) -> bool:
        """Write one segment again if it was removed; return False if that was done."""
        path = self.folder / source
        try:
            if not self._is_to_restore(source, fd):
                self.missing.pop(source, None)
                return True
            fresh = write_again(fd, path)
        except FilesMissingError as error:
            if not self._is_sent(source, fd):
                self._note(source, error.message)
            return True
        except OSError as error:  # a full disk: the next call tries again
            self._note(source, f"it was removed and cannot be written again: {error}")
            return True
        if fresh is None:
            self._note(source, f"lost rows: {_rows(fd) - self._rows_on_hub(source):.0f}; another file took its place")
            self.release(source)
            return True
        self.keep_open(source, fresh)
        self.missing.pop(source, None)
        logger.warning("%s was removed while it was in use, and was written again", path)
        return False

    def _is_to_restore(self, source: str, fd: int) -> bool:
        if is_in_place(self.folder / source, fd) or self._is_sent(source, fd):
            return False
        is_free = _try_lock(fd)  # a writer that runs restores its own segment
        _unlock(fd)
        return is_free

    def _is_sent(self, source: str, fd: int) -> bool:
        """Return True if all rows are on the Hub, and close the segment: a push of any process removed it."""
        if _rows(fd) > self._rows_on_hub(source, os.fstat(fd).st_size):
            return False
        self._sent.add(source)
        self.release(source)
        return True

    def _note_lost(self, written: dict[str, int]) -> None:
        for source, rows in written.items():
            known = source in self._held or source in self._sent or source in self.missing
            if not known and not (self.folder / source).exists():
                lost = rows - self._rows_on_hub(source)
                if lost > 0:
                    self._note(source, f"lost rows: {lost:.0f}; the file was removed while no process had it open")
                else:
                    self._sent.add(source)

    def _note(self, source: str, reason: str) -> None:
        if self.missing.get(source) != reason:
            self.missing[source] = reason
            self._untold.append(FilesMissingError(f"{self.folder / source}: {reason}", path=self.folder / source))

    def _tell(self, error: Exception) -> None:
        logger.error("%s", error)
        for listener in [*self.listeners]:
            listener.note_error(error, retry_in=None)


def _rows(fd: int) -> int:
    position = rows = 0
    while block := os.pread(fd, BLOCK_BYTES, position):
        rows += block.count(b"\n")
        position += len(block)
    return rows


def _close_all(held: dict[str, int]) -> None:
    while held:
        os.close(held.popitem()[1])


_rescues: weakref.WeakValueDictionary[str, Rescue] = weakref.WeakValueDictionary()
_rescues_lock = threading.Lock()
fork.renew(sys.modules[__name__], "_rescues_lock", threading.Lock)


def rescue_of(folder: Path) -> Rescue:
    """Return the `Rescue` of a folder; all callers in the process share it while one of them keeps it."""
    with _rescues_lock:
        return _rescues.setdefault(str(folder.resolve()), Rescue(folder))
