"""Reading a repository: listings and content."""

from __future__ import annotations

import mimetypes
from urllib.parse import parse_qs

from starlette.responses import Response

from hubspool.local_hub.routes.call import API, PAGES, Call, Route, content_answer, ok
from hubspool.local_hub.services import files
from hubspool.local_hub.services.errors import HubError, entry_not_found, member

MAX_PATHS = 1000


def tree(call: Call) -> Response:
    repo = call.repo()
    expand = call.flag("expand")
    page = files.list_folder(
        repo,
        call.commit_of(repo),
        call.args.get("path", "").strip("/"),
        recursive=call.flag("recursive"),
        expand=expand,
        limit=call.limit(files.EXPANDED_PAGE if expand else files.PAGE),
        cursor=call.request.query_params.get("cursor"),
    )
    return ok(page.entries, headers=call.next_link(page.cursor))


def paths_info(call: Call) -> Response:
    repo = call.repo()
    if call.request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        form = parse_qs(call.body.decode("utf-8", "replace"))
        paths, expand = form.get("paths", []), form.get("expand", ["false"])[0].lower() == "true"
    else:
        body = call.json()
        paths, expand = member(body, "paths", list, []), member(body, "expand", bool, False)
    if len(paths) > MAX_PATHS:
        raise HubError(413, f"paths-info takes at most {MAX_PATHS} paths")
    return ok(files.describe_paths(repo, call.commit_of(repo), map(str, paths), expand=expand))


def resolve(call: Call) -> Response:
    """Content in one answer without a redirect: every client accepts that, and Range covers partial reads."""
    repo = call.repo()
    commit = call.commit_of(repo)
    file = files.open_file(repo, commit, call.args["path"])
    headers = {"X-Repo-Commit": commit, "ETag": f'"{file.oid}"'}
    media_type = mimetypes.guess_type(file.path)[0] or "application/octet-stream"
    if media_type.startswith("text/"):
        media_type = "text/plain"  # nothing that a visitor uploaded is shown as a page of this Hub
    pointer = file.pointer
    if pointer is None:
        return content_answer(call, file.size, lambda start, end: iter((file.blob[start:end],)), headers, media_type)
    if call.services.contents.size(pointer.sha256) != pointer.size:
        raise entry_not_found(commit, f"The content of {file.path!r} is not on this Hub")
    headers.update({"ETag": f'"{pointer.sha256}"', "X-Linked-ETag": f'"{pointer.sha256}"'})
    headers["X-Linked-Size"] = str(pointer.size)
    contents = call.services.contents
    return content_answer(
        call, pointer.size, lambda start, end: contents.read(pointer.sha256, start, end), headers, media_type
    )


def raw(call: Call) -> Response:
    repo = call.repo()
    commit = call.commit_of(repo)
    file = files.open_file(repo, commit, call.args["path"])
    headers = {"X-Repo-Commit": commit, "ETag": f'"{file.oid}"'}
    return content_answer(call, len(file.blob), lambda start, end: iter((file.blob[start:end],)), headers, "text/plain")


ROUTES = [
    Route("tree", "GET", rf"{API}/tree/(?P<rev>[^/]+)(?:/(?P<path>.*))?", tree),
    Route("paths-info", "POST", rf"{API}/paths-info/(?P<rev>[^/]+)", paths_info),
    Route("resolve", "GET", rf"{PAGES}/resolve/(?P<rev>[^/]+)/(?P<path>.+)", resolve),
    Route("raw", "GET", rf"{PAGES}/raw/(?P<rev>[^/]+)/(?P<path>.+)", raw),
]
