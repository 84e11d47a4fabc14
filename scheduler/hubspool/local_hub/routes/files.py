"""Reads of a repository: listings and content."""

from __future__ import annotations

import json
import mimetypes
from urllib.parse import parse_qs, quote

from starlette.responses import Response

from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.routes.request_context import RequestContext, content_answer, ok
from hubspool.local_hub.routes.xet import cas_url
from hubspool.local_hub.services import file_access
from hubspool.local_hub.services.api_errors import ApiError, entry_not_found, member
from hubspool.local_hub.services.repositories import Repository

# no uploaded file runs as a page of this Hub
_UNTRUSTED = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"}
_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "image/avif")


def tree(context: RequestContext) -> Response:
    repo = context.repo()
    expand = context.flag("expand")
    page = file_access.list_folder(
        repo,
        context.commit_of(repo),
        context.args.get("path", "").strip("/"),
        context.services.xet_contents,
        recursive=context.flag("recursive"),
        expand=expand,
        limit=context.limit(LIMITS.expanded_tree_page if expand else LIMITS.tree_page),
        cursor=context.request.query_params.get("cursor"),
    )
    return ok(page.entries, headers=context.next_link(page.cursor))


def paths_info(context: RequestContext) -> Response:
    repo = context.repo()
    if context.request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        form = parse_qs(context.body.decode("utf-8", "replace"))
        paths, expand = form.get("paths", []), form.get("expand", ["false"])[0].lower() == "true"
    else:
        body = context.json()
        paths, expand = member(body, "paths", list, []), member(body, "expand", bool, False)
    if len(paths) > LIMITS.paths:
        raise ApiError(413, f"paths-info takes at most {LIMITS.paths} paths")
    return ok(
        file_access.describe_paths(
            repo, context.commit_of(repo), map(str, paths), context.services.xet_contents, expand=expand
        )
    )


def resolve(context: RequestContext) -> Response:
    """Content in one answer without a redirect: every client accepts that, and Range covers partial reads."""
    repo = context.repo()
    commit = context.commit_of(repo)
    file = file_access.open_file(repo, commit, context.args["path"])
    headers = {"X-Repo-Commit": commit, "ETag": f'"{file.oid}"', **_UNTRUSTED}
    media_type = mimetypes.guess_type(file.path)[0] or "application/octet-stream"
    shown = media_type.startswith("text/") and media_type != "text/html"
    if context.flag("download") or not (shown or media_type.startswith(("audio/", "video/")) or media_type in _IMAGES):
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(file.path.rpartition('/')[2], safe='')}"
    if media_type.startswith("text/"):
        media_type = "text/plain"
    pointer = file.pointer
    if pointer is None:
        return content_answer(context, file.size, lambda start, end: iter((file.blob[start:end],)), headers, media_type)
    if context.services.contents.size(pointer.sha256) != pointer.size:
        raise entry_not_found(commit, f"The content of {file.path!r} is not on this Hub")
    headers.update({"ETag": f'"{pointer.sha256}"', "X-Linked-ETag": f'"{pointer.sha256}"'})
    headers["X-Linked-Size"] = str(pointer.size)
    contents = context.services.contents
    if context.services.xet and (xet_hash := contents.xet_hash(pointer.sha256)) is not None:
        headers.update(xet_headers(context, repo, commit, xet_hash))
        if "application/vnd.xet-fileinfo+json" in context.request.headers.get("accept", ""):
            about = {"hash": xet_hash, "size": pointer.size}
            return Response(json.dumps(about), 200, headers, "application/vnd.xet-fileinfo+json")
    return content_answer(
        context, pointer.size, lambda start, end: contents.read(pointer.sha256, start, end), headers, media_type
    )


def xet_headers(context: RequestContext, repo: Repository, commit: str, xet_hash: str) -> dict[str, str]:
    """What tells clients that they may read this content through Xet."""
    api = f"{context.endpoint}/api/{repo.type}s/{repo.id}/xet-read-token/{commit}"
    links = (
        f'<{api}>; rel="xet-auth"',
        f'<{cas_url(context)}/v1/reconstructions/{xet_hash}>; rel="xet-reconstruction-info"',
    )
    return {"X-Xet-Hash": xet_hash, "Link": ", ".join(links)}


def raw(context: RequestContext) -> Response:
    repo = context.repo()
    commit = context.commit_of(repo)
    file = file_access.open_file(repo, commit, context.args["path"])
    headers = {"X-Repo-Commit": commit, "ETag": f'"{file.oid}"', **_UNTRUSTED}
    return content_answer(
        context, len(file.blob), lambda start, end: iter((file.blob[start:end],)), headers, "text/plain"
    )
