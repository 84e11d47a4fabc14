"""The part of `HfApi` about pull requests and discussions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from hubspool.client.refs import RefsApi
from hubspool.client.repo_info import parse_date
from hubspool.client.retry import UNLESS_APPLIED
from hubspool.client.target import Target
from hubspool.errors import HFValidationError


@dataclass(frozen=True)
class Discussion:
    """A discussion, or a pull request, of a repository.

    Attributes:
        num: Its number; discussions and pull requests share one sequence.
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
        """The revision of a pull request, None for a discussion."""
        return f"refs/pr/{self.num}" if self.is_pull_request else None

    @property
    def url(self) -> str:
        """Its page."""
        return f"{Target.of(self.endpoint, self.repo_id, self.repo_type).web_url}/discussions/{self.num}"


@dataclass(frozen=True)
class DiscussionWithDetails(Discussion):
    """A discussion with what happened in it.

    Attributes:
        events: As the Hub tells them (``type``, ``author``, ``createdAt``, ``data``).
        target_branch, merge_commit_oid, conflicting_files, diff: Of pull requests only.
    """

    events: list[Mapping[str, Any]] = field(default_factory=list)
    conflicting_files: list[str] | bool | None = None
    target_branch: str | None = None
    merge_commit_oid: str | None = None
    diff: str | None = None


class PullRequestApi(RefsApi):
    """Calls about pull requests; see `hubspool.client.hf_api.HfApi`, which is what users make."""

    def get_repo_discussions(
        self,
        repo_id: str,
        *,
        author: str | None = None,
        discussion_type: str | None = None,
        discussion_status: str | None = None,
        repo_type: str | None = None,
        token: str | bool | None = None,
    ) -> Iterator[Discussion]:
        """Yield discussions and pull requests.

        Args:
            discussion_type: ``discussion`` or ``pull_request``; None and ``all`` mean both.
            discussion_status: ``open`` or ``closed``; None and ``all`` mean both.
        """
        client, url = self._client(token), self._discussions_url(repo_id, repo_type)
        given = {"type": discussion_type, "status": discussion_status, "author": author}
        params: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        page, seen, count = 0, 0, 1
        while seen < count:
            found = client.json("GET", url, params={**params, "p": page})
            entries = found["discussions"]
            for entry in entries:
                yield Discussion(**self._fields(entry))
            page, seen, count = page + 1, found["start"] + len(entries), found["count"] if entries else 0

    def get_discussion_details(
        self, repo_id: str, discussion_num: int, *, repo_type: str | None = None, token: str | bool | None = None
    ) -> DiscussionWithDetails:
        """Return a discussion or pull request with its events."""
        url = self._discussions_url(repo_id, repo_type, discussion_num)
        found = self._client(token).json("GET", url, params={"diff": "1"})
        changes = found.get("changes") or {}
        return DiscussionWithDetails(
            **self._fields(found),
            events=list(found.get("events") or []),
            conflicting_files=found.get("filesWithConflicts"),
            target_branch=changes.get("base"),
            merge_commit_oid=changes.get("mergeCommitId"),
            diff=found.get("diff"),
        )

    def create_discussion(
        self,
        repo_id: str,
        title: str,
        *,
        token: str | bool | None = None,
        description: str | None = None,
        repo_type: str | None = None,
        pull_request: bool = False,
    ) -> DiscussionWithDetails:
        """Open a discussion, or with `pull_request` an empty pull request against the default branch."""
        body = {
            "title": title.strip(),
            "description": (description or "").strip() or "Opened with hubspool.",
            "pullRequest": pull_request,
        }
        url = self._discussions_url(repo_id, repo_type)
        opened = self._client(token).json("POST", url, policy=UNLESS_APPLIED, json=body)
        return self.get_discussion_details(repo_id, opened["num"], repo_type=repo_type, token=token)

    def create_pull_request(
        self,
        repo_id: str,
        title: str,
        *,
        token: str | bool | None = None,
        description: str | None = None,
        repo_type: str | None = None,
    ) -> DiscussionWithDetails:
        """Open an empty pull request; commits go to its `git_reference`."""
        return self.create_discussion(
            repo_id, title, token=token, description=description, repo_type=repo_type, pull_request=True
        )

    def comment_discussion(
        self,
        repo_id: str,
        discussion_num: int,
        comment: str,
        *,
        token: str | bool | None = None,
        repo_type: str | None = None,
    ) -> Mapping[str, Any]:
        """Add a comment, and return it as the Hub tells it."""
        answer = self._change(repo_id, discussion_num, "comment", {"comment": comment}, repo_type, token)
        event: Mapping[str, Any] = answer["newMessage"]
        return event

    def change_discussion_status(
        self,
        repo_id: str,
        discussion_num: int,
        new_status: str,
        *,
        token: str | bool | None = None,
        comment: str | None = None,
        repo_type: str | None = None,
    ) -> Mapping[str, Any]:
        """Open or close (``open``, ``closed``), and return the event as the Hub tells it."""
        if new_status not in ("open", "closed"):
            raise HFValidationError(f"Not a status: {new_status!r}.", hint="Use 'open' or 'closed'.")
        body = {"status": new_status, **_comment(comment)}
        event: Mapping[str, Any] = self._change(repo_id, discussion_num, "status", body, repo_type, token)["newStatus"]
        return event

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
        url = f"{self._discussions_url(repo_id, repo_type, discussion_num)}/merge"
        self._client(token).request("POST", url, policy=UNLESS_APPLIED, json=_comment(comment))

    def _change(
        self, repo_id: str, num: int, route: str, body: Any, repo_type: str | None, token: str | bool | None
    ) -> Any:
        url = f"{self._discussions_url(repo_id, repo_type, num)}/{route}"
        return self._client(token).json("POST", url, policy=UNLESS_APPLIED, json=body)

    def _discussions_url(self, repo_id: str, repo_type: str | None, num: int | None = None) -> str:
        if num is not None and (not isinstance(num, int) or num <= 0):
            raise HFValidationError(f"Not the number of a discussion: {num!r}.")
        url = f"{self._target(repo_id, repo_type).api_url}/discussions"
        return url if num is None else f"{url}/{num}"

    def _fields(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "title": entry["title"],
            "num": entry["num"],
            "author": (entry.get("author") or {}).get("name", "deleted"),
            "created_at": parse_date(entry["createdAt"]),
            "status": entry["status"],
            "repo_id": entry["repo"]["name"],
            "repo_type": entry["repo"]["type"],
            "is_pull_request": bool(entry.get("isPullRequest")),
            "endpoint": self.endpoint,
        }


def _comment(comment: str | None) -> dict[str, str]:
    return {"comment": comment.strip()} if comment and comment.strip() else {}
