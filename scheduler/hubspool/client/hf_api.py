"""`HfApi`: the commit client, with the names and signatures of huggingface_hub."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from typing import ParamSpec, TypeVar

from hubspool.client.background import BackgroundJobs
from hubspool.client.download import download
from hubspool.client.http import HubSession
from hubspool.client.http import user_agent as introduction
from hubspool.client.metadata import MetadataApi
from hubspool.client.transfer import Uploader
from hubspool.client.validation import check_path_in_repo
from hubspool.errors import HFValidationError
from hubspool.settings import Settings, check_endpoint

__all__ = ["HfApi"]

P = ParamSpec("P")
R = TypeVar("R")


class HfApi(MetadataApi):
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

    def upload_large_folder(
        self,
        repo_id: str,
        folder_path: str | Path,
        *,
        repo_type: str,
        revision: str | None = None,
        private: bool | None = None,
        allow_patterns: list[str] | str | None = None,
        ignore_patterns: list[str] | str | None = None,
        num_workers: int | None = None,
        print_report: bool = True,
        print_report_every: int = 60,
    ) -> None:
        """Upload a folder of any size in as many commits as it takes; a call that broke off goes on where it was.

        See `hubspool.client.large_upload.upload.upload_large_folder`.
        """
        from hubspool.client.large_upload.upload import upload_large_folder

        upload_large_folder(
            self,
            repo_id=repo_id,
            folder_path=folder_path,
            repo_type=repo_type,
            revision=revision,
            private=private,
            allow_patterns=allow_patterns,
            ignore_patterns=ignore_patterns,
            num_workers=num_workers,
            print_report=print_report,
            print_report_every=print_report_every,
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


def default_api() -> HfApi:
    """Return the client behind the package's functions; one for each address that HF_ENDPOINT has had."""
    return _api_of(Settings.from_env().endpoint)


@cache
def _api_of(endpoint: str) -> HfApi:
    return HfApi(endpoint=endpoint)
