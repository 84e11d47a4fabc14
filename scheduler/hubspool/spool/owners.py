"""Decides who owns a segment, and which segments may be removed from the disk."""

from __future__ import annotations

import os
from collections.abc import Iterable
from enum import Enum
from pathlib import Path

from hubspool.files import Stat, disk_of, fcntl
from hubspool.spool.defaults import DEFAULTS
from hubspool.spool.segment_name import SegmentName


class Owner(Enum):
    """The state of a segment's writer."""

    ALIVE = "alive"
    """It may write to the segment."""
    LEFT = "left"
    """The segment has not changed for 15 minutes, and no lock shows whether its writer has ended. The segment may be
    sent, but never removed: a quiet writer, on another host or on a mount without locks, would continue to write into
    the removed file."""
    GONE = "gone"
    """The lock was free: no process writes to the segment, now or later."""


def is_of_future(stat: Stat, now_ns: int) -> bool:
    """Return True if a segment's time is so far in the future that it tells nothing of when the segment changed."""
    return stat.mtime_ns - now_ns > DEFAULTS.foreign_rest_seconds * 1_000_000_000


def owner_of(path: Path, stat: Stat, now_ns: int, seen_ns: int | None = None) -> Owner:
    """Return the state of the writer of the segment at `path`.

    On this host the writer's flock shows it, at once and for certain. A segment of another host counts as alive until
    it has not changed for 15 minutes; if it is on a disk of this machine (one that outlived its last host), the lock
    then shows it.

    Args:
        path: the segment.
        stat: of the segment, from the scan.
        now_ns: time of the scan, nanoseconds since the epoch.
        seen_ns: when the segment was first seen with this `stat`; counts where its own time is later, since another
            host's clock may be wrong.
    """
    since_ns = stat.mtime_ns if seen_ns is None else min(stat.mtime_ns, seen_ns)
    rested = now_ns - since_ns > DEFAULTS.foreign_rest_seconds * 1_000_000_000
    if fcntl is None or not SegmentName.of(path.name).is_of_this_host:
        if not rested:
            return Owner.ALIVE
        if fcntl is None or not disk_of(path.parent).is_reliable:
            return Owner.LEFT
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return Owner.ALIVE
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return Owner.ALIVE
    except OSError:  # a mount without locks
        return Owner.LEFT if rested else Owner.ALIVE
    else:
        return Owner.GONE
    finally:
        os.close(fd)


def is_removable(owner: Owner, size: int, sent: Iterable[tuple[int, int]]) -> bool:
    """Return True if a segment may be removed once the ranges `sent` are acknowledged.

    Its writer must be gone, and the ranges must cover all `size` bytes: a segment with damaged lines, which no part
    holds, is kept for a person to look at.

    Args:
        owner: the state of its writer.
        size: of the segment, in bytes.
        sent: [start, end) ranges that are sent, ascending.
    """
    position = 0
    for start, end in sent:
        if start != position:
            return False
        position = end
    return owner is Owner.GONE and position == size


def remove_segment(path: Path, size: int) -> bool:
    """Remove a segment if it has no writer and exactly `size` bytes; return True if the file is gone.

    Both conditions are checked again under the lock: between the scan of its length and the check of its lock, the
    owner may have written its last rows and ended.
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
        path.unlink()  # Windows refuses this while another process has the file open
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
