"""Bare git repositories that stay whole when the process is killed during a write.

dulwich reads objects and history and speaks the wire protocol; this module does the writing. dulwich's own writers
create `<file>.lock` files, and one that is left by a killed process blocks its branch or object for ever. Here a file
is written to a temporary path and renamed: objects first, the branch last. The caller's lock keeps two writers of one
branch apart.
"""

from __future__ import annotations

import hashlib
import logging
import stat
import tempfile
import time
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from dulwich.diff_tree import tree_changes
from dulwich.errors import GitProtocolError
from dulwich.objects import Blob, Commit, ObjectID, ShaFile, Tag, Tree
from dulwich.pack import PackFileDisappeared
from dulwich.refs import Ref, check_ref_format
from dulwich.repo import Repo

from hubspool.local_hub.identifiers import BRANCHES, MAIN, TAGS
from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.storage import git_program
from hubspool.local_hub.storage.durable_files import DurableFiles, holding
from hubspool.local_hub.storage.lru import LruCache
from hubspool.local_hub.storage.packs import PackWriter

_log = logging.getLogger("hubspool.local_hub")
FILE_MODE = stat.S_IFREG | 0o644


@dataclass(frozen=True)
class TreeEntry:
    """A file or folder in a tree; `oid` is the id of its blob or tree."""

    path: str
    oid: str
    is_folder: bool

    @property
    def cursor(self) -> str:
        """Its place in a listing, for `GitStore.walk`."""
        return f"{self.path}/" if self.is_folder else self.path


@dataclass(frozen=True)
class CommitRecord:
    """One commit; `date` is in Unix seconds, `root` is the id of its tree."""

    oid: str
    parents: tuple[str, ...]
    root: str
    author: str
    date: int
    message: str

    @property
    def title(self) -> str:
        """The first line of the message."""
        return self.message.partition("\n")[0]

    @property
    def description(self) -> str:
        """The message without its first line, and without empty lines around it."""
        return self.message.partition("\n")[2].strip("\n")


@dataclass
class _Batch:
    """The objects that one `gather` stores: ids of those with a file of their own, and a pack for the others."""

    loose: set[str] = field(default_factory=set)
    pack: PackWriter | None = None


_batch: ContextVar[_Batch | None] = ContextVar("_batch", default=None)


