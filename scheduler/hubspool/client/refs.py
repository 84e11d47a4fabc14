"""Calls of `HfApi` about branches, tags, histories and pull requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from hubspool.client.context import ApiContext
from hubspool.client.http import HubClient
from hubspool.client.repo_info import GitRefInfo, GitRefs, parse_date
from hubspool.client.retry import UNLESS_APPLIED
from hubspool.client.target import Target
from hubspool.errors import ConflictError, ForbiddenError, HfHubHTTPError, HFValidationError


class RefCalls(ApiContext):
    """Calls about references; users make a `hubspool.client.hf_api.HfApi`, which has them."""

    def list_repo_refs(
        self,
        repo_id: str,
        *,
        repo_type: str | None = None,
        include_pull_requests: bool = False,
        token: str | bool | None = None,
    ) -> GitRefs:
        """Return branches and tags, and with `include_pull_requests` the references of pull requests."""
        params = {"include_prs": "1"} if include_pull_requests else None
        found = self.client(token).json("GET", f"{self.target(repo_id, repo_type).api_url}/refs", params=params)

        def refs(kind: str) -> list[GitRefInfo]:
            return [GitRefInfo(ref["name"], ref["ref"], ref["targetCommit"]) for ref in found.get(kind) or []]

        return GitRefs(
            branches=refs("branches"),
            converts=refs("converts"),
            tags=refs("tags"),
            pull_requests=refs("pullRequests") if include_pull_requests else None,
        )

    def create_branch(
        self,
        repo_id: str,
        *,
        branch: str,
        revision: str | None = None,
        token: str | bool | None = None,
        repo_type: str | None = None,
        exist_ok: bool = False,
    ) -> None:
        """Create a branch that starts at `revision` (by default the head of ``main``).

        Raises:
            ConflictError: the branch exists, and `exist_ok` is False.
            BadRequestError: the Hub takes no branch of this name.
        """
        body = {} if revision is None else {"startingPoint": revision}
        url = self.target(repo_id, repo_type, branch).route("branch")
        try:
            self._create(url, body, token, exist_ok=exist_ok)
        except ForbiddenError:  # a token that may not create a branch can use an existing one
            if not (exist_ok and self._has_branch(repo_id, branch, repo_type, token)):
                raise

    def _has_branch(self, repo_id: str, branch: str, repo_type: str | None, token: str | bool | None) -> bool:
        try:
            refs = self.list_repo_refs(repo_id, repo_type=repo_type, token=token)
        except HfHubHTTPError:
            return False  # the error of the creation says more
        return any(ref.name == branch for ref in refs.branches)

    def _create(self, url: str, body: Mapping[str, str], token: str | bool | None, *, exist_ok: bool) -> None:
        try:
            self.client(token).request("POST", url, policy=UNLESS_APPLIED, json=body)
        except ConflictError as error:
            if not exist_ok or error.retryable:
                raise

    def delete_branch(
        self, repo_id: str, *, branch: str, token: str | bool | None = None, repo_type: str | None = None
    ) -> None:
        """Delete a branch; ``main`` cannot be deleted."""
        url = self.target(repo_id, repo_type, branch).route("branch")
        self.client(token).request("DELETE", url, policy=UNLESS_APPLIED)

    def create_tag(
        self,
        repo_id: str,
        *,
        tag: str,
        tag_message: str | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        repo_type: str | None = None,
        exist_ok: bool = False,
    ) -> None:
        """Tag `revision` (by default the head of ``main``).

        Raises:
            ConflictError: the tag exists, and `exist_ok` is False.
        """
        body = {"tag": tag} if tag_message is None else {"tag": tag, "message": tag_message}
        url = self.target(repo_id, repo_type, revision).route("tag")
        self._create(url, body, token, exist_ok=exist_ok)

    def delete_tag(
        self, repo_id: str, *, tag: str, token: str | bool | None = None, repo_type: str | None = None
    ) -> None:
        """Delete a tag; its commit stays."""
        url = self.target(repo_id, repo_type, tag).route("tag")
        self.client(token).request("DELETE", url, policy=UNLESS_APPLIED)

    def super_squash_history(
        self,
        repo_id: str,
        *,
        branch: str | None = None,
        commit_message: str | None = None,
        repo_type: str | None = None,
        token: str | bool | None = None,
    ) -> None:
        """Replace a branch's history by one commit; this cannot be undone."""
        target = self.target(repo_id, repo_type, branch)
        body = {"message": commit_message or f"Super-squash branch '{target.revision}' using huggingface_hub"}
        self.client(token).request("POST", target.route("super-squash"), policy=UNLESS_APPLIED, json=body)


