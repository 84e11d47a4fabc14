"""How often a writer may push: the Hub takes about 128 commits an hour and repo, from all writers together."""

from __future__ import annotations

#: Commits an hour that pushes share; the rest stays free for final flushes and for people.
COMMITS_PER_HOUR = 100
HOUR_SECONDS = 3600.0
_JITTER = 0.05


def period_seconds(every: float, writers: int, chance: float, hour: float = HOUR_SECONDS) -> float:
    """Return the seconds from one push to the next, so that all writers together stay within the budget.

    Simulated with 50 replicas: the oldest unsent row waits 31 minutes and all get the same share; plain back-off after
    429 made some wait for 7 hours.

    Args:
        every: the caller's period, seconds.
        writers: distinct hubspool writers that committed in the last hour, this one included.
        chance: a random number in [0, 1); spreads writers that started together by ± 5 %.
        hour: length of the Hub's window, seconds.
    """
    fair = writers * hour / COMMITS_PER_HOUR
    return max(every, fair) * (1 - _JITTER + 2 * _JITTER * chance) if fair > every else every
