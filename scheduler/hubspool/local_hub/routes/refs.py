"""Branches, tags and pull requests."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from hubspool.local_hub.identifiers import BRANCHES, MAIN, PULLS, TAGS
from hubspool.local_hub.routes.request_context import RequestContext, ok
from hubspool.local_hub.services import refs
from hubspool.local_hub.services.api_errors import ApiError, member
from hubspool.local_hub.services.pull_requests import PullRequests
from hubspool.local_hub.services.repositories import Repository, check_writer


def listing(context: RequestContext) -> Response:
    repo = context.repo()
    answer: dict[str, object] = {
        "branches": _refs(context, repo, BRANCHES),
        "tags": _refs(context, repo, TAGS),
        "converts": [],  # clients read it without a check
    }
    if context.flag("include_prs"):
        answer["pullRequests"] = _refs(context, repo, PULLS)
    return ok(answer)


def _refs(context: RequestContext, repo: Repository, prefix: str) -> list[dict[str, str]]:
    # by the listed commit, not by the name again: another request may delete the branch meanwhile
    return [
        {"name": name, "ref": prefix + name, "targetCommit": context.commit_of(repo, commit)}
        for name, commit in repo.git.refs(prefix).items()
    ]


def create_branch(context: RequestContext) -> None:
    repo, body = context.repo("write"), context.json()
    start = repo.revision(member(body, "startingPoint", str, "") or "main")
    if member(body, "emptyBranch", bool, False):
        start = refs.empty_commit(repo, context.author)
    refs.create_branch(repo, context.args["branch"], start, overwrite=member(body, "overwrite", bool, False))


def delete(context: RequestContext, prefix: str) -> None:
    refs.delete(context.repo("write"), prefix, context.args["name"])


def create_tag(context: RequestContext) -> None:
    repo, body = context.repo("write"), context.json()
    tag, message = member(body, "tag", str, ""), member(body, "message", str, "")
    refs.create_tag(repo, tag, context.args["rev"], message, context.author)


def super_squash(context: RequestContext) -> None:
    rev = context.args["rev"]
    message = member(context.json(), "message", str, "") or f"Super-squash branch '{rev}'"
    refs.super_squash(context.repo("write"), rev, message, context.author)


def pull_request(context: RequestContext) -> Response:
    repo = context.repo()
    kept = PullRequests(repo)
    pull = kept.get(int(context.args["num"]))
    changes = {"base": pull.target}
    if pull.merge_commit is not None:
        changes["mergeCommitId"] = pull.merge_commit
    described: dict[str, Any] = {
        "num": pull.num,
        "title": pull.title,
        "status": pull.status,
        "author": {"name": pull.author},
        "createdAt": pull.created_at,
        "isPullRequest": True,
        "repo": {"name": repo.id, "type": repo.type},
        "events": kept.events(pull),
        "changes": changes,
        "filesWithConflicts": kept.conflicts(pull),
    }
    if context.flag("diff"):
        described["diff"] = kept.diff(pull)
    return ok(described)


def create_pull_request(context: RequestContext) -> Response:
    """Open a draft. The Hub's API calls pull requests discussions; this Hub has no other discussions."""
    repo, body = context.repo("contribute"), context.json()
    if body.get("pullRequest") is not True:
        raise ApiError(400, "This local Hub keeps pull requests, and no other discussions")
    title = member(body, "title", str, "").strip()
    if len(title) < 3:
        raise ApiError(400, "A pull request needs a title of at least 3 characters")
    description = member(body, "description", str, "")
    pull, _ = PullRequests(repo).open(context.author, title, description, target=MAIN)
    url = f"{context.endpoint}/{repo.url_path}/discussions/{pull.num}"
    return ok({"num": pull.num, "pullRequest": True, "url": url})


def merge_pull_request(context: RequestContext) -> None:
    repo, comment = context.repo("contribute"), member(context.json(), "comment", str, "")
    check_writer(context.user, repo.url_path)
    PullRequests(repo).merge(int(context.args["num"]), context.author, comment)
