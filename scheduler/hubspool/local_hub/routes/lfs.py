"""Git LFS: the batch API, uploads whole or in parts, downloads. Also what git-lfs asks for during `git clone`."""

from __future__ import annotations

import json
import math
import secrets
from typing import Any

from starlette.responses import Response

from hubspool.local_hub.routes.request_context import API, PAGES, Body, Call, Route, content_answer, ok
from hubspool.local_hub.routes.xet import token_headers
from hubspool.local_hub.services.api_errors import HubError, member
from hubspool.local_hub.services.content import SHA256, Pointer
from hubspool.local_hub.services.repositories import Repository, Right, iso
from hubspool.local_hub.storage.git_store import BRANCHES, PULLS, TAGS, Entry

_MEDIA_TYPE = "application/vnd.git-lfs+json"
_OID = r"(?P<oid>[0-9a-f]{64})"
_LFS = rf"{PAGES}(?:\.git)?/info/lfs"
MAX_OBJECT = 1 << 40  # bytes
MAX_BATCH = 1000  # objects; git-lfs asks for 100, huggingface_hub for 256


def batch(call: Call) -> Response:
    body = call.json()
    upload = body.get("operation") == "upload"
    repo = _check_access(call, "contribute" if upload else "read")
    objects = member(body, "objects", list, [])
    if len(objects) > MAX_BATCH:
        raise HubError(413, f"An LFS batch takes at most {MAX_BATCH} objects")
    wanted = [_object(item) for item in objects]
    transfer, transfers = "basic", member(body, "transfers", list, [])
    if not upload:
        answer = [_download(call, oid, size) for oid, size in wanted]
    else:
        # one transfer for the whole answer: parts only where an object is too large for one request
        if "xet" in transfers and call.services.xet:
            transfer = "xet"
        elif "multipart" in transfers and any(size > call.services.lfs_part_size for _, size in wanted):
            transfer = "multipart"
        answer = [_upload(call, repo, oid, size, transfer) for oid, size in wanted]
    return _answer({"transfer": transfer, "hash_algo": "sha256", "objects": answer})


def _check_access(call: Call, right: Right) -> Repository:
    try:
        return call.repo(
            right
        )  # content that no commit names is nothing yet, so it is taken from who may open pull requests
    except HubError as error:
        if error.status == 401:  # what makes git-lfs ask for credentials
            error.headers = {"LFS-Authenticate": 'Basic realm="Hub"', "WWW-Authenticate": 'Basic realm="Hub"'}
        raise


def _object(item: object) -> tuple[str, int]:
    oid, size = member(item, "oid", str, ""), member(item, "size", int, -1)
    if not SHA256.fullmatch(oid) or size < 0:
        raise HubError(422, f"Not an LFS object: {item!r}")
    return oid, size


def _upload(call: Call, repo: Repository, oid: str, size: int, transfer: str) -> dict[str, Any]:
    described: dict[str, Any] = {"oid": oid, "size": size, "authenticated": True}
    if call.services.contents.size(oid) == size:
        return described  # without actions: it is here already
    if transfer == "xet":  # the JavaScript client takes an object without actions for one that is stored
        href = f"{call.endpoint}/api/{repo.type}s/{repo.id}/xet-write-token/main"
        headers = {**token_headers(call, repo, "write", "main"), "X-Xet-Session-Id": secrets.token_hex(12)}
        return {**described, "actions": {"upload": {"href": href, "header": headers}}}
    if transfer == "multipart":
        count = math.ceil(size / call.services.lfs_part_size)
        header = {"chunk_size": str(call.services.lfs_part_size)}
        for number in range(1, count + 1):
            header[f"{number:05d}"] = call.signed_url(f"/lfs/parts/{oid}/{number}", "part", oid, str(number))
        upload = {"href": call.signed_url(f"/lfs/complete/{oid}", "complete", oid), "header": header}
    else:
        upload = {"href": call.signed_url(f"/lfs/objects/{oid}", "put", oid)}
    verify = f"{call.endpoint}{call.request.scope['raw_path'].decode().removesuffix('objects/batch')}verify"
    verified: dict[str, Any] = {"href": verify}
    given = call.request.headers.get("authorization", "")
    if given.lower().startswith("basic "):  # git-lfs sends what a remote's address holds to no other address
        verified["header"] = {"Authorization": given}
    return {**described, "actions": {"upload": upload, "verify": verified}}


