"""The worker calls its job once at a time, never forgets a call, and never makes two where one does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest

from hubspool.scheduling.push_loop import PushLoop, Urgency

SECONDS = 30


class Job:
    """A job that a test can hold, and that tells when it runs."""

    def __init__(self) -> None:
        self.calls: list[Urgency] = []
        self.results: list[object] = []
        self.running = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.at_once = 0
        self.most_at_once = 0

    def __call__(self, urgency: Urgency) -> object:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.calls.append(urgency)
        number = len(self.calls)
        self.running.release()
        assert self.go.acquire(timeout=SECONDS)
        self.at_once -= 1
        result = self.results.pop(0) if self.results else number
        if isinstance(result, BaseException):
            raise result
        return result

    def wait_running(self) -> None:
        assert self.running.acquire(timeout=SECONDS)


@pytest.fixture
def job() -> Job:
    return Job()


@pytest.fixture
def make(job: Job) -> Iterator[Callable[..., PushLoop[object]]]:
    made: list[PushLoop[object]] = []

    def build(period: float = 3600) -> PushLoop[object]:
        made.append(PushLoop(job, period, "test-loop"))
        return made[-1]

    yield build
    for worker in made:
        worker.stopping.set()
        job.go.release(1000)
        assert worker.stop(timeout=SECONDS)


def test_the_first_call_comes_at_once_when_asked_for(job: Job, make: Callable[..., PushLoop[object]]) -> None:
    worker = make()
    worker.start(at_once=True)
    first = worker.last_future
    job.go.release()
    assert first.result(SECONDS) == 1
    assert job.calls == [Urgency.REQUESTED]


def test_nothing_runs_before_start_and_a_trigger_from_before_is_kept(
    job: Job, make: Callable[..., PushLoop[object]]
) -> None:
    worker = make()
    early = worker.trigger()
    assert worker.last_future is early
    job.go.release()
    worker.start(at_once=True)
    worker.start(at_once=True)
    assert early.result(SECONDS) == 1
    assert job.calls == [Urgency.REQUESTED]


def test_a_trigger_while_a_call_runs_is_the_next_calls_and_triggers_coalesce(
    job: Job, make: Callable[..., PushLoop[object]]
) -> None:
    worker = make()
    worker.start(at_once=False)
    running = worker.trigger()
    job.wait_running()
    asked = [worker.trigger() for _ in range(5)]
    assert asked[0] is not running
    assert worker.last_future is asked[-1]
    job.go.release(2)
    assert (running.result(SECONDS), asked[0].result(SECONDS)) == (1, 2)
    assert len(job.calls) == 2


def test_a_final_trigger_makes_the_waiting_call_final_and_no_other(
    job: Job, make: Callable[..., PushLoop[object]]
) -> None:
    worker = make()
    worker.start(at_once=True)
    job.wait_running()
    worker.trigger()
    worker.trigger(final=True)
    worker.trigger()
    job.go.release(2)
    worker.last_future.result(SECONDS)
    after = worker.trigger()
    job.go.release()
    after.result(SECONDS)
    assert job.calls == [Urgency.REQUESTED, Urgency.FINAL, Urgency.REQUESTED]


def test_periods_call_the_job_and_those_that_passed_meanwhile_make_one_call(
    job: Job, make: Callable[..., PushLoop[object]]
) -> None:
    worker = make(0.01)
    worker.start(at_once=False)
    job.wait_running()
    with worker._condition:  # more than one period passes while the first call is held
        worker._condition.wait(0.1)
    assert worker._waiting == []
    job.go.release(2)
    job.wait_running()
    job.wait_running()
    assert job.most_at_once == 1


def test_a_period_that_is_put_off_waits_and_one_that_is_asked_for_comes_at_once(
    job: Job, make: Callable[..., PushLoop[object]]
) -> None:
    worker = make(0.01)
    worker.postpone(SECONDS * 100)
    worker.start(at_once=False)
    assert (worker.seconds_left or 0) > SECONDS
    job.go.release(2)
    worker.trigger().result(SECONDS)
    assert job.calls[0] is Urgency.REQUESTED
    worker.postpone(0)
    with worker._condition:
        assert worker._condition.wait_for(lambda: len(job.calls) > 1, SECONDS)
    assert job.calls[1] is Urgency.PERIOD


@pytest.mark.parametrize("error", [ValueError("bad"), SystemExit(3), KeyboardInterrupt()])
def test_an_error_ends_the_call_and_not_the_thread(
    error: BaseException, job: Job, make: Callable[..., PushLoop[object]]
) -> None:
    worker = make()
    worker.start(at_once=False)
    job.results = [error]
    job.go.release(2)
    assert worker.trigger().exception(SECONDS) is error
    assert worker.trigger().result(SECONDS) == 2


def test_the_job_never_runs_twice_at_once(job: Job, make: Callable[..., PushLoop[object]]) -> None:
    worker = make(0.001)
    job.go.release(10_000)
    worker.start(at_once=True)

    def ask() -> None:
        for _ in range(100):
            worker.trigger().result(SECONDS)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert job.most_at_once == 1
    assert len(job.calls) >= 100


def test_stop_waits_for_the_call_that_runs_and_cancels_the_one_that_waits(
    job: Job, make: Callable[..., PushLoop[object]]
) -> None:
    worker = make()
    worker.start(at_once=True)
    running = worker.last_future
    job.wait_running()
    waiting = worker.trigger()
    assert worker.stop(timeout=0.01) is False
    assert waiting.cancelled()
    job.go.release()
    assert worker.stop(timeout=SECONDS) is True
    assert running.result(0) == 1
    assert len(job.calls) == 1
    assert worker.seconds_left is None


def test_once_stopped_a_trigger_is_cancelled_and_start_does_nothing(
    job: Job, make: Callable[..., PushLoop[object]]
) -> None:
    worker = make()
    assert worker.stop() is True
    worker.start(at_once=True)
    assert worker.trigger().cancelled()
    assert worker.trigger(final=True).cancelled()
    assert job.calls == []


def test_the_job_may_trigger_and_stop_its_own_worker(make: Callable[..., PushLoop[object]], job: Job) -> None:
    asked: list[Future[object]] = []
    worker = make()

    def call(urgency: Urgency) -> bool:
        if not asked:
            asked.append(worker.trigger())
            return True
        return worker.stop(timeout=SECONDS)

    worker._job = call
    worker.start(at_once=True)
    worker.last_future.result(SECONDS)
    assert asked[0].result(SECONDS) is True


def test_a_call_that_its_asker_cancelled_is_left_out_and_the_next_one_runs(
    job: Job, make: Callable[..., PushLoop[object]]
) -> None:
    worker = make()
    worker.start(at_once=True)
    job.wait_running()
    assert worker.trigger().cancel()
    again = worker.trigger()
    assert not again.cancelled()
    job.go.release(2)
    assert again.result(SECONDS) == 2


def test_one_caller_who_gives_up_does_not_take_anothers_call_away(
    job: Job, make: Callable[..., PushLoop[object]]
) -> None:
    """`asyncio.wait_for(asyncio.wrap_future(trigger()), 1)` cancels the future; a flush may have asked for the same."""
    worker = make()
    worker.start(at_once=True)
    job.wait_running()
    mine = worker.trigger()
    flush = worker.trigger(final=True)
    mine.cancel()
    job.go.release(2)
    assert flush.result(SECONDS) == 2
    assert job.calls == [Urgency.REQUESTED, Urgency.FINAL]


def test_the_next_call_is_due_one_period_after_the_last_began(job: Job, make: Callable[..., PushLoop[object]]) -> None:
    worker = make(1000)
    worker.start(at_once=True)
    job.wait_running()
    left = worker.seconds_left
    assert left is not None
    assert 0 < left <= 1000


def test_a_result_is_not_kept_alive_by_the_thread(job: Job, make: Callable[..., PushLoop[object]]) -> None:
    import gc
    import weakref

    class Result:
        pass

    worker = make()
    worker.start(at_once=False)
    job.results = [Result()]
    watched = weakref.ref(job.results[0])
    job.go.release(2)
    worker.trigger().result(SECONDS)
    assert watched() is not None  # last_future has it
    worker.trigger().result(SECONDS)
    gc.collect()
    assert watched() is None


def test_a_held_request_waits_and_a_final_one_does_not(job: Job, make: Callable[..., PushLoop[object]]) -> None:
    worker = make()
    worker.start(at_once=False)
    worker.delay_requests(3600)
    held = worker.trigger()
    assert not job.running.acquire(timeout=0.2)
    final = worker.trigger(final=True)
    job.wait_running()
    job.go.release()
    assert held.result(SECONDS) == final.result(SECONDS) == 1  # one call for both
    assert job.calls == [Urgency.FINAL]


def test_a_held_request_begins_when_the_hold_or_the_period_is_over(
    job: Job, make: Callable[..., PushLoop[object]]
) -> None:
    worker = make()
    worker.start(at_once=False)
    job.go.release(2)
    worker.delay_requests(0.2)
    assert worker.trigger().result(SECONDS) == 1
    worker.delay_requests(3600)
    future = worker.trigger()
    worker.postpone(0.2)
    assert future.result(SECONDS) == 2
    assert job.calls == [Urgency.REQUESTED, Urgency.REQUESTED]


def test_a_held_request_that_is_cancelled_leaves_the_loop_idle(job: Job, make: Callable[..., PushLoop[object]]) -> None:
    worker = make()
    worker.start(at_once=False)
    worker.delay_requests(0.1)
    assert worker.trigger().cancel()
    assert not job.running.acquire(timeout=0.3)
    job.go.release()
    assert worker.trigger().result(SECONDS) == 1
