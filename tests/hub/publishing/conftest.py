"""Fixtures of the tests of `hubspool publish`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hubspool import HfApi
from hubspool.cli.compact import joiners
from hubspool.client.target import Target
from hubspool.local_hub import LocalHub
from hubspool.push.publish import Publisher
from hubspool.push.remote import RemoteRepo
from hubspool.push.remote_bucket import RemoteBucket
from hubspool_templates import JsonlScheduler
from hubspool_templates.publishing import card_of
from tests.support.command_calls import Call, command_calls
from tests.support.publishing import (
    ADDRESS,
    BUCKET,
    DATASET,
    SECONDS,
    Make,
)


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

    def build(kind: Any = JsonlScheduler, repo_id: str = ADDRESS, folder: str = "folder", **options: Any) -> Any:
        made.append(kind(repo_id, tmp_path / folder, hf_api=hub_api, every=600, **options))
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
