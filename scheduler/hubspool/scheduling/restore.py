"""Downloads the files that a fresh disk lacks, before a scheduler starts."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from copy import copy
from pathlib import Path

from hubspool.client.download import download
from hubspool.client.hf_api import HfApi
from hubspool.client.target import Target
from hubspool.client.validation import local_path
from hubspool.errors import HFValidationError, HubspoolError, LocalFileError
from hubspool.push.remote_bucket import remote_of
from hubspool.scheduling.defaults import DEFAULTS
from hubspool.spool.segment_name import is_written_by_schedulers

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

    A path that leads out of the folder, or to files of git, clients or schedulers, is skipped with a warning.

    Returns:
        How many files were downloaded. Each one is complete or absent.

    Raises:
        RestoreTimeoutError, HubTimeoutError: `seconds` are over; the files downloaded so far stay.
        RequestError: the Hub cannot be read.
        LocalFileError: a file cannot be written.
    """
    began = time.monotonic()
    api = copy(api)
    api.session = api.session.within(seconds)
    prefix = f"{path_in_repo}/" if path_in_repo else ""
    fetched = 0
    for path in remote_of(api, target).list_files(path_in_repo, recursive=True):
        local = _local(path, prefix, folder, chosen)
        if local is None or os.path.lexists(local):
            continue
        if time.monotonic() - began > seconds:
            raise RestoreTimeoutError(
                f"{fetched} files of {target.repo_id} were downloaded in {seconds:g} s, not all of them."
            )
        try:
            download(api.client(), target.file_url(path), local, force=False, local_only=False)
        except HubspoolError:
            raise
        except OSError as error:  # a full disk, or a local file where the repository has a folder
            raise LocalFileError(f"{local} cannot be written: {error.strerror or error}.", path=local) from error
        fetched += 1
    if fetched:
        logger.info("%s: downloaded %d files from %s", folder, fetched, target.repo_id)
    return fetched


def _local(path: str, prefix: str, folder: Path, chosen: Callable[[str], bool]) -> Path | None:
    """Return the place of a file in the folder; None if it is not to be downloaded."""
    source = path.removeprefix(prefix)
    # Parts and joined files hold rows that were sent; no program appends to them.
    if not path.startswith(prefix) or is_written_by_schedulers(path) or not chosen(source):
        return None
    if source in (".gitattributes", "README.md") and not prefix:
        return None  # these describe the repository, not the folder
    try:
        return local_path(folder, source)
    except HFValidationError as error:
        logger.warning("a file is not downloaded: %s", error)
        return None
