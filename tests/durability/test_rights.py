"""A token that may write one dataset and nothing else, as people should give it to a Space."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hubspool import CommitScheduler, HfApi
from hubspool.errors import ForbiddenError, HubspoolError
from hubspool.local_hub import LocalHub
from hubspool_templates import JsonlScheduler
from tests.support.env import Place
from tests.support.oracle import REPO
from tests.support.producer import Producer, write_to_file

KINDS = [JsonlScheduler, CommitScheduler]


@pytest.fixture
def place(hub_environment: Path, tmp_path: Path) -> Iterator[Place]:
    """A Hub on which the token of the tests may write to one of three datasets."""
    with LocalHub(users=["local:hf_local", f"local:hf_narrow:fineGrained=datasets/{REPO}"]) as hub:
        place = Place(hub, tmp_path)
        for repo in (REPO, "local/hidden"):
            place.api.create_repo(repo, repo_type="dataset", private=True)
        place.api.create_repo("local/public", repo_type="dataset", private=False)
        yield place


def begin(place: Place, kind: type[CommitScheduler], repo: str) -> tuple[CommitScheduler, Producer]:
    narrow = HfApi(place.hub.endpoint, "hf_narrow")
    options: dict[str, Any] = {"every": 600, "hf_api": narrow, "handle_signals": False}
    scheduler = kind(repo_id=repo, repo_type="dataset", folder_path=place.folder, **options)
    write = scheduler.append if isinstance(scheduler, JsonlScheduler) else write_to_file(scheduler)
    return scheduler, Producer(write, place.records)


@pytest.mark.parametrize("repo", [REPO, "rows"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_token_for_one_dataset_writes_to_it(place: Place, kind: type[CommitScheduler], repo: str) -> None:
    with pytest.raises(ForbiddenError):
        HfApi(place.hub.endpoint, "hf_narrow").create_repo("local/new", repo_type="dataset")
    scheduler, producer = begin(place, kind, repo)
    for _ in range(2):
        producer.put_many(3)
        scheduler.flush(60)
    producer.put_many(2)
    scheduler.stop()
    producer.close()
    assert not scheduler.status().last_error
    assert place.judge(start=False).check().on_hub == 8


@pytest.mark.parametrize(
    ("repo", "told"),
    [
        ("local/public", "datasets/local/public.*403.*may write"),
        ("local/hidden", "403.*local/hidden.*create it first.*write access"),
        ("local/missing", "403.*local/missing.*create it first.*write access"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_on_another_repo_the_right_that_is_missing_is_named(
    place: Place, kind: type[CommitScheduler], repo: str, told: str
) -> None:
    """The rows stay on the disk; with a token that has the right they are sent."""
    scheduler, producer = begin(place, kind, repo)
    producer.put_many(3)
    with pytest.raises(HubspoolError, match=told):
        scheduler.flush(30)
    status = scheduler.status()
    assert "403" in (status.last_error or "")
    assert "write" in (status.last_error_hint or "")
    scheduler.stop(flush=False)
    producer.close()
    wide = kind(repo_id=repo, repo_type="dataset", folder_path=place.folder, hf_api=place.api, handle_signals=False)
    wide.stop(timeout=60)
    assert place.judge(repo=repo, start=False).check().on_hub == 3
