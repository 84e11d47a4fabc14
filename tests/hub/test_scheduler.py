"""A scheduler is what `huggingface_hub.CommitScheduler` is, and refuses bad values where they are given."""

from __future__ import annotations

import inspect
import logging
import threading
from abc import ABC
from collections.abc import Callable
from pathlib import Path
from types import new_class
from typing import Any

import huggingface_hub
import pytest

from hubspool import CommitScheduler, HfApi, State
from hubspool.errors import HubspoolError
from hubspool.local_hub import Fault, LocalHub

REPO = "local/kept"
SECONDS = 60

#: What ours takes beyond stock; all of them keyword-only.
OURS = [
    "on_existing",
    "versioned",
    "restore",
    "strict",
    "handle_signals",
    "exit_budget",
    "state_dir",
    "allow_own_space",
    "commit_message",
    "on_before_commit",
    "on_commit",
    "on_error",
]

Make = Callable[..., CommitScheduler]


@pytest.fixture
def settles() -> bool:
    return False


def parameters(function: Callable[..., object]) -> list[tuple[str, object, object]]:
    return [(each.name, each.kind, each.default) for each in inspect.signature(function).parameters.values()]


def test_the_constructor_has_the_stock_parameters_first() -> None:
    stock, ours = parameters(huggingface_hub.CommitScheduler.__init__), parameters(CommitScheduler.__init__)
    assert ours[: len(stock)] == stock
    assert [name for name, _, _ in ours[len(stock) :]] == OURS
    assert {kind for _, kind, _ in ours[1:]} == {inspect.Parameter.KEYWORD_ONLY}


def test_the_class_shows_its_parameters_as_stock_does() -> None:
    stock, ours = parameters(huggingface_hub.CommitScheduler), parameters(CommitScheduler)
    assert ours[: len(stock)] == stock
    assert [name for name, _, _ in ours[len(stock) :]] == OURS


@pytest.mark.parametrize("method", ["trigger", "push_to_hub", "stop", "__enter__", "__exit__"])
def test_stock_calls_of_methods_work(method: str) -> None:
    stock, ours = (parameters(getattr(kind, method)) for kind in (huggingface_hub.CommitScheduler, CommitScheduler))
    assert ours[: len(stock)] == stock
    assert all(default is not inspect.Parameter.empty for _, _, default in ours[len(stock) :])


def test_a_scheduler_has_the_stock_attributes(
    make: Make, local_hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"path_in_repo": "data", "allow_patterns": "*.txt", "ignore_patterns": "*.tmp"}
    ours = make(**options)
    stock_api = huggingface_hub.HfApi(endpoint=local_hub.endpoint, token=local_hub.token)
    monkeypatch.setattr("atexit.register", lambda *args: None)
    monkeypatch.setattr(huggingface_hub.CommitScheduler, "_run_scheduler", lambda self: None)
    given: dict[str, Any] = {"repo_id": REPO, "repo_type": "dataset", "folder_path": tmp_path / "folder", "every": 600}
    stock = huggingface_hub.CommitScheduler(**given, **options, hf_api=stock_api)
    public = {name for name in vars(stock) if not name.startswith("_")}
    assert {name for name in public if not hasattr(ours, name)} == set()
    same = ("repo_id", "repo_type", "revision", "token", "folder_path", "path_in_repo", "every", "allow_patterns")
    for name in (*same, "squash_history"):
        assert getattr(ours, name) == getattr(stock, name), name
    assert isinstance(ours.api, HfApi)
    assert ours.last_future is not None
    assert type(ours.lock) is type(stock.lock)


def test_a_client_of_huggingface_hub_is_taken_over(make: Make, local_hub: LocalHub) -> None:
    stock = huggingface_hub.HfApi(endpoint=local_hub.endpoint, token=local_hub.token, headers={"X-Team": "blue"})
    scheduler = make(hf_api=stock)
    assert (scheduler.api.endpoint, scheduler.api.token) == (stock.endpoint, stock.token)
    assert scheduler.api.session.headers["X-Team"] == "blue"
    assert scheduler.flush(SECONDS) is None
    assert scheduler.api.repo_exists(REPO, repo_type="dataset")


def test_a_subclass_may_also_be_abstract(make: Make) -> None:
    own = new_class("Own", (CommitScheduler, ABC))
    assert make(own).flush(SECONDS) is None


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"every": 0}, "every is 0"),
        ({"every": -1}, "every is -1"),
        ({"every": float("nan")}, "every is nan"),
        ({"every": True}, "every is True"),
        ({"every": "5"}, "every is '5'"),
        ({"every": None}, "every is None"),
        ({"every": float("inf")}, "every is inf"),
        ({"every": 1e300}, "every is 1e"),
        ({"repo_id": "a/b/c"}, "a/b/c"),
        ({"repo_id": "no spaces"}, "no spaces"),
        ({"repo_id": ""}, "''"),
        ({"repo_id": None}, "NoneType"),
        ({"repo_type": "gist"}, "gist"),
        ({"revision": ""}, "''"),
        ({"path_in_repo": "../up"}, r"\.\./up"),
        ({"path_in_repo": "a/../../b"}, r"a/\.\./\.\./b"),
        ({"path_in_repo": ".git/hooks"}, ".git/hooks"),
        ({"path_in_repo": "a\\b"}, "backslash"),
        ({"on_existing": "merge"}, "'merge'"),
        ({"on_existing": None}, "None"),
    ],
    ids=str,
)
def test_a_bad_value_is_refused_at_once_and_named(
    options: dict[str, Any], named: str, make: Make, local_hub: LocalHub
) -> None:
    threads = set(threading.enumerate())
    with pytest.raises(ValueError, match=named):
        make(**options)
    assert not list(local_hub.requests)
    assert set(threading.enumerate()) <= threads  # one of an earlier Hub may end meanwhile


