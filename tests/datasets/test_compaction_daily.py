"""Schedulers join the parts of past days by themselves, and people by `hubspool compact`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from hubspool import CommitOperationAdd, CommitScheduler, HfApi
from hubspool.cli import main as hubspool
from hubspool.local_hub import Fault, LocalHub
from hubspool.push.budget import Budget
from hubspool.push.joiner import Joiner
from hubspool.scheduling import daily
from hubspool_templates import JsonlScheduler
from tests.datasets.test_compaction import REPO, data_files, numbers, plant

Make = Callable[..., JsonlScheduler]
SECOND = 1 / 60


@pytest.fixture
def due_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Old parts are joined at the first push of a period, however few they are."""
    small = replace(daily.DEFAULTS, first_compaction=0, compaction_files=2)
    monkeypatch.setattr(daily, "DEFAULTS", small)


@pytest.fixture
def titles(hub_api: HfApi) -> Callable[[], list[str]]:
    return lambda: [each.title for each in hub_api.list_repo_commits(REPO, repo_type="dataset")][::-1]


def is_joined(api: HfApi) -> bool:
    return any("-joined." in path for path in data_files(api))


def wait_until(true: Callable[[], bool], seconds: float = 30) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it did not come"
        time.sleep(0.05)


@pytest.mark.usefixtures("due_at_once")
def test_a_push_joins_parts_of_past_days_after_its_rows(
    make: Make, hub_api: HfApi, titles: Callable[[], list[str]]
) -> None:
    hub_api.create_repo(REPO, repo_type="dataset")
    planted = plant(hub_api, range(1, 4), 2, [CommitOperationAdd("data/2026-01/votes.jsonl", b'{"n":-1}\n')])
    scheduler = make(every=SECOND)
    scheduler.extend([{"n": 0}])
    wait_until(lambda: is_joined(hub_api))
    rows, join = (next(i for i, title in enumerate(titles()) if title.startswith(begin)) for begin in ("Add", "Join"))
    assert rows < join
    today = f"{datetime.now(timezone.utc):%Y%m%d}"
    names = [re.sub("joined.*", "joined", path.rpartition("/")[2]) for path in data_files(hub_api)]
    assert sorted(name for name in names if today not in name) == ["train-20260103-joined", "votes.jsonl"]
    assert any(today in name for name in names)
    assert numbers(hub_api) == [-1, 0, *planted]
    scheduler.append({"n": 1})
    scheduler.flush()
    assert numbers(hub_api) == [-1, 0, 1, *planted]


@pytest.mark.usefixtures("due_at_once")
def test_without_the_option_nothing_is_joined(make: Make, hub_api: HfApi, local_hub: LocalHub) -> None:
    hub_api.create_repo(REPO, repo_type="dataset")
    plant(hub_api, range(1, 4), 2)
    scheduler = make(every=SECOND, compact=False)
    for n in range(2):
        before = len(local_hub.requests.of("commit"))
        scheduler.append({"n": n})
        local_hub.requests.wait_for(lambda record: record.route == "commit", count=before + 1)
    assert not is_joined(hub_api)


@pytest.mark.usefixtures("due_at_once")
def test_a_flush_ends_a_join_that_is_under_way(make: Make, hub_api: HfApi, local_hub: LocalHub) -> None:
    hub_api.create_repo(REPO, repo_type="dataset")
    planted = plant(hub_api, range(1, 16), 10)
    local_hub.faults.add(Fault(route="resolve", path="/2026-01/", delay=0.2, times=None))
    scheduler = make(every=SECOND)
    assert local_hub.faults.wait_for_hits(8)
    scheduler.append({"n": 0})
    scheduler.flush(20)
    assert not is_joined(hub_api)
    assert len(local_hub.faults.hits) < 150
    scheduler.stop()
    local_hub.faults.clear()
    assert numbers(hub_api) == [0, *planted]


