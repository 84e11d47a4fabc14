"""Creates, deletes and squashes branches and tags."""

from __future__ import annotations

from dulwich.refs import check_ref_format

from hubspool.local_hub.identifiers import BRANCHES, MAIN, PULLS, TAGS, is_commit_id
from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.services.api_errors import ApiError, revision_not_found
from hubspool.local_hub.services.repositories import Repository
from hubspool.local_hub.storage.tree_edit import TreeEdit


def create_branch(repo: Repository, branch: str, commit: str, *, overwrite: bool = False) -> None:
    """Create a branch at a commit; with `overwrite`, move one that exists.

    Raises:
        ApiError: 400 for an invalid name, 409 if the branch exists.
    """
    if overwrite and branch == "main":
        raise ApiError(400, f"Cannot overwrite {MAIN}: commit to it, or squash it")
    _create(repo, BRANCHES, branch, commit, overwrite=overwrite)


def empty_commit(repo: Repository, author: str) -> str:
    """Store a commit without files and parents, for a branch that starts empty; return its id."""
    return repo.git.add_commit(TreeEdit(repo.git, None).write(), [], author, "initial commit")


def create_tag(repo: Repository, tag: str, rev: str, message: str, author: str) -> None:
    """Create a tag at a revision; with a message it is an annotated tag.

    Raises:
        ApiError: as `create_branch`.
    """
    commit = repo.revision(rev)
    _create(repo, TAGS, tag, repo.git.add_tag(tag, commit, author, message) if message else commit)


def _create(repo: Repository, prefix: str, name: str, oid: str, *, overwrite: bool = False) -> None:
    ref = prefix + name
    kind = "branch" if prefix == BRANCHES else "tag"
    is_taken = is_commit_id(name) or name == "HEAD"  # as a revision it means another commit
    if is_taken or len(ref.encode()) > LIMITS.ref_name or not check_ref_format(ref.encode()):  # type: ignore[arg-type]  # it takes any bytes
        raise ApiError(400, f"Invalid reference for a {kind}: {name}")
    with repo.changing():
        exists = repo.git.ref(ref) is not None
        if exists and not overwrite:
            raise ApiError(409, f"Reference {ref} already exists")
        if not exists and repo.git.has_ref_within(ref):
            raise ApiError(409, f"Reference {ref} cannot exist beside one that contains it")
        repo.git.set_ref(ref, oid)


def delete(repo: Repository, prefix: str, name: str) -> None:
    """Delete a branch or a tag; its commits can still be read by id.

    Raises:
        ApiError: 400 for main, 404 if there is no such ref.
    """
    if prefix + name == MAIN:
        raise ApiError(400, f"Cannot delete {MAIN}")
    with repo.changing():
        if repo.git.ref(prefix + name) is None:
            raise revision_not_found(name)
        repo.git.delete_ref(prefix + name)


def changeable(rev: str) -> str:
    """Return the full name of the branch or pull request that a commit to `rev` changes.

    Raises:
        ApiError: 404 for another kind of ref.
    """
    ref = rev if rev.startswith("refs/") else f"{BRANCHES}{rev}"
    if not ref.startswith((BRANCHES, PULLS)):
        raise revision_not_found(rev)
    return ref


def super_squash(repo: Repository, rev: str, message: str, author: str) -> str:
    """Replace the history of a branch, pull request or tag by one commit with the same content; return that commit.

    Raises:
        ApiError: 404 if there is no such ref.
    """
    names = (rev,) if rev.startswith((BRANCHES, TAGS, PULLS)) else (BRANCHES + rev, TAGS + rev)
    with repo.changing():
        for ref in names:
            if (head := repo.git.ref(ref)) is not None:
                commit = repo.git.add_commit(repo.git.commit(head).root, [], author, message)
                repo.git.set_ref(ref, commit)
                return commit
    raise revision_not_found(rev)
