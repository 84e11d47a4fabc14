"""Branches, tags and pull requests as refs."""

from __future__ import annotations

from starlette.responses import Response

from hubspool.local_hub.identifiers import BRANCHES, PULLS, TAGS
from hubspool.local_hub.routes.request_context import RequestContext, ok
from hubspool.local_hub.services import refs
from hubspool.local_hub.services.api_errors import member
from hubspool.local_hub.services.repositories import Repository


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


def create_branch(context: RequestContext) -> Response:
    repo, body = context.repo("write"), context.json()
    start = repo.revision(member(body, "startingPoint", str, "") or "main")
    if member(body, "emptyBranch", bool, False):
        start = refs.empty_commit(repo, context.author)
    refs.create_branch(repo, context.args["branch"], start, overwrite=member(body, "overwrite", bool, False))
    return ok()


def delete_branch(context: RequestContext) -> Response:
    refs.delete(context.repo("write"), BRANCHES, context.args["branch"])
    return ok()


def create_tag(context: RequestContext) -> Response:
    repo, body = context.repo("write"), context.json()
    tag, message = member(body, "tag", str, ""), member(body, "message", str, "")
    refs.create_tag(repo, tag, context.args["rev"], message, context.author)
    return ok()


def delete_tag(context: RequestContext) -> Response:
    refs.delete(context.repo("write"), TAGS, context.args["tag"])
    return ok()


def super_squash(context: RequestContext) -> Response:
    rev = context.args["rev"]
    message = member(context.json(), "message", str, "") or f"Super-squash branch '{rev}'"
    refs.super_squash(context.repo("write"), rev, message, context.author)
    return ok()
