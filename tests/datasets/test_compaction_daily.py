"""Schedulers join the parts of past days by themselves, and people by `hubspool compact`."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hubspool import CommitOperationAdd, CommitScheduler, HfApi
from hubspool.cli import main as hubspool
from hubspool.client.target import Target
from hubspool.errors import FlushTimeout
from hubspool.local_hub import Fault, LocalHub
from hubspool.push.budget import Budget
from hubspool.push.defaults import DEFAULTS as LIMITS
from hubspool.push.joiner import Joiner
from hubspool.push.manifest import Manifests
from hubspool.push.remote import RemoteRepo
from hubspool.scheduling import daily
from hubspool.scheduling.daily import DailyCompaction
from hubspool.scheduling.push_loop import PushLoop
from hubspool.spool.segment_name import part_rule
from hubspool_templates import JsonlScheduler
from hubspool_templates.ui.panel import _facts
from tests.datasets.test_compaction import REPO, data_files, numbers, plant

Make = Callable[..., JsonlScheduler]
HOUR = 3600


@pytest.fixture
def due_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Old parts are joined by the first push, however few they are."""
    small = replace(daily.DEFAULTS, first_compaction=0, compaction_files=1)
    monkeypatch.setattr(daily, "DEFAULTS", small)


class Joins:
    """A hook that waits for joins."""

    def __init__(self) -> None:
        self._made = threading.Semaphore(0)

    def __call__(self, event: Any) -> None:
        if event.joined:
            self._made.release()

    def wait(self) -> None:
        assert self._made.acquire(timeout=30), "nothing was joined"


@pytest.fixture
def joins() -> Joins:
    return Joins()


@pytest.fixture
def titles(hub_api: HfApi) -> Callable[[], list[str]]:
    return lambda: [each.title for each in hub_api.list_repo_commits(REPO, repo_type="dataset")][::-1]


def is_joined(api: HfApi) -> bool:
    return any("-joined." in path for path in data_files(api))


@pytest.mark.usefixtures("due_at_once")
def test_a_push_joins_parts_of_past_days_after_its_rows(
    make: Make, hub_api: HfApi, titles: Callable[[], list[str]], joins: Joins
) -> None:
    before = make(compact=False)
    before.append({"n": 0})
    before.stop(flush=False)
    planted = plant(hub_api, range(1, 4), 2, [CommitOperationAdd("data/2026-01/votes.jsonl", b'{"n":-1}\n')])
    scheduler = make(on_commit=joins)
    joins.wait()
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
def test_without_the_option_nothing_is_joined(make: Make, hub_api: HfApi) -> None:
    hub_api.create_repo(REPO, repo_type="dataset")
    plant(hub_api, range(1, 4), 2)
    scheduler = make(compact=False)
    for n in range(2):
        scheduler.append({"n": n})
        scheduler.trigger().result(30)
    assert not is_joined(hub_api)
    status = scheduler.status()
    assert (status.files_on_hub, status.last_compaction_at, status.next_compaction_at) == (None, None, None)


