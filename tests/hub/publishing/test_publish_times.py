"""A publish is made when it is due, holds up no row for long, and creates a dataset only for rows."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from hubspool import HfApi
from hubspool.client import progress
from hubspool.errors import RepositoryNotFoundError
from hubspool.local_hub import Fault, LocalHub
from hubspool.push.events import State
from hubspool.push.manifest import MANIFESTS
from hubspool.push.published import MARKERS
from hubspool.scheduling import daily
from hubspool.scheduling.publishing import seconds_until_look
from hubspool.spool.segment_name import RangeName, SegmentName
from hubspool_templates import JsonlScheduler, ParquetScheduler, ZipScheduler
from hubspool_templates.parquet.parquet_joiner import ParquetJoiner
from tests.support.command_calls import Call
from tests.support.processes import Process
from tests.support.publishing import (
    ADDRESS,
    BUCKET,
    DATASET,
    SECONDS,
    Make,
    commits,
    in_bucket,
    look,
    put,
    rows,
    set_clock,
)


@pytest.fixture
def make(make: Make) -> Make:
    """Makes schedulers that publish."""
    return lambda kind=JsonlScheduler, **options: make(kind, **{"publish_to": DATASET, **options})


@pytest.fixture
def change(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Changes numbers of the scheduler."""
    return lambda **numbers: monkeypatch.setattr(daily, "DEFAULTS", replace(daily.DEFAULTS, **numbers))


def fill(api: HfApi, files: int, month: str = "01") -> None:
    """Put files of one row each into the bucket, as of one writer."""
    segment = SegmentName("train", f"2026{month}02", "0123456789ab", 0)
    add = [
        (b'{"n": %2d}\n' % number, f"data/2026-{month}/{RangeName(segment, 10 * number, 10 * number + 10)}")
        for number in range(files)
    ]
    api.batch_bucket_files(BUCKET, add=add)


def asked(hub: LocalHub, route: str, text: str = "") -> int:
    """How many requests for a route had the text in their path."""
    assert hub.requests.wait_idle()
    return sum(record.route == route and text in record.path for record in hub.requests)


@pytest.mark.parametrize(("kind", "private", "is_private"), [
    (JsonlScheduler, None, True),
    (ParquetScheduler, None, True),
    (ZipScheduler, None, True),
    (JsonlScheduler, False, False),
])  # fmt: skip
def test_nobody_publishes_data_to_all_by_accident(
    kind: Any, private: bool | None, is_private: bool, make: Make, hub_api: HfApi
) -> None:
    scheduler = make(kind, private=private)
    put(scheduler, 1)
    look(scheduler)
    assert hub_api.repo_info(DATASET, repo_type="dataset").private is is_private
    assert hub_api.bucket_info(BUCKET).private is is_private


def test_the_dataset_is_created_once_and_only_for_rows(
    make: Make, call: Call, hub_api: HfApi, local_hub: LocalHub
) -> None:
    replicas = [make(folder=str(number)) for number in range(2)]
    local_hub.requests.clear()
    for scheduler in replicas:
        look(scheduler)
        assert scheduler.status().last_compaction_error is None
    code, out, err = call("publish", ADDRESS, DATASET)
    assert (code, f"{ADDRESS} has no rows" in out) == (0, True), out + err
    with pytest.raises(RepositoryNotFoundError):
        hub_api.repo_info(DATASET, repo_type="dataset")
    put(replicas[0], 1)
    for scheduler in [*replicas, *replicas]:
        look(scheduler)
    assert asked(local_hub, "repo-create") == 1
    assert rows(hub_api) == [1]


def test_the_time_for_downloads_does_not_count_the_listing(
    make: Make, change: Callable[..., None], hub_api: HfApi, local_hub: LocalHub
) -> None:
    scheduler = make()
    put(scheduler, 1)
    change(compaction_seconds=5, publish_pause=5, compaction_limit=5)
    fault = local_hub.faults.add(Fault(route="bucket-tree", path="/tree$|/tree[?]", delay=6))
    local_hub.requests.clear()
    look(scheduler)
    assert sum(hit.fault is fault for hit in local_hub.faults.hits) == 1
    assert scheduler.status().last_compaction_error is None
    assert rows(hub_api) == [1]


def test_a_look_lists_the_bucket_once_and_reads_markers_and_manifests_once(
    make: Make, hub_api: HfApi, local_hub: LocalHub
) -> None:
    scheduler = make(publish_every=60)
    for number in range(3):
        set_clock(local_hub, 61 * number)
        put(scheduler, number)
        local_hub.requests.clear()
        look(scheduler)
        lists = asked(local_hub, "bucket-tree") - asked(local_hub, "bucket-tree", MARKERS.replace("/", "%2F"))
        assert lists == 1
        assert asked(local_hub, "bucket-resolve", MARKERS) <= 1
        assert asked(local_hub, "resolve", MANIFESTS) <= 1
        assert asked(local_hub, "commit") == 1
    assert rows(hub_api) == [0, 1, 2]


