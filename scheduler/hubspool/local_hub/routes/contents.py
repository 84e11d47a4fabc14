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
from hubspool.local_hub.services import preview
from hubspool.local_hub.services.api_errors import ApiError, entry_not_found, member

# no uploaded file runs as a page of this Hub
_UNTRUSTED = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"}
_XET_INFO = "application/vnd.xet-fileinfo+json"


def tree(context: RequestContext) -> Response:
    expand = context.flag("expand")
    page = context.files().folder(
        context.args.get("path", "").strip("/"),
        recursive=context.flag("recursive"),
        expand=expand,
        limit=context.limit(LIMITS.expanded_tree_page if expand else LIMITS.tree_page),
        cursor=context.request.query_params.get("cursor", ""),
    )
    return ok(page.entries, headers=context.next_link(page.cursor))


def paths_info(context: RequestContext) -> Response:
    files, (paths, expand) = context.files(), asked_paths(context, LIMITS.paths)
    return ok(files.describe(paths, expand=expand))


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
    files = context.files()
    repo, file = files.repo, files.open(context.args["path"])
    headers, xet_hash = {"X-Repo-Commit": files.commit, "ETag": f'"{file.oid}"'}, None
    if file.pointer is not None:
        if repo.contents.size(file.pointer.sha256) != file.size:
            raise entry_not_found(files.commit, f"The content of {file.path!r} is not on this Hub")
        etag = f'"{file.pointer.sha256}"'
        headers |= {"ETag": etag, "X-Linked-ETag": etag, "X-Linked-Size": str(file.size)}
        xet_hash = repo.contents.xet_hash(file.pointer.sha256)
    token = f"{plural(repo.type)}/{repo.id}/xet-read-token/{files.commit}"
    return file_answer(context, file, headers, token, xet_hash, "")


def file_answer(
    context: RequestContext, file: preview.AnyFile, headers: dict[str, str], token: str, xet_hash: str | None, kind: str
) -> Response:
    """Answer with a file: browsers show text, sound, films and images, and save other files.

    Args:
        context: the request.
        file: the file.
        headers: further headers.
        token: the route below `/api/` at which clients get a token to read the file through Xet.
        xet_hash: its Xet hash; None if it has none.
        kind: the media type that the uploader gave; "" for a guess by the name.
    """
    kind = kind or mimetypes.guess_type(file.path)[0] or "application/octet-stream"
    is_shown = kind.startswith(("text/", "audio/", "video/")) or preview.is_image(file.path)
    headers |= _UNTRUSTED
    if context.flag("download") or kind == "text/html" or not is_shown:
        name = quote(file.path.rpartition("/")[2], safe="")
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{name}"
    if xet_hash is not None:
        links = (
            f'<{context.endpoint}/api/{token}>; rel="xet-auth"',
            f'<{cas_url(context)}/v1/reconstructions/{xet_hash}>; rel="xet-reconstruction-info"',
        )
        headers |= {"X-Xet-Hash": xet_hash, "Link": ", ".join(links)}
        if _XET_INFO in context.request.headers.get("accept", ""):
            return Response(json.dumps({"hash": xet_hash, "size": file.size}), 200, headers, _XET_INFO)
    return content_answer(context, file.size, file.read, headers, "text/plain" if kind.startswith("text/") else kind)


def raw(context: RequestContext) -> Response:
    """Answer with a blob: the content, or the pointer of a large file."""
    files = context.files()
    file = files.open(context.args["path"])
    headers = {"X-Repo-Commit": files.commit, "ETag": f'"{file.oid}"', **_UNTRUSTED}
    return content_answer(context, file.size_in_git, file.read_blob, headers, "text/plain")
