"""The local disk: a file's stat, the mount of a folder, durable new names, the paths of a state folder."""

from __future__ import annotations

import errno
import os
import re
import socket
import struct
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha1, sha256
from pathlib import Path
from stat import S_ISREG
from types import ModuleType
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from hubspool.errors import FilesMissingError

if TYPE_CHECKING:
    from hashlib import _Hash

#: None on Windows, which has no flock: only its age shows that a segment is an orphan (see `owners.owner_of`).
fcntl: ModuleType | None
try:
    import fcntl
except ImportError:
    fcntl = None

_AT_FDCWD, _STATX_BTIME = -100, 0x800
#: A file whose last change is younger than this (nanoseconds) may change again and keep all four numbers of its `Stat`.
RACY_NS = 50_000_000
#: Every client leaves this folder out of uploads.
CLIENT_CACHE = ".cache/huggingface"
_SPOOL_FOLDER = re.compile(r".+-[0-9a-f]{8}\.spool")
#: Bytes that are read at a time.
BLOCK_BYTES = 1024 * 1024
#: What a `xet_id` begins with.
_XET = "xet:"
#: NFS and FUSE rename a file that is removed while a process has it open.
_REMOVED_NAMES = (".nfs", ".fuse_hidden")
#: File systems that live on another machine, or in a process of their own, as /proc/mounts names them.
_REMOTE = ("nfs", "cifs", "smb", "fuse", "9p", "ceph", "glusterfs", "lustre", "afs", "sshfs", "beegfs", "virtiofs")
#: Local file systems that are served through FUSE.
_LOCAL_FUSE = ("fuseblk", "fusectl", "fuse.fuse-overlayfs")


class Stat(NamedTuple):
    """Four numbers that change with a file, unless it changes twice within 50 ms (`is_racy`).

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
        """Return True if the file changed so shortly before `now_ns` that its next write may leave `Stat` the same."""
        return now_ns - max(self.ctime_ns, self.mtime_ns) < RACY_NS


@dataclass(frozen=True)
class Disk:
    """The mount that a folder is on.

    Args:
        mount: mount point.
        kind: name of the file system; empty if it is unknown (not Linux).
    """

    mount: str
    kind: str

    @property
    def is_in_memory(self) -> bool:
        """Return True for a file system that a restart of the machine empties."""
        return self.kind in ("tmpfs", "ramfs")

    @property
    def is_reliable(self) -> bool:
        """Return False for a network or FUSE file system, where locks and fsync are not reliable."""
        return self.kind in _LOCAL_FUSE or not self.kind.startswith(_REMOTE)


def state_folder(folder: Path, state_dir: Path | None = None) -> Path:
    """Return the state folder of a folder of files; every client leaves the default one out of uploads.

    Args:
        folder: what is sent.
        state_dir: has a folder for each of the folders that share it: their ledgers name files by relative paths.
    """
    if state_dir is None:
        return folder / CLIENT_CACHE / "hubspool"
    real = folder.resolve()
    return state_dir / f"{real.name}-{sha256(os.fsencode(real)).hexdigest()[:8]}"


def is_spool_folder(name: str) -> bool:
    """Return True for the name of a spool: a folder of pending rows, which belong to one destination only.

    No upload takes it for a folder of the user's files.
    """
    return _SPOOL_FOLDER.fullmatch(name) is not None


def is_spool(folder: Path) -> bool:
    """Return True if a folder has a spool's name, or is a copy of a spool that a person made under another name."""
    if is_spool_folder(folder.name):
        return True
    with suppress(OSError):
        return b'"hub_id"' in StatePaths(folder).destination.read_bytes()
    return False