def test_the_push_does_not_tell_what_fails_in_a_publish(
    make: Make, change: Callable[..., None], local_hub: LocalHub
) -> None:
    scheduler = make()
    put(scheduler, 1)
    change(publish_pause=3)
    local_hub.faults.add(Fault(route="commit", status=503, times=None))
    scheduler._worker.compaction._due_at = 0.0
    seen, future = [], scheduler.trigger()
    while not future.done():
        seen.append(scheduler.status())
    assert len(local_hub.requests.of("commit")) > 1, "it was repeated"
    assert not [status for status in seen if status.last_error or status.state is State.BACKING_OFF]
    assert "answered 503" in str(scheduler.status().last_compaction_error)


def test_a_publish_without_time_is_an_error_that_status_shows(
    make: Make, change: Callable[..., None], hub_api: HfApi
) -> None:
    scheduler = make()
    put(scheduler, 1)
    change(compaction_seconds=0, publish_pause=0)
    look(scheduler)
    status = scheduler.status()
    assert "before a row" in str(status.last_compaction_error)
    assert status.warnings[0].startswith("Rows were not published")
    assert status.next_compaction_at - datetime.now(timezone.utc) <= timedelta(hours=1)
    assert commits(hub_api) == []


def test_a_push_that_is_requested_waits_only_for_the_downloads_that_have_begun(
    make: Make, change: Callable[..., None], hub_api: HfApi, local_hub: LocalHub
) -> None:
    files = 3 * 16  # sixteen are downloaded at a time
    scheduler = make()
    fill(hub_api, files)
    change(publish_pause=0.05)
    fault = local_hub.faults.add(Fault(route="bucket-resolve", delay=0.3, times=files))
    local_hub.requests.clear()
    scheduler._worker.compaction._due_at = 0.0
    publish = scheduler.trigger()
    assert local_hub.faults.wait_for_hits(1)
    scheduler.append({"n": files})
    scheduler.trigger().result(SECONDS)
    publish.result(SECONDS)
    assert sum(hit.fault is fault for hit in local_hub.faults.hits) == files
    order = [each.route for each in local_hub.requests if each.route == "commit" or "batch" in each.path]
    assert order == ["commit", "bucket-batch", "bucket-batch", "commit", "bucket-batch"]  # row, then markers
    assert asked(local_hub, "bucket-tree") - asked(local_hub, "bucket-tree", MARKERS.replace("/", "%2F")) == 1
    assert rows(hub_api) == [*range(files)]


@pytest.mark.parametrize("restarts", [False, True])
def test_a_publish_that_an_error_ended_goes_on_where_it_was(
    restarts: bool, make: Make, hub_api: HfApi, local_hub: LocalHub
) -> None:
    """Its newest commit is not a period old then; that of a whole publish is waited for."""
    scheduler = make()
    for month in ("01", "02"):
        fill(hub_api, 1, month)
    fault = local_hub.faults.add(Fault(route="commit", after=1, status=403, body="no"))
    look(scheduler)
    assert sum(hit.fault is fault for hit in local_hub.faults.hits) == 1
    assert (len(commits(hub_api)), scheduler.status().last_compaction_error is None) == (1, False)
    if restarts:
        scheduler.stop(flush=False)
        scheduler = make(folder="another")
    look(scheduler)
    assert (len(commits(hub_api)), scheduler.status().last_compaction_error) == (2, None)
    assert rows(hub_api) == [0, 0]
    put(scheduler, 1)
    look(scheduler)
    assert (len(commits(hub_api)), scheduler.status().last_compaction_error) == (2, None)


def test_a_look_comes_within_an_hour_of_an_error_and_soon_after_a_publish_is_due() -> None:
    hour, day = 3600, 24 * 3600
    for chance in (0.0, 0.5, 1.0):
        assert hour / 2 <= seconds_until_look(day, chance, None) <= hour
        assert seconds_until_look(60, chance, None) <= 60
        assert day <= seconds_until_look(day, chance, day) <= day + 600
        assert 3 <= seconds_until_look(day, chance, 3) <= 603
        assert 60 <= seconds_until_look(60, chance, 60) <= 72
    assert seconds_until_look(day, 0.2, 3) != seconds_until_look(day, 0.3, 3)


