"""Pull requests. The Hub's API calls them discussions; this Hub has no other discussions."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from hubspool.local_hub.identifiers import MAIN
from hubspool.local_hub.routes.request_context import RequestContext, ok
from hubspool.local_hub.services.api_errors import ApiError, member
from hubspool.local_hub.services.repositories import check_writer


def details(context: RequestContext) -> Response:
    repo = context.repo()
    kept = context.pull_requests(repo)
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


def create(context: RequestContext) -> Response:
    repo, body = context.repo("contribute"), context.json()
    if body.get("pullRequest") is not True:
        raise ApiError(400, "This local Hub keeps pull requests, and no other discussions")
    title = member(body, "title", str, "").strip()
    if len(title) < 3:
        raise ApiError(400, "A pull request needs a title of at least 3 characters")
    description = member(body, "description", str, "")
    pull, _ = context.pull_requests(repo).open(context.author, title, description, target=MAIN)
    url = f"{context.endpoint}/{repo.url_path}/discussions/{pull.num}"
    return ok({"num": pull.num, "pullRequest": True, "url": url})


def merge(context: RequestContext) -> Response:
    repo, comment = context.repo("contribute"), member(context.json(), "comment", str, "")
    check_writer(context.user, repo.url_path)
    context.pull_requests(repo).merge(int(context.args["num"]), context.author, comment)
    return ok()