@dataclass(frozen=True)
class Discussion:
    """A discussion or pull request of a repository.

    Attributes:
        num: number of the discussion; discussions and pull requests share one sequence.
        status: ``open``, ``closed``, ``merged`` or ``draft``.
    """

    title: str
    num: int
    author: str
    created_at: datetime
    status: str
    repo_id: str
    repo_type: str
    is_pull_request: bool
    endpoint: str

    @property
    def git_reference(self) -> str | None:
        """The revision of a pull request; None for a discussion."""
        return f"refs/pr/{self.num}" if self.is_pull_request else None

    @property
    def url(self) -> str:
        """Address of its page."""
        return f"{Target.of(self.endpoint, self.repo_id, self.repo_type).web_url}/discussions/{self.num}"


@dataclass(frozen=True)
class DiscussionWithDetails(Discussion):
    """A discussion or pull request with its events.

    Attributes:
        events: as the Hub returns them (``type``, ``author``, ``createdAt``, ``data``).
        conflicting_files, target_branch, merge_commit_oid, diff: only of pull requests.
    """

    events: list[Mapping[str, Any]] = field(default_factory=list)
    conflicting_files: list[str] | bool | None = None
    target_branch: str | None = None
    merge_commit_oid: str | None = None
    diff: str | None = None


def fetch_discussion(client: HubClient, target: Target, num: int) -> DiscussionWithDetails:
    """Return a discussion or pull request of the target's repository."""
    found = client.json("GET", _discussion_url(target, num), params={"diff": "1"})
    changes = found.get("changes") or {}
    return DiscussionWithDetails(
        title=found["title"],
        num=found["num"],
        author=(found.get("author") or {}).get("name", "deleted"),
        created_at=parse_date(found["createdAt"]),
        status=found["status"],
        repo_id=found["repo"]["name"],
        repo_type=found["repo"]["type"],
        is_pull_request=bool(found.get("isPullRequest")),
        endpoint=target.endpoint,
        events=list(found.get("events") or []),
        conflicting_files=found.get("filesWithConflicts"),
        target_branch=changes.get("base"),
        merge_commit_oid=changes.get("mergeCommitId"),
        diff=found.get("diff"),
    )


def open_pull_request(
    client: HubClient, target: Target, title: str, description: str | None = None
) -> DiscussionWithDetails:
    """Open an empty pull request against the default branch of the target's repository."""
    body = {
        "title": title.strip(),
        "description": (description or "").strip() or "Opened with hubspool.",
        "pullRequest": True,
    }
    opened = client.json("POST", f"{target.api_url}/discussions", policy=UNLESS_APPLIED, json=body)
    return fetch_discussion(client, target, opened["num"])


def _discussion_url(target: Target, num: int) -> str:
    if not isinstance(num, int) or num <= 0:
        raise HFValidationError(f"Not the number of a discussion: {num!r}.")
    return f"{target.api_url}/discussions/{num}"


class PullRequestCalls(ApiContext):
    """Calls about pull requests; users make a `hubspool.client.hf_api.HfApi`, which has them."""

    def get_discussion_details(
        self, repo_id: str, discussion_num: int, *, repo_type: str | None = None, token: str | bool | None = None
    ) -> DiscussionWithDetails:
        """Return a pull request (or discussion) with its events."""
        return fetch_discussion(self.client(token), self.target(repo_id, repo_type), discussion_num)

    def create_pull_request(
        self,
        repo_id: str,
        title: str,
        *,
        token: str | bool | None = None,
        description: str | None = None,
        repo_type: str | None = None,
    ) -> DiscussionWithDetails:
        """Open an empty pull request against the default branch; commits go to its `git_reference`."""
        return open_pull_request(self.client(token), self.target(repo_id, repo_type), title, description)

    def merge_pull_request(
        self,
        repo_id: str,
        discussion_num: int,
        *,
        token: str | bool | None = None,
        comment: str | None = None,
        repo_type: str | None = None,
    ) -> None:
        """Merge a pull request into the branch that it was opened against."""
        url = f"{_discussion_url(self.target(repo_id, repo_type), discussion_num)}/merge"
        body = {"comment": comment.strip()} if comment and comment.strip() else {}
        self.client(token).request("POST", url, policy=UNLESS_APPLIED, json=body)
