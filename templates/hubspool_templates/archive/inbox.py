"""Files that people drop into a folder: which are complete, how one process claims them, and when they are removed."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from stat import S_ISREG
from types import ModuleType
from typing import BinaryIO

import orjson

from hubspool.extending import Stat, StatePaths, is_spool, is_spool_folder
from hubspool_templates.defaults import DEFAULTS

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_UNFINISHED = (".tmp", ".part")


class Inbox:
    """The claimed files of one spool, each to be stored exactly once.

    Claiming a file renames it into the spool, so only one process can claim it. The line that names the file is
    written under the same lock. So a claimed file without a line belongs to a process that died between the two, and
    the next process writes its line (`orphans`). A claimed file is removed after its archive is acknowledged and before
    its segment is removed: a crash between the two repeats the removal and sends nothing twice. It stays in its spool
    when its line moves to another one of the folder, so lines are read, and files are found, in all of them.

    Any thread and process may use it.

    Args:
        spool: the scheduler's spool.
        name: the split that the files go to.
    """

    def __init__(self, spool: Path, name: str) -> None:
        self.spool = spool
        self.root = inbox_folder(spool) / name

    def locked(self) -> AbstractContextManager[object]:
        """Keep other threads and processes from claiming files and from listing orphans."""
        from filelock import FileLock

        self.root.mkdir(parents=True, exist_ok=True)
        # A new object each time: the kernel tells threads and forked children apart by the descriptor.
        return FileLock(self.root.parent / f"{self.root.name}.lock", fallback_to_soft=False)

    def claim(self, path: Path, member: str, batch: str | None = None) -> str:
        """Move a file into the inbox, and return the reference by which a line names it. Called under `locked`.

        Args:
            path: the file.
            member: its name in the archive.
            batch: a random name, for the folder of many files; by default the file gets a folder of its own, which
                would take most of the time for many.

        Raises:
            FileNotFoundError: another process claimed the file first.
            OSError: the file cannot be moved; its errno is EXDEV if it is on another mount, which no rename crosses.
        """
        claimed = self.root / (batch or uuid.uuid4().hex) / member
        if claimed.exists():  # two files with one name
            claimed = self.root / uuid.uuid4().hex / member
        claimed.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.rename(claimed)
        except OSError:
            _remove_empty(claimed.parent, self.root.parent)
            raise
        if not S_ISREG(claimed.lstat().st_mode):  # it was replaced after `is_complete`
            claimed.rename(path)
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        return claimed.relative_to(self.root.parent).as_posix()

    def stage(self, beginning: bytes, rest: BinaryIO) -> Path:
        """Write a large content into a hidden file of the inbox, which `claim` then moves."""
        self.root.mkdir(parents=True, exist_ok=True)
        path = self.root / f".{uuid.uuid4().hex}"
        try:
            with path.open("xb") as file:
                file.write(beginning)
                shutil.copyfileobj(rest, file, 1024 * 1024)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def orphans(self) -> list[tuple[str, str]]:
        """Return reference and member name of each claimed file that no line names. Called under `locked`.

        The lines are read before the files: a segment that is removed meanwhile has removed its files first.
        """
        named = _named(self.spool)
        for staged in self.root.glob(".*"):
            if time.time() - staged.stat().st_mtime > DEFAULTS.staged_seconds:  # its process ended inside `stage`
                staged.unlink(missing_ok=True)
        found = []
        for path in sorted(self.root.glob("*/**/*")):
            member = path.relative_to(self.root).as_posix()
            reference = f"{self.root.name}/{member}"
            if path.is_file() and reference not in named:
                found.append((reference, member.partition("/")[2]))
        return found


def inbox_folder(spool: Path) -> Path:
    """Return the folder of the claimed files of a spool; never in `state_dir`, which may be on another disk."""
    return StatePaths(spool).claimed


def claimed_path(spool: Path, reference: str) -> Path:
    """Return the path of a claimed file that a line in `spool` names; it stays in the spool that the line came from."""
    path = inbox_folder(spool) / reference
    others = () if path.is_file() else _spools_beside(spool)
    return next((other for each in others if (other := inbox_folder(each) / reference).is_file()), path)


def claimed_files(segment: Path) -> Iterator[str]:
    """Yield the references to claimed files in the whole lines of a segment."""
    with suppress(FileNotFoundError), segment.open("rb") as lines:
        for line in lines:
            with suppress(orjson.JSONDecodeError):
                if line.endswith(b"\n") and (reference := orjson.loads(line).get("claim")):
                    yield reference


def _remove_empty(folder: Path, root: Path) -> None:
    """Remove a folder and those around it, up to the folders in `root`, as far as they are empty."""
    with suppress(OSError):  # it holds other files
        while folder.parent != root:
            folder.rmdir()
            folder = folder.parent


def remove_claimed(segment: Path) -> None:
    """Remove the claimed files of a segment whose every line is on the Hub, or was moved to another segment."""
    folders = set()
    for reference in {*claimed_files(segment)} - _named(segment.parent, but=segment):
        path = claimed_path(segment.parent, reference)
        path.unlink(missing_ok=True)
        folders.add((path.parent, path.parents[len(Path(reference).parts) - 1]))
    for folder, root in folders:
        _remove_empty(folder, root)


def _named(spool: Path, but: Path | None = None) -> set[str]:
    """Return the references in all segments of the spools of one folder, and in copies that are being moved."""
    found: set[str] = set()
    read: set[Path] = set()
    while new := {path for each in (spool, *_spools_beside(spool)) for path in _archives(each)} - read - {but}:
        for path in new:  # again: a segment that moved meanwhile has another path
            found.update(claimed_files(path))
        read |= new
    return found


def _archives(spool: Path) -> list[Path]:
    return [*spool.glob("*.zip.jsonl"), *spool.glob(".*.zip.jsonl.moved")]


def _spools_beside(spool: Path) -> list[Path]:
    return [path for path in spool.parent.glob("*.spool") if is_spool_folder(path.name) and path != spool]


class DroppedFiles:
    """Lists the files in a folder, and tells which of them are complete.

    Not promised: that a file is complete which its writer closed half-written.

    On Linux a file is complete when no process has it open for writing. On other systems, and if the file is empty, it
    is complete when it has not changed for `rest_seconds`. Names that begin with a dot or end in ``.tmp`` or ``.part``
    are left alone, as are links, pipes, sockets and devices.

    Used by the pushing thread only.

    Args:
        folder: the scheduler's folder.
        chosen: whether the scheduler sends a path.
        rest_seconds: seconds without a change.
    """

    def __init__(self, folder: Path, chosen: Callable[[str], bool], rest_seconds: float) -> None:
        self.folder = folder
        self.chosen = chosen
        self.rest_seconds = rest_seconds
        self._seen: dict[str, tuple[Stat, float]] = {}

    def files(self, on_error: Callable[[OSError], object]) -> list[str]:
        """Return the paths of the files to claim once they are complete; `on_error` gets why a folder is not listed."""
        found = []
        for base, folders, names in os.walk(self.folder, onerror=on_error):
            folders[:] = [name for name in folders if not name.startswith(".") and not is_spool(Path(base, name))]
            prefix = Path(base).relative_to(self.folder).as_posix()
            for name in names:
                path = name if prefix == "." else f"{prefix}/{name}"
                skipped = name.startswith(".") or name.endswith(_UNFINISHED)
                if not skipped and self.chosen(path) and not (self.folder / path).is_symlink():
                    found.append(path)
        existing = set(found)
        self._seen = {path: seen for path, seen in self._seen.items() if path in existing}
        return sorted(found)

    def is_complete(self, path: str, *, final: bool) -> bool:
        """Whether a file may be claimed now; a final push also claims every file that is not known to be open.

        Raises:
            OSError: it cannot be read.
        """
        found = (self.folder / path).lstat()
        if not S_ISREG(found.st_mode):
            return False
        stat = Stat.of(found)
        writer = _has_writer(self.folder / path)
        seen, since = self._seen.get(path, (None, 0.0))
        if seen != stat:
            since = time.monotonic()
            self._seen[path] = (stat, since)
        if writer or (writer is False and stat.size):
            return not writer
        return final or time.monotonic() - since >= self.rest_seconds


def _has_writer(path: Path) -> bool | None:
    """Whether a process has a file open for writing; None if the system does not say.

    Linux grants a read lease only on a file that no process has open for writing.
    """
    if fcntl is None or not hasattr(fcntl, "F_SETLEASE"):
        return None
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # to open a pipe would wait for its writer
    try:
        # A process that opens the file for writing now breaks the lease; the default signal for that would end us.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:
        return None
    else:
        return False
    finally:
        os.close(fd)
