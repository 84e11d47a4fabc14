"""Discussions and pull requests."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from hubspool.local_hub.routes.request_context import API, Call, Route, ok
from hubspool.local_hub.services import pull_requests
from hubspool.local_hub.services.api_errors import HubError, member
from hubspool.local_hub.services.pull_requests import Discussion, Discussions
from hubspool.local_hub.services.repositories import Repository, check_writer
from hubspool.local_hub.storage.git_store import BRANCHES, PULLS

PAGE = 50
_ONE = rf"{API}/discussions/(?P<num>\d{{1,9}})"


def of(call: Call, repo: Repository) -> Discussions:
    return Discussions(call.services.disk, repo)


def _describe(repo: Repository, discussion: Discussion) -> dict[str, Any]:
    return {
        "num": discussion.num,
        "title": discussion.title,
        "status": discussion.status,
        "author": {"name": discussion.author},
        "createdAt": discussion.created_at,
        "isPullRequest": discussion.target is not None,
        "repo": {"name": repo.id, "type": repo.type},
    }


def listing(call: Call) -> Response:
    repo, query = call.repo(), call.request.query_params
    found = of(call, repo).all()
    if (kind := query.get("type", "all")) != "all":
        found = [item for item in found if (item.target is not None) == (kind == "pull_request")]
    if (status := query.get("status", "all")) != "all":
        found = [item for item in found if (item.status in ("open", "draft")) == (status == "open")]
    if author := query.get("author"):
        found = [item for item in found if item.author == author]
    page = query.get("p", "0")
    start = int(page) * PAGE if page.isdecimal() and len(page) < 9 else 0
    shown = [_describe(repo, item) for item in found[start : start + PAGE]]
    return ok({"discussions": shown, "count": len(found), "start": start})


def details(call: Call) -> Response:
    repo = call.repo()
    kept = of(call, repo)
    discussion = kept.get(int(call.args["num"]))
    described = {**_describe(repo, discussion), "events": kept.events(discussion)}
    if discussion.target is not None:
        changes = {"base": discussion.target}
        if discussion.merge_commit is not None:
            changes["mergeCommitId"] = discussion.merge_commit
        described.update(changes=changes, filesWithConflicts=kept.conflicts(discussion))
        if call.flag("diff"):
            described["diff"] = kept.diff(discussion)
    return ok(described)


def create(call: Call) -> Response:
    repo, body = call.repo("contribute"), call.json()
    title = member(body, "title", str, "").strip()
    if len(title) < 3:
        raise HubError(400, "A discussion needs a title of at least 3 characters")
    target = f"{BRANCHES}main" if body.get("pullRequest") is True else None
    text = member(body, "description", str, "")
    discussion, _ = of(call, repo).open(call.author, title, text, target=target)
    url = f"{call.endpoint}/{repo.url_path}/discussions/{discussion.num}"
    return ok({"num": discussion.num, "pullRequest": target is not None, "url": url})


def change(call: Call) -> Response:
    """What is said, and the title and the status, which are for the author and the repository's owner."""
    repo, body, what = call.repo("contribute"), call.json(), call.args["what"]
    kept, num = of(call, repo), int(call.args["num"])
    if what == "comment":
        text = member(body, "comment", str, "")
        return ok({"newMessage": kept.change(num, pull_requests.comment_on(call.author, text))})
    if what == "merge":
        check_writer(call.user, repo.url_path)
        kept.merge(num, call.author)
        if text := member(body, "comment", str, ""):
            kept.change(num, pull_requests.comment_on(call.author, text))
        return ok()
    _check_author(call, repo, kept.get(num).author)
    if what == "title":
        event = kept.change(num, pull_requests.retitle(call.author, member(body, "title", str, "")))
        return ok({"newTitle": event})
    status, comment = member(body, "status", str, ""), member(body, "comment", str, "")
    return ok({"newStatus": kept.change(num, pull_requests.set_status(call.author, status, comment))})


def change_comment(call: Call) -> Response:
    repo, body, hide = call.repo("contribute"), call.json(), call.args["what"] == "hide"
    event = of(call, repo).change(
        int(call.args["num"]),
        pull_requests.edit_comment(
            call.args["comment"],
            "" if hide else member(body, "content", str, ""),
            hidden=hide,
            check=lambda author: _check_author(call, repo, author),
        ),
    )
    return ok({"updatedComment": event})


def _check_author(call: Call, repo: Repository, author: str) -> None:
    if call.author != author:
        check_writer(call.user, repo.url_path)


def writable(call: Call) -> Repository:
    """The repository, if the caller may commit to the revision that the path names, or open a pull request for it."""
    rev = call.args["rev"]
    if call.flag("create_pr"):
        return call.repo("contribute")
    if rev.startswith(PULLS) and rev.removeprefix(PULLS).isdecimal():
        repo = call.repo("contribute")
        if repo.git.ref(rev) is not None:
            _check_author(call, repo, of(call, repo).get(int(rev.removeprefix(PULLS))).author)
        return repo
    return call.repo("write")


ROUTES = [
    Route("discussion-list", "GET", rf"{API}/discussions", listing),
    Route("discussion-create", "POST", rf"{API}/discussions", create),
    Route("discussion-info", "GET", _ONE, details),
    Route("discussion-change", "POST", rf"{_ONE}/(?P<what>comment|title|status|merge)", change),
    Route("discussion-comment", "POST", rf"{_ONE}/comment/(?P<comment>[0-9a-f]+)/(?P<what>edit|hide)", change_comment),
]
