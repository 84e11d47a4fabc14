"""Finds the segments of a folder, and the files that changed since the ledger recorded them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG

from hubspool import files
from hubspool.files import Stat
from hubspool.spool.segment_name import RECORDS, JoinedName, SegmentName

#: Longest tick of the kernel's clock for file times, in nanoseconds.
_TICK_NS = 10_000_000


@dataclass(frozen=True)
class Snapshot:
    """The state of a folder, with all file lengths taken at one moment under the writers' lock.

    Args:
        segments: every segment in a spool.
        changed: other files whose `Stat` is not the known one.
        taken_ns: when the lengths were taken (`time.time_ns`).
        unreadable: path → reason, for files and folders that cannot be read.
        is_locked: the lock was held while the lengths of the user's files were taken.
    """

    segments: dict[str, Stat]
    changed: dict[str, Stat]
    taken_ns: int
    unreadable: dict[str, str] = field(default_factory=dict)
    is_locked: bool = True


def scan(
    folder: Path,
    known: Mapping[str, Stat],
    chosen: Callable[[str], bool],
    lock: AbstractContextManager[bool] | None = None,
    *,
    is_spool: bool = False,
) -> Snapshot:
    """List the changed files of `folder`, or the segments of a spool; hold `lock` only to take their lengths.

    The walk runs without the lock: with 100,000 files it takes seconds, and every writer would wait for it. Files that
    were created during the walk, before the lock was taken, are found by listing again, without the lock, the folders
    whose times changed; the lock is then held once more to take their lengths. So the snapshot has a file if it has
    the line that names it.

    Args:
        folder: the folder.
        known: files whose content is on the Hub, with their `Stat`.
        chosen: returns True for a path that is to be sent.
        lock: the writers' lock, whose value says whether it is held; None if there are no writers. Segments alone need
            no lock.
        is_spool: look for segments, and for nothing else. In any other folder a file with the name of a segment is one
            of the user's files.

    Returns:
        The snapshot, with relative paths, separated by ``/``. Links to files count as files, links to folders are not
        followed; ``.git``, ``.cache/huggingface`` and spools of rows are left out, and joined files and ``.hubspool``,
        which a copy of a repository has.
    """
    walk = _Walk(folder, known, chosen, is_spool)
    walk.list_tree("")
    with (walk.changed and lock) or nullcontext(True) as is_locked:
        walk.take_lengths([*walk.segments, *walk.changed])
        taken_ns = time.time_ns()
    created = walk.list_again(before_ns=taken_ns + _TICK_NS)
    if created:
        with (walk.changed and lock) or nullcontext(True) as is_still_locked:
            walk.take_lengths(created)
        is_locked = is_locked and is_still_locked
    return Snapshot(walk.segments, walk.changed, taken_ns, walk.unreadable, is_locked)


_GONE = (FileNotFoundError, NotADirectoryError)


class _Walk:
    def __init__(self, folder: Path, known: Mapping[str, Stat], chosen: Callable[[str], bool], is_spool: bool) -> None:
        self._base = str(folder)
        self._is_spool = is_spool
        self.known = known
        self.chosen = chosen
        self.segments: dict[str, Stat] = {}
        self.changed: dict[str, Stat] = {}
        self.unreadable: dict[str, str] = {}
        self._folder_times: dict[str, int] = {}
        self._listed_ns = time.time_ns()

    def list_tree(self, start: str) -> None:
        waiting = [start]
        while waiting:
            waiting.extend(self._list(waiting.pop()))

    def list_again(self, before_ns: int) -> list[str]:
        """List the folders again whose names changed since `list_tree` read them; return the files that are new.

        Called without the lock: a folder of 100,000 names takes a second. Files that changed after `before_ns` are left
        to the next push: their lines may name files that are not in this snapshot.
        """
        seen = {*self.segments, *self.changed}
        for relative, time_ns in list(self._folder_times.items()):
            with suppress(*_GONE):
                # The time of a folder moves in ticks: two changes within one tick leave the same time.
                if _stat(self._path(relative)).mtime_ns != time_ns or self._listed_ns - time_ns < files.RACY_NS:
                    for child in self._list(relative):
                        if child not in self._folder_times:
                            self.list_tree(child)
        created = []
        for found in (self.segments, self.changed):
            new = found.keys() - seen
            created += sorted(path for path in new if found[path].ctime_ns <= before_ns)
            for path in new.difference(created):
                del found[path]
        return created

    def take_lengths(self, paths: list[str]) -> None:
        """Take the current `Stat` of files; drop those that are gone."""
        for path in paths:
            found = self.segments if path in self.segments else self.changed
            try:
                found[path] = _stat(self._path(path))
            except OSError as error:
                del found[path]
                if not isinstance(error, _GONE):
                    self.unreadable[path] = str(error)

    def _is_left_out(self, folder: str) -> bool:
        return (
            folder == RECORDS
            or f"/{folder}".endswith(f"/{files.CLIENT_CACHE}")
            or files.is_spool(Path(self._path(folder)))
        )

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
                        self._add(entry, path)
                    elif not self._is_spool and not self._is_left_out(path):
                        folders.append(path)
        except _GONE:
            pass  # removed during the walk: nothing to send
        except OSError as error:
            self.unreadable[relative or "."] = str(error)
        return folders

    def _add(self, entry: os.DirEntry[str], path: str) -> None:
        """Add a file unless it is unchanged; an idle push does nothing else, for each of 100,000 files."""
        if self._is_spool and SegmentName.parse(entry.name) is None:
            return
        try:
            entry.name.encode()
            stat = entry.stat()
        except UnicodeEncodeError:
            readable = os.fsencode(path).decode("utf-8", "backslashreplace")
            self.unreadable[readable] = "its name is not UTF-8, which the Hub requires"
            return
        except FileNotFoundError:
            return
        except OSError as error:
            self.unreadable[path] = str(error)
            return
        found = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
        if found == self.known.get(path) and not self._is_spool:
            return
        if S_ISREG(stat.st_mode) and self.chosen(path) and JoinedName.parse(entry.name) is None:
            (self.segments if self._is_spool else self.changed)[path] = Stat(*found)


def _stat(path: str) -> Stat:
    return Stat.of(os.stat(path))  # noqa: PTH116  pathlib took half of the time under the lock
