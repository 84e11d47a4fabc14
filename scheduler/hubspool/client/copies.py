"""Copies as the additions that they come to: large files by reference, others with their content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from hubspool.client.operations import CommitOperation, CommitOperationAdd, CommitOperationCopy
from hubspool.client.repo_info import RepoFile, RepoFolder
from hubspool.client.repos import RepoApi
from hubspool.client.target import Target
from hubspool.errors import BadRequestError, EntryNotFoundError, HFValidationError

#: Objects that one request makes known to another repository.
_OBJECTS_PER_REQUEST = 500


def resolve_copies(
    api: RepoApi, target: Target, operations: Sequence[CommitOperation], token: str | bool | None
) -> list[CommitOperation]:
    """Return the operations with an addition in place of each copy.

    A large file's content does not travel: it is named by its sha256, after the Hub was told that another repository
    holds it too. The content of a regular file is fetched, and held until it is committed.

    Raises:
        EntryNotFoundError: The repository has no such file.
        HFValidationError: It is a folder.
        BadRequestError: The Hub could not take an object over from the other repository.
    """
    copies = [operation for operation in operations if isinstance(operation, CommitOperationCopy)]
    if not copies:
        return list(operations)
    there = _files(api, target, [copy.path_in_repo for copy in copies], token)
    made: dict[int, CommitOperationAdd] = {}
    by_source = sorted(copies, key=lambda copy: _key(_source(copy, target)))
    for source, group in groupby(by_source, key=lambda copy: _source(copy, target)):
        wanted = list(group)
        found = _files(api, source, [copy.src_path_in_repo for copy in wanted], token)
        for copy in wanted:
            file = found.get(copy.src_path_in_repo)
            if file is None:
                raise EntryNotFoundError(
                    f"Cannot copy {copy.src_path_in_repo!r}: {source.repo_id} has no such file at {source.revision}.",
                    path=copy.src_path_in_repo,
                )
            made[id(copy)] = _addition(api, source, file, copy.path_in_repo, token)
            _note_present(made[id(copy)], there.get(copy.path_in_repo))
        if (source.repo_type, source.repo_id) != (target.repo_type, target.repo_id):
            _duplicate(api, source, target, [found[copy.src_path_in_repo] for copy in wanted], token)
    return [made.get(id(operation), operation) for operation in operations]


def _source(copy: CommitOperationCopy, target: Target) -> Target:
    if copy.src_repo_id is None:
        return replace(target, revision=copy.src_revision or target.revision)
    return Target.of(target.endpoint, copy.src_repo_id, copy.src_repo_type, copy.src_revision)


def _key(target: Target) -> tuple[str, str, str]:
    return target.repo_type, target.repo_id, target.revision


def _files(api: RepoApi, target: Target, paths: Sequence[str], token: str | bool | None) -> dict[str, RepoFile]:
    found = api.get_paths_info(target.repo_id, paths, revision=target.revision, repo_type=target.repo_type, token=token)
    files = {entry.path: entry for entry in found if isinstance(entry, RepoFile)}
    for entry in found:
        if isinstance(entry, RepoFolder):
            raise HFValidationError(
                f"{entry.path!r} is a folder of {target.repo_id}; only files are copied.",
                hint="Make a CommitOperationCopy for each of its files.",
                path=entry.path,
            )
    return files


def _addition(api: RepoApi, source: Target, file: RepoFile, path: str, token: str | bool | None) -> CommitOperationAdd:
    if file.lfs is not None:
        return CommitOperationAdd.of_stored(path, file.lfs.sha256, file.lfs.size)
    content = api._client(token).request("GET", source.file_url(file.path), headers={"Accept-Encoding": "identity"})
    addition = CommitOperationAdd(path, content.content)
    addition._upload_mode = "regular"
    return addition


def _note_present(addition: CommitOperationAdd, file: RepoFile | None) -> None:
    """Note what stands at the destination, if it is stored in the same form."""
    if file is not None and (file.lfs is not None) == (addition.upload_mode == "lfs"):
        addition._remote_oid = file.content_id


def _duplicate(
    api: RepoApi, source: Target, target: Target, files: Sequence[RepoFile], token: str | bool | None
) -> None:
    """Tell the Hub that `target` is going to name large objects of `source`."""
    objects = {
        file.lfs.sha256: {"xetHash": file.xet_hash, "sha256": file.lfs.sha256, "filename": file.path}
        for file in files
        if file.lfs is not None
    }
    entries = list(objects.values())
    for first in range(0, len(entries), _OBJECTS_PER_REQUEST):
        answer = api._client(token).json(
            "POST",
            f"{source.api_url}/lfs-files/duplicate",
            json={
                "target": {"type": target.repo_type, "name": target.repo_id},
                "files": entries[first : first + _OBJECTS_PER_REQUEST],
            },
        )
        if failed := answer.get("failed"):
            reasons = "; ".join(f"{each.get('sha256')}: {each.get('error')}" for each in failed)
            raise BadRequestError(
                f"{target.repo_id} cannot take over files of {source.repo_id}: {reasons}", status_code=400
            )
