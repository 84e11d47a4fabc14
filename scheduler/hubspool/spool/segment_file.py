"""A segment's file: created under its owner's lock, synced, and rewritten if the sync fails."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hubspool.files import blocks, fcntl, publish, sync_folder

logger = logging.getLogger(__name__)

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
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
    _copy: int | None = None

    def finish(self) -> None:
        """Sync the segment, rewrite it if that fails, and release it."""
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
            self.release()

    def release(self) -> None:
        """Close the descriptors, which ends the owner's lock; a fork's child calls it too, since it shares the lock."""
        for fd in (self.fd, self._copy):
            if fd is not None:
                with suppress(OSError):
                    os.close(fd)
        self.fd = self._copy = None

    def _rewrite(self) -> None:
        """Replace the file by a synced copy of itself, while the page cache still holds its rows.

        The copy has the same name and bytes, so the ranges of its parts stay valid. Rejected: copying only the rows
        since the last good sync into a segment of another name; a push may have sent them from this segment, and they
        would reach the Hub twice.
        """
        hidden = _hidden(self.path)
        hidden.unlink(missing_ok=True)
        self._copy = _open_locked(hidden)
        try:
            with self.path.open("rb") as source:
                for block in blocks(source, 0, os.fstat(source.fileno()).st_size):
                    view = memoryview(block)
                    while view:
                        view = view[os.write(self._copy, view) :]
            sync(self._copy)
            hidden.replace(self.path)
        except BaseException:
            hidden.unlink(missing_ok=True)
            raise
        sync_folder(self.path.parent)
        logger.warning("%s was rewritten after a failed sync", self.path)


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
