"""One file from the Hub to the local disk, complete or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from hubspool.client.http import HubClient
from hubspool.client.http_errors import public_url
from hubspool.client.operations import BLOCK_BYTES, new_blob_hash
from hubspool.client.retry import SAFE
from hubspool.errors import BadResponseError, HubConnectionError, LocalEntryNotFoundError, RequestError

if TYPE_CHECKING:
    import requests


def download(client: HubClient, url: str, destination: Path, *, force: bool, local_only: bool) -> str:
    """Bring the content at `url` to `destination`.

    Args:
        client: The Hub.
        url: Where it is read.
        destination: The file; folders that miss are made.
        force: Fetch it even if it is there.
        local_only: Ask nobody.

    Raises:
        LocalEntryNotFoundError: `local_only`, and it is not there.
        RequestError: It cannot be fetched; a file that was there before is as it was.
    """
    if local_only:
        if not destination.is_file():
            raise LocalEntryNotFoundError(f"{destination} is not there.", path=destination)
        return str(destination)
    client.session.retrying(lambda: _fetch(client, url, destination, force=force), SAFE)
    return str(destination)


def _fetch(client: HubClient, url: str, destination: Path, *, force: bool) -> None:
    # identity: with a compressed answer the length says nothing about the content.
    response = client.send("GET", url, headers={"Accept-Encoding": "identity"}, stream=True)
    with response:
        etag = _etag_of(response)
        if not force and destination.is_file() and _content_id(destination, etag) == etag:
            return
        destination.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{destination.name}.", suffix=".part", dir=destination.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                _write(response, file)
                os.fsync(file.fileno())
            _verify(Path(name), etag, url)
            Path(name).chmod(0o666 & ~_umask())
            Path(name).replace(destination)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _write(response: requests.Response, file: BinaryIO) -> None:
    import requests

    broken: RequestError | None = None
    try:
        for block in response.iter_content(BLOCK_BYTES):
            file.write(block)
    except requests.RequestException as error:
        broken = HubConnectionError(
            f"{public_url(response.url)} broke off after {file.tell()} bytes ({type(error).__name__}).",
            url=public_url(response.url),
        )
    if broken is not None:
        raise broken
    expected = response.headers.get("Content-Length")
    if expected is not None and int(expected) != file.tell():
        raise HubConnectionError(
            f"{public_url(response.url)} broke off after {file.tell()} of {expected} bytes.",
            url=public_url(response.url),
        )


def _etag_of(response: requests.Response) -> str:
    """Return what names the content: sha256 of large files, git's blob id of others.

    A redirect to a storage host carries the Hub's word for it; what that host calls an ETag may be anything.
    """
    answers = [*response.history, response]
    linked = [answer.headers["X-Linked-ETag"] for answer in answers if "X-Linked-ETag" in answer.headers]
    etag = linked[0] if linked else "" if response.history else response.headers.get("ETag", "")
    return etag.removeprefix("W/").strip('"')


def _content_id(path: Path, like: str) -> str | None:
    """Return the id of a local file in the form of `like`; None where that is neither a sha256 nor a blob id."""
    if len(like) == 64:
        digest = hashlib.sha256()
    elif len(like) == 40:
        digest = new_blob_hash(path.stat().st_size)
    else:
        return None
    for block in _blocks(path):
        digest.update(block)
    return digest.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            yield block


def _verify(path: Path, etag: str, url: str) -> None:
    if _content_id(path, etag) not in (etag, None):
        shown = public_url(url)
        raise BadResponseError(f"{shown} gave another content than its ETag says.", url=shown)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
