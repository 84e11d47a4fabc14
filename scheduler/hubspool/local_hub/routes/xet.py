"""Xet: tokens, and the content-addressed store (CAS) that they give access to."""

from __future__ import annotations

import json
import threading
import time
from typing import Literal

from starlette.responses import Response

from hubspool.local_hub.identifiers import split_url_path
from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.routes.request_context import RequestContext, content_answer, ok
from hubspool.local_hub.services.api_errors import ApiError, repo_not_found
from hubspool.local_hub.services.repositories import BaseRepository
from hubspool.local_hub.storage.lfs_store import read_range
from hubspool.local_hub.storage.xet_store import ChunkRange

_one_shard = threading.Lock()  # a shard takes many times its size in memory
Scope = Literal["read", "write"]


def token(context: RequestContext) -> Response:
    scope: Scope = "write" if context.args["scope"] == "write" else "read"
    repo = _named(context, scope)
    if not context.services.contents.uses_xet:
        raise ApiError(404, "This Hub stores large files with LFS only")
    headers = token_headers(context, repo, scope)
    access, expiry, address = headers.values()
    return ok({"accessToken": access, "exp": int(expiry), "casUrl": address}, headers=headers)


def _named(context: RequestContext, scope: Scope) -> BaseRepository:
    """Return the bucket, or the repository with its revision, that a token is for."""
    if "rev" not in context.args:
        return context.bucket(scope)
    repo, rev = context.repo_to_commit() if scope == "write" else context.repo(), context.args["rev"]
    repo.revision("main" if rev == "None" else rev)  # the text of clients that have no revision
    return repo


def cas_url(context: RequestContext) -> str:
    """Return the address of the store."""
    return f"{context.endpoint}/xet/{context.services.store_id}"


def token_headers(context: RequestContext, repo: BaseRepository, scope: Scope) -> dict[str, str]:
    """Return a token to write, or to read what a repository holds."""
    claim = ("xet", scope, repo.url_path, repo.settings.id)
    permission = context.services.signer.sign(*claim, context.services.store_id, seconds=LIMITS.token_seconds)
    return {
        "X-Xet-Access-Token": ":".join((*claim, permission)),
        "X-Xet-Token-Expiration": str(int(time.time()) + LIMITS.token_seconds),
        "X-Xet-Cas-Url": cas_url(context),
    }


def repo_of_token(context: RequestContext, needed: Scope = "read") -> BaseRepository:
    """Check the token of a request; return the repository that the token names.

    Raises:
        ApiError: 401, 403 or 404.
    """
    bearer = context.request.headers.get("authorization", "").partition(" ")[2]
    *claim, permission = bearer.split(":")
    if len(claim) != 4 or not context.services.signer.valid(permission, *claim, context.args["store"]):
        raise ApiError(401, "This Xet token is invalid or has expired")
    _, scope, path, repo_id = claim
    if needed == "write" and scope != "write":
        raise ApiError(403, "This Xet token may only read")
    _check_store(context)
    repo: BaseRepository = context.services.kept(split_url_path(path)[0]).at(path)
    if repo.settings.id != repo_id:  # the token is of a deleted repository of this name
        raise repo_not_found()
    return repo


def _check_store(context: RequestContext) -> None:
    if context.args["store"] != context.services.store_id:
        raise ApiError(404, "This store does not exist any more")


def chunk(context: RequestContext) -> Response:
    repo_of_token(context)
    found = context.services.contents.xet.dedup_answer(context.args["hash"])
    if found is None:
        raise ApiError(404, "No such chunk")
    return Response(found, media_type="application/octet-stream")


def put_xorb(context: RequestContext) -> Response:
    repo_of_token(context, "write")
    try:
        inserted = context.services.contents.xet.add_xorb(context.args["hash"], context.upload)
    except ValueError as error:
        raise ApiError(400, f"This is not a xorb: {error}") from None
    return ok({"was_inserted": inserted})


def telemetry(_context: RequestContext) -> Response:
    """Take what hf_xet reports after each transfer, and keep nothing of it."""
    return Response(status_code=204)


def put_shard(context: RequestContext) -> Response:
    repo = repo_of_token(context, "write")
    try:
        with _one_shard:
            repo.held.add(context.services.contents.xet.add_shard(context.upload.read_bytes()))
    except ValueError as error:
        raise ApiError(400, f"This shard was refused: {error}") from None
    if context.path.endswith("/v2/shards"):
        return Response(json.dumps({"type": "result"}) + "\n", media_type="application/x-ndjson")
    return ok({"result": 1})


def reconstruction(context: RequestContext) -> Response:
    repo = repo_of_token(context)
    xet, file = context.services.contents.xet, context.args["hash"]
    size = repo.size_of_xet(file)
    if size is None:
        raise ApiError(404, "No such file in the repository of this Xet token")
    pieces = xet.chunk_ranges(file, *(context.byte_range(size) or (0, size)))
    answer: dict[str, object] = {
        "offset_into_first_range": pieces[0].skip if pieces else 0,
        "terms": [
            {"hash": p.xorb, "unpacked_length": p.length, "range": {"start": p.first, "end": p.last}} for p in pieces
        ],
    }
    newest = "/v2/" in context.path
    answer["xorbs" if newest else "fetch_info"] = _fetches(context, pieces, newest=newest)
    return ok(answer)


def _fetches(context: RequestContext, pieces: list[ChunkRange], *, newest: bool) -> dict[str, list[dict[str, object]]]:
    """Return the addresses of the chunks of each xorb: one entry for each run of chunks."""
    wanted: dict[str, list[list[int]]] = {}
    for piece in sorted(pieces, key=lambda piece: piece.first):
        runs = wanted.setdefault(piece.xorb, [])
        if runs and piece.first <= runs[-1][1]:
            runs[-1][1] = max(runs[-1][1], piece.last)
        else:
            runs.append([piece.first, piece.last])
    fetches: dict[str, list[dict[str, object]]] = {}
    for xorb, runs in wanted.items():
        offsets = context.services.contents.xet.layout(xorb).offsets
        for first, last in runs:
            chunks, span = {"start": first, "end": last}, {"start": offsets[first], "end": offsets[last] - 1}
            address = f"/xet/{context.services.store_id}/data/{xorb}/{span['start']}-{span['end']}"
            url = context.signed_url(address, "xorb", xorb, str(span["start"]), str(span["end"]))
            older = {"range": chunks, "url_range": span}
            ranges: dict[str, object] = {"ranges": [{"chunks": chunks, "bytes": span}]} if newest else {**older}
            fetches.setdefault(xorb, []).append({"url": url, **ranges})
    return fetches


def xorb_data(context: RequestContext) -> Response:
    first, last = context.args["first"], context.args["last"]
    context.check_signature("xorb", context.args["hash"], first, last)
    _check_store(context)
    path = context.services.contents.xet.xorb_path(context.args["hash"])
    if not path.exists():
        raise ApiError(404, "No such xorb")
    size = path.stat().st_size
    start, end = context.byte_range(size) or (0, size)
    if start < int(first) or end - 1 > int(last):  # other chunks of the xorb may belong to others
        raise ApiError(403, f"This link is for the bytes {first}-{last}: send them as the header Range")
    return content_answer(
        context, size, lambda start, end: read_range(path, start, end), {}, "application/octet-stream"
    )
