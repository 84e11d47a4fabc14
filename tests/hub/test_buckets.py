"""Buckets of the local Hub: the routes, who may use them, what survives, and what watchers are told."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests
from huggingface_hub import HfApi
from huggingface_hub.errors import BucketNotFoundError, HfHubHTTPError

from hubspool.local_hub import Fault, LocalHub, RateLimit
from hubspool.local_hub.identifiers import EMPTY_FILE
from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.storage.durable_files import DurableFiles

TIMEOUT = 30
USERS = ["ada:hf_ada", "ada:hf_reader:read", "bob:hf_bob"]
STREAM = {"Accept": "text/event-stream"}


@dataclass
class Account:
    """What a token may do with one bucket."""

    endpoint: str
    token: str
    bucket: str
    session: requests.Session = field(default_factory=requests.Session)

    @property
    def api(self) -> HfApi:
        return HfApi(endpoint=self.endpoint, token=self.token or False)

    def request(self, method: str, path: str = "", *, api: bool = True, **options: object) -> requests.Response:
        headers = {**({"Authorization": f"Bearer {self.token}"} if self.token else {}), **options.pop("headers", {})}
        start = "/api" if api else ""
        url = f"{self.endpoint}{start}/buckets/{self.bucket}{path}"
        return self.session.request(method, url, headers=headers, timeout=TIMEOUT, **options)

    def batch(self, *lines: object) -> requests.Response:
        return self.request("POST", "/batch", data="\n".join(map(json.dumps, lines)))

    def tree(self, path: str = "", **query: object) -> list[str]:
        return [entry["path"] for entry in self.request("GET", f"/tree{path}", params=query).json()]

    def add(self, **files: str) -> dict[str, str]:
        """Upload texts as `name.txt`; return their hashes."""
        self.api.batch_bucket_files(
            self.bucket, add=[(text.encode(), f"{name}.txt") for name, text in files.items() if name]
        )
        found = self.api.get_bucket_paths_info(self.bucket, [f"{name}.txt" for name in files])
        return {file.path: file.xet_hash for file in found}

    def as_(self, token: str) -> Account:
        return Account(self.endpoint, token, self.bucket)


def empty(path: str, **more: object) -> dict[str, object]:
    """Return the operation that adds an empty file, for which nothing is uploaded."""
    return {"type": "addFile", "path": path, "xetHash": EMPTY_FILE, "mtime": 1_700_000_000_123, **more}


def deletion(path: str) -> dict[str, object]:
    return {"type": "deleteFile", "path": path}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    with LocalHub(tmp_path_factory.mktemp("hub") / "root", users=USERS) as running:
        yield running


_names = (f"ada/b{number}" for number in itertools.count())


@pytest.fixture
def ada(hub: LocalHub) -> Account:
    """The owner of a new public bucket."""
    name = next(_names)
    HfApi(endpoint=hub.endpoint, token="hf_ada").create_bucket(name)
    return Account(hub.endpoint, "hf_ada", name)


@pytest.fixture
def private(ada: Account) -> Account:
    """The owner of a new private bucket."""
    ada.api.update_bucket_settings(ada.bucket, private=True)
    return ada


# -- routes


def test_a_bucket_is_created_described_listed_and_deleted(hub: LocalHub) -> None:
    owner = Account(hub.endpoint, "hf_ada", "me/routes")
    created = owner.request("POST", json={"visibility": "private", "region": "eu"}).json()
    assert created == {"url": f"{hub.endpoint}/buckets/ada/routes", "name": "ada/routes", "id": "ada/routes"}
    again = owner.request("POST", json={})
    assert (again.status_code, again.json()["url"]) == (409, created["url"])
    owner.bucket = "ada/routes"
    owner.add(a="1", b="22").clear()
    info = owner.request("GET").json()
    assert (info["id"], info["private"], info["size"], info["totalFiles"]) == ("ada/routes", True, 3, 2)
    assert info["createdAt"] <= info["updatedAt"]
    assert [each.id for each in owner.api.list_buckets(search="ROUTE")] == ["ada/routes"]
    assert owner.request("DELETE").status_code == 200
    with pytest.raises(BucketNotFoundError):
        owner.api.bucket_info("ada/routes")
    assert owner.request("POST", json={"private": True}).status_code == 200
    assert owner.tree() == []


def test_a_list_has_pages(ada: Account, hub: LocalHub) -> None:
    ada.api.create_bucket("ada/another", exist_ok=True)
    url = f"{hub.endpoint}/api/buckets/ada?limit=1"
    first = requests.get(url, timeout=TIMEOUT)
    assert len(first.json()) == 1
    assert "cursor=1" in first.links["next"]["url"]
    for name in (ada.bucket.partition("/")[2], "nobody"):  # a bucket without its namespace is no list
        answer = requests.get(f"{hub.endpoint}/api/buckets/{name}", timeout=TIMEOUT)
        assert (answer.status_code, answer.headers["X-Error-Code"]) == (404, "RepoNotFound")
    assert requests.get(f"{hub.endpoint}/api/buckets/me", timeout=TIMEOUT).status_code == 401


@pytest.mark.parametrize("body", [{"region": "moon"}, {"visibility": "secret"}, {"private": "no"}])
def test_a_bucket_with_an_invalid_setting_is_not_created(hub: LocalHub, body: dict[str, str]) -> None:
    owner = Account(hub.endpoint, "hf_ada", "ada/invalid")
    assert owner.request("POST", json=body).status_code == 400
    assert owner.request("GET").status_code == 404


def test_the_tree_takes_a_text_in_place_of_a_folder(ada: Account) -> None:
    ada.batch(*map(empty, ("data/x", "data/deep/y", "data2/z", "datum", "e", "data/deep/w")))
    assert ada.tree() == ["data/deep/w", "data/deep/y", "data/x", "data2/z", "datum", "e"]
    assert ada.tree("/dat", recursive="true") == ["data/deep/w", "data/deep/y", "data/x", "data2/z", "datum"]
    assert ada.tree(recursive="false") == ["data", "data2", "datum", "e"]
    assert ada.tree("/data", recursive="false") == ["data/deep", "data/x", "data2"]
    assert ada.tree("/data%2F", recursive="false") == ["data/deep", "data/x"]
    assert ada.tree("/none") == []
    folder = ada.request("GET", "/tree?recursive=false").json()[0]
    assert (folder["path"], folder["type"]) == ("data", "directory")
    assert folder["uploadedAt"] == ada.request("GET").json()["updatedAt"]


@pytest.mark.parametrize("recursive", ["true", "false"])
def test_the_pages_of_a_tree_are_the_whole(ada: Account, recursive: str) -> None:
    ada.batch(*(empty(f"{number % 7}/{number}") for number in range(40)), *map(empty, ("8", "9", "a/b")))
    whole = ada.tree(recursive=recursive)
    found: list[str] = []
    answer = ada.request("GET", "/tree", params={"recursive": recursive, "limit": 2})
    while True:
        assert 0 < len(answer.json()) <= 2
        found += [entry["path"] for entry in answer.json()]
        if "next" not in answer.links:
            break
        answer = requests.get(answer.links["next"]["url"], timeout=TIMEOUT)
    assert found == whole
    assert len(whole) == (43 if recursive == "true" else 10)


def test_files_are_described_as_clients_sent_them(ada: Account) -> None:
    hashes = ada.add(text="some text")
    assert ada.batch(empty("none"), empty("typed.bin", contentType="text/csv")).json() == {
        "success": True,
        "processed": 2,
        "succeeded": 2,
        "failed": [],
    }
    ada.batch({"type": "addFile", "path": "without", "xetHash": hashes["text.txt"]})  # as the JavaScript client
    asked = ["none", "missing", "without", "none", ""]
    first, second = ada.request("POST", "/paths-info", json={"paths": asked}).json()
    uploaded = first.pop("uploadedAt")
    assert first == {
        "type": "file",
        "path": "none",
        "size": 0,
        "xetHash": EMPTY_FILE,
        "mtime": "2023-11-14T22:13:20.123Z",
    }
    assert uploaded.endswith("Z")
    assert (second["path"], second["size"], "mtime" in second) == ("without", 9, False)
    typed = ada.request("GET", "/resolve/typed.bin", api=False)
    assert typed.headers["Content-Type"].startswith("text/plain")


def test_content_is_read_whole_and_in_parts(ada: Account) -> None:
    (file_hash,) = ada.add(**{"dir/name with space": "0123456789"}).values()
    path = "/resolve/dir%2Fname%20with%20space.txt"
    whole = ada.request("GET", path, api=False)
    assert whole.content == b"0123456789"
    assert whole.headers["ETag"] == f'"{file_hash}"'
    part = ada.request("GET", path.replace("%2F", "/"), api=False, headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content, part.headers["Content-Range"]) == (206, b"234", "bytes 2-4/10")
    assert ada.request("GET", path, api=False, headers={"Range": "bytes=10-"}).status_code == 416
    head = ada.request("HEAD", path, api=False)
    assert (head.headers["X-Xet-Hash"], head.headers["X-Linked-Size"]) == (file_hash, "10")
    token_url = f"{ada.endpoint}/api/buckets/{ada.bucket}/xet-read-token"
    assert head.links["xet-auth"]["url"] == token_url
    token = ada.request("GET", "/xet-read-token")
    assert token.headers["X-Xet-Access-Token"] == token.json()["accessToken"]
    accept = {"Accept": "application/vnd.xet-fileinfo+json"}
    assert ada.request("GET", path, api=False, headers=accept).json() == {"hash": file_hash, "size": 10}
    absent = ada.request("GET", "/resolve/dir", api=False)
    assert (absent.status_code, absent.headers["X-Error-Code"]) == (404, "EntryNotFound")


def test_a_renamed_bucket_answers_under_both_names(ada: Account) -> None:
    ada.add(a="1")
    old, ada.bucket = ada.bucket, f"{ada.bucket}-new"
    ada.api.move_bucket(old, ada.bucket)
    assert ada.tree() == ["a.txt"]
    assert ada.api.bucket_info(old).id == ada.bucket
    ada.api.batch_bucket_files(old, add=[(b"2", "b.txt")])
    assert ada.tree() == ["a.txt", "b.txt"]
    with pytest.raises(HfHubHTTPError, match="403"):
        ada.api.move_bucket(ada.bucket, "bob/taken-over")


# -- batches


def test_a_batch_names_what_failed_and_applies_the_rest(ada: Account) -> None:
    answer = ada.batch(empty("good"), deletion("missing"), {"type": "addFile", "path": "bad", "xetHash": "f" * 64})
    body = answer.json()
    assert (answer.status_code, body["success"], body["processed"], body["succeeded"]) == (200, False, 3, 1)
    assert [failure["path"] for failure in body["failed"]] == ["missing", "bad"]
    assert all(failure["error"] for failure in body["failed"])
    assert ada.tree() == ["good"]
    assert ada.batch(deletion("missing")).status_code == 422


def test_the_operations_of_a_batch_are_applied_in_their_order(ada: Account) -> None:
    (hash_,) = ada.add(a="1").values()
    lines = [empty("a.txt"), deletion("a.txt"), deletion("a.txt"), {**empty("a.txt"), "xetHash": hash_}, empty("b")]
    assert [failure["path"] for failure in ada.batch(*lines).json()["failed"]] == ["a.txt"]
    assert ada.tree() == ["a.txt", "b"]
    assert ada.request("GET", "/resolve/a.txt", api=False).text == "1"


@pytest.mark.parametrize(
    "path",
    ["", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a/./b", "a/..", "a..", "a\\b", "a\0b", "a\nb", "é" * 200,
     "a/" * 101 + "a"],
)  # fmt: skip
def test_a_path_that_is_no_key_is_refused(ada: Account, path: str) -> None:
    answer = ada.batch(empty(path), empty("good"))
    assert [failure["path"] for failure in answer.json()["failed"]] == [path]
    assert ada.tree() == ["good"]


@pytest.mark.parametrize(
    "line",
    [{"type": "moveFile", "path": "a"}, {"path": "a"}, [], 1, None, {**empty("a"), "xetHash": "short"},
     {**empty("a"), "xetHash": 7}, {**empty("a"), "mtime": "now"}, {**empty("a"), "mtime": 10**18},
     {**empty("a"), "contentType": "a\nb: c"}, {**empty("a"), "type": "copyFile"}, empty(7),
     {**empty("a"), "type": "copyFile", "sourceRepoType": "gist", "sourceRepoId": "ada/x"},
     {**empty("a"), "type": "copyFile", "sourceRepoType": "bucket", "sourceRepoId": "ada/none"}],
)  # fmt: skip
def test_an_invalid_operation_fails_alone(ada: Account, line: object) -> None:
    answer = ada.batch(line, empty("good"))
    assert answer.status_code == 200
    assert len(answer.json()["failed"]) == 1
    assert ada.tree() == ["good"]


def test_lines_that_are_not_json_and_too_many_of_them_change_nothing(ada: Account) -> None:
    assert ada.request("POST", "/batch", data=json.dumps(empty("a")) + "\n{").status_code == 400
    many = [empty(str(number)) for number in range(LIMITS.bucket_operations + 1)]
    assert ada.batch(*many).status_code == 413
    assert ada.request("POST", "/batch", data=b" " * (LIMITS.body + 1)).status_code == 413
    paths = ["a"] * (LIMITS.bucket_paths + 1)
    assert ada.request("POST", "/paths-info", json={"paths": paths}).status_code == 413
    assert ada.tree() == []
    assert ada.batch(*many[1:]).status_code == 200


def test_a_lost_answer_and_the_same_lines_again(ada: Account, hub: LocalHub) -> None:
    fault = hub.faults.add(Fault(route="bucket-batch", drop=True, applied=True))
    ada.api.batch_bucket_files(ada.bucket, add=[(b"1", "a.txt")])
    assert [hit.fault for hit in hub.faults.hits].count(fault) == 1
    assert ada.tree() == ["a.txt"]
    with requests.get(
        f"{ada.endpoint}/api/buckets/{ada.bucket}/events?since=2020-01-01", headers=STREAM, stream=True
    ) as s:
        assert [change["op"] for change in next(events(s))[1]["changes"]] == ["add", "update"]


def test_writers_of_one_bucket_lose_nothing(ada: Account) -> None:
    def write(writer: int) -> None:
        account = ada.as_("hf_ada")
        for number in range(10):
            assert account.batch(empty(f"{writer}/{number}"), empty("shared")).status_code == 200

    threads = [threading.Thread(target=write, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ada.tree() == sorted([*(f"{writer}/{number}" for writer in range(4) for number in range(10)), "shared"])


# -- rights

READS = ["", "/tree", "/xet-read-token", "/events", "/resolve/a.txt"]
WRITES = [
    ("PUT", "/settings", {"private": False}),
    ("POST", "/batch", {"type": "deleteFile", "path": "a.txt"}),
    ("GET", "/xet-write-token", None),
    ("DELETE", "", None),
]


@pytest.mark.parametrize("path", READS)
def test_a_private_bucket_is_read_by_its_owner_alone(private: Account, path: str) -> None:
    private.add(a="1")

    def status(token: str) -> tuple[int, str | None]:
        options = {"headers": STREAM, "stream": True, "api": not path.startswith("/resolve")}
        with private.as_(token).request("GET", path, **options) as answer:
            return answer.status_code, answer.headers.get("X-Error-Code")

    assert status("hf_ada") == status("hf_reader") == (200, None)
    assert status("hf_bob") == (404, "RepoNotFound")
    assert status("")[0] == 401
    assert private.bucket not in [each.id for each in private.as_("hf_bob").api.list_buckets("ada")]
    assert private.bucket in [each.id for each in private.as_("hf_reader").api.list_buckets()]


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
def test_only_the_owner_with_a_write_token_changes_a_bucket(
    ada: Account, method: str, path: str, body: dict[str, object] | None
) -> None:
    ada.add(a="1")
    before = ada.request("GET").json()
    for token, status in (("", 401), ("hf_bob", 403), ("hf_reader", 403)):
        assert ada.as_(token).request(method, path, json=body).status_code == status
        assert ada.request("GET").json() == before
    assert ada.request(method, path, json=body).status_code == 200


def test_a_bucket_is_created_only_in_an_own_namespace(hub: LocalHub) -> None:
    for token, status in (("", 401), ("hf_bob", 403), ("hf_reader", 403)):
        assert Account(hub.endpoint, token, "ada/foreign").request("POST", json={}).status_code == status
    assert Account(hub.endpoint, "hf_ada", "ada/foreign").request("GET").status_code == 404


def test_a_fine_grained_token_is_for_the_buckets_that_it_names(tmp_path: Path) -> None:
    with LocalHub(tmp_path, users=["ada:hf_ada", "ada:hf_one:fineGrained=buckets/ada/one"]) as hub:
        for name in ("one", "two"):
            Account(hub.endpoint, "hf_ada", f"ada/{name}").request("POST", json={"private": True})
        statuses = [
            Account(hub.endpoint, "hf_one", f"ada/{name}").batch(empty("a")).status_code for name in ("one", "two")
        ]
        assert statuses == [200, 404]


@pytest.mark.parametrize("name", ["raw", "resolve", "info", "tree", "blob", "batch"])
def test_a_bucket_is_read_whatever_its_name(hub: LocalHub, name: str) -> None:
    owner = Account(hub.endpoint, "hf_ada", f"ada/{name}")
    owner.api.create_bucket(owner.bucket)
    owner.add(a="1")
    assert owner.request("GET", "/resolve/a.txt", api=False).text == "1"
    assert owner.request("GET", "", api=False).status_code == 200
    assert owner.request("GET", "/tree/", api=False).status_code == 200


# -- content


def test_a_hash_alone_gives_nobody_the_content(private: Account, hub: LocalHub) -> None:
    (secret,) = private.add(a="a secret of ada").values()
    bob = Account(hub.endpoint, "hf_bob", "bob/own")
    bob.api.create_bucket("bob/own", exist_ok=True)
    copy = {"type": "copyFile", "path": "taken", "xetHash": secret, "mtime": 0, "sourceRepoType": "bucket"}
    lines = [
        {"type": "addFile", "path": "taken", "xetHash": secret},
        {**copy, "sourceRepoId": private.bucket},
        {**copy, "sourceRepoId": "bob/own"},
    ]
    for line in lines:
        assert bob.batch(line).status_code == 422
    token = bob.request("GET", "/xet-read-token").json()
    headers = {"Authorization": f"Bearer {token['accessToken']}"}
    url = f"{token['casUrl']}/v1/reconstructions/{secret}"
    assert requests.get(url, headers=headers, timeout=TIMEOUT).status_code == 404
    assert bob.tree() == []
    bob.api.batch_bucket_files("bob/own", add=[(b"a secret of ada", "known")])  # who has the bytes may have the file
    assert bob.request("GET", "/resolve/known", api=False).text == "a secret of ada"


def test_a_copy_keeps_its_content_when_the_source_is_gone(ada: Account, hub: LocalHub) -> None:
    ada.add(a="public text")
    bob = Account(hub.endpoint, "hf_bob", "bob/copies")
    bob.api.create_bucket("bob/copies")
    bob.api.copy_files(f"hf://buckets/{ada.bucket}/a.txt", "hf://buckets/bob/copies/b.txt")
    ada.request("DELETE")
    bob.api.download_bucket_files("bob/copies", [("b.txt", target := f"{os.environ['HF_HOME']}/copied.txt")])
    assert Path(target).read_text() == "public text"


def test_an_empty_file_is_copied_from_where_there_is_one(ada: Account) -> None:
    copy = {**empty("copy"), "type": "copyFile", "sourceRepoType": "bucket", "sourceRepoId": ada.bucket}
    assert ada.batch(copy).status_code == 422
    assert ada.tree() == []
    assert ada.batch(empty("first"), deletion("first"), copy).json()["failed"][0]["path"] == "copy"
    assert ada.batch(empty("first")).status_code == 200
    assert ada.batch(copy).status_code == 200
    assert ada.tree() == ["copy", "first"]


def test_large_files_of_a_repository_are_copied_without_their_bytes(ada: Account, hub: LocalHub) -> None:
    api = ada.api
    api.create_repo("ada/source", repo_type="dataset")
    for path, content in (("data/large.bin", b"\0" * 5000), ("data/small.txt", b"text")):
        api.upload_file(path_or_fileobj=content, path_in_repo=path, repo_id="ada/source", repo_type="dataset")
    sent = sum(record.bytes_in for record in hub.requests.of("xet-xorb"))
    api.copy_files("hf://datasets/ada/source/data/large.bin", f"hf://buckets/{ada.bucket}/large.bin")
    assert sum(record.bytes_in for record in hub.requests.of("xet-xorb")) == sent
    api.copy_files("hf://datasets/ada/source/", f"hf://buckets/{ada.bucket}/all/")
    assert ada.tree() == ["all/data/large.bin", "all/data/small.txt", "large.bin"]
    assert ada.request("GET", "/resolve/large.bin", api=False).content == b"\0" * 5000
    with pytest.raises(ValueError, match="Bucket-to-repo copy is not supported"):
        api.copy_files(f"hf://buckets/{ada.bucket}/large.bin", "hf://datasets/ada/source/again.bin")
    api.update_repo_settings("ada/source", repo_type="dataset", private=True)
    (entry,) = api.get_paths_info("ada/source", ["data/large.bin"], repo_type="dataset")
    line = {**empty("taken"), "type": "copyFile", "xetHash": entry.xet_hash, "sourceRepoType": "dataset"}
    bob = Account(hub.endpoint, "hf_bob", "bob/from-private")
    bob.api.create_bucket("bob/from-private")
    assert bob.batch({**line, "sourceRepoId": "ada/source"}).status_code == 422


def test_without_xet_a_bucket_takes_empty_files_only(tmp_path: Path) -> None:
    with LocalHub(tmp_path, xet=False) as hub:
        account = Account(hub.endpoint, "hf_local", "local/b")
        account.request("POST", json={})
        assert account.request("GET", "/xet-write-token").status_code == 404
        assert account.batch(empty("a")).status_code == 200


# -- events


def events(stream: requests.Response) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield the events of an open stream."""
    name = ""
    for line in stream.iter_lines(chunk_size=1, decode_unicode=True):
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            yield name, json.loads(line[6:])


