"""What one account cannot do to the content of another: read it, replace it, or keep it from being uploaded."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from huggingface_hub import HfApi

from hubspool.local_hub import LocalHub
from hubspool.local_hub.identifiers import hash_to_text
from hubspool.local_hub.storage import xet_hash
from tests.support.git_runner import Git
from tests.support.xet_shards import Xorb, shard

TIMEOUT = 20
SECRET = os.urandom(1_000_000)
SHA256 = hashlib.sha256(SECRET).hexdigest()
COMMON = os.urandom(80_000)  # a chunk that both accounts have


@dataclass
class Account:
    """One account and its repository."""

    hub: LocalHub
    token: str
    repo: str

    @property
    def api(self) -> HfApi:
        return HfApi(endpoint=self.hub.endpoint, token=self.token)

    def request(self, method: str, path: str, **options: object) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return requests.request(method, f"{self.hub.endpoint}{path}", headers=headers, timeout=TIMEOUT, **options)

    def xet(self, scope: str, method: str, path: str, repo: str = "", **options: object) -> requests.Response:
        """Ask the store with a Xet token for a repository of this account."""
        token = self.request("GET", f"/api/models/{repo or self.repo}/xet-{scope}-token/main").json()
        headers = {"Authorization": f"Bearer {token['accessToken']}", **options.pop("headers", {})}
        return requests.request(method, token["casUrl"] + path, headers=headers, timeout=TIMEOUT, **options)

    def put_xorb(self, xorb: Xorb) -> None:
        name = hash_to_text(xorb.hash)
        self.xet("write", "POST", f"/v1/xorbs/default/{name}", data=xorb.body).raise_for_status()

    def put_shard(self, data: bytes) -> int:
        return self.xet("write", "POST", "/v1/shards", data=data).status_code

    def commit(self, *lines: object) -> requests.Response:
        header = {"key": "header", "value": {"summary": "x"}}
        body = "\n".join(map(json.dumps, (header, *lines)))
        return self.request("POST", f"/api/models/{self.repo}/commit/main", data=body)

    def batch(self, operation: str, repo: str = "", sha256: str = SHA256, **options: object) -> dict[str, object]:
        body = {"operation": operation, "objects": [{"oid": sha256, "size": len(SECRET)}], **options}
        answer = self.request("POST", f"/{repo or self.repo}.git/info/lfs/objects/batch", json=body)
        return dict(answer.json()["objects"][0])


@pytest.fixture
def hub(hub_environment: Path, tmp_path: Path) -> Iterator[LocalHub]:
    with LocalHub(tmp_path / "root", users=["ada:hf_ada", "bob:hf_bob"]) as hub:
        yield hub


@pytest.fixture
def ada(hub: LocalHub) -> Account:
    HfApi(endpoint=hub.endpoint, token="hf_ada").create_repo("ada/secret", private=True)
    return Account(hub, "hf_ada", "ada/secret")


@pytest.fixture
def bob(hub: LocalHub) -> Account:
    HfApi(endpoint=hub.endpoint, token="hf_bob").create_repo("bob/own")
    return Account(hub, "hf_bob", "bob/own")


@pytest.fixture
def secret(ada: Account) -> Xorb:
    """Ada's file of two chunks, the first of which bob has, too; committed to her private repository."""
    xorb = Xorb((COMMON, SECRET))
    content = COMMON + SECRET
    sha256 = hashlib.sha256(content).hexdigest()
    ada.put_xorb(xorb)
    assert ada.put_shard(shard(xorb.file_hash, xorb.hash, xorb.nodes, sha256=sha256, listed=xorb.nodes)) == 200
    line = {"key": "lfsFile", "value": {"path": "a.bin", "algo": "sha256", "oid": sha256, "size": len(content)}}
    assert ada.commit(line).status_code == 200
    return xorb


def content(account: Account, path: str = "a.bin") -> bytes:
    answer = account.request("GET", f"/{account.repo}/resolve/main/{path}")
    assert answer.status_code == 200, answer.text
    return answer.content


# -- replace


@pytest.mark.parametrize("claims", ["no sha256", "the sha256 of the other content"])
def test_nobody_replaces_the_content_of_a_known_file(ada: Account, bob: Account, secret: Xorb, claims: str) -> None:
    other = Xorb((COMMON, bytes(len(SECRET))))
    sha256 = hashlib.sha256(b"".join(other.chunks)).hexdigest() if claims != "no sha256" else None
    bob.put_xorb(other)
    assert bob.put_shard(shard(secret.file_hash, other.hash, other.nodes, sha256=sha256)) == 400
    assert content(ada) == COMMON + SECRET


