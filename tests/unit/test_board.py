"""What a scheduler tells of itself, and the hooks that are told."""

from __future__ import annotations

import logging
from dataclasses import FrozenInstanceError
from types import SimpleNamespace
from typing import Any

import pytest

from hubspool import CommitEvent, ErrorEvent, SchedulerStatus, State
from hubspool.errors import HubspoolError
from hubspool.scheduling.status_tracker import StatusTracker

EVENT = CommitEvent("ab" * 20, ("data/x.jsonl",), 10, 2)
COMMIT: Any = SimpleNamespace(commit_url="http://127.0.0.1/commit/1")


def status(board: StatusTracker, seconds_left: float | None = 60) -> SchedulerStatus:
    return board.status(pending_rows=None, seconds_left=seconds_left, repo_url=None)


def test_a_new_board_knows_nothing_and_is_frozen() -> None:
    found = status(StatusTracker(None, None))
    assert (found.state, found.last_commit, found.last_error, found.commits_in_repo) == (State.IDLE, None, None, 0)
    with pytest.raises(FrozenInstanceError):
        found.state = State.STOPPED  # type: ignore[misc]  # that is the point
    assert status(StatusTracker(None, None), None).next_push_at is None


def test_a_commit_is_shown_and_told() -> None:
    told: list[CommitEvent] = []
    board = StatusTracker(told.append, None)
    board.note_commit("user/rows", EVENT, COMMIT)
    found = status(board)
    assert (found.last_commit, found.commits_in_repo) == (EVENT.oid, 1)
    assert found.last_commit_at is not None
    assert found.last_commit_at.utcoffset() is not None
    assert told == [EVENT]


def test_errors_are_counted_until_a_push_succeeds() -> None:
    told: list[ErrorEvent] = []
    board = StatusTracker(None, told.append)
    error = HubspoolError("the Hub is closed.", hint="Come back tomorrow.")
    for _ in range(3):
        board.note_error("user/rows", error, retry_in=5)
    found = status(board)
    assert (found.last_error, found.last_error_hint) == ("the Hub is closed.", "Come back tomorrow.")
    assert found.consecutive_failures == 3
    assert board.error is error
    assert [event.consecutive_failures for event in told] == [1, 2, 3]
    assert told[0].retry_at is not None
    board.note_success()
    found = status(board)
    assert (found.last_error, found.last_error_hint, found.consecutive_failures) == (None, None, 0)


@pytest.mark.parametrize("error", [ValueError(), KeyError("x"), HubspoolError("")])
def test_an_error_without_words_is_shown_too(error: Exception) -> None:
    board = StatusTracker(None, None)
    board.note_error("user/rows", error, retry_in=None)
    assert status(board).last_error


def test_an_outage_of_a_day_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    board = StatusTracker(None, None)
    with caplog.at_level(logging.INFO):
        for _ in range(300):
            board.note_error("user/rows", HubspoolError("down"), retry_in=None)
    loud = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(loud) == 5  # 1, 10, 100, 200, 300
    assert all(record.exc_info for record in loud)


def test_a_hook_that_fails_is_logged_and_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fail(event: object) -> None:
        raise RuntimeError("my hook")

    board = StatusTracker(fail, fail)
    board.note_commit("user/rows", EVENT, COMMIT)
    board.note_error("user/rows", HubspoolError("down"), retry_in=None)
    assert caplog.text.count("RuntimeError: my hook") == 2
    assert status(board).last_commit == EVENT.oid


def test_a_hook_may_ask_for_the_status() -> None:
    found: list[SchedulerStatus] = []
    board = StatusTracker(lambda event: found.append(status(board)), None)
    board.note_commit("user/rows", EVENT, COMMIT)
    assert found[0].last_commit == EVENT.oid


def test_set_aside_files_are_copies() -> None:
    board = StatusTracker(None, None)
    status(board).skipped["x"] = "y"
    board.skipped["x"] = "y"
    assert status(board).skipped == {}
