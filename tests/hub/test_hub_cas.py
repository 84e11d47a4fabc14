"""Who may read and write what in the content-addressed store, and what it knows after a restart."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import requests
from huggingface_hub import HfApi

from hubspool.local_hub import LocalHub

TIMEOUT = 20
NOISE = os.urandom(3_000_000)


@pytest.fixture
def hub(hub_environment: Path, tmp_path: Path) -> LocalHub:
    return LocalHub(tmp_path / "root", users=["ada:hf_ada", "bob:hf_bob", "ada:hf_read:read"])


def token(hub: LocalHub, repo: str, scope: str, bearer: str = "hf_ada") -> dict[str, str]:
    url = f"{hub.endpoint}/api/models/{repo}/xet-{scope}-token/main"
    answer = requests.get(url, headers={"Authorization": f"Bearer {bearer}"}, timeout=TIMEOUT)
    answer.raise_for_status()
    return dict(answer.json())


def ask(given: dict[str, str], path: str, method: str = "GET", **options: object) -> requests.Response:
    headers = {"Authorization": f"Bearer {given['accessToken']}"}
    return requests.request(method, given["casUrl"] + path, headers=headers, timeout=TIMEOUT, **options)


def put(hub: LocalHub, repo: str, content: bytes = NOISE, path: str = "big.bin") -> None:
    api = HfApi(endpoint=hub.endpoint, token="hf_ada")
    api.upload_file(path_or_fileobj=content, path_in_repo=path, repo_id=repo)


def test_a_read_token_writes_nothing(hub: LocalHub) -> None:
    with hub:
        HfApi(endpoint=hub.endpoint, token="hf_ada").create_repo("ada/one")
        given = token(hub, "ada/one", "read", "hf_read")
        for path in ("/xorbs/default/" + "a" * 64, "/shards", "/v2/shards"):
            assert ask(given, path, "POST", data=b"x").status_code == 403
        assert (
            ask({**given, "accessToken": given["accessToken"].replace("read", "write")}, "/shards", "POST").status_code
            == 401
        )
        with pytest.raises(requests.HTTPError, match="403"):
            token(hub, "ada/one", "write", "hf_read")


def test_a_token_of_one_repository_does_not_read_anothers_files(hub: LocalHub) -> None:
    with hub:
        api = HfApi(endpoint=hub.endpoint, token="hf_ada")
        api.create_repo("ada/secret", private=True)
        api.create_repo("ada/open")
        put(hub, "ada/secret")
        put(hub, "ada/open", b"\0other" * 300_000)
        (file,) = api.get_paths_info("ada/secret", "big.bin")
        path = f"/v1/reconstructions/{file.xet_hash}"
        assert ask(token(hub, "ada/secret", "read"), path).status_code == 200
        for bearer in ("hf_bob", "hf_ada"):
            assert ask(token(hub, "ada/open", "read", bearer), path).status_code == 404
        put(hub, "ada/open", NOISE)  # who has the content may say so, and then reads it there
        assert ask(token(hub, "ada/open", "read", "hf_bob"), path).status_code == 200


@pytest.mark.parametrize("kept", [True, False], ids=["", "of a version that kept no list of held content"])
def test_a_file_of_an_older_commit_is_readable_after_a_restart(hub: LocalHub, kept: bool) -> None:
    with hub:
        api = HfApi(endpoint=hub.endpoint, token="hf_ada")
        api.create_repo("ada/one")
        put(hub, "ada/one")
        (file,) = api.get_paths_info("ada/one", "big.bin")
        old = api.repo_info("ada/one").sha
        api.delete_file("big.bin", "ada/one")
        held = hub.root / "repos" / "models" / "ada" / "one.git" / "hubspool-content.txt"
    assert held.exists()
    if not kept:
        held.unlink()
    with hub:
        api = HfApi(endpoint=hub.endpoint, token="hf_ada")
        assert Path(api.hf_hub_download("ada/one", "big.bin", revision=old)).read_bytes() == NOISE
        path = f"/v1/reconstructions/{file.xet_hash}"
        assert ask(token(hub, "ada/one", "read"), path).status_code == 200


def test_the_address_of_the_store_is_its_own(hub: LocalHub, tmp_path: Path) -> None:
    addresses = []
    for _ in range(2):
        with hub:
            HfApi(endpoint=hub.endpoint, token="hf_ada").create_repo("ada/one", exist_ok=True)
            given = token(hub, "ada/one", "write")
            addresses.append(given["casUrl"])
            other = {**given, "casUrl": given["casUrl"][:-4] + "0000"}
            assert ask(other, "/shards", "POST", data=b"").status_code in (401, 404)
    assert addresses[0] == addresses[1]
    with LocalHub(tmp_path / "another", users=["ada:hf_ada"]) as another:
        HfApi(endpoint=another.endpoint, token="hf_ada").create_repo("ada/one")
        assert token(another, "ada/one", "write")["casUrl"].rpartition("/")[2] != addresses[0].rpartition("/")[2]


def test_after_a_restart_every_file_and_every_known_chunk_is_found(
    hub: LocalHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with hub:
        HfApi(endpoint=hub.endpoint, token="hf_ada").create_repo("ada/one")
        put(hub, "ada/one")
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "cold"))
    with hub:
        hub.requests.clear()
        put(hub, "ada/one", NOISE + b"and more" * 1000, "grown.bin")
        assert [record.status for record in hub.requests.of("xet-chunk")][:1] == [200]
        assert sum(record.bytes_in for record in hub.requests.of("xet-xorb")) < 500_000
        api = HfApi(endpoint=hub.endpoint, token="hf_ada")
        assert Path(api.hf_hub_download("ada/one", "grown.bin")).read_bytes() == NOISE + b"and more" * 1000


@pytest.mark.parametrize("xet", [True, False])
def test_an_lfs_batch_offers_xet_to_clients_that_know_it(hub_environment: Path, xet: bool) -> None:
    with LocalHub(users=["ada:hf_ada"], xet=xet) as hub:
        HfApi(endpoint=hub.endpoint, token="hf_ada").create_repo("ada/one")
        body = {
            "operation": "upload",
            "transfers": ["basic", "multipart", "xet"],
            "objects": [{"oid": "0" * 64, "size": 100 << 20}],
        }
        headers = {"Authorization": "Bearer hf_ada"}
        url = f"{hub.endpoint}/ada/one.git/info/lfs/objects/batch"
        answer = requests.post(url, json=body, headers=headers, timeout=TIMEOUT).json()
        assert answer["transfer"] == ("xet" if xet else "multipart")
        upload_action = answer["objects"][0]["actions"]["upload"]
        if xet:
            assert upload_action["href"] == f"{hub.endpoint}/api/models/ada/one/xet-write-token/main"
            assert upload_action["header"]["X-Xet-Cas-Url"] == token(hub, "ada/one", "write")["casUrl"]


def test_readers_learn_where_the_chunks_of_a_file_are(hub: LocalHub) -> None:
    with hub:
        api = HfApi(endpoint=hub.endpoint, token="hf_ada")
        api.create_repo("ada/one")
        put(hub, "ada/one")
        (file,) = api.get_paths_info("ada/one", "big.bin")
        url = f"{hub.endpoint}/ada/one/resolve/main/big.bin"
        head = requests.head(url, timeout=TIMEOUT)
        assert head.headers["X-Xet-Hash"] == file.xet_hash
        assert head.links["xet-auth"]["url"].endswith(f"/xet-read-token/{head.headers['X-Repo-Commit']}")
        about = requests.get(url, headers={"Accept": "application/vnd.xet-fileinfo+json"}, timeout=TIMEOUT)
        assert about.headers["Content-Type"] == "application/vnd.xet-fileinfo+json"
        assert json.loads(about.content)["hash"] == file.xet_hash
        assert requests.get(url, headers={"Range": "bytes=5-9"}, timeout=TIMEOUT).content == NOISE[5:10]
