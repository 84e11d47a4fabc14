"""What one account, one repository or one stranger cannot do to a local Hub: stop it for the others."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import socket
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from huggingface_hub import HfApi

from hubspool.local_hub import LocalHub
from tests.support.git_runner import Git

TIMEOUT = 30
ADA, BOB = {"Authorization": "Bearer hf_ada"}, {"Authorization": "Bearer hf_bob"}


@pytest.fixture
def hub(hub_environment: Path, tmp_path: Path) -> Iterator[LocalHub]:
    with LocalHub(tmp_path / "root", users=["ada:hf_ada", "bob:hf_bob"]) as hub:
        for name, headers in (("m", ADA), ("own", BOB)):
            body = {"name": name}
            requests.post(f"{hub.endpoint}/api/repos/create", json=body, headers=headers, timeout=TIMEOUT)
        yield hub


def commit(hub: LocalHub, files: dict[str, str], repo: str = "bob/own", query: str = "") -> requests.Response:
    lines = [{"key": "header", "value": {"summary": "x"}}]
    lines += [{"key": "file", "value": {"path": path, "content": text}} for path, text in files.items()]
    body = "\n".join(map(json.dumps, lines))
    url = f"{hub.endpoint}/api/models/{repo}/commit/main{query}"
    return requests.post(url, data=body, headers=BOB, timeout=TIMEOUT)


# -- patterns


@pytest.mark.parametrize("file", [".gitattributes", ".gitignore"])
@pytest.mark.parametrize("pattern", ["*a" * 12 + "b", "**/" * 12 + "b", "a/**/" * 8 + "b"])
def test_the_patterns_of_a_repository_do_not_hold_the_hub(hub: LocalHub, file: str, pattern: str) -> None:
    rules = {".gitattributes": f"{pattern} filter=lfs\n", ".gitignore": f"{pattern}\n"}
    assert commit(hub, {file: rules[file]}, "ada/m", "?create_pr=1").status_code == 200  # by a stranger
    body = {"files": [{"path": path, "size": 1, "sample": ""} for path in ("a" * 200, "a/" * 90 + "a")]}
    url = f"{hub.endpoint}/api/models/ada/m/preupload/refs%2Fpr%2F1"
    answer = requests.post(url, json=body, headers=BOB, timeout=10)
    assert [entry["shouldIgnore"] for entry in answer.json()["files"]] == [False, False]


def test_many_patterns_for_many_files_are_refused(hub: LocalHub) -> None:
    ignore = "".join(f"*{'a' * 100}{number}b\n" for number in range(20_000))
    files = [{"path": f"{'a' * 200}{number}", "size": 1, "sample": ""} for number in range(250)]
    body = {"files": files, "gitIgnore": ignore}
    url = f"{hub.endpoint}/api/models/bob/own/preupload/main"
    answer = requests.post(url, json=body, headers=BOB, timeout=TIMEOUT)
    assert answer.status_code == 422
    assert ".gitignore" in answer.json()["error"]


# -- pushes and damaged repositories


def _object(kind: str, content: bytes, git: Git, folder: Path) -> str:
    (folder / "object").write_bytes(content)
    return git("hash-object", "--literally", "-t", kind, "-w", "object", cwd=folder).strip()


@pytest.mark.parametrize(
    "people",
    [
        "",
        "author a <a@b> 1 +0000\n",
        "committer a <a@b> 1 +0000\n",
        "author a <a@b> 999999999999999 +0000\ncommitter a <a@b> 1 +0000\n",
        "author a <a@b> 1 +0000\ncommitter a <a@b> 999999999999999 +0000\n",
        "author a <a@b> x +0000\ncommitter a <a@b> 1 +0000\n",
    ],
)
def test_a_commit_that_cannot_be_shown_is_refused(hub: LocalHub, git: Git, tmp_path: Path, people: str) -> None:
    clone = tmp_path / "clone"
    url = hub.endpoint.replace("http://", "http://bob:hf_bob@") + "/bob/own"
    git("clone", "-q", url, str(clone))
    tree, parent = (git("rev-parse", name, cwd=clone).strip() for name in ("HEAD^{tree}", "HEAD"))
    bad = _object("commit", f"tree {tree}\nparent {parent}\n{people}\nx\n".encode(), git, clone)
    git("update-ref", "refs/heads/main", bad, cwd=clone)
    assert "rejected" in git("push", "origin", "main", cwd=clone, ok=False)
    listing = requests.get(f"{hub.endpoint}/api/models", timeout=TIMEOUT)
    assert {repo["id"] for repo in listing.json()} == {"ada/m", "bob/own"}


@pytest.mark.parametrize("damage", ["settings", "head", "objects", "no git"])
def test_one_damaged_repository_does_not_hide_the_others(
    hub: LocalHub, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    hub.stop()
    folder = tmp_path / "root" / "repos" / "models" / "bob" / "own.git"
    if damage == "settings":
        (folder / "hubspool.json").write_text("{")
    elif damage == "head":
        (folder / "refs" / "heads" / "main").write_text("0" * 40)
    elif damage == "objects":
        for path in (folder / "objects").glob("??/*"):
            path.write_bytes(b"junk")
    else:
        shutil.rmtree(folder / "objects")
    hub.start()
    for path in ("/api/models", "/api/models?full=1", "/", "/api/users/bob/overview", "/api/models"):
        answer = requests.get(hub.endpoint + path, timeout=TIMEOUT)
        assert answer.status_code == 200, path
        assert "ada/m" in answer.text or "users" in path
    told = [record for record in caplog.records if "bob/own" in record.getMessage()]
    assert len(told) == 1  # once, not for each listing


# -- cards


def test_the_card_of_a_repository_is_parsed_once(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from hubspool.local_hub.services import cards

    parsed = []
    load = cards._load_yaml
    monkeypatch.setattr(cards, "_load_yaml", lambda text: parsed.append(text) or load(text))
    card = "---\nlicense: mit\ntags:\n" + "".join(f"- tag{number}\n" for number in range(100)) + "---\n"
    assert commit(hub, {"README.md": card}).status_code == 200
    parsed.clear()  # the commit has checked it
    for _ in range(3):
        (found,) = requests.get(f"{hub.endpoint}/api/models?author=bob&full=1", timeout=TIMEOUT).json()
        assert found["cardData"]["license"] == "mit"
    assert len(parsed) == 1


def test_a_large_card_is_refused(hub: LocalHub) -> None:
    card = "---\nlicense: mit\ntags:\n" + "- [[[[a]]]]\n" * 40_000 + "---\n"
    url = f"{hub.endpoint}/api/validate-yaml"
    answer = requests.post(url, json={"content": card}, headers=BOB, timeout=TIMEOUT)
    assert answer.status_code == 400
    assert "bytes" in answer.json()["errors"][0]["message"]
    assert commit(hub, {"README.md": card}).status_code == 400


# -- previews


def test_the_preview_of_a_parquet_file_has_little_memory(hub: LocalHub) -> None:
    import pyarrow
    import pyarrow.parquet

    # one value of 40 MB in a dictionary, and 40 rows that refer to it
    column = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 40), pyarrow.array([bytes(40_000_000)]))
    out = io.BytesIO()
    table = pyarrow.table({"a": column, "b": range(40)})
    options = {"compression": "zstd", "dictionary_pagesize_limit": 1 << 30, "store_schema": False}
    pyarrow.parquet.write_table(table, out, **options)
    del column, table
    content = out.getvalue()
    assert len(content) < 1_000_000
    api = HfApi(endpoint=hub.endpoint, token="hf_bob")
    api.create_repo("bob/rows", repo_type="dataset")
    api.upload_file(path_or_fileobj=content, path_in_repo="a.parquet", repo_id="bob/rows", repo_type="dataset")
    before = _peak()
    page = requests.get(f"{hub.endpoint}/datasets/bob/rows/blob/main/a.parquet", timeout=TIMEOUT)
    assert page.status_code == 200
    assert _peak() - before < 500  # MB


def _peak() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


# -- bodies

ANONYMOUS_BODIES = [
    ("POST", "/api/models/ada/m/commit/main"),
    ("POST", "/ada/m.git/git-receive-pack"),
    ("POST", "/api/repos/create"),
    ("PUT", f"/lfs/objects/{'0' * 64}/ada/m/ada"),
    ("PUT", f"/lfs/parts/{'0' * 64}/ada/m/ada/1"),
    ("POST", f"/xet/{{store}}/v1/xorbs/default/{'0' * 64}"),
    ("POST", "/xet/{store}/v1/shards"),
    ("POST", "/api/models/ada/m/preupload/main"),
]


@pytest.mark.parametrize(("method", "path"), ANONYMOUS_BODIES)
def test_nothing_of_a_body_is_kept_before_the_rights_are_known(hub: LocalHub, method: str, path: str) -> None:
    """The client announces a large body and waits: the answer comes before the body, and no file was begun."""
    path = path.format(store=(hub.root / "store-id").read_text())
    host, port = hub.endpoint.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=TIMEOUT) as connection:
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 60000000\r\nExpect: 100-continue\r\n\r\n"
        connection.sendall(head.encode())
        answer = connection.recv(100)
    assert answer.startswith((b"HTTP/1.1 401", b"HTTP/1.1 403")), answer
    # a client that does not wait gets the same answer, after it has sent what it had to say
    body = b" " * 5_000_000
    refused = requests.request(method, hub.endpoint + path, data=body, timeout=TIMEOUT)
    assert refused.status_code in (401, 403)
    assert not any((hub.root / "tmp").iterdir())


@pytest.mark.parametrize("path", ["/ada/m.git/info/lfs/objects/batch", "/api/models/ada/m/paths-info/main"])
def test_a_body_without_a_token_is_small(hub: LocalHub, path: str) -> None:
    assert requests.post(hub.endpoint + path, data=b" " * 3_000_000, timeout=TIMEOUT).status_code == 413
    assert requests.post(hub.endpoint + path, data=b" " * 3_000_000, headers=ADA, timeout=TIMEOUT).status_code != 413


def _pack(*objects: tuple[int, int, bytes]) -> bytes:
    """Return a pack of objects: type, declared size, content after the header."""
    import hashlib

    data = struct.pack(">4sII", b"PACK", 2, len(objects))
    for kind, size, content in objects:
        first, rest = kind << 4 | size & 15, size >> 4
        data += (bytes([first | 128]) + _varint(rest) if rest else bytes([first])) + content
    return data + hashlib.sha1(data).digest()


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _bombs() -> dict[str, bytes]:
    base = b"x" * (1 << 20)
    copy = bytes([0xFF]) + bytes(4) + (1 << 20).to_bytes(3, "little")
    delta = _varint(len(base)) + _varint(500 << 20) + copy * 500
    import hashlib

    name = hashlib.sha1(b"blob %d\0" % len(base) + base).digest()
    many = [(7, len(d := _varint(1 << 20) + _varint(40 << 20) + copy * 40), name + zlib.compress(d))] * 60
    return {
        "a blob": _pack((3, 300_000_000, zlib.compress(bytes(300_000_000), 9))),
        "a tree": _pack((2, 300_000_000, zlib.compress(bytes(300_000_000), 9))),
        "a delta": _pack((3, len(base), zlib.compress(base)), (7, len(delta), name + zlib.compress(delta))),
        "many deltas": _pack((3, len(base), zlib.compress(base)), *many),
    }


@pytest.mark.parametrize("kind", ["a blob", "a tree", "a delta", "many deltas"])
def test_a_small_push_does_not_fill_the_memory(hub: LocalHub, kind: str) -> None:
    new = "1" * 40
    line = f"{'0' * 40} {new} refs/heads/x\0report-status\n".encode()
    body = b"%04x" % (len(line) + 4) + line + b"0000" + _bombs()[kind]
    assert len(body) < 2_000_000
    before = _peak()
    answer = requests.post(f"{hub.endpoint}/bob/own.git/git-receive-pack", data=body, headers=BOB, timeout=TIMEOUT)
    assert b"unpack ok" not in answer.content
    assert b"bytes" in answer.content, answer.content
    assert _peak() - before < 200


def test_a_compressed_request_is_unpacked_within_its_limit(hub: LocalHub) -> None:
    bomb = gzip.compress(bytes(200 << 20))
    headers = {"Content-Encoding": "gzip"}
    answer = requests.post(f"{hub.endpoint}/ada/m.git/git-upload-pack", data=bomb, headers=headers, timeout=TIMEOUT)
    assert answer.status_code == 413


# -- connections

_SERVER = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from hubspool.cli import main
sys.exit(main(["hub", "--root", sys.argv[1], "--port", "0"]))
"""


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HT", b"POST /api/repos/create HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n"]
)
def test_half_sent_requests_do_not_block_the_others(tmp_path: Path, sent: bytes) -> None:
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVER, str(tmp_path / "root")], stdout=subprocess.PIPE, stderr=log
        )
        connections = []
        try:
            assert process.stdout is not None
            endpoint = process.stdout.readline().decode().strip()
            host, port = endpoint.removeprefix("http://").split(":")
            for _ in range(300):
                connections.append(socket.create_connection((host, int(port)), timeout=TIMEOUT))
                connections[-1].sendall(sent)
            for _ in range(3):
                assert requests.get(f"{endpoint}/api/models", timeout=10).status_code == 200
        finally:
            for connection in connections:
                connection.close()
            process.terminate()
            process.communicate(timeout=TIMEOUT)
    assert (tmp_path / "log").stat().st_size < 20_000


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HTTP/1.1\r\nHost: 127", b"GET /api/models HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /"]
)
def test_a_client_that_does_not_finish_its_headers_is_disconnected(
    sent: bytes, hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    _limit(monkeypatch, header_seconds=0.3)
    host, port = hub.endpoint.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=TIMEOUT) as connection:
        connection.sendall(sent)
        while connection.recv(10_000):  # until the Hub ends the connection
            pass


def test_a_client_that_does_not_send_its_body_is_told_and_disconnected(
    hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    _limit(monkeypatch, body_seconds=0.3)
    host, port = hub.endpoint.removeprefix("http://").split(":")
    stop = threading.Event()
    for drip in (False, True):
        with socket.create_connection((host, int(port)), timeout=TIMEOUT) as connection:
            head = "POST /api/repos/create HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer hf_bob\r\n"
            connection.sendall(f"{head}Content-Length: 5000000\r\n\r\n".encode())

            def send(connection: socket.socket = connection) -> None:
                while not stop.wait(0.05):  # a byte at a time: never silent, and never done
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        return

            thread = threading.Thread(target=send)
            if drip:
                thread.start()
            answer = b""
            try:
                while piece := connection.recv(10_000):
                    answer += piece
            except ConnectionResetError:
                pass
            stop.set()
            if drip:
                thread.join(TIMEOUT)
            assert b" 408 " in answer
    assert hub.wait_idle(TIMEOUT)


def _limit(monkeypatch: pytest.MonkeyPatch, **changes: float) -> None:
    from hubspool.local_hub.limits import LIMITS

    for name, value in changes.items():
        monkeypatch.setitem(vars(LIMITS), name, value)
