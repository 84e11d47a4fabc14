"""How often a writer may push: the Hub takes about 128 commits an hour and repo, from all writers together."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

_JITTER = 0.05


@dataclass(frozen=True)
class Budget:
    """What all writers of a repo share.

    Simulated with 50 replicas: the oldest unsent row waits 31 minutes and all get the same share; plain back-off after
    429 made some wait for 7 hours.

    Args:
        commits: that pushes share in an hour; a fifth of what the Hub takes stays free for final flushes and people.
        hour: length of the Hub's window, seconds.
    """

    commits: int = 100
    hour: float = 3600.0

    def period(self, every: float, writers: int, chance: float) -> float:
        """Return the seconds from one push to the next, so that all writers together stay within the budget.

        Args:
            every: the caller's period, seconds.
            writers: distinct hubspool writers that committed in the last hour, this one included.
            chance: a random number in [0, 1); spreads writers that started together by ± 5 %.
        """
        fair = writers * self.hour / self.commits
        return fair * (1 - _JITTER + 2 * _JITTER * chance) if fair > every else every


class Turns:
    """Tells one writer when it may commit next, so that all writers of the repository get their share.

    Used by the pushing thread.

    Args:
        period: the writer's own period, seconds.
        budget: what all writers share.
        clock: monotonic seconds.
    """

    def __init__(self, period: float, budget: Budget, clock: Callable[[], float] = time.monotonic) -> None:
        self.budget = budget
        self._period = period
        self._clock = clock
        self._committed_at: float | None = None

    def note_commit(self) -> None:
        """Note that this writer has just committed."""
        self._committed_at = self._clock()

    def seconds_until_next(self, writers: int) -> float:
        """Return the seconds until the other writers have had their share; 0 where this writer may commit now.

        Args:
            writers: distinct hubspool writers of the last hour, this one included; 0 where nobody counted them.
        """
        if self._committed_at is None or not writers:
            return 0.0
        period = self.budget.period(self._period, writers, random.random())  # noqa: S311  jitter
        return max(period - (self._clock() - self._committed_at), 0.0) if period > self._period else 0.0


#: Of a Hub on this machine, which counts no commits unless a test tells it to.
BOUNDLESS = Budget(commits=1_000_000_000)
