"""How often a writer may push: the Hub takes about 128 commits per hour and repository, from all writers together."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """The commits that all writers of a repository share.

    In a simulation with 50 replicas the oldest unsent row waited 31 minutes and all replicas got the same share; with
    plain back-off after 429 some waited for 7 hours.

    Args:
        commits: that pushes share in an hour; a fifth of what the Hub takes stays free for final pushes and people.
        hour: length of the Hub's window, in seconds.
        jitter: largest random deviation from a fair period, as a fraction of it; separates writers that started
            together.
    """

    commits: int = 100
    hour: float = 3600.0
    jitter: float = 0.05

    def period(self, every: float, writers: int, chance: float, owed: float = 1.0) -> float:
        """Return the seconds from one push to the next, so that all writers together stay within the budget.

        Args:
            every: the caller's period, in seconds.
            writers: number of hubspool writers that committed in the last hour, this one included.
            chance: a random number in [0, 1).
            owed: commits whose share of the hour is not over.
        """
        fair = owed * writers * self.hour / self.commits
        return fair * (1 - self.jitter + 2 * self.jitter * chance) if fair > every else every

    def tokens(self, left: float, seconds: float, writers: int) -> float:
        """Return the commits that one writer may make before its period is over: a token bucket.

        It holds a fifth of an hour's share and fills with the share. Every commit takes a token, so that commits of
        both kinds stay within the share.

        Args:
            left: tokens that it had.
            seconds: how long ago that was.
            writers: number of hubspool writers that committed in the last hour, this one included.
        """
        share = self.commits / writers
        return min(left + share * seconds / self.hour, share / 5)


class Turns:
    """Decides when one writer may commit next, so that all writers of the repository get their share.

    Used by the pushing thread only.

    Args:
        period: the writer's own period, seconds.
        budget: the commits that all writers share.
        clock: monotonic seconds.
    """

    def __init__(self, period: float, budget: Budget, clock: Callable[[], float] = time.monotonic) -> None:
        self.budget = budget
        self.period = period
        self._clock = clock
        self._committed_at: float | None = None
        self._tokens, self._counted_at = math.inf, clock()
        self._writers = 1  # as last told
        self._owed = 1.0  # commits whose share of the hour was not over at `_committed_at`

    def note_commit(self) -> None:
        """Record a commit of this writer."""
        self._committed_at, self._owed = self._clock(), 1.0
        self._tokens = self._count() - 1

    def may_commit_beside(self, *, has_pushed: bool) -> bool:
        """Return whether this writer may make a commit that is no push: after a push, or in place of one."""
        return has_pushed or self.seconds_until_next(self._writers) <= 0

    def note_beside(self, commits: int) -> None:
        """Record commits that are no pushes; the next push waits for their share of the hour too."""
        if not commits:
            return
        now, share = self._clock(), self._writers * self.budget.hour / self.budget.commits
        past = math.inf if self._committed_at is None else (now - self._committed_at) / share
        self._committed_at, self._owed = now, max(self._owed - past, 0.0) + commits
        self._tokens = self._count() - commits

    def seconds_until_next(self, writers: int, *, early: bool = False) -> float:
        """Return the seconds until the other writers have had their share; 0 if this writer may commit now.

        Args:
            writers: number of hubspool writers of the last hour, this one included; 0 if it is not known.
            early: a commit before the period is over, which `trigger` or many rows ask for; it takes a token.
        """
        self._writers = writers or self._writers
        if self._committed_at is None or not writers:
            return 0.0
        period = self.budget.period(self.period, writers, random.random(), self._owed)  # noqa: S311  jitter
        left = max(period - (self._clock() - self._committed_at), 0.0)
        if not early:
            return left if period > self.period else 0.0
        missing = 1 - self._count()
        fills = self.budget.tokens(math.inf, 0, writers) >= 1  # fifty writers have no token each
        return min(left, max(missing, 0.0) * self.budget.hour * writers / self.budget.commits) if fills else left

    def _count(self) -> float:
        now = self._clock()
        self._tokens = self.budget.tokens(self._tokens, now - self._counted_at, self._writers)
        self._counted_at = now
        return self._tokens


#: For a Hub on this machine, which has no limit unless a test sets one.
BOUNDLESS = Budget(commits=1_000_000_000)
