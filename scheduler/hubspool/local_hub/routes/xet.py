"""Xet: tokens, and the content-addressed store behind them."""

from __future__ import annotations

import json
import secrets
import time
from typing import Literal

from starlette.responses import Response

from hubspool.local_hub.routes.discussions import writable
from hubspool.local_hub.routes.request_context import API, REV, Body, Call, Route, content_answer, ok
from hubspool.local_hub.services.api_errors import HubError
from hubspool.local_hub.services.repositories import Repository
from hubspool.local_hub.storage.lfs_store import read_range
from hubspool.local_hub.storage.signing import TOKEN_SECONDS
from hubspool.local_hub.storage.xet_format import MAX_XORB
from hubspool.local_hub.storage.xet_store import Piece

_CAS = r"/xet/(?P<store>[0-9a-f]+)"
_V = r"(?:/v\d)?"  # every client version spells the paths in its own way
_HASH = r"(?P<hash>[0-9a-f]{64})"
Scope = Literal["read", "write"]


def token(call: Call) -> Response:
    scope: Scope = "write" if call.args["scope"] == "write" else "read"
    repo = writable(call) if scope == "write" else call.repo()
    if not call.services.xet:
        raise HubError(404, "This Hub stores large files with LFS only")
    rev = "main" if call.args["rev"] == "None" else call.args["rev"]  # what clients write who have none
    headers = token_headers(call, repo, scope, rev)
    access, expiry, address = headers.values()
    return ok({"accessToken": access, "exp": int(expiry), "casUrl": address}, headers=headers)


def cas_url(call: Call) -> str:
    return f"{call.endpoint}/xet/{call.services.store_id}"


def token_headers(call: Call, repo: Repository, scope: Scope, rev: str) -> dict[str, str]:
    """A CAS token: to write, or to read what this repository holds at this revision or in its newest commits."""
    claim = ("xet", scope, repo.url_path, call.commit_of(repo, rev))
    permission = call.services.signer.sign(*claim, call.services.store_id, seconds=TOKEN_SECONDS)
    return {
        "X-Xet-Access-Token": ":".join((*claim, permission)),
        "X-Xet-Token-Expiration": str(int(time.time()) + TOKEN_SECONDS),
        "X-Xet-Cas-Url": cas_url(call),
    }


def _check(call: Call, needed: Scope) -> tuple[str, str]:
    """Refuse a request whose CAS token does not allow it; returns the repository and the commit of the token."""
    bearer = call.request.headers.get("authorization", "").partition(" ")[2]
    *claim, permission = bearer.split(":")
    if len(claim) != 4 or not call.services.signer.valid(permission, *claim, call.args["store"]):
        raise HubError(401, "This Xet token is not valid, or not any more")
    _, scope, repo, commit = claim
    if needed == "write" and scope != "write":
        raise HubError(403, "This Xet token may only read")
    _check_store(call)
    return repo, commit


def _check_readable(call: Call, repo_path: str, commit: str, file: str) -> None:
    """Refuse a file that is not in the repository of the token."""
    reachable = call.services.reachable
    if reachable.was_uploaded(repo_path, file):
        return
    sha256, repo = call.services.contents.xet.sha256_of_file(file), call.services.repositories.at(repo_path)
    if sha256 is None or not (sha256 in reachable.of_commit(repo, commit) or sha256 in reachable.of_repository(repo)):
        raise HubError(404, "No such file in the repository of this Xet token")


def _check_store(call: Call) -> None:
    if call.args["store"] != call.services.store_id:
        raise HubError(404, "This store does not exist any more")


def chunk(call: Call) -> Response:
    _check(call, "read")
    found = call.services.contents.xet.dedup_answer(call.args["hash"])
    if found is None:
        raise HubError(404, "No such chunk")
    return Response(found, media_type="application/octet-stream")


def grant(call: Call) -> Response:
    """Newer clients ask where to send a xorb; refused with 404, they send it to `put_xorb`."""
    _check(call, "write")
    if not call.services.xet_grants:
        raise HubError(404, "Xorbs are sent to this server")
    xorb = call.args["hash"]
    if call.services.contents.xet.has_xorb(xorb):
        return ok()
    url = call.signed_url(f"/xet/{call.services.store_id}/granted/{xorb}", "grant", xorb)
    return ok({"id": secrets.token_hex(12), "method": "PUT", "url": url, "headers": {}}, status=201)


def put_granted(call: Call) -> Response:
    call.check_signature("grant", call.args["hash"])
    _check_store(call)
    return _keep_xorb(call)


def commit_granted(call: Call) -> Response:
    _check(call, "write")
    if not call.services.contents.xet.has_xorb(call.args["hash"]):
        raise HubError(404, "This xorb was not sent")
    return ok({"was_inserted": True})


def put_xorb(call: Call) -> Response:
    _check(call, "write")
    return _keep_xorb(call)


