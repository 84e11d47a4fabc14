"""Branches, tags, and the history behind them."""

from __future__ import annotations

from collections.abc import Callable

from dulwich.refs import check_ref_format

from hubspool.local_hub.services.api_errors import HubError, revision_not_found
from hubspool.local_hub.services.repositories import Repository
from hubspool.local_hub.storage.git_store import BRANCHES, PULLS, TAGS


def create_branch(repo: Repository, branch: str, starting_point: str) -> None:
    """Point a new branch to a revision, main's when none is given.

    Raises:
        HubError: 400 for a bad name, 404 for a bad revision, 409 when it exists.
    """
    _create(repo, BRANCHES, branch, repo.revision(starting_point or "main"))


def create_tag(repo: Repository, tag: str, rev: str, message: str, author: str) -> None:
    """Point a new tag to a revision; with a message it is an annotated one, as git keeps them.

    Raises:
        HubError: As `create_branch`.
    """
    _create(
        repo,
        TAGS,
        tag,
        repo.revision(rev),
        lambda commit: repo.git.add_tag(tag, commit, author, message) if message else commit,
    )


def _create(
    repo: Repository, prefix: str, name: str, commit: str, wrapped: Callable[[str], str] = lambda commit: commit
) -> None:
    ref = prefix + name
    kind = "branch" if prefix == BRANCHES else "tag"
    hides_commit = len(name) == 40 and set(name) <= set("0123456789abcdef")
    if len(ref.encode()) > 200 or not check_ref_format(ref.encode()) or hides_commit:  # type: ignore[arg-type]  # it takes any bytes
        raise HubError(400, f"Invalid reference for a {kind}: {name}")
    with repo.changing():
        if repo.git.ref(ref) is not None:
            raise HubError(409, f"Reference {ref} already exists")
        if repo.git.has_ref_within(ref):
            raise HubError(409, f"Reference {ref} cannot exist beside one that contains it")
        repo.git.set_ref(ref, wrapped(commit))


def delete_branch(repo: Repository, branch: str) -> None:
    """Remove a branch; its commits stay reachable by id.

    Raises:
        HubError: 400 for main, 404 when there is none.
    """
    if branch == "main":
        raise HubError(400, "Cannot delete refs/heads/main")
    _delete(repo, BRANCHES, branch)


def delete_tag(repo: Repository, tag: str) -> None:
    """Remove a tag.

    Raises:
        HubError: 404 when there is none.
    """
    _delete(repo, TAGS, tag)


def _delete(repo: Repository, prefix: str, name: str) -> None:
    with repo.changing():
        if repo.git.ref(prefix + name) is None:
            raise revision_not_found(name)
        repo.git.delete_ref(prefix + name)


def changeable(rev: str) -> str:
    """The full name of the branch or pull request that a commit to `rev` changes.

    Raises:
        HubError: 404 for any other ref.
    """
    ref = rev if rev.startswith("refs/") else f"{BRANCHES}{rev}"
    if not ref.startswith((BRANCHES, PULLS)):
        raise revision_not_found(rev)
    return ref


def super_squash(repo: Repository, rev: str, message: str, author: str) -> str:
    """Make a branch, pull request or tag one commit without a parent, with the content that it has; returns the commit.

    Raises:
        HubError: 404 when there is none.
    """
    names = (rev,) if rev.startswith((BRANCHES, TAGS, PULLS)) else (BRANCHES + rev, TAGS + rev)
    with repo.changing():
        for ref in names:
            if (head := repo.git.ref(ref)) is not None:
                commit = repo.git.add_commit(repo.git.commit(head).root, [], author, message)
                repo.git.set_ref(ref, commit)
                return commit
    raise revision_not_found(rev)
