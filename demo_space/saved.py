"""Reads a dataset again after each change: rows on the Hub, and those that are pending on this disk."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from hubspool import CommitScheduler, HubspoolError

logger = logging.getLogger(__name__)

MAX_AGE_SECONDS = 60.0  # how old an answer may be if this process stored nothing since; another replica may have
FOREIGN = (ValueError, LookupError, TypeError, AttributeError)
"""What `read` may raise for rows that another program wrote."""


class Saved:
    """What the page needs of a dataset.

    Not promised: the newest state. One thread reads at a time; other threads, and all threads while the Hub is away,
    get the last answer.

    Args:
        scheduler: the scheduler of the dataset; a new row or commit of it makes the answer old.
        read: returns the answer, which stays in memory, so keep it small.
    """

    def __init__(self, scheduler: CommitScheduler, read: Callable[[], Any]) -> None:
        self.scheduler = scheduler
        self.version = 0
        """Grows with each change."""
        self._read = read
        self._answer: Any = None
        self._reading = threading.Lock()
        self._seen: tuple[object, ...] = ()
        self._next = 0.0

    def answer(self) -> Any:
        """The answer, None before the first; reads first if there may be something new."""
        status = self.scheduler.status()
        seen = (status.last_commit, status.pending_rows)
        if (seen != self._seen or time.monotonic() >= self._next) and self._reading.acquire(blocking=False):
            try:
                if (answer := self._read()) != self._answer:
                    self._answer = answer
                    self.version += 1
                self._seen = seen
            except (HubspoolError, OSError, *FOREIGN) as error:
                logger.info("%s cannot be read now: %s", self.scheduler.repo_id, error)
            finally:
                self._next = time.monotonic() + MAX_AGE_SECONDS
                self._reading.release()
        return self._answer
