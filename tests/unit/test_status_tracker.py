"""What a scheduler tells of itself, and the hooks that are told."""

from __future__ import annotations

import logging
from dataclasses import FrozenInstanceError
from types import SimpleNamespace
from typing import Any

import pytest

from hubspool import CommitEvent, ErrorEvent, SchedulerStatus, State
from hubspool.errors import HubspoolError
from hubspool.push.events import PushResult
from hubspool.scheduling import status_tracker
from hubspool.scheduling.status_tracker import StatusTracker


def NAME() -> str:
    return "user/rows"


EVENT = CommitEvent("ab" * 20, ("data/x.jsonl",), 10, 2)
COMMIT: Any = SimpleNamespace(commit_url="http://127.0.0.1/commit/1")


def status(tracker: StatusTracker, seconds_left: float | None = 60) -> SchedulerStatus:
    return tracker.status(pending_rows=None, seconds_left=seconds_left, repo_url=None)


def test_a_new_board_knows_nothing_and_is_frozen() -> None:
    found = status(StatusTracker(NAME))
    assert (found.state, found.last_commit, found.last_error, found.commits_in_repo) == (State.IDLE, None, None, 0)
    with pytest.raises(FrozenInstanceError):
        found.state = State.STOPPED  # type: ignore[misc]  # that is the point
    assert status(StatusTracker(NAME), None).next_push_at is None


def test_without_a_pending_row_nothing_is_pending_whatever_the_last_push_left() -> None:
    tracker = StatusTracker(NAME)
    tracker.note_planned(PushResult(pending_files=1, pending_bytes=120))
    found = tracker.status(pending_rows=0, seconds_left=60, repo_url=None, pending=(0, 0))
    assert (found.pending_rows, found.pending_files, found.pending_bytes) == (0, 0, 0)
    assert (status(tracker).pending_files, status(tracker).pending_bytes) == (1, 120)


def test_a_commit_is_shown_and_told() -> None:
    told: list[CommitEvent] = []
    tracker = StatusTracker(NAME, told.append, None)
    tracker.note_commit(EVENT, COMMIT)
    found = status(tracker)
    assert (found.last_commit, found.commits_in_repo) == (EVENT.oid, 1)
    assert found.last_commit_at is not None
    assert found.last_commit_at.utcoffset() is not None
    assert told == [EVENT]


def test_errors_are_counted_until_a_push_succeeds() -> None:
    told: list[ErrorEvent] = []
    tracker = StatusTracker(NAME, None, told.append)
    error = HubspoolError("the Hub is closed.", hint="Come back tomorrow.")
    for _ in range(3):
        tracker.note_error(error, retry_in=5)
    found = status(tracker)
    assert (found.last_error, found.last_error_hint) == ("the Hub is closed.", "Come back tomorrow.")
    assert found.consecutive_failures == 3
    assert tracker.error is error
    assert [event.consecutive_failures for event in told] == [1, 2, 3]
    assert told[0].retry_at is not None
    tracker.note_success()
    found = status(tracker)
    assert (found.last_error, found.last_error_hint, found.consecutive_failures) == (None, None, 0)


@pytest.mark.parametrize("error", [ValueError(), KeyError("x"), HubspoolError("")])
def test_an_error_without_words_is_shown_too(error: Exception) -> None:
    tracker = StatusTracker(NAME)
    tracker.note_error(error, retry_in=None)
    assert status(tracker).last_error


def test_an_outage_of_a_day_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    tracker = StatusTracker(NAME)
    with caplog.at_level(logging.INFO):
        for _ in range(300):
            tracker.note_error(HubspoolError("down"), retry_in=None)
    loud = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(loud) == 5  # 1, 10, 100, 200, 300
    assert not any(record.exc_info for record in caplog.records)


def test_a_hook_that_fails_is_logged_and_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fail(event: object) -> None:
        raise RuntimeError("my hook")

    tracker = StatusTracker(NAME, fail, fail)
    tracker.note_commit(EVENT, COMMIT)
    tracker.note_error(HubspoolError("down"), retry_in=None)
    assert caplog.text.count("RuntimeError: my hook") == 2
    assert status(tracker).last_commit == EVENT.oid


def test_a_hook_may_ask_for_the_status() -> None:
    found: list[SchedulerStatus] = []
    tracker = StatusTracker(NAME, lambda event: found.append(status(tracker)), None)
    tracker.note_commit(EVENT, COMMIT)
    assert found[0].last_commit == EVENT.oid


def test_set_aside_files_are_copies() -> None:
    tracker = StatusTracker(NAME)
    status(tracker).skipped["x"] = "y"
    tracker.skipped["x"] = "y"
    assert status(tracker).skipped == {}


class Clock:
    """A clock that a test sets, in place of the module `time`."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(status_tracker, "time", Clock())
    return status_tracker.time  # type: ignore[return-value]


def test_a_scheduler_is_unhealthy_after_two_periods_without_success(clock: Clock) -> None:
    tracker = StatusTracker(NAME, period=60)
    clock.now += 120
    assert status(tracker).is_healthy
    clock.now += 1
    assert not status(tracker).is_healthy
    tracker.note_success()
    assert status(tracker).is_healthy


@pytest.mark.parametrize(
    "left", [PushResult(is_busy=True), PushResult(stuck={"a.csv": 5}), PushResult(stuck={"b": -1})]
)
def test_a_push_that_sent_nothing_of_what_is_pending_is_no_success(left: PushResult, clock: Clock) -> None:
    tracker = StatusTracker(NAME, period=60)
    for _ in range(2):
        tracker.note_result(left, {})
        tracker.note_success()
        assert status(tracker).is_healthy
        clock.now += 60.1
    assert not status(tracker).is_healthy
    tracker.note_result(PushResult(), {})
    tracker.note_success()
    assert status(tracker).is_healthy


def test_a_file_that_gets_on_and_an_upload_that_gets_on_are_healthy(clock: Clock) -> None:
    tracker = StatusTracker(NAME, period=60)
    for end in range(5):
        tracker.note_result(PushResult(stuck={"a.csv": end}), {})
        tracker.note_success()
        clock.now += 60
        assert status(tracker).is_healthy
    tracker.note_result(PushResult(), {})
    for _ in range(5):
        tracker.enter(State.UPLOADING)
        clock.now += 60
        assert status(tracker).is_healthy
    clock.now += 61
    assert not status(tracker).is_healthy
