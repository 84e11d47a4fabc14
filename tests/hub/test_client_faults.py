"""The client on bad days: what it repeats, what it never repeats, how long it waits, and what it says."""

from __future__ import annotations

import logging
import math
import os
import pickle
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from hubspool.client.file_range import FileRange
from hubspool.client.hf_api import HfApi
from hubspool.client.operations import CommitOperationAdd
from hubspool.client.retry import RetryPolicy
from hubspool.client.transfer.options import TransferOptions
from hubspool.errors import (
    BadResponseError,
    FileChangedError,
    ForbiddenError,
    HfHubHTTPError,
    HubConnectionError,
    HubspoolError,
    HubTimeoutError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    Outcome,
    PayloadTooLargeError,
    RateLimitedError,
    RepositoryNotFoundError,
    UnauthorizedError,
    XetTransferError,
)
from hubspool.local_hub import Fault, LocalHub
from tests.support.request_log import asked, forget

REPO = "ann/data"
SECRET = "hf_neverShownAnywhere"
QUICK = RetryPolicy(base=0.001)


@pytest.fixture
def hub(hub_environment: Path) -> Iterator[LocalHub]:
    with LocalHub(users=[f"ann:{SECRET}", "ben:hf_reader:read"]) as running:
        yield running


@pytest.fixture
def api(hub: LocalHub) -> HfApi:
    api = HfApi(hub.endpoint, SECRET)
    api.session.retry = QUICK
    api.create_repo(REPO, repo_type="dataset")
    forget(hub)
    return api


def commit(api: HfApi, content: bytes | FileRange = b"text", path: str = "a.txt") -> str:
    addition = CommitOperationAdd(path, content)
    return api.create_commit(REPO, [addition], commit_message="m", repo_type="dataset").oid


def head(api: HfApi) -> str | None:
    return api.repo_info(REPO, repo_type="dataset").sha


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_requests_that_change_nothing_are_repeated(hub: LocalHub, api: HfApi, status: int) -> None:
    for route in ("preupload", "xet-token", "repo-info", "paths-info", "commits"):
        hub.faults.add(Fault(route=route, status=status, times=2))
    commit(api, os.urandom(1_000_000), "x.bin")
    assert head(api)
    assert api.file_exists(REPO, "x.bin", repo_type="dataset")
    assert len(api.list_repo_commits(REPO, repo_type="dataset")) == 2
    assert len(hub.faults.hits) == 10


@pytest.mark.parametrize(
    "fault",
    [
        Fault(route="commit", status=429),
        Fault(route="commit", status=409, body='{"error": "another commit is in progress"}'),
    ],
    ids=["rate limit", "in progress"],
)
def test_a_commit_that_was_refused_for_the_moment_is_sent_again(hub: LocalHub, api: HfApi, fault: Fault) -> None:
    hub.faults.add(fault)
    assert commit(api) == head(api)
    assert len(hub.faults.hits) == 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(route="commit", status=500), HfHubHTTPError),
        (Fault(route="commit", status=503, applied=True), HfHubHTTPError),
        (Fault(route="commit", status=504), HfHubHTTPError),
        (Fault(route="commit", drop=True), HubConnectionError),
        (Fault(route="commit", drop=True, applied=True), HubConnectionError),
        (Fault(route="commit", delay=math.inf), HubTimeoutError),
        (Fault(route="commit", status=200, body="<html>hello</html>"), BadResponseError),
        (Fault(route="commit", status=200, body='{"success": true}'), BadResponseError),
        (Fault(route="commit", status=200, body='{"commitOid": "abc"}'), BadResponseError),
        (Fault(route="commit", status=202, body="{}"), BadResponseError),
        (Fault(route="commit", status=302, headers={"Location": "/login"}), BadResponseError),
        (Fault(route="commit", applied=True, keep_bytes=10), HubspoolError),
    ],
    ids=lambda value: str(value) if isinstance(value, Fault) else "",
)
def test_a_commit_that_may_have_landed_is_sent_once_and_said_to_be_unknown(
    hub: LocalHub, api: HfApi, fault: Fault, kind: type[HubspoolError]
) -> None:
    if fault.delay:
        api.session.commit_timeout = 0.5
    hub.faults.add(fault)
    with pytest.raises(kind) as caught:
        commit(api)
    assert caught.value.outcome is Outcome.UNKNOWN
    hub.faults.clear()
    assert len(asked(hub, "commit")) == 1
    assert len(hub.faults.hits) == 1


@pytest.mark.parametrize(
    ("status", "kind"), [(403, ForbiddenError), (413, PayloadTooLargeError), (409, HubspoolError), (422, ValueError)]
)
def test_a_commit_that_was_refused_for_good_is_sent_once(
    hub: LocalHub, api: HfApi, status: int, kind: type[Exception]
) -> None:
    hub.faults.add(Fault(route="commit", status=status, times=None))
    with pytest.raises(kind) as caught:
        commit(api)
    assert isinstance(caught.value, HubspoolError)
    assert caught.value.outcome is Outcome.NOT_APPLIED
    assert len(asked(hub, "commit")) == 1


