"""Git's smart HTTP protocol, for `git clone`, `git fetch` and `git push`."""

from __future__ import annotations

import io
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from dulwich.errors import GitProtocolError
from dulwich.protocol import ReceivableProtocol
from dulwich.repo import BaseRepo
from dulwich.server import Backend, UploadPackHandler
from starlette.responses import Response, StreamingResponse

from hubspool.local_hub.routes.request_context import PAGES, Body, Call, Route
from hubspool.local_hub.services import pushes
from hubspool.local_hub.services.api_errors import HubError
from hubspool.local_hub.services.repositories import Repository, Right

_NO_CACHE = {"Cache-Control": "no-cache, max-age=0, must-revalidate"}
_MAX_REQUEST = 64 << 20  # bytes: what a client says that it has and wants
_IN_MEMORY = 8 << 20  # bytes of a pack; more goes to disk
# dulwich's server makes shallow clones, but does not know fetches into one
_SHALLOW = "This local Hub cannot fetch into a shallow clone: run git fetch --unshallow first"
_MAX_PUSH = 1 << 30  # bytes
_MAX_COMMANDS = 1000
_OID = re.compile(r"[0-9a-f]{40}")
# No side-band: without it the report is the whole answer. No atomic: refs move one by one.
_PUSH_CAPABILITIES = "report-status delete-refs ofs-delta agent=hubspool"


def advertise(call: Call) -> Response:
    service = call.request.query_params.get("service", "")
    if service == "git-receive-pack":
        return _advertise_for_push(_repo(call, "write"))
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


def _advertise_for_push(repo: Repository) -> Response:
    refs = repo.git.all_refs() or {"capabilities^{}": pushes.NOTHING}
    lines = [f"{oid} {name}" for name, oid in refs.items()]
    lines[0] += f"\0{_PUSH_CAPABILITIES}"
    body = _packets(["# service=git-receive-pack\n"]) + _packets([f"{line}\n" for line in lines])
    return Response(body, 200, _NO_CACHE, "application/x-git-receive-pack-advertisement")


def receive_pack(call: Call) -> Response:
    repo = _repo(call, "write")
    with call.upload.open("rb") as file:
        commands = _commands(file)
        pack = call.upload.with_name(f"{call.upload.name}.pack")
        with pack.open("wb") as out:
            shutil.copyfileobj(file, out)
    try:
        lines = _report(repo, call, commands, pack if pack.stat().st_size else None) if commands else []
    finally:
        pack.unlink()
    return Response(_packets(lines) if lines else b"", 200, _NO_CACHE, "application/x-git-receive-pack-result")


def _report(repo: Repository, call: Call, commands: list[pushes.Command], pack: Path | None) -> list[str]:
    """Do what a push asks for, and say of each ref how it went."""
    try:
        refused = pushes.apply(repo, call.services.contents, commands, pack)
    except pushes.PushRefusedError as error:
        return [f"unpack {error}\n", *(f"ng {command.ref} unpacker error\n" for command in commands)]
    lines = [f"ng {c.ref} {refused[c.ref]}\n" if c.ref in refused else f"ok {c.ref}\n" for c in commands]
    return ["unpack ok\n", *lines]


def _commands(file: IO[bytes]) -> list[pushes.Command]:
    """Read what stands before the pack.

    Raises:
        HubError: 400 for what is no push.
    """
    found: list[pushes.Command] = []
    while (line := _packet(file)) is not None:
        words = line.partition(b"\0")[0].decode("utf-8", "replace").rstrip("\n").split(" ", 2)
        if len(words) != 3 or not all(_OID.fullmatch(word) for word in words[:2]) or len(found) == _MAX_COMMANDS:
            raise HubError(400, "The body is no push of git's")
        found.append(pushes.Command(*words))
    return found


def _packet(file: IO[bytes]) -> bytes | None:
    """Read one line of git's protocol, None at a flush."""
    try:
        length = int(file.read(4), 16)
    except ValueError:
        raise HubError(400, "The body is no push of git's") from None
    return file.read(length - 4) if length >= 4 else None


def _packets(lines: list[str]) -> bytes:
    """Write lines of git's protocol, and a flush."""
    encoded = [line.encode() for line in lines]
    return b"".join(b"%04x%s" % (len(line) + 4, line) for line in encoded) + b"0000"


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


def _repo(call: Call, right: Right = "read") -> Repository:
    try:
        return call.repo(right)
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
    Route("git-receive-pack", "POST", rf"{PAGES}(?:\.git)?/git-receive-pack", receive_pack, Body.DISK, _MAX_PUSH),
]