def _keep_xorb(call: Call) -> Response:
    try:
        inserted = call.services.contents.xet.add_xorb(call.args["hash"], call.upload)
    except ValueError as error:
        raise HubError(400, f"This is not a xorb: {error}") from None
    return ok({"was_inserted": inserted})


def put_shard(call: Call) -> Response:
    repo, _ = _check(call, "write")
    try:
        for file in call.services.contents.xet.add_shard(call.body):
            call.services.reachable.add_upload(repo, file)
    except ValueError as error:
        raise HubError(400, f"This shard was refused: {error}") from None
    if call.request.scope["raw_path"].endswith(b"/v2/shards"):
        return Response(json.dumps({"type": "result"}) + "\n", media_type="application/x-ndjson")
    return ok({"result": 1})


def reconstruction(call: Call) -> Response:
    token_of = _check(call, "read")
    xet, file = call.services.contents.xet, call.args["hash"]
    size = xet.file_size(file)
    if size is None:
        raise HubError(404, "No such file")
    _check_readable(call, *token_of, file)
    start, end = 0, size
    if wanted := call.request.headers.get("range"):
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        if not first.isdecimal() or int(first) >= size:  # clients probe behind the end on purpose
            raise HubError(416, "Range Not Satisfiable", headers={"Content-Range": f"bytes */{size}"})
        start, end = int(first), min(int(last) + 1, size) if last.isdecimal() else size
    pieces = xet.pieces(file, start, end)
    answer: dict[str, object] = {
        "offset_into_first_range": pieces[0].skip if pieces else 0,
        "terms": [
            {"hash": p.xorb, "unpacked_length": p.length, "range": {"start": p.first, "end": p.last}} for p in pieces
        ],
    }
    newest = "/v2/" in call.request.scope["raw_path"].decode()
    answer["xorbs" if newest else "fetch_info"] = _fetches(call, pieces, newest=newest)
    return ok(answer)


def _fetches(call: Call, pieces: list[Piece], *, newest: bool) -> dict[str, list[dict[str, object]]]:
    """Where the chunks of each xorb are to be had: one entry for each run of chunks."""
    wanted: dict[str, list[list[int]]] = {}
    for piece in sorted(pieces, key=lambda piece: piece.first):
        runs = wanted.setdefault(piece.xorb, [])
        if runs and piece.first <= runs[-1][1]:
            runs[-1][1] = max(runs[-1][1], piece.last)
        else:
            runs.append([piece.first, piece.last])
    fetches: dict[str, list[dict[str, object]]] = {}
    for xorb, runs in wanted.items():
        offsets = call.services.contents.xet.layout(xorb).offsets
        url = call.signed_url(f"/xet/{call.services.store_id}/data/{xorb}", "xorb", xorb)
        for first, last in runs:
            chunks, span = {"start": first, "end": last}, {"start": offsets[first], "end": offsets[last] - 1}
            if newest:
                fetch: dict[str, object] = {"url": url, "ranges": [{"chunks": chunks, "bytes": span}]}
            else:
                fetch = {"url": url, "range": chunks, "url_range": span}
            fetches.setdefault(xorb, []).append(fetch)
    return fetches


def xorb_data(call: Call) -> Response:
    call.check_signature("xorb", call.args["hash"])
    _check_store(call)
    path = call.services.contents.xet.xorb_path(call.args["hash"])
    if not path.exists():
        raise HubError(404, "No such xorb")
    size = path.stat().st_size
    return content_answer(call, size, lambda start, end: read_range(path, start, end), {}, "application/octet-stream")


ROUTES = [
    Route("xet-token", "GET", rf"{API}/xet-(?P<scope>read|write)-token/{REV}", token),
    Route("xet-chunk", "GET", rf"{_CAS}{_V}/chunks?/[^/]+/{_HASH}", chunk),
    Route("xet-grant", "POST", rf"{_CAS}{_V}/xorb-grants/[^/]+/{_HASH}", grant),
    Route("xet-xorb", "PUT", rf"{_CAS}/granted/{_HASH}", put_granted, Body.DISK, MAX_XORB + (8 << 20)),
    Route("xet-commit", "POST", rf"{_CAS}{_V}/xorb-commits/[^/]+/{_HASH}/grant/[^/]+", commit_granted),
    Route("xet-xorb", "POST", rf"{_CAS}{_V}/xorbs?/[^/]+/{_HASH}", put_xorb, Body.DISK, MAX_XORB + (8 << 20)),
    Route("xet-shard", "POST", rf"{_CAS}{_V}/shards?(?:/[^/]+/{_HASH})?", put_shard, Body.MEMORY, 128 << 20),
    Route("xet-reconstruction", "GET", rf"{_CAS}{_V}/reconstructions?/{_HASH}", reconstruction),
    Route("xet-data", "GET", rf"{_CAS}/data/{_HASH}", xorb_data),
]
