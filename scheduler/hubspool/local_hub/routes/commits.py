"""Changing a repository: preupload, commit, branches, tags; and its history."""

from __future__ import annotations

from itertools import islice

from starlette.responses import Response

from hubspool.local_hub.routes.discussions import writable
from hubspool.local_hub.routes.request_context import API, REV, Body, Call, Route, ok
from hubspool.local_hub.services import commit_writer, refs
from hubspool.local_hub.services.api_errors import HubError, member
from hubspool.local_hub.services.file_access import title
from hubspool.local_hub.services.pull_requests import Discussions
from hubspool.local_hub.services.repositories import Repository, iso
from hubspool.local_hub.services.upload_modes import Candidate, Preupload, decode_sample
from hubspool.local_hub.storage.git_store import BRANCHES, PULLS, TAGS, CommitRecord

MAX_COMMIT_BODY = 1536 << 20  # bytes: 1 GB of regular content in base64, and its lines
MAX_PREUPLOAD = 256  # files


def preupload(call: Call) -> Response:
    repo, body = writable(call), call.json()
    files, commit = member(body, "files", list, []), repo.revision(call.args["rev"])
    if len(files) > MAX_PREUPLOAD:
        raise HubError(413, f"preupload takes at most {MAX_PREUPLOAD} files")
    texts = {name: member(body, name, str, "") if name in body else None for name in ("gitIgnore", "gitAttributes")}
    rules = Preupload(repo, commit, gitignore=texts["gitIgnore"], gitattributes=texts["gitAttributes"])
    answers = []
    for file in files:
        path = commit_writer.check_path(member(file, "path", str, ""))
        sample = decode_sample(member(file, "sample", str, ""))
        verdict = rules.judge(Candidate(path, member(file, "size", int, 0), sample))
        answers.append(
            {
                "path": path,
                "uploadMode": "lfs" if verdict.lfs else "regular",
                "shouldIgnore": verdict.ignored,
                "oid": verdict.oid,
            }
        )
    return ok({"files": answers, "commitOid": commit})


def commit(call: Call) -> Response:
    repo, rev = writable(call), call.args["rev"]
    with call.services.disk.gather(), call.upload.open("rb") as lines:
        request = commit_writer.parse(lines, repo.git, call.services.contents)
    answer: dict[str, object] = {"success": True, "hookOutput": ""}
    address = f"{call.endpoint}/{repo.url_path}"
    if call.flag("create_pr"):
        kept = Discussions(call.services.disk, repo)
        pull, oid = kept.open(call.author, request.summary, request.description, target=rev, request=request)
        answer["pullRequestUrl"] = f"{address}/discussions/{pull.num}"
    else:
        oid = commit_writer.apply(repo, rev, request, call.author)
    return ok({**answer, "commitOid": oid, "commitUrl": f"{address}/commit/{oid}"})


def history(call: Call) -> Response:
    repo = call.repo()
    start = call.request.query_params.get("cursor") or call.commit_of(repo)
    limit = call.limit(50)
    records = list(islice(repo.git.history(repo.revision(start)), limit + 1))
    following = records[limit].oid if len(records) > limit else None
    formatted = "formatted" in call.request.query_params.getlist("expand[]") + call.request.query_params.getlist(
        "expand"
    )
    return ok(
        [_describe(record, formatted=formatted) for record in records[:limit]],
        headers=call.next_link(following),
    )


def _describe(record: CommitRecord, *, formatted: bool) -> dict[str, object]:
    text = {"title": title(record), "message": record.message.partition("\n")[2].strip("\n")}
    authors = [{"user": record.author}]
    described: dict[str, object] = {"id": record.oid, **text, "authors": authors, "date": iso(record.date)}
    return {**described, "formatted": text} if formatted else described


def all_refs(call: Call) -> Response:
    repo = call.repo()
    answer: dict[str, object] = {
        "branches": _refs(call, repo, BRANCHES),
        "tags": _refs(call, repo, TAGS),
        "converts": [],  # clients read it unasked
    }
    if call.flag("include_prs"):
        answer["pullRequests"] = _refs(call, repo, PULLS)
    return ok(answer)


def _refs(call: Call, repo: Repository, prefix: str) -> list[dict[str, str]]:
    # By the commit that was listed, not by the name once more: somebody may remove the branch meanwhile.
    return [
        {"name": name, "ref": prefix + name, "targetCommit": call.commit_of(repo, commit)}
        for name, commit in repo.git.refs(prefix).items()
    ]


def create_branch(call: Call) -> Response:
    refs.create_branch(call.repo("write"), call.args["branch"], member(call.json(), "startingPoint", str, ""))
    return ok()


def delete_branch(call: Call) -> Response:
    refs.delete_branch(call.repo("write"), call.args["branch"])
    return ok()


def create_tag(call: Call) -> Response:
    repo, body = call.repo("write"), call.json()
    tag, message = member(body, "tag", str, ""), member(body, "message", str, "")
    refs.create_tag(repo, tag, call.args["rev"], message, call.author)
    return ok()


def delete_tag(call: Call) -> Response:
    refs.delete_tag(call.repo("write"), call.args["tag"])
    return ok()


def super_squash(call: Call) -> Response:
    rev = call.args["rev"]
    message = member(call.json(), "message", str, "") or f"Super-squash branch '{rev}'"
    refs.super_squash(call.repo("write"), rev, message, call.author)
    return ok()


def compare(call: Call) -> Response:
    repo = call.repo()
    roots = [repo.git.commit(call.commit_of(repo, call.args[side])).root for side in ("old", "new")]
    return Response(repo.git.diff(*roots), media_type="text/plain")


ROUTES = [
    Route("preupload", "POST", rf"{API}/preupload/{REV}", preupload),
    Route("commit", "POST", rf"{API}/commit/{REV}", commit, Body.DISK, MAX_COMMIT_BODY),
    Route("commits", "GET", rf"{API}/commits/{REV}", history),
    Route("refs", "GET", rf"{API}/refs", all_refs),
    Route("branch-create", "POST", rf"{API}/branch/(?P<branch>[^/]+)", create_branch),
    Route("branch-delete", "DELETE", rf"{API}/branch/(?P<branch>[^/]+)", delete_branch),
    Route("tag-create", "POST", rf"{API}/tag/{REV}", create_tag),
    Route("tag-delete", "DELETE", rf"{API}/tag/(?P<tag>[^/]+)", delete_tag),
    Route("super-squash", "POST", rf"{API}/super-squash/{REV}", super_squash),
    Route("compare", "GET", rf"{API}/compare/(?P<old>[^/]+?)\.\.\.?(?P<new>[^/]+)", compare),
]
