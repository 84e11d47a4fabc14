"""The part of `HfApi` about repositories: make, remove, describe, list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from hubspool.client.http import HubClient, HubSession
from hubspool.client.repo_info import (
    DatasetInfo,
    GitCommitInfo,
    ModelInfo,
    RepoFile,
    RepoFolder,
    RepoInfo,
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
    ConflictError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from hubspool.settings import find_token

#: The paths-info route answers 413 to many more.
PATHS_PER_REQUEST = 500


class RepoApi:
    """Calls about repositories; see `hubspool.client.hf_api.HfApi`, which is what users make."""

    endpoint: str
    token: str | bool | None
    session: HubSession
    _whoami_cache: dict[str, dict[str, Any]]

    def _client(self, token: str | bool | None = None) -> HubClient:
        return HubClient(self.session, self.endpoint, find_token(self.token if token is None else token))

    def _target(self, repo_id: str, repo_type: str | None, revision: str | None = None) -> Target:
        return Target.of(self.endpoint, repo_id, repo_type, revision)

    def whoami(self, token: str | bool | None = None, *, cache: bool = False) -> dict[str, Any]:
        """Return the account that the token belongs to (``name``, ``orgs``, ``auth``).

        Raises:
            LocalTokenNotFoundError: There is no token.
            UnauthorizedError: The token was refused.
        """
        client = self._client(token)
        if client.token is None:
            raise LocalTokenNotFoundError("whoami needs a token, but there is none.")
        if cache and client.token.value in self._whoami_cache:
            return self._whoami_cache[client.token.value]
        account: dict[str, Any] = client.json("GET", f"{self.endpoint}/api/whoami-v2")
        if cache:
            self._whoami_cache[client.token.value] = account
        return account

    def create_repo(
        self,
        repo_id: str,
        *,
        token: str | bool | None = None,
        private: bool | None = None,
        visibility: str | None = None,
        repo_type: str | None = None,
        exist_ok: bool = False,
        resource_group_id: str | None = None,
        region: str | None = None,
        space_sdk: str | None = None,
        space_hardware: str | None = None,
        space_sleep_time: int | None = None,
        space_secrets: Sequence[Mapping[str, str]] | None = None,
        space_variables: Sequence[Mapping[str, str]] | None = None,
        space_volumes: Sequence[Any] | None = None,
        space_template: str | None = None,
    ) -> RepoUrl:
        """Make a repository, the user's own where `repo_id` has no namespace.

        Args:
            repo_id: ``name`` or ``namespace/name``.
            private: Whether others cannot see it; None leaves that to the account's setting.
            visibility: ``public``, ``private`` or ``protected``, in place of `private`.
            exist_ok: A repository that is there already is as good.

        Raises:
            ConflictError: It exists already, or another operation on it did not end in time.
        """
        kind = check_repo_type(repo_type)
        namespace, _, name = check_repo_id(repo_id).rpartition("/")
        if kind == "space" and not space_sdk:
            raise HFValidationError("A Space needs an SDK.", hint="Pass space_sdk='gradio', 'docker' or 'static'.")
        optional: dict[str, Any] = {
            "visibility": _visibility(private, visibility),
            "resourceGroupId": resource_group_id,
            "region": region,
            "sdk": space_sdk,
            "hardware": space_hardware,
            "sleepTimeSeconds": space_sleep_time,
            "secrets": space_secrets,
            "variables": space_variables,
            "volumes": space_volumes,
            "template": space_template,
        }
        body: dict[str, Any] = {"name": name, "organization": namespace or None, "type": kind}
        body |= {key: value for key, value in optional.items() if value is not None}
        client = self._client(token)
        try:
            made = client.json("POST", f"{self.endpoint}/api/repos/create", policy=UNLESS_APPLIED, json=body)
        except HfHubHTTPError as error:
            found = self._existing(repo_id, kind, token, error) if exist_ok else None
            if found is None:
                raise
            return found
        return RepoUrl(made["url"], self.endpoint)

    def _existing(
        self, repo_id: str, repo_type: str, token: str | bool | None, error: HfHubHTTPError
    ) -> RepoUrl | None:
        """Return the address of a repository that could not be made because it is there already."""
        if isinstance(error, ConflictError) and not error.retryable:
            url = (error.details or {}).get("url") or self._target(repo_id, repo_type).web_url
            return RepoUrl(url, self.endpoint)
        # A token that may write to this repository but make none gets one of these.
        if error.status_code in (401, 402, 403) and "/" in repo_id:
            try:
                if self.repo_exists(repo_id, repo_type=repo_type, token=token):
                    return RepoUrl(self._target(repo_id, repo_type).web_url, self.endpoint)
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
        """Delete a repository with its whole history; there is no way back."""
        namespace, _, name = check_repo_id(repo_id).rpartition("/")
        body = {"name": name, "organization": namespace or None, "type": check_repo_type(repo_type)}
        try:
            self._client(token).request("DELETE", f"{self.endpoint}/api/repos/delete", policy=UNLESS_APPLIED, json=body)
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
            timeout: Seconds that the request may be silent.
            files_metadata: With size and id of each file.
            expand: Fields that the Hub is to give, in place of its usual ones.
        """
        target = self._target(repo_id, repo_type, revision)
        params: dict[str, Any] = {"blobs": "True"} if files_metadata else {}
        if expand:
            params["expand"] = expand
        url = target.api_url if revision is None else target.route("revision")
        data = self._client(token).json("GET", url, params=params, timeout=timeout)
        info: RepoInfo = parse_repo(data, target.repo_type)
        return info  # type: ignore[return-value] # parse_repo returns one of the three

    def repo_exists(self, repo_id: str, *, repo_type: str | None = None, token: str | bool | None = None) -> bool:
        """Return whether the repository exists, as far as the token shows it."""
        try:
            self.repo_info(repo_id, repo_type=repo_type, token=token)
        except GatedRepoError:
            return True
        except RepositoryNotFoundError:
            return False
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

    def auth_check(
        self, repo_id: str, *, repo_type: str | None = None, token: str | bool | None = None, write: bool = False
    ) -> None:
        """Raise unless the token may read the repository, or with `write` write to it."""
        url = f"{self._target(repo_id, repo_type).api_url}/auth-check"
        self._client(token).request("GET", f"{url}/write" if write else url)

    def update_repo_settings(
        self,
        repo_id: str,
        *,
        gated: Literal["auto", "manual", False] | None = None,
        private: bool | None = None,
        visibility: str | None = None,
        token: str | bool | None = None,
        repo_type: str | None = None,
    ) -> None:
        """Change who sees a repository; what is None stays as it is.

        Args:
            gated: ``auto`` or ``manual``: people have to ask for access; False: they need not.
            private: Whether others cannot see it.
            visibility: ``public``, ``private`` or ``protected``, in place of `private`.
        """
        if gated not in (None, "auto", "manual", False):
            raise HFValidationError(f"gated is {gated!r}.", hint="Use 'auto', 'manual' or False.")
        given = {"gated": gated, "visibility": _visibility(private, visibility)}
        body = {key: value for key, value in given.items() if value is not None}
        if not body:
            raise HFValidationError("No setting to change was given.", hint="Pass gated, private or visibility.")
        self._client(token).request("PUT", f"{self._target(repo_id, repo_type).api_url}/settings", json=body)

    def move_repo(
        self, from_id: str, to_id: str, *, repo_type: str | None = None, token: str | bool | None = None
    ) -> None:
        """Rename a repository, or give it to another account; the Hub leads the old name to the new one."""
        for repo_id in (from_id, to_id):
            if "/" not in check_repo_id(repo_id):
                raise HFValidationError(f"{repo_id!r} has no namespace.", hint="Use 'user/name'.")
        body = {"fromRepo": from_id, "toRepo": to_id, "type": check_repo_type(repo_type)}
        self._client(token).request("POST", f"{self.endpoint}/api/repos/move", policy=UNLESS_APPLIED, json=body)

    def file_exists(
        self,
        repo_id: str,
        filename: str,
        *,
        repo_type: str | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
    ) -> bool:
        """Return whether the repository has this file; a folder is none."""
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
        tree = self.list_repo_tree(repo_id, recursive=True, revision=revision, repo_type=repo_type, token=token)
        return [entry.path for entry in tree if isinstance(entry, RepoFile)]

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
        """Yield what a folder holds; the root's content where `path_in_repo` is not given.

        Args:
            recursive: Go into its folders too.
            expand: With the commit that last touched each entry; pages are smaller then.
        """
        url = self._target(repo_id, repo_type, revision).route("tree", (path_in_repo or "").strip("/"))
        pages = self._client(token).pages(url, {"recursive": str(recursive), "expand": str(expand)})
        return (parse_entry(entry) for entry in pages)

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
        url = self._target(repo_id, repo_type, revision).route("commits")
        pages = self._client(token).pages(url, {"expand[]": "formatted"} if formatted else None)
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
        """Return what stands at `paths`; a path with nothing at it is left out."""
        wanted = [paths] if isinstance(paths, str) else list(paths)
        url = self._target(repo_id, repo_type, revision).route("paths-info")
        client = self._client(token)
        found: list[RepoFile | RepoFolder] = []
        for first in range(0, len(wanted), PATHS_PER_REQUEST):
            form = {"paths": wanted[first : first + PATHS_PER_REQUEST], "expand": str(expand)}
            found += [parse_entry(entry) for entry in client.json("POST", url, form=form)]
        return found


def _visibility(private: bool | None, visibility: str | None) -> str | None:
    if private is not None and visibility is not None:
        raise HFValidationError("Both private and visibility were given.", hint="Pass one of them.")
    return visibility if private is None else "private" if private else "public"
