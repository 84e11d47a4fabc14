"""Small rules of the scheduler: budget, history, disks, the watchdog's work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hubspool.files import Disk, disk_of
from hubspool.push.budget import Budget, Turns
from hubspool.scheduling.daily import SquashPolicy
from hubspool.scheduling.watchdog import Watchdog

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
tmpfs /home/me/fast tmpfs rw 0 0
bucket /mnt/my\\040data fuse.hf-mount rw 0 0
"""


@pytest.mark.parametrize(
    ("every", "writers", "chance", "expected"),
    [
        (300, 1, 0.0, 300),
        (300, 8, 0.9, 300),  # 288 s each is enough: nobody is slowed down, nobody jitters
        (300, 50, 0.5, 1800),
        (300, 50, 0.0, 1710),
        (12, 1, 0.5, 36),
    ],
)
def test_writers_share_the_hours_budget(every: float, writers: int, chance: float, expected: float) -> None:
    assert Budget().period(every, writers, chance) == pytest.approx(expected)


@pytest.mark.parametrize("writers", [1, 3, 16, 50, 300])
def test_a_fifth_of_the_hubs_budget_stays_free_whatever_the_jitter(writers: int) -> None:
    fastest = Budget().period(1, writers, 0.0)
    assert writers * 3600 / fastest <= 128 * 0.83


@pytest.mark.parametrize("writers", [1, 4, 16])
def test_writers_that_ask_all_the_time_stay_within_what_the_hub_takes_in_an_hour(writers: int) -> None:
    now = 0.0
    commits: list[float] = []
    turns = [Turns(300, Budget(), lambda: now) for _ in range(writers)]
    while now < 4 * 3600:
        for each in turns:
            if each.seconds_until_next(writers, early=True) == 0:
                each.note_commit()
                commits.append(now)
        now += 1
    most = max(sum(at <= other < at + 3600 for other in commits) for at in commits)
    assert 80 <= most <= 120  # of 128: the rest is for final pushes and people
    assert sum(at >= 3 * 3600 for at in commits) <= 101 + writers


def test_a_writer_alone_commits_at_once_for_a_while_and_then_every_36_seconds() -> None:
    now = 0.0
    turns, waits = Turns(300, Budget(), lambda: now), []
    for _ in range(24):
        waits.append(turns.seconds_until_next(1, early=True))
        now += waits[-1]
        turns.note_commit()
    assert waits[:20] == [0.0] * 20
    assert waits[20:] == pytest.approx([36.0] * 4)
    now += 3600
    assert turns.seconds_until_next(1, early=True) == 0


def test_an_early_commit_never_waits_longer_than_the_period() -> None:
    now = 0.0
    turns = Turns(30, Budget(commits=2), lambda: now)
    turns.note_commit()
    assert turns.seconds_until_next(1, early=True) == pytest.approx(1800, rel=0.06)
    assert turns.seconds_until_next(0, early=True) == 0  # nobody knows how many write
    now += 1900
    assert turns.seconds_until_next(1, early=True) == 0


@pytest.mark.parametrize(
    ("folder", "disk", "reliable"),
    [
        ("/srv/rows", Disk("/", "ext4"), True),
        ("/home/me/rows", Disk("/home", "nfs4"), False),
        ("/home/me/fast/rows", Disk("/home/me/fast", "tmpfs"), True),
        ("/mnt/my data/rows", Disk("/mnt/my data", "fuse.hf-mount"), False),
        ("/homework", Disk("/", "ext4"), True),
    ],
)
def test_the_mount_of_a_folder_tells_whether_locks_can_be_relied_on(folder: str, disk: Disk, reliable: bool) -> None:
    found = disk_of(Path(folder), MOUNTS)
    assert (found, found.is_reliable) == (disk, reliable)