@pytest.mark.usefixtures("due_at_once")
def test_a_replica_whose_pushes_are_all_requested_joins_too(
    make: Make, hub_api: HfApi, joins: Joins, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A push that many rows ask for begins the period anew, so a busy replica makes no other."""
    monkeypatch.setattr(daily, "DEFAULTS", replace(daily.DEFAULTS, compaction_period=0))  # each push looks
    scheduler = make(on_commit=joins, push_after_rows=1, every=600)
    scheduler.append({"n": 0})
    scheduler.last_future.result(30)
    planted = plant(hub_api, range(1, 4), 2)
    scheduler.append({"n": 1})
    joins.wait()
    assert numbers(hub_api) == [0, 1, *planted]


@pytest.mark.usefixtures("due_at_once")
@pytest.mark.parametrize("path", ["data", ""])
def test_status_and_panel_know_files_and_times_after_a_join(
    make: Make, hub_api: HfApi, joins: Joins, path: str
) -> None:
    """One join: the look that found it has listed what the join replaced."""
    before = make(compact=False, path_in_repo=path)
    before.append({"n": 0})
    before.stop()
    plant(hub_api, range(1, 4), 2)
    scheduler = make(on_commit=joins, path_in_repo=path)
    joins.wait()
    status, now = scheduler.status(), datetime.now(timezone.utc)
    files = [name for name in hub_api.list_repo_files(REPO, repo_type="dataset") if name.endswith(".jsonl")]
    assert status.files_on_hub == sum(not name.startswith(".") for name in files) == 2
    assert status.last_compaction_at is not None
    assert abs((status.last_compaction_at - now).total_seconds()) < 60
    assert status.next_compaction_at is not None
    assert abs((status.next_compaction_at - now).total_seconds()) < 60  # the next push looks whether that was all
    assert f"2 data files, joined at {status.last_compaction_at.astimezone():%H:%M}" in str(status)
    assert scheduler.trigger().result(30) is None
    following = scheduler.status()
    assert following.files_on_hub == 2
    assert following.next_compaction_at is not None
    assert 20 * HOUR - 60 <= (following.next_compaction_at - now).total_seconds() <= 24 * HOUR + 60
    html = _facts(scheduler)
    assert "<dt>Files on the Hub</dt><dd>2</dd>" in html
    assert f"<dt>Last compaction</dt><dd>{following.last_compaction_at:%d %b %H:%M} UTC</dd>" in html


STEPS = {
    "listing": Fault(route="tree", path="/tree/[0-9a-f]{40}/data", delay=math.inf),
    "download": Fault(route="resolve", path="/2026-01/", delay=math.inf, times=None),
    "transfer": Fault(route=("xet-xorb", "xet-shard"), delay=math.inf),
    "commit": Fault(route="commit", delay=math.inf),
}


@pytest.mark.usefixtures("due_at_once")
@pytest.mark.parametrize("leave", ["flush", "stop"])
@pytest.mark.parametrize("step", STEPS)
def test_a_flush_ends_a_join_that_is_under_way(
    make: Make, hub_api: HfApi, local_hub: LocalHub, step: str, leave: str
) -> None:
    """The Hub does not answer the join; a flush has less time than a request may take."""
    hub_api.create_repo(REPO, repo_type="dataset")
    rule = CommitOperationAdd(".gitattributes", f"{part_rule()}\n".encode())
    planted = plant(hub_api, range(1, 4), 2, [rule])
    local_hub.faults.add(STEPS[step])
    scheduler = make(settle=False)
    assert local_hub.faults.wait_for_hits(1)
    scheduler.append({"n": 0})
    late = None
    try:
        if leave == "flush":
            scheduler.flush(10)
        else:
            scheduler.stop(timeout=10)
    except FlushTimeout as error:
        late = error
    assert late is None
    assert scheduler.status().last_compaction_error is None
    local_hub.faults.clear()
    assert not is_joined(hub_api)
    assert numbers(hub_api) == [0, *planted]


@pytest.mark.usefixtures("due_at_once")
def test_files_that_cannot_be_joined_are_downloaded_once(
    make: Make, hub_api: HfApi, local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daily, "DEFAULTS", replace(daily.DEFAULTS, compaction_period=0))
    hub_api.create_repo(REPO, repo_type="dataset")
    name = "data/2026-01/train-20260101-0123456789ab-{:05d}-p0000.jsonl"
    cut = [CommitOperationAdd(name.format(n), b'{"n":') for n in range(3)]
    hub_api.create_commit(REPO, cut, commit_message="by a person", repo_type="dataset")
    scheduler = make()
    for _ in range(2):
        scheduler.append({"n": 1})
        listed = len(local_hub.requests.of("tree"))
        scheduler.trigger().result(30)
        assert len(local_hub.requests.of("tree")) > listed, "it looked"
    assert len([record for record in local_hub.requests.of("resolve") if "/2026-01/" in record.path]) == 3


@pytest.mark.usefixtures("due_at_once")
def test_a_join_that_the_hub_holds_up_ends_and_says_so(
    make: Make, hub_api: HfApi, local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of the next push must not wait for it."""
    monkeypatch.setattr(daily, "DEFAULTS", replace(daily.DEFAULTS, compaction_limit=3))
    hub_api.create_repo(REPO, repo_type="dataset")
    planted = plant(hub_api, range(1, 4), 2)
    local_hub.faults.add(Fault(route="resolve", path="/2026-01/", delay=math.inf, times=None))
    scheduler = make(settle=False)
    scheduler.last_future.result(30)
    assert local_hub.faults.hits
    assert "Old files were not joined" in scheduler.status().warnings[0]
    local_hub.faults.clear()
    assert numbers(hub_api) == planted


@pytest.mark.usefixtures("due_at_once")
def test_when_its_time_is_over_what_was_downloaded_is_joined(
    make: Make, hub_api: HfApi, local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch, joins: Joins
) -> None:
    """Where requests are slow, a join of everything would never end."""
    monkeypatch.setattr(daily, "DEFAULTS", replace(daily.DEFAULTS, compaction_seconds=3))
    hub_api.create_repo(REPO, repo_type="dataset")
    planted = plant(hub_api, range(1, 16), 10)
    local_hub.faults.add(Fault(route="resolve", path="/2026-01/train-202601", delay=0.6, times=None))
    make(settle=False, on_commit=joins)
    joins.wait()
    local_hub.faults.clear()
    assert 1 < len(data_files(hub_api)) < 150
    assert numbers(hub_api) == planted


def full(*_: object) -> list[int]:
    raise OSError(28, "No space left on device")


@pytest.mark.usefixtures("due_at_once")
@pytest.mark.parametrize("reason", ["No space left", "not allowed"])
def test_a_join_that_fails_is_no_failure_of_the_push_and_status_says_why(
    make: Make,
    hub_api: HfApi,
    local_hub: LocalHub,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    reason: str,
) -> None:
    hub_api.create_repo(REPO, repo_type="dataset")
    planted = plant(hub_api, range(1, 4), 2)
    if reason == "No space left":
        monkeypatch.setattr(Joiner, "join", full)
    else:
        local_hub.faults.add(Fault(route="resolve", path="/2026-01/", status=403, body='{"error": "not allowed"}'))
    scheduler = make()
    scheduler.append({"n": 0})
    scheduler.flush()
    assert numbers(hub_api) == [0, *planted]
    status = scheduler.status()
    assert (status.consecutive_failures, status.last_error) == (0, None)
    assert reason in str(status.last_compaction_error)
    assert [record.levelname for record in caplog.records if reason in record.getMessage() + str(record.exc_text)]
    assert all(record.levelno >= 30 for record in caplog.records if "joined at another time" in record.getMessage())
    assert "Old files were not joined" in str(status)


@pytest.mark.usefixtures("due_at_once")
def test_the_next_push_waits_for_the_share_that_a_join_took_of_the_hour(
    make: Make, hub_api: HfApi, monkeypatch: pytest.MonkeyPatch, joins: Joins, titles: Callable[[], list[str]]
) -> None:
    monkeypatch.setattr(CommitScheduler, "budget", Budget(commits=1, jitter=0))
    hub_api.create_repo(REPO, repo_type="dataset")
    plant(hub_api, range(1, 4), 2)
    scheduler = make(on_commit=joins, every=10)
    joins.wait()
    scheduler.append({"n": 0})
    scheduler.trigger().result(30)
    assert [title.split()[0] for title in titles()].count("Add") == 0
    assert "Join" in titles()[-1]
    following = scheduler.status().next_push_at
    assert following is not None
    assert HOUR - 60 < (following - datetime.now(timezone.utc)).total_seconds() <= HOUR


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Replica:
    """What joins files after the pushes of one replica, with a clock of its own; pushes are left out."""

    def __init__(self, hub: LocalHub, api: HfApi) -> None:
        self.clock = Clock()
        self.compaction = DailyCompaction(self.clock)
        target = Target(hub.endpoint, REPO, "dataset", "main")
        memory = SimpleNamespace(manifests=Manifests(), full_folders={})
        self.context: Any = SimpleNamespace(
            api=api, target=target, repo=RemoteRepo(api, target), path_in_repo="data", encoding=None, limits=LIMITS,
            memory=memory, payloads=SimpleNamespace(suffix=""),
        )  # fmt: skip
        self.loop: PushLoop[None] = PushLoop(lambda _: None, 600, "unused")

    def push(self) -> int:
        """Return how many files were joined."""
        return self.compaction.after_push(self.context, self.loop).files_before


@pytest.fixture
def replica(local_hub: LocalHub, hub_api: HfApi) -> Replica:
    hub_api.create_repo(REPO, repo_type="dataset")
    return Replica(local_hub, hub_api)


def test_a_replica_looks_within_an_hour_of_its_start_and_then_once_a_day(
    replica: Replica, hub_api: HfApi, local_hub: LocalHub
) -> None:
    plant(hub_api, range(1, 4), 2)
    looks = []
    for minute in range(0, 3 * 24 * 60, 10):
        replica.clock.now = minute * 60.0
        local_hub.requests.clear()
        assert replica.push() == 0  # six parts are too few
        if len(local_hub.requests):
            looks.append(minute / 60)
    assert 3 <= len(looks) <= 4
    assert looks[0] <= 1 + 1 / 6
    assert all(20 <= later - look <= 24 + 1 / 6 for look, later in pairwise(looks))


def test_each_join_takes_one_listing_and_of_two_replicas_one_makes_all(
    replica: Replica, hub_api: HfApi, local_hub: LocalHub
) -> None:
    plant(hub_api, range(1, 32), 4)
    other = Replica(local_hub, hub_api)
    replica.clock.now = other.clock.now = 2 * HOUR
    local_hub.requests.clear()
    joined = [replica.push()]
    listings = [record for record in local_hub.requests.of("tree") if record.path.endswith("/data")]
    assert len(listings) == 1
    assert other.push() == 0  # the newest join is young
    joined += [replica.push() for _ in range(4)]
    assert joined == [60, 64, 0, 0, 0]
    for hours in range(3, 20):
        other.clock.now = hours * HOUR
        assert other.push() == 0


def test_manifests_of_months_that_the_replica_does_not_write_are_kept_only_while_files_are_joined(
    replica: Replica, hub_api: HfApi
) -> None:
    plant(hub_api, range(1, 32), 4)
    replica.clock.now = 2 * HOUR
    own = replica.context.memory.manifests
    joined, known = [], []
    for _ in range(3):
        joined.append(replica.push())
        known.append(replica.compaction.manifests is not None)
    assert (joined, known) == ([60, 64, 0], [True, True, False])
    assert own.newest() is None


def test_the_age_of_the_newest_join_is_counted_by_the_hubs_clock(
    replica: Replica, hub_api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(hub_api, range(1, 32), 4)
    replica.clock.now = 2 * HOUR
    assert [replica.push() for _ in range(3)] == [60, 64, 0]
    plant(hub_api, range(1, 32), 4)  # their names are in a manifest: ghosts
    more = [CommitOperationAdd(f"data/2026-02/train-20260201-0123456789ab-{n:05d}-p0000.jsonl", b"{}\n")
            for n in range(101)]  # fmt: skip
    hub_api.create_commit(REPO, more, commit_message="planted", repo_type="dataset")
    replica.clock.now += 30 * HOUR
    assert replica.push() == 0
    later = datetime.now(timezone.utc) + timedelta(hours=30)
    monkeypatch.setattr("hubspool.client.http.hub_time", lambda _: later)
    replica.clock.now += 30 * HOUR
    assert replica.push() == 101


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
    assert compact(REPO)[:2] == (
        0,
        "Nothing to join; files of today (UTC) are left alone.\n",
    )
    assert numbers(hub_api) == planted
