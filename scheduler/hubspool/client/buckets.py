"""Calls of `HfApi` about buckets: files without history, whose content goes through Xet.

Source of the protocol: huggingface_hub 2.4.0.
"""

from __future__ import annotations

import json
import mimetypes
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hubspool import errors
from hubspool.client.context import ApiContext
from hubspool.client.defaults import DEFAULTS
from hubspool.client.file_range import FileRange
from hubspool.client.http import HubClient
from hubspool.client.operations import CommitOperationAdd
from hubspool.client.repo_info import of_answer, parse_date
from hubspool.client.retry import SAFE, UNLESS_APPLIED, RetryPolicy
from hubspool.client.validation import check_listed_path, check_repo_id

Source = str | Path | bytes | FileRange


@dataclass(frozen=True)
class BucketUrl:
    """The address of a bucket's page, and its id, ``namespace/name``."""

    url: str
    endpoint: str

    @property
    def bucket_id(self) -> str:
        """``namespace/name``."""
        return "/".join(self.url.rstrip("/").split("/")[-2:])

    @property
    def namespace(self) -> str:
        """The user or organization that has the bucket."""
        return self.bucket_id.partition("/")[0]


@dataclass(frozen=True)
class BucketInfo:
    """A bucket; `size` in bytes is that of all its files."""

    id: str
    private: bool
    created_at: datetime
    size: int
    total_files: int


@dataclass(frozen=True)
class BucketFile:
    """A file in a bucket.

    Attributes:
        size: bytes.
        xet_hash: hash of its content, 64 zeros for an empty file.
        mtime: when its content changed, as its writer said.
        uploaded_at: when the Hub got it.
    """

    path: str
    size: int
    xet_hash: str
    mtime: datetime | None = None
    uploaded_at: datetime | None = None


@dataclass(frozen=True)
class BucketFolder:
    """A folder in a bucket."""

    path: str
    uploaded_at: datetime | None = None


@of_answer
def _parse(entry: Mapping[str, Any]) -> BucketFile | BucketFolder | None:
    if entry["type"] not in ("file", "directory"):  # huggingface_hub skips others, too
        return None
    path = check_listed_path(entry["path"])
    changed, uploaded = (parse_date(entry[name]) if entry.get(name) else None for name in ("mtime", "uploadedAt"))
    if entry["type"] == "directory":
        return BucketFolder(path, uploaded)
    return BucketFile(path, entry["size"], entry["xetHash"], changed, uploaded)


@of_answer
def _parse_info(data: Mapping[str, Any]) -> BucketInfo:
    created = parse_date(data["createdAt"])
    return BucketInfo(data["id"], bool(data["private"]), created, data["size"], data["totalFiles"])


def add_line(addition: CommitOperationAdd) -> dict[str, Any]:
    """Return the operation of a batch that adds an uploaded content."""
    source, path = addition.path_or_fileobj, addition.path_in_repo
    changed, kind = time.time(), mimetypes.guess_type(path)[0]
    if isinstance(source, str):
        changed, kind = Path(source).stat().st_mtime, mimetypes.guess_type(source)[0] or kind
    line = {"type": "addFile", "path": path, "xetHash": addition.xet_hash, "mtime": int(changed * 1000)}
    return {**line, "contentType": kind} if kind is not None else line


def send_batch(
    client: HubClient, bucket_url: str, lines: Sequence[Mapping[str, Any]], policy: RetryPolicy = SAFE
) -> None:
    """Send one batch of at most 1,000 operations, which the Hub may apply in part.

    A repetition acts as the first request did: it adds the same content, and a file that is to be deleted and is gone
    counts as deleted if an earlier answer was lost.

    Raises:
        BucketBatchError: the Hub did not apply some of the operations.
        BadResponseError: its answer does not account for all of them; each may have been applied, or not.
    """
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    headers = {"Content-Type": "application/x-ndjson"}
    attempts = 0

    def send() -> None:
        nonlocal attempts
        attempts += 1
        try:
            answer = client.send("POST", f"{bucket_url}/batch", body=body, headers=headers, commit=True).content
        except errors.BadRequestError as error:  # 422 if none of the operations was applied
            if error.response is None or '"failed"' not in error.response.text:
                raise
            answer = error.response.text.encode()
        failures = _failures(answer, [str(line["path"]) for line in lines])
        if attempts > 1:
            deleted = {str(line["path"]) for line in lines if line["type"] == "deleteFile"}
            asked = sorted(deleted & {failure["path"] for failure in failures})
            gone = {*asked} - {file.path for file in _paths_info(client, bucket_url, asked)}
            failures = [failure for failure in failures if failure["path"] not in gone]
        if failures:
            raise errors.BucketBatchError(failures, len(lines))

    client.session.retrying(send, policy)


