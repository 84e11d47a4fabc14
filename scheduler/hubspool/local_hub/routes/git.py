"""Git's smart HTTP protocol, for `git clone` and `git fetch`."""

from __future__ import annotations

import io
import tempfile
import zlib
from collections.abc import Iterator
from typing import IO

from dulwich.errors import GitProtocolError
from dulwich.protocol import ReceivableProtocol
from dulwich.repo import BaseRepo
from dulwich.server import Backend, UploadPackHandler
from starlette.responses import Response, StreamingResponse

from hubspool.local_hub.routes.call import PAGES, Call, Route
from hubspool.local_hub.services.errors import HubError
from hubspool.local_hub.services.repositories import Repository

_NO_CACHE = {"Cache-Control": "no-cache, max-age=0, must-revalidate"}
_MAX_REQUEST = 64 << 20  # bytes: what a client says that it has and wants
_IN_MEMORY = 8 << 20  # bytes of a pack; more goes to disk
# dulwich's server makes shallow clones, but does not know fetches into one
_SHALLOW = "This local Hub cannot fetch into a shallow clone: run git fetch --unshallow first"
_REFUSAL = "This local Hub takes no git push: upload with hubspool or huggingface_hub"


def advertise(call: Call) -> Response:
    service = call.request.query_params.get("service", "")
    if service == "git-receive-pack":
        _repo(call)
        raise HubError(403, _REFUSAL)
    if service != "git-upload-pack":
        raise HubError(403, "Only git's smart HTTP protocol is spoken here; git 1.6.6 and newer know it")
    repo = _repo(call)
    out = io.BytesIO()
    handler = _handler(repo, io.BytesIO(), out, advertise_refs=True)
    handler.proto.write_pkt_line(b"# service=git-upload-pack\n")
    handler.proto.write_pkt_line(None)
    handler.handle()
    return Response(out.getvalue(), 200, _NO_CACHE, "application/x-git-upload-pack-advertisement")


def upload_pack(call: Call) -> Response:
    repo = _repo(call)
    body = call.body
    if call.request.headers.get("content-encoding") == "gzip":
        body = _unzip(body)
    out = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - _drain closes it
    try:
        _handler(repo, io.BytesIO(body), out, advertise_refs=False).handle()
    except GitProtocolError as error:
        out.close()
        return _refusal(f"{error}. {_SHALLOW}" if b"shallow " in body else str(error))
    except BaseException:
        out.close()
        raise
    out.seek(0)
    return StreamingResponse(_drain(out), 200, _NO_CACHE, "application/x-git-upload-pack-result")


def _unzip(body: bytes) -> bytes:
    unzip = zlib.decompressobj(wbits=31)
    try:
        plain = unzip.decompress(body, _MAX_REQUEST)
    except zlib.error:
        raise HubError(400, "The body is not gzip") from None
    if unzip.unconsumed_tail:
        raise HubError(413, f"Payload Too Large: more than {_MAX_REQUEST} bytes")
    return plain


def _refusal(message: str) -> Response:
    """An error line, which git shows to its user; it would only show the number of an HTTP status."""
    line = f"ERR {message}\n".encode()
    return Response(b"%04x%s" % (len(line) + 4, line), 200, _NO_CACHE, "application/x-git-upload-pack-result")


def _repo(call: Call) -> Repository:
    try:
        return call.repo()
    except HubError as error:
        if error.status == 401:  # what makes git ask for credentials
            error.headers = {"WWW-Authenticate": 'Basic realm="Hub", charset="UTF-8"'}
        raise


class _OneRepository(Backend):
    def __init__(self, repo: Repository) -> None:
        self._repo = repo

    def open_repository(self, path: str | bytes) -> BaseRepo:  # type: ignore[override]  # noqa: ARG002 - a Repo has all that upload-pack asks of a BackendRepo
        return self._repo.git.repo


def _handler(repo: Repository, source: IO[bytes], out: IO[bytes], *, advertise_refs: bool) -> UploadPackHandler:
    protocol = ReceivableProtocol(source.read, out.write)
    return UploadPackHandler(
        _OneRepository(repo), [repo.id], protocol, stateless_rpc=True, advertise_refs=advertise_refs
    )


def _drain(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while block := file.read(1 << 20):
            yield block


ROUTES = [
    Route("git-refs", "GET", rf"{PAGES}(?:\.git)?/info/refs", advertise),
    Route("git-upload-pack", "POST", rf"{PAGES}(?:\.git)?/git-upload-pack", upload_pack),
]