def watch(account: Account, **query: str) -> requests.Response:
    return account.request("GET", "/events", params=query, headers=STREAM, stream=True)


def test_a_watcher_is_told_what_was_and_then_what_comes(ada: Account) -> None:
    ada.batch(empty("before"))
    since = ada.request("GET").json()["updatedAt"]
    with watch(ada, since=since) as stream:
        told = events(stream)
        name, data = next(told)
        assert (name, [(change["op"], change["path"]) for change in data["changes"]]) == (
            "changes",
            [("add", "before")],
        )
        assert next(told) == ("ready", {"cursor": data["cursor"]})
        ada.batch(empty("before"), empty("new"), deletion("before"))
        name, live = next(told)
    changes = [(change["op"], change["path"]) for change in live["changes"]]
    assert changes == [("update", "before"), ("add", "new"), ("delete", "before")]
    assert set(live["changes"][1]) == {"path", "op", "size", "xetHash", "mtime", "uploadedAt"}
    assert set(live["changes"][2]) == {"path", "op"}
    with watch(ada, cursor=data["cursor"]) as stream:
        assert next(events(stream)) == ("changes", live)
    with watch(ada) as stream:
        assert next(events(stream)) == ("ready", {"cursor": live["cursor"]})


def test_a_watcher_of_an_empty_bucket_has_no_cursor(ada: Account) -> None:
    with watch(ada, since="2020-01-01T00:00:00Z") as stream:
        assert next(events(stream)) == ("ready", {})


