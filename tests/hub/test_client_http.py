"""Redirects, proxies' answers, forks and exits: what the local Hub does not do by itself."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hubspool.client.hf_api import HfApi
from hubspool.client.http import HubClient, HubSession
from hubspool.client.retry import RetryPolicy
from hubspool.errors import BadResponseError
from hubspool.local_hub import LocalHub
from hubspool.settings import Token

SECRET = "hf_neverShownAnywhere"


@dataclass
class Stub:
    """A server that answers as it is told and remembers what it was sent."""

    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    seen: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    endpoint: str = ""


def serve() -> Iterator[Stub]:
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            stub.seen.append((self.command, self.path, dict(self.headers), body))
            status, headers, content = stub.answers.get(self.path, (404, {}, b""))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        stub.endpoint = f"http://127.0.0.1:{server.server_port}"
        yield stub
        server.shutdown()
        thread.join(30)


@pytest.fixture
def hub(hub_environment: Path) -> Iterator[Stub]:
    yield from serve()


@pytest.fixture
def elsewhere() -> Iterator[Stub]:
    yield from serve()


@pytest.fixture
def client(hub: Stub) -> Iterator[HubClient]:
    session = HubSession(headers={"X-Custom": "1"})
    yield HubClient(session, hub.endpoint, Token(SECRET, "test"))
    session.close()


class Blocks:
    """A body of three blocks."""

    def __len__(self) -> int:
        return 9

    def __iter__(self) -> Iterator[bytes]:
        yield from (b"abc", b"def", b"ghi")


def test_a_redirect_to_another_host_is_followed_without_the_token(
    hub: Stub, elsewhere: Stub, client: HubClient
) -> None:
    hub.answers["/file"] = (302, {"Location": f"{elsewhere.endpoint}/cdn?sig=1"}, b"")
    elsewhere.answers["/cdn?sig=1"] = (200, {}, b"content")
    assert client.request("GET", f"{hub.endpoint}/file").content == b"content"
    [(_, _, headers, _)] = elsewhere.seen
    assert "Authorization" not in headers
    assert "X-Custom" not in headers
    assert hub.seen[0][2]["Authorization"] == f"Bearer {SECRET}"


def test_a_request_that_changes_something_is_not_sent_to_another_host(
    hub: Stub, elsewhere: Stub, client: HubClient
) -> None:
    hub.answers["/commit"] = (307, {"Location": f"{elsewhere.endpoint}/commit"}, b"")
    with pytest.raises(BadResponseError, match="redirects to"):
        client.request("POST", f"{hub.endpoint}/commit", body=Blocks())
    assert elsewhere.seen == []


def test_a_renamed_repository_is_followed_with_the_body(hub: Stub, client: HubClient) -> None:
    hub.answers["/old?q=1"] = (307, {"Location": "/new?q=1"}, b"")
    hub.answers["/new?q=1"] = (200, {}, b'{"ok": 1}')
    assert client.json("POST", f"{hub.endpoint}/old", body=Blocks(), params={"q": "1"}) == {"ok": 1}
    assert hub.seen[-1][3] == b"abcdefghi"
    assert hub.seen[-1][2]["Content-Length"] == "9"


def test_redirects_in_a_circle_end(hub: Stub, client: HubClient) -> None:
    hub.answers["/a"] = (302, {"Location": "/b"}, b"")
    hub.answers["/b"] = (302, {"Location": "/a"}, b"")
    with pytest.raises(BadResponseError, match="redirects to"):
        client.request("GET", f"{hub.endpoint}/a")


def test_pages_are_followed_and_a_foreign_one_gets_no_token(hub: Stub, elsewhere: Stub, client: HubClient) -> None:
    hub.answers["/list?limit=2"] = (200, {"Link": f'<{elsewhere.endpoint}/more>; rel="next"'}, b"[1, 2]")
    elsewhere.answers["/more"] = (200, {}, b"[3]")
    assert list(client.pages(f"{hub.endpoint}/list", {"limit": "2"})) == [1, 2, 3]
    assert "Authorization" not in elsewhere.seen[0][2]


def test_a_download_from_a_storage_host_is_checked_against_the_hubs_word(
    hub: Stub, elsewhere: Stub, tmp_path: Path
) -> None:
    api = HfApi(hub.endpoint, SECRET)
    api.session.retry = RetryPolicy(attempts=2, base=0.001)
    link = {"Location": f"{elsewhere.endpoint}/cdn", "X-Linked-ETag": f'"{sha256(b"content").hexdigest()}"'}
    hub.answers["/u/m/resolve/main/f.bin"] = (302, link, b"")
    elsewhere.answers["/cdn"] = (200, {"ETag": '"0000"'}, b"content")
    assert Path(api.hf_hub_download("u/m", "f.bin", local_dir=tmp_path)).read_bytes() == b"content"
    elsewhere.answers["/cdn"] = (200, {}, b"damaged")
    with pytest.raises(BadResponseError, match="does not match its ETag"):
        api.hf_hub_download("u/m", "f.bin", local_dir=tmp_path, force_download=True)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["f.bin"]
    assert (tmp_path / "f.bin").read_bytes() == b"content"


def test_the_client_introduces_itself(hub: Stub) -> None:
    hub.answers["/api/whoami-v2"] = (200, {}, b'{"name": "ann"}')
    api = HfApi(hub.endpoint, SECRET, library_name="app", library_version="7", user_agent={"job": "nightly"})
    assert api.whoami() == {"name": "ann"}
    agent = hub.seen[0][2]["User-Agent"]
    assert agent.startswith("hubspool/")
    assert "app/7; job/nightly" in agent


def test_cookies_are_not_kept(hub: Stub, client: HubClient) -> None:
    hub.answers["/x"] = (200, {"Set-Cookie": "session=1"}, b"{}")
    for _ in range(2):
        client.request("GET", f"{hub.endpoint}/x")
    assert all("Cookie" not in headers for _, _, headers, _ in hub.seen)


def run(script: str, hub: LocalHub) -> str:
    prelude = f"""
        import os, sys
        from hubspool.client.hf_api import HfApi
        from hubspool.client.operations import CommitOperationAdd
        api = HfApi({hub.endpoint!r}, {hub.token!r})
        api.create_repo("local/data", repo_type="dataset", exist_ok=True)
        def upload(name):
            addition = CommitOperationAdd(name, os.urandom(1_000_000))
            api.create_commit("local/data", [addition], commit_message=name, repo_type="dataset")
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(prelude) + textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_and_its_parent_both_go_on(local_hub: LocalHub, hub_api: HfApi) -> None:
    run(
        """
        upload("before.bin")
        child = os.fork()
        upload(f"{'child' if child == 0 else 'parent'}.bin")
        if child == 0:
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
        """,
        local_hub,
    )
    found = hub_api.list_repo_files("local/data", repo_type="dataset")
    assert {"before.bin", "child.bin", "parent.bin"} <= set(found)


def test_an_upload_works_while_the_interpreter_ends(local_hub: LocalHub, hub_api: HfApi) -> None:
    run("import atexit; atexit.register(upload, 'last.bin')", local_hub)
    run("import atexit; atexit.register(upload, 'no-xet.bin'); os.environ['HF_HUB_DISABLE_XET'] = '1'", local_hub)
    run("api.run_as_future(upload, 'queued.bin')", local_hub)
    found = hub_api.list_repo_files("local/data", repo_type="dataset")
    assert {"last.bin", "no-xet.bin", "queued.bin"} <= set(found)


def test_threads_share_one_client(local_hub: LocalHub, hub_api: HfApi) -> None:
    hub_api.create_repo("local/data", repo_type="dataset")
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(4):
                hub_api.upload_file(
                    path_or_fileobj=os.urandom(200_000) + b"\\0",
                    path_in_repo=f"{number}-{turn}.bin",
                    repo_id="local/data",
                    repo_type="dataset",
                )
        except Exception as error:  # noqa: BLE001 - asserted below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert errors == []
    assert len(hub_api.list_repo_files("local/data", repo_type="dataset")) == 25
