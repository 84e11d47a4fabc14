"""Git LFS: the batch API, uploads (whole or in parts) and downloads, for clients and for git-lfs."""

from __future__ import annotations

import hashlib
import math
import secrets
from typing import Any

from starlette.responses import JSONResponse, Response

from hubspool.local_hub.identifiers import BRANCHES, PULLS, TAGS, is_content_hash
from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.routes.repos import repo_type
from hubspool.local_hub.routes.request_context import RequestContext, content_answer, ok
from hubspool.local_hub.routes.xet import token_headers
from hubspool.local_hub.services.api_errors import ApiError, member
from hubspool.local_hub.services.file_access import load_file
from hubspool.local_hub.services.repositories import Repository, iso

_MEDIA_TYPE = "application/vnd.git-lfs+json"


def batch(context: RequestContext) -> Response:
    body = context.json()
    upload = body.get("operation") == "upload"
    # The right to open pull requests is enough: content has no effect before a commit names it.
    repo = context.repo_for_git("contribute" if upload else "read")
    objects = member(body, "objects", list, [])
    if len(objects) > LIMITS.lfs_batch:
        raise ApiError(413, f"An LFS batch takes at most {LIMITS.lfs_batch} objects")
    wanted = [_object(item) for item in objects]
    transfer = "basic"
    if upload:
        transfer = _transfer(context, member(body, "transfers", list, []), max((size for _, size in wanted), default=0))
        answer = [_upload(context, repo, oid, size, transfer) for oid, size in wanted]
    else:
        answer = [_download(context, repo, oid, size) for oid, size in wanted]
    return JSONResponse({"transfer": transfer, "hash_algo": "sha256", "objects": answer}, media_type=_MEDIA_TYPE)


def _transfer(context: RequestContext, transfers: list[object], largest: int) -> str:
    """Choose one transfer for the whole answer; parts only if an object is too large for one request."""
    if "xet" in transfers and context.services.contents.uses_xet:
        return "xet"
    return "multipart" if "multipart" in transfers and largest > context.services.lfs_part_size else "basic"


def _object(item: object) -> tuple[str, int]:
    oid, size = member(item, "oid", str, ""), member(item, "size", int, -1)
    if not is_content_hash(oid) or size < 0:
        raise ApiError(422, f"Not an LFS object: {item!r}")
    return oid, size


def _upload(context: RequestContext, repo: Repository, oid: str, size: int, transfer: str) -> dict[str, Any]:
    described: dict[str, Any] = {"oid": oid, "size": size, "authenticated": True}
    if repo.size_of(oid) == size:
        return described  # without actions: the object is stored
    if transfer == "xet":  # actions, too: for the JavaScript client an object without actions is stored
        href = f"{context.endpoint}/api/{repo.type}s/{repo.id}/xet-write-token/main"
        headers = {**token_headers(context, repo, "write"), "X-Xet-Session-Id": secrets.token_hex(12)}
        return {**described, "actions": {"upload": {"href": href, "header": headers}}}
    if transfer == "multipart":
        count = math.ceil(size / context.services.lfs_part_size)
        parts = {f"{n:05d}": _signed(context, repo, "parts", oid, str(n)) for n in range(1, count + 1)}
        header = {"chunk_size": str(context.services.lfs_part_size), **parts}
        upload = {"href": _signed(context, repo, "complete", oid), "header": header}
    else:
        upload = {"href": _signed(context, repo, "objects", oid)}
    verify = f"{context.endpoint}{context.path.removesuffix('objects/batch')}verify"
    verified: dict[str, Any] = {"href": verify}
    given = context.request.headers.get("authorization", "")
    if given.lower().startswith("basic "):  # git-lfs does not send the credentials of a remote's address elsewhere
        verified["header"] = {"Authorization": given}
    return {**described, "actions": {"upload": upload, "verify": verified}}


def _signed(context: RequestContext, repo: Repository, kind: str, oid: str, *number: str) -> str:
    """Return an address that takes an upload of this user for this repository."""
    claim = (kind, oid, repo.url_path, context.author, *number)
    return context.signed_url("/lfs/" + "/".join(claim), *claim)


def uploaded_to(context: RequestContext) -> Repository:
    """Check the signature of an address that `_signed` made; return its repository.

    Raises:
        ApiError: 403, or 404 if the repository was deleted.
    """
    args = context.args
    kind = context.path.split("/")[2]
    context.check_signature(kind, args["oid"], args["repo"], args["who"], *filter(None, [args.get("number")]))
    return context.services.repositories.at(args["repo"])