def test_retries_are_bounded(hub: LocalHub, api: HfApi) -> None:
    hub.faults.add(Fault(route="repo-info", status=503, times=None))
    with pytest.raises(HfHubHTTPError) as caught:
        head(api)
    assert caught.value.retryable
    assert len(asked(hub, "repo-info")) == QUICK.attempts


def test_creating_a_repository_waits_for_a_conflicting_operation_but_not_for_ever(hub: LocalHub, api: HfApi) -> None:
    busy = '{"error": "Cannot create repo: another conflicting operation is in progress"}'
    hub.faults.add(Fault(route="repo-create", status=409, body=busy, times=2))
    assert api.create_repo("ann/other").repo_id == "ann/other"
    hub.faults.add(Fault(route="repo-create", status=409, body=busy, times=None))
    with pytest.raises(HubspoolError, match="in progress"):
        api.create_repo("ann/third", exist_ok=True)


def test_the_wait_that_the_hub_asks_for_is_kept_and_can_be_interrupted(hub: LocalHub, api: HfApi) -> None:
    api.session.retry = RetryPolicy(seconds=10_000)
    hub.faults.add(Fault(route="repo-info", status=429, headers={"Retry-After": "3600"}, times=None))
    threading.Thread(target=lambda: (hub.faults.wait_for_hits(1), api.interrupt.set()), daemon=True).start()
    with pytest.raises(RateLimitedError) as caught:
        head(api)
    assert caught.value.retry_after == 3600
    assert len(asked(hub, "repo-info")) == 1


def test_a_wait_that_is_too_long_is_the_callers(hub: LocalHub, api: HfApi) -> None:
    hub.faults.add(Fault(route="repo-info", status=429, headers={"RateLimit": '"api";r=0;t=300'}))
    with pytest.raises(RateLimitedError) as caught:
        head(api)
    assert caught.value.retry_after == 301