@of_answer
def _failures(body: bytes, paths: Sequence[str]) -> list[dict[str, str]]:
    """Return the failures in the answer to a batch, which must account for each operation by its path."""
    answer = json.loads(body)
    failed = [{"path": str(each["path"]), "error": str(each.get("error", ""))} for each in answer["failed"]]
    foreign = Counter(each["path"] for each in failed) - Counter(paths)
    # What the Hub counts in `processed` is not documented; the other two tell what became of each operation.
    if foreign or answer["succeeded"] + len(failed) != len(paths) or not (failed or answer["success"] is True):
        raise errors.BadResponseError(
            f"The Hub does not say which of {len(paths)} operations it applied:"
            f" {answer['succeeded']} succeeded, {len(failed)} failed {' '.join(map(repr, foreign))}."
        )
    return failed


def _paths_info(client: HubClient, bucket_url: str, paths: Sequence[str]) -> Iterator[BucketFile]:
    for start in range(0, len(paths), DEFAULTS.bucket_operations):
        wanted = paths[start : start + DEFAULTS.bucket_operations]
        answer = client.json("POST", f"{bucket_url}/paths-info", json={"paths": wanted})
        if not isinstance(answer, list):
            raise errors.BadResponseError(f"{bucket_url} did not answer with a list.", url=bucket_url)
        yield from (file for entry in answer if isinstance(file := _parse(entry), BucketFile))


