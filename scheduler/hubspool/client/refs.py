"""Calls of `HfApi` about branches, tags and histories."""

from __future__ import annotations

from collections.abc import Mapping

from hubspool.client.context import ApiContext
from hubspool.client.repo_info import GitRefInfo, GitRefs
from hubspool.client.retry import UNLESS_APPLIED
from hubspool.errors import ConflictError, ForbiddenError, HfHubHTTPError


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