def test_a_silent_hub_ends_in_a_time_out(hub: LocalHub, api: HfApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBSPOOL_TIMEOUT", "0.3")
    hub.faults.add(Fault(route=("repo-info", "preupload"), delay=math.inf, times=None))
    for call in (head, commit):
        with pytest.raises(TimeoutError):
            call(api)
    assert hub.faults.wait_for_hits(2 * QUICK.attempts)
    assert len(hub.faults.hits) == 2 * QUICK.attempts


@pytest.mark.parametrize("route", ["xet-xorb", "xet-shard"])
def test_a_silent_store_ends_in_a_time_out_too(hub: LocalHub, api: HfApi, route: str) -> None:
    hub.faults.add(Fault(route=route, delay=math.inf, times=None))
    addition = CommitOperationAdd("x.bin", os.urandom(1_000_000))
    with pytest.raises(HubTimeoutError, match="no progress") as caught:
        api.preupload_lfs_files(REPO, [addition], repo_type="dataset", options=TransferOptions(stall_timeout=3))
    assert caught.value.outcome is Outcome.NOT_APPLIED
    assert hub.faults.hits
    hub.faults.clear()
    api.preupload_lfs_files(REPO, [addition], repo_type="dataset")


def test_an_interrupt_ends_a_transfer(hub: LocalHub, api: HfApi) -> None:
    hub.faults.add(Fault(route="xet-xorb", delay=math.inf, times=None))
    threading.Thread(target=lambda: (hub.faults.wait_for_hits(1), api.interrupt.set()), daemon=True).start()
    with pytest.raises(HubTimeoutError, match="interrupted"):
        commit(api, os.urandom(1_000_000), "x.bin")


def test_a_store_that_refuses_is_asked_again_with_a_fresh_token(hub: LocalHub, api: HfApi) -> None:
    commit(api, os.urandom(1_000_000), "x.bin")
    hub.faults.add(Fault(route="xet-xorb", status=403))
    commit(api, os.urandom(1_000_000), "x.bin")
    assert len(asked(hub, "xet-token")) == 2
    hub.faults.add(Fault(route="xet-xorb", status=403, times=None))
    with pytest.raises(XetTransferError) as caught:
        commit(api, os.urandom(1_000_000), "x.bin")
    assert caught.value.outcome is Outcome.NOT_APPLIED


def test_a_hub_that_was_set_up_anew_at_the_same_address_is_no_obstacle(hub: LocalHub, api: HfApi) -> None:
    content = os.urandom(1_000_000)
    commit(api, content, "x.bin")
    port = urlsplit(hub.endpoint).port or 0
    hub.stop()
    with LocalHub(users=[f"ann:{SECRET}"], port=port) as anew:
        assert anew.endpoint == api.endpoint
        api.create_repo(REPO, repo_type="dataset")
        commit(api, content, "x.bin")


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_xet_token_is_not_a_reason_to_try_lfs(hub: LocalHub, api: HfApi, status: int) -> None:
    hub.faults.add(Fault(route="xet-token", status=status, times=None))
    with pytest.raises(PermissionError):
        commit(api, os.urandom(1_000_000), "x.bin")
    assert not asked(hub, "lfs-batch")


def test_nobody_listens(hub_environment: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        api = HfApi(f"http://127.0.0.1:{taken.getsockname()[1]}", SECRET)
        api.session.retry = QUICK
        with pytest.raises(ConnectionError) as caught:
            head(api)
    assert isinstance(caught.value, HubConnectionError)
    assert caught.value.outcome is Outcome.NOT_APPLIED
    assert "refused" in str(caught.value)


def test_offline_reaches_only_this_machine(hub: LocalHub, api: HfApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    commit(api)
    with pytest.raises(OfflineModeIsEnabled, match="HF_HUB_OFFLINE"):
        HfApi("http://hub.invalid", SECRET).whoami()


@pytest.mark.parametrize("token", [False, "hf_wrong", "hf_reader"])
def test_who_may_not_write_is_told_so(hub: LocalHub, api: HfApi, token: str | bool) -> None:
    other = HfApi(hub.endpoint, token)
    with pytest.raises((UnauthorizedError, ForbiddenError)) as caught:
        commit(other)
    if token is False:
        assert "hubspool login" in str(caught.value)
    elif token == "hf_wrong":
        assert "The token from the argument token was refused" in str(caught.value)
    assert not asked(hub, "commit") or asked(hub, "commit")[-1].status in (401, 403)


def test_tokens_that_are_missing_or_refused(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LocalTokenNotFoundError, match="hubspool login"):
        HfApi(hub.endpoint).whoami()
    monkeypatch.setenv("HF_TOKEN", "hf_stale")
    with pytest.raises(UnauthorizedError, match="The token from HF_TOKEN was refused") as caught:
        HfApi(hub.endpoint).whoami()
    assert "hf_stale" not in str(caught.value)
    assert HfApi(hub.endpoint, SECRET).whoami()["name"] == "ann"


def test_a_repository_that_is_not_there_is_said_so(hub: LocalHub, api: HfApi) -> None:
    with pytest.raises(RepositoryNotFoundError, match="create_repo"):
        api.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id="ann/absent", repo_type="dataset")


def test_a_file_that_is_rewritten_while_it_is_sent_is_not_committed(hub: LocalHub, api: HfApi, tmp_path: Path) -> None:
    for name, size in (("x.bin", 2_000_000), ("x.txt", 2_000)):
        file = tmp_path / name
        file.write_bytes(b"\0a" * size if name == "x.bin" else b"ab" * size)
        addition = CommitOperationAdd(name, file)
        assert addition.sha256
        assert addition.git_blob_id
        with file.open("r+b") as rewritten:
            rewritten.write(b"zz")
        with pytest.raises(FileChangedError, match=name) as caught:
            api.create_commit(REPO, [addition], commit_message="m", repo_type="dataset")
        assert caught.value.outcome is Outcome.NOT_APPLIED
    assert hub.requests.wait_idle()
    assert api.list_repo_files(REPO, repo_type="dataset") == [".gitattributes"]


def test_a_warning_of_the_hub_is_logged_once(hub: LocalHub, api: HfApi, caplog: pytest.LogCaptureFixture) -> None:
    hub.faults.add(Fault(route="repo-info", headers={"X-HF-Warning": "topic-1; Please upgrade."}, times=None))
    with caplog.at_level(logging.WARNING, logger="hubspool"):
        for _ in range(3):
            head(api)
    assert [record.getMessage() for record in caplog.records] == ["The Hub says: Please upgrade."]


def preupload(api: HfApi) -> None:
    addition = CommitOperationAdd("x.bin", os.urandom(500_000))
    options = TransferOptions(stall_timeout=3)  # hf_xet's own retries of a broken connection take a minute
    api.preupload_lfs_files(REPO, [addition], repo_type="dataset", options=options)


FAILURES: list[tuple[str, Callable[[HfApi], object]]] = [
    ("commit", commit),
    ("xet-xorb", preupload),
    ("xet-token", preupload),
    ("whoami", lambda api: api.whoami()),
]


@pytest.mark.parametrize(("route", "call"), FAILURES, ids=[route for route, _ in FAILURES])
@pytest.mark.parametrize(
    "effect", [{"status": 401, "body": f"bad header: Bearer {SECRET}"}, {"drop": True}, {"status": 200, "body": "{"}]
)
def test_the_token_is_in_no_log_and_in_no_error(
    hub: LocalHub,
    api: HfApi,
    caplog: pytest.LogCaptureFixture,
    route: str,
    call: Callable[[HfApi], object],
    effect: dict[str, object],
) -> None:
    hub.faults.add(Fault(route=route, times=None, **effect))  # type: ignore[arg-type]
    with caplog.at_level(logging.DEBUG), pytest.raises(HubspoolError) as caught:
        api.session.retry = RetryPolicy(attempts=2, base=0.001)
        call(api)
    error = caught.value
    assert hub.faults.hits
    assert SECRET not in caplog.text
    for cause in (error, error.__cause__, error.__context__):
        assert cause is None or not hasattr(cause, "request")
    assert SECRET not in "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
    assert SECRET.encode() not in pickle.dumps(error)
