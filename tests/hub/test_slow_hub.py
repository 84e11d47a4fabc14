"""A Hub that goes on sending, but never enough: every call ends, with an error that says what is known."""

from __future__ import annotations

import gzip
import json
import os
import socket
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest

from hubspool import CommitScheduler, ErrorEvent, FlushTimeout, HfApi
from hubspool.client.http import HubClient, HubSession
from hubspool.client.operations import CommitOperationAdd
from hubspool.client.retry import RetryPolicy
from hubspool.client.transfer.options import TransferOptions
from hubspool.errors import BadResponseError, HubConnectionError, HubTimeoutError, Outcome, RequestError
from hubspool.local_hub import Fault, LocalHub
from hubspool.push import committer
from hubspool.scheduling import repo_setup, restore
from hubspool_templates import JsonlScheduler
from tests.support.raw_server import RawServer, raw_server

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
ENDLESS = OK + b"Content-Length: 1000000\r\n\r\n"
ONCE = RetryPolicy(attempts=1)

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("hub_environment")]


@pytest.fixture
def unused() -> int:
    """A port on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def dripping(head: bytes) -> Callable[[str], Iterator[bytes]]:
    """Send `head`, then one byte after the other."""
    return lambda _: chain([head], repeat(b" "))


def client(server: RawServer, seconds: float = 0.5) -> HubClient:
    return HubClient(HubSession(timeout=seconds, commit_timeout=seconds, retry=ONCE), server.endpoint, None)


@pytest.mark.parametrize("head", [ENDLESS, b"HTTP/1.1 200 OK\r\nX: ", b"", OK + b"Transfer-Encoding: chunked\r\n\r\n"])
def test_an_answer_that_comes_byte_by_byte_ends_in_a_time_out(head: bytes) -> None:
    with raw_server(dripping(head), pause=0.02) as server:
        with pytest.raises(HubTimeoutError) as caught:
            client(server).json("GET", f"{server.endpoint}/api/x")
        assert caught.value.outcome is Outcome.UNKNOWN
        assert server.requests == ["GET /api/x HTTP/1.1"]


def test_an_error_whose_text_never_ends_is_that_error() -> None:
    head = b"HTTP/1.1 403 Forbidden\r\nX-Error-Message: no\r\nContent-Length: 1000000\r\n\r\n"
    with (
        raw_server(dripping(head), pause=0.02) as server,
        pytest.raises(RequestError, match=r"no \(POST .* answered 403\)"),
    ):
        client(server).json("POST", f"{server.endpoint}/api/x", commit=True)


def test_a_download_ends_when_too_little_of_it_comes(tmp_path: Path) -> None:
    with raw_server(dripping(ENDLESS), pause=0.02) as server:
        api = HfApi(server.endpoint, token=False)
        api.session = client(server).session
        with pytest.raises(HubConnectionError, match="broke off"):
            api.hf_hub_download("u/m", "f.bin", local_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_moves_may_take_longer_than_an_answer(tmp_path: Path) -> None:
    pieces = [OK + b"Content-Length: 400000\r\n\r\n", *[b"x" * 40_000] * 10]
    with raw_server(lambda _: pieces, pause=0.1) as server:
        api = HfApi(server.endpoint, token=False)
        api.session = client(server).session
        with pytest.raises(HubTimeoutError):
            client(server).request("GET", f"{server.endpoint}/api/x")
        assert Path(api.hf_hub_download("u/m", "f.bin", local_dir=tmp_path)).stat().st_size == 400_000


class Block:
    """A body in one block, larger than what the other side takes within the time-out."""

    def __len__(self) -> int:
        return 1_000_000

    def __iter__(self) -> Iterator[bytes]:
        yield b"x" * len(self)


def test_a_transfer_that_moves_may_take_longer_than_an_answer() -> None:
    small = (socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)  # the system would take the whole body at once
    answer = [OK + b"Content-Length: 2\r\n\r\n{}"]
    with raw_server(lambda _: answer, pause=0.05, read_bytes=30_000) as server:
        sending = client(server, 1)
        adapter: Any = sending.session.pool(local=True).get_adapter(server.endpoint)
        adapter.poolmanager.connection_pool_kw["socket_options"] = [small]
        assert sending.json("PUT", f"{server.endpoint}/x", body=Block()) == {}


def test_a_commit_whose_answer_comes_byte_by_byte_is_in_doubt() -> None:
    with raw_server(dripping(ENDLESS), pause=0.02) as server:
        with pytest.raises(HubTimeoutError) as caught:
            client(server).json("POST", f"{server.endpoint}/api/x/commit/main", body=Block(), commit=True)
        assert caught.value.outcome is Outcome.UNKNOWN
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("identity", b"[" + b" " * 3_000_000),
        ("gzip", gzip.compress(b"[" + b" " * 200_000_000)),
        ("deflate", zlib.compress(b"[" + b" " * 200_000_000)),
        ("gzip, gzip", gzip.compress(gzip.compress(b"[" + b" " * 200_000_000))),
        ("br", b"[]"),
    ],
)
def test_an_answer_that_is_too_large_is_an_error(encoding: str, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    from hubspool.client import http

    monkeypatch.setattr(http, "DEFAULTS", replace(http.DEFAULTS, answer_bytes=2_000_000))
    head = OK + f"Content-Encoding: {encoding}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    wrong = pytest.raises(BadResponseError, match=r"larger than|is encoded as")
    with raw_server(lambda _: [head + body]) as server, wrong:
        client(server, 20).json("GET", f"{server.endpoint}/api/x")


def test_a_small_encoded_download_does_not_fill_the_disk(tmp_path: Path) -> None:
    body = gzip.compress(b"x" * 50_000_000)
    head = OK + f"Content-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with raw_server(lambda _: [head + body]) as server:
        api = HfApi(server.endpoint, token=False)
        api.session = client(server, 20).session
        with pytest.raises(HubConnectionError, match="encoded"):
            api.hf_hub_download("u/m", "f.bin", local_dir=tmp_path)


def test_a_list_whose_pages_never_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from hubspool.client import http

    monkeypatch.setattr(http, "DEFAULTS", replace(http.DEFAULTS, most_pages=20))
    page = OK + b'Link: </api/x>; rel="next"\r\nContent-Length: 3\r\n\r\n[1]'
    with raw_server(lambda _: [page]) as server:
        with pytest.raises(BadResponseError, match="20 pages"):
            list(client(server, 20).pages(f"{server.endpoint}/api/x"))
        assert len(server.requests) == 20


def test_json_of_any_depth_is_an_error_and_not_an_accident() -> None:
    body = b"[" * 200_000
    answer = [OK + b"Content-Length: 200000\r\n\r\n" + body]
    with raw_server(lambda _: answer) as server, pytest.raises(BadResponseError, match="not JSON"):
        client(server, 20).json("GET", f"{server.endpoint}/api/x")


@pytest.mark.parametrize("head", [ENDLESS, b"HTTP/1.1 307 Moved\r\nLocation: /api/y\r\nX: "])
@pytest.mark.parametrize("repo_id", ["rows", "local/rows"])
def test_the_constructor_waits_for_a_dripping_hub_no_longer_than_it_says(
    head: bytes, repo_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repo_setup, "DEFAULTS", replace(repo_setup.DEFAULTS, setup_seconds=0.5))
    monkeypatch.setenv("HUBSPOOL_TIMEOUT", "0.5")
    with raw_server(dripping(head), pause=0.02) as server:
        scheduler = JsonlScheduler(
            repo_id, tmp_path, hf_api=HfApi(server.endpoint, "hf_x"), restore=True, handle_signals=False
        )
        scheduler.append({"n": 1})
        assert "time" in (scheduler.status().last_error or "")
        assert scheduler.status().pending_rows == 1
        scheduler.stop(flush=False)


def test_redirects_share_the_time_of_the_constructor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repo_setup, "DEFAULTS", replace(repo_setup.DEFAULTS, setup_seconds=1.0))
    pieces = [b"HTTP/1.1 307 Moved\r\nContent-Length: 0\r\n", b"Location: /api/again\r\n", b"\r\n"]
    with raw_server(lambda _: pieces, pause=0.3) as server:
        setup = repo_setup.RepoSetup(
            "local/rows",
            repo_type="dataset",
            revision=None,
            path_in_repo="",
            private=True,
            api=HfApi(server.endpoint, "hf_x"),
            token=None,
            folder=tmp_path,
            state_dir=tmp_path,
        )
        with pytest.raises(HubTimeoutError):
            setup.open(patient=False)
        assert len(server.requests) <= 2


def test_restore_ends_in_time_and_its_error_is_told(
    local_hub: LocalHub, hub_api: HfApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_api.create_repo("local/kept", repo_type="dataset")
    hub_api.upload_file(path_or_fileobj=b"1", path_in_repo="a.txt", repo_id="local/kept", repo_type="dataset")
    with raw_server(dripping(ENDLESS), pause=0.02) as store:
        to_store = {"status": 302, "headers": {"Location": f"{store.endpoint}/a.txt"}}
        local_hub.faults.add(Fault(route="resolve", times=None, **to_store))
        real = restore.restore
        monkeypatch.setattr(restore, "restore", lambda *args: real(*args, seconds=3))
        options: dict[str, Any] = {"repo_id": "local/kept", "repo_type": "dataset", "hf_api": hub_api}
        errors: list[ErrorEvent] = []  # the status forgets an error with the first push that succeeds
        options["on_error"] = errors.append
        scheduler = CommitScheduler(folder_path=tmp_path, restore=True, handle_signals=False, every=60, **options)
        scheduler.stop(flush=False)
        assert "broke off" in str(errors[0].error)
        assert store.requests
        assert not (tmp_path / "a.txt").exists()


def test_a_store_that_answers_byte_by_byte_ends_in_a_time_out(hub_api: HfApi, local_hub: LocalHub) -> None:
    hub_api.create_repo("local/kept", repo_type="dataset")
    with raw_server(dripping(ENDLESS), pause=0.02) as store:
        token = {"casUrl": store.endpoint, "accessToken": "x", "exp": 4_000_000_000}
        local_hub.faults.add(Fault(route="xet-token", times=None, status=200, body=json.dumps(token)))
        addition = CommitOperationAdd("x.bin", os.urandom(300_000))
        hub_api.session.retry = ONCE
        with pytest.raises(HubTimeoutError, match="no progress"):
            hub_api.preupload_lfs_files(
                "local/kept", [addition], repo_type="dataset", options=TransferOptions(stall_timeout=4)
            )
        assert store.requests


@pytest.mark.parametrize("how", ["refuses", "drops", "is silent"])
def test_rows_wait_for_a_store_that_is_down_while_the_hub_is_up(
    how: str,
    make: Callable[..., Any],
    local_hub: LocalHub,
    lines: Callable[[], list[bytes]],
    unused: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(committer, "TransferOptions", partial(TransferOptions, stall_timeout=1.5))
    scheduler = make(JsonlScheduler)
    store = {"casUrl": f"http://127.0.0.1:{unused}", "accessToken": "x", "exp": 4_000_000_000}
    if how == "refuses":
        local_hub.faults.add(Fault(route="xet-token", times=None, status=200, body=json.dumps(store)))
    for n in range(20):
        scheduler.append({"n": n, "text": os.urandom(20_000).hex()})
    if how == "drops":
        local_hub.faults.add(Fault(route=("xet-xorb", "xet-shard"), times=None, drop=True))
    if how == "is silent":
        local_hub.faults.add(Fault(route=("xet-xorb", "xet-shard"), times=None, delay=float("inf")))
    with pytest.raises(FlushTimeout):
        scheduler.flush(15)
    status = scheduler.status()
    assert status.pending_rows == 20
    assert "The Xet upload" in (status.last_error or "")
    assert local_hub.faults.hits
    assert len(local_hub.requests.of("xet-token")) <= 6  # it waits between its attempts
    local_hub.faults.clear()
    scheduler.flush(60)
    assert len(lines()) == 20
