"""The local disk: a file's numbers, the kind of mount a folder is on, durable new names."""

from __future__ import annotations

import errno
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

#: A file changed less than this before it was looked at may change again with all four numbers the same.
RACY_NS = 50_000_000
#: File systems that live on another machine, or in a process of their own, as /proc/mounts names them.
_REMOTE = ("nfs", "cifs", "smb", "fuse", "9p", "ceph", "glusterfs", "lustre", "afs", "sshfs", "beegfs", "virtiofs")
#: Local ones that happen to be served through FUSE.
_LOCAL_FUSE = ("fuseblk", "fusectl", "fuse.fuse-overlayfs")


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
class Disk:
    """The mount that a folder is on.

    Args:
        mount: where it is mounted.
        kind: name of the file system; "" where the system does not tell (not Linux).
    """

    mount: str
    kind: str

    @property
    def is_reliable(self) -> bool:
        """Whether locks and fsync can be relied on there, as far as the kind tells."""
        return self.kind in _LOCAL_FUSE or not self.kind.startswith(_REMOTE)


def state_folder(folder: Path) -> Path:
    """Return where the state of `folder` is kept by default: every client leaves this path out of uploads."""
    return folder / ".cache" / "huggingface" / "hubspool"


def disk_of(folder: Path, mounts: str | None = None) -> Disk:
    """Return the disk that `folder` is on.

    Args:
        folder: an existing folder.
        mounts: text in the form of /proc/mounts; read from there by default.
    """
    if mounts is None:
        if not sys.platform.startswith("linux"):
            return Disk("/", "")
        try:
            mounts = Path("/proc/mounts").read_text(encoding="utf-8")
        except OSError:  # hidden from this process
            return Disk("/", "")
    best = Disk("", "")
    path = folder.resolve()
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        mount = fields[1].replace("\\040", " ")
        if path.is_relative_to(mount) and len(mount) >= len(best.mount):
            best = Disk(mount, fields[2])
    return best


def publish(hidden: Path, final: Path) -> None:
    """Give a file its name, which must be free: a rename would replace another writer's rows."""
    try:
        os.link(hidden, final)
    except FileExistsError:
        raise
    except (OSError, AttributeError):  # no hard links on this disk
        if final.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(final)) from None
        hidden.rename(final)
    else:
        hidden.unlink()


def sync_folder(folder: Path) -> None:
    """Make a new name durable; a folder cannot be opened on Windows, where NTFS journals the name itself."""
    if os.name == "nt":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
