"""`HfApi`: the commit client, with the names and signatures of huggingface_hub."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from hubspool.client.background import BackgroundJobs
from hubspool.client.buckets import BucketCalls
from hubspool.client.defaults import DEFAULTS
from hubspool.client.http import HubSession
from hubspool.client.refs import PullRequestCalls, RefCalls
from hubspool.client.repos import RepoCalls
from hubspool.client.uploads import CommitCalls
from hubspool.client.validation import check_path_in_repo
from hubspool.settings import Settings, check_endpoint

if TYPE_CHECKING:
    import threading
    from concurrent.futures import Future

__all__ = ["HfApi"]

P = ParamSpec("P")
R = TypeVar("R")


class HfApi(RepoCalls, RefCalls, PullRequestCalls, CommitCalls, BucketCalls):
    """Talks to a Hub: creates repositories, commits files, reads them back.

    Not guaranteed: that a call that fails did nothing. Every error has an `outcome`; only `Outcome.NOT_APPLIED` means
    that the call certainly changed nothing.

    Every answer has a deadline (HUBSPOOL_TIMEOUT, seconds; a transfer must move 32 kB in them). Transient failures are
    retried within bounds; a commit is retried only if it certainly was not applied.

    The calls are in the base classes, one for each group: `RepoCalls` (repositories), `RefCalls` (branches, tags,
    history), `PullRequestCalls`, `CommitCalls` (uploads, deletions, metadata), `BucketCalls`.

    Args:
        endpoint: address of the Hub; by default HF_ENDPOINT, then https://huggingface.co.
        token: a token; None looks in HF_TOKEN and in the token file at each call; False sends none.
        library_name, library_version, user_agent: added to the User-Agent header.
        headers: sent with every request to the Hub.

    Threads: several threads may use one object, and after a fork the child may too.
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
        self.session = HubSession(headers=dict(headers or {}), product=self._product())
        self._whoami_cache = {}
        self._jobs = BackgroundJobs()

    @property
    def interrupt(self) -> threading.Event:
        """Once set, retries stop waiting and transfers end; calls fail with their last error."""
        return self.session.interrupt

    def _product(self) -> str:
        parts: list[str] = []
        if self.library_name:
            parts.append(f"{self.library_name}/{self.library_version or 'unknown'}")
        if isinstance(self.user_agent, str):
            parts.append(self.user_agent)
        elif self.user_agent:
            parts += [f"{name}/{value}" for name, value in self.user_agent.items()]
        return "; ".join(parts)

    def run_as_future(self, fn: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Run ``fn(*args, **kwargs)`` in the background, after all calls that were queued on this object before.

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
        print_report_every: int = DEFAULTS.report_seconds,
    ) -> None:
        """Upload a folder of any size in as many commits as it needs; after an interruption the same call resumes.

        See `hubspool.client.large_upload.upload.upload_large_folder`.
        """
        given = {name: value for name, value in locals().items() if name != "self"}
        from hubspool.client.large_upload.upload import upload_large_folder

        upload_large_folder(self, **given)

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
        """Download one file and return its path: in a local folder, or in the cache that huggingface_hub uses too.

        The file appears complete or not at all. A local file that has the Hub's content is not downloaded again.

        Args:
            filename: path in the repository.
            subfolder: folder in the repository that `filename` is relative to.
            cache_dir: the cache, by default HF_HUB_CACHE; do not change files in it.
            local_dir: folder to download into, in place of the cache.
            force_download: download even if the local file has the Hub's content.
            local_files_only: do not ask the Hub: return the local file, or raise.

        Raises:
            LocalEntryNotFoundError: with `local_files_only`, there is no such file.
            RemoteEntryNotFoundError: the repository has no such file.
        """
        from hubspool.client.download import download, download_to_cache

        path = check_path_in_repo(f"{subfolder.strip('/')}/{filename}" if subfolder else filename)
        client, target = self.client(token), self.target(repo_id, repo_type, revision)
        if local_dir is None:
            cache = Path(cache_dir or Settings.from_env().hub_cache).expanduser()
            return download_to_cache(client, target, path, cache, force=force_download, local_only=local_files_only)
        destination = Path(local_dir).expanduser() / path
        return download(client, target.file_url(path), destination, force=force_download, local_only=local_files_only)


def default_api() -> HfApi:
    """Return the client behind the package's functions: one for each value of HF_ENDPOINT."""
    return _api_of(Settings.from_env().endpoint)


@cache
def _api_of(endpoint: str) -> HfApi:
    return HfApi(endpoint=endpoint)
