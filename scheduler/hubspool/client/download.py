"""Downloads one file to the local disk, complete or not at all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from hubspool.client.defaults import DEFAULTS
from hubspool.client.http import HubClient
from hubspool.client.http_errors import public_url
from hubspool.client.operations import new_blob_hash
from hubspool.client.retry import SAFE
from hubspool.errors import BadResponseError, HubConnectionError, LocalEntryNotFoundError

if TYPE_CHECKING:
    import requests


def download(client: HubClient, url: str, destination: Path, *, force: bool, local_only: bool) -> str:
    """Download the content at `url` to `destination`, and return its path.

    Args:
        client: the Hub.
        url: address of the content.
        destination: the local file; missing folders are created.
        force: download even if the local file has the same content.
        local_only: send no request.

    Raises:
        LocalEntryNotFoundError: with `local_only`, there is no such file.
        RequestError: the download failed; an earlier local file is unchanged.
    """
    if local_only:
        if not destination.is_file():
            raise LocalEntryNotFoundError(f"{destination} does not exist.", path=destination)
        return str(destination)
    client.session.retrying(lambda: _fetch(client, url, destination, force=force), SAFE)
    return str(destination)


def _fetch(client: HubClient, url: str, destination: Path, *, force: bool) -> None:
    from tempfile import mkstemp

    # identity: the length of a compressed answer is not the length of the content.
    response = client.send("GET", url, headers={"Accept-Encoding": "identity"}, stream=True)
    with response:
        etag = _etag_of(response)
        if not force and destination.is_file() and _content_id(destination, etag) == etag:
            return
        destination.parent.mkdir(parents=True, exist_ok=True)
        handle, name = mkstemp(prefix=f".{destination.name}.", suffix=".part", dir=destination.parent)
        part = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                _write(response, file)
                os.fsync(file.fileno())
            if _content_id(part, etag) not in (etag, None):
                shown = public_url(url)
                raise BadResponseError(f"The content of {shown} does not match its ETag.", url=shown)
            part.chmod(0o666 & ~_umask())
            part.replace(destination)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def _write(response: requests.Response, file: BinaryIO) -> None:
    import requests

    problem = ""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        problem = " (encoded)"  # a small answer could fill the disk
    try:
        for block in [] if problem else response.iter_content(DEFAULTS.block_bytes):
            file.write(block)
    except requests.RequestException as error:
        problem = f" ({type(error).__name__})"
    expected = response.headers.get("Content-Length")
    # Raised here, without the error of requests as its context: that error holds the request, and so the token.
    if problem or (expected is not None and int(expected) != file.tell()):
        url = public_url(response.url)
        size = "" if expected is None else f" of {expected}"
        raise HubConnectionError(f"{url} broke off after {file.tell()}{size} bytes{problem}.", url=url)


def _etag_of(response: requests.Response) -> str:
    """Return the id of the content: sha256 of large files, git's blob id of others.

    The Hub sends it with a redirect to a storage host; the ETag of that host may be anything.
    """
    answers = [*response.history, response]
    linked = [answer.headers["X-Linked-ETag"] for answer in answers if "X-Linked-ETag" in answer.headers]
    etag = linked[0] if linked else "" if response.history else response.headers.get("ETag", "")
    return etag.removeprefix("W/").strip('"')


def _content_id(path: Path, like: str) -> str | None:
    """Return the id of a local file, of the kind of `like`; None if `like` is neither a sha256 nor a blob id."""
    if len(like) == 64:
        digest = hashlib.sha256()
    elif len(like) == 40:
        digest = new_blob_hash(path.stat().st_size)
    else:
        return None
    with path.open("rb") as file:
        while block := file.read(DEFAULTS.block_bytes):
            digest.update(block)
    return digest.hexdigest()


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
