"""Faults over HTTP, and those of the disk, the quota and the hour."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from hubspool.local_hub import Fault, LocalHub, RateLimit

TIMEOUT = 20
LINES = (
    '{"key": "header", "value": {"summary": "work"}}\n'
    '{"key": "file", "value": {"path": "a/b/c.txt", "content": "text"}}'
)


@pytest.fixture
def faulty(hub_environment: Path, tmp_path: Path) -> Iterator[LocalHub]:
    with LocalHub(tmp_path / "hub", users=["ada:hf_ada", "ada:hf_read:read"], fault_routes=True) as hub:
        api = HfApi(endpoint=hub.endpoint, token="hf_ada")
        for name in ("one", "two"):
            api.create_repo(f"ada/{name}")
        yield hub


def call(hub: LocalHub, method: str, path: str, token: str = "hf_ada", **options: object) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.request(method, hub.endpoint + path, headers=headers, timeout=TIMEOUT, **options)


def commit(hub: LocalHub, name: str = "one") -> requests.Response:
    return call(hub, "POST", f"/api/models/ada/{name}/commit/main", data=LINES)


FAULTS = "/api/local-hub/faults"


def test_faults_are_set_listed_and_cleared_over_http(faulty: LocalHub) -> None:
    wanted = {"route": ["commit"], "status": 503, "times": 5, "headers": {"Retry-After": "1"}}
    assert call(faulty, "POST", FAULTS, json=wanted).status_code == 201
    assert call(faulty, "POST", FAULTS, json={"status": 500, "times": 9, "after": 9}).status_code == 201
    assert (commit(faulty).status_code, commit(faulty).headers["Retry-After"]) == (503, "1")
    listed = call(faulty, "GET", FAULTS).json()
    assert listed["faults"] == [wanted, {"status": 500, "times": 9, "after": 9}]
    assert [(hit["route"], hit["path"]) for hit in listed["hits"]] == [
        ("commit", "/api/models/ada/one/commit/main")
    ] * 2
    assert call(faulty, "DELETE", FAULTS).status_code == 200
    assert call(faulty, "GET", FAULTS).json()["faults"] == []
    assert commit(faulty).status_code == 200


def test_a_fault_cannot_keep_itself_from_being_cleared(faulty: LocalHub) -> None:
    faulty.faults.add(Fault(status=500, times=None))
    assert call(faulty, "GET", "/api/models/ada/one").status_code == 500
    assert call(faulty, "DELETE", FAULTS).status_code == 200
    assert call(faulty, "GET", "/api/models/ada/one").status_code == 200


def test_a_late_commit_is_released_over_http(faulty: LocalHub) -> None:
    call(faulty, "POST", FAULTS, json={"route": "commit", "late": "forever", "status": 504})
    before = call(faulty, "GET", "/api/models/ada/one").json()["sha"]
    assert commit(faulty).status_code == 504
    assert call(faulty, "GET", "/api/models/ada/one").json()["sha"] == before
    assert call(faulty, "POST", f"{FAULTS}/release").json() == {"released": True}
    assert call(faulty, "GET", "/api/models/ada/one").json()["sha"] != before


@pytest.mark.parametrize(("token", "status"), [("", 401), ("hf_read", 403), ("hf_wrong", 401)])
def test_faults_are_for_those_who_may_write(faulty: LocalHub, token: str, status: int) -> None:
    for method in ("GET", "POST", "DELETE"):
        assert call(faulty, method, FAULTS, token=token).status_code == status


def test_without_being_asked_for_the_hub_takes_no_faults_over_http(local_hub: LocalHub) -> None:
    assert call(local_hub, "POST", FAULTS, token=local_hub.token, json={"status": 500}).status_code == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {"rute": "commit"},
        {"status": "503"},
        {"route": "no-such-route"},
        {"limit": {"per": 1}},
        {"path": "("},
        {"drop": 1},
        {"limit": {"requests": "many"}},
        {"headers": {"X": 1}},
        {"status": True},
        {"status": 99999},
        {"method": None},
    ],
)
def test_a_fault_that_means_nothing_is_refused(faulty: LocalHub, wrong: dict[str, object]) -> None:
    answer = call(faulty, "POST", FAULTS, json=wrong)
    assert (answer.status_code, "Invalid" in answer.json()["error"]) == (400, True)
    assert call(faulty, "GET", FAULTS).json()["faults"] == []


def test_each_repository_has_its_own_hour(faulty: LocalHub) -> None:
    faulty.faults.add(Fault(route="commit", limit=RateLimit(2, per_repo=True)))
    assert [commit(faulty).status_code for _ in range(3)] == [200, 200, 429]
    other = commit(faulty, "two")
    assert other.status_code == 200
    assert other.headers["RateLimit"] == '"api";r=1;t=3600'
    assert other.headers["RateLimit-Policy"] == '"fixed window";"api";q=2;w=3600'


def test_an_hour_can_be_short(faulty: LocalHub) -> None:
    call(faulty, "POST", FAULTS, json={"route": "commit", "limit": {"requests": 1, "seconds": 0.001}})
    for _ in range(50):
        assert commit(faulty).status_code in (200, 429)
        if len(faulty.requests.of("commit")) > 2 and faulty.requests.of("commit")[-1].status == 200:
            break
    assert sum(record.status == 200 for record in faulty.requests.of("commit")) > 1


def test_an_owner_without_storage_gets_the_words_of_the_real_hub(faulty: LocalHub) -> None:
    faulty.faults.add(Fault.storage_quota())
    api = HfApi(endpoint=faulty.endpoint, token="hf_ada")
    for content in (b"small", b"\0large" * 300_000):
        with pytest.raises(HfHubHTTPError, match="storage limit reached") as caught:
            api.upload_file(path_or_fileobj=content, path_in_repo="a.bin", repo_id="ada/one")
        assert caught.value.response.status_code == 403
    assert [hit.route for hit in faulty.faults.hits] == ["commit", "commit"]
    assert api.list_repo_files("ada/one") == [".gitattributes"]


@pytest.mark.parametrize("files", range(5))
def test_a_full_disk_fails_the_commit_and_nothing_else(faulty: LocalHub, tmp_path: Path, files: int) -> None:
    before = call(faulty, "GET", "/api/models/ada/one").json()["sha"]
    faulty.faults.add(Fault(route="commit", full_disk=files))
    answer = commit(faulty)
    assert (answer.status_code, "disk" in answer.json()["error"]) == (507, True)
    assert len(faulty.faults.hits) == 1
    assert call(faulty, "GET", "/api/models/ada/one").json()["sha"] == before
    repo = tmp_path / "hub" / "repos" / "models" / "ada" / "one.git"
    subprocess.run(["git", "fsck", "--strict", "--full"], cwd=repo, check=True, timeout=60, capture_output=True)
    assert commit(faulty).status_code == 200
    assert list((tmp_path / "hub" / "tmp").iterdir()) == []