class History:
    """A branch with commits, the newest first."""

    def __init__(self, count: int) -> None:
        self.oids = [f"{number:040x}" for number in range(count)][::-1]
        self.lists = self.squashes = 0

    def commit(self) -> str:
        self.oids.insert(0, f"{len(self.oids) + 1000:040x}")
        return self.oids[0]

    def list_repo_commits(self, *args: Any, **kwargs: Any) -> list[Any]:
        self.lists += 1
        return [type("Commit", (), {"commit_id": oid, "message": ""})() for oid in self.oids]

    def super_squash_history(self, *args: Any, **kwargs: Any) -> None:
        self.squashes += 1
        del self.oids[1:]


TARGET: Any = type("Target", (), {"repo_id": "user/rows", "repo_type": "dataset", "revision": "main"})()


def test_a_history_is_squashed_when_more_than_so_many_commits_have_gathered() -> None:
    history: Any = History(1)
    policy = SquashPolicy(5)
    done = [policy.after_commit(history, TARGET, history.commit()) for _ in range(12)]
    assert [number for number, squashed in enumerate(done) if squashed] == [4, 9]
    assert history.lists <= 4  # the commits are not listed after each one


def test_only_the_writer_whose_commit_is_the_newest_squashes() -> None:
    history: Any = History(9)
    ours = history.commit()
    history.commit()
    assert not SquashPolicy(5).after_commit(history, TARGET, ours)
    assert history.squashes == 0


@pytest.mark.parametrize(("policy", "squashes"), [(False, 0), (True, 3)])
def test_never_and_always(policy: bool, squashes: int) -> None:
    history: Any = History(1)
    each = SquashPolicy(policy)
    for _ in range(3):
        each.after_commit(history, TARGET, history.commit())
    assert history.squashes == squashes


def test_the_watchdog_goes_on_when_one_scheduler_cannot_be_looked_at(caplog: pytest.LogCaptureFixture) -> None:
    seen = []

    class Broken:
        def report_stall(self) -> None:
            raise RuntimeError("broken")

    class Whole:
        def report_stall(self) -> None:
            seen.append(self)

    watchdog, broken, whole = Watchdog(), Broken(), Whole()
    watchdog.watch(broken)
    watchdog.watch(whole)
    watchdog.look()
    assert len(seen) == 1
    assert "could not look at" in caplog.text
    watchdog.unwatch(whole)
    watchdog.look()
    assert len(seen) == 1


@pytest.mark.parametrize("writers", [1, 8, 50])
def test_commits_beside_the_pushes_stay_within_the_hour(writers: int) -> None:
    """Every writer makes another commit after each of its pushes."""
    now = 0.0
    turns = [Turns(300, Budget(), lambda: now) for _ in range(writers)]
    next_at = dict.fromkeys(range(writers), 0.0)
    commits: list[float] = []
    while now < 6 * 3600:
        number = min(next_at, key=lambda n: next_at[n])
        now = next_at[number]
        turns[number].note_commit()
        turns[number].note_beside(1)
        commits += [now, now]
        next_at[number] = now + max(300.0, turns[number].seconds_until_next(writers))
    assert sum(3600 <= at < 7200 for at in commits) <= 101 + writers
    assert sum(at >= 5 * 3600 for at in commits) <= 101 + 2 * writers


def test_a_long_series_of_joins_delays_the_next_push_by_two_shares_at_most() -> None:
    """An idle writer joined for hours; then nine others begin, and it has a row."""
    now = 0.0
    turns = Turns(300, Budget(jitter=0), lambda: now)
    turns.note_commit()
    for _ in range(70):
        now += 300
        assert turns.may_commit_beside(has_pushed=False)
        turns.note_beside(1)
    assert turns.seconds_until_next(10) <= 2 * 360


def test_a_writer_that_never_pushed_makes_no_more_joins_than_the_hour_has_room_for() -> None:
    now, joins = 0.0, 0
    turns = Turns(1, Budget(), lambda: now)
    while now < 3600:
        if turns.may_commit_beside(has_pushed=False):
            turns.note_beside(1)
            joins += 1
        now += 1
    assert 90 <= joins <= 105


def test_a_look_that_joins_nothing_costs_nothing() -> None:
    now = 0.0
    turns = Turns(300, Budget(jitter=0), lambda: now)
    turns.note_commit()
    now += 40
    turns.note_beside(0)
    assert turns.seconds_until_next(1) == 0
