"""The parts of the HTTP API that clients rely on without saying so."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
from collections.abc import Callable

import pytest
import requests
from huggingface_hub import HfApi

from hubspool.local_hub import LocalHub
from hubspool.local_hub.server import _listen

TEXT = bytes(range(32, 127)) * 10
LARGE = hashlib.sha256(b"seed").digest() * 100_000

Commit = Callable[..., requests.Response]


@pytest.fixture
def commit(http: requests.Session, local_hub: LocalHub, dataset: str) -> Commit:
    def send(*operations: tuple[str, dict[str, object]], **header: object) -> requests.Response:
        lines = [("header", {"summary": "test", **header}), *operations]
        body = "\n".join(json.dumps({"key": key, "value": value}) for key, value in lines)
        return http.post(f"{local_hub.endpoint}/api/datasets/{dataset}/commit/main", data=body, timeout=10)

    return send


def file(path: str, content: bytes = b"x") -> tuple[str, dict[str, object]]:
    return "file", {"path": path, "content": base64.b64encode(content).decode(), "encoding": "base64"}


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_body_of_an_answer_does_not_wait_for_the_acknowledgement_of_its_headers(host: str) -> None:
    with (
        _listen(host, 0) as listener,
        socket.create_connection(listener.getsockname()[:2], 10),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("content", [TEXT, LARGE], ids=["in-git", "in-xet"])
def test_content_is_served_in_ranges(
    content: bytes, stock_api: HfApi, http: requests.Session, local_hub: LocalHub, dataset: str
) -> None:
    stock_api.upload_file(path_or_fileobj=content, path_in_repo="f.x", repo_id=dataset, repo_type="dataset")
    url = f"{local_hub.endpoint}/datasets/{dataset}/resolve/main/f.x"
    size = len(content)
    for wanted, part in {
        "bytes=0-0": content[:1],
        "bytes=5-": content[5:],
        "bytes=-7": content[-7:],
        f"bytes={size // 3}-{size // 2}": content[size // 3 : size // 2 + 1],
        f"bytes={size - 1}-{size + 5}": content[-1:],
    }.items():
        answer = http.get(url, headers={"Range": wanted}, timeout=10)
        start = content.index(part) if wanted.startswith("bytes=-") else None
        assert (answer.status_code, answer.content) == (206, part), wanted
        assert answer.headers["Content-Range"].endswith(f"/{size}")
        assert start is None or answer.headers["Content-Range"] == f"bytes {size - 7}-{size - 1}/{size}"
    past = http.get(url, headers={"Range": f"bytes={size}-"}, timeout=10)
    assert (past.status_code, past.headers["Content-Range"]) == (416, f"bytes */{size}")
    head = http.head(url, headers={"Accept-Encoding": "identity"}, timeout=10)
    assert (head.status_code, head.headers["Content-Length"], head.content) == (200, str(size), b"")
    assert head.headers["X-Repo-Commit"] == stock_api.repo_info(dataset, repo_type="dataset").sha
    etag = (
        hashlib.sha256(content).hexdigest()
        if content is LARGE
        else hashlib.sha1(b"blob %d\0" % size + content).hexdigest()
    )
    assert head.headers["ETag"] == f'"{etag}"'


@pytest.mark.parametrize("path", ["../x", "/x", "a//b", "a/../b", "a/./b", ".git/config", "a/.GIT/b", "a\nb", "", "a/"])
def test_a_path_that_leaves_the_repository_is_refused(path: str, commit: Commit) -> None:
    answer = commit(file("good.txt"), file(path))
    assert answer.status_code == 422
    assert repr(path) in answer.json()["error"]


def test_a_commit_happens_whole_or_not_at_all(commit: Commit, stock_api: HfApi, dataset: str) -> None:
    missing = hashlib.sha256(b"never sent").hexdigest()
    for operation, status in (
        (("lfsFile", {"path": "b.bin", "algo": "sha256", "oid": missing, "size": 10}), 400),
        (("deletedFile", {"path": "none.txt"}), 404),
        (("deletedFolder", {"path": "none/"}), 404),
        (("file", {"path": "b.txt", "content": "%%%", "encoding": "base64"}), 400),
        (file("big.txt", b"x" * (10 * 1024 * 1024 + 1)), 400),
        (("unknown", {"path": "b.txt"}), 400),
        (file("a.txt/b.txt"), 422),
    ):
        assert commit(file("a.txt"), operation).status_code == status, operation[0]
    assert commit(file("a.txt"), summary="").status_code == 400
    assert stock_api.list_repo_files(dataset, repo_type="dataset") == [".gitattributes"]
    assert len(stock_api.list_repo_commits(dataset, repo_type="dataset")) == 1


def test_a_file_may_take_the_place_of_a_folder_that_is_deleted_before_it(
    commit: Commit, stock_api: HfApi, dataset: str
) -> None:
    assert commit(file("a/b/c.txt")).ok
    assert commit(file("a")).status_code == 422
    assert commit(("deletedFolder", {"path": "a/"}), file("a")).ok
    assert stock_api.list_repo_files(dataset, repo_type="dataset") == [".gitattributes", "a"]


def test_parent_commit_may_be_abbreviated(commit: Commit, stock_api: HfApi, dataset: str) -> None:
    head = stock_api.repo_info(dataset, repo_type="dataset").sha
    assert commit(file("a.txt"), parentCommit=head[:7]).ok
    stale = commit(file("a.txt"), parentCommit=head[:7])
    assert stale.status_code == 412
    assert "branch was updated" in stale.json()["error"]


def test_preupload_decides_by_rules_size_and_first_bytes(
    http: requests.Session, local_hub: LocalHub, dataset: str
) -> None:
    def ask(**extra: object) -> dict[str, tuple[str, bool]]:
        text, binary = (base64.b64encode(sample).decode() for sample in (b"text " * 100, b"\0" * 512))
        sizes = {
            "a.parquet": 5,
            "log.txt": 5,
            "long.txt": (10 << 20) + 1,
            "b.dat": 2 << 20,
            "t.dat": 2 << 20,
            "s.dat": 9,
        }
        files = [
            {"path": path, "size": size, "sample": text if path.endswith("txt") or path == "t.dat" else binary}
            for path, size in sizes.items()
        ]
        url = f"{local_hub.endpoint}/api/datasets/{dataset}/preupload/main"
        answers = http.post(url, json={"files": files, **extra}, timeout=10).json()["files"]
        return {answer["path"]: (answer["uploadMode"], answer["shouldIgnore"]) for answer in answers}

    plain = ask()
    assert {path for path, (mode, _) in plain.items() if mode == "lfs"} == {"a.parquet", "long.txt", "b.dat"}
    assert not any(ignored for _, ignored in plain.values())
    ruled = ask(gitAttributes="*.txt filter=lfs\nlong.txt -filter\n", gitIgnore="*.dat\n!t.dat\n")
    assert {path for path, (mode, _) in ruled.items() if mode == "lfs"} == {"log.txt", "long.txt", "b.dat"}
    assert {path for path, (_, ignored) in ruled.items() if ignored} == {"b.dat", "s.dat"}


def test_a_large_file_that_no_rule_covers_gets_one(
    stock_api: HfApi, dataset: str, http: requests.Session, local_hub: LocalHub
) -> None:
    for path in ("x y/[1].dat", "x y/[1].dat", "z.dat"):
        content = LARGE if path != "x y/[1].dat" else LARGE + str(path).encode()
        stock_api.upload_file(path_or_fileobj=content, path_in_repo=path, repo_id=dataset, repo_type="dataset")
    raw = http.get(f"{local_hub.endpoint}/datasets/{dataset}/raw/main/.gitattributes", timeout=10).text
    lines = [line for line in raw.splitlines() if ".dat" in line]
    rule = "filter=lfs diff=lfs merge=lfs -text"
    assert lines == [rf"x[[:space:]]y/\[1\].dat {rule}", f"z.dat {rule}"]
    pointer = http.get(f"{local_hub.endpoint}/datasets/{dataset}/raw/main/z.dat", timeout=10).text
    oid = hashlib.sha256(LARGE).hexdigest()
    assert pointer == f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(LARGE)}\n"


def test_what_is_not_there_is_said_with_the_codes_that_clients_read(
    http: requests.Session, local_hub: LocalHub, dataset: str
) -> None:
    api, pages = f"{local_hub.endpoint}/api/datasets", f"{local_hub.endpoint}/datasets"
    for url, code in {
        f"{api}/local/none": "RepoNotFound",
        f"{api}/no%20name/x": "RepoNotFound",
        f"{api}/{dataset}/revision/none": "RevisionNotFound",
        f"{api}/{dataset}/tree/main/none": "EntryNotFound",
        f"{api}/{dataset}/tree/none": "RevisionNotFound",
        f"{pages}/{dataset}/resolve/main/none.txt": "EntryNotFound",
        f"{pages}/{dataset}/resolve/none/none.txt": "RevisionNotFound",
    }.items():
        answer = http.get(url, timeout=10)
        assert (answer.status_code, answer.headers["X-Error-Code"]) == (404, code), url
        assert answer.json()["error"] == answer.headers["X-Error-Message"]
    assert "X-Repo-Commit" in http.get(f"{pages}/{dataset}/resolve/main/none.txt", timeout=10).headers
    assert http.get(f"{api}/{dataset}?expand=nonsense", timeout=10).status_code == 400
    assert http.get(f"{local_hub.endpoint}/nowhere", timeout=10).status_code == 404
    assert http.put(f"{local_hub.endpoint}/api/whoami-v2", timeout=10).status_code == 405


def test_revisions_with_a_slash_are_found_encoded(
    http: requests.Session, stock_api: HfApi, local_hub: LocalHub, dataset: str
) -> None:
    stock_api.create_branch(dataset, branch="feature/x", repo_type="dataset")
    sha = stock_api.repo_info(dataset, repo_type="dataset").sha
    for revision in ("feature%2Fx", "refs%2Fheads%2Ffeature%2Fx", sha, sha[:8]):
        url = f"{local_hub.endpoint}/api/datasets/{dataset}/revision/{revision}?expand=sha&expand=xetEnabled"
        found = http.get(url, timeout=10).json()
        assert (found["sha"], found["xetEnabled"], set(found)) == (sha, True, {"_id", "id", "sha", "xetEnabled"})


def test_paths_info_takes_forms_and_json(http: requests.Session, local_hub: LocalHub, dataset: str) -> None:
    url = f"{local_hub.endpoint}/api/datasets/{dataset}/paths-info/main"
    by_form = http.post(url, data={"paths": [".gitattributes", "none"], "expand": "False"}, timeout=10).json()
    by_json = http.post(url, json={"paths": [".gitattributes", "none"]}, timeout=10).json()
    assert by_form == by_json
    assert [entry["path"] for entry in by_form] == [".gitattributes"]
    assert http.post(url, json={"paths": ["x"] * 1001}, timeout=10).status_code == 413


NONSENSE = rb"""
junk
[]
"text"
{"files": [1]}
{"files": [{"path": "a", "size": "x"}]}
{"files": 7}
{"paths": [1, null]}
{"paths": 7}
{"operation": "upload", "objects": [1]}
{"oid": 5, "size": -1}
{"key": "header", "value": 7}
{"key": "file", "value": []}
{"key": "lfsFile", "value": {"path": "a", "oid": "../../secret"}}
{"name": 7}
{"tag": []}
{"tag": " "}
{"content": 7}
{"startingPoint": 7}
""".splitlines()


@pytest.mark.parametrize("body", [*NONSENSE, b"\xff\xfe"])
def test_nonsense_is_refused_and_not_an_accident(
    body: bytes, http: requests.Session, local_hub: LocalHub, dataset: str
) -> None:
    api = f"/api/datasets/{dataset}"
    for path in (
        f"{api}/preupload/main", f"{api}/commit/main", f"{api}/paths-info/main", f"{api}/branch/b", f"{api}/tag/main",
        f"/datasets/{dataset}.git/info/lfs/objects/batch", f"/datasets/{dataset}.git/info/lfs/verify",
        "/api/repos/create", "/api/validate-yaml", f"/datasets/{dataset}.git/git-upload-pack",
    ):  # fmt: skip
        answer = http.post(f"{local_hub.endpoint}{path}", data=body, timeout=10)
        assert answer.status_code < 500, (path, answer.text)


def test_lfs_content_that_is_not_what_its_name_says_is_refused(
    http: requests.Session, local_hub: LocalHub, dataset: str
) -> None:
    lfs = f"{local_hub.endpoint}/datasets/{dataset}.git/info/lfs"
    target = {"oid": hashlib.sha256(LARGE).hexdigest(), "size": len(LARGE)}

    def actions(operation: str, *transfers: str) -> dict[str, dict[str, object]]:
        body = {"operation": operation, "transfers": transfers, "objects": [target]}
        return http.post(f"{lfs}/objects/batch", json=body, timeout=10).json()["objects"][0].get("actions", {})

    assert actions("download") == {}
    upload = actions("upload", "basic")["upload"]
    for content in (LARGE[:-1], LARGE + b"x", b""):
        assert requests.put(str(upload["href"]), data=content, timeout=10).status_code == 400
        assert http.post(f"{lfs}/verify", json=target, timeout=10).status_code == 404
    assert requests.put(str(upload["href"]), data=LARGE, timeout=10).ok
    assert http.post(f"{lfs}/verify", json=target, timeout=10).ok
    assert actions("upload") == {}
    assert requests.get(str(actions("download")["download"]["href"]), timeout=10).content == LARGE


def test_lfs_parts_must_be_there_and_make_up_the_object(hub_environment: object) -> None:
    with LocalHub(lfs_part_size=1_000_000) as hub:
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {hub.token}"
        session.post(f"{hub.endpoint}/api/repos/create", json={"name": "m"}, timeout=10)
        oid = hashlib.sha256(LARGE).hexdigest()
        body = {"operation": "upload", "transfers": ["multipart"], "objects": [{"oid": oid, "size": len(LARGE)}]}
        answer = session.post(f"{hub.endpoint}/local/m.git/info/lfs/objects/batch", json=body, timeout=10).json()
        upload = answer["objects"][0]["actions"]["upload"]
        parts = sorted(key for key in upload["header"] if key.isdigit())
        assert len(parts) == 4
        done = {"oid": oid, "parts": [{"partNumber": int(number), "etag": "x"} for number in parts]}
        for number in parts[:-1]:
            start = (int(number) - 1) * 1_000_000
            put = requests.put(upload["header"][number], data=LARGE[start : start + 1_000_000], timeout=10)
            assert put.headers["ETag"]
        assert requests.post(upload["href"], json=done, timeout=10).status_code == 400
        assert requests.put(upload["header"][parts[-1]], data=b"wrong", timeout=10).ok
        assert requests.post(upload["href"], json=done, timeout=10).status_code == 400
        assert requests.put(upload["header"][parts[-1]], data=LARGE[3_000_000:], timeout=10).ok
        assert requests.post(upload["href"], json={"oid": oid, "parts": []}, timeout=10).status_code == 400
        assert requests.post(upload["href"], json=done, timeout=10).ok
