"""The part of `HfApi` that commits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Literal

from hubspool.client.background import future_compatible
from hubspool.client.commit import UploadRules, check_operations, check_readme, post_commit, select_changes, text_of
from hubspool.client.commit_body import CommitRequest
from hubspool.client.copies import resolve_copies
from hubspool.client.file_range import FileRange
from hubspool.client.folder import find_files, folder_additions, folder_deletions
from hubspool.client.operations import CommitOperation, CommitOperationAdd, CommitOperationDelete
from hubspool.client.patterns import Patterns
from hubspool.client.preupload import preupload
from hubspool.client.progress import Progress
from hubspool.client.pull_requests import PullRequestApi
from hubspool.client.repo_info import CommitInfo, RepoUrl
from hubspool.client.target import Target
from hubspool.client.transfer import TransferOptions, TransferReport, Uploader
from hubspool.errors import RequestError

#: Contents larger than this, in all, get a progress bar.
_SHOWN_BYTES = 10_000_000


class CommitApi(PullRequestApi):
    """Calls that commit; see `hubspool.client.hf_api.HfApi`, which is what users make."""

    _uploader: Uploader

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
        num_threads: int = 5,
        parent_commit: str | None = None,
        run_as_future: Literal[False] = False,  # noqa: ARG002 - read by the decorator
    ) -> CommitInfo:
        """Make one commit of several operations: all of them or none.

        Additions and copies of content that the Hub has at that path, and additions that a ``.gitignore`` leaves out,
        are dropped; when nothing is left no commit is made, and the result's `is_noop` says so.

        Args:
            repo_id: ``namespace/name``.
            operations: Additions, deletions and copies. An addition can be in one commit only.
            commit_message: First line.
            commit_description: The rest; sent exactly as given.
            revision: Branch, ``main`` by default.
            create_pr: Open a pull request and commit to it. Where neither `revision` nor `parent_commit` is given it is
                opened first: when the commit then fails, the error's hint names the revision to go on with.
            num_threads: Files that are sent at the same time over LFS.
            parent_commit: Head that the branch must have.
            run_as_future: Return a future, and work in the background.

        Raises:
            HFValidationError: Something was refused before anything was sent.
            ParentCommitMismatchError: The branch has another head.
            RequestError: Anything else; ``error.outcome`` says whether the commit may exist.
        """
        client = self._client(token)
        target = self._target(repo_id, repo_type, revision)
        request = CommitRequest(commit_message, commit_description or "", parent_commit, bool(create_pr))
        operations = list(operations)
        check_operations(operations)
        additions = [op for op in operations if isinstance(op, CommitOperationAdd)]
        check_readme(client, target, additions)
        size = sum(op.size for op in additions if op.upload_mode != "regular" and not op._is_uploaded)
        with Progress("Uploading", size) if size > _SHOWN_BYTES else nullcontext() as progress:
            options = TransferOptions(num_threads=num_threads, on_progress=progress.update if progress else None)
            rules = _rules(additions, create_pr)
            preupload(client, target, additions, rules, self._uploader, options, one_commit=True)
        changes = select_changes(resolve_copies(self, target, operations, token))
        if not changes:
            return self._unchanged(target, request, token)
        if create_pr and revision is None and parent_commit is None:
            return self._commit_to_new_pr(target, request, changes, token)
        info = post_commit(client, target, request, changes)
        for addition in additions:
            addition._is_committed = True
        return info

    def _unchanged(self, target: Target, request: CommitRequest, token: str | bool | None) -> CommitInfo:
        head = self.repo_info(target.repo_id, repo_type=target.repo_type, revision=target.revision, token=token).sha
        return CommitInfo(
            commit_url=target.commit_url(head or ""),
            commit_message=request.message,
            commit_description=request.description,
            oid=head or "",
            repo_url=RepoUrl(target.web_url, self.endpoint),
            is_noop=True,
        )

    def _commit_to_new_pr(
        self, target: Target, request: CommitRequest, changes: Sequence[CommitOperation], token: str | bool | None
    ) -> CommitInfo:
        """Open the pull request, then commit to it: a commit that opens one itself might, repeated, open two."""
        opened = self.create_pull_request(
            target.repo_id,
            _title(request.message),
            token=token,
            description=request.description,
            repo_type=target.repo_type,
        )
        to_pr = replace(target, revision=f"refs/pr/{opened.num}")
        try:
            info = post_commit(self._client(token), to_pr, replace(request, create_pr=False), changes)
        except RequestError as error:
            error.hint = f"{error.hint} To go on in {opened.url}, pass revision={to_pr.revision!r}.".strip()
            raise
        return replace(info, pr_url=opened.url)

    def preupload_lfs_files(
        self,
        repo_id: str,
        additions: Iterable[CommitOperationAdd],
        *,
        token: str | bool | None = None,
        repo_type: str | None = None,
        revision: str | None = None,
        create_pr: bool | None = None,
        num_threads: int = 5,
        free_memory: bool = True,
        gitignore_content: str | None = None,
        gitattributes_content: str | None = None,
        options: TransferOptions | None = None,
    ) -> TransferReport:
        """Send large contents before the commit that will name them; regular files stay as they are.

        Nothing that is sent can be reached before a commit. Each addition then knows how it is to be committed, and
        `create_commit` does not send it again.

        Args:
            additions: They are changed: upload mode, ids, and with `free_memory` their content is let go.
            num_threads: Files that are sent at the same time over LFS.
            free_memory: Let go of contents that were sent.
            gitignore_content, gitattributes_content: Rules that count as if they were in the commit; by default those
                among `additions`.
            options: More about the transfer, in place of `num_threads`.

        Returns:
            What was looked at and what travelled.
        """
        additions = list(additions)
        return preupload(
            self._client(token),
            self._target(repo_id, repo_type, revision),
            additions,
            _rules(additions, create_pr, gitignore_content, gitattributes_content),
            self._uploader,
            options or TransferOptions(num_threads=num_threads),
            free_memory=free_memory,
        )

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
        """Commit one file: a local path, `bytes` or a binary file object; the rest as in `create_commit`."""
        addition = CommitOperationAdd(path_in_repo, path_or_fileobj)
        return self.create_commit(
            repo_id,
            [addition],
            commit_message=commit_message or f"Upload {addition.path_in_repo} with hubspool",
            commit_description=commit_description,
            token=token,
            repo_type=repo_type,
            revision=revision,
            create_pr=create_pr,
            parent_commit=parent_commit,
        )

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
        """Commit the files of a folder, in one commit; the rest as in `create_commit`.

        Not guaranteed: that files which change meanwhile fit each other. A file that grows is sent as it was when the
        folder was listed; one that is rewritten while it is sent is an error, and nothing is committed.

        ``.git`` and ``.cache`` folders are never sent, and the root ``.gitignore`` (of the folder, else of the Hub)
        counts. Content that the Hub has is not sent again, also not what a call that broke off has sent.

        Args:
            folder_path: The folder (``~`` is expanded).
            path_in_repo: Folder that it goes to; the root by default.
            allow_patterns, ignore_patterns: Globs over paths in the folder: send only what matches one of these, and
                nothing that matches one of those.
            delete_patterns: Globs over remote paths below `path_in_repo`: what matches and is not in the folder is
                deleted by the same commit.

        Raises:
            HFValidationError: No such folder, a name that the Hub does not take, or more than one commit can carry.
        """
        additions = folder_additions(find_files(folder_path, allow_patterns, ignore_patterns), path_in_repo)
        deletions = self._deletions(repo_id, path_in_repo, delete_patterns, token, repo_type, revision)
        written = {addition.path_in_repo for addition in additions} if deletions else set()
        return self.create_commit(
            repo_id,
            [*(deletion for deletion in deletions if deletion.path_in_repo not in written), *additions],
            commit_message=commit_message or "Upload folder with hubspool",
            commit_description=commit_description,
            token=token,
            repo_type=repo_type,
            revision=revision,
            create_pr=create_pr,
            parent_commit=parent_commit,
        )

    def _deletions(
        self,
        repo_id: str,
        path_in_repo: str | None,
        patterns: Patterns,
        token: str | bool | None,
        repo_type: str | None,
        revision: str | None,
    ) -> list[CommitOperationDelete]:
        if patterns is None:
            return []
        remote = self.list_repo_files(repo_id, revision=revision, repo_type=repo_type, token=token)
        return folder_deletions(remote, path_in_repo, patterns)

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
        return self.create_commit(
            repo_id,
            [CommitOperationDelete(path_in_repo)],
            commit_message=commit_message or f"Delete {path_in_repo} with hubspool",
            commit_description=commit_description,
            token=token,
            repo_type=repo_type,
            revision=revision,
            create_pr=create_pr,
            parent_commit=parent_commit,
        )

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
        return self.create_commit(
            repo_id,
            self._deletions(repo_id, None, delete_patterns, token, repo_type, revision),
            commit_message=commit_message or f"Delete files {' '.join(delete_patterns)} with hubspool",
            commit_description=commit_description,
            token=token,
            repo_type=repo_type,
            revision=revision,
            create_pr=create_pr,
            parent_commit=parent_commit,
        )

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
        """Delete a folder with all that is in it, in a commit of its own."""
        return self.create_commit(
            repo_id,
            [CommitOperationDelete(path_in_repo, is_folder=True)],
            commit_message=commit_message or f"Delete folder {path_in_repo} with hubspool",
            commit_description=commit_description,
            token=token,
            repo_type=repo_type,
            revision=revision,
            create_pr=create_pr,
            parent_commit=parent_commit,
        )


def _title(message: str) -> str:
    """Return the title of a pull request; the Hub takes 3 to 200 characters."""
    title = message.strip().splitlines()[0] if message.strip() else ""
    return title[:200] if len(title) >= 3 else f"Commit {title}".strip()


def _rules(
    additions: Sequence[CommitOperationAdd],
    create_pr: bool | None,
    gitignore: str | None = None,
    gitattributes: str | None = None,
) -> UploadRules:
    """Return what the Hub is told: rules that are given, else those among the additions."""
    if gitignore is None:
        gitignore = text_of(additions, ".gitignore")
    if gitattributes is None:
        gitattributes = text_of(additions, ".gitattributes")
    return UploadRules(bool(create_pr), gitignore, gitattributes)
