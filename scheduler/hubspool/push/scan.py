"""What changed in a folder since the ledger last saw it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

from hubspool import files
from hubspool.files import Stat
from hubspool.spool.segment_name import SegmentName

#: File times move in ticks of the kernel's clock, which are at most this long.
_TICK_NS = 10_000_000


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
                if _stat(self._path(relative)).mtime_ns != time_ns or self._listed_ns - time_ns < files.RACY_NS:
                    for child in self._list(relative):
                        if child not in self._folder_times:
                            self.below(child)
        late = []
        for found in (self.segments, self.changed):
            for path in [path for path in found if path not in seen]:
                if found[path].ctime_ns <= before_ns:
                    late.append(path)
                else:
                    del found[path]
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
