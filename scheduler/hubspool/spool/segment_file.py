"""A segment's file: made under its owner's lock, confirmed by the disk, written anew where the disk refuses."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from hubspool.files import publish, sync_folder

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows has no flock: an orphan is told by its age alone (see scan.owner_of)
    fcntl = None

logger = logging.getLogger(__name__)

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_BLOCK = 1024 * 1024
sync = getattr(os, "fdatasync", os.fsync)


def create(path: Path) -> int:
    """Make a new, empty segment, locked by this process; returns its descriptor for appending.

    Raises:
        FileExistsError: there is such a segment.
    """
    hidden = _hidden(path)
    fd = _open_locked(hidden)
    try:
        # Locked before it is visible: a pusher that found it unlocked would take it for an orphan and remove it.
        publish(hidden, path)
        sync_folder(path.parent)
    except BaseException:
        os.close(fd)
        hidden.unlink(missing_ok=True)
        raise
    return fd


@dataclass(eq=False)
class Ended:
    """A segment that takes no more rows, but keeps its lock until the disk has confirmed it.

    Args:
        path: where it is.
        fd: its descriptor, which holds the owner's lock.
        is_refused: a sync has failed. It must not be tried again: the kernel drops the pages that it could not write,
            and reports success the second time.
    """

    path: Path
    fd: int | None
    is_refused: bool = False
    _copy: int | None = None

    def settle(self) -> None:
        """Sync it, write it anew where that fails, and let it go."""
        try:
            if not self.is_refused and self.fd is not None:
                sync(self.fd)
        except OSError:
            self.is_refused = True
            logger.exception("the disk did not confirm %s", self.path)
        try:
            if self.is_refused:
                self._write_anew()
        except OSError:
            logger.exception("%s could not be written anew; a power loss may take rows of it", self.path)
        finally:
            self.release()

    def release(self) -> None:
        """Close its descriptors, and with them end the owner's lock; also in a fork's child, which shares it."""
        for fd in (self.fd, self._copy):
            if fd is not None:
                with suppress(OSError):
                    os.close(fd)
        self.fd = self._copy = None

    def _write_anew(self) -> None:
        """Replace the file by a synced copy of itself.

        The same name and bytes, so that what was sent of it keeps its place. Only the rows since the last good sync in
        a segment of another name would reach the Hub twice, since a push may have taken them from this one. The page
        cache still holds them, but no longer than it likes to.
        """
        hidden = _hidden(self.path)
        hidden.unlink(missing_ok=True)
        self._copy = _open_locked(hidden)
        try:
            with self.path.open("rb") as source:
                while block := source.read(_BLOCK):
                    view = memoryview(block)
                    while view:
                        view = view[os.write(self._copy, view) :]
            sync(self._copy)
            hidden.replace(self.path)
        except BaseException:
            hidden.unlink(missing_ok=True)
            raise
        sync_folder(self.path.parent)
        logger.warning("%s was written anew to the disk", self.path)


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
