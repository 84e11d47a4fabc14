"""What the workers of a large upload do next: decisions, with a clock and numbers given."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubspool.client.defaults import TaskLimits
from hubspool.client.large_upload.queue import Job, LargeFile, LargeQueue, Stage, Task
from hubspool.client.large_upload.upload import format_size, report
from hubspool.errors import (
    BadRequestError,
    ForbiddenError,
    HubspoolError,
    HubTimeoutError,
    Outcome,
    PayloadTooLargeError,
    RateLimitedError,
    RequestError,
)
from hubspool.files import Stat

OUT = Outcome.NOT_APPLIED


def file(number: int = 0, *, size: int = 10, stage: Stage = Stage.FOUND, large: bool = False) -> LargeFile:
    return LargeFile(f"{number:03}", Stat(size, 1, 1, number), stage, "a" * 64, "b" * 40, large)


def queue_of(*files: LargeFile, workers: int = 2, **limits: float) -> LargeQueue:
    queue = LargeQueue(workers, TaskLimits(**limits))  # type: ignore[arg-type]
    for each in files:
        queue.put(each, 0.0)
    return queue


def taken(queue: LargeQueue, now: float = 0.0) -> Task:
    task = queue.next(now)
    assert task is not None
    return task


def advance(task: Task) -> None:
    """Do a task's work."""
    for each in task.files:
        if task.job is Job.HASH:
            each.stage = Stage.HASHED
        elif task.job is Job.ASK:
            each.stage = Stage.LARGE if each.is_large and not each.is_sent else Stage.READY
        elif task.job is Job.SEND:
            each.stage, each.is_sent = Stage.READY, True
        else:
            each.stage = Stage.COMMITTED


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=40),
    st.integers(1, 4),
    st.lists(st.sampled_from(["ok", "ok", "503", "lost", "413"]), max_size=60),
    st.randoms(use_true_random=False),
)
def test_every_file_is_committed_once_whatever_fails_on_the_way(
    sizes: list[tuple[int, bool]], workers: int, fates: list[str], chance: object
) -> None:
    files = [file(n, size=size, large=large) for n, (size, large) in enumerate(sizes)]
    queue = queue_of(*files, workers=workers, hash_files=7, ask_files=5, send_files=3, commit_files=6, commit_bytes=60)
    now, running = 0.0, []
    landed: Counter[str] = Counter()
    for _ in range(2000):
        while len(running) < workers and (task := queue.next(now)) is not None:
            assert task.files
            running.append(task)
        assert [task.job for task in running].count(Job.COMMIT) <= 1
        if not running:
            if queue.is_over:
                break
            wait = queue.seconds_until_next(now)
            assert wait is not None, "nothing runs, nothing is due, and it is not over"
            now += wait
            continue
        task = running.pop(0)
        fate = fates.pop() if fates else "ok"
        if fate == "ok" or (fate == "413" and len(task.files) == 1):
            if task.job is Job.COMMIT:
                landed.update(each.path for each in task.files)
            advance(task)
            queue.finished(task, now)
        else:
            errors: dict[str, HubspoolError] = {
                "503": RequestError("", retryable=True, outcome=OUT),
                "lost": RequestError("", retryable=True, outcome=Outcome.UNKNOWN),
                "413": PayloadTooLargeError("", status_code=413),
            }
            queue.failed(task, errors[fate], now, 0.5)
    assert queue.is_over
    assert queue.error is None
    assert landed == {each.path: 1 for each in files}


@pytest.mark.parametrize("attempts", [0, 3, 10, 1000])
def test_passing_failures_are_repeated_without_limit_after_at_most_a_minute(attempts: int) -> None:
    queue = queue_of(file())
    task = Task(Job.HASH, taken(queue).files, attempts)
    queue.failed(task, RequestError("", retryable=True, outcome=OUT), 100.0, 0.999)
    assert queue.next(100.0) is None
    wait = queue.seconds_until_next(100.0)
    assert wait is not None
    assert 0.9 * min(2**attempts, 60) <= wait <= 60
    assert taken(queue, 100.0 + wait).attempts == attempts + 1


