"""Git's smart HTTP protocol, for `git clone`, `git fetch` and `git push`."""

from __future__ import annotations

import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, BinaryIO

from dulwich.errors import GitProtocolError
from dulwich.protocol import Protocol, pkt_line, pkt_seq
from starlette.responses import Response, StreamingResponse

from hubspool.files import blocks
from hubspool.local_hub.identifiers import is_commit_id
from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.routes.request_context import RequestContext
from hubspool.local_hub.services import git_push
from hubspool.local_hub.services.api_errors import ApiError
from hubspool.local_hub.services.repositories import Repository
from hubspool.local_hub.storage import git_program

_NO_CACHE = {"Cache-Control": "no-cache, max-age=0, must-revalidate"}
# without side-band, since the report is then the whole answer; without atomic, since refs move one by one
_PUSH_CAPABILITIES = b"report-status delete-refs ofs-delta agent=hubspool"


def advertise(context: RequestContext) -> Response:
    service = context.request.query_params.get("service", "")
    if service == "git-receive-pack":
        return _advertise_for_push(context.repo_for_git("write"))
    if service != "git-upload-pack":
        raise ApiError(403, "This Hub knows git's smart HTTP protocol only: use git 1.6.6 or newer")
    refs = _fetch(context, context.repo_for_git(), b"", "--advertise-refs")
    body = pkt_seq(b"# service=git-upload-pack\n") + b"".join(refs)
    return Response(body, 200, _NO_CACHE, "application/x-git-upload-pack-advertisement")


def upload_pack(context: RequestContext) -> Response:
    repo, is_gzip = context.repo_for_git(), context.request.headers.get("content-encoding") == "gzip"
    answer = _fetch(context, repo, _unzip(context.body) if is_gzip else context.body)
    return StreamingResponse(answer, 200, _NO_CACHE, "application/x-git-upload-pack-result")


def _advertise_for_push(repo: Repository) -> Response:
    refs = repo.git.all_refs() or {"capabilities^{}": git_push.NO_OBJECT}
    first, *rest = (f"{oid} {name}".encode() for name, oid in refs.items())
    body = pkt_seq(b"# service=git-receive-pack\n") + pkt_seq(first + b"\0" + _PUSH_CAPABILITIES, *rest)
    return Response(body, 200, _NO_CACHE, "application/x-git-receive-pack-advertisement")


def receive_pack(context: RequestContext) -> Response:
    repo = context.repo_for_git("write")
    with context.upload.open("rb") as file:
        updates = _read_updates(file)
        pack = context.upload.with_name(f"{context.upload.name}.pack")
        with pack.open("wb") as out:
            shutil.copyfileobj(file, out)
    try:
        report = _apply(repo, updates, pack if pack.stat().st_size else None) if updates else b""
    finally:
        pack.unlink()
    return Response(report, 200, _NO_CACHE, "application/x-git-receive-pack-result")


def _apply(repo: Repository, updates: list[git_push.RefUpdate], pack: Path | None) -> bytes:
    """Apply a push; return the report with the outcome of each ref."""
    outcome, refused = "ok", {}
    try:
        refused = git_push.apply(repo, updates, pack)
    except git_push.PushRefusedError as error:
        outcome, refused = str(error), {update.ref: "unpacker error" for update in updates}
    lines = [f"ng {ref} {refused[ref]}\n" if ref in refused else f"ok {ref}\n" for ref in (u.ref for u in updates)]
    return pkt_seq(f"unpack {outcome}\n".encode(), *(line.encode() for line in lines))


def _read_updates(file: IO[bytes]) -> list[git_push.RefUpdate]:
    """Read the ref updates before the pack.

    Raises:
        ApiError: 400 if the body is not a push.
    """
    found: list[git_push.RefUpdate] = []
    protocol = Protocol(file.read, lambda _: None)
    try:
        while (line := protocol.read_pkt_line()) is not None:
            words = line.partition(b"\0")[0].decode("utf-8", "replace").rstrip("\n").split(" ", 2)
            if len(words) != 3 or not all(map(is_commit_id, words[:2])) or len(found) == LIMITS.push_commands:
                raise GitProtocolError("not a ref update")
            found.append(git_push.RefUpdate(*words))
    except (GitProtocolError, ValueError) as error:
        raise ApiError(400, f"The body is not a git push: {error}") from None
    return found


def _unzip(body: bytes) -> bytes:
    unzip = zlib.decompressobj(wbits=31)
    try:
        plain = unzip.decompress(body, LIMITS.git_request)
    except zlib.error:
        raise ApiError(400, "The body is not gzip") from None
    if unzip.unconsumed_tail:
        raise ApiError(413, f"Payload Too Large: more than {LIMITS.git_request} bytes")
    return plain


def _fetch(context: RequestContext, repo: Repository, body: bytes, *options: str) -> Iterator[bytes]:
    """Return the answer to a fetch, or a line that git shows to its user; of an HTTP error it shows only the status.

    dulwich's server knows no shallow and no partial clones.
    """
    version = context.request.headers.get("git-protocol", "")
    command = ("upload-pack", "--stateless-rpc", *options, ".")
    try:
        if not git_program.exists():
            raise GitProtocolError("This local Hub serves clones and fetches with git: install git where it runs")
        with ExitStack() as closed_on_error:
            out = closed_on_error.enter_context(tempfile.TemporaryFile())
            git_program.run(repo.path, *command, stdin=body, out=out, protocol=version)
            closed_on_error.pop_all()
            return _drain(out)
    except GitProtocolError as error:
        return iter((pkt_line(f"ERR {error}\n".encode()),))


def _drain(file: BinaryIO) -> Iterator[bytes]:
    with file:
        yield from blocks(file, 0, file.seek(0, os.SEEK_END))
