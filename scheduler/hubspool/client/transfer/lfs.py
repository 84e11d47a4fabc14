"""Sends large files through LFS, if the Hub or this machine has no Xet: whole objects, in one piece or in parts.

Source of the protocol: the batch API of git-lfs
(https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md), and huggingface_hub 2.4.0 for "multipart".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import ceil
from typing import Any

from hubspool.client.defaults import DEFAULTS
from hubspool.client.http import HubClient
from hubspool.client.operations import CommitOperationAdd
from hubspool.client.progress import ProgressSum
from hubspool.client.target import Target
from hubspool.client.transfer.options import TransferOptions, TransferReport
from hubspool.client.transfer.parallel import for_each
from hubspool.errors import BadRequestError, BadResponseError

_MEDIA_TYPE = {"Accept": "application/vnd.git-lfs+json", "Content-Type": "application/vnd.git-lfs+json"}


@dataclass(frozen=True)
class _PartUrl:
    """Bytes [start, end) of a content and their address; `number` counts from 1, None for a whole object."""

    addition: CommitOperationAdd
    url: str
    start: int
    end: int
    number: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.end - self.start

    def __iter__(self) -> Iterator[bytes]:
        return self.addition.blocks(self.start, self.end)


@dataclass
class _Object:
    """An object to send, and the requests that follow it."""

    addition: CommitOperationAdd
    parts: list[_PartUrl]
    complete_url: str | None
    verify_url: str | None
    etags: dict[int, str] = field(default_factory=dict)


def upload(
    client: HubClient, target: Target, additions: Sequence[CommitOperationAdd], options: TransferOptions
) -> TransferReport:
    """Upload the contents that the Hub does not have.

    Raises:
        RequestError: a request failed, or the Hub refused an object.
        FileShrankError: a content ended early.
    """
    sent = 0
    by_oid = {addition.sha256: addition for addition in additions}
    for entries in _batches(client, target, list(by_oid.values())):
        objects = [_plan(entry, by_oid) for entry in entries]
        sent += _send_all(client, [found for found in objects if found is not None], options)
    return TransferReport(len(additions), sum(a.size for a in additions), sent)


def stored(client: HubClient, target: Target, additions: Sequence[CommitOperationAdd]) -> set[str]:
    """Return the sha256 of those contents that the Hub says it has.

    Raises:
        RequestError: the request failed.
    """
    by_oid = {addition.sha256: addition for addition in additions}
    entries = chain.from_iterable(_batches(client, target, list(by_oid.values())))
    return {entry["oid"] for entry in entries if not entry.get("error") and not entry.get("actions")}


def _batches(
    client: HubClient, target: Target, additions: Sequence[CommitOperationAdd]
) -> Iterator[Sequence[Mapping[str, Any]]]:
    """Ask about different contents, and yield the Hub's entries batch by batch."""
    objects = [{"oid": addition.sha256, "size": addition.size} for addition in additions]
    for first in range(0, len(objects), DEFAULTS.lfs_objects_per_batch):
        body = {
            "operation": "upload",
            "transfers": ["basic", "multipart"],
            "objects": objects[first : first + DEFAULTS.lfs_objects_per_batch],
            "hash_algo": "sha256",
            "ref": {"name": target.revision},
        }
        answer = client.json("POST", target.lfs_batch_url, json=body, headers=_MEDIA_TYPE)
        entries = answer.get("objects") if isinstance(answer, dict) else None
        if not isinstance(entries, list):
            raise BadResponseError("The LFS batch route answered without a list of objects.", url=target.lfs_batch_url)
        yield entries


def _plan(entry: Mapping[str, Any], by_oid: Mapping[str, CommitOperationAdd]) -> _Object | None:
    """Return the parts and requests that the Hub wants for one object; None: it has the object."""
    addition = by_oid[entry["oid"]]
    if error := entry.get("error"):
        raise BadRequestError(
            f"The Hub refused {addition.path_in_repo}: {error.get('message')}",
            status_code=int(error.get("code", 400)),
            path=addition.path_in_repo,
        )
    actions = entry.get("actions") or {}
    if "upload" not in actions:
        return None
    href, header = actions["upload"]["href"], actions["upload"].get("header") or {}
    verify_url = (actions.get("verify") or {}).get("href")
    if "chunk_size" not in header:
        return _Object(addition, [_PartUrl(addition, href, 0, addition.size, headers=header)], None, verify_url)
    size, step = addition.size, int(header["chunk_size"])
    urls = [header[key] for key in sorted((k for k in header if k.isdigit()), key=int)]
    if step <= 0 or len(urls) != ceil(size / step):
        raise BadResponseError(
            f"The Hub gave {len(urls)} part addresses of {step} bytes each for the {size} bytes of"
            f" {addition.path_in_repo}.",
            path=addition.path_in_repo,
        )
    parts = [_PartUrl(addition, url, n * step, min(size, (n + 1) * step), number=n + 1) for n, url in enumerate(urls)]
    return _Object(addition, parts, href, verify_url)


def _send_all(client: HubClient, objects: Sequence[_Object], options: TransferOptions) -> int:
    done = ProgressSum(options.on_progress)

    def put(job: tuple[_Object, _PartUrl]) -> None:
        owner, part = job
        # The address is signed and may be on another host; `client` sends the token only to the Hub.
        response = client.request("PUT", part.url, body=part, headers=part.headers)
        if part.number is not None:
            etag = response.headers.get("ETag")
            if not etag:
                raise BadResponseError(f"Part {part.number} of {part.addition.path_in_repo} got no ETag.")
            owner.etags[part.number] = etag
        done.add(len(part))

    # A file object has one position, so its parts are sent one after the other.
    num_threads = options.num_threads if all(o.addition.is_reopenable for o in objects) else 1
    for_each([(o, part) for o in objects for part in o.parts], put, num_threads)
    for_each(objects, lambda found: _finish(client, found), options.num_threads)
    return done.total


def _finish(client: HubClient, found: _Object) -> None:
    oid = found.addition.sha256
    if found.complete_url is not None:
        parts = [{"partNumber": n, "etag": etag} for n, etag in sorted(found.etags.items())]
        client.request("POST", found.complete_url, json={"oid": oid, "parts": parts}, headers=_MEDIA_TYPE)
    if found.verify_url is not None:
        client.request("POST", found.verify_url, json={"oid": oid, "size": found.addition.size})
