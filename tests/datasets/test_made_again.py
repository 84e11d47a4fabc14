"""A scheduler that is made again in one process (a cell, a script that runs again, a reload) is one more handle."""

from __future__ import annotations

import gc
import json
import logging
import math
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from hubspool import CommitEvent, CommitScheduler, HfApi, State
from hubspool.errors import HFValidationError, UnauthorizedError
from hubspool.local_hub import Fault, LocalHub
from hubspool_templates import JsonlScheduler, ParquetScheduler, ZipScheduler, read_rows
from tests.support.environment import clean_environment
from tests.support.request_log import asked, forget

REPO = "local/votes"
SECONDS = 60
Make = Callable[..., JsonlScheduler]
#: The threads before the test.
BEFORE: list[threading.Thread] = []

#: Prints what 1,000 re-runs by 8 threads leave in the process.
RERUNS = """
import gc, json, os, sys, threading, time
from pathlib import Path
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from hubspool import HfApi
from hubspool_templates import JsonlScheduler

def run(n):
    began = time.perf_counter()
    scheduler = JsonlScheduler("local/votes", sys.argv[1], every=600)
    took = time.perf_counter() - began
    scheduler.append({"n": n})
    return took

def kept():
    gc.collect()
    fds = []
    for _ in range(5):  # the sync thread has one more for a moment
        fds.append(len(os.listdir("/proc/self/fd")))
        time.sleep(0.05)
    return min(fds), sorted(thread.name.rpartition("-")[0] for thread in threading.enumerate())

first = JsonlScheduler("local/votes", sys.argv[1], every=600)
first.flush(60)
with ThreadPoolExecutor(8) as pool:
    list(pool.map(run, range(8)))
    fds, _ = kept()
    times = list(pool.map(run, range(8, 1000)))
    more, _ = kept()
threads = [name for name in kept()[1] if name.startswith("hubspool")]
segments = [path.name for path in Path(sys.argv[1]).rglob("*.jsonl")]
first.flush(60)
print(json.dumps({"fds": more - fds, "threads": threads, "segments": segments, "median": median(times) * 1000}))
"""


def run(hub: LocalHub, script: str, *arguments: object) -> str:
    """Run a script in a process that knows the Hub; returns the last line it printed."""
    environment = {**clean_environment(), "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": hub.token}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return (done.stdout.splitlines() or [""])[-1]


def numbers(api: HfApi) -> list[int]:
    return sorted(row["n"] for row in read_rows(REPO, api))


def test_a_thousand_runs_by_eight_threads_leave_one_thread_and_each_row_once(
    local_hub: LocalHub, hub_api: HfApi, tmp_path: Path
) -> None:
    left = json.loads(run(local_hub, RERUNS, tmp_path / "folder"))
    print(f"a scheduler is made again in {left['median']:.2f} ms (median, 8 threads)")
    assert left["fds"] <= 0
    assert left["threads"] == ["hubspool", "hubspool-push", "hubspool-sync"]  # the first is the watchdog
    assert len(left["segments"]) <= 2
    assert numbers(hub_api) == list(range(1000))


def messages(api: HfApi) -> list[str]:
    return [commit.title for commit in api.list_repo_commits(REPO, repo_type="dataset")]


@pytest.fixture(autouse=True)
def _threads_of_before() -> None:
    """Other tests of this process may have left some."""
    BEFORE[:] = threading.enumerate()


def pushing_threads() -> list[str]:
    new = set(threading.enumerate()) - {*BEFORE}
    return [thread.name for thread in new if thread.name.startswith("hubspool-push")]


def test_the_second_one_makes_no_request_and_shares_everything(make: Make, local_hub: LocalHub) -> None:
    first = make()
    forget(local_hub)
    second = make(settle=False)
    assert len(asked(local_hub)) == 0
    assert (second.lock, second.spool, second.last_future) == (first.lock, first.spool, first.last_future)
    first.append({"n": 1})
    assert second.pending_rows() == 1
    assert second.flush(SECONDS) is first.last_commit is not None
    assert first.status().last_commit == second.status().last_commit == first.last_commit.oid
    assert len(pushing_threads()) == 1


