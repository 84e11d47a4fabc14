"""How often a writer may push: the Hub takes about 128 commits an hour and repo, from all writers together."""

from __future__ import annotations

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


#: Of a Hub on this machine, which counts no commits unless a test tells it to.
BOUNDLESS = Budget(commits=1_000_000_000)
