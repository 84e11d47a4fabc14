"""Git LFS: the batch API, uploads whole or in parts, downloads. Also what git-lfs asks for during `git clone`."""

from __future__ import annotations

import json
import math
from typing import Any

from starlette.responses import Response

from hubspool.local_hub.routes.call import PAGES, Body, Call, Route, content_answer, ok
from hubspool.local_hub.services.content import SHA256
from hubspool.local_hub.services.errors import HubError, member

_MEDIA_TYPE = "application/vnd.git-lfs+json"
_OID = r"(?P<oid>[0-9a-f]{64})"
_LFS = rf"{PAGES}(?:\.git)?/info/lfs"
MAX_OBJECT = 1 << 40  # bytes
MAX_BATCH = 1000  # objects; git-lfs asks for 100, huggingface_hub for 256


def batch(call: Call) -> Response:
    body = call.json()
    upload = body.get("operation") == "upload"
    _check_access(call, write=upload)
    objects = member(body, "objects", list, [])
    if len(objects) > MAX_BATCH:
        raise HubError(413, f"An LFS batch takes at most {MAX_BATCH} objects")
    # one transfer for the whole answer: parts only where an object is too large for one request
    part_size = call.services.lfs_part_size
    wanted = [_object(item) for item in objects]
    parts = (
        upload and "multipart" in member(body, "transfers", list, []) and any(size > part_size for _, size in wanted)
    )
    describe = _upload if upload else _download
    answer = [describe(call, oid, size, parts) for oid, size in wanted]
    return _answer({"transfer": "multipart" if parts else "basic", "hash_algo": "sha256", "objects": answer})


def _check_access(call: Call, *, write: bool) -> None:
    try:
        call.repo(write=write)
    except HubError as error:
        if error.status == 401:  # what makes git-lfs ask for credentials
            error.headers = {"LFS-Authenticate": 'Basic realm="Hub"', "WWW-Authenticate": 'Basic realm="Hub"'}
        raise


def _object(item: object) -> tuple[str, int]:
    oid, size = member(item, "oid", str, ""), member(item, "size", int, -1)
    if not SHA256.fullmatch(oid) or size < 0:
        raise HubError(422, f"Not an LFS object: {item!r}")
    return oid, size


def _upload(call: Call, oid: str, size: int, parts: bool) -> dict[str, Any]:
    described: dict[str, Any] = {"oid": oid, "size": size, "authenticated": True}
    if call.services.contents.size(oid) == size:
        return described  # without actions: it is here already
    if parts:
        count = math.ceil(size / call.services.lfs_part_size)
        header = {"chunk_size": str(call.services.lfs_part_size)}
        for number in range(1, count + 1):
            header[f"{number:05d}"] = call.signed_url(f"/lfs/parts/{oid}/{number}", "part", oid, str(number))
        upload = {"href": call.signed_url(f"/lfs/complete/{oid}", "complete", oid), "header": header}
    else:
        upload = {"href": call.signed_url(f"/lfs/objects/{oid}", "put", oid)}
    verify = f"{call.endpoint}{call.request.scope['raw_path'].decode().removesuffix('objects/batch')}verify"
    return {**described, "actions": {"upload": upload, "verify": {"href": verify}}}


def _download(call: Call, oid: str, size: int, _parts: bool) -> dict[str, Any]:
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
    _check_access(call, write=True)
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


ROUTES = [
    Route("lfs-batch", "POST", rf"{_LFS}/objects/batch", batch),
    Route("lfs-verify", "POST", rf"{_LFS}/verify", verify),
    Route("lfs-put", "PUT", rf"/lfs/objects/{_OID}", put, Body.DISK, MAX_OBJECT),
    Route("lfs-part", "PUT", rf"/lfs/parts/{_OID}/(?P<number>[1-9]\d{{0,4}})", put_part, Body.DISK, MAX_OBJECT),
    Route("lfs-complete", "POST", rf"/lfs/complete/{_OID}", complete),
    Route("lfs-get", "GET", rf"/lfs/objects/{_OID}", get),
]
