"""How long a scheduler waits for the Hub: one owner decides for pushes, flushes and the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from hubspool import CommitScheduler, FlushTimeout, HfApi, State
from hubspool.client.retry import RetryPolicy
from hubspool.errors import HFValidationError, HubspoolError, RateLimitedError
from hubspool.local_hub import Fault, LocalHub
from hubspool_templates import JsonlScheduler, read_rows

SECONDS = 60
Make = Callable[..., Any]


def write(scheduler: CommitScheduler, text: str = "one\n") -> None:
    with scheduler.lock, (scheduler.folder_path / "a.txt").open("a") as file:
        file.write(text)


def waits_of(scheduler: CommitScheduler) -> list[float]:
    """The seconds of each wait of the flushes to come, which are cut short."""
    waits: list[float] = []
    stopping = scheduler._runner.loop.stopping
    wait = stopping.wait

    def note(seconds: float) -> bool:
        waits.append(seconds)
        return bool(wait(min(seconds, 0.01)))

    stopping.wait = note  # type: ignore[method-assign]
    return waits


def refused_commits(local_hub: LocalHub) -> int:
    """How many commits the fault refused; the log of requests would get the last of them only after its answer."""
    return len(local_hub.faults.hits)


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
    assert refused_commits(local_hub) == 1


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
        scheduler.flush(timeout=6)
    assert any(seconds > 1 for seconds in waits)  # they grow


def test_after_a_refusal_the_next_period_waits_as_long_as_the_hub_asked(make: Make, local_hub: LocalHub) -> None:
    scheduler = make(every=1)
    write(scheduler)
    local_hub.faults.add(Fault(route="commit", status=429, times=None, headers={"Retry-After": "3600"}))
    assert isinstance(scheduler.trigger().exception(SECONDS), RateLimitedError)
    left = scheduler._runner.loop.seconds_left
    assert left is not None
    assert left > 3500


def test_a_flush_does_not_wait_behind_the_pause_of_another_push(make: Make, local_hub: LocalHub) -> None:
    scheduler = make()
    write(scheduler)
    scheduler._runner._policy = RetryPolicy(attempts=None, seconds=1e9, base=1e8, cap=1e8, replans=True)
    local_hub.faults.add(Fault(route="commit", status=503, times=1))
    first = scheduler.trigger()
    while scheduler.status().state is not State.BACKING_OFF:
        assert not first.done()
    assert scheduler.flush(SECONDS) is not None
    assert isinstance(first.exception(SECONDS), HubspoolError)


@pytest.mark.parametrize("asked", [31, 45, 59, 61])
def test_no_wait_inside_a_push_outlasts_the_flush(asked: int, make: Make, local_hub: LocalHub) -> None:
    scheduler = make()
    write(scheduler)
    local_hub.faults.add(Fault(route="commit", status=429, times=None, headers={"Retry-After": str(asked)}))
    with pytest.raises(RateLimitedError):
        scheduler.flush(timeout=30)
    assert refused_commits(local_hub) == 1


def test_a_second_flush_does_not_ask_a_hub_that_has_just_refused(make: Make, local_hub: LocalHub) -> None:
    scheduler = make()
    write(scheduler)
    local_hub.faults.add(Fault(route="commit", status=429, times=1, headers={"Retry-After": "100"}))
    for _ in range(5):
        with pytest.raises(RateLimitedError):
            scheduler.flush(timeout=60)
    assert refused_commits(local_hub) == 1
    waits = waits_of(scheduler)
    assert scheduler.flush(timeout=200) is not None
    assert len(waits) == 1


def test_stop_ends_the_wait_of_a_running_push_and_nothing_is_sent_afterwards(make: Make, local_hub: LocalHub) -> None:
    scheduler = make()
    write(scheduler)
    local_hub.faults.add(Fault(route="commit", status=429, times=None, headers={"Retry-After": "30"}))
    future = scheduler.trigger()
    while scheduler.status().state is not State.BACKING_OFF:
        assert not future.done()
    scheduler.stop(flush=False)
    assert isinstance(future.exception(SECONDS), RateLimitedError)
    assert scheduler.status().state is State.STOPPED
    assert refused_commits(local_hub) == 1


def test_a_request_that_is_repeated_inside_a_push_shows_in_the_status(make: Make, local_hub: LocalHub) -> None:
    scheduler = make()
    write(scheduler)
    local_hub.faults.add(Fault(route="commit", status=429, times=1, headers={"Retry-After": "30"}))
    future = scheduler.trigger()
    while scheduler.status().state is not State.BACKING_OFF:
        assert not future.done()
    status = scheduler.status()
    assert "429" in (status.last_error or "")
    assert status.consecutive_failures == 0  # the push goes on


def test_an_answer_that_asks_for_ages_does_not_end_the_thread(make: Make, local_hub: LocalHub) -> None:
    scheduler = make(every=0.001)
    # Before the write: with this period a push may come at any moment.
    local_hub.faults.add(Fault(route="commit", status=429, times=1, headers={"Retry-After": str(10**13)}))
    write(scheduler)
    with pytest.raises(RateLimitedError):
        scheduler.flush(timeout=5)
    assert scheduler.status().next_push_at is not None
    assert scheduler.trigger().result(SECONDS) is not None


@pytest.mark.parametrize("method", ["flush", "stop"])
def test_the_pushing_thread_cannot_wait_for_itself(method: str, make: Make) -> None:
    class Waits(CommitScheduler):
        def push_to_hub(self) -> None:
            getattr(self, method)()

    with pytest.raises(RuntimeError, match="pushing thread"):
        make(Waits).last_future.result(SECONDS)


def test_a_flush_in_the_constructor_is_refused(make: Make) -> None:
    class Eager(CommitScheduler):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.flush()

    with pytest.raises(RuntimeError, match="constructor"):
        make(Eager)


def test_a_busy_app_does_not_repeat_a_refused_commit_at_each_row(make: Make, local_hub: LocalHub) -> None:
    scheduler = make(JsonlScheduler, push_after_rows=1)
    local_hub.faults.add(Fault(route="commit", status=403, times=None))
    scheduler.append({"n": 0})
    scheduler.last_future.exception(SECONDS)
    for n in range(1, 50):
        scheduler.append({"n": n})
        scheduler.last_future.exception(SECONDS)
    assert refused_commits(local_hub) <= 2


@pytest.mark.parametrize("budget", [float("inf"), float("nan"), -1, "10", None, True])
def test_an_exit_budget_that_is_no_time_is_refused_at_once(budget: Any, make: Make) -> None:
    with pytest.raises(HFValidationError, match="exit_budget"):
        make(exit_budget=budget)


@pytest.mark.parametrize("name", ["push_after_rows", "push_after_bytes"])
@pytest.mark.parametrize("value", ["3", 0, -1, 1.5, True])
def test_a_limit_that_is_no_number_is_refused_before_a_row_is_taken(name: str, value: Any, make: Make) -> None:
    with pytest.raises(HFValidationError, match=name):
        make(JsonlScheduler, **{name: value})


def test_a_scheduler_that_is_a_dataclass_works(hub_api: HfApi, tmp_path: Path) -> None:
    @dataclass
    class Kept(JsonlScheduler):
        dataset: str

        def __post_init__(self) -> None:
            super().__init__(self.dataset, tmp_path / "rows", hf_api=hub_api, every=600)

    with Kept("local/kept") as scheduler:
        scheduler.append({"n": 1})
    assert list(read_rows("local/kept", hub_api)) == [{"n": 1}]


def test_the_waits_of_an_override_end_with_the_flush_too(make: Make, local_hub: LocalHub, hub_api: HfApi) -> None:
    class Own(CommitScheduler):
        def push_to_hub(self) -> Any:
            content = uuid4().bytes
            return hub_api.upload_file(
                path_or_fileobj=content, path_in_repo="one.bin", repo_id="local/kept", repo_type="dataset"
            )

    scheduler = make(Own)
    scheduler.last_future.exception(SECONDS)
    local_hub.faults.add(Fault(route="commit", status=429, times=None, headers={"Retry-After": "50"}))
    with pytest.raises(RateLimitedError):
        scheduler.flush(timeout=30)
    assert refused_commits(local_hub) == 1


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "0"}, {"Retry-After": "1"}])
def test_stop_under_429_pauses_between_the_commits_that_are_refused(
    headers: dict[str, str], make: Make, local_hub: LocalHub
) -> None:
    scheduler = make(JsonlScheduler)
    scheduler.append({"n": 1})
    local_hub.faults.add(Fault(route="commit", status=429, times=None, headers=headers))
    with pytest.raises((RateLimitedError, FlushTimeout)):
        scheduler.stop(timeout=8)
    assert 1 <= refused_commits(local_hub) <= 40  # without pauses they were 76 in 8 s


def test_a_flush_with_nothing_to_send_does_not_wait_for_a_hub_that_has_refused(make: Make, local_hub: LocalHub) -> None:
    scheduler = make()
    write(scheduler)
    local_hub.faults.add(Fault(route="commit", status=429, times=None, headers={"Retry-After": "3600"}))
    with pytest.raises(RateLimitedError):
        scheduler.flush(timeout=60)
    (scheduler.folder_path / "a.txt").unlink()
    assert scheduler.flush() is None
    assert scheduler.status().last_error is None
    write(scheduler)
    with pytest.raises(RateLimitedError):
        scheduler.flush(timeout=60)
    assert refused_commits(local_hub) == 1  # it is not asked again before that time
