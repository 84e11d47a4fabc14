"""Downloads one file to the local disk, complete or not at all."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from hubspool.client.defaults import DEFAULTS
from hubspool.client.http import HubClient
from hubspool.client.http_errors import public_url
from hubspool.client.retry import SAFE
from hubspool.client.target import Target
from hubspool.errors import (
    BadResponseError,
    HubConnectionError,
    HubTimeoutError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)
from hubspool.files import has_content

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
    client.session.retrying(lambda: _fetch(client, url, lambda *_: destination, force=force), SAFE)
    return str(destination)


def download_to_cache(
    client: HubClient, target: Target, path: str, cache: Path, *, force: bool, local_only: bool
) -> str:
    """Download `path` of a repository to the cache that huggingface_hub has too, and return its path there.

    The content is in ``blobs/<ETag>``, a link in ``snapshots/<commit>`` leads there (where links cannot be made, it is
    a second copy), and ``refs/<revision>`` names the commit. The Hub is not asked again for a file of a
    commit id; without a connection the file of the last known commit is returned.

    Raises:
        LocalEntryNotFoundError: with `local_only`, the file is not in the cache.
        RequestError: the download failed; the cache is unchanged.
    """
    folder = cache_folder(target, cache)
    is_commit = re.fullmatch(r"[0-9a-f]{40}", target.revision) is not None
    reference = folder / "refs" / target.revision

    def cached() -> Path | None:
        try:
            commit = target.revision if is_commit else reference.read_text(encoding="utf-8").strip()
        except OSError:
            return None
        found = folder / "snapshots" / commit / path
        return found if found.is_file() else None

    found = cached()
    if local_only and found is None:
        raise LocalEntryNotFoundError(f"{path} of {target.repo_id} is not in {cache}.", path=path)
    if found is not None and (local_only or (is_commit and not force)):
        return str(found)
    url, pointer = target.file_url(path), Path()

    def blob(response: requests.Response, etag: str) -> Path:
        nonlocal pointer
        commits = [a.headers["X-Repo-Commit"] for a in (*response.history, response) if "X-Repo-Commit" in a.headers]
        if not commits or not re.fullmatch(r"[0-9a-f]{40}", commits[0]) or not re.fullmatch(r"[0-9a-f]{40,64}", etag):
            raise BadResponseError(f"{public_url(url)} does not name its commit and content.", url=public_url(url))
        pointer = folder / "snapshots" / commits[0] / path
        return folder / "blobs" / etag

    try:
        stored = client.session.retrying(lambda: _fetch(client, url, blob, force=force), SAFE)
    except (HubConnectionError, HubTimeoutError, OfflineModeIsEnabled):
        if found is None or force:
            raise
        return str(found)
    _link(pointer, stored)
    if not is_commit:
        _replace(reference, lambda part: part.write_text(pointer.relative_to(folder).parts[1], encoding="utf-8"))
    return str(pointer)


def cache_folder(target: Target, cache: Path) -> Path:
    """Return the folder of a repository in the cache; ``blobs/<content id>`` in it are contents."""
    return cache / "--".join((f"{target.repo_type}s", *target.repo_id.split("/")))


def _link(pointer: Path, stored: Path) -> None:
    if pointer.is_file() and pointer.samefile(stored):
        return
    try:
        _replace(pointer, lambda part: part.symlink_to(os.path.relpath(stored, pointer.parent)))
    except OSError:  # Windows without the right to make links
        _replace(pointer, lambda part: shutil.copyfile(stored, part))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file, and move it to `path`: another process sees the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name[:200]}.{secrets.token_hex(8)}.part")
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _fetch(client: HubClient, url: str, choose: Callable[[requests.Response, str], Path], *, force: bool) -> Path:
    """Download to the path that `choose` returns for an answer and its ETag, unless the content is there."""
    # identity: the length of a compressed answer is not the length of the content.
    response = client.send("GET", url, headers={"Accept-Encoding": "identity"}, stream=True)
    with response:
        etag = _etag_of(response)
        destination = choose(response, etag)
        if not force and destination.is_file() and (etag == destination.name or _has(destination, etag)):
            return destination
        _replace(destination, lambda part: _write_checked(response, part, etag, public_url(url)))
    return destination


def _write_checked(response: requests.Response, part: Path, etag: str, url: str) -> None:
    with part.open("xb") as file:
        _write(response, file)
        os.fsync(file.fileno())
    if len(etag) in (40, 64) and not _has(part, etag):  # others are no content ids
        raise BadResponseError(f"The content of {url} does not match its ETag.", url=url)


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
    """Return the id of the content: sha256 of large files, git's blob id of others; "" for files of a bucket.

    The Hub sends it with a redirect to a storage host; the ETag of that host may be anything.
    """
    answers = [*response.history, response]
    linked = [answer.headers["X-Linked-ETag"] for answer in answers if "X-Linked-ETag" in answer.headers]
    etag = linked[0] if linked else "" if response.history else response.headers.get("ETag", "")
    etag = etag.removeprefix("W/").strip('"')
    return "" if any(answer.headers.get("X-Xet-Hash") == etag for answer in answers) else etag


def _has(path: Path, content_id: str) -> bool:
    return has_content(path, path.stat().st_size, content_id)
