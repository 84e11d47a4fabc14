"""Requests that fail on every route, a long outage, and a Hub that refuses until somebody mends it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubspool import CommitOperationAdd
from hubspool.errors import HubspoolError
from hubspool.local_hub import Fault, LocalHub
from hubspool_templates import JsonlScheduler
from tests.support.env import Open, Place, Start
from tests.support.oracle import REPO
from tests.support.producer import Producer

ROUTES = [
    "repo-info",
    "repo-create",
    "commits",
    "preupload",
    "xet-token",
    "xet-xorb",
    "xet-shard",
    "resolve",
    "commit",
]
LFS_ROUTES = ["lfs-batch", "lfs-put", "lfs-verify"]
EFFECTS: dict[str, dict[str, object]] = {
    "429": {"status": 429, "headers": {"Retry-After": "1"}},
    "500": {"status": 500},
    "503": {"status": 503},
    "reset": {"drop": True},
    "slow": {"delay": 1.0},
}


@pytest.mark.parametrize("effect", EFFECTS.values(), ids=EFFECTS.keys())
@pytest.mark.parametrize("route", ROUTES)
def test_a_route_that_fails_twice(place: Place, open_here: Open, route: str, effect: dict[str, object]) -> None:
    times = 1 if "delay" in effect else 2
    fault = place.hub.faults.add(Fault(route=route, times=times, **effect))  # type: ignore[arg-type]
    here = open_here()
    here.producer.put_many(3)
    here.scheduler.flush(60)
    here.producer.put_many(2)
    here.scheduler.stop(timeout=60)
    assert fault in [hit.fault for hit in place.hub.faults.hits]
    place.judge().check()


@pytest.mark.parametrize("effect", EFFECTS.values(), ids=EFFECTS.keys())
@pytest.mark.parametrize("route", LFS_ROUTES)
def test_an_lfs_route_that_fails_twice(
    hub_environment: Path, tmp_path: Path, start: Start, route: str, effect: dict[str, object]
) -> None:
    with LocalHub(xet=False) as hub:
        place = Place(hub, tmp_path)
        fault = hub.faults.add(Fault(route=route, times=1 if "delay" in effect else 2, **effect))  # type: ignore[arg-type]
        process = start(rows=3, rounds=2, endpoint=hub.endpoint)
        process.wait_line("stopped")
        assert fault in [hit.fault for hit in hub.faults.hits]
        place.judge().check()


def test_ten_thousand_rows_while_the_hub_is_down(hub_environment: Path, tmp_path: Path) -> None:
    hub = LocalHub(tmp_path / "hub").start()
    place = Place(hub, tmp_path)
    scheduler = JsonlScheduler(REPO, place.folder, every=600, hf_api=place.api, handle_signals=False)
    producer = Producer(scheduler.append, place.records)
    try:
        producer.put_many(10)
        scheduler.flush(60)
        hub.stop()
        scheduler.trigger()
        producer.put_many(10_000)
        assert scheduler.status().pending_rows == 10_000
        hub.start()
        scheduler.flush(60)
        assert scheduler.status().pending_rows == 0
        scheduler.stop()
        verdict = place.judge().check()
        assert verdict.on_hub == 10_011
        assert verdict.commits <= 6
    finally:
        scheduler.stop(flush=False)
        producer.close()
        hub.stop()


REFUSALS = {
    "token revoked": Fault(status=401, times=None, body='{"error": "Invalid username or password."}'),
    "read-only": Fault(route=("preupload", "commit"), status=403, times=None, body='{"error": "Forbidden"}'),
    "quota": Fault(
        route="commit", status=403, times=None, body='{"error": "Private repository storage limit reached"}'
    ),
    "quota at the upload": Fault(route="xet-xorb", status=403, times=None, body='{"error": "storage limit"}'),
    "not found": Fault(status=404, times=None, headers={"X-Error-Code": "RepoNotFound"}),
    "gone from the commit": Fault(route="commit", status=404, times=None, headers={"X-Error-Code": "RepoNotFound"}),
    "payload": Fault(route="commit", status=413, times=1),
    "bad request once": Fault(route="commit", status=422, times=1, body='{"error": "no"}'),
}


@pytest.mark.parametrize("fault", REFUSALS.values(), ids=REFUSALS.keys())
def test_a_refusal_that_is_mended(place: Place, open_here: Open, fault: Fault) -> None:
    here = open_here()
    here.producer.put_many(3)
    here.scheduler.flush(60)
    place.hub.faults.add(fault)
    here.producer.put_many(2)
    try:
        here.scheduler.flush(20)
    except HubspoolError:
        assert here.scheduler.status().last_error or here.scheduler.status().skipped
    assert place.hub.faults.hits
    here.producer.put_many(2)
    place.hub.faults.clear()
    here.scheduler.stop(timeout=60)
    place.judge().check()


def test_a_repo_that_is_made_again_gets_nothing_until_a_person_says_so(place: Place, open_here: Open) -> None:
    here = open_here()
    here.producer.put_many(3)
    here.scheduler.flush(60)
    place.api.delete_repo(REPO, repo_type="dataset")
    here.producer.put_many(2)
    with pytest.raises(HubspoolError):
        here.scheduler.flush(10)
    place.api.create_repo(REPO, repo_type="dataset")
    with pytest.raises(HubspoolError, match="deleted and created again"):
        here.scheduler.flush(30)
    assert len(place.api.list_repo_commits(REPO, repo_type="dataset")) == 1
    assert here.scheduler.status().last_error


def test_an_ignored_path_is_told_and_sent_once_it_is_not(place: Place, open_here: Open) -> None:
    place.api.create_repo(REPO, repo_type="dataset")
    ignored = CommitOperationAdd(".gitignore", b"data/\n")
    place.api.create_commit(REPO, [ignored], commit_message="ignore", repo_type="dataset")
    here = open_here()
    here.producer.put_many(3)
    with pytest.raises(HubspoolError, match=r"\.gitignore"):
        here.scheduler.flush(30)
    mended = CommitOperationAdd(".gitignore", b"tmp/\n")
    place.api.create_commit(REPO, [mended], commit_message="mend", repo_type="dataset")
    here.scheduler.stop(timeout=60)
    place.judge().check()
