"""The numbers of scheduling, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: Values of the option `compact`.
Compact = Literal["daily", False]


@dataclass(frozen=True)
class SchedulingDefaults:
    """Durations of a scheduler's life; seconds, except `every`.

    Args:
        every: minutes between two pushes.
        most_minutes: largest `every`; a year.
        few_minutes: a shorter `every` on the real Hub gets a warning, since all writers of a repository share about
            128 commits an hour.
        exit_budget: what the end of the process may take for the final push; Docker kills after 10 s.
        most_exit_budget: largest `exit_budget`; a day.
        same_exit: SIGTERM, an app's own `stop` and atexit that follow each other within this time share one budget.
        lock_wait: how long a push waits for another process that pushes the same folder; its push sends our rows too.
        final_lock_wait: the same for a final push.
        writer_lock_wait: how long a push waits for `scheduler.lock`; then it sends only what needs no lock.
        writer_lock_share: the same as a fraction of the time that a caller of flush or stop, or the exit, still has.
        writer_lock_poll: how often a push that waits for `scheduler.lock` looks at those limits.
        late_periods: a scheduler without a success for so many periods is unhealthy.
        setup_seconds: how long a starting app waits in the constructor for the Hub's answers, all together.
        restore: how long `restore=True` may hold the constructor up.
        compaction_period: how old the newest join is when old files are joined again; a fifth is added at random.
        first_compaction: a scheduler looks for the first time within this time of its start.
        compaction_files: fewer old parts than this are not worth a commit.
        compaction_seconds: how long files are downloaded for one join; those that have arrived are joined then.
        compaction_limit: how long one join may take in all before the next push has its turn.
        publish_pause: most seconds by which the downloads of a publish hold up a push that is requested, or whose
            period is shorter.
        publish_jitter: most seconds, at random, after a publish is due, so that few of many machines look at once.
        beside_poll: how often the requests of a join are ended if a flush waits.
        watchdog_interval: how often the watchdog looks for a push without progress.
    """

    every: float = 5
    most_minutes: float = 366 * 24 * 60
    few_minutes: float = 5
    exit_budget: float = 8.0
    most_exit_budget: float = 24 * 3600.0
    same_exit: float = 60.0
    lock_wait: float = 5.0
    final_lock_wait: float = 60.0
    writer_lock_wait: float = 10.0
    writer_lock_share: float = 0.25
    writer_lock_poll: float = 0.05
    late_periods: float = 2.0
    setup_seconds: float = 10.0
    restore: float = 30.0
    compaction_period: float = 20 * 3600.0
    first_compaction: float = 3600.0
    compaction_files: int = 100
    compaction_seconds: float = 20.0
    compaction_limit: float = 90.0
    publish_pause: float = 2.0
    publish_jitter: float = 600.0
    beside_poll: float = 0.1
    watchdog_interval: float = 15.0


DEFAULTS = SchedulingDefaults()
