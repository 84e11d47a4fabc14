"""Somebody else moves the repo or its branch while rows go there."""

from __future__ import annotations

import subprocess

import pytest
import requests

from hubspool import CommitPlan
from tests.support.env import InProcess, Open, Place, Start
from tests.support.oracle import REPO


def commits(place: Place, repo: str = REPO) -> list[str]:
    """Return the branch's commits, newest first."""
    return [commit.commit_id for commit in place.api.list_repo_commits(repo, repo_type="dataset")]


def reset(place: Place, commit: str) -> None:
    """Point the branch to an older commit, as `git push --force` does."""
    (ref,) = place.hub.root.rglob("refs/heads/main")
    subprocess.run(["git", "-C", ref.parents[2], "update-ref", "refs/heads/main", commit], check=True)
    assert commits(place)[0] == commit


def push(here: InProcess, rows: int) -> list[str]:
    """Write rows and send them; return their ids."""
    ids = [here.producer.put() for _ in range(rows)]
    here.scheduler.flush(60)
    return ids


NEW_NAME = "local/renamed"


def rename(place: Place) -> None:
    # Not through huggingface_hub: the environments of the other Python versions have no peers.
    answer = requests.post(
        f"{place.hub.endpoint}/api/repos/move",
        json={"fromRepo": REPO, "toRepo": NEW_NAME, "type": "dataset"},
        headers={"Authorization": f"Bearer {place.hub.token}"},
        timeout=30,
    )
    answer.raise_for_status()


@pytest.mark.parametrize("mode", ["jsonl", "files"])
def test_rows_go_on_arriving_in_a_repo_that_was_renamed(place: Place, start: Start, mode: str) -> None:
    """The Hub leads the old name to the new one, and a program may go on with either."""
    process = start(mode=mode, rows=3, rounds=2, more=2, leave="read", exit_budget=40)
    process.wait_line("ready")
    rename(place)
    process.end_input()
    assert process.wait() == 0, process.errors()
    assert 307 in {record.status for record in place.hub.requests.of("commit")}
    assert place.judge(repo=NEW_NAME, start=False).check().on_hub == 8
    for name in (REPO, NEW_NAME):
        process = start(mode=mode, repo=name, rows=2)
        process.wait_line("stopped")
    assert place.judge(repo=NEW_NAME, start=mode == "jsonl").check().on_hub >= 12
    assert place.api.repo_info(REPO, repo_type="dataset").id == NEW_NAME, "a second repo was made"


def test_a_repo_that_is_renamed_in_the_middle_of_a_push(place: Place, open_here: Open) -> None:
    renamed = []

    def before_commit(plan: CommitPlan) -> None:
        if not renamed:
            rename(place)
        renamed.append(plan)

    here = open_here(on_before_commit=before_commit)
    here.scheduler.last_future.result(60)  # or it takes some of the rows
    push(here, 3)
    push(here, 2)
    here.scheduler.stop()
    assert len(renamed) == 2
    assert place.judge(repo=NEW_NAME).check().on_hub == 6


def test_a_branch_that_was_reset_to_before_our_rows_does_not_get_them_again(place: Place, open_here: Open) -> None:
    """It may have been a person who removed their data; it is told, and later rows go to the next part."""
    here = open_here()
    removed = push(here, 3) + push(here, 2)
    reset(place, commits(place)[-1])
    for _ in range(2):
        here.producer.put_many(2)
        here.scheduler.trigger().result(60)
        assert len(commits(place)) == 1, "a read may be stale: nothing is decided at the first look"
        assert "changed or removed on the Hub by somebody else" in str(here.scheduler.status().skipped)
    push(here, 2)  # a flush does not wait for a minute
    assert "not sent again" in str(here.scheduler.status().skipped)
    here.scheduler.stop()
    verdict = place.judge()
    assert verdict.lost == sorted(removed)
    verdict.lost.clear()
    verdict.left = [what for what in verdict.left if what.split()[-1] not in removed]
    assert verdict.check().on_hub == 7


@pytest.mark.parametrize("mode", ["jsonl", "files"])
def test_a_branch_that_was_reset_to_an_earlier_push_gets_the_later_rows_again(
    place: Place, start: Start, mode: str
) -> None:
    """What stands there is ours, as it was: nobody took these rows out on purpose."""
    process = start(mode=mode, rows=3, rounds=2, more=2, leave="read", foreign=0, exit_budget=40)
    process.wait_line("ready")
    reset(place, commits(place)[1])
    process.end_input()
    assert process.wait() == 0, process.errors()
    assert place.judge(start=False).check().on_hub == 8
    if mode == "jsonl":
        place.judge().check()


def test_a_branch_that_was_squashed_by_somebody_else(place: Place, open_here: Open) -> None:
    here = open_here()
    push(here, 3)
    push(here, 2)
    place.api.super_squash_history(REPO, repo_type="dataset")
    assert len(commits(place)) == 1
    push(here, 2)
    assert len(commits(place)) == 2
    here.scheduler.stop()
    place.judge().check()