class BucketCalls(ApiContext):
    """Calls about buckets; users make a `hubspool.client.hf_api.HfApi`, which has them."""

    def bucket_url(self, bucket_id: str) -> str:
        """Return the address of a bucket's part of the API.

        Raises:
            HFValidationError: the id is not ``namespace/name``.
        """
        if check_repo_id(bucket_id).count("/") != 1:
            raise errors.HFValidationError(f"Not the id of a bucket: {bucket_id!r}.", hint="Use 'namespace/name'.")
        return f"{self.endpoint}/api/buckets/{bucket_id}"

    def create_bucket(
        self, bucket_id: str, *, private: bool | None = None, exist_ok: bool = False, token: bool | str | None = None
    ) -> BucketUrl:
        """Create a bucket, in the user's own namespace where `bucket_id` has none.

        Args:
            bucket_id: ``name`` or ``namespace/name``.
            private: whether only its owners see it; None leaves that to the account's settings.
            exist_ok: return the address of a bucket that exists already, instead of raising.
            token: a token in place of the object's own.

        Raises:
            ConflictError: the bucket exists already.
        """
        named = bucket_id if "/" in check_repo_id(bucket_id) else f"me/{bucket_id}"
        body = {} if private is None else {"visibility": "private" if private else "public"}
        url = self.bucket_url(named)
        try:
            created = self.client(token).json("POST", url, policy=UNLESS_APPLIED, json=body)
        except errors.HfHubHTTPError as error:
            if not exist_ok or not self._exists(bucket_id, token, error):
                raise
            created = error.details or {"url": f"{self.endpoint}/buckets/{bucket_id}"}
        return BucketUrl(created["url"], self.endpoint)

    def _exists(self, bucket_id: str, token: bool | str | None, error: errors.HfHubHTTPError) -> bool:
        """Return whether a bucket could not be created because it exists, or exists for a token that creates none."""
        if isinstance(error, errors.ConflictError):
            return "url" in (error.details or {})
        if error.status_code not in (401, 403) or "/" not in bucket_id:
            return False
        try:
            self.bucket_info(bucket_id, token=token)
        except errors.HfHubHTTPError:
            return False  # the first error says more
        return True

    def bucket_info(self, bucket_id: str, *, token: bool | str | None = None) -> BucketInfo:
        """Describe a bucket.

        Raises:
            RepositoryNotFoundError: there is no such bucket that this token may see.
        """
        return _parse_info(self.client(token).json("GET", self.bucket_url(bucket_id)))

    def delete_bucket(self, bucket_id: str, *, missing_ok: bool = False, token: bool | str | None = None) -> None:
        """Delete a bucket with all its files; this cannot be undone.

        Args:
            bucket_id: ``namespace/name``.
            missing_ok: do not raise if there is no such bucket.
            token: a token in place of the object's own.
        """
        try:
            self.client(token).request("DELETE", self.bucket_url(bucket_id), policy=UNLESS_APPLIED)
        except errors.RepositoryNotFoundError:
            if not missing_ok:
                raise

    def list_bucket_tree(
        self,
        bucket_id: str,
        prefix: str | None = None,
        *,
        recursive: bool | None = None,
        token: str | bool | None = None,
    ) -> Iterable[BucketFile | BucketFolder]:
        """Yield the files whose path begins with a text.

        Args:
            bucket_id: ``namespace/name``.
            prefix: the text, which need not be a folder: ``dat`` finds ``data/x``.
            recursive: False: the files and folders of one level; otherwise all files, and no folders.
            token: a token in place of the object's own.
        """
        url = f"{self.bucket_url(bucket_id)}/tree" + (f"/{quote(prefix, safe='')}" if prefix else "")
        params = {} if recursive is None else {"recursive": str(recursive).lower()}
        pages = self.client(token).pages(url, params)
        return (found for entry in pages if (found := _parse(entry)) is not None)

    def get_bucket_paths_info(
        self, bucket_id: str, paths: Iterable[str], *, token: str | bool | None = None
    ) -> Iterable[BucketFile]:
        """Yield the files at those of `paths` that exist; a folder is none."""
        return _paths_info(self.client(token), self.bucket_url(bucket_id), list(paths))

    def batch_bucket_files(
        self,
        bucket_id: str,
        *,
        add: Sequence[tuple[Source, str]] | None = None,
        copy: Sequence[tuple[str, str, str, str]] | None = None,
        delete: Sequence[str] | None = None,
        token: str | bool | None = None,
    ) -> None:
        """Add, copy and delete files.

        Not guaranteed: that all or none of it happens. More than 1,000 operations are sent in several batches: first
        copies, then additions, then deletions; a batch that fails in part does not keep the others from being sent.

        Args:
            bucket_id: ``namespace/name``.
            add: pairs of a content (a local path, bytes or a `FileRange`) and a path in the bucket.
            copy: type and id of the repository or bucket to copy from, Xet hash of the content, path in this bucket.
            delete: paths.
            token: a token in place of the object's own.

        Raises:
            BucketBatchError: the Hub did not apply some of the operations; all were sent.
            XetTransferError: the contents could not be sent, or Xet is switched off; nothing was changed since the last
                batch.
        """
        url, client = self.bucket_url(bucket_id), self.client(token)
        copies = [
            {"type": "copyFile", "path": path, "xetHash": xet_hash, "mtime": int(time.time() * 1000)}
            | {"sourceRepoType": kind, "sourceRepoId": source}
            for kind, source, xet_hash, path in copy or ()
        ]
        additions = [CommitOperationAdd(path, content) for content, path in add or ()]
        deletions = [{"type": "deleteFile", "path": path} for path in delete or ()]
        failures: list[dict[str, str]] = []
        whole: list[Any] = [*copies, *additions, *deletions]
        parts: list[list[Any]] = [whole] if len(whole) <= DEFAULTS.bucket_operations else [copies, additions, deletions]
        for part in parts:
            for start in range(0, len(part), DEFAULTS.bucket_operations):
                operations = part[start : start + DEFAULTS.bucket_operations]
                new = [operation for operation in operations if isinstance(operation, CommitOperationAdd)]
                self._uploader.upload_to_bucket(client, f"{url}/xet-write-token", new)
                lines = [add_line(each) if isinstance(each, CommitOperationAdd) else each for each in operations]
                try:
                    send_batch(client, url, lines)
                except errors.BucketBatchError as error:
                    failures += error.failures
        if failures:
            raise errors.BucketBatchError(failures, len(whole))

    def download_bucket_files(
        self,
        bucket_id: str,
        files: Sequence[tuple[str | BucketFile, str | Path]],
        *,
        raise_on_missing_files: bool = False,
        token: str | bool | None = None,
    ) -> None:
        """Download files; each appears complete or not at all.

        Args:
            bucket_id: ``namespace/name``.
            files: pairs of a path in the bucket, or a listed file, and a local path.
            raise_on_missing_files: raise if a path does not exist, in place of a warning.
            token: a token in place of the object's own.

        Raises:
            EntryNotFoundError: a file does not exist; nothing was downloaded.
        """
        import warnings

        from hubspool.client.download import download
        from hubspool.client.transfer.parallel import for_each

        client, url = self.client(token), self.bucket_url(bucket_id)
        paths = [path for path, _ in files if isinstance(path, str)]
        known = {file.path for file in _paths_info(client, url, paths)}
        if missing := [path for path in paths if path not in known]:
            text = f"{bucket_id} has no file {', '.join(map(repr, missing))}."
            if raise_on_missing_files:
                raise errors.EntryNotFoundError(text, path=missing[0])
            warnings.warn(text, stacklevel=2)

        def fetch(wanted: tuple[str | BucketFile, str | Path]) -> None:
            path = wanted[0].path if isinstance(wanted[0], BucketFile) else wanted[0]
            address = f"{self.endpoint}/buckets/{bucket_id}/resolve/{quote(path)}"
            download(client, address, Path(wanted[1]).expanduser(), force=True, local_only=False)

        present = [each for each in files if each[0] not in missing]
        for_each(present, fetch, DEFAULTS.lfs_threads)
