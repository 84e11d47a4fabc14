"""Applies a `git push`: checks the objects, stores them, then moves the refs.

The rules are those of a commit: no large file outside LFS, no pointer without its content, no path that leaves the
repository. `GitStore` writes the objects, because a killed process can leave dulwich's own files locked.
"""

from __future__ import annotations

import stat
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dulwich.errors import ApplyDeltaError, ChecksumMismatch, ObjectFormatException
from dulwich.object_format import SHA1
from dulwich.objects import Blob, Commit, ShaFile, Tag, Tree
from dulwich.pack import PackData, PackInflater, UnresolvedDeltas
from dulwich.refs import check_ref_format

from hubspool.local_hub.identifiers import BRANCHES, MAIN, PULLS, TAGS
from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.services.api_errors import ApiError
from hubspool.local_hub.services.commit_writer import check_path, full_folders
from hubspool.local_hub.services.content import LfsPointer
from hubspool.local_hub.services.repositories import Repository
from hubspool.local_hub.storage.git_store import GitStore
from hubspool.local_hub.storage.packs import PackTooLargeError, check_sizes

NO_OBJECT = "0" * 40  # git's id of a ref that does not exist
_SUBMODULE = 0o160000  # git's file mode
#: What dulwich raises for bytes that are not a pack.
_BROKEN = (
    ApplyDeltaError,
    ChecksumMismatch,
    ObjectFormatException,
    UnresolvedDeltas,
    AssertionError,
    EOFError,
    IndexError,
    ValueError,
    OSError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True)
class RefUpdate:
    """A ref that moves from one object to another; `NO_OBJECT` for one that is created or deleted."""

    old: str
    new: str
    ref: str


class PushRefusedError(Exception):
    """The whole push is refused; git shows the message to its user."""


def apply(repo: Repository, updates: Sequence[RefUpdate], pack: Path | None) -> dict[str, str]:
    """Store the objects of a push and move its refs; return the reason for each ref that did not move.

    Not atomic over several refs, as `git push` without `--atomic`.

    Args:
        repo: repository to change.
        updates: one for each ref.
        pack: file with the objects; None if the push only names stored ones.

    Raises:
        PushRefusedError: The pack is broken.
        ApiError: 409 if another change does not end.
    """
    refused, failure = {}, ""
    if pack is not None:
        try:
            _check_objects(repo, pack)
        except ApiError as error:
            return {update.ref: error.message for update in updates}
        except PackTooLargeError as error:
            failure = str(error)
        except _BROKEN as error:
            failure = f"the pack is broken: {type(error).__name__}"
        if failure:  # not in the handlers: a live traceback would keep the file open
            raise PushRefusedError(failure)
        with repo.git.gather():
            for each in _objects(pack, repo.git):
                repo.git.add(each)
    with repo.changing():
        for update in updates:
            try:
                _move(repo.git, update)
            except ApiError as error:
                refused[update.ref] = error.message
    return refused


def _check_objects(repo: Repository, pack: Path) -> None:
    check_sizes(pack)
    pushed = _PushedObjects(repo)
    for each in _objects(pack, repo.git):
        pushed.check(each)
    pushed.check_links()


def _objects(pack: Path, git: GitStore) -> Iterator[ShaFile]:
    """Yield the objects of a pack. Memory holds one at a time, and the bases of its delta."""
    missing = None
    with PackData(str(pack), SHA1) as data:
        try:
            yield from PackInflater.for_pack_data(data, resolve_ext_ref=git.repo.object_store.get_raw)
        except KeyError as error:  # of the inflater, not of what is done with the objects
            missing = error
    if missing is not None:
        raise PushRefusedError(f"the pack builds on an object that is missing: {missing}")