def test_the_chunks_that_a_shard_lists_are_those_of_the_xorb(ada: Account, bob: Account, secret: Xorb) -> None:
    theirs = Xorb((b"mine" * 20_000, b"mine, too" * 20_000))
    bob.put_xorb(theirs)
    false = [(xet_hash.chunk_hash(SECRET), len(SECRET)), *theirs.nodes[1:]]  # others would find SECRET in bob's xorb
    assert bob.put_shard(shard(theirs.file_hash, theirs.hash, theirs.nodes, listed=false)) == 400
    assert bob.put_shard(shard(secret.file_hash, secret.hash, secret.nodes, listed=theirs.nodes)) == 400


# -- read


def test_a_chunk_does_not_open_the_xorb_that_holds_it(bob: Account, secret: Xorb) -> None:
    answer = bob.xet("write", "GET", f"/v1/chunks/default/{hash_to_text(xet_hash.chunk_hash(COMMON))}")
    answer.raise_for_status()
    xorb, _flags, count = struct.unpack_from("<32sII", answer.content, 96)
    assert xorb == secret.hash
    told = [struct.unpack_from("<32sII", answer.content, 96 + 48 * (n + 1)) for n in range(count)]
    nodes = [(name, size) for name, _start, size in told]
    file = xet_hash.file_hash([(xorb, 0)])  # of a file that is the whole xorb, whose root is the xorb's name
    for named in (file, xet_hash.file_hash(nodes)):
        assert bob.put_shard(shard(named, xorb, nodes)) == 400
        assert bob.xet("read", "GET", f"/v1/reconstructions/{hash_to_text(named)}").status_code == 404
    assert secret.nodes[1][0] not in answer.content


def test_a_link_to_one_chunk_does_not_open_the_rest_of_the_xorb(bob: Account, secret: Xorb) -> None:
    mine = Xorb((COMMON,))
    assert bob.put_shard(shard(mine.file_hash, secret.hash, secret.nodes, count=1, sha256=_sha(COMMON))) == 200
    answer = bob.xet("read", "GET", f"/v1/reconstructions/{hash_to_text(mine.file_hash)}").json()
    (fetch,) = answer["fetch_info"][hash_to_text(secret.hash)]
    end = fetch["url_range"]["end"]
    allowed = requests.get(fetch["url"], headers={"Range": f"bytes=0-{end}"}, timeout=TIMEOUT)
    assert allowed.content[8:] == COMMON
    for headers in ({}, {"Range": "bytes=0-"}, {"Range": f"bytes=0-{end + 1}"}, {"Range": f"bytes={end + 1}-"}):
        assert requests.get(fetch["url"], headers=headers, timeout=TIMEOUT).status_code == 403


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_nobody_reads_content_through_another_repository(ada: Account, bob: Account) -> None:
    ada.api.upload_file(path_or_fileobj=SECRET, path_in_repo="a.bin", repo_id=ada.repo)
    assert "actions" in ada.batch("download")
    for account in (bob, Account(bob.hub, "", bob.repo)):
        assert account.batch("download")["error"]
    verify = {"oid": SHA256, "size": len(SECRET)}
    assert bob.request("POST", f"/{bob.repo}.git/info/lfs/verify", json=verify).status_code == 404
    # that somebody has it is not told, either: bob has to send it as if nobody had
    assert "actions" in bob.batch("upload", transfers=["basic"])