class StatePaths:
    """The paths that schedulers use in a state folder. No other module spells them.

    Args:
        folder: the state folder (`state_folder` or the caller's `state_dir`).

    Attributes:
        ledger: SQLite file of intents and acknowledgements.
        push_lock: lock file that a process holds during a push.
        push_holder: text file that names the process which held it last.
        folder_id: text file with the folder's random id.
        large_upload: SQLite file of what `upload_large_folder` has done.
        claimed: folder of the files that an archive scheduler took out of its folder.
        destination: JSON file of a spool that says where its rows go.
        columns: JSON file of a spool: the columns that its dataset had when it was last written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = folder / "ledger.sqlite3"
        self.push_lock = folder / "push.lock"
        self.push_holder = folder / "push.holder"
        self.folder_id = folder / "folder_id"
        self.large_upload = folder / "large_upload.sqlite3"
        self.claimed = folder / "claimed"
        self.destination = folder / "destination.json"
        self.columns = folder / "columns.json"

    def staged(self, target: int) -> Path:
        """Return the folder of the encoded files for one target of the ledger."""
        return self.folder / "sealed" / str(target)


def disk_of(folder: Path, mounts: str | None = None) -> Disk:
    """Return the disk that `folder` is on.

    Args:
        folder: an existing folder.
        mounts: text in the format of /proc/mounts; None reads that file.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/mounts").read_text(encoding="utf-8")
        except OSError:  # not Linux, or this process may not read it
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


def open_regular(path: Path, buffering: int = -1) -> BinaryIO:
    """Open a file for reading.

    Never waits: to open a FIFO that has taken the file's place would wait for its writer, for ever.

    Raises:
        OSError: it cannot be opened, or is a FIFO, a socket or a device.
    """
    return open(path, "rb", buffering, opener=_open_regular)


