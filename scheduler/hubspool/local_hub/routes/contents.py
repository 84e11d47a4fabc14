"""Reads of a repository: listings and content."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Iterable
from urllib.parse import parse_qs, quote

from starlette.responses import Response

from hubspool.local_hub.identifiers import plural
from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.routes.request_context import RequestContext, content_answer, ok
from hubspool.local_hub.routes.xet import cas_url
from hubspool.local_hub.services import file_access, preview
from hubspool.local_hub.services.api_errors import ApiError, entry_not_found, member

# no uploaded file runs as a page of this Hub
_UNTRUSTED = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"}
XET_INFO = "application/vnd.xet-fileinfo+json"


def tree(context: RequestContext) -> Response:
    repo = context.repo()
    expand = context.flag("expand")
    page = file_access.list_folder(
        repo,
        context.commit_of(repo),
        context.args.get("path", "").strip("/"),
        recursive=context.flag("recursive"),
        expand=expand,
        limit=context.limit(LIMITS.expanded_tree_page if expand else LIMITS.tree_page),
        cursor=context.request.query_params.get("cursor"),
    )
    return ok(page.entries, headers=context.next_link(page.cursor))


def paths_info(context: RequestContext) -> Response:
    repo, (paths, expand) = context.repo(), asked_paths(context, LIMITS.paths)
    return ok(file_access.describe_paths(repo, context.commit_of(repo), paths, expand=expand))


def asked_paths(context: RequestContext, most: int) -> tuple[Iterable[str], bool]:
    """Return the paths that a paths-info request names, each once, and whether it asks for their last commits.

    Raises:
        ApiError: 413 for more than `most` paths.
    """
    if context.request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        form = parse_qs(context.body.decode("utf-8", "replace"))
        paths, expand = form.get("paths", []), form.get("expand", ["false"])[0].lower() == "true"
    else:
        body = context.json()
        paths, expand = member(body, "paths", list, []), member(body, "expand", bool, False)
    if len(paths) > most:
        raise ApiError(413, f"paths-info takes at most {most} paths")
    return dict.fromkeys(map(str, paths)), expand


def resolve(context: RequestContext) -> Response:
    """Answer with content, without a redirect: every client accepts that, and Range covers partial reads."""
    repo = context.repo()
    commit = context.commit_of(repo)
    file = file_access.open_file(repo, commit, context.args["path"])
    media_type, headers = presentation(context, file.path)
    headers |= {"X-Repo-Commit": commit, "ETag": f'"{file.oid}"'}
    if file.pointer is not None:
        if repo.contents.size(file.pointer.sha256) != file.size:
            raise entry_not_found(commit, f"The content of {file.path!r} is not on this Hub")
        etag = f'"{file.pointer.sha256}"'
        headers |= {"ETag": etag, "X-Linked-ETag": etag, "X-Linked-Size": str(file.size)}
        if (xet_hash := repo.contents.xet_hash(file.pointer.sha256)) is not None:
            headers |= xet_headers(context, f"{plural(repo.type)}/{repo.id}/xet-read-token/{commit}", xet_hash)
            if XET_INFO in context.request.headers.get("accept", ""):
                return Response(json.dumps({"hash": xet_hash, "size": file.size}), 200, headers, XET_INFO)
    return content_answer(context, file.size, file.read, headers, media_type)


def presentation(context: RequestContext, path: str, given: str | None = None) -> tuple[str, dict[str, str]]:
    """Return a media type, and headers: browsers show text, sound, films and images, and save other files."""
    guess = given or mimetypes.guess_type(path)[0] or "application/octet-stream"
    is_shown = guess.startswith(("text/", "audio/", "video/")) or preview.is_image(path)
    headers = dict(_UNTRUSTED)
    if context.flag("download") or guess == "text/html" or not is_shown:
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(path.rpartition('/')[2], safe='')}"
    return "text/plain" if guess.startswith("text/") else guess, headers


def xet_headers(context: RequestContext, token: str, xet_hash: str) -> dict[str, str]:
    """Return the headers by which clients learn that they may read this content through Xet; `token` is a route."""
    links = (
        f'<{context.endpoint}/api/{token}>; rel="xet-auth"',
        f'<{cas_url(context)}/v1/reconstructions/{xet_hash}>; rel="xet-reconstruction-info"',
    )
    return {"X-Xet-Hash": xet_hash, "Link": ", ".join(links)}


def raw(context: RequestContext) -> Response:
    """Answer with a blob: the content, or the pointer of a large file."""
    repo = context.repo()
    commit = context.commit_of(repo)
    file = file_access.open_file(repo, commit, context.args["path"])
    headers = {"X-Repo-Commit": commit, "ETag": f'"{file.oid}"', **_UNTRUSTED}
    return content_answer(context, file.size_in_git, file.read_blob, headers, "text/plain")