def _download(context: RequestContext, repo: Repository, oid: str, size: int) -> dict[str, Any]:
    if repo.size_of(oid) != size:
        return {"oid": oid, "size": size, "error": {"code": 404, "message": "Object does not exist"}}
    href = context.signed_url(f"/lfs/objects/{oid}", "get", oid)
    return {"oid": oid, "size": size, "authenticated": True, "actions": {"download": {"href": href}}}


def locks(context: RequestContext) -> Response:
    """Answer that nobody has locked a file: this Hub keeps no locks."""
    context.repo_for_git()
    if "verify" in context.args:
        return JSONResponse({"ours": [], "theirs": []}, media_type=_MEDIA_TYPE)
    if context.request.method == "POST":
        raise ApiError(404, "This local Hub keeps no locks of files")
    return JSONResponse({"locks": []}, media_type=_MEDIA_TYPE)


def put(context: RequestContext) -> None:
    oid, repo = context.args["oid"], uploaded_to(context)
    if not context.services.contents.lfs.add(oid, context.upload):
        raise ApiError(400, f"The content that was sent does not have the sha256 {oid}")
    repo.held.add([oid])


def _upload_key(context: RequestContext, repo: Repository) -> str:
    """Return the name under which parts are kept: nobody else's parts get into an upload."""
    return hashlib.sha256("\n".join((repo.settings.id, context.args["who"], context.args["oid"])).encode()).hexdigest()


def put_part(context: RequestContext) -> Response:
    key, number = _upload_key(context, uploaded_to(context)), int(context.args["number"])
    etag = context.services.contents.lfs.add_part(key, number, context.upload)
    return ok(headers={"ETag": f'"{etag}"'})


def complete(context: RequestContext) -> None:
    oid, repo = context.args["oid"], uploaded_to(context)
    numbers = [member(part, "partNumber", int, 0) for part in member(context.json(), "parts", list, [])]
    if not numbers or numbers != list(range(1, len(numbers) + 1)):
        raise ApiError(400, f"The parts must be numbered from 1 without a gap, not {numbers}")
    if not context.services.contents.lfs.join_parts(_upload_key(context, repo), oid, numbers):
        raise ApiError(400, f"The parts that were sent do not make up the object {oid}")
    repo.held.add([oid])


def verify(context: RequestContext) -> Response:
    repo = context.repo_for_git("contribute")
    oid, size = _object(context.json())
    if repo.size_of(oid) != size:
        raise ApiError(404, f"The object {oid} of {size} bytes was not uploaded")
    return JSONResponse({}, media_type=_MEDIA_TYPE)


def get(context: RequestContext) -> Response:
    oid = context.args["oid"]
    context.check_signature("get", oid)
    contents = context.services.contents
    size = contents.size(oid)
    if size is None:
        raise ApiError(404, "Object does not exist")
    headers = {"ETag": f'"{oid}"'}
    return content_answer(context, size, lambda a, b: contents.read(oid, a, b), headers, "application/octet-stream")


def listing(context: RequestContext) -> Response:
    """Answer with the large files in all commits of all refs; each content once."""
    repo = context.repo()
    found: dict[str, dict[str, object]] = {}
    for prefix in (BRANCHES, TAGS, PULLS):
        for name, head in repo.git.refs(prefix).items():
            for commit in repo.git.history(context.commit_of(repo, head)):
                for entry in repo.git.files(commit.root):
                    pointer = load_file(repo, entry).pointer
                    if pointer is not None and pointer.sha256 not in found:
                        found[pointer.sha256] = {
                            "fileOid": pointer.sha256,
                            "oid": pointer.sha256,
                            "filename": entry.path,
                            "size": pointer.size,
                            "pushedAt": iso(commit.date),
                            "ref": prefix + name,
                        }
    return ok(list(found.values()))


def delete(context: RequestContext) -> None:
    """Take content from a repository; other repositories share the store, and keep it.

    Commits that still name it show a pointer in its place, whatever `rewriteHistory` says.
    """
    repo = context.repo("write")
    repo.held.remove(map(str, member(member(context.json(), "deletions", dict, {}), "sha", list, [])))


def duplicate(context: RequestContext) -> Response:
    """Let another repository use content of this one. All repositories share one store, so nothing is copied."""
    repo, body = context.repo(), context.json()
    target = member(body, "target", dict, {})
    name = member(target, "name", str, "")
    other = context.services.repositories.find(context.user, repo_type(target), name, "contribute")
    wanted = [member(file, "sha256", str, "") for file in member(body, "files", list, [])]
    other.held.add(sha256 for sha256 in wanted if sha256 in repo.held)
    failed = [sha256 for sha256 in wanted if sha256 not in repo.held]
    return ok({"failed": [{"sha256": sha256, "error": f"{repo.id} has no such file"} for sha256 in failed]})