def blocks(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes [start, end) of a file, or those up to its end, in blocks."""
    file.seek(start)
    while start < end and (block := file.read(min(BLOCK_BYTES, end - start))):
        start += len(block)
        yield block


def new_blob_hash(size: int) -> _Hash:
    """Return git's hash of a blob of `size` bytes; the content is still to be added."""
    return sha1(b"blob %d\0" % size, usedforsecurity=False)


def hash_range(file: BinaryIO, start: int, end: int, *hashes: _Hash) -> int:
    """Add the bytes [start, end) of a file, or those up to its end, to all `hashes`; return their number."""
    length = 0
    for block in blocks(file, start, end):
        for each in hashes:
            each.update(block)
        length += len(block)
    return length


def sha256_of(path: Path, start: int, size: int) -> str:
    """Return the sha256 of `size` bytes of a file from `start` on, in hex digits."""
    state = sha256()
    with path.open("rb") as file:
        hash_range(file, start, start + size, state)
    return state.hexdigest()


def has_content(path: Path, size: int, content_id: str, start: int = 0, head: int = 0) -> bool:
    """Return True if the first `head` bytes of a file plus those from `start` on begin with a content of the Hub.

    Args:
        path: the local file.
        size: of the content on the Hub, `head` included; bytes.
        content_id: of that content: sha256, a git blob id, or a `xet_id`.
        start: where the compared range begins, in bytes.
        head: how many of the file's first bytes come before the range.
    """
    if size < head:
        return False
    if content_id.startswith(_XET):
        return _has_xet_content(path, size, content_id, start, head)
    state = new_blob_hash(size) if len(content_id) == 40 else sha256()
    with open_regular(path) as file:
        length = hash_range(file, 0, head, state) + hash_range(file, start, start + size - head, state)
    return length == size and state.hexdigest() == content_id


def xet_id(xet_hash: str) -> str:
    """Return the id of a file's content in a bucket: its Xet hash, with the prefix of such ids."""
    return f"{_XET}{xet_hash}"


def xet_contents(paths: Sequence[Path]) -> list[tuple[int, str]]:
    """Return the size in bytes, and the `xet_id`, of each file."""
    import hf_xet

    return [(found.file_size, xet_id(found.hash)) for found in hf_xet.hash_files([*map(str, paths)])]


def _has_xet_content(path: Path, size: int, content_id: str, start: int, head: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="hubspool-") as folder:
        copy = Path(folder) / "range"  # hf_xet takes whole files
        with open_regular(path) as file, copy.open("wb") as out:
            for position, end in ((0, head), (start, start + size - head)):
                out.writelines(blocks(file, position, end))
        return xet_contents([copy]) == [(size, content_id)]


def is_in_place(path: Path, fd: int) -> bool:
    """Return True if `path` still names the open file, False if the file was removed or replaced.

    Raises:
        FilesMissingError: the file was moved, so nothing of it is lost.
    """
    own = os.fstat(fd)
    with suppress(FileNotFoundError, NotADirectoryError):
        if os.path.samestat(path.stat(), own):
            return True
    place = _place_of(fd)
    if own.st_nlink == 0 or Path(place).name.startswith(_REMOVED_NAMES):
        return False
    if place == os.path.realpath(path):  # a mount whose inode numbers change
        return True
    raise FilesMissingError(
        f"{path} was moved to {place}." if place else f"{path} was moved or removed.",
        hint="Move it back; its rows are not sent until then.",
        path=path,
    )


def _place_of(fd: int) -> str:
    """Return the path of an open file, or "" if the system does not know it.

    Linux forgets it if the file was opened under another of its names, as a segment is, which gets its name later.
    """
    place = ""
    with suppress(OSError):
        place = os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115  it is text, and may end in " (deleted)"
    get_path = getattr(fcntl, "F_GETPATH", None)  # macOS
    if fcntl is not None and get_path is not None:
        with suppress(OSError):
            place = os.fsdecode(fcntl.fcntl(fd, get_path, bytes(1024)).rstrip(b"\0"))
    return "" if place.endswith(" (deleted)") else place


def place_of(path: Path) -> str:
    """Return a text that changes if a file is copied, restored from a copy, or baked into a machine's image.

    It is the inode, the time of its creation (the inode alone is reused: 16 of 20 restored copies had the same), the
    machine's id, and the host's name where the disk is a container's own: a volume that outlives a container keeps its
    place. On a network or FUSE mount, whose inodes may change, only the machine's id counts.
    """
    disk, machine = disk_of(path.parent), ""
    with suppress(OSError):
        machine = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    host = socket.gethostname() if disk.kind == "overlay" else ""
    file = f"{path.stat().st_ino}-{_born(path)}" if disk.is_reliable else ""
    return f"{file}/{machine}/{host}"


def _born(path: Path) -> str:
    """Return a text for the time when a file was created; empty if this system does not tell.

    Before Python 3.15 `os` has no statx. The offsets are those of ``struct statx``: 0 mask, 80 seconds, 88 nanoseconds.
    """
    if (born := getattr(path.stat(), "st_birthtime", None)) is not None:
        return str(born)
    import ctypes

    found = ctypes.create_string_buffer(256)
    with suppress(AttributeError, OSError, TypeError):  # no such call, or no C library that is named so
        ctypes.CDLL(None).statx(_AT_FDCWD, os.fsencode(path), 0, _STATX_BTIME, found)
        mask, seconds, nanoseconds = struct.unpack_from("<I76xqI", found)
        return f"{seconds}.{nanoseconds}" if mask & _STATX_BTIME else ""
    return ""


def publish(hidden: Path, final: Path) -> None:
    """Rename `hidden` to `final` without replacing a file that has this name: it may hold another writer's rows.

    Raises:
        FileExistsError: `final` exists.
    """
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


def write_durably(path: Path, content: bytes) -> None:
    """Write a file that holds its old or its new content, whole, whenever the process or the machine ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        hidden.write_bytes(content)
        sync_file(hidden)
        hidden.replace(path)
    finally:
        hidden.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Make the content of a file durable."""
    _sync(path, os.O_RDWR)


def sync_folder(folder: Path) -> None:
    """Make new names in `folder` durable.

    Does nothing on Windows, where NTFS journals the names and a folder cannot be opened.
    """
    if os.name != "nt":
        _sync(folder, os.O_RDONLY)


def _open_regular(path: str, flags: int) -> int:
    fd = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(errno.EINVAL, "It is not a regular file", path)


def _sync(path: Path, flags: int) -> None:
    fd = os.open(path, flags)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
