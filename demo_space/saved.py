"""Reads a dataset from the Hub: each file once, and again after each change."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from hubspool import CommitScheduler, HubspoolError

logger = logging.getLogger(__name__)
T = TypeVar("T")

MAX_AGE_SECONDS = 60.0
"""How old an answer may be if this process made no commit since; another replica may have made one."""
FOREIGN = (ValueError, LookupError, TypeError, zipfile.BadZipFile)
"""What `read` may raise for a file that another program wrote."""


class Saved(Generic[T]):
    """One answer per file of a dataset in the scheduler's folder, in the order of the file names.

    Not promised: the newest state. One thread asks the Hub at a time; other threads, and all threads while the Hub is
    away, get the last answers. A file that `read` cannot read is logged and left out.

    Args:
        scheduler: the scheduler of the dataset; a new commit of it makes the answers old.
        suffix: the end of the names of the files to read.
        read: returns the answer for one file, which is then removed. All answers stay in memory, so keep them small.
    """

    def __init__(self, scheduler: CommitScheduler, suffix: str, read: Callable[[Path], T]) -> None:
        self.scheduler = scheduler
        self.version = 0
        """Grows with each change."""
        self._suffix = suffix
        self._read = read
        self._answers: dict[str, tuple[str, list[T]]] = {}
        self._asking = threading.Lock()
        self._commit: str | None = None
        self._next = 0.0

    def answers(self) -> list[T]:
        """The answers; asks the Hub first if it may have something new."""
        commit = self.scheduler.status().last_commit
        if (commit != self._commit or time.monotonic() >= self._next) and self._asking.acquire(blocking=False):
            try:
                self._ask()
                self._commit = commit
            except (HubspoolError, OSError) as error:
                logger.info("%s cannot be read now: %s", self.scheduler.repo_id, error)
            finally:
                self._next = time.monotonic() + MAX_AGE_SECONDS
                self._asking.release()
        return [answer for path in sorted(self._answers) for answer in self._answers[path][1]]

    def _ask(self) -> None:
        api, repo = self.scheduler.api, self.scheduler.repo_id
        tree = api.list_repo_tree(repo, recursive=True, repo_type="dataset")
        folder_in_repo = f"{self.scheduler.path_in_repo}/".lstrip("/")
        ours = [entry for entry in tree if entry.path.startswith(folder_in_repo) and entry.path.endswith(self._suffix)]
        files = {entry.path: getattr(entry, "blob_id", "") for entry in ours}
        answers = {}
        with tempfile.TemporaryDirectory() as folder:
            for path, blob in files.items():
                known = self._answers.get(path)
                if known is None or known[0] != blob:
                    local = Path(api.hf_hub_download(repo, path, repo_type="dataset", local_dir=folder))
                    try:
                        known = blob, [self._read(local)]
                    except FOREIGN as error:
                        logger.info("%s of %s is left out: %r", path, repo, error)
                        known = blob, []
                    local.unlink()
                answers[path] = known
        if answers != self._answers:  # the answers to unchanged files are the same objects
            self._answers = answers
            self.version += 1
