"""Short forms of the programs beside this file; `make kill9` and `make soak` run the long ones."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.durability import kill9, power_loss, soak
from tests.support.env import Place
from tests.support.oracle import BUCKET, judge


def test_power_loss() -> None:
    assert power_loss.run(states=600, pushes=2, seed=1) >= 600


def test_the_model_of_power_loss_can_say_no() -> None:
    """Rows that are acknowledged before they are synced are lost on some disk."""
    recorder = power_loss.live("process", seed=1)
    disk = next(disk for disk in recorder.history if disk.names and not disk.synced)
    disk.must = frozenset({"m1-0"})
    chance = random.Random(1)
    with pytest.raises(AssertionError, match="had to survive"):
        for _ in range(50):
            power_loss.check(disk, disk.after_loss(chance))


def test_kill9_at_system_calls(hub_environment: Path, tmp_path: Path) -> None:
    points = kill9.watch(tmp_path)
    assert {point.call for point in points} >= {"write", "fdatasync", "link", "unlink", "sendto", "flock"}
    tally = kill9.sweep(kill9.spread(points, 8))
    assert tally.killed >= 6
    assert tally.kept, tally


@pytest.mark.parametrize("size", kill9.SIZES)
def test_kill9_at_random_times(hub_environment: Path, size: int) -> None:
    tally = kill9.random_kills(4, size, seed=size)
    assert tally.killed == 4
    assert tally.kept, tally


def test_kill9_with_a_bucket(hub_environment: Path) -> None:
    tally = kill9.random_kills(4, 400, seed=5, repo=BUCKET)
    assert tally.killed == 4
    assert tally.kept, tally


def test_soak(place: Place) -> None:
    done = soak.soak(place.hub, place.root, seconds=20, seed=3)
    assert sum(count for what, count in done.items() if what.startswith("answers changed by")) > 3
    place.hub.faults.clear()
    place.hub.faults.release()
    judge(place.hub, place.folder, place.records).check()
