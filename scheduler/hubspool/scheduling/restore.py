"""Downloads the files that a fresh disk lacks, before a scheduler starts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from hubspool.client.download import download
from hubspool.client.hf_api import HfApi
from hubspool.client.repo_info import RepoFile
from hubspool.client.target import Target
from hubspool.errors import RemoteEntryNotFoundError
from hubspool.scheduling.defaults import DEFAULTS
from hubspool.spool.segment_name import is_part_path

logger = logging.getLogger(__name__)


class RestoreTimeoutError(TimeoutError):
    """Some files could not be downloaded in time."""


def restore(
    api: HfApi,
    target: Target,
    path_in_repo: str,
    folder: Path,
    chosen: Callable[[str], bool],
    seconds: float = DEFAULTS.restore,
) -> int:
    """Download the files that the repository has and the folder lacks; existing local files stay unchanged.

    Returns:
        How many files were downloaded. Each one is complete or absent.

    Raises:
        RestoreTimeoutError: `seconds` are over; the files downloaded so far stay.
        RequestError: the Hub cannot be read.
    """
    began = time.monotonic()
    prefix = f"{path_in_repo}/" if path_in_repo else ""
    try:
        tree = list(
            api.list_repo_tree(
                target.repo_id, path_in_repo, recursive=True, repo_type=target.repo_type, revision=target.revision
            )
        )
    except RemoteEntryNotFoundError:
        return 0
    fetched = 0
    for entry in tree:
        source = entry.path.removeprefix(prefix)
        local = folder / source
        # Parts hold rows that were sent; no program appends to them.
        if not isinstance(entry, RepoFile) or is_part_path(source) or not chosen(source) or local.exists():
            continue
        if source in (".gitattributes", "README.md") and not prefix:
            continue  # these describe the repository, not the folder
        if time.monotonic() - began > seconds:
            raise RestoreTimeoutError(
                f"{fetched} files of {target.repo_id} were downloaded in {seconds:g} s, not all of them."
            )
        download(api.client(), target.file_url(entry.path), local, force=False, local_only=False)
        fetched += 1
    if fetched:
        logger.info("%s: downloaded %d files from %s", folder, fetched, target.repo_id)
    return fetched