@pytest.mark.usefixtures("due_at_once")
def test_when_its_time_is_over_what_was_downloaded_is_joined(
    make: Make, hub_api: HfApi, local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where requests are slow, a join of everything would never end."""
    monkeypatch.setattr(daily, "DEFAULTS", replace(daily.DEFAULTS, compaction_seconds=1.0))
    hub_api.create_repo(REPO, repo_type="dataset")
    planted = plant(hub_api, range(1, 16), 10)
    local_hub.faults.add(Fault(route="resolve", path="/2026-01/train-202601", delay=0.2, times=None))
    make(every=SECOND)
    wait_until(lambda: is_joined(hub_api))
    local_hub.faults.clear()
    assert 1 < len(data_files(hub_api)) < 150
    assert numbers(hub_api) == planted


@pytest.mark.usefixtures("due_at_once")
def test_a_join_that_fails_is_no_failure_of_the_push(
    make: Make, hub_api: HfApi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> list[int]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Joiner, "join", full)
    hub_api.create_repo(REPO, repo_type="dataset")
    planted = plant(hub_api, range(1, 4), 2)
    scheduler = make(every=SECOND)
    scheduler.append({"n": 0})
    wait_until(lambda: "No space left" in caplog.text)
    scheduler.flush()
    assert numbers(hub_api) == [0, *planted]
    assert (scheduler.status().consecutive_failures, scheduler.status().last_error) == (0, None)


@pytest.mark.usefixtures("due_at_once")
def test_a_join_is_counted_in_the_commits_of_the_hour(
    make: Make, hub_api: HfApi, monkeypatch: pytest.MonkeyPatch, titles: Callable[[], list[str]]
) -> None:
    monkeypatch.setattr(CommitScheduler, "budget", Budget(commits=1, jitter=0))
    hub_api.create_repo(REPO, repo_type="dataset")
    plant(hub_api, range(1, 4), 2)
    scheduler = make(every=SECOND)
    wait_until(lambda: is_joined(hub_api))
    turns = scheduler._worker.turns
    assert turns.may_commit_beside(has_pushed=False)  # nothing was pushed yet
    turns.note_commit()
    assert 3500 < turns.seconds_until_next(1) <= 3600
    turns.note_beside(1)
    assert 7100 < turns.seconds_until_next(1) <= 7200
    assert not turns.may_commit_beside(has_pushed=False)
    assert sum(title.startswith("Join") for title in titles()) == 1


@pytest.fixture
def compact(
    local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run `hubspool compact`; returns exit code, standard output and standard error."""
    monkeypatch.setenv("HF_ENDPOINT", local_hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", local_hub.token)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))

    def run(*words: str) -> tuple[int, str, str]:
        code = hubspool(["compact", *words])
        return code, *capsys.readouterr()

    return run


def test_the_command_joins_what_is_before_a_day_and_says_so(
    hub_api: HfApi, compact: Callable[..., tuple[int, str, str]]
) -> None:
    hub_api.create_repo(REPO, repo_type="dataset")
    planted = plant(hub_api, [1, 2, 3], 2)
    size = sum(len(f'{{"n":{n}}}\n') for n in planted)
    line = f"train, 2026-01-01 to 2026-01-03: 6 jsonl files, {size} bytes"
    head = hub_api.list_repo_commits(REPO, repo_type="dataset")[0].commit_id
    code, out, err = compact(REPO, "--dry-run")
    assert (code, out) == (0, f"{line}\n6 files would become 1, or one for each schema.\n"), err
    code, out, err = compact(REPO, "--before", "2026-01-03", "--dry-run")
    assert "2026-01-01 to 2026-01-02: 4 jsonl files" in out
    assert hub_api.list_repo_commits(REPO, repo_type="dataset")[0].commit_id == head
    code, out, err = compact("votes", "--before", "2026-01-03")
    assert (code, out) == (0, f"4 files became 1 file, in 1 commit: {size * 4 // 6} bytes.\n")
    assert "2026-01-01 to 2026-01-02: 4 jsonl files" in err
    assert len(data_files(hub_api)) == 3
    code, out, err = compact(REPO)
    assert code == 0
    assert compact(REPO)[:2] == (0, "Nothing to join.\n")
    assert numbers(hub_api) == planted
