"""Writes files so that each is complete or absent, even if the process is killed between two writes."""

from __future__ import annotations

import errno
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from hubspool.local_hub.limits import LIMITS

_log = logging.getLogger("hubspool.local_hub")
T = TypeVar("T")
_gathered: ContextVar[dict[Path, Path] | None] = ContextVar("_gathered", default=None)  # final path: temporary path
_files_left: ContextVar[list[int] | None] = ContextVar("_files_left", default=None)  # until the disk is full: a fault


@contextmanager
def holding(variable: ContextVar[T], value: T) -> Iterator[T]:
    """Give a context variable a value for the time of a with statement."""
    before = variable.set(value)
    try:
        yield value
    finally:
        variable.reset(before)


def full_disk_after(files: int | None) -> AbstractContextManager[object]:
    """Make writes of this request fail with ENOSPC after this number of files; None: as many as the disk holds."""
    return holding(_files_left, None if files is None else [files])


def _create(path: Path, data: bytes) -> None:
    """Write a new file that nobody else can read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def _fsync(path: Path) -> None:
    if path.is_dir() and os.name != "posix":
        return  # Windows cannot open a folder
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class RootInUseError(RuntimeError):
    """Another local Hub serves the same folder.

    Attributes:
        root: that folder.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(
            f"Another local Hub already serves {root}: two servers on one folder would corrupt it. "
            "Stop the other one, or give --root another folder."
        )
        self.root = root


class DurableFiles:
    """The folder of one local Hub: locks it, and writes, moves and removes files in it.

    A second server on the same folder would corrupt it: call `lock()` first. With `durable=False` a power failure may
    lose what was written (a temporary folder does not outlive the process and needs no fsync); a killed process loses
    nothing in either mode. Other users of the machine cannot enter the folder.

    Thread-safety: every method may be called from any thread.
    """

    def __init__(self, root: Path, *, durable: bool = True) -> None:
        self.root = root
        self.durable = durable
        self._temporary = root / "tmp"
        self._syncing = ThreadPoolExecutor(LIMITS.sync_threads, thread_name_prefix="hubspool-fsync")
        self._lock = FileLock(str(root / "lock"), thread_local=False)  # another thread may stop the Hub

    def lock(self) -> None:
        """Lock the folder for this process, and remove unfinished files of an earlier one.

        Raises:
            RootInUseError: Another process, or another Hub of this process, has the lock.
        """
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.root.stat().st_mode & 0o077:
            try:
                self.root.chmod(0o700)
            except PermissionError:
                _log.warning("%s belongs to another user: others can read what this Hub keeps in it", self.root)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise RootInUseError(self.root) from None
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary.mkdir()

    def unlock(self) -> None:
        """Release the folder."""
        self._syncing.shutdown()
        self._lock.release()

    def temporary_path(self) -> Path:
        """Return an unused path on the same file system, from which a file can be renamed to its final path."""
        return self._temporary / secrets.token_hex(12)

    @contextmanager
    def temporary_file(self) -> Iterator[Path]:
        """Yield a temporary path; remove the file afterwards unless it was adopted."""
        path = self.temporary_path()
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def write(self, path: Path, data: bytes) -> None:
        """Write `data` to `path`: readers see the old content or the new content, never a part."""
        gathered = _gathered.get()
        if gathered is None:
            with self.gather():
                self.write(path, data)
        else:
            gathered[path] = self.temporary_path()
            _create(gathered[path], data)

    def append(self, path: Path, data: bytes) -> None:
        """Append to a file and wait for the disk. A killed process can leave a part of `data` at the end."""
        self._take(path)
        with path.open("ab") as file:
            file.write(data)
        self._sync([path])

    @contextmanager
    def gather(self) -> Iterator[None]:
        """Collect the files that this thread writes, and move them to their places at the end: one wait for the disk.

        Not guaranteed: that all or none of them appear; write what refers to them afterwards. They cannot be read
        before the end.
        """
        files: dict[Path, Path] = {}
        try:
            with holding(_gathered, files):
                yield
            self._sync(list(files.values()))
            for path, temporary in files.items():
                self.adopt(temporary, path, True)
            self._sync(list({path.parent for path in files}))
        finally:
            for temporary in files.values():
                temporary.unlink(missing_ok=True)

    def adopt(self, temporary: Path, path: Path, synced: bool = False) -> None:
        """Move a complete file or folder to its final path; with `synced` the caller does the fsync."""
        self._take(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not synced:
            parts = temporary.rglob("*") if temporary.is_dir() else (temporary,)
            self._sync([part for part in parts if part.is_file()])
        temporary.replace(path)
        if not synced:
            self._sync([path.parent])

    def _take(self, path: Path) -> None:
        """Count a write of this request against the fault of a full disk."""
        if (left := _files_left.get()) is not None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    def _sync(self, paths: list[Path]) -> None:
        """Wait until these files or folders are on the disk; in parallel, since one journal write covers several."""
        if self.durable and len(paths) > 1:
            list(self._syncing.map(_fsync, paths))
        elif self.durable:
            for path in paths:
                _fsync(path)

    def discard(self, path: Path) -> None:
        """Remove a folder: one rename makes it invisible, then its content is deleted."""
        temporary = self.temporary_path()
        path.replace(temporary)
        shutil.rmtree(temporary, ignore_errors=True)

    def random_bytes(self, name: str, size: int) -> bytes:
        """Return `size` random bytes, made at the first call and kept in the file `name` from then on.

        A damaged file counts as none: with an empty key everybody could sign.
        """
        path = self.root / name
        try:
            kept = bytes.fromhex(path.read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            kept = b""
        if len(kept) != size:
            kept = secrets.token_bytes(size)
            self.write(path, kept.hex().encode())
        return kept