class GitStore:
    """One bare git repository.

    Attributes:
        path: its folder.
        repo: dulwich's own object, for the git protocol.
        folder_limit: entries of a folder beyond which a commit is refused; None for any number.

    Thread-safety: any thread may read and add objects; `set_ref` and `delete_ref` need the caller's lock of the
    repository.
    """

    def __init__(self, files: DurableFiles, path: Path, folder_limit: int | None = None) -> None:
        self.path = path
        self.folder_limit = folder_limit
        self._files = files
        self.repo = Repo(str(path))
        self._objects: LruCache[str, ShaFile] = LruCache(LIMITS.cached_objects)
        self._counts: LruCache[str, int] = LruCache(LIMITS.cached_counts)
        self._files_added = -1  # below `objects` since the last time they were packed; -1: not counted yet

    @classmethod
    def init(cls, path: Path) -> None:
        """Create an empty repository whose HEAD is refs/heads/main."""
        path.mkdir(parents=True)
        Repo.init_bare(str(path), default_branch=b"main").close()

    def close(self) -> None:
        """Close the files that dulwich has open."""
        self.repo.close()

    # -- objects

    @contextmanager
    def gather(self) -> Iterator[None]:
        """Collect the objects that this thread adds, and store them together at the end; they cannot be read before.

        The first `HubLimits.loose_objects` of them become files of their own; the others share a pack.
        """
        batch = _Batch()
        try:
            with self._files.gather():
                with holding(_batch, batch):
                    yield
                if batch.pack is not None:
                    name, index = batch.pack.finish()
                    folder = self.path / "objects" / "pack"
                    # git looks for the index, so the pack is moved first; a branch points to them later
                    self._files.adopt(batch.pack.path, folder / f"{name}.pack")
                    self._files.adopt(index, folder / f"{name}.idx")
                    self._files_added += LIMITS.pack_weight if self._files_added >= 0 else 0
        finally:
            if batch.pack is not None:
                batch.pack.discard()

    def add(self, obj: ShaFile) -> str:
        """Store an object; return its id."""
        # in one piece: dulwich compresses a folder entry by entry, 9 ms for 5,000 files
        raw = obj.as_raw_string()
        content = b"%s %d\0%s" % (obj.type_name, len(raw), raw)
        oid = hashlib.sha1(content).hexdigest()  # noqa: S324 - git's name for it
        batch = _batch.get()
        path = self.path / "objects" / oid[:2] / oid[2:]
        if path.exists() or (batch is not None and oid in batch.loose):
            pass
        elif batch is None or len(batch.loose) < LIMITS.loose_objects:
            self._files.write(path, zlib.compress(content, LIMITS.compression))
            self._files_added += 1 if self._files_added >= 0 else 0
            if batch is not None:
                batch.loose.add(oid)
        else:
            if batch.pack is None:
                batch.pack = PackWriter(self._files.temporary_path())
            batch.pack.add(oid, obj.type_num, raw)
        if isinstance(obj, Tree):
            self._objects.put(oid, obj)  # the next commit reads it
        return oid

    def add_blob(self, content: bytes) -> str:
        return self.add(Blob.from_string(content))

    def _get(self, oid: str) -> ShaFile:
        obj = self._objects.get(oid)
        if obj is None:
            obj = self.repo.object_store[ObjectID(oid.encode())]
            if not isinstance(obj, Blob) or obj.raw_length() < LIMITS.cached_blob:
                self._objects.put(oid, obj)
        return obj

    def blob(self, oid: str) -> bytes:
        """Return the content of a blob."""
        return self._get(oid).as_raw_string()

    def tree(self, oid: str) -> Tree:
        """Return a tree. Callers share the object: change a copy."""
        obj = self._get(oid)
        if not isinstance(obj, Tree):
            raise KeyError(oid)
        return obj

    def commit(self, oid: str) -> CommitRecord:
        obj = self._get(oid)
        if not isinstance(obj, Commit):
            raise KeyError(oid)
        return CommitRecord(
            oid=oid,
            parents=tuple(parent.decode() for parent in obj.parents),
            root=obj.tree.decode(),
            author=obj.author.decode("utf-8", "replace").partition(" <")[0],
            date=int(obj.author_time),
            message=obj.message.decode("utf-8", "replace").rstrip("\n"),
        )

    def add_commit(self, root: str, parents: list[str], author: str, message: str) -> str:
        """Store a commit that no branch points to; return its id."""
        new = Commit()
        new.tree = ObjectID(root.encode())
        new.parents = [ObjectID(parent.encode()) for parent in parents]
        new.author = new.committer = f"{author} <{author}@users.noreply.localhost>".encode()
        new.author_time = new.commit_time = int(time.time())
        new.author_timezone = new.commit_timezone = 0
        new.encoding = b"UTF-8"
        new.message = message.encode("utf-8", "replace") + b"\n"
        return self.add(new)

    def add_tag(self, name: str, commit: str, author: str, message: str) -> str:
        """Store an annotated tag that no ref points to; return its id."""
        new = Tag()
        new.name = name.encode()
        new.object = (Commit, ObjectID(commit.encode()))
        new.tagger = f"{author} <{author}@users.noreply.localhost>".encode()
        new.tag_time, new.tag_timezone = int(time.time()), 0
        new.message = message.encode("utf-8", "replace") + b"\n"
        return self.add(new)

    def history(self, oid: str) -> Iterator[CommitRecord]:
        """Yield the commits from `oid` back to the first one, along the first parents."""
        following: str | None = oid
        while following is not None:
            record = self.commit(following)
            yield record
            following = record.parents[0] if record.parents else None

    def history_page(self, oid: str, count: int) -> tuple[list[CommitRecord], str | None]:
        """Return the first `count` commits of `history`, and the id of the next one; None at the end."""
        records = list(islice(self.history(oid), count + 1))
        return records[:count], records[count].oid if len(records) > count else None

    def count_commits(self, oid: str) -> int:
        """Return the number of commits of `history`; linear in those since the last count."""
        known, count = 0, 0
        for record in self.history(oid):
            if known := self._counts.get(record.oid) or 0:
                break
            count += 1
        self._counts.put(oid, known + count)
        return known + count

    # -- refs

    def refs(self, prefix: str) -> dict[str, str]:
        """Return the refs below `prefix`: names without it, and their commits."""
        names = sorted(name.decode() for name in self.repo.refs.keys(Ref(prefix.encode())))
        return {name: oid for name in names if (oid := self.ref(f"{prefix}{name}")) is not None}

    def all_refs(self) -> dict[str, str]:
        """Return the full names of all refs and the ids they hold: of commits, or of annotated tags."""
        found = self.repo.refs.as_dict(Ref(b"refs"))
        return {f"refs/{name.decode()}": oid.decode() for name, oid in sorted(found.items())}

    def has_ref_within(self, name: str) -> bool:
        """Whether an existing ref and `name` cannot both exist, because one would be a folder of the other."""
        return any(other.startswith(f"{name}/") or name.startswith(f"{other}/") for other in self.all_refs())

    def has(self, oid: str) -> bool:
        """Whether an object is stored."""
        return ObjectID(oid.encode()) in self.repo.object_store

    def is_commit(self, oid: str) -> bool:
        """Whether a stored object is a commit."""
        return isinstance(self._get(oid), Commit)

    def ref(self, name: str) -> str | None:
        """Return the commit of a ref by its full name, following annotated tags; None if there is no such ref."""
        try:
            if not check_ref_format(Ref(name.encode())):  # the name becomes a path
                return None
            oid = self.repo.refs[Ref(name.encode())].decode()
        except (KeyError, UnicodeEncodeError, OSError):  # a folder, or a name too long for a file
            return None
        obj = self._get(oid)
        while isinstance(obj, Tag):
            oid = obj.object[1].decode()
            obj = self._get(oid)
        return oid

    def set_ref(self, name: str, oid: str) -> None:
        """Point a ref to a commit. A commit takes effect here."""
        self._files.write(self.path / name, oid.encode() + b"\n")
        self._pack_when_due()

    def _pack_when_due(self) -> None:
        """Let git join object files: loose ones, and packs that are small beside the next larger one.

        Readers may go on: git removes a file when its objects are in another one. Objects that no ref leads to stay.
        """
        if self._files_added < 0:
            self._files_added = sum(1 for _ in (self.path / "objects").glob("*/*"))
        if self._files_added < LIMITS.object_files or not git_program.exists():
            return
        self._files_added = 0
        try:
            git_program.run(self.path, "repack", "--geometric=2", "-d", "-q")
        except GitProtocolError as error:
            _log.warning("%s: the objects were not packed, which costs speed only: %s", self.path, error)

    def delete_ref(self, name: str) -> None:
        self.repo.refs.remove_if_equals(Ref(name.encode()), None)

    def find_commit(self, rev: str) -> str | None:
        """Return the commit of HEAD, a branch, tag, full ref name or (abbreviated) commit id, or None."""
        rev = MAIN if rev == "HEAD" else rev
        for name in (f"{BRANCHES}{rev}", f"{TAGS}{rev}", rev if rev.startswith("refs/") else None):
            if name is not None and (oid := self.ref(name)) is not None:
                return oid
        if len(rev) < 7 or len(rev) > 40 or any(letter not in "0123456789abcdef" for letter in rev):
            return None
        # A whole id needs no search, which fails if `pack` replaces a pack meanwhile.
        candidates = [rev] if len(rev) == 40 else self._ids_from(rev)
        for candidate in candidates:
            try:
                return self.commit(candidate).oid
            except KeyError:
                continue
        return None

    def _ids_from(self, prefix: str) -> list[str]:
        try:
            return [oid.decode() for oid in self.repo.object_store.iter_prefix(prefix.encode())]
        except PackFileDisappeared:  # its objects are in a new pack by now, which the store finds at the next look
            return [oid.decode() for oid in self.repo.object_store.iter_prefix(prefix.encode())]

    # -- folders

    def entry(self, root: str, path: str) -> TreeEntry | None:
        """Return the file or folder at `path`, or None; "" is the root folder."""
        oid, is_folder = root, True
        for name in path.split("/") if path else ():
            if not is_folder:
                return None
            try:
                mode, child = self.tree(oid)[name.encode()]
            except KeyError:
                return None
            oid, is_folder = child.decode(), stat.S_ISDIR(mode)
        return TreeEntry(path, oid, is_folder)

    def text(self, root: str, path: str) -> str | None:
        """Return the content of the file at `path`, or None if there is no file."""
        entry = self.entry(root, path)
        return None if entry is None or entry.is_folder else self.blob(entry.oid).decode("utf-8", "replace")

    def diff(self, old_root: str, new_root: str, without: Collection[str] = ()) -> str:
        """Return the beginning of the difference of two trees in the format of `git diff`, without these paths.

        The lines of a file come from the git program, if there is one: dulwich's need hours for some files.
        """
        paths = [path for path in self.changes(old_root, new_root) if path not in without]
        if not git_program.exists():
            return "".join(f"diff --git a/{path} b/{path}\n" for path in paths)
        left_out = [f":(exclude,literal,top){path}" for path in without]
        command = ("diff", "--no-renames", "--no-ext-diff", "--no-textconv", old_root, new_root, "--", ".", *left_out)
        with tempfile.TemporaryFile() as out:
            try:
                git_program.run(self.path, *command, out=out, seconds=LIMITS.diff_seconds)
            except GitProtocolError as error:
                _log.warning("%s: a difference is not shown whole: %s", self.path, error)
            out.seek(0)
            return out.read(LIMITS.diff).decode("utf-8", "replace")

    def changes(self, old_root: str, new_root: str) -> dict[str, str | None]:
        """Return the files that differ between two trees: path and new blob, None for a removed file."""
        found: dict[str, str | None] = {}
        trees = ObjectID(old_root.encode()), ObjectID(new_root.encode())
        for change in tree_changes(self.repo.object_store, *trees, change_type_same=True):
            for side, entry in ((None, change.old), ("new", change.new)):
                if entry is not None and entry.path is not None and entry.sha is not None:
                    found[entry.path.decode()] = entry.sha.decode() if side else None
        return found

    def files(self, root: str) -> Iterator[TreeEntry]:
        """Yield all files of a tree."""
        entries = self.walk(TreeEntry("", root, is_folder=True), recursive=True)
        return (entry for entry in entries if not entry.is_folder)

    def walk(self, folder: TreeEntry, *, recursive: bool, after: str = "") -> Iterator[TreeEntry]:
        """Yield the entries of a folder; with `recursive`, each folder comes before its entries.

        Args:
            folder: where to begin.
            recursive: also yield what its folders hold.
            after: the `TreeEntry.cursor` of the last entry that is left out, without the path of `folder`.
        """
        first, slash, rest = after.partition("/")
        last = (first + slash).encode()  # git sorts the name of a folder as if a slash followed it
        for name, mode, oid in self.tree(folder.oid).iteritems():
            is_folder = stat.S_ISDIR(mode)
            key = name + b"/" if is_folder else name
            if key < last:
                continue
            path = f"{folder.path}/{name.decode()}" if folder.path else name.decode()
            entry = TreeEntry(path, oid.decode(), is_folder)
            if key != last:
                yield entry
            if recursive and is_folder:
                yield from self.walk(entry, recursive=True, after=rest if key == last else "")
