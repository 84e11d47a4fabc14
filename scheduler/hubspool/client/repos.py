"""Calls of `HfApi` about repositories: create, delete, describe, list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from hubspool.client.context import ApiContext
from hubspool.client.defaults import DEFAULTS
from hubspool.client.http import HubClient
from hubspool.client.repo_info import (
    DatasetInfo,
    GitCommitInfo,
    ModelInfo,
    RepoFile,
    RepoFolder,
    RepoUrl,
    SpaceInfo,
    parse_commit,
    parse_entry,
    parse_repo,
)
from hubspool.client.retry import UNLESS_APPLIED
from hubspool.client.target import Target
from hubspool.client.validation import check_repo_id, check_repo_type
from hubspool.errors import (
    BadResponseError,
    ConflictError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)


def fetch_head(client: HubClient, target: Target) -> str | None:
    """Return the newest commit of a revision."""
    return parse_repo(client.json("GET", target.route("revision")), target.repo_type).sha


def fetch_tree(client: HubClient, target: Target, path: str = "", **params: bool) -> Iterable[RepoFile | RepoFolder]:
    """Yield what a folder of a revision holds; `params` are those of `RepoCalls.list_repo_tree`."""
    pages = client.pages(target.route("tree", path), {name: str(value) for name, value in params.items()})
    return (parse_entry(entry) for entry in pages)


def fetch_files(client: HubClient, target: Target) -> list[str]:
    """Return the paths of all files of a revision."""
    tree = fetch_tree(client, target, recursive=True, expand=False)
    return [entry.path for entry in tree if isinstance(entry, RepoFile)]


def fetch_paths_info(
    client: HubClient, target: Target, paths: Sequence[str], *, expand: bool = False
) -> list[RepoFile | RepoFolder]:
    """Return the files and folders at those of `paths` that exist."""
    url = target.route("paths-info")
    found: list[RepoFile | RepoFolder] = []
    for first in range(0, len(paths), DEFAULTS.paths_per_request):
        form = {"paths": paths[first : first + DEFAULTS.paths_per_request], "expand": str(expand)}
        found += [parse_entry(entry) for entry in client.json("POST", url, form=form)]
    return found


def _naming(repo_id: str, repo_type: str | None) -> dict[str, str | None]:
    """Return the fields with which the routes that create and delete repositories name one."""
    namespace, _, name = check_repo_id(repo_id).rpartition("/")
    return {"name": name, "organization": namespace or None, "type": check_repo_type(repo_type)}


class RepoCalls(ApiContext):
    """Calls about repositories; users make a `hubspool.client.hf_api.HfApi`, which has them."""

    _whoami_cache: dict[str, dict[str, Any]]

    def whoami(self, token: str | bool | None = None, *, cache: bool = False) -> dict[str, Any]:
        """Return the account that the token belongs to (``name``, ``orgs``, ``auth``).

        Args:
            token: a token in place of the object's own.
            cache: return what an earlier call with `cache` returned for this token.

        Raises:
            LocalTokenNotFoundError: there is no token.
            UnauthorizedError: the Hub refused the token.
        """
        client = self.client(token)
        if client.token is None:
            raise LocalTokenNotFoundError("whoami needs a token, but there is none.")
        if cache and client.token.value in self._whoami_cache:
            return self._whoami_cache[client.token.value]
        account: dict[str, Any] = client.json("GET", f"{self.endpoint}/api/whoami-v2")
        if not isinstance(account, dict) or not isinstance(account.get("name"), str):
            raise BadResponseError(f"{self.endpoint} does not say whose the token is.", url=self.endpoint)
        if cache:
            self._whoami_cache[client.token.value] = account
        return account

    def create_repo(
        self,
        repo_id: str,
        *,
        token: str | bool | None = None,
        private: bool | None = None,
        repo_type: str | None = None,
        exist_ok: bool = False,
        space_sdk: str | None = None,
    ) -> RepoUrl:
        """Create a repository, in the user's own namespace where `repo_id` has none.

        Args:
            repo_id: ``name`` or ``namespace/name``.
            token: a token in place of the object's own.
            private: whether only its owners see it; None leaves that to the account's settings.
            repo_type: ``model`` (the default), ``dataset`` or ``space``.
            exist_ok: return the address of a repository that exists already, instead of raising.
            space_sdk: ``gradio``, ``docker`` or ``static``; required for a Space.

        Raises:
            ConflictError: the repository exists already, or another operation on it did not end in time.
        """
        body = _naming(repo_id, repo_type)
        if body["type"] == "space" and not space_sdk:
            raise HFValidationError("A Space needs an SDK.", hint="Pass space_sdk='gradio', 'docker' or 'static'.")
        if private is not None:
            body["visibility"] = "private" if private else "public"
        if space_sdk is not None:
            body["sdk"] = space_sdk
        client = self.client(token)
        try:
            created = client.json("POST", f"{self.endpoint}/api/repos/create", policy=UNLESS_APPLIED, json=body)
        except HfHubHTTPError as error:
            existing = self._existing(repo_id, repo_type, token, error) if exist_ok else None
            if existing is None:
                raise
            return existing
        repo = RepoUrl(created["url"], self.endpoint)
        repo.is_new = True
        return repo

    def _existing(
        self, repo_id: str, repo_type: str | None, token: str | bool | None, error: HfHubHTTPError
    ) -> RepoUrl | None:
        """Return the address of a repository that could not be created because it exists; None for other errors."""
        if isinstance(error, ConflictError) and not error.retryable:
            url = (error.details or {}).get("url") or self.target(repo_id, repo_type).web_url
            return RepoUrl(url, self.endpoint)
        # A token that may write to this repository but create none gets one of these.
        if error.status_code in (401, 402, 403) and "/" in repo_id:
            try:
                if self.repo_exists(repo_id, repo_type=repo_type, token=token):
                    return RepoUrl(self.target(repo_id, repo_type).web_url, self.endpoint)
            except HfHubHTTPError:
                return None  # the first error says more
        return None

    def delete_repo(
        self,
        repo_id: str,
        *,
        token: str | bool | None = None,
        repo_type: str | None = None,
        missing_ok: bool = False,
    ) -> None:
        """Delete a repository with its whole history; this cannot be undone.

        Args:
            repo_id: ``name`` or ``namespace/name``.
            token: a token in place of the object's own.
            repo_type: ``model`` (the default), ``dataset`` or ``space``.
            missing_ok: do not raise if there is no such repository.
        """
        url, body = f"{self.endpoint}/api/repos/delete", _naming(repo_id, repo_type)
        try:
            self.client(token).request("DELETE", url, policy=UNLESS_APPLIED, json=body)
        except RepositoryNotFoundError:
            if not missing_ok:
                raise

    def repo_info(
        self,
        repo_id: str,
        *,
        revision: str | None = None,
        repo_type: str | None = None,
        timeout: float | None = None,
        files_metadata: bool = False,
        expand: str | Sequence[str] | None = None,
        token: str | bool | None = None,
    ) -> ModelInfo | DatasetInfo | SpaceInfo:
        """Describe a repository at a revision.

        Args:
            revision: branch, tag or commit; by default the head of ``main``.
            timeout: seconds that the answer may take.
            files_metadata: include size and id of each file.
            expand: fields that the Hub returns in place of its usual ones.
        """
        target = self.target(repo_id, repo_type, revision)
        params: dict[str, Any] = {"blobs": "True"} if files_metadata else {}
        if expand:
            params["expand"] = expand
        url = target.api_url if revision is None else target.route("revision")
        data = self.client(token).json("GET", url, params=params, timeout=timeout)
        return parse_repo(data, target.repo_type)

    def repo_exists(self, repo_id: str, *, repo_type: str | None = None, token: str | bool | None = None) -> bool:
        """Return whether the repository exists, as far as the token shows it."""
        try:
            self.repo_info(repo_id, repo_type=repo_type, token=token)
        except RepositoryNotFoundError as error:
            return isinstance(error, GatedRepoError)
        return True

    def revision_exists(
        self, repo_id: str, revision: str, *, repo_type: str | None = None, token: str | bool | None = None
    ) -> bool:
        """Return whether the repository has this branch, tag or commit."""
        try:
            self.repo_info(repo_id, revision=revision, repo_type=repo_type, token=token)
        except (RepositoryNotFoundError, RevisionNotFoundError):
            return False
        return True

    def file_exists(
        self,
        repo_id: str,
        filename: str,
        *,
        repo_type: str | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
    ) -> bool:
        """Return whether the repository has this file; a folder is not a file."""
        try:
            found = self.get_paths_info(repo_id, [filename], revision=revision, repo_type=repo_type, token=token)
        except GatedRepoError:
            raise
        except (RepositoryNotFoundError, RevisionNotFoundError, RemoteEntryNotFoundError):
            return False
        return any(isinstance(entry, RepoFile) for entry in found)

    def list_repo_files(
        self,
        repo_id: str,
        *,
        revision: str | None = None,
        repo_type: str | None = None,
        token: str | bool | None = None,
    ) -> list[str]:
        """Return the paths of all files."""
        return fetch_files(self.client(token), self.target(repo_id, repo_type, revision))

    def list_repo_tree(
        self,
        repo_id: str,
        path_in_repo: str | None = None,
        *,
        recursive: bool = False,
        expand: bool = False,
        revision: str | None = None,
        repo_type: str | None = None,
        token: str | bool | None = None,
    ) -> Iterable[RepoFile | RepoFolder]:
        """Yield the files and folders in a folder.

        Args:
            path_in_repo: the folder; the root by default.
            recursive: include the content of its folders.
            expand: include the commit that last changed each entry; pages are smaller then.
        """
        target, path = self.target(repo_id, repo_type, revision), (path_in_repo or "").strip("/")
        return fetch_tree(self.client(token), target, path, recursive=recursive, expand=expand)

    def list_repo_commits(
        self,
        repo_id: str,
        *,
        repo_type: str | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        formatted: bool = False,
    ) -> list[GitCommitInfo]:
        """Return the commits that lead to a revision, newest first."""
        url = self.target(repo_id, repo_type, revision).route("commits")
        pages = self.client(token).pages(url, {"expand[]": "formatted"} if formatted else None)
        return [parse_commit(entry) for entry in pages]

    def get_paths_info(
        self,
        repo_id: str,
        paths: Sequence[str] | str,
        *,
        expand: bool = False,
        revision: str | None = None,
        repo_type: str | None = None,
        token: str | bool | None = None,
    ) -> list[RepoFile | RepoFolder]:
        """Return the files and folders at those of `paths` that exist.

        Args:
            paths: one path or several.
            expand: include the commit that last changed each path.
        """
        wanted = [paths] if isinstance(paths, str) else list(paths)
        return fetch_paths_info(self.client(token), self.target(repo_id, repo_type, revision), wanted, expand=expand)
