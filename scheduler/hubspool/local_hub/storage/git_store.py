"""Bare git repositories, written so that a killed process leaves every one of them whole.

dulwich knows the objects, the history and the wire protocol; the writing is ours. Its own writers take
`<file>.lock` files, and one that a kill leaves behind blocks the branch (or the object) for ever. Here a file
is made elsewhere and renamed, objects first, the branch last; two writers of one branch are kept apart by the
caller's lock.
"""

from __future__ import annotations

import hashlib
import io
import stat
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from dulwich.diff_tree import tree_changes
from dulwich.objects import Blob, Commit, ObjectID, ShaFile, Tag, Tree
from dulwich.patch import write_tree_diff
from dulwich.refs import Ref, check_ref_format
from dulwich.repo import Repo

from hubspool.local_hub.storage.durable_files import Disk
from hubspool.local_hub.storage.pack_writer import PackWriter

FILE_MODE = stat.S_IFREG | 0o644
BRANCHES, TAGS, PULLS = "refs/heads/", "refs/tags/", "refs/pr/"


@dataclass(frozen=True)
class Entry:
    """A name in a folder: `oid` is the hex sha1 of the blob or tree."""

    path: str
    oid: str
    is_folder: bool


@dataclass(frozen=True)
class CommitRecord:
    """What the Hub tells about a commit; `date` is in Unix seconds, `root` the tree."""

    oid: str
    parents: tuple[str, ...]
    root: str
    author: str
    date: int
    message: str


@dataclass
class _Batch:
    """The objects of one commit that is being made."""

    loose: set[str] = field(default_factory=set)
    pack: PackWriter | None = None


_batch: ContextVar[_Batch | None] = ContextVar("_batch", default=None)


