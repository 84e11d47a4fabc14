"""How long a scheduler waits for the Hub: one owner decides for pushes, flushes and the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hubspool import CommitScheduler, FlushTimeout, State
from hubspool.errors import HubspoolError, RateLimitedError
from hubspool.local_hub import Fault, LocalHub

SECONDS = 60
Make = Callable[..., Any]


def write(scheduler: CommitScheduler, text: str = "one\n") -> None:
    with scheduler.lock, (scheduler.folder_path / "a.txt").open("a") as file:
        file.write(text)


def waits_of(scheduler: CommitScheduler) -> list[float]:
    """The seconds of each wait of the flushes to come, which are cut short."""
    waits: list[float] = []
    stopping = scheduler._runner._loop.stopping
    wait = stopping.wait

    def note(seconds: float) -> bool:
        waits.append(seconds)
        return bool(wait(min(seconds, 0.01)))

    stopping.wait = note  # type: ignore[method-assign]
    return waits


def refused_commits(local_hub: LocalHub) -> int:
    return len(local_hub.requests.of("commit"))


def test_a_flush_raises_at_once_when_the_hub_asks_for_longer_than_it_may_wait(make: Make, local_hub: LocalHub) -> None:
    scheduler = make()
    write(scheduler)
    local_hub.faults.add(Fault(route="commit", status=429, times=None, headers={"Retry-After": "3600"}))
    with pytest.raises(RateLimitedError) as caught:
        scheduler.flush(timeout=600)
    assert caught.value.retry_after == 3600
    assert refused_commits(local_hub) == 1


def test_a_flush_waits_as_long_as_the_hub_asks_and_then_sends(make: Make, local_hub: LocalHub) -> None:
    scheduler = make()
    write(scheduler)
    local_hub.faults.add(Fault(route="commit", status=429, times=1, headers={"Retry-After": "120"}))
    waits = waits_of(scheduler)
    assert scheduler.flush(600) is not None
    assert [seconds >= 120 for seconds in waits] == [True]
    assert refused_commits(local_hub) == 2


def test_stop_under_429_is_refused_once(make: Make, local_hub: LocalHub) -> None:
    scheduler = make()
    write(scheduler)
    local_hub.faults.add(Fault(route="commit", status=429, times=None, headers={"Retry-After": "3600"}))
    with pytest.raises(RateLimitedError):
        scheduler.stop()
    assert refused_commits(local_hub) == 1


def test_a_flush_that_fails_again_and_again_pauses_between_its_pushes(make: Make, local_hub: LocalHub) -> None:
    scheduler = make()
    write(scheduler)
    local_hub.faults.add(Fault(route="commit", status=503, times=None))
    waits = waits_of(scheduler)
    with pytest.raises((FlushTimeout, HubspoolError)):
        scheduler.flush(timeout=3)
    assert any(seconds > 1 for seconds in waits)  # they grow


def test_after_a_refusal_the_next_period_waits_as_long_as_the_hub_asked(make: Make, local_hub: LocalHub) -> None:
    scheduler = make(every=1)
    write(scheduler)
    local_hub.faults.add(Fault(route="commit", status=429, times=None, headers={"Retry-After": "3600"}))
    assert isinstance(scheduler.trigger().exception(SECONDS), RateLimitedError)
    left = scheduler._runner.seconds_left
    assert left is not None
    assert left > 3500


def test_a_flush_does_not_wait_behind_the_pause_of_another_push(make: Make, local_hub: LocalHub) -> None:
    scheduler = make()
    write(scheduler)
    local_hub.faults.add(Fault(route="commit", status=429, times=1, headers={"Retry-After": "3600"}))
    first = scheduler.trigger()
    while scheduler.status().state is not State.BACKING_OFF:
        assert not first.done()
    assert scheduler.flush(SECONDS) is not None
    assert isinstance(first.exception(SECONDS), RateLimitedError)
