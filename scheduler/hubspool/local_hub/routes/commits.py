"""Commits: preupload, commit, history, comparison."""

from __future__ import annotations

import re
import threading
from contextlib import nullcontext

from starlette.responses import Response

from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.routes.request_context import RequestContext, ok
from hubspool.local_hub.services import commit_writer
from hubspool.local_hub.services.api_errors import ApiError, member, revision_not_found
from hubspool.local_hub.services.pull_requests import PullRequests
from hubspool.local_hub.services.repositories import iso
from hubspool.local_hub.services.upload_modes import UploadModeRules, decode_sample
from hubspool.local_hub.storage.git_store import CommitRecord

#: Held while a large commit is read: a line of the limit takes some 200 MB while it is decoded.
_LARGE_COMMITS = threading.Semaphore(LIMITS.large_commits)


def preupload(context: RequestContext) -> Response:
    repo, body = context.repo_to_commit(), context.json()
    files, commit = member(body, "files", list, []), context.commit_of(repo)
    if len(files) > LIMITS.preupload_files:
        raise ApiError(413, f"preupload takes at most {LIMITS.preupload_files} files")
    given = {f".{name.lower()}": member(body, name, str, "") for name in ("gitIgnore", "gitAttributes") if name in body}
    rules = UploadModeRules(repo, commit, given)
    answers = []
    for file in files:
        path = commit_writer.check_path(member(file, "path", str, ""))
        sample = decode_sample(member(file, "sample", str, ""))
        answers.append(rules.decide(path, member(file, "size", int, 0), sample))
    return ok({"files": answers, "commitOid": commit})


def commit(context: RequestContext) -> Response:
    repo, rev = context.repo_to_commit(), context.args["rev"]
    is_large = context.upload.stat().st_size > LIMITS.memory_block
    turn = _LARGE_COMMITS if is_large else nullcontext()
    with turn, context.upload.open("rb") as file:
        lines = iter(lambda: file.readline(LIMITS.commit_line), b"")  # a longer line is not JSON, then
        parsed = commit_writer.parse(lines, repo)
    answer: dict[str, object] = {"success": True, "hookOutput": ""}
    address = f"{context.endpoint}/{repo.url_path}"
    if context.flag("create_pr"):
        pulls = PullRequests(repo)
        pull, oid = pulls.open(context.author, parsed.summary, parsed.description, target=rev, commit=parsed)
        answer["pullRequestUrl"] = f"{address}/discussions/{pull.num}"
    else:
        oid = commit_writer.apply(repo, rev, parsed, context.author)
    return ok({**answer, "commitOid": oid, "commitUrl": f"{address}/commit/{oid}"})


def history(context: RequestContext) -> Response:
    repo = context.repo()
    start = context.request.query_params.get("cursor") or context.commit_of(repo)
    records, following = repo.git.history_page(repo.revision(start), context.limit(LIMITS.commits_page))
    formatted = "formatted" in context.expand
    described = [_describe(record, formatted=formatted) for record in records]
    count = str(repo.git.count_commits(context.commit_of(repo)))
    return ok(described, headers={**context.next_link(following), "X-Total-Count": count})


def _describe(record: CommitRecord, *, formatted: bool) -> dict[str, object]:
    text = {"title": record.title, "message": record.description}
    authors = [{"user": record.author}]
    described: dict[str, object] = {"id": record.oid, **text, "authors": authors, "date": iso(record.date)}
    return {**described, "formatted": text} if formatted else described


def compare(context: RequestContext) -> Response:
    repo = context.repo()
    revs = re.split(r"\.{2,3}", context.args["revs"], maxsplit=1)
    if not all(revs) or len(revs) != 2:
        raise revision_not_found(context.args["revs"])
    old, new = (repo.git.commit(context.commit_of(repo, rev)).root for rev in revs)
    return Response(repo.git.diff(old, new), media_type="text/plain")