def test_a_hub_that_asks_for_more_patience_gets_it() -> None:
    queue = queue_of(file())
    queue.failed(taken(queue), RateLimitedError("", status_code=429, retry_after=300.0), 0.0, 0.5)
    assert queue.seconds_until_next(0.0) == 301.0  # and jitter, so that not all writers return in the same second


def test_a_permanent_error_ends_everything_and_stays_to_be_raised() -> None:
    queue = queue_of(file(0), file(1), hash_files=1)
    error = ForbiddenError("no", status_code=403)
    queue.failed(taken(queue), error, 0.0, 0.5)
    assert (queue.is_over, queue.error, queue.next(1e9)) == (True, error, None)


def test_a_refused_file_is_found_by_halving_and_the_others_are_committed() -> None:
    files = [file(n, stage=Stage.READY) for n in range(8)]
    queue = queue_of(*files)
    sizes = []
    while (task := queue.next(0.0)) is not None:
        sizes.append(len(task.files))
        if files[5] in task.files:
            queue.failed(task, BadRequestError("no such name", status_code=422), 0.0, 0.5)
        else:
            advance(task)
            queue.finished(task, 0.0)
    assert sizes == [8, 4, 4, 2, 1, 1, 2]
    assert queue.reasons == {"005": "no such name"}
    assert queue.is_over
    assert [each.stage for each in files].count(Stage.COMMITTED) == 7


def test_a_commit_with_an_unknown_outcome_is_asked_about_before_it_is_made_again() -> None:
    files = [file(n, stage=Stage.READY) for n in range(3)]
    queue = queue_of(*files, ask_files=2)
    queue.failed(taken(queue), HubTimeoutError("", outcome=Outcome.UNKNOWN), 0.0, 0.5)
    assert {each.stage for each in files} == {Stage.HASHED}
    assert [taken(queue, 60.0).job for _ in range(2)] == [Job.ASK, Job.ASK]
    assert queue.limits.commit_files == 500


def test_a_file_that_has_waited_for_its_commit_long_enough_does_not_wait_for_others() -> None:
    queue = queue_of(file(0, stage=Stage.READY), *[file(n, stage=Stage.LARGE, large=True) for n in range(1, 4)])
    assert taken(queue).job is Job.SEND
    assert queue.next(299.0) is None
    assert queue.seconds_until_next(299.0) == 1.0
    assert taken(queue, 300.0).job is Job.COMMIT


def test_one_worker_keeps_hashing_while_others_send() -> None:
    found = [file(n) for n in range(4)]
    large = [file(n, stage=Stage.LARGE, large=True) for n in range(4, 9)]
    queue = queue_of(*found, *large, workers=3, hash_files=1, send_files=1)
    assert Counter(taken(queue).job for _ in range(3)) == {Job.SEND: 2, Job.HASH: 1}


def test_the_report_counts_files_and_bytes_by_stage() -> None:
    files = [file(n, size=10**9, large=True, stage=Stage.LARGE) for n in range(5)]
    started = datetime(2024, 7, 22, 17, 23, 17, tzinfo=timezone.utc)
    text = report(files, Counter({Job.SEND: 5}), 16, started, started + timedelta(seconds=3661))
    assert text.splitlines() == [
        "---------- 2024-07-22 18:24:18 (1:01:01) ----------",
        "Files:   hashed 5/5 (5.0G/5.0G) | pre-uploaded: 0/5 (0.0/5.0G) | committed: 0/5 (0.0/5.0G) | ignored: 0",
        "Workers: hashing: 0 | get upload mode: 0 | pre-uploading: 5 | committing: 0 | waiting: 11",
        "---------------------------------------------------",
    ]


@pytest.mark.parametrize(("size", "text"), [(0, "0.0"), (999, "999.0"), (1000, "1.0K"), (5 * 10**9, "5.0G")])
def test_sizes_are_written_as_tqdm_does(size: int, text: str) -> None:
    assert format_size(size) == text