@dataclass
class _PushedObjects:
    """The objects of one push, by id.

    Attributes:
        named: objects that the pushed ones refer to.
        full: folders with too many entries.
        paths: of blobs and folders, the last part of a path.
    """

    repo: Repository
    oids: set[str] = field(default_factory=set)
    named: set[str] = field(default_factory=set)
    too_large: set[str] = field(default_factory=set)
    full: set[str] = field(default_factory=set)
    paths: dict[str, str] = field(default_factory=dict)

    def check(self, pushed: ShaFile) -> None:
        """Check one object.

        Raises:
            ApiError: A commit through the API could not have created it.
        """
        self.oids.add(pushed.id.decode())
        try:
            pushed.check()
        except ObjectFormatException as error:
            raise ApiError(400, f"the {pushed.type_name.decode()} {pushed.id.decode()} is damaged: {error}") from None
        if isinstance(pushed, Blob):
            self._check_blob(pushed)
        elif isinstance(pushed, Tree):
            self._check_tree(pushed)
        elif isinstance(pushed, Commit):
            if not all(0 <= moment <= LIMITS.newest_commit for moment in (pushed.author_time, pushed.commit_time)):
                raise ApiError(400, f"the commit {pushed.id.decode()} has no date between the years 1970 and 9999")
            self.named.update(oid.decode() for oid in (pushed.tree, *pushed.parents))
        elif isinstance(pushed, Tag):
            self.named.add(pushed.object[1].decode())

    def _check_blob(self, blob: Blob) -> None:
        content = blob.as_raw_string()
        if len(content) > LIMITS.regular_file:
            self.too_large.add(blob.id.decode())
            return
        pointer = LfsPointer.parse(content)
        if pointer is not None and self.repo.size_of(pointer.sha256) != pointer.size:
            raise ApiError(400, f"the LFS object {pointer.sha256} was not uploaded: git lfs push comes first")

    def _check_tree(self, tree: Tree) -> None:
        if self.repo.git.folder_limit is not None and len(tree) > self.repo.git.folder_limit:
            self.full.add(tree.id.decode())
        for name, mode, oid in tree.iteritems():
            text = check_path(name.decode("utf-8", "surrogateescape"))
            if stat.S_IFMT(mode) == _SUBMODULE:
                raise ApiError(400, f"{text} is a submodule, which the Hub does not take")
            self.named.add(oid.decode())
            self.paths[oid.decode()] = text

    def check_links(self) -> None:
        """Check all objects together.

        Raises:
            ApiError: A file is too large, a folder too full, or an object is named and neither pushed nor stored.
        """
        if self.too_large:
            names = ", ".join(sorted(self.paths.get(oid, oid) for oid in self.too_large))
            raise ApiError(400, f"it contains files larger than 10 MiB, use git-lfs or Xet. Offending files: {names}")
        if self.full:
            raise full_folders(sorted(self.paths.get(oid, "/") for oid in self.full), self.repo.git.folder_limit)
        if missing := sorted(oid for oid in self.named - self.oids if not self.repo.git.has(oid)):
            raise ApiError(400, f"the object {missing[0]} is missing")


def _move(git: GitStore, update: RefUpdate) -> None:
    """Move one ref.

    Raises:
        ApiError: with the reason that git shows to its user.
    """
    current = git.all_refs().get(update.ref, NO_OBJECT)
    _check_update(git, update, current)
    if update.new == NO_OBJECT:
        git.delete_ref(update.ref)
    else:
        git.set_ref(update.ref, update.new)


def _check_update(git: GitStore, update: RefUpdate, current: str) -> None:
    ref = update.ref
    if not ref.startswith((BRANCHES, TAGS, PULLS)) or not check_ref_format(ref.encode()):  # type: ignore[arg-type]  # it takes any bytes
        raise ApiError(400, "only refs/heads/ and refs/tags/ are taken")
    if current != update.old:
        raise ApiError(409, "the ref has moved: fetch first")
    if update.new == NO_OBJECT:
        if ref == MAIN:
            raise ApiError(400, f"Cannot delete {MAIN}")
        return
    if current == NO_OBJECT and ref.startswith(PULLS):
        raise ApiError(400, "a pull request is opened through the API")
    if not git.has(update.new):
        raise ApiError(400, f"the object {update.new} is missing")
    if not git.is_commit(update.new) and not ref.startswith(TAGS):
        raise ApiError(400, "a branch must lead to a commit")
    if current == NO_OBJECT and git.has_ref_within(ref):
        raise ApiError(409, "one that contains it exists")