def test_a_watcher_that_asks_for_what_is_forgotten_is_reset(ada: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    ada.batch(empty("a"))
    with watch(ada) as stream:
        _, ready = next(events(stream))
    ada.batch(empty("b"))
    with watch(ada, cursor=ready["cursor"]) as stream:
        assert next(events(stream))[0] == "changes"
    monkeypatch.setitem(vars(LIMITS), "bucket_replay_seconds", -1)
    ada.batch(empty("c"))
    for query in ({"cursor": ready["cursor"]}, {"since": "2020-01-01"}, {"cursor": ready["cursor"][:-1] + "99"}):
        with watch(ada, **query) as stream:
            assert list(events(stream)) == [("reset", {"reason": "cursor_too_old"})]
    with watch(ada, since=ada.request("GET").json()["updatedAt"]) as stream:  # what a client asks for after a reset
        assert next(events(stream))[0] == "ready"


def test_a_clock_that_goes_back_changes_no_order(ada: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    ada.batch(empty("a"))
    before = ada.request("GET").json()["updatedAt"]
    with watch(ada) as stream:
        _, ready = next(events(stream))
    monkeypatch.setattr("hubspool.local_hub.services.buckets.time.time", lambda: 1_700_000_000.0)
    ada.batch(empty("b"))
    assert ada.request("GET").json()["updatedAt"] == before
    with watch(ada, cursor=ready["cursor"]) as stream:
        assert [change["path"] for change in next(events(stream))[1]["changes"]] == ["b"]


@pytest.mark.parametrize("query", [{"cursor": "x"}, {"since": "yesterday"}, {"cursor": "a-" + "9" * 19}])
def test_a_watcher_with_an_invalid_request_is_refused(ada: Account, query: dict[str, str]) -> None:
    assert watch(ada, **query).status_code == 400
    assert ada.request("GET", "/events").status_code == 400


def test_watching_ends_with_the_right_to_it(ada: Account) -> None:
    with watch(ada.as_("hf_bob")) as stream:
        told = events(stream)
        assert next(told)[0] == "ready"
        ada.api.update_bucket_settings(ada.bucket, private=True)
        ada.batch(empty("secret"))
        assert next(told, None) is None


def test_watchers_do_not_keep_others_waiting(ada: Account) -> None:
    streams = [watch(ada.as_("hf_ada")) for _ in range(60)]
    told = [events(stream) for stream in streams]
    assert {next(each)[0] for each in told} == {"ready"}
    assert ada.batch(empty("a")).status_code == 200
    assert {next(each)[0] for each in told} == {"changes"}
    for stream in streams:
        stream.close()


# -- what survives


def test_what_was_answered_is_there_after_a_kill(tmp_path: Path, hub_environment: Path) -> None:
    command = [sys.executable, "-m", "hubspool.cli", "hub", "--root", str(tmp_path / "root")]

    def serve() -> tuple[subprocess.Popen[str], Account]:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        return process, Account(process.stdout.readline().strip(), "hf_local", "local/kept")

    answered: list[str] = []
    process, account = serve()
    with process:
        account.request("POST", json={}).raise_for_status()
        hashes = account.add(text="content")
        kill = threading.Timer(0.3, process.kill)
        with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            for number in itertools.count():
                assert account.batch(empty(f"{number:06}"), empty("last"), deletion("last")).status_code == 200
                answered.append(f"{number:06}")
                if number == 0:
                    kill.start()
    process, account = serve()
    with process:
        found = account.tree()
        assert found[: len(answered)] == answered
        assert len(found) - len(answered) in (1, 2, 3)  # the text, and what the last request left
        assert account.request("GET", "/resolve/text.txt", api=False).text == "content"
        again = {"type": "addFile", "path": "again", "xetHash": hashes["text.txt"]}
        assert account.batch(again).json()["success"]
        process.kill()
    assert answered


def test_a_line_that_was_not_finished_counts_for_nothing(tmp_path: Path) -> None:
    with LocalHub(tmp_path) as hub:
        account = Account(hub.endpoint, "hf_local", "local/torn")
        account.request("POST", json={})
        account.batch(empty("a"), empty("b"))
    (log,) = tmp_path.rglob("hubspool-files.jsonl")
    log.write_bytes(log.read_bytes()[:-5])
    with LocalHub(tmp_path) as hub:
        account.endpoint = hub.endpoint
        assert account.tree() == ["a"]
        account.batch(empty("c"))
    with LocalHub(tmp_path) as hub:
        account.endpoint = hub.endpoint
        assert account.tree() == ["a", "c"]


def test_a_log_of_dead_lines_is_written_again_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(LIMITS), "bucket_dead_lines", 10)
    with LocalHub(tmp_path) as hub:
        account = Account(hub.endpoint, "hf_local", "local/busy")
        account.request("POST", json={})
        for _ in range(10):
            account.batch(empty("a"), empty("b"), deletion("b"))
        with watch(account) as stream:
            _, before = next(events(stream))
        info = account.request("GET").json()
    (log,) = tmp_path.rglob("hubspool-files.jsonl")
    size = log.stat().st_size
    with LocalHub(tmp_path) as hub:
        account.endpoint = hub.endpoint
        assert account.request("GET").json() == info
        assert log.stat().st_size >= size // 2  # watchers may still ask for these lines
    monkeypatch.setitem(vars(LIMITS), "bucket_replay_seconds", -1)
    with LocalHub(tmp_path) as hub:
        account.endpoint = hub.endpoint
        assert account.tree() == ["a"]
        assert log.stat().st_size < size // 5
    with LocalHub(tmp_path) as hub:
        account.endpoint = hub.endpoint
        assert account.request("GET").json() == info
        with watch(account, cursor=before["cursor"]) as stream:
            assert next(events(stream)) == ("ready", before)


def test_a_full_disk_refuses_a_batch_and_keeps_the_rest(ada: Account, hub: LocalHub) -> None:
    ada.batch(empty("before"))
    hub.faults.add(Fault(route="bucket-batch", full_disk=0))
    assert ada.batch(empty("lost")).status_code == 507
    assert ada.tree() == ["before"]
    assert ada.batch(empty("after")).status_code == 200
    assert ada.tree() == ["after", "before"]


def test_half_a_batch_on_a_full_disk_is_what_a_reader_sees_before_and_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(files: DurableFiles, path: Path, data: bytes) -> None:
        with path.open("ab") as file:
            file.write(data[: len(data) * 2 // 3])
        raise OSError(28, "no space left on device")

    with LocalHub(tmp_path) as hub:
        account = Account(hub.endpoint, "hf_local", "local/half")
        account.request("POST", json={})
        account.batch(empty("first"))
        with monkeypatch.context() as full:
            full.setattr(DurableFiles, "append", half)
            assert account.batch(empty("a"), empty("b")).status_code == 507
        seen = account.tree()
        assert seen == ["a", "first"]
    with LocalHub(tmp_path) as hub:
        account.endpoint = hub.endpoint
        assert account.tree() == seen


def test_a_batch_for_a_bucket_that_is_deleted_meanwhile_changes_nothing(tmp_path: Path) -> None:
    with LocalHub(tmp_path) as hub:
        account = Account(hub.endpoint, "hf_local", "local/gone")
        account.request("POST", json={})
        buckets = hub._running.services.buckets  # type: ignore[union-attr]
        held = buckets.at("buckets/local/gone")  # as a request that has found it and not yet changed it
        account.request("DELETE")
        account.request("POST", json={})
        from hubspool.local_hub.services.api_errors import ApiError

        buckets.delete(buckets.at("buckets/local/gone"))
        with pytest.raises(ApiError, match="not found"):
            held.batch([empty("a")], lambda _: 0)
        assert account.request("GET").status_code == 404


# -- limits


def test_the_rate_limit_of_the_hub_can_be_switched_on(ada: Account, hub: LocalHub) -> None:
    fault = hub.faults.add(Fault(path="^/api/", limit=RateLimit(3, 300)))
    try:
        answers = [ada.request("GET") for _ in range(2)] + [ada.batch(empty("a"))]
        refused = ada.batch(empty("b"))
        assert ada.request("GET", "/resolve/a", api=False).status_code == 200
    finally:
        hub.faults.clear()
    assert [answer.headers["RateLimit"].split(";")[1] for answer in answers] == ["r=2", "r=1", "r=0"]
    assert (refused.status_code, refused.headers["RateLimit-Policy"]) == (429, '"fixed window";"api";q=3;w=300')
    assert ada.tree() == ["a"]
    assert fault.limit == RateLimit(3, 300)
