"""Who writes to a segment, and which segments may be removed."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from types import ModuleType

from hubspool.files import Stat, disk_of
from hubspool.spool.segment_name import SegmentName

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

FOREIGN_REST_SECONDS = 15 * 60


class Owner(Enum):
    """Whether somebody writes to a segment."""

    ALIVE = "alive"
    LEFT = "left"
    """It has not changed for 15 minutes, and no lock can tell: it may be sent, but never removed. Its writer may be
    quiet, on another host or on a mount without locks, and would go on writing into the removed file."""
    GONE = "gone"
    """Its lock was free: nobody writes to it, and nobody will."""


def owner_of(path: Path, stat: Stat, now_ns: int) -> Owner:
    """Tell whether somebody writes to the segment at `path`.

    On this host the owner's flock tells, at once and for certain. A segment of another host is left alone until it has
    not changed for 15 minutes; on a disk of this machine (one that outlived its last host) the lock then tells.
    """
    name = SegmentName.of(path.name)
    if not name.is_of_this_host or fcntl is None:
        if now_ns - stat.mtime_ns <= FOREIGN_REST_SECONDS * 1_000_000_000:
            return Owner.ALIVE
        if fcntl is None or not disk_of(path.parent).is_reliable:
            return Owner.LEFT
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return Owner.ALIVE
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return Owner.ALIVE
    except OSError:  # a mount without locks
        rested = now_ns - stat.mtime_ns > FOREIGN_REST_SECONDS * 1_000_000_000
        return Owner.LEFT if rested else Owner.ALIVE
    else:
        return Owner.GONE
    finally:
        os.close(fd)


def remove_segment(path: Path, size: int) -> bool:
    """Remove a segment if nobody writes to it and it has exactly `size` bytes; returns whether it is gone.

    Both are checked again, under the lock: between a look at its length and a look at its lock the owner may have
    written its last rows and ended.
    """
    try:
        with path.open("rb") as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file.fileno()).st_size != size:
                return False
            if fcntl is not None:
                path.unlink()
                return True
        path.unlink()  # Windows refuses this while anybody has the file open
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