class GitStore:
    """One bare repository.

    Thread-safety: reading and adding objects from any thread; refs are set under the caller's lock for the
    repository.
    """

    LOOSE = 64  # objects of one commit that become files of their own; the others share a pack
    CACHED = 4096  # small objects kept in memory: trees and what listings need

    def __init__(self, disk: Disk, path: Path) -> None:
        self.path = path
        self._disk = disk
        self._repo = Repo(str(path))
        self._objects: OrderedDict[str, ShaFile] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def init(cls, path: Path) -> None:
        """Make an empty repository with HEAD at refs/heads/main."""
        path.mkdir(parents=True)
        repo = Repo.init_bare(str(path), default_branch=b"main")
        repo.close()

    def close(self) -> None:
        """Close the files that dulwich may hold open."""
        self._repo.close()

    @property
    def repo(self) -> Repo:
        """For the git protocol, which dulwich speaks."""
        return self._repo

    # -- objects

    @contextmanager
    def gather(self) -> Iterator[None]:
        """Store the objects that this thread adds together at the end; until then they cannot be read.

        Many of them make a pack: 5,000 files of their own took 2.6 s, of a commit's 3.
        """
        batch = _Batch()
        before = _batch.set(batch)
        try:
            with self._disk.gather():
                try:
                    yield
                finally:
                    _batch.reset(before)
                if batch.pack is not None:
                    name, index = batch.pack.finish()
                    folder = self.path / "objects" / "pack"
                    # git looks for the index, so the pack comes first; both are there before a branch points to them
                    self._disk.adopt(batch.pack.path, folder / f"{name}.pack")
                    self._disk.adopt(index, folder / f"{name}.idx")
        finally:
            if batch.pack is not None:
                batch.pack.discard()

    def add(self, obj: ShaFile) -> str:
        """Store an object; returns its name."""
        # in one piece: dulwich compresses a folder entry by entry, 9 ms for 5,000 files
        raw = obj.as_raw_string()
        content = b"%s %d\0%s" % (obj.type_name, len(raw), raw)
        oid = hashlib.sha1(content).hexdigest()  # noqa: S324 - git's name for it
        batch = _batch.get()
        path = self.path / "objects" / oid[:2] / oid[2:]
        if path.exists() or (batch is not None and oid in batch.loose):
            pass
        elif batch is None or len(batch.loose) < self.LOOSE:
            self._disk.write(path, zlib.compress(content, 1))
            if batch is not None:
                batch.loose.add(oid)
        else:
            if batch.pack is None:
                batch.pack = PackWriter(self._disk.temporary_path())
            batch.pack.add(oid, obj.type_num, raw)
        if isinstance(obj, Tree):
            self._keep(oid, obj)  # the next commit begins with it
        return oid

    def add_blob(self, content: bytes) -> str:
        return self.add(Blob.from_string(content))

    def _get(self, oid: str) -> ShaFile:
        with self._lock:
            if (cached := self._objects.get(oid)) is not None:
                self._objects.move_to_end(oid)
                return cached
        return self._repo.object_store[ObjectID(oid.encode())]

    def _keep(self, oid: str, obj: ShaFile) -> None:
        with self._lock:
            self._objects[oid] = obj
            while len(self._objects) > self.CACHED:
                self._objects.popitem(last=False)

    def blob(self, oid: str) -> bytes:
        """The content of a file as git keeps it."""
        obj = self._get(oid)
        content: bytes = obj.as_raw_string()
        if len(content) < 1024:  # LFS pointers above all
            self._keep(oid, obj)
        return content

    def tree(self, oid: str) -> Tree:
        """A folder. It is shared: change a copy."""
        obj = self._get(oid)
        if not isinstance(obj, Tree):
            raise KeyError(oid)
        self._keep(oid, obj)
        return obj

    def commit(self, oid: str) -> CommitRecord:
        obj = self._get(oid)
        if not isinstance(obj, Commit):
            raise KeyError(oid)
        self._keep(oid, obj)
        return CommitRecord(
            oid=oid,
            parents=tuple(parent.decode() for parent in obj.parents),
            root=obj.tree.decode(),
            author=obj.author.decode("utf-8", "replace").partition(" <")[0],
            date=int(obj.author_time),
            message=obj.message.decode("utf-8", "replace").rstrip("\n"),
        )

    def add_commit(self, root: str, parents: list[str], author: str, message: str) -> str:
        """Store a commit; no branch points to it yet."""
        made = Commit()
        made.tree = ObjectID(root.encode())
        made.parents = [ObjectID(parent.encode()) for parent in parents]
        made.author = made.committer = f"{author} <{author}@users.noreply.localhost>".encode()
        made.author_time = made.commit_time = int(time.time())
        made.author_timezone = made.commit_timezone = 0
        made.encoding = b"UTF-8"
        made.message = message.encode("utf-8", "replace") + b"\n"
        return self.add(made)

    def add_tag(self, name: str, commit: str, author: str, message: str) -> str:
        """Store an annotated tag of a commit; no ref points to it yet."""
        made = Tag()
        made.name = name.encode()
        made.object = (Commit, ObjectID(commit.encode()))
        made.tagger = f"{author} <{author}@users.noreply.localhost>".encode()
        made.tag_time, made.tag_timezone = int(time.time()), 0
        made.message = message.encode("utf-8", "replace") + b"\n"
        return self.add(made)

    def history(self, oid: str) -> Iterator[CommitRecord]:
        """The commits from `oid` back to the first, along the first parents."""
        following: str | None = oid
        while following is not None:
            record = self.commit(following)
            yield record
            following = record.parents[0] if record.parents else None

    # -- refs

    def refs(self, prefix: str) -> dict[str, str]:
        """Short names and commits of the refs below `prefix`."""
        found = {}
        for name in self._repo.refs.keys(Ref(prefix.encode())):
            oid = self.ref(f"{prefix}{name.decode()}")
            if oid is not None:
                found[name.decode()] = oid
        return dict(sorted(found.items()))

    def all_refs(self) -> dict[str, str]:
        """Full names of all refs and what they lead to: commits, or the objects of annotated tags."""
        found = self._repo.refs.as_dict(Ref(b"refs"))
        return {f"refs/{name.decode()}": oid.decode() for name, oid in sorted(found.items())}

    def has_ref_within(self, name: str) -> bool:
        """Whether a ref exists of which `name` would be a folder, or the other way round."""
        return any(other.startswith(f"{name}/") or name.startswith(f"{other}/") for other in self.all_refs())

    def has(self, oid: str) -> bool:
        """Whether an object is here."""
        return ObjectID(oid.encode()) in self._repo.object_store

    def is_commit(self, oid: str) -> bool:
        """Whether an object that is here is a commit."""
        return isinstance(self._get(oid), Commit)

    def ref(self, name: str) -> str | None:
        """The commit that a full ref name stands for, tags peeled; None when there is no such ref."""
        try:
            if not check_ref_format(Ref(name.encode())):  # it becomes a path
                return None
            oid = self._repo.refs[Ref(name.encode())].decode()
        except (KeyError, UnicodeEncodeError, OSError):  # a folder, or a name too long for a file
            return None
        obj = self._get(oid)
        while isinstance(obj, Tag):
            oid = obj.object[1].decode()
            obj = self._get(oid)
        return oid

    def set_ref(self, name: str, oid: str) -> None:
        """Point a ref to a commit; this is what makes a commit happen."""
        self._disk.write(self.path / name, oid.encode() + b"\n")

    def delete_ref(self, name: str) -> None:
        self._repo.refs.remove_if_equals(Ref(name.encode()), None)

    def find_commit(self, rev: str) -> str | None:
        """The commit of a branch, tag, full ref name or (abbreviated) commit id, None when there is none."""
        for name in (f"{BRANCHES}{rev}", f"{TAGS}{rev}", rev if rev.startswith("refs/") else None):
            if name is not None and (oid := self.ref(name)) is not None:
                return oid
        if len(rev) < 7 or len(rev) > 40 or any(letter not in "0123456789abcdef" for letter in rev):
            return None
        for candidate in self._repo.object_store.iter_prefix(rev.encode()):
            try:
                return self.commit(candidate.decode()).oid
            except KeyError:
                continue
        return None

    # -- folders

    def entry(self, root: str, path: str) -> Entry | None:
        """What stands at `path`, None when nothing does; "" is the root folder."""
        oid, is_folder = root, True
        for name in path.split("/") if path else ():
            if not is_folder:
                return None
            try:
                mode, child = self.tree(oid)[name.encode()]
            except KeyError:
                return None
            oid, is_folder = child.decode(), stat.S_ISDIR(mode)
        return Entry(path, oid, is_folder)

    def diff(self, old_root: str, new_root: str) -> str:
        """What turns one tree into another, as `git diff` shows it."""
        out = io.BytesIO()
        write_tree_diff(out, self._repo.object_store, ObjectID(old_root.encode()), ObjectID(new_root.encode()))
        return out.getvalue().decode("utf-8", "replace")

    def changes(self, old_root: str, new_root: str) -> dict[str, str | None]:
        """The files that two trees do not have in common: path and new blob, None for a removed one."""
        found: dict[str, str | None] = {}
        trees = ObjectID(old_root.encode()), ObjectID(new_root.encode())
        for change in tree_changes(self._repo.object_store, *trees, change_type_same=True):
            for side, entry in ((None, change.old), ("new", change.new)):
                if entry is not None and entry.path is not None and entry.sha is not None:
                    found[entry.path.decode()] = entry.sha.decode() if side else None
        return found

    def walk(self, folder: Entry, *, recursive: bool) -> Iterator[Entry]:
        """What is in a folder; with `recursive` each folder comes before what is in it."""
        for name, mode, oid in self.tree(folder.oid).iteritems():
            path = f"{folder.path}/{name.decode()}" if folder.path else name.decode()
            entry = Entry(path, oid.decode(), stat.S_ISDIR(mode))
            yield entry
            if recursive and entry.is_folder:
                yield from self.walk(entry, recursive=True)
