"""Reading a repository: listings and content."""

from __future__ import annotations

import json
import mimetypes
from urllib.parse import parse_qs, quote

from starlette.responses import Response

from hubspool.local_hub.routes.request_context import API, PAGES, REV, Call, Route, content_answer, ok
from hubspool.local_hub.routes.xet import cas_url
from hubspool.local_hub.services import file_access
from hubspool.local_hub.services.api_errors import HubError, entry_not_found, member
from hubspool.local_hub.services.repositories import Repository

MAX_PATHS = 1000
# nothing that a visitor uploaded runs as a page of this Hub
_UNTRUSTED = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"}
_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "image/avif")


def tree(call: Call) -> Response:
    repo = call.repo()
    expand = call.flag("expand")
    page = file_access.list_folder(
        repo,
        call.commit_of(repo),
        call.args.get("path", "").strip("/"),
        call.services.xet_contents,
        recursive=call.flag("recursive"),
        expand=expand,
        limit=call.limit(file_access.EXPANDED_PAGE if expand else file_access.PAGE),
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
    return ok(
        file_access.describe_paths(
            repo, call.commit_of(repo), map(str, paths), call.services.xet_contents, expand=expand
        )
    )


def resolve(call: Call) -> Response:
    """Content in one answer without a redirect: every client accepts that, and Range covers partial reads."""
    repo = call.repo()
    commit = call.commit_of(repo)
    file = file_access.open_file(repo, commit, call.args["path"])
    headers = {"X-Repo-Commit": commit, "ETag": f'"{file.oid}"', **_UNTRUSTED}
    media_type = mimetypes.guess_type(file.path)[0] or "application/octet-stream"
    shown = media_type.startswith("text/") and media_type != "text/html"
    if call.flag("download") or not (shown or media_type.startswith(("audio/", "video/")) or media_type in _IMAGES):
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(file.path.rpartition('/')[2], safe='')}"
    if media_type.startswith("text/"):
        media_type = "text/plain"
    pointer = file.pointer
    if pointer is None:
        return content_answer(call, file.size, lambda start, end: iter((file.blob[start:end],)), headers, media_type)
    if call.services.contents.size(pointer.sha256) != pointer.size:
        raise entry_not_found(commit, f"The content of {file.path!r} is not on this Hub")
    headers.update({"ETag": f'"{pointer.sha256}"', "X-Linked-ETag": f'"{pointer.sha256}"'})
    headers["X-Linked-Size"] = str(pointer.size)
    contents = call.services.contents
    if call.services.xet and (xet_hash := contents.xet_hash(pointer.sha256)) is not None:
        headers.update(xet_headers(call, repo, commit, xet_hash))
        if "application/vnd.xet-fileinfo+json" in call.request.headers.get("accept", ""):
            about = {"hash": xet_hash, "size": pointer.size}
            return Response(json.dumps(about), 200, headers, "application/vnd.xet-fileinfo+json")
    return content_answer(
        call, pointer.size, lambda start, end: contents.read(pointer.sha256, start, end), headers, media_type
    )


def xet_headers(call: Call, repo: Repository, commit: str, xet_hash: str) -> dict[str, str]:
    """What tells clients that they may read this content through Xet."""
    api = f"{call.endpoint}/api/{repo.type}s/{repo.id}/xet-read-token/{commit}"
    links = (
        f'<{api}>; rel="xet-auth"',
        f'<{cas_url(call)}/v1/reconstructions/{xet_hash}>; rel="xet-reconstruction-info"',
    )
    return {"X-Xet-Hash": xet_hash, "Link": ", ".join(links)}


def raw(call: Call) -> Response:
    repo = call.repo()
    commit = call.commit_of(repo)
    file = file_access.open_file(repo, commit, call.args["path"])
    headers = {"X-Repo-Commit": commit, "ETag": f'"{file.oid}"', **_UNTRUSTED}
    return content_answer(call, len(file.blob), lambda start, end: iter((file.blob[start:end],)), headers, "text/plain")


ROUTES = [
    Route("tree", "GET", rf"{API}/tree/{REV}(?:/(?P<path>.*))?", tree),
    Route("paths-info", "POST", rf"{API}/paths-info/{REV}", paths_info),
    Route("resolve", "GET", rf"{PAGES}/resolve/{REV}/(?P<path>.+)", resolve),
    Route("raw", "GET", rf"{PAGES}/raw/{REV}/(?P<path>.+)", raw),
]
