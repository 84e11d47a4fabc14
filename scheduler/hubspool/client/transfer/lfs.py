"""Large files through LFS, for Hubs, or machines, without Xet: whole objects, in one piece or in parts.

Source of the protocol: the batch API of git-lfs
    (https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md) and
huggingface_hub 2.4.0 for "multipart".
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from hubspool.client.http import HubClient
from hubspool.client.operations import CommitOperationAdd
from hubspool.client.target import Target
from hubspool.client.transfer.parallel import for_each
from hubspool.client.transfer.report import TransferOptions, TransferReport
from hubspool.errors import BadRequestError, BadResponseError

OBJECTS_PER_BATCH = 256
_MEDIA_TYPE = {"Accept": "application/vnd.git-lfs+json", "Content-Type": "application/vnd.git-lfs+json"}


@dataclass(frozen=True)
class _Part:
    """Bytes [start, end) of a content and where they go; `number` counts from 1, None for a whole object."""

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
    """An object to send, and what remains to be said about it afterwards."""

    addition: CommitOperationAdd
    parts: list[_Part]
    complete_url: str | None
    verify_url: str | None
    etags: dict[int, str] = field(default_factory=dict)


def upload(
    client: HubClient, target: Target, additions: Sequence[CommitOperationAdd], options: TransferOptions
) -> TransferReport:
    """Upload the contents that the Hub does not have.

    Raises:
        RequestError: A request failed, or the Hub refused an object.
        FileShrankError: A content ended early.
    """
    by_oid = {addition.sha256: addition for addition in additions}
    oids = list(by_oid)
    sent = 0
    for first in range(0, len(oids), OBJECTS_PER_BATCH):
        wanted = [by_oid[oid] for oid in oids[first : first + OBJECTS_PER_BATCH]]
        objects = [_plan(entry, by_oid) for entry in _batch(client, target, wanted)]
        sent += _send_all(client, [found for found in objects if found is not None], options)
    return TransferReport(len(additions), sum(a.size for a in additions), sent)


def stored(client: HubClient, target: Target, additions: Sequence[CommitOperationAdd]) -> set[str]:
    """Return the sha256 of those contents that the Hub has, as far as it tells.

    Raises:
        RequestError: The Hub was asked and did not answer.
    """
    by_oid = {addition.sha256: addition for addition in additions}
    oids, found = list(by_oid), set()
    for first in range(0, len(oids), OBJECTS_PER_BATCH):
        entries = _batch(client, target, [by_oid[oid] for oid in oids[first : first + OBJECTS_PER_BATCH]])
        found |= {entry["oid"] for entry in entries if not entry.get("error") and not entry.get("actions")}
    return found


def _batch(client: HubClient, target: Target, additions: Sequence[CommitOperationAdd]) -> Sequence[Mapping[str, Any]]:
    answer = client.json(
        "POST",
        target.lfs_batch_url,
        json={
            "operation": "upload",
            "transfers": ["basic", "multipart"],
            "objects": [{"oid": a.sha256, "size": a.size} for a in additions],
            "hash_algo": "sha256",
            "ref": {"name": target.revision},
        },
        headers=_MEDIA_TYPE,
    )
    objects = answer.get("objects") if isinstance(answer, dict) else None
    if not isinstance(objects, list):
        raise BadResponseError("The LFS batch route answered without a list of objects.", url=target.lfs_batch_url)
    return objects


def _plan(entry: Mapping[str, Any], by_oid: Mapping[str, CommitOperationAdd]) -> _Object | None:
    """Read what to do with one object; None: the Hub has it."""
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
        return _Object(addition, [_Part(addition, href, 0, addition.size, headers=header)], None, verify_url)
    size, step = addition.size, int(header["chunk_size"])
    urls = [header[key] for key in sorted((k for k in header if k.isdigit()), key=int)]
    if step <= 0 or len(urls) != ceil(size / step):
        raise BadResponseError(
            f"The Hub gave {len(urls)} part addresses of {step} bytes each for the {size} bytes of"
            f" {addition.path_in_repo}.",
            path=addition.path_in_repo,
        )
    parts = [_Part(addition, url, n * step, min(size, (n + 1) * step), number=n + 1) for n, url in enumerate(urls)]
    return _Object(addition, parts, href, verify_url)


def _send_all(client: HubClient, objects: Sequence[_Object], options: TransferOptions) -> int:
    done = _Counter(options.on_progress)

    def put(job: tuple[_Object, _Part]) -> None:
        owner, part = job
        # The address is signed and may be of another host: `client` sends the token to the Hub only.
        response = client.request("PUT", part.url, body=part, headers=part.headers)
        if part.number is not None:
            etag = response.headers.get("ETag")
            if not etag:
                raise BadResponseError(f"Part {part.number} of {part.addition.path_in_repo} got no ETag.")
            owner.etags[part.number] = etag
        done.add(len(part))

    # File objects are read from one position, so their parts follow each other.
    for_each([(o, part) for o in objects for part in o.parts], put, _threads_for(objects, options))
    for_each(objects, lambda found: _finish(client, found), options.num_threads)
    return done.bytes


def _threads_for(objects: Sequence[_Object], options: TransferOptions) -> int:
    return options.num_threads if all(o.addition.is_reopenable for o in objects) else 1


def _finish(client: HubClient, found: _Object) -> None:
    oid = found.addition.sha256
    if found.complete_url is not None:
        parts = [{"partNumber": n, "etag": etag} for n, etag in sorted(found.etags.items())]
        client.request("POST", found.complete_url, json={"oid": oid, "parts": parts}, headers=_MEDIA_TYPE)
    if found.verify_url is not None:
        client.request("POST", found.verify_url, json={"oid": oid, "size": found.addition.size})


class _Counter:
    """Bytes done by several threads."""

    def __init__(self, report: Callable[[int], None] | None) -> None:
        self._report = report
        self._lock = threading.Lock()
        self.bytes = 0

    def add(self, count: int) -> None:
        with self._lock:
            self.bytes += count
        if self._report is not None:
            self._report(self.bytes)
