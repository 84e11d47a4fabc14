"""The options that all schedulers of rows have: their defaults, and that each does what it says."""

from __future__ import annotations

import inspect
import os
import re
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone

import pytest

from hubspool import HfApi
from hubspool.errors import HFValidationError
from hubspool.spool import segment_file, spool
from hubspool_templates import JsonlScheduler, read_rows
from hubspool_templates.rows import RowScheduler

REPO = "local/votes"
SECONDS = 60

Make = Callable[..., JsonlScheduler]

DEFAULTS = {
    "repo_type": "dataset",
    "private": True,
    "name": "train",
    "path_in_repo": "data",
    "every": 5,
    "push_after_rows": None,
    "push_after_bytes": None,
    "max_spool_bytes": 10 * 1024**3,
    "keep_local": False,
    "redact": None,
    "durability": "process",
    "timestamp": False,
    "id": False,
    "config": None,
    "compact": "daily",
    "retain_days": None,
    "allow_patterns": None,
    "ignore_patterns": None,
    "publish_to": None,
    "publish_every": 1440,
}


def test_the_defaults_are_those_of_the_table() -> None:
    parameters = inspect.signature(RowScheduler.__init__).parameters
    assert {name: parameters[name].default for name in DEFAULTS} == DEFAULTS
    assert {name for name, each in parameters.items() if each.kind is each.KEYWORD_ONLY} == set(DEFAULTS)


@pytest.mark.parametrize(("option", "private"), [({}, True), ({"private": True}, True), ({"private": False}, False)])
def test_the_dataset_is_private_unless_it_is_to_be_public(
    option: dict[str, bool], private: bool, make: Make, hub_api: HfApi
) -> None:
    make(**option)
    assert hub_api.repo_info(REPO, repo_type="dataset").private is private


def test_a_model_repo_takes_rows_without_a_card(make: Make, hub_api: HfApi) -> None:
    with make(repo_type="model") as scheduler:
        scheduler.append({"n": 1})
    assert list(read_rows(REPO, hub_api, repo_type="model")) == [{"n": 1}]
    assert "README.md" not in hub_api.list_repo_files(REPO, repo_type="model")


def test_a_space_takes_rows_without_a_card(make: Make, hub_api: HfApi) -> None:
    hub_api.create_repo(REPO, repo_type="space", space_sdk="static")
    with make(repo_type="space") as scheduler:
        scheduler.append({"n": 1})
    assert list(read_rows(REPO, hub_api, repo_type="space")) == [{"n": 1}]


@pytest.mark.parametrize("path_in_repo", ["", "data", "a/b"])
def test_rows_stand_under_path_in_repo_and_name(path_in_repo: str, make: Make, hub_api: HfApi) -> None:
    with make(path_in_repo=path_in_repo, name="votes.2") as scheduler:
        scheduler.append({"n": 1})
    (path,) = [path for path in hub_api.list_repo_files(REPO, repo_type="dataset") if path.endswith(".jsonl")]
    folder, _, name = path.rpartition("/")
    assert re.fullmatch(rf"{path_in_repo}/?\d{{4}}-\d\d", folder)
    assert name.startswith("votes.2-")


@pytest.mark.parametrize("name", ["", "a/b", "a b", "-a", ".hidden", "ü"])
def test_a_name_that_begins_no_file_name_is_refused(name: str, make: Make) -> None:
    with pytest.raises(HFValidationError, match=r"name is .*, and begins file names"):
        make(name=name)


def test_the_period_is_every_minutes(make: Make) -> None:
    scheduler = make(every=7)
    scheduler.flush(SECONDS)
    due = scheduler.status().next_push_at
    assert due is not None
    assert scheduler.every == 7
    assert scheduler._runner.loop.seconds_left <= 7 * 60 * 1.05


@pytest.mark.parametrize(("durability", "synced"), [("process", 0), ("disk", 3)])
def test_durability_says_whether_each_row_is_synced_before_append_returns(
    durability: str, synced: int, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "DEFAULTS", replace(spool.DEFAULTS, sync_seconds=600))  # the background sync stays away
    scheduler = make(durability=durability)
    scheduler.append({"n": 0})
    done: list[int] = []
    monkeypatch.setattr(segment_file, "sync", lambda fd: done.append(os.fstat(fd).st_size))
    for n in range(1, 4):
        scheduler.append({"n": n})
    assert done == [8 * n for n in range(2, 2 + synced)]


def test_an_unknown_durability_is_refused(make: Make) -> None:
    with pytest.raises(HFValidationError, match="durability"):
        make(durability="tape")


def test_a_redact_that_returns_no_row_is_told(make: Make) -> None:
    scheduler = make(redact=lambda row: None)
    with pytest.raises(ValueError, match="dict of columns"):
        scheduler.append({"n": 1})


def test_rows_have_a_time_and_an_id_where_they_are_asked_for(make: Make, hub_api: HfApi) -> None:
    before = datetime.now(timezone.utc)
    with make(timestamp=True, id=True, redact=lambda row: {"n": row["n"]}) as scheduler:
        scheduler.append({"n": 0})
        scheduler.extend([{"n": 1}, {"n": 2}])
    with make(timestamp=True, id=True) as scheduler:
        scheduler.append({"n": 3})
        scheduler.append({"n": 4, "id": "mine", "timestamp": None})
    rows = sorted(read_rows(REPO, hub_api), key=lambda row: int(row["n"]))
    assert list(rows[0]) == ["timestamp", "id", "n"]
    assert {len(row["timestamp"]) for row in rows[:4]} == {len("2026-01-02T03:04:05.678901+00:00")}
    times = [before, *(datetime.fromisoformat(row["timestamp"]) for row in rows[:4]), datetime.now(timezone.utc)]
    assert times == sorted(times)
    ids = [row["id"] for row in rows[:4]]
    assert ids == sorted(set(ids))
    assert rows[4] == {"n": 4, "id": "mine", "timestamp": None}


def test_ids_sort_even_when_the_clock_goes_back(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = make(id=True)
    ids = []
    for clock in (2_000, 1_000, 1_000, 3_000):
        monkeypatch.setattr(time, "time_ns", lambda clock=clock: clock)
        ids.append(scheduler._completed({})["id"])
    monkeypatch.undo()
    assert ids == sorted(set(ids))
    assert int(ids[3][:16], 16) == 3_000