@pytest.mark.parametrize("stopped", [0, 1])
def test_stop_sends_the_rows_and_the_others_go_on(stopped: int, make: Make, hub_api: HfApi) -> None:
    handles = [make(), make()]
    for n, handle in enumerate(handles):
        handle.append({"n": n})
    ended, other = handles[stopped], handles[1 - stopped]
    ended.stop()
    assert numbers(hub_api) == [0, 1]
    assert other.status().state is not State.STOPPED
    ended.append({"n": 2})
    other.append({"n": 3})
    assert other.flush(SECONDS) is not None
    assert numbers(hub_api) == [0, 1, 2, 3]
    ended.stop()
    assert len(pushing_threads()) == 1
    other.append({"n": 4})
    other.stop()
    assert numbers(hub_api) == [0, 1, 2, 3, 4]
    assert pushing_threads() == []
    assert ended.status().state is other.status().state is State.STOPPED


def test_rows_after_the_last_stop_are_sent_by_the_next_one(make: Make, hub_api: HfApi) -> None:
    first, second = make(), make()
    first.stop()
    second.stop()
    first.append({"n": 1})
    second.append({"n": 2})
    third = make()
    third.append({"n": 3})
    third.flush(SECONDS)
    assert numbers(hub_api) == [1, 2, 3]
    assert third.trigger().result(SECONDS) is None


def test_nested_blocks_end_the_thread_with_the_outermost(make: Make, hub_api: HfApi) -> None:
    with make() as outer:
        outer.append({"n": 1})
        with make() as inner:
            inner.append({"n": 2})
        assert numbers(hub_api) == [1, 2]
        outer.append({"n": 3})
    assert numbers(hub_api) == [1, 2, 3]
    assert pushing_threads() == []


def test_blocks_in_eight_threads_lose_and_double_nothing(make: Make, hub_api: HfApi) -> None:
    """Whether one of them ends the thread, and another begins anew, depends on who is inside at that time."""

    def work(n: int) -> None:
        with make(settle=False) as scheduler:
            scheduler.append({"n": n})

    make().stop()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
    assert numbers(hub_api) == list(range(40))
    assert pushing_threads() == []


def test_options_of_the_newest_count_from_its_next_push_on(make: Make, hub_api: HfApi, local_hub: LocalHub) -> None:
    told: dict[str, list[CommitEvent]] = {"old": [], "new": []}
    old = make(commit_message="old", on_commit=told["old"].append)
    local_hub.faults.add(Fault(route="commit", delay=math.inf))
    old.append({"n": 1})
    running = old.trigger()
    assert local_hub.faults.wait_for_hits()
    new = make(settle=False, commit_message="new", on_commit=told["new"].append, every=3)
    assert new.status().next_push_at is not None
    assert 0 < (new._runner.loop.seconds_left or 0) <= 180
    local_hub.faults.clear()
    assert running.result(SECONDS) is not None
    assert (messages(hub_api)[0], len(told["old"]), len(told["new"])) == ("old", 1, 0)
    old.append({"n": 2})
    old.flush(SECONDS)
    assert (messages(hub_api)[0], len(told["old"]), len(told["new"])) == ("new", 1, 1)
    assert told["new"][0].oid == new.status().last_commit
    new.stop()
    old.append({"n": 3})
    old.flush(SECONDS)
    assert (messages(hub_api)[0], len(told["old"]), len(told["new"])) == ("old", 2, 1)


CELL = """
class Numbered(JsonlScheduler):
    version = {version}

    def push_to_hub(self):
        calls.append(self.version)
        return super().push_to_hub()

scheduler = Numbered("local/votes", folder, every=600, hf_api=api)
"""