def test_a_file_as_folder_is_refused(make: Make, tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(ValueError, match=r"file.txt"):
        make(folder_path=tmp_path / "file.txt")
    with pytest.raises((ValueError, OSError), match=r"file.txt"):
        make(folder_path=tmp_path / "file.txt" / "below")


def test_the_space_that_it_runs_in_is_refused(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACE_ID", "local/my-app")
    with pytest.raises(ValueError, match="local/my-app"):
        make(repo_id="local/my-app", repo_type="space")
    assert make(repo_id="local/my-app", repo_type="dataset").flush(SECONDS) is None


def test_the_space_that_it_runs_in_is_refused_by_its_short_name_too(
    make: Make, hub_api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_api.create_repo("local/my-app", repo_type="space", space_sdk="gradio")
    monkeypatch.setenv("SPACE_ID", "local/my-app")
    with pytest.raises(ValueError, match="my-app"):
        make(repo_id="my-app", repo_type="space")


def test_the_space_that_it_runs_in_is_written_to_when_that_is_asked_for(
    make: Make, hub_api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_api.create_repo("local/my-app", repo_type="space", space_sdk="gradio")
    monkeypatch.setenv("SPACE_ID", "local/my-app")
    scheduler = make(repo_id="local/my-app", repo_type="space", allow_own_space=True)
    (scheduler.folder_path / "log.txt").write_text("one\n")
    assert scheduler.flush(SECONDS) is not None
    assert scheduler.recipe()["allow_own_space"]  # so that `hubspool flush` may send what is left


def test_another_space_is_written_to_and_a_missing_one_is_not_made(make: Make, hub_api: HfApi, tmp_path: Path) -> None:
    hub_api.create_repo("local/other-app", repo_type="space", space_sdk="gradio")
    scheduler = make(repo_id="local/other-app", repo_type="space")
    (scheduler.folder_path / "log.txt").write_text("one\n")
    assert scheduler.flush(SECONDS) is not None
    missing = make(repo_id="local/missing", repo_type="space", folder_path=tmp_path / "second")
    with pytest.raises(HubspoolError, match="local/missing does not exist"):
        missing.flush(SECONDS)
    assert not hub_api.repo_exists("local/missing", repo_type="space")


def test_a_short_name_is_the_users_and_the_repo_is_made_private(make: Make, hub_api: HfApi, tmp_path: Path) -> None:
    scheduler = make(repo_id="kept", folder_path=tmp_path / "a" / "b")
    assert scheduler.repo_id == REPO
    assert scheduler.folder_path == (tmp_path / "a" / "b").resolve()
    assert scheduler.folder_path.is_dir()
    assert hub_api.repo_info(REPO, repo_type="dataset").private
    public = make(repo_id="local/open", private=False, folder_path=tmp_path / "c")
    public.flush(SECONDS)
    assert not hub_api.repo_info("local/open", repo_type="dataset").private


def test_a_home_folder_is_expanded(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert make(folder_path="~/votes").folder_path == tmp_path.resolve() / "votes"


def test_strict_raises_where_the_repo_cannot_be_reached(make: Make, local_hub: LocalHub) -> None:
    local_hub.faults.add(Fault(route="repo-info", times=None, status=403))
    threads = set(threading.enumerate())
    with pytest.raises(HubspoolError, match="403"):
        make(strict=True)
    assert set(threading.enumerate()) <= threads  # one of an earlier Hub may end meanwhile


def test_a_missing_token_does_not_keep_an_app_from_starting(
    make: Make, local_hub: LocalHub, caplog: pytest.LogCaptureFixture
) -> None:
    anonymous = HfApi(endpoint=local_hub.endpoint, token=False)
    scheduler = make(hf_api=anonymous)
    scheduler.last_future.exception(SECONDS)
    status = scheduler.status()
    assert status.last_error
    assert status.consecutive_failures
    assert "The Hub wants a token" in caplog.text
    assert "Traceback" not in caplog.text
    (scheduler.folder_path / "rows.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(HubspoolError):
        scheduler.flush(SECONDS)
    with pytest.raises((HubspoolError, OSError)):
        make(hf_api=anonymous, strict=True)


def test_a_hub_that_is_down_at_the_start_is_waited_for_and_found(make: Make, tmp_path: Path) -> None:
    hub = LocalHub(tmp_path / "root").start()
    endpoint = hub.endpoint
    hub.stop()
    scheduler = make(hf_api=HfApi(endpoint=endpoint, token="hf_local"), repo_id="kept")
    (scheduler.folder_path / "rows.jsonl").write_text('{"a": 1}\n')
    status = scheduler.status()
    assert status.state is not State.STOPPED
    assert (status.last_commit, status.repo_url) == (None, None)
    assert status.last_error
    assert scheduler.repo_id == "kept"
    with hub:
        assert scheduler.flush(SECONDS) is not None
        status = scheduler.status()
        assert (scheduler.repo_id, status.last_error, status.consecutive_failures) == (REPO, None, 0)
        assert status.repo_url == f"{endpoint}/datasets/{REPO}"
        scheduler.stop()


def test_offline_mode_is_told_and_nothing_is_asked(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    scheduler = make(hf_api=HfApi(endpoint="https://hub.invalid", token="hf_local"), every=2)
    assert "OFFLINE" in (scheduler.status().last_error or "")
    with pytest.raises(HubspoolError, match="OFFLINE"):
        scheduler.flush(SECONDS)
    assert sum("commits an hour" in message for message in caplog.messages) == 1
    assert "30 commits an hour" in caplog.text


def test_a_short_period_is_fine_on_a_hub_of_this_machine(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        make(every=0.5)
    assert "commits an hour" not in caplog.text
