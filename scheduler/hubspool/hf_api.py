"""`HfApi`: the commit client, with the names and signatures of huggingface_hub."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import BinaryIO, Literal, ParamSpec, TypeVar, overload

from hubspool.background import BackgroundJobs, future_compatible
from hubspool.commits import (
    CommitRequest,
    check_operations,
    check_readme,
    fetch_upload_modes,
    post_commit,
    select_changes,
    text_of,
)
from hubspool.download import download
from hubspool.errors import HFValidationError
from hubspool.file_range import FileRange
from hubspool.operations import CommitOperation, CommitOperationAdd
from hubspool.repo_api import RepoApi
from hubspool.repo_info import CommitInfo, RepoUrl
from hubspool.session import HubSession
from hubspool.session import user_agent as introduction
from hubspool.settings import Settings, check_endpoint
from hubspool.transfer import TransferOptions, TransferReport, Uploader
from hubspool.validation import check_path_in_repo

__all__ = ["HfApi"]

P = ParamSpec("P")
R = TypeVar("R")


class HfApi(RepoApi):
    """Talks to a Hub: makes repositories, commits files, reads them back.

    Not guaranteed: that a call that fails did nothing. Every error has an `outcome`; only where that is
    `Outcome.NOT_APPLIED` is it certain.

    Every request has a time-out (HUBSPOOL_TIMEOUT, seconds of silence). Transient failures are tried again,
    within bounds; a commit only while it certainly was not applied.

    Args:
        endpoint: Address of the Hub; by default HF_ENDPOINT, then https://huggingface.co.
        token: A token; None looks in HF_TOKEN and in the token file at each call; False sends none.
        library_name, library_version, user_agent: Added to the User-Agent header.
        headers: Sent with every request to the Hub.

    Thread-safety: one object may be used by several threads, and after a fork by the child.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        token: str | bool | None = None,
        library_name: str | None = None,
        library_version: str | None = None,
        user_agent: Mapping[str, str] | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.endpoint = Settings.from_env().endpoint if endpoint is None else check_endpoint(endpoint, "endpoint")
        self.token = token
        self.library_name = library_name
        self.library_version = library_version
        self.user_agent = user_agent
        self.headers = headers
        self.session = HubSession(headers={"User-Agent": self._introduction(), **(headers or {})})
        self._whoami_cache = {}
        self._uploader = Uploader()
        self._jobs = BackgroundJobs()

    @property
    def interrupt(self) -> threading.Event:
        """Once set, retries stop waiting and transfers end; calls fail with their last error."""
        return self.session.interrupt

    def _introduction(self) -> str:
        parts: list[str] = []
        if self.library_name:
            parts.append(f"{self.library_name}/{self.library_version or 'unknown'}")
        if isinstance(self.user_agent, str):
            parts.append(self.user_agent)
        elif self.user_agent:
            parts += [f"{name}/{value}" for name, value in self.user_agent.items()]
        return introduction("; ".join(parts))

    def run_as_future(self, fn: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Run ``fn(*args, **kwargs)`` in the background, after all that was queued on this object before.

        The interpreter does not end before the queue is empty.
        """
        return self._jobs.submit(fn, *args, **kwargs)

    @overload
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
        run_as_future: Literal[False] = ...,
    ) -> CommitInfo: ...

    @overload
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
        run_as_future: Literal[True],
    ) -> Future[CommitInfo]: ...

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
        run_as_future: bool = False,  # noqa: ARG002 - read by the decorator
    ) -> CommitInfo:
        """Make one commit of several operations: all of them or none.

        Additions of content that the Hub has at that path, and those that a ``.gitignore`` leaves out, are
        dropped; when nothing is left no commit is made, and the result's `is_noop` says so.

        Args:
            repo_id: ``namespace/name``.
            operations: Additions and deletions. An addition can be in one commit only.
            commit_message: First line.
            commit_description: The rest; sent exactly as given.
            revision: Branch, ``main`` by default.
            create_pr: Open a pull request instead.
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
        self.preupload_lfs_files(
            repo_id,
            additions,
            token=token,
            repo_type=repo_type,
            revision=revision,
            create_pr=create_pr,
            num_threads=num_threads,
            free_memory=False,
        )
        changes = select_changes(operations)
        if not changes:
            head = self.repo_info(repo_id, repo_type=repo_type, revision=target.revision, token=token).sha or ""
            return CommitInfo(
                commit_url=target.commit_url(head),
                commit_message=request.message,
                commit_description=request.description,
                oid=head,
                repo_url=RepoUrl(target.web_url, self.endpoint),
                is_noop=True,
            )
        info = post_commit(client, target, request, changes)
        for addition in additions:
            addition._is_committed = True
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
        num_threads: int = 5,
        free_memory: bool = True,
        gitignore_content: str | None = None,
        gitattributes_content: str | None = None,
        options: TransferOptions | None = None,
    ) -> TransferReport:
        """Send large contents before the commit that will name them; regular files stay as they are.

        Nothing that is sent can be reached before a commit. Each addition then knows how it is to be
        committed, and `create_commit` does not send it again.

        Args:
            additions: They are changed: upload mode, ids, and with `free_memory` their content is let go.
            num_threads: Files that are sent at the same time over LFS.
            free_memory: Let go of contents that were sent.
            gitignore_content, gitattributes_content: Rules that count as if they were in the commit; by
                default those among `additions`.
            options: More about the transfer, in place of `num_threads`.

        Returns:
            What was looked at and what travelled.
        """
        client = self._client(token)
        target = self._target(repo_id, repo_type, revision)
        additions = list(additions)
        unknown = [addition for addition in additions if addition.upload_mode is None]
        fetch_upload_modes(
            client,
            target,
            unknown,
            create_pr=bool(create_pr),
            gitignore=gitignore_content if gitignore_content is not None else text_of(additions, ".gitignore"),
            gitattributes=(
                gitattributes_content if gitattributes_content is not None else text_of(additions, ".gitattributes")
            ),
        )
        wanted = [
            addition
            for addition in additions
            if addition.upload_mode == "lfs" and not addition._is_uploaded and not addition.should_ignore
        ]
        missing = [addition for addition in wanted if not addition.is_unchanged]
        report = self._uploader.upload(
            client,
            target,
            missing,
            options or TransferOptions(num_threads=num_threads),
            create_pr=bool(create_pr),
        )
        for addition in wanted:
            addition._is_uploaded = True
            if free_memory:
                addition.release()
        return report

    @overload
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
        run_as_future: Literal[False] = ...,
    ) -> CommitInfo: ...

    @overload
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
        run_as_future: Literal[True],
    ) -> Future[CommitInfo]: ...

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
        run_as_future: bool = False,  # noqa: ARG002 - read by the decorator
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

    def hf_hub_download(
        self,
        repo_id: str,
        filename: str,
        *,
        subfolder: str | None = None,
        repo_type: str | None = None,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        local_dir: str | Path | None = None,
        force_download: bool = False,
        token: str | bool | None = None,
        local_files_only: bool = False,
    ) -> str:
        """Fetch one file into a local folder and return where it is.

        The file appears complete or not at all. One that is there with the Hub's content is not fetched
        again.

        Args:
            filename: Path in the repository.
            subfolder: Folder in the repository that `filename` is relative to.
            local_dir: Folder to fetch into; must be given.
            force_download: Fetch in any case.
            local_files_only: Do not ask the Hub: return the local file, or raise.

        Raises:
            LocalEntryNotFoundError: `local_files_only`, and there is no such file.
            RemoteEntryNotFoundError: The repository has no such file.
        """
        if local_dir is None or cache_dir is not None:
            raise HFValidationError(
                "hubspool keeps no download cache.", hint="Pass local_dir=..., the folder to fetch into."
            )
        path = check_path_in_repo(f"{subfolder.strip('/')}/{filename}" if subfolder else filename)
        destination = Path(local_dir).expanduser() / path
        url = self._target(repo_id, repo_type, revision).file_url(path)
        return download(self._client(token), url, destination, force=force_download, local_only=local_files_only)
