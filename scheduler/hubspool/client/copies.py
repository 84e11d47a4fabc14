"""Replaces copies by additions: large files by reference, regular files with their content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hubspool.client.defaults import DEFAULTS
from hubspool.client.http import HubClient
from hubspool.client.operations import CommitOperation, CommitOperationAdd, CommitOperationCopy
from hubspool.client.repo_info import RepoFile, RepoFolder
from hubspool.client.repos import fetch_paths_info
from hubspool.client.target import Target
from hubspool.errors import BadRequestError, EntryNotFoundError, HFValidationError


def resolve_copies(client: HubClient, target: Target, operations: Sequence[CommitOperation]) -> list[CommitOperation]:
    """Return the operations with an addition in place of each copy.

    A large file's content is not sent: the addition names its sha256, after a request told the Hub that another
    repository has it too. The content of a regular file is fetched, and kept in memory until it is committed.

    Raises:
        EntryNotFoundError: the repository has no such file.
        HFValidationError: the path is a folder.
        BadRequestError: the Hub could not take over an object from the other repository.
    """
    copies = [operation for operation in operations if isinstance(operation, CommitOperationCopy)]
    if not copies:
        return list(operations)
    present = _files(client, target, [copy.path_in_repo for copy in copies])
    additions: dict[int, CommitOperationAdd] = {}
    by_source: dict[Target, list[CommitOperationCopy]] = {}
    for copy in copies:
        by_source.setdefault(_source(copy, target), []).append(copy)
    for source, wanted in by_source.items():
        found = _files(client, source, [copy.src_path_in_repo for copy in wanted])
        for copy in wanted:
            file = found.get(copy.src_path_in_repo)
            if file is None:
                raise EntryNotFoundError(
                    f"Cannot copy {copy.src_path_in_repo!r}: {source.repo_id} has no such file at {source.revision}.",
                    path=copy.src_path_in_repo,
                )
            additions[id(copy)] = _addition(client, source, file, copy.path_in_repo, present.get(copy.path_in_repo))
        if (source.repo_type, source.repo_id) != (target.repo_type, target.repo_id):
            _duplicate(client, source, target, [found[copy.src_path_in_repo] for copy in wanted])
    return [additions.get(id(operation), operation) for operation in operations]


def _source(copy: CommitOperationCopy, target: Target) -> Target:
    if copy.src_repo_id is None:
        return replace(target, revision=copy.src_revision or target.revision)
    return Target.of(target.endpoint, copy.src_repo_id, copy.src_repo_type, copy.src_revision)


def _files(client: HubClient, target: Target, paths: Sequence[str]) -> dict[str, RepoFile]:
    found = fetch_paths_info(client, target, paths)
    for entry in found:
        if isinstance(entry, RepoFolder):
            raise HFValidationError(
                f"{entry.path!r} is a folder of {target.repo_id}; only files are copied.",
                hint="Make a CommitOperationCopy for each of its files.",
                path=entry.path,
            )
    return {entry.path: entry for entry in found if isinstance(entry, RepoFile)}


def _addition(
    client: HubClient, source: Target, file: RepoFile, path: str, present: RepoFile | None
) -> CommitOperationAdd:
    """Return the addition of `file` at `path`, where the target has `present`."""
    remote_oid = None
    if present is not None and (present.lfs is None) == (file.lfs is None):  # ids of two kinds cannot be compared
        remote_oid = present.content_id
    if file.lfs is not None:
        return CommitOperationAdd.of_stored(path, file.lfs.sha256, file.lfs.size, remote_oid=remote_oid)
    addition = CommitOperationAdd(path, client.content(source.file_url(file.path), file.size))
    addition.set_upload_mode("regular", remote_oid=remote_oid)
    return addition


def _duplicate(client: HubClient, source: Target, target: Target, files: Sequence[RepoFile]) -> None:
    """Tell the Hub that `target` is going to name large objects of `source`."""
    objects = {
        file.lfs.sha256: {"xetHash": file.xet_hash, "sha256": file.lfs.sha256, "filename": file.path}
        for file in files
        if file.lfs is not None
    }
    entries = list(objects.values())
    for first in range(0, len(entries), DEFAULTS.copies_per_request):
        answer = client.json(
            "POST",
            f"{source.api_url}/lfs-files/duplicate",
            json={
                "target": {"type": target.repo_type, "name": target.repo_id},
                "files": entries[first : first + DEFAULTS.copies_per_request],
            },
        )
        if failed := answer.get("failed"):
            reasons = "; ".join(f"{each.get('sha256')}: {each.get('error')}" for each in failed)
            raise BadRequestError(
                f"{target.repo_id} cannot take over files of {source.repo_id}: {reasons}", status_code=400
            )
