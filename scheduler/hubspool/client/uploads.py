"""Calls of `HfApi` that commit: upload files and folders, delete, change metadata."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

from hubspool.client.background import future_compatible
from hubspool.client.commit import (
    CommitRequest,
    check_operations,
    check_readme,
    commit_info,
    post_commit,
    select_changes,
)
from hubspool.client.context import ApiContext
from hubspool.client.copies import resolve_copies
from hubspool.client.defaults import DEFAULTS
from hubspool.client.file_range import FileRange
from hubspool.client.folder import find_files, folder_deletions, in_folder
from hubspool.client.http import HubClient
from hubspool.client.metadata import fetch_readme, merge_metadata
from hubspool.client.operations import CommitOperation, CommitOperationAdd, CommitOperationDelete
from hubspool.client.preupload import UploadRules, preupload
from hubspool.client.progress import Progress
from hubspool.client.refs import open_pull_request
from hubspool.client.repo_info import CommitInfo
from hubspool.client.repos import fetch_files, fetch_head
from hubspool.client.retry import METADATA
from hubspool.client.target import Target
from hubspool.client.transfer.options import TransferOptions, TransferReport
from hubspool.errors import RequestError

logger = logging.getLogger(__name__)


class CommitCalls(ApiContext):
    """Calls that commit; users make a `hubspool.client.hf_api.HfApi`, which has them.

    The default messages are huggingface_hub's, since programs look for them.
    """

    @future_compatible
    def create_commit(
        self,
        repo_id: str,
        operations: Iterable[CommitOperation],
        *,
        commit_message: str,
        commit_description: str | None = None,
        token: str | bool | None = None,
        repo_type: str | None = None,
        revision: str | None = None,
        create_pr: bool | None = None,
        num_threads: int = DEFAULTS.lfs_threads,
        parent_commit: str | None = None,
        run_as_future: Literal[False] = False,  # noqa: ARG002 - read by the decorator
    ) -> CommitInfo:
        """Commit several operations at once: all of them or none.

        Not guaranteed: that a call that fails committed nothing; ``error.outcome`` says what is known.

        Additions and copies of content that the Hub has at that path, and additions that a ``.gitignore`` leaves out,
        are dropped. If nothing is left, no commit is made and the result's `is_noop` is True.

        Args:
            repo_id: ``namespace/name``.
            operations: additions, deletions and copies. An addition can be in one commit only.
            commit_message: first line of the message.
            commit_description: rest of the message, sent exactly as given.
            token: a token in place of the object's own.
            repo_type: ``model`` (the default), ``dataset`` or ``space``.
            revision: branch, by default ``main``.
            create_pr: open a pull request and commit to it. Without `parent_commit`, and with no other `revision` than
                ``main``, it is opened before the commit: if the commit then fails, the error's hint names the revision
                to continue with.
            num_threads: files that are sent at the same time over LFS.
            parent_commit: head that the branch must have.
            run_as_future: return a future and work in the background.

        Raises:
            HFValidationError: a value was refused before anything was sent.
            ParentCommitMismatchError: the branch has another head.
            RequestError: another request failed; ``error.outcome`` says whether the commit may exist.
        """
        request = CommitRequest(commit_message, commit_description, parent_commit, create_pr)
        target = self.target(repo_id, repo_type, revision)
        return self._commit(self.client(token), target, list(operations), request, num_threads)

    def _commit(
        self,
        client: HubClient,
        target: Target,
        operations: Sequence[CommitOperation],
        request: CommitRequest,
        num_threads: int = DEFAULTS.lfs_threads,
    ) -> CommitInfo:
        """Send the large contents, then commit what changes something."""
        check_operations(operations)
        additions = [op for op in operations if isinstance(op, CommitOperationAdd)]
        check_readme(client, target, additions)
        size = sum(op.size for op in additions if op.upload_mode != "regular" and not op.is_uploaded)
        with Progress("Uploading", size) if size > DEFAULTS.progress_bytes else nullcontext() as progress:
            options = TransferOptions(num_threads=num_threads, on_progress=progress.update if progress else None)
            rules = UploadRules.of(additions, create_pr=request.create_pr)
            preupload(client, target, additions, rules, self._uploader, options, one_commit=True)
        changes = select_changes(resolve_copies(client, target, operations))
        if not changes:
            logger.warning("No files have been modified since last commit. Skipping to prevent empty commit.")
            return commit_info(target, request, fetch_head(client, target) or "", is_noop=True)
        opens_pr = request.create_pr and target.revision == "main" and request.parent_commit is None
        post = _commit_to_new_pr if opens_pr else post_commit
        info = post(client, target, request, changes)
        for addition in additions:
            addition.is_committed = True
        return info

    def preupload_lfs_files(
        self,
        repo_id: str,
        additions: Iterable[CommitOperationAdd],
        *,
        token: str | bool | None = None,
        repo_type: str | None = None,
        revision: str | None = None,
        create_pr: bool | None = None,
        num_threads: int = DEFAULTS.lfs_threads,
        free_memory: bool = True,
        gitignore_content: str | None = None,
        gitattributes_content: str | None = None,
        options: TransferOptions | None = None,
    ) -> TransferReport:
        """Upload large contents before the commit that will contain them; regular files are not sent.

        What is sent is invisible until a commit contains it. Each addition then has its upload mode, and
        `create_commit` does not send it again.

        Args:
            repo_id: ``namespace/name``.
            additions: get their upload mode and ids; with `free_memory` their content is dropped.
            token: a token in place of the object's own.
            repo_type: ``model`` (the default), ``dataset`` or ``space``.
            revision: branch, by default ``main``.
            create_pr: the commit will open a pull request.
            num_threads: files that are sent at the same time over LFS.
            free_memory: drop contents that were sent.
            gitignore_content, gitattributes_content: texts that count as if they were in the commit; by default those
                among `additions`.
            options: more settings of the transfer, in place of `num_threads`.

        Returns:
            Files that were checked and bytes that were sent.
        """
        additions = list(additions)
        client, target = self.client(token), self.target(repo_id, repo_type, revision)
        rules = UploadRules.of(
            additions, create_pr=create_pr, gitignore=gitignore_content, gitattributes=gitattributes_content
        )
        options = options or TransferOptions(num_threads=num_threads)
        return preupload(client, target, additions, rules, self._uploader, options, free_memory=free_memory)

    @future_compatible
    def upload_file(
        self,
        *,
        path_or_fileobj: str | Path | bytes | BinaryIO | FileRange,
        path_in_repo: str,
        repo_id: str,
        token: str | bool | None = None,
        repo_type: str | None = None,
        revision: str | None = None,
        commit_message: str | None = None,
        commit_description: str | None = None,
        create_pr: bool | None = None,
        parent_commit: str | None = None,
        run_as_future: Literal[False] = False,  # noqa: ARG002 - read by the decorator
    ) -> CommitInfo:
        """Commit one file: a local path, `bytes` or a binary file object; other arguments as in `create_commit`."""
        addition = CommitOperationAdd(path_in_repo, path_or_fileobj)
        message = commit_message or f"Upload {addition.path_in_repo} with huggingface_hub"
        request = CommitRequest(message, commit_description, parent_commit, create_pr)
        return self._commit(self.client(token), self.target(repo_id, repo_type, revision), [addition], request)

    @future_compatible
    def upload_folder(
        self,
        *,
        repo_id: str,
        folder_path: str | Path,
        path_in_repo: str | None = None,
        commit_message: str | None = None,
        commit_description: str | None = None,
        token: str | bool | None = None,
        repo_type: str | None = None,
        revision: str | None = None,
        create_pr: bool | None = None,
        parent_commit: str | None = None,
        allow_patterns: list[str] | str | None = None,
        ignore_patterns: list[str] | str | None = None,
        delete_patterns: list[str] | str | None = None,
        run_as_future: Literal[False] = False,  # noqa: ARG002 - read by the decorator
    ) -> CommitInfo:
        """Commit the files of a folder, in one commit; other arguments as in `create_commit`.

        Not guaranteed: that files which change during the call fit each other. A file that grows is sent as it was when
        the folder was listed; a file that is rewritten while it is sent raises, and nothing is committed.

        ``.git`` and ``.cache`` folders are never sent, and the root ``.gitignore`` (of the folder, else of the Hub)
        applies. Content that the Hub has is not sent again, even if an interrupted call sent it.

        Args:
            repo_id: ``namespace/name``.
            folder_path: local folder (``~`` is expanded).
            path_in_repo: folder in the repository, by default the root.
            allow_patterns, ignore_patterns: globs over paths in the folder: send files that match one of the first (by
                default all) and none of the second.
            delete_patterns: globs over the paths below `path_in_repo` on the Hub: files that match and are not in the
                local folder are deleted by the same commit.

        Raises:
            HFValidationError: there is no such folder, the Hub does not take a name, or one commit cannot carry it.
        """
        files = find_files(folder_path, allow_patterns, ignore_patterns)
        additions = [CommitOperationAdd(in_folder(path_in_repo, path), local) for path, local in files.items()]
        client, target = self.client(token), self.target(repo_id, repo_type, revision)
        message = commit_message or "Upload folder using huggingface_hub"
        request = CommitRequest(message, commit_description, parent_commit, create_pr)
        deletions = []
        if delete_patterns is not None:
            deletions = folder_deletions(fetch_files(client, target), path_in_repo, delete_patterns)
        written = {addition.path_in_repo for addition in additions} if deletions else set()
        kept = [deletion for deletion in deletions if deletion.path_in_repo not in written]
        return self._commit(client, target, [*kept, *additions], request)

    def delete_file(
        self,
        path_in_repo: str,
        repo_id: str,
        *,
        token: str | bool | None = None,
        repo_type: str | None = None,
        revision: str | None = None,
        commit_message: str | None = None,
        commit_description: str | None = None,
        create_pr: bool | None = None,
        parent_commit: str | None = None,
    ) -> CommitInfo:
        """Delete a file in a commit of its own."""
        message = commit_message or f"Delete {path_in_repo} with huggingface_hub"
        request = CommitRequest(message, commit_description, parent_commit, create_pr)
        client, target = self.client(token), self.target(repo_id, repo_type, revision)
        return self._commit(client, target, [CommitOperationDelete(path_in_repo)], request)

    def delete_files(
        self,
        repo_id: str,
        delete_patterns: list[str],
        *,
        token: str | bool | None = None,
        repo_type: str | None = None,
        revision: str | None = None,
        commit_message: str | None = None,
        commit_description: str | None = None,
        create_pr: bool | None = None,
        parent_commit: str | None = None,
    ) -> CommitInfo:
        """Delete the files that match any of the globs (``folder/`` means all below it), in one commit."""
        message = commit_message or f"Delete files {' '.join(delete_patterns)} with huggingface_hub"
        request = CommitRequest(message, commit_description, parent_commit, create_pr)
        client, target = self.client(token), self.target(repo_id, repo_type, revision)
        deletions = folder_deletions(fetch_files(client, target), None, delete_patterns)
        return self._commit(client, target, deletions, request)

    def delete_folder(
        self,
        path_in_repo: str,
        repo_id: str,
        *,
        token: str | bool | None = None,
        repo_type: str | None = None,
        revision: str | None = None,
        commit_message: str | None = None,
        commit_description: str | None = None,
        create_pr: bool | None = None,
        parent_commit: str | None = None,
    ) -> CommitInfo:
        """Delete a folder with everything in it, in a commit of its own."""
        message = commit_message or f"Delete folder {path_in_repo} with huggingface_hub"
        request = CommitRequest(message, commit_description, parent_commit, create_pr)
        client, target = self.client(token), self.target(repo_id, repo_type, revision)
        return self._commit(client, target, [CommitOperationDelete(path_in_repo, is_folder=True)], request)

    def metadata_update(
        self,
        repo_id: str,
        metadata: dict[str, Any],
        *,
        repo_type: str | None = None,
        overwrite: bool = False,
        token: str | bool | None = None,
        commit_message: str | None = None,
        commit_description: str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        parent_commit: str | None = None,
    ) -> str:
        """Merge fields into the front matter of README.md, and return the address of the commit.

        A missing README.md is created, except in a Space, which cannot be without one. Comments and the order of keys
        are kept. Without `parent_commit` a README.md that changes at the same time is read again.

        Args:
            repo_id: ``namespace/name``.
            metadata: fields to set. Results in ``model-index`` are merged: a metric that exists gets the new value,
                others are added.
            overwrite: replace values that exist and differ.

        Raises:
            HFValidationError: a value exists and differs, or the front matter is not a YAML mapping.
        """
        client, target = self.client(token), self.target(repo_id, repo_type, revision)
        message = commit_message or "Update metadata with huggingface_hub"
        request = CommitRequest(message, commit_description, parent_commit, create_pr)

        def update() -> CommitInfo:
            head = parent_commit or fetch_head(client, target)
            readme = fetch_readme(client, replace(target, revision=head or target.revision))
            text = merge_metadata(readme, metadata, repo_id, overwrite=overwrite)
            against_head = request if create_pr else replace(request, parent_commit=head)
            return self._commit(client, target, [CommitOperationAdd("README.md", text.encode())], against_head)

        # A repetition could open a second pull request, and cannot help where the caller named the head.
        once = create_pr or parent_commit is not None
        info = update() if once else client.session.retrying(update, METADATA)
        return info.pr_url or info.commit_url


def _commit_to_new_pr(
    client: HubClient, target: Target, request: CommitRequest, changes: Sequence[CommitOperation]
) -> CommitInfo:
    """Open the pull request, then commit to it: a repeated commit that opens one itself could open two."""
    opened = open_pull_request(client, target, _title(request.message), request.description)
    to_pr = replace(target, revision=f"refs/pr/{opened.num}")
    try:
        info = post_commit(client, to_pr, replace(request, create_pr=False), changes)
    except RequestError as error:
        error.hint = f"{error.hint} To continue in {opened.url}, pass revision={to_pr.revision!r}.".strip()
        raise
    return replace(info, pr_url=opened.url)


def _title(message: str) -> str:
    """Return the title of a pull request; the Hub takes 3 to 200 characters."""
    title = message.strip().splitlines()[0] if message.strip() else ""
    return title[:200] if len(title) >= 3 else f"Commit {title}".strip()
