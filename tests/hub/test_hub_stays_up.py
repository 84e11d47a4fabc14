"""What one account, one repository or one stranger cannot do to a local Hub: stop it for the others."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from huggingface_hub import HfApi

from hubspool.local_hub import LocalHub
from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.routes import page
from hubspool.local_hub.routes.table import ROUTES
from hubspool.local_hub.services import markdown
from hubspool.local_hub.storage import packs
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
    answer = requests.post(url, json=body, headers=BOB, timeout=TIMEOUT)
    assert [entry["shouldIgnore"] for entry in answer.json()["files"]] == [False, False]


def test_many_patterns_for_many_files_are_refused(hub: LocalHub) -> None:
    ignore = "".join(f"*{'a' * 100}{number}b\n" for number in range(20_000))
    files = [{"path": f"{'a' * 200}{number}", "size": 1, "sample": ""} for number in range(250)]
    body = {"files": files, "gitIgnore": ignore}
    url = f"{hub.endpoint}/api/models/bob/own/preupload/main"
    answer = requests.post(url, json=body, headers=BOB, timeout=3 * TIMEOUT)
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
                assert requests.get(f"{endpoint}/api/models", timeout=TIMEOUT).status_code == 200
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


# -- files that cost much to show


@pytest.mark.parametrize(
    "value",
    ["!!bool [x]", "!!int ''", f"!!int {'1:' * 60_000}1", f"!!float {'1:' * 60_000}1", "!!timestamp x", "!!set x"],
)
def test_no_value_of_a_card_makes_an_accident(hub: LocalHub, value: str) -> None:
    card = f"---\na: {value}\n---\n"
    answer = requests.post(f"{hub.endpoint}/api/validate-yaml", json={"content": card}, headers=BOB, timeout=TIMEOUT)
    assert answer.status_code == 400, answer.text
    assert commit(hub, {"README.md": card}).status_code == 400


@pytest.mark.parametrize("text", ["[" * 250_000, "<div>" * 50_000, "![a" * 80_000, "**a" * 80_000])
def test_a_readme_does_not_hold_its_page(hub: LocalHub, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = []
    render = markdown.MarkdownIt.render
    monkeypatch.setattr(markdown.MarkdownIt, "render", lambda *args: (rendered.append(len(args[1])), render(*args))[1])
    commit(hub, {"README.md": f"# Title\n\n{text}"})
    for _ in range(2):
        page = requests.get(f"{hub.endpoint}/bob/own", timeout=TIMEOUT)
        assert (page.status_code, "Title" in page.text) == (200, True)
    assert rendered == [LIMITS.preview_card]  # the beginning, once


def test_numbers_without_an_end_do_not_hold_the_hub(hub: LocalHub) -> None:
    """An event file and a pack hold numbers of any length; each byte of one costs as much as those before it."""
    endless = b"\xff" * 4_000_000
    event = struct.pack("<QI", len(endless), 0) + endless + bytes(4)
    api = HfApi(endpoint=hub.endpoint, token="hf_bob")
    api.upload_file(path_or_fileobj=event, path_in_repo="events.out.tfevents.1", repo_id="bob/own")
    assert requests.get(f"{hub.endpoint}/bob/own/blob/main/events.out.tfevents.1", timeout=TIMEOUT).status_code == 200
    pack = b"PACK" + struct.pack(">II", 2, 1) + endless
    line = f"{'0' * 40} {'1' * 40} refs/heads/x\0report-status\n".encode()
    body = b"%04x" % (len(line) + 4) + line + b"0000" + pack + hashlib.sha1(pack).digest()
    answer = requests.post(f"{hub.endpoint}/bob/own.git/git-receive-pack", data=body, headers=BOB, timeout=TIMEOUT)
    assert b"the pack is broken" in answer.content


class _Counted(bytes):
    """Counts the bytes that slices copy."""

    copied = 0

    def __getitem__(self, key: int | slice) -> int | bytes:  # type: ignore[override]
        found = super().__getitem__(key)
        _Counted.copied += len(found) if isinstance(found, bytes) else 0
        return found


def test_small_objects_are_measured_without_reading_the_rest_of_the_pack() -> None:
    pack = _Counted(_pack(*[(3, 1, zlib.compress(b"x"))] * 500))
    assert list(packs._sizes(pack)) == [1] * 500  # type: ignore[arg-type]
    assert _Counted.copied < 2000 * 500  # each took up to 1 MiB of what follows


def test_the_difference_of_large_files_does_not_hold_the_hub(hub: LocalHub) -> None:
    lines = [f"{number % 150}\n" for number in range(60_000)]
    old = commit(hub, {"a.txt": "".join(lines)}).json()["commitOid"]
    new = commit(hub, {"a.txt": "".join(reversed(lines))}).json()["commitOid"]
    page = requests.get(f"{hub.endpoint}/bob/own/commit/{new}", timeout=TIMEOUT)
    assert (page.status_code, "a.txt" in page.text) == (200, True)
    answer = requests.get(f"{hub.endpoint}/api/models/bob/own/compare/{old}..{new}", timeout=TIMEOUT)
    assert (answer.status_code, answer.text.startswith("diff --git a/a.txt b/a.txt")) == (200, True)


@pytest.mark.parametrize("revs", ["." * 15_000, "a.." * 5000])
def test_no_address_holds_the_event_loop(hub: LocalHub, revs: str) -> None:
    before = time.thread_time()
    for route in ROUTES:
        route.match(f"/api/models/bob/own/compare/{revs}/")
        route.match(f"/bob/{revs}/info/lf")
    assert time.thread_time() - before < 0.5
    url = f"{hub.endpoint}/api/models/bob/own/compare/{revs[:300]}"
    assert requests.get(url, headers=BOB, timeout=TIMEOUT).status_code == 404


def test_members_of_an_archive_that_unpack_without_a_limit_have_no_preview(hub: LocalHub) -> None:
    picture = b"\x89PNG" + bytes(100_000)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, kind in (("a.png", zipfile.ZIP_DEFLATED), ("b.png", zipfile.ZIP_BZIP2), ("c.png", zipfile.ZIP_LZMA)):
            archive.writestr(name, picture, kind)
    api = HfApi(endpoint=hub.endpoint, token="hf_bob")
    api.upload_file(path_or_fileobj=content.getvalue(), path_in_repo="a.zip", repo_id="bob/own")
    page = requests.get(f"{hub.endpoint}/bob/own/blob/main/a.zip", timeout=TIMEOUT).text
    assert ("3 members" in page, page.count("<img")) == (True, 1)


def test_pages_that_take_long_leave_room_for_other_requests(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    held, let_go, seen = threading.Semaphore(0), threading.Event(), []

    def wait(*_: object, **__: object) -> list[object]:
        held.release()
        let_go.wait()
        return []

    monkeypatch.setattr(page.preview, "charts", wait)
    commit(hub, {"a.txt": "x"})
    url = f"{hub.endpoint}/bob/own/blob/main/a.txt"

    def ask() -> None:
        seen.append(requests.get(url, timeout=60).status_code)

    threads = [threading.Thread(target=ask) for _ in range(60)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(LIMITS.slow_requests):
            assert held.acquire(timeout=TIMEOUT)
        try:
            status = requests.get(f"{hub.endpoint}/api/whoami-v2", headers=BOB, timeout=TIMEOUT).status_code
        except requests.Timeout:
            status = 0
        assert status == 200
    finally:
        let_go.set()
        for thread in threads:
            thread.join(60)
    assert seen == [200] * 60


def test_a_request_forges_no_line_of_the_log(
    hub: LocalHub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(page.preview, "charts", lambda *_: 1 / 0)
    commit(hub, {"a.txt": "x"})
    requests.get(f"{hub.endpoint}/bob/own/blob/main%0aforged/../a.txt", timeout=TIMEOUT)
    requests.get(f"{hub.endpoint}/bob/own/blob/main/a.txt", timeout=TIMEOUT)
    assert "failed" in caplog.text
    assert all("\n" not in record.getMessage() for record in caplog.records)
