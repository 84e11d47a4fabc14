"""What the sample Space tells its visitors about where rows go."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from destination import dataset_of, link, missing_token, progress
from hubspool.push.events import State
from hubspool.scheduling.status import SchedulerStatus

NOW = datetime(2025, 5, 4, 12, 0, 0, tzinfo=timezone.utc)
QUIET = SchedulerStatus(
    state=State.IDLE,
    pending_files=0,
    pending_rows=0,
    pending_bytes=0,
    last_commit=None,
    last_commit_at=None,
    last_error=None,
    last_error_hint=None,
    consecutive_failures=0,
    next_push_at=NOW + timedelta(seconds=90),
    repo_url=None,
    commits_in_repo=0,
    skipped={},
)
WAITING = replace(QUIET, pending_rows=2)
SENT = replace(QUIET, last_commit_at=NOW - timedelta(minutes=7))
AWAY = replace(WAITING, consecutive_failures=3, last_error="refused <b>", last_error_hint="Check the network.")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (QUIET, "No vote is pending. No commit yet"),
        (SENT, "No vote is pending. Last commit: 7 minutes ago (11:53:00 UTC)."),
        (WAITING, "2 votes pending on this disk, to be sent in about 90 seconds."),
        (replace(WAITING, next_push_at=NOW), "2 votes pending on this disk, being sent now."),
        (replace(WAITING, pending_rows=1), "1 vote pending on this disk"),
        (AWAY, "2 votes are safe on this disk and will be sent."),
        (replace(AWAY, pending_rows=1), "1 vote is safe on this disk and will be sent."),
        (replace(AWAY, pending_rows=0), "New votes are safe on this disk and will be sent."),
        (AWAY, "refused &lt;b&gt; Check the network."),
    ],
)
def test_progress_is_plain_english(status: SchedulerStatus, words: str) -> None:
    assert words in progress("vote", status, "", NOW)


def test_the_name_is_a_link_once_its_address_is_known() -> None:
    assert link("me/votes", QUIET) == "<b>me/votes</b>"
    linked = link("me/votes", replace(QUIET, repo_url="http://hub/datasets/me/votes"))
    assert '<a href="http://hub/datasets/me/votes"' in linked


@pytest.mark.parametrize(
    ("environment", "repo_id", "local_only"),
    [
        ({}, "romanisation-arena-votes", False),
        ({"HUBSPOOL_REPO": "me/arena"}, "me/arena-votes", False),
        ({"SPACE_ID": "me/space"}, "me/space-votes", True),
        ({"SPACE_ID": "me/space", "HF_TOKEN": ""}, "me/space-votes", True),
        ({"SPACE_ID": "me/space", "HF_TOKEN": "hf_x"}, "me/space-votes", False),
        ({"SPACE_ID": "me/space", "HF_TOKEN": "hf_x", "HUBSPOOL_REPO": "org/all"}, "org/all-votes", False),
    ],
)
def test_the_dataset_is_named_after_the_prefix(environment: dict[str, str], repo_id: str, local_only: bool) -> None:
    assert dataset_of("votes", environment) == repo_id
    assert bool(missing_token("vote", repo_id, environment)) == local_only


def test_without_a_token_the_line_says_what_to_add() -> None:
    line = progress("vote", WAITING, missing_token("vote", "me/space-votes", {"SPACE_ID": "me/space"}), NOW)
    assert "2 votes on this disk. Votes are kept on this disk only" in line
    assert "write access to the dataset me/space-votes" in line