def test_progress_is_shown_where_a_bar_can_be_seen(
    make: Make, call: Call, hub_api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    make()
    fill(hub_api, 3)
    monkeypatch.setattr(progress, "DEFAULTS", replace(progress.DEFAULTS, bar_seconds=0))
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "0")
    _, _, err = call("publish", ADDRESS, DATASET)
    assert "Downloading 3 files" in err
    assert "3/3" in err
    fill(hub_api, 3, "02")
    monkeypatch.delenv("HF_HUB_DISABLE_PROGRESS_BARS")
    _, _, err = call("publish", ADDRESS, DATASET)
    assert ("Downloading" in err, "Listing" in err, len(commits(hub_api))) == (False, False, 2)


def test_commits_before_an_error_are_told(make: Make, call: Call, hub_api: HfApi, local_hub: LocalHub) -> None:
    scheduler = make()
    for month in ("01", "02"):
        fill(hub_api, 1, month)
    local_hub.faults.add(Fault(route="commit", after=1, status=403, body="no"))
    code, out, err = call("publish", ADDRESS, DATASET)
    assert (code, len(commits(hub_api))) == (1, 1)
    assert "Published 1 row of 1 file in 1 file." in out
    assert f"{DATASET}/commit/" in err
    fill(hub_api, 1, "03")
    local_hub.faults.add(Fault(route="commit", after=1, status=403, body="no"))
    look(scheduler)
    assert len(commits(hub_api)) == 2
    assert scheduler.status().last_compaction_at is not None


@pytest.mark.parametrize(("number", "works"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
def test_every_ends_at_a_signal(
    number: int, works: bool, make: Make, hub_api: HfApi, local_hub: LocalHub, tmp_path: Path
) -> None:
    make()
    fill(hub_api, 3)
    env = {**os.environ, "HF_ENDPOINT": local_hub.endpoint, "HF_TOKEN": local_hub.token}
    fault = local_hub.faults.add(Fault(route="commit", delay=60)) if works else None
    command = [sys.executable, "-m", "hubspool.cli", "publish", ADDRESS, DATASET, "--every", "60"]
    process = Process(command, env=env, log=tmp_path / "log")
    try:
        if fault is not None:
            assert local_hub.faults.wait_for_hits(1)
            assert local_hub.faults.hits[-1].fault is fault
        else:
            process.wait_line("Published")
        process.signal(number)
        assert process.wait(SECONDS) == (130 if works else 0), process.errors()
    finally:
        process.end()
    assert "Traceback" not in process.errors()
    local_hub.faults.clear()
    assert len(commits(hub_api)) == (0 if works else 1)
    assert len(in_bucket(hub_api)) == 3


def test_a_flush_ends_a_publish_and_status_says_so(make: Make, hub_api: HfApi, local_hub: LocalHub) -> None:
    scheduler = make()
    fill(hub_api, 3)
    fault = local_hub.faults.add(Fault(route="bucket-resolve", delay=math.inf, times=None))
    scheduler._worker.compaction._due_at = 0.0
    publish = scheduler.trigger()
    assert local_hub.faults.wait_for_hits(1)
    put(scheduler, 3)
    publish.result(SECONDS)
    assert all(hit.fault is fault for hit in local_hub.faults.hits)
    assert (len(in_bucket(hub_api)), commits(hub_api)) == (4, [])
    status = scheduler.status()
    assert status.warnings == ["Rows were not published: A flush ended it."]
    assert status.next_compaction_at - datetime.now(timezone.utc) <= timedelta(hours=1)
    local_hub.faults.clear()
    look(scheduler)
    assert (rows(hub_api), scheduler.status().warnings) == ([0, 1, 2, 3], [])


def test_a_flush_ends_the_join_of_parquet_files(make: Make, hub_api: HfApi, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = make(ParquetScheduler)
    for number in range(3):
        put(scheduler, number)
    join, begun = ParquetJoiner.join, threading.Event()
    flushed: list[bool] = []
    joined: list[list[int]] = []

    def join_slowly(joiner: ParquetJoiner, paths: Sequence[Path], out: Path) -> list[int]:
        begun.set()
        flushed.append(scheduler._worker.compaction._publisher.pause(SECONDS))
        joined.append(join(joiner, paths, out))
        return joined[-1]

    with monkeypatch.context() as patch:
        patch.setattr(ParquetJoiner, "join", join_slowly)
        scheduler._worker.compaction._due_at = 0.0
        publish = scheduler.trigger()
        assert begun.wait(SECONDS)
        put(scheduler, 3)
        publish.result(SECONDS)
    assert (flushed, joined) == ([True], [])
    assert (len(in_bucket(hub_api)), commits(hub_api)) == (4, [])
    assert scheduler.status().warnings == ["Rows were not published: A flush ended it."]
    look(scheduler)
    assert rows(hub_api) == [0, 1, 2, 3]
