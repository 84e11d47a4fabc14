"""What changed in a folder since the ledger last saw it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from hubspool.files import disk_of
from hubspool.spool.segment_name import SegmentName

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

FOREIGN_REST_SECONDS = 15 * 60
#: A file changed less than this before it was looked at may change again with all four numbers the same.
RACY_NS = 50_000_000
#: File times move in ticks of the kernel's clock, which are at most this long.
_TICK_NS = 10_000_000


class Stat(NamedTuple):
    """Four numbers that together change whenever a file does.

    The change time is among them because a copy of another file of equal size with its times restored leaves the
    other three as they were.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, result: os.stat_result) -> Stat:
        return cls(result.st_size, result.st_mtime_ns, result.st_ctime_ns, result.st_ino)

    def is_racy(self, now_ns: int) -> bool:
        """Whether the file was written so shortly before `now_ns` that these numbers may not tell the next write."""
        return now_ns - max(self.ctime_ns, self.mtime_ns) < RACY_NS


@dataclass(frozen=True)
class Snapshot:
    """One look at a folder: lengths fixed at one moment, under the writers' lock.

    Args:
        segments: every segment in the folder.
        changed: other files whose numbers are not the known ones.
        taken_ns: when the lengths were fixed (`time.time_ns`).
        unreadable: path → reason, for what could not be looked at.
    """

    segments: dict[str, Stat]
    changed: dict[str, Stat]
    taken_ns: int
    unreadable: dict[str, str] = field(default_factory=dict)


def scan(
    folder: Path,
    known: Mapping[str, Stat],
    chosen: Callable[[str], bool],
    lock: AbstractContextManager[object] | None = None,
) -> Snapshot:
    """List what is new, holding `lock` only to fix the lengths of what changed.

    The walk runs without the lock: with 100,000 files it takes seconds, and every writer would wait for it. What was
    created meanwhile, before the lock was taken, is found by listing again, without it, the folders whose own times
    changed; a second short hold fixes those lengths. So a file is there before the line that names it.

    Returns:
        Paths are relative, with ``/``. Links to files count as files, links to folders are not followed; ``.git``,
        ``.cache/huggingface`` and hidden files of the spool are left out.
    """
    walk = _Walk(folder, known, chosen)
    walk.below("")
    with lock or nullcontext():
        for path in [*walk.segments, *walk.changed]:
            walk.fix(path)
        taken_ns = time.time_ns()
    late = walk.again(before_ns=taken_ns + _TICK_NS)
    if late:
        with lock or nullcontext():
            for path in late:
                walk.fix(path)
    return Snapshot(walk.segments, walk.changed, taken_ns, walk.unreadable)


_GONE = (FileNotFoundError, NotADirectoryError)


class _Walk:
    def __init__(self, folder: Path, known: Mapping[str, Stat], chosen: Callable[[str], bool]) -> None:
        self._base = str(folder)
        self.known = known
        self.chosen = chosen
        self.segments: dict[str, Stat] = {}
        self.changed: dict[str, Stat] = {}
        self.unreadable: dict[str, str] = {}
        self._folder_times: dict[str, int] = {}
        self._listed_ns = time.time_ns()

    def below(self, start: str) -> None:
        waiting = [start]
        while waiting:
            waiting.extend(self._list(waiting.pop()))

    def again(self, before_ns: int) -> list[str]:
        """List once more the folders that got or lost a name since `below` saw them; return what is new.

        Without the lock: a folder of 100,000 names takes a second. What was changed after `before_ns` is left to the
        next push: it may name files that are not in this one.
        """
        seen = {*self.segments, *self.changed}
        for relative, time_ns in list(self._folder_times.items()):
            with suppress(*_GONE):
                # A folder's time moves in ticks: one that had just changed may have changed again within the same.
                if _stat(self._path(relative)).mtime_ns != time_ns or self._listed_ns - time_ns < RACY_NS:
                    for found in self._list(relative):
                        if found not in self._folder_times:
                            self.below(found)
        late = []
        for files in (self.segments, self.changed):
            for path in [path for path in files if path not in seen]:
                if files[path].ctime_ns <= before_ns:
                    late.append(path)
                else:
                    del files[path]
        return late

    def fix(self, path: str) -> None:
        """Take the numbers of a file once more; forget one that is gone."""
        found = self.segments if path in self.segments else self.changed
        try:
            found[path] = _stat(self._path(path))
        except _GONE:
            del found[path]
        except OSError as error:
            del found[path]
            self.unreadable[path] = str(error)

    def _path(self, relative: str) -> str:
        return f"{self._base}/{relative}"

    def _list(self, relative: str) -> list[str]:
        folders = []
        prefix = f"{relative}/" if relative else ""
        try:
            self._folder_times[relative] = _stat(self._path(relative)).mtime_ns
            with os.scandir(self._path(relative)) as entries:
                for entry in entries:
                    path = prefix + entry.name
                    if entry.name == ".git":
                        continue
                    if not entry.is_dir(follow_symlinks=False):
                        if not self._is_known(entry, path):
                            self._look(entry, path)
                    elif not f"/{path}".endswith("/.cache/huggingface"):
                        folders.append(path)
        except _GONE:
            pass  # removed while we walked: nothing to send
        except OSError as error:
            self.unreadable[relative or "."] = str(error)
        return folders

    def _is_known(self, entry: os.DirEntry[str], path: str) -> bool:
        """Whether nothing is new about a file; this is all that an idle period does, a hundred thousand times."""
        known = self.known.get(path)
        if known is None or (path.endswith(".jsonl") and SegmentName.parse(entry.name) is not None):
            return False
        try:
            found = entry.stat()
        except OSError:
            return False
        return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino) == known

    def _look(self, entry: os.DirEntry[str], path: str) -> None:
        if entry.name.startswith(".") and entry.name.endswith(".jsonl.new"):
            return  # a segment that is being made
        try:
            entry.name.encode()
        except UnicodeEncodeError:
            readable = os.fsencode(path).decode("utf-8", "backslashreplace")
            self.unreadable[readable] = "its name is not UTF-8, and the Hub takes no other"
            return
        try:
            if not entry.is_file():
                return
            stat = Stat.of(entry.stat())
        except FileNotFoundError:
            return
        except OSError as error:
            self.unreadable[path] = str(error)
            return
        if SegmentName.parse(entry.name) is not None:
            if self.chosen(path):
                self.segments[path] = stat
        elif self.known.get(path) != stat and self.chosen(path):
            self.changed[path] = stat


def _stat(path: str) -> Stat:
    return Stat.of(os.stat(path))  # noqa: PTH116  half of the time under the lock went into pathlib


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