def test_a_pointer_gives_no_right_to_its_content(ada: Account, bob: Account, git: Git, tmp_path: Path) -> None:
    ada.api.upload_file(path_or_fileobj=SECRET, path_in_repo="a.bin", repo_id=ada.repo)
    ada.api.upload_file(path_or_fileobj=SECRET[1:], path_in_repo="b.bin", repo_id=ada.repo)
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{SHA256}\nsize {len(SECRET)}\n"
    value = {"path": "a.bin", "algo": "sha256", "oid": SHA256, "size": len(SECRET)}
    refused = bob.commit({"key": "lfsFile", "value": value})
    assert refused.status_code == 400
    assert "not uploaded" in refused.json()["error"]
    assert bob.commit({"key": "file", "value": {"path": "p.bin", "content": pointer}}).status_code == 200
    assert content(bob, "p.bin") == pointer.encode()  # a text like any other
    described = bob.request("GET", f"/api/models/{bob.repo}/tree/main").json()
    assert not any("lfs" in entry or "xetHash" in entry for entry in described)
    assert bob.batch("download")["error"]
    file = ada.request("GET", f"/api/models/{ada.repo}/tree/main").json()[-1]["xetHash"]
    assert bob.xet("read", "GET", f"/v1/reconstructions/{file}").status_code == 404
    url = bob.hub.endpoint.replace("http://", "http://bob:hf_bob@") + f"/{bob.repo}"
    git("clone", "-q", url, str(tmp_path / "clone"))
    other = pointer.replace(SHA256, _sha(SECRET[1:])).replace(str(len(SECRET)), str(len(SECRET) - 1))
    (tmp_path / "clone" / "q.bin").write_text(other)
    git("add", "q.bin", cwd=tmp_path / "clone")
    git("commit", "-qm", "x", cwd=tmp_path / "clone")
    assert "not uploaded" in git("push", cwd=tmp_path / "clone", ok=False)


def test_a_token_ends_with_its_repository(ada: Account, bob: Account, secret: Xorb) -> None:
    ada.api.create_repo("ada/open")
    token = bob.request("GET", "/api/models/ada/open/xet-read-token/main").json()
    ada.api.delete_repo("ada/open")
    ada.api.delete_repo(ada.repo)
    ada.api.create_repo("ada/open", private=True)
    owner = Account(ada.hub, ada.token, "ada/open")
    sha256 = _sha(COMMON + SECRET)
    assert owner.put_shard(shard(secret.file_hash, secret.hash, secret.nodes, sha256=sha256)) == 200
    headers = {"Authorization": f"Bearer {token['accessToken']}"}
    url = f"{token['casUrl']}/v1/reconstructions/{hash_to_text(secret.file_hash)}"
    assert requests.get(url, headers=headers, timeout=TIMEOUT).status_code == 404


# -- deny


def test_a_damaged_xorb_does_not_take_the_place_of_the_true_one(ada: Account, bob: Account) -> None:
    true = Xorb((COMMON, SECRET))
    damaged = bytearray(true.body)
    damaged[100] ^= 1
    path = f"/v1/xorbs/default/{hash_to_text(true.hash)}"
    assert bob.xet("write", "POST", path, data=bytes(damaged)).status_code == 400
    ada.put_xorb(true)
    assert ada.put_shard(shard(true.file_hash, true.hash, true.nodes, sha256=_sha(COMMON + SECRET))) == 200


def test_a_xorb_that_the_disk_damaged_is_replaced_by_the_true_one(ada: Account, secret: Xorb) -> None:
    (stored,) = (ada.hub.root / "xet" / "xorbs").glob("*/*")
    data = bytearray(stored.read_bytes())
    data[100] ^= 1
    stored.write_bytes(bytes(data))
    ada.put_xorb(secret)
    assert content(ada) == COMMON + SECRET


def test_parts_of_one_upload_do_not_mix_with_those_of_another(ada: Account, bob: Account) -> None:
    def parts(account: Account) -> dict[str, object]:
        action = account.batch("upload", transfers=["multipart"])["actions"]["upload"]  # type: ignore[index]
        return dict(action)

    hub = LocalHub(users=["ada:hf_ada", "bob:hf_bob"], lfs_part_size=600_000)
    with hub:
        first, second = (Account(hub, token, f"{name}/m") for name, token in (("ada", "hf_ada"), ("bob", "hf_bob")))
        for account in (first, second):
            account.api.create_repo(account.repo)
        mine, theirs = parts(first), parts(second)
        for number in (1, 2):
            data = SECRET[600_000 * (number - 1) : 600_000 * number]
            requests.put(mine["header"][f"{number:05d}"], data=data, timeout=TIMEOUT).raise_for_status()  # type: ignore[index]
            requests.put(theirs["header"][f"{number:05d}"], data=b"x", timeout=TIMEOUT)  # type: ignore[index]
        done = {"oid": SHA256, "parts": [{"partNumber": number, "etag": "x"} for number in (1, 2)]}
        assert requests.post(str(mine["href"]), json=done, timeout=TIMEOUT).status_code == 200