def _download(call: Call, oid: str, size: int) -> dict[str, Any]:
    if call.services.contents.size(oid) != size:
        return {"oid": oid, "size": size, "error": {"code": 404, "message": "Object does not exist"}}
    href = call.signed_url(f"/lfs/objects/{oid}", "get", oid)
    return {"oid": oid, "size": size, "authenticated": True, "actions": {"download": {"href": href}}}


def put(call: Call) -> Response:
    oid = call.args["oid"]
    call.check_signature("put", oid)
    if not call.services.contents.lfs.add(oid, call.upload):
        raise HubError(400, f"The content that was sent does not have the sha256 {oid}")
    return ok()


def put_part(call: Call) -> Response:
    oid, number = call.args["oid"], call.args["number"]
    call.check_signature("part", oid, number)
    etag = call.services.contents.lfs.add_part(oid, int(number), call.upload)
    return ok(headers={"ETag": f'"{etag}"'})


def complete(call: Call) -> Response:
    oid = call.args["oid"]
    call.check_signature("complete", oid)
    numbers = [member(part, "partNumber", int, 0) for part in member(call.json(), "parts", list, [])]
    if not numbers or numbers != list(range(1, len(numbers) + 1)):
        raise HubError(400, f"The parts must be numbered from 1 without a gap, not {numbers}")
    if not call.services.contents.lfs.join_parts(oid, numbers):
        raise HubError(400, f"The parts that were sent do not make up the object {oid}")
    return ok()


def verify(call: Call) -> Response:
    _check_access(call, "contribute")
    oid, size = _object(call.json())
    if call.services.contents.size(oid) != size:
        raise HubError(404, f"The object {oid} of {size} bytes was not uploaded")
    return _answer({})


def get(call: Call) -> Response:
    oid = call.args["oid"]
    call.check_signature("get", oid)
    contents = call.services.contents
    size = contents.size(oid)
    if size is None:
        raise HubError(404, "Object does not exist")
    headers = {"ETag": f'"{oid}"'}
    return content_answer(call, size, lambda a, b: contents.read(oid, a, b), headers, "application/octet-stream")


def _answer(content: dict[str, Any]) -> Response:
    return Response(json.dumps(content), media_type=_MEDIA_TYPE)


def listing(call: Call) -> Response:
    """The large files that the newest commits of all refs hold, each content once."""
    repo = call.repo()
    found: dict[str, dict[str, object]] = {}
    for prefix in (BRANCHES, TAGS, PULLS):
        for name, head in repo.git.refs(prefix).items():
            commit = repo.git.commit(head)
            for entry in repo.git.walk(Entry("", commit.root, is_folder=True), recursive=True):
                pointer = None if entry.is_folder else Pointer.parse(repo.git.blob(entry.oid))
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


def delete(call: Call) -> Response:
    """Large content is shared by all repositories of a root, so nothing of it is removed for one."""
    call.repo("write")
    raise HubError(400, "This local Hub keeps large files for as long as its folder: remove the repository instead")


ROUTES = [
    Route("lfs-list", "GET", rf"{API}/lfs-files", listing),
    Route("lfs-delete", "POST", rf"{API}/lfs-files/batch", delete),
    Route("lfs-batch", "POST", rf"{_LFS}/objects/batch", batch),
    Route("lfs-verify", "POST", rf"{_LFS}/verify", verify),
    Route("lfs-put", "PUT", rf"/lfs/objects/{_OID}", put, Body.DISK, MAX_OBJECT),
    Route("lfs-part", "PUT", rf"/lfs/parts/{_OID}/(?P<number>[1-9]\d{{0,4}})", put_part, Body.DISK, MAX_OBJECT),
    Route("lfs-complete", "POST", rf"/lfs/complete/{_OID}", complete),
    Route("lfs-get", "GET", rf"/lfs/objects/{_OID}", get),
]
