"""What the sample Space tells its visitors about where rows go."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from destination import kind_of, link, minutes_between_pushes, missing_token, place_of, progress
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
        (QUIET, "No vote is pending. Nothing was sent yet"),
        (SENT, "No vote is pending. Last push: 7 minutes ago (11:53:00 UTC)."),
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
    for address, path in (("hf://buckets/me/all", ""), ("hf://buckets/me/all/a/votes", "/tree/a/votes")):
        linked = link(address, replace(QUIET, repo_url="http://hub/buckets/me/all"))
        assert f'<a href="http://hub/buckets/me/all{path}"' in linked


@pytest.mark.parametrize(
    ("environment", "place", "local_only"),
    [
        ({}, "romanisation-arena-votes", False),
        ({"HUBSPOOL_REPO": "me/arena"}, "me/arena-votes", False),
        ({"SPACE_ID": "me/space"}, "me/space-votes", True),
        ({"SPACE_ID": "me/space", "HF_TOKEN": ""}, "me/space-votes", True),
        ({"SPACE_ID": "me/space", "HF_TOKEN": "hf_x"}, "me/space-votes", False),
        ({"SPACE_ID": "me/space", "HF_TOKEN": "hf_x", "HUBSPOOL_REPO": "org/all"}, "org/all-votes", False),
        ({"HUBSPOOL_REPO": "hf://buckets/me/all"}, "hf://buckets/me/all/votes", False),
        ({"HUBSPOOL_REPO": "hf://buckets/me/all/a b/", "SPACE_ID": "me/space"}, "hf://buckets/me/all/a b/votes", True),
    ],
)
def test_the_rows_of_a_tab_go_where_the_variable_says(
    environment: dict[str, str], place: str, local_only: bool
) -> None:
    assert place_of("votes", environment) == place
    assert bool(missing_token("vote", place, environment)) == local_only
    assert minutes_between_pushes(environment) == (0.1 if kind_of(place) == "bucket" else 5)


@pytest.mark.parametrize(
    "repo", ["hf://buckets/", "hf://buckets/me", "hf://buckets/me//votes", "hf://datasets/a/b", "a/b/c", "http://a/b"]
)
def test_a_place_that_does_not_exist_is_named_with_what_does(repo: str) -> None:
    for use in (lambda given: place_of("votes", given), minutes_between_pushes):
        with pytest.raises(ValueError, match=f"HUBSPOOL_REPO is '{repo}': set it to your-name/arena for datasets, or"):
            use({"HUBSPOOL_REPO": repo, "HUBSPOOL_EVERY": "5"})


def test_without_a_token_the_line_says_what_to_add() -> None:
    line = progress("vote", WAITING, missing_token("vote", "me/space-votes", {"SPACE_ID": "me/space"}), NOW)
    assert "2 votes on this disk. Votes are kept on this disk only" in line
    assert "write access to the dataset me/space-votes" in line
    place = "hf://buckets/me/all/votes"
    assert f"write access to the bucket {place}" in missing_token("vote", place, {"SPACE_ID": "me/space"})
