"""What `git push` brings: objects that are checked before they are kept, then refs.

A push is judged as a commit is: no large file outside LFS, no pointer without its content, no path that leaves the
repository. Objects are written by our own store, because what dulwich writes a kill can leave locked.
"""

from __future__ import annotations

import stat
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dulwich.errors import ApplyDeltaError, ChecksumMismatch, ObjectFormatException
from dulwich.object_format import SHA1
from dulwich.objects import Blob, Commit, ShaFile, Tag, Tree
from dulwich.pack import PackData, PackInflater, UnresolvedDeltas
from dulwich.refs import check_ref_format

from hubspool.local_hub.services.api_errors import HubError
from hubspool.local_hub.services.commit_writer import MAX_REGULAR, check_path
from hubspool.local_hub.services.content import Contents, Pointer
from hubspool.local_hub.services.repositories import Repository
from hubspool.local_hub.storage.git_store import BRANCHES, PULLS, TAGS, GitStore

NOTHING = "0" * 40  # the id of a ref that is not there
#: What dulwich raises at bytes that are no pack.
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
class Command:
    """A ref that is to move from one object to another; `NOTHING` for one that is made or removed."""

    old: str
    new: str
    ref: str


class PushRefusedError(Exception):
    """Why nothing of a push is taken, in one sentence that git shows to its user."""


def apply(repo: Repository, contents: Contents, commands: Sequence[Command], pack: Path | None) -> dict[str, str]:
    """Take the objects of a push and move its refs; returns why, for each ref that did not move.

    Not atomic over several refs, as `git push` without `--atomic`.

    Args:
        repo: Where to.
        contents: Where large files are.
        commands: One for each ref.
        pack: The file with the objects; None where the push only names some that are here.

    Raises:
        PushRefusedError: The pack is broken.
        HubError: 409 when another change does not end.
    """
    refused: dict[str, str] = {}
    if pack is not None:
        try:
            arrived = _Arrived(repo.git, contents)
            for each in _objects(pack, repo.git):
                arrived.check(each)
            arrived.check_links()
        except HubError as error:
            return {command.ref: error.message for command in commands}
        with repo.git.gather():
            for each in _objects(pack, repo.git):
                repo.git.add(each)
    with repo.changing():
        for command in commands:
            try:
                _move(repo.git, command)
            except HubError as error:
                refused[command.ref] = error.message
    return refused


def _objects(pack: Path, git: GitStore) -> Iterator[ShaFile]:
    """Yield the objects of a pack, one in memory at a time but for what others are told as changes of."""
    failure = ""
    try:
        data = PackData(str(pack), SHA1)
    except _BROKEN as error:
        raise PushRefusedError(f"the pack is broken: {type(error).__name__}") from None
    try:
        yield from PackInflater.for_pack_data(data, resolve_ext_ref=git.repo.object_store.get_raw)
    except KeyError as error:
        failure = f"the pack builds on an object that is not here: {error}"
    except _BROKEN as error:
        failure = f"the pack is broken: {type(error).__name__}"
    finally:
        data.close()
    if failure:  # not from within the handlers: a traceback that is alive keeps the file open
        raise PushRefusedError(failure)


@dataclass
class _Arrived:
    """What is known of the objects of one push."""

    git: GitStore
    contents: Contents
    oids: set[str] = field(default_factory=set)
    named: set[str] = field(default_factory=set)
    too_large: set[str] = field(default_factory=set)
    paths: dict[str, str] = field(default_factory=dict)  # of blobs: the last part of a path

    def check(self, each: ShaFile) -> None:
        """Look at one object.

        Raises:
            HubError: It is none that a commit could have brought.
        """
        self.oids.add(each.id.decode())
        if isinstance(each, Blob):
            content = each.as_raw_string()
            if len(content) > MAX_REGULAR:
                self.too_large.add(each.id.decode())
            elif (pointer := Pointer.parse(content)) is not None and self.contents.size(pointer.sha256) != pointer.size:
                raise HubError(400, f"the LFS object {pointer.sha256} was not uploaded: git lfs push comes first")
        elif isinstance(each, Tree):
            for name, mode, oid in each.iteritems():
                text = check_path(name.decode("utf-8", "surrogateescape"))
                if stat.S_IFMT(mode) == 0o160000:
                    raise HubError(400, f"{text} is a submodule, which the Hub does not take")
                self.named.add(oid.decode())
                self.paths[oid.decode()] = text
        elif isinstance(each, Commit):
            self.named.update(oid.decode() for oid in (each.tree, *each.parents))
        elif isinstance(each, Tag):
            self.named.add(each.object[1].decode())

    def check_links(self) -> None:
        """Look at all of them together.

        Raises:
            HubError: Something is too large, or named and neither sent nor here.
        """
        if self.too_large:
            names = ", ".join(sorted(self.paths.get(oid, oid) for oid in self.too_large))
            raise HubError(400, f"it contains files larger than 10 MiB, use git-lfs or Xet. Offending files: {names}")
        if missing := _absent(self.git, self.named - self.oids):
            raise HubError(400, f"the object {missing[0]} is missing")


def _absent(git: GitStore, oids: Iterable[str]) -> list[str]:
    return [oid for oid in sorted(oids) if not git.has(oid)]


def _move(git: GitStore, command: Command) -> None:
    ref = command.ref
    if not ref.startswith((BRANCHES, TAGS, PULLS)) or not check_ref_format(ref.encode()):  # type: ignore[arg-type]  # it takes any bytes
        raise HubError(400, "only refs/heads/ and refs/tags/ are taken")
    current = git.all_refs().get(ref, NOTHING)
    if current != command.old:
        raise HubError(409, "the ref has moved: fetch first")
    if command.new == NOTHING:
        if ref == f"{BRANCHES}main":
            raise HubError(400, "Cannot delete refs/heads/main")
        git.delete_ref(ref)
        return
    if current == NOTHING and ref.startswith(PULLS):
        raise HubError(400, "a pull request is opened through the API")
    if not git.has(command.new):
        raise HubError(400, f"the object {command.new} is missing")
    if not git.is_commit(command.new) and not ref.startswith(TAGS):
        raise HubError(400, "a branch must lead to a commit")
    if current == NOTHING and git.has_ref_within(ref):
        raise HubError(409, "one that contains it exists")
    git.set_ref(ref, command.new)
