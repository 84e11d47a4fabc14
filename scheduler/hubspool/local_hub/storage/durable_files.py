"""Files that are whole or absent, whatever kills the process between two writes."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from filelock import FileLock, Timeout

_gathered: ContextVar[dict[Path, Path] | None] = ContextVar("_gathered", default=None)  # final and temporary places
_room: ContextVar[list[int] | None] = ContextVar("_room", default=None)  # files that still fit: a fault


@contextmanager
def room_for(files: int | None) -> Iterator[None]:
    """Let the disk be full for this request after so many files; None for as many as there really is room for."""
    before = _room.set(None if files is None else [files])
    try:
        yield
    finally:
        _room.reset(before)


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
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(
            f"Another local Hub already serves {root}: two servers on one folder would corrupt it. "
            "Stop the other one, or give --root another folder."
        )
        self.root = root


class Disk:
    """The folder of one local Hub and the ways of writing to it.

    Does not survive a second server on the same folder, therefore `lock()` comes first. With `durable=False` a power
    failure may lose what was written (temporary folders, which do not outlive the process, need no fsync); a killed
    process loses nothing either way.

    Thread-safety: every method may be called from any thread.
    """

    def __init__(self, root: Path, *, durable: bool = True) -> None:
        self.root = root
        self.durable = durable
        self._temporary = root / "tmp"
        self._syncing = ThreadPoolExecutor(16, thread_name_prefix="hubspool-fsync")  # they start when there is work
        self._lock = FileLock(str(root / "lock"), thread_local=False)  # stopping is another thread's right

    def lock(self) -> None:
        """Take the folder for this process and clear what an earlier one left half written.

        Raises:
            RootInUseError: Another process, or another Hub of this process, holds it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise RootInUseError(self.root) from None
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary.mkdir()

    def unlock(self) -> None:
        """Give the folder back."""
        self._syncing.shutdown()
        self._lock.release()

    def temporary_path(self) -> Path:
        """A fresh name on the same file system, so that it can be renamed into place."""
        return self._temporary / secrets.token_hex(12)

    @contextmanager
    def temporary_file(self) -> Iterator[Path]:
        """A temporary path that is gone afterwards unless it was adopted."""
        path = self.temporary_path()
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def write(self, path: Path, data: bytes) -> None:
        """Put `data` at `path`: readers see the old content or the new one, never a part."""
        if (gathered := _gathered.get()) is not None:
            temporary = self.temporary_path()
            gathered[path] = temporary
            temporary.write_bytes(data)
            return
        with self.temporary_file() as temporary:
            temporary.write_bytes(data)
            self.adopt(temporary, path)

    @contextmanager
    def gather(self) -> Iterator[None]:
        """Let the files that this thread writes appear together at the end, which costs one wait for the disk.

        Not guaranteed: that all or none appear; that is for what points to them. Until the end they cannot be read.
        """
        files: dict[Path, Path] = {}
        before = _gathered.set(files)
        try:
            try:
                yield
            finally:
                _gathered.reset(before)
            self._sync(list(files.values()))
            for path, temporary in files.items():
                self.adopt(temporary, path, True)
            self._sync(list({path.parent for path in files}))
        finally:
            for temporary in files.values():
                temporary.unlink(missing_ok=True)

    def adopt(self, temporary: Path, path: Path, synced: bool = False) -> None:
        """Move a finished file or folder to its final place; with `synced` the caller waits for the disk."""
        if (room := _room.get()) is not None:
            room[0] -= 1
            if room[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        if not synced:
            whole = temporary.rglob("*") if temporary.is_dir() else (temporary,)
            self._sync([part for part in whole if part.is_file()])
        temporary.replace(path)
        if not synced:
            self._sync([path.parent])

    def _sync(self, paths: list[Path]) -> None:
        """Wait until these files or folders are on the disk; several at once, which the journal takes together."""
        if self.durable and len(paths) > 1:
            list(self._syncing.map(_fsync, paths))
        elif self.durable:
            for path in paths:
                _fsync(path)

    def discard(self, path: Path) -> None:
        """Remove a folder: at once for everybody, in one rename; its content afterwards."""
        temporary = self.temporary_path()
        path.replace(temporary)
        shutil.rmtree(temporary, ignore_errors=True)

    def once(self, name: str, size: int) -> bytes:
        """`size` random bytes that stay the same for as long as this folder lives."""
        path = self.root / name
        if not path.exists():
            self.write(path, secrets.token_hex(size).encode())
            path.chmod(0o600)
        return bytes.fromhex(path.read_text())
