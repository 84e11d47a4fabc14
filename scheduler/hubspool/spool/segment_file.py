"""A segment's file: created under its owner's lock, synced, and rewritten if the sync fails."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hubspool.files import blocks, fcntl, is_in_place, publish, sync_folder

logger = logging.getLogger(__name__)

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
sync = getattr(os, "fdatasync", os.fsync)


def create(path: Path) -> int:
    """Create an empty segment that this process has locked; return its descriptor for appending.

    Raises:
        FileExistsError: the segment exists.
    """
    hidden = _hidden(path)
    fd = _open_locked(hidden)
    try:
        # Locked before it is visible: a push that found it unlocked would take it for an orphan and remove it.
        publish(hidden, path)
        sync_folder(path.parent)
    except BaseException:
        os.close(fd)
        hidden.unlink(missing_ok=True)
        raise
    return fd


@dataclass(eq=False)
class EndedSegment:
    """A segment that takes no more rows, but stays locked until it is synced.

    Args:
        path: the file.
        fd: its descriptor, which holds the owner's lock.
        sync_failed: a sync has failed and must not be repeated: the kernel drops the pages that it could not write, and
            reports success the second time.
    """

    path: Path
    fd: int | None
    sync_failed: bool = False

    def finish(self) -> None:
        """Sync the segment, rewrite it if that fails, and end the owner's lock."""
        try:
            if not self.sync_failed and self.fd is not None:
                sync(self.fd)
        except OSError:
            self.sync_failed = True
            logger.exception("%s could not be synced", self.path)
        try:
            if self.sync_failed:
                self._rewrite()
        except OSError:
            logger.exception("%s could not be rewritten; a power loss may lose rows of it", self.path)
        finally:
            if self.fd is not None and fcntl is not None:
                with suppress(OSError):
                    fcntl.flock(self.fd, fcntl.LOCK_UN)

    def detach(self) -> int | None:
        """Return the descriptor, from which the rows can be read if the file is removed; the caller closes it."""
        fd, self.fd = self.fd, None
        return fd

    def release(self) -> None:
        """Close the descriptor; a fork's child does so, since it shares the owner's lock."""
        fd = self.detach()
        if fd is not None:
            with suppress(OSError):
                os.close(fd)

    def _rewrite(self) -> None:
        """Replace the file by a synced copy of itself, while the page cache still holds its rows.

        The copy has the same name and bytes, so the ranges of its parts stay valid. Rejected: copying only the rows
        since the last good sync into a segment of another name; a push may have sent them from this segment, and they
        would reach the Hub twice.
        """
        if self.fd is None or not is_in_place(self.path, self.fd):
            return  # somebody removed it: `Rescue` writes it again
        hidden = _hidden(self.path)
        fresh = _copy(self.fd, hidden)
        try:
            hidden.replace(self.path)
        except BaseException:
            _discard(fresh, hidden)
            raise
        self.release()
        self.fd = fresh
        sync_folder(self.path.parent)
        logger.warning("%s was rewritten after a failed sync", self.path)


def write_again(fd: int, path: Path) -> int | None:
    """Write the removed segment that `fd` is open on under its old name, byte for byte, and sync it.

    A file that has the name is left alone, unless it is an older copy: the beginning of this one.

    Returns:
        A descriptor of the file that now has the name; None if that file has other bytes.

    Raises:
        OSError: it cannot be written now.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = _hidden(path.with_name(f"{os.getpid()}-{path.name}"))  # another process may write it again too
    fresh = _copy(fd, hidden)
    try:
        try:
            publish(hidden, path)
        except FileExistsError:
            length = _common_length(fd, path)
            if length is None:
                _discard(fresh, hidden)
                return None
            if length == os.fstat(fd).st_size:
                _discard(fresh, hidden)
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            hidden.replace(path)
        sync_folder(path.parent)
    except BaseException:
        _discard(fresh, hidden)
        raise
    if fcntl is not None:
        fcntl.flock(fresh, fcntl.LOCK_UN)
    return fresh


def _common_length(fd: int, path: Path) -> int | None:
    """Return the size of the smaller of two files if the other begins with it, else None."""
    with path.open("rb") as found, open(fd, "rb", closefd=False) as own:
        length = min(os.fstat(found.fileno()).st_size, os.fstat(fd).st_size)
        same = all(a == b for a, b in zip(blocks(own, 0, length), blocks(found, 0, length), strict=True))
        return length if same else None


def _copy(fd: int, hidden: Path) -> int:
    """Write a synced copy of an open segment; return its descriptor, which holds the owner's lock."""
    hidden.unlink(missing_ok=True)
    fresh = _open_locked(hidden)
    try:
        with open(fd, "rb", closefd=False) as source:
            for block in blocks(source, 0, os.fstat(fd).st_size):
                view = memoryview(block)
                while view:
                    view = view[os.write(fresh, view) :]
        sync(fresh)
    except BaseException:
        _discard(fresh, hidden)
        raise
    return fresh


def _discard(fd: int, hidden: Path) -> None:
    os.close(fd)
    hidden.unlink(missing_ok=True)


def _hidden(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def _open_locked(path: Path) -> int:
    fd = os.open(path, _FLAGS, 0o600)
    if fcntl is not None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise
    return fd