@pytest.mark.parametrize("reloaded", [False, True], ids=["cell", "module"])
def test_a_class_that_is_defined_again_goes_on_with_its_new_push_to_hub(
    reloaded: bool, hub_api: HfApi, tmp_path: Path
) -> None:
    """A cell keeps its names and replaces their values; a module that is loaded again has new ones."""
    calls: list[int] = []
    given: dict[str, Any] = {"JsonlScheduler": JsonlScheduler, "calls": calls, "folder": tmp_path, "api": hub_api}
    cell = dict(given)
    for version in (1, 2, 3):
        cell = dict(given) if reloaded else cell
        exec(CELL.format(version=version), cell)
        cell["scheduler"].append({"n": version})
        cell["scheduler"].flush(SECONDS)
        assert calls[-1] == version
    assert len(pushing_threads()) == 1
    cell["scheduler"].stop()
    assert pushing_threads() == []
    assert numbers(hub_api) == [1, 2, 3]
    assert len(list(tmp_path.glob("*.spool/*.jsonl"))) <= 1


@pytest.mark.parametrize(
    ("kind", "options", "named"),
    [
        (JsonlScheduler, ({}, {"durability": "disk"}), "durability is 'disk', but 'process'"),
        (JsonlScheduler, ({"state_dir": "a"}, {"state_dir": "b"}), "state_dir is '.*b', but '.*a'"),
        (ParquetScheduler, ({"schema": {"n": "int64"}}, {"schema": {"n": "string"}}), "schema is .*string.*int64"),
        (ParquetScheduler, ({}, {"schema": {"n": "int64"}}), "schema is .*int64.*None"),
    ],
)
def test_what_cannot_differ_is_refused_and_the_first_goes_on(
    kind: type[JsonlScheduler], options: Any, named: str, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = make(kind, **options[0])
    with pytest.raises(HFValidationError, match=named) as caught:
        make(kind, **options[1])
    assert "stop()" in caught.value.hint
    first.append({"n": 1})
    second = make(kind, **options[0])
    assert second.flush(SECONDS) is not None
    first.stop()
    second.stop()
    make(kind, **options[1]).stop()


@pytest.mark.parametrize("first_fails", [True, False])
def test_a_constructor_that_fails_leaves_nothing(
    first_fails: bool, make: Make, hub_api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its values, a wrong one included, are not those that the next scheduler has to agree with."""

    class Late(JsonlScheduler):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            raise LookupError

    good = [] if first_fails else [make()]
    with pytest.raises(LookupError):
        make(Late)
    if first_fails:
        with pytest.raises(ValueError, match="bogus"):
            make(durability="bogus")
        assert pushing_threads() == []
    good.append(make())
    good[-1].append({"n": 1})
    for scheduler in good:
        scheduler.stop()
    assert pushing_threads() == []
    assert numbers(hub_api) == [1]


def test_a_dropped_one_does_not_keep_the_thread_although_its_push_failed(make: Make, local_hub: LocalHub) -> None:
    def drop() -> weakref.ref[Any]:
        scheduler = JsonlScheduler(**options)
        vars(scheduler)["itself"] = scheduler  # a cycle, which only a collection ends
        scheduler.last_future.result(SECONDS)  # pytest keeps logged errors, and so the handle of an earlier push
        scheduler.append({"n": 1})
        local_hub.faults.add(Fault(route="commit", status=403, times=None))
        assert scheduler.trigger().exception(SECONDS) is not None
        return weakref.ref(scheduler)

    last = make()
    options: Any = {"repo_id": REPO, "folder_path": last.folder_path, "every": 600, "hf_api": last.api}
    last.stop()
    dropped = drop()
    assert dropped() is not None
    newest = JsonlScheduler(**options)
    newest.stop(flush=False)
    assert pushing_threads() == []
    gc.collect()
    assert dropped() is None


def test_runs_that_push_after_some_rows_count_them_together(make: Make, hub_api: HfApi) -> None:
    first = make(push_after_rows=3)
    before = first.last_future
    for n in range(3):
        make(settle=False, push_after_rows=3).append({"n": n})
    assert first.last_future is not before
    first.last_future.result(SECONDS)
    assert numbers(hub_api) == [0, 1, 2]


def test_a_new_token_is_tried_at_once(make: Make, local_hub: LocalHub, hub_api: HfApi) -> None:
    wrong = make(hf_api=HfApi(endpoint=local_hub.endpoint, token="hf_wrong"))
    assert isinstance(wrong.last_future.exception(SECONDS), UnauthorizedError)
    wrong.append({"n": 1})
    right = make()
    assert right.last_future.result(SECONDS) is not None
    assert numbers(hub_api) == [1]


def test_a_column_that_becomes_text_is_text_for_both(make: Make, hub_api: HfApi) -> None:
    first, second = make(), make()
    first.append({"n": 1})
    second.append({"n": "two"})
    first.append({"n": 3})
    first.flush(SECONDS)
    assert sorted(str(row["n"]) for row in read_rows(REPO, hub_api)) == ["1", "3", "two"]
    paths = [path for path in hub_api.list_repo_files(REPO, repo_type="dataset") if path.endswith(".jsonl")]
    assert len(paths) == 2


@pytest.mark.parametrize("kind", [ParquetScheduler, ZipScheduler])
def test_other_forms_share_too(kind: type[JsonlScheduler], make: Make, hub_api: HfApi) -> None:
    rows = [{"n": n} if kind is ParquetScheduler else {"file": b"x", "name": f"{n}.bin", "n": n} for n in range(3)]
    handles = [make(kind) for _ in rows]
    for handle, row in zip(handles, rows, strict=True):
        handle.append(row)
    handles[0].flush(SECONDS)
    handles[2].stop()
    handles[1].append({**rows[1], **({} if kind is ParquetScheduler else {"name": "3.bin"})})
    handles[0].flush(SECONDS)
    assert handles[1].pending_rows() == 0
    handles[0].stop()
    handles[1].stop()
    assert pushing_threads() == []


def test_one_repository_and_two_folders_are_two_spools_and_one_warning(
    make: Make, hub_api: HfApi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    first = make()
    with caplog.at_level(logging.WARNING):
        assert make(folder="link").spool is first.spool
        assert caplog.messages == []
        for n in range(3):
            make(folder="other").append({"n": n})
    assert [message for message in caplog.messages if "also to another folder" in message] == caplog.messages
    assert len(caplog.messages) == 1
    assert str(tmp_path / "other") in caplog.messages[0]
    assert len(pushing_threads()) == 2
    make(folder="other").flush(SECONDS)
    assert numbers(hub_api) == [0, 1, 2]


EXIT = """
import sys
from hubspool_templates import JsonlScheduler
schedulers = [JsonlScheduler("local/votes", sys.argv[1], every=600) for _ in range(5)]
schedulers[0].last_future.result(60)
for n, scheduler in enumerate(schedulers):
    scheduler.append({"n": n})
"""


def test_the_exit_sends_the_rows_of_all_in_one_commit(local_hub: LocalHub, hub_api: HfApi, tmp_path: Path) -> None:
    run(local_hub, EXIT, tmp_path / "folder")
    assert numbers(hub_api) == list(range(5))
    assert messages(hub_api)[0] == "Add 5 rows"
    assert len(asked(local_hub, "commit")) == 1


def test_another_class_with_a_fixed_option_of_its_own_is_refused(make: Make) -> None:
    class Other(CommitScheduler):
        _fixed = MappingProxyType({"kind": "other"})

    make(CommitScheduler)
    with pytest.raises(HFValidationError, match="kind is 'other', but None"):
        make(Other)
