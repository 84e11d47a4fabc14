"""Files that wait in a folder until they are stored: found, claimed, and removed once they are on the Hub."""

from __future__ import annotations

import os
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import orjson

from hubspool.files import Stat
from hubspool.spool.segment_name import SegmentName

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_STATE = Path(".cache") / "huggingface" / "hubspool"
_UNFINISHED = (".tmp", ".part")
_DAY = 24 * 3600.0


class Claims:
    """Files of one folder that were taken out of it, to be stored exactly once.

    A claim is a rename into the state folder, which one process alone can win. The line that names it is written under
    the same lock; so a claim that no line names is of a process that died in between, and gets its line from the next
    (`orphans`). It is removed after its archive was acknowledged and before its segment is, so a crash in between
    removes it again and sends nothing twice.

    Any thread and process may use it.

    Args:
        folder: the scheduler's.
        name: the split that the files go to.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.root = claims_of(folder) / name

    def locked(self) -> AbstractContextManager[object]:
        """Keep other threads and processes from claiming, and from looking for orphans."""
        from filelock import FileLock

        self.root.mkdir(parents=True, exist_ok=True)
        # A new object each time: its descriptor is what the kernel tells threads and fork's children apart by.
        return FileLock(self.root.parent / f"{self.root.name}.lock", fallback_to_soft=False)

    def take(self, path: Path, member: str, batch: str | None = None) -> str:
        """Move a file out of its place; returns what a line names it by. Called under `locked`.

        Args:
            batch: an id that is nobody else's; making a folder for each file took most of the time.

        Raises:
            FileNotFoundError: another process was faster.
        """
        claimed = self.root / (batch or new_batch()) / member
        if claimed.exists():  # two files were given one name
            claimed = self.root / new_batch() / member
        claimed.parent.mkdir(parents=True, exist_ok=True)
        path.rename(claimed)
        return claimed.relative_to(self.root.parent).as_posix()

    def stage(self, beginning: bytes, rest: BinaryIO) -> Path:
        """Write a large content beside the claims, from where `take` moves it."""
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
        """Return reference and member name of each claim that no line names. Called under `locked`.

        Lines are read first: a segment that goes meanwhile has taken its claims along.
        """
        named = {
            reference
            for segment in self.folder.glob("*.zip.jsonl")
            if SegmentName.parse(segment.name) is not None
            for reference in references(segment)
        }
        for staged in self.root.glob(".*"):
            if time.time() - staged.stat().st_mtime > _DAY:  # its process ended inside `stage`
                staged.unlink(missing_ok=True)
        found = []
        for path in sorted(self.root.glob("*/**/*")):
            member = path.relative_to(self.root)
            if path.is_file() and f"{self.root.name}/{member.as_posix()}" not in named:
                found.append((f"{self.root.name}/{member.as_posix()}", member.as_posix().partition("/")[2]))
        return found


def claims_of(folder: Path) -> Path:
    """Return where the claims of a scheduler's folder are; not in `state_dir`, which may be on another disk."""
    return folder / _STATE / "claimed"


def references(segment: Path) -> Iterator[str]:
    """Yield the claims that the whole lines of a segment name."""
    with suppress(FileNotFoundError), segment.open("rb") as lines:
        for line in lines:
            with suppress(orjson.JSONDecodeError):
                if line.endswith(b"\n") and (reference := orjson.loads(line).get("claim")):
                    yield reference


def remove_claims(segment: Path) -> None:
    """Remove the claims that a segment names, all of which is on the Hub."""
    root = claims_of(segment.parent)
    folders = set()
    for reference in references(segment):
        (root / reference).unlink(missing_ok=True)
        folders.add((root / reference).parent)
    for folder in folders:
        with suppress(OSError):  # it holds other claims
            while folder.parent != root:
                folder.rmdir()
                folder = folder.parent  # noqa: PLW2901  up to the folder of the split


def new_batch() -> str:
    """Return the name of a folder for claims."""
    return uuid.uuid4().hex


class DropBox:
    """Tells which files in a folder are complete.

    A file is complete when nobody has it open for writing, which Linux tells; elsewhere, and where it is empty, when it
    has not changed for `rest_seconds`. Names that begin with a dot or end in ``.tmp`` or ``.part`` wait.

    Used by the pushing thread only.

    Args:
        takes: whether a path is wanted.
    """

    def __init__(self, folder: Path, takes: Callable[[str], bool], rest_seconds: float) -> None:
        self.folder = folder
        self.takes = takes
        self.rest_seconds = rest_seconds
        self._seen: dict[str, tuple[Stat, float]] = {}

    def files(self) -> list[str]:
        """Return the paths of files that may be taken once they are complete."""
        found = []
        for base, folders, names in os.walk(self.folder):
            folders[:] = [name for name in folders if not name.startswith(".")]
            prefix = Path(base).relative_to(self.folder).as_posix()
            for name in names:
                path = name if prefix == "." else f"{prefix}/{name}"
                waits = name.startswith(".") or name.endswith(_UNFINISHED) or SegmentName.parse(name) is not None
                if not waits and self.takes(path) and not (self.folder / path).is_symlink():
                    found.append(path)
        there = set(found)
        self._seen = {path: seen for path, seen in self._seen.items() if path in there}
        return sorted(found)

    def is_complete(self, path: str, *, final: bool) -> bool:
        """Whether a file may be taken now; `final` takes what is not known to be open, since no later look comes."""
        try:
            stat = Stat.of((self.folder / path).stat())
            writer = _has_writer(self.folder / path)
        except OSError:
            return False
        seen, since = self._seen.get(path, (None, 0.0))
        if seen != stat:
            since = time.monotonic()
            self._seen[path] = (stat, since)
        if writer or (writer is False and stat.size):
            return not writer
        return final or time.monotonic() - since >= self.rest_seconds


def _has_writer(path: Path) -> bool | None:
    """Whether anybody has a file open for writing; None where the system does not tell.

    The kernel grants a read lease only on a file that nobody has open for writing.
    """
    if fcntl is None or not hasattr(fcntl, "F_SETLEASE"):
        return None
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # Whoever opens the file for writing just now breaks the lease, which by default ends this process.
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
