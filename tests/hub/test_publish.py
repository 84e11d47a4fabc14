"""`hubspool publish`: the rows of a bucket are in a dataset once, whatever fails, and only then leave the bucket."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from hubspool import HfApi
from hubspool.cli.compact import joiners
from hubspool.client.target import Target
from hubspool.local_hub import Fault, LocalHub
from hubspool.push.publish import Publisher
from hubspool.push.published import MARKERS, parse_marker
from hubspool.push.remote import RemoteRepo
from hubspool.push.remote_bucket import RemoteBucket
from hubspool.spool.segment_name import RangeName
from hubspool_templates import JsonlScheduler, ParquetScheduler, ZipScheduler, read_rows
from hubspool_templates.publishing import card_of
from tests.support.command_calls import Call, command_calls

ADDRESS = "hf://buckets/local/votes"
BUCKET = DATASET = "local/votes"
SECONDS = 60
Make = Callable[..., Any]


@pytest.fixture
def call(
    local_hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Call:
    return command_calls(local_hub, tmp_path, monkeypatch, capfd)


@pytest.fixture(autouse=True)
def empty(hub_api: HfApi) -> None:
    hub_api.delete_bucket(BUCKET, missing_ok=True)
    hub_api.delete_repo(DATASET, repo_type="dataset", missing_ok=True)


@pytest.fixture
def make(hub_api: HfApi, tmp_path: Path) -> Iterator[Make]:
    made: list[Any] = []

    def build(kind: Any = JsonlScheduler, repo_id: str = ADDRESS, **options: Any) -> Any:
        made.append(kind(repo_id, tmp_path / "folder", hf_api=hub_api, every=600, **options))
        made[-1].last_future.exception(SECONDS)
        return made[-1]

    yield build
    for scheduler in made:
        scheduler.stop(flush=False)


@pytest.fixture
def publisher(hub_api: HfApi) -> Callable[..., Publisher]:
    """A publisher from the bucket to the dataset, which exists."""

    def build(**options: Any) -> Publisher:
        hub_api.create_repo(DATASET, repo_type="dataset", exist_ok=True)
        bucket = RemoteBucket(hub_api, Target.of(hub_api.endpoint, BUCKET, "bucket"))
        repo = RemoteRepo(hub_api, Target.of(hub_api.endpoint, DATASET, "dataset"))
        given = {"pause": lambda _: False, **options}
        return Publisher(bucket, given.pop("inside", ""), repo, joiners(), card_of, **given)

    return build


def put(scheduler: Any, *numbers: int) -> None:
    """Send one file of rows to the bucket."""
    for number in numbers:
        if isinstance(scheduler, ZipScheduler):
            scheduler.add(b"content", f"{number}.bin", n=number)
        else:
            scheduler.append({"n": number})
    scheduler.flush(SECONDS)


def rows(api: HfApi, repo: str = DATASET) -> list[int]:
    return sorted(row["n"] for row in read_rows(repo, api=api))


def in_bucket(api: HfApi) -> list[str]:
    """The files of rows."""
    return [file.path for file in api.list_bucket_tree(BUCKET) if RangeName.parse(Path(file.path).name)]


def markers(api: HfApi) -> list[str]:
    return [file.path for file in api.list_bucket_tree(BUCKET, MARKERS)]


def commits(api: HfApi) -> list[str]:
    return [each.title for each in api.list_repo_commits(DATASET, repo_type="dataset") if "Publish" in each.title]


@pytest.mark.parametrize("kind", [JsonlScheduler, ParquetScheduler, ZipScheduler])
def test_what_is_new_becomes_one_commit_that_loads(kind: Any, make: Make, call: Call, hub_api: HfApi) -> None:
    scheduler = make(kind)
    for number in range(3):
        put(scheduler, number)
    code, out, err = call("publish", ADDRESS, DATASET)
    assert code == 0, err
    assert "3 rows" in out
    assert rows(hub_api) == [0, 1, 2]
    assert len(commits(hub_api)) == 1
    assert hub_api.repo_info(DATASET, repo_type="dataset").private
    assert len(in_bucket(hub_api)) == 3
    assert call("publish", ADDRESS, DATASET)[0] == 0
    assert len(commits(hub_api)) == 1
    put(scheduler, 3)
    assert call("publish", ADDRESS, DATASET, "--delete")[0] == 0
    assert rows(hub_api) == [0, 1, 2, 3]
    assert in_bucket(hub_api) == []
    assert len(markers(hub_api)) == 2
    for place in (DATASET, ADDRESS):
        code, out, err = call("verify", place)
        assert (code, "warn" in out) == (0, False), out + err


def test_a_scheduler_publishes_its_bucket_once_a_period(make: Make, hub_api: HfApi, local_hub: LocalHub) -> None:
    scheduler = make(publish_to=DATASET, publish_every=0.001)
    put(scheduler, 1, 2)
    local_hub.requests.clear()
    for _ in range(100):
        scheduler.trigger().result(SECONDS)
        if local_hub.requests.wait_for(lambda each: each.route == "commit", timeout=0.2):
            break
    scheduler.trigger().result(SECONDS)
    assert rows(hub_api) == [1, 2]
    assert scheduler.status().last_compaction_at is not None
    assert scheduler.status().last_compaction_error is None
    assert len(in_bucket(hub_api)) == 1
