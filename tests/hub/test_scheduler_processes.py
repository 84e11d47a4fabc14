"""The ways out of a process, and several processes on one folder."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from hubspool import CommitScheduler, HfApi
from hubspool.local_hub import Fault, LocalHub
from hubspool.scheduling import folder_push
from hubspool_templates import JsonlScheduler

REPO = "local/kept"
SECONDS = 90

#: What every script begins with: `make(kind)`, `write(scheduler, numbers)`, `say(text)`, `wait()`.
PRELUDE = """
import json, os, signal, sys, threading, time
from pathlib import Path
from hubspool import CommitScheduler
from hubspool_templates import JsonlScheduler

FOLDER = Path(sys.argv[1])

def make(kind, **options):
    given = dict(repo_id="local/kept", repo_type="dataset", folder_path=FOLDER, every=600, exit_budget=60)
    scheduler = kind(**{**given, **options})
    scheduler.last_future.exception(60)
    return scheduler

def write(scheduler, *numbers, name="rows.jsonl"):
    for number in numbers:
        if isinstance(scheduler, JsonlScheduler):
            scheduler.append({"n": number})
        else:
            with scheduler.lock, (scheduler.folder_path / name).open("a") as file:
                file.write('{"n":%d}\\n' % number)

def say(text):
    print(text, flush=True)

def wait():
    sys.stdin.readline()

"""


class Script:
    """A Python script in a process group of its own."""

    def __init__(self, code: str, folder: Path, environment: dict[str, str], python: str = sys.executable) -> None:
        self.process = subprocess.Popen(
            [python, "-c", PRELUDE + code, str(folder)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def heard(self) -> str:
        """The next line that it says; its errors if it says none."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if not line:
            pytest.fail(self.process.communicate(timeout=SECONDS)[1])
        return line

    def end(self, word: str = "") -> tuple[int, str]:
        """Let it go on; return its exit status and what it still said."""
        out, err = self.process.communicate(word + "\n", timeout=SECONDS)
        sys.stderr.write(err)
        return self.process.returncode, out.strip()

    def kill(self) -> None:
        """End the whole group, whatever is left of it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate(timeout=SECONDS)


Run = Callable[..., Script]


@pytest.fixture
def run(local_hub: LocalHub, tmp_path: Path) -> Iterator[Run]:
    started: list[Script] = []
    environment = {
        **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
        "HOME": str(tmp_path),
        "HF_ENDPOINT": local_hub.endpoint,
        "HF_TOKEN": local_hub.token,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }

    def start(code: str, folder: str = "folder", **more: str) -> Script:
        started.append(Script(code, tmp_path / folder, {**environment, **more}))
        return started[-1]

    yield start
    for script in started:
        script.kill()


@pytest.fixture
def rows(lines: Callable[[], list[bytes]]) -> Callable[[], list[int]]:
    """The numbers in all .jsonl files on the Hub, sorted."""
    return lambda: sorted(orjson.loads(line)["n"] for line in lines())


BOTH = pytest.mark.parametrize("kind", ["CommitScheduler", "JsonlScheduler"])


@BOTH
def test_an_exit_commits_what_was_written_before_it(kind: str, run: Run, rows: Callable[[], list[int]]) -> None:
    script = run(f"write(make({kind}), 1, 2)")
    assert script.end()[0] == 0
    assert rows() == [1, 2]


def test_an_exit_commits_two_changed_large_files(run: Run, hub_api: HfApi) -> None:
    """Large files go through a transfer of their own; no executor takes new work at that time."""
    script = run(
        "scheduler = make(CommitScheduler)\n"
        "for name in 'ab':\n"
        "    (FOLDER / f'{name}.bin').write_bytes(os.urandom(300_000))\n"
    )
    assert script.end()[0] == 0
    assert {"a.bin", "b.bin"} <= set(hub_api.list_repo_files(REPO, repo_type="dataset"))


def test_an_unhandled_exception_and_sys_exit_commit_too(run: Run, rows: Callable[[], list[int]]) -> None:
    assert run("write(make(CommitScheduler), 1); raise KeyError('bug')").end()[0] == 1
    assert run("write(make(CommitScheduler), 2); sys.exit(5)").end()[0] == 5
    assert rows() == [1, 2]


@BOTH
def test_sigterm_commits_the_rows_written_before_it_and_the_status_says_sigterm(
    kind: str, run: Run, rows: Callable[[], list[int]]
) -> None:
    script = run(f"scheduler = make({kind}); write(scheduler, 1, 2); say('ready'); wait()")
    script.heard()
    script.process.terminate()
    assert script.process.wait(SECONDS) == -signal.SIGTERM
    assert rows() == [1, 2]


def test_sigterm_twice_does_not_cut_the_flush_short(
    run: Run, rows: Callable[[], list[int]], local_hub: LocalHub
) -> None:
    script = run("scheduler = make(CommitScheduler, exit_budget=60); write(scheduler, 1); say('ready'); wait()")
    script.heard()
    local_hub.faults.add(Fault(route="commit", delay=float("inf")))
    script.process.terminate()
    assert local_hub.faults.wait_for_hits()
    script.process.terminate()
    local_hub.faults.clear()
    assert script.process.wait(SECONDS) == -signal.SIGTERM
    assert rows() == [1]


def test_sigterm_calls_the_handler_that_was_there_before(run: Run, rows: Callable[[], list[int]]) -> None:
    script = run(
        "signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b'mine\\n'), sys.exit(7)))\n"
        "scheduler = make(CommitScheduler); write(scheduler, 1); say('ready'); wait()"
    )
    script.heard()
    script.process.terminate()
    assert script.heard() == "mine"
    assert script.process.wait(SECONDS) == 7
    assert rows() == [1]


def test_sigterm_is_left_alone_where_the_caller_asked_for_it(run: Run, rows: Callable[[], list[int]]) -> None:
    script = run("scheduler = make(CommitScheduler, handle_signals=False); write(scheduler, 1); say('x'); wait()")
    script.heard()
    script.process.terminate()
    assert script.process.wait(SECONDS) == -signal.SIGTERM
    assert rows() == []
    assert run("make(CommitScheduler).flush(60)").end()[0] == 0
    assert rows() == [1]


@pytest.mark.parametrize(("budget", "waits"), [(8, False), (8, True), (4, False)])
def test_sigterm_under_the_writers_lock_sends_every_row(
    budget: float, waits: bool, run: Run, rows: Callable[[], list[int]]
) -> None:
    """Also if a push waits for the lock already, for longer than the exit may take."""
    script = run(
        f"scheduler = make(CommitScheduler, exit_budget={budget})\n"
        "write(scheduler, 1)\n"
        "scheduler.flush(60)\n"
        "with scheduler.lock, (FOLDER / 'rows.jsonl').open('a') as file:\n"
        "    file.write(''.join(json.dumps({'n': n}) + '\\n' for n in (2, 3, 4, 5)) + '{')\n"
        "    file.flush()\n"
        f"    if {waits}:\n"
        "        scheduler.trigger()\n"
        "        while scheduler.status().state != 'scanning': time.sleep(0.01)\n"
        "    say('ready'); wait()"
    )
    script.heard()
    script.process.terminate()
    assert script.process.wait(SECONDS) == -signal.SIGTERM
    assert rows() == [1, 2, 3, 4, 5]


def test_an_exit_ends_within_the_budget_although_the_hub_is_silent(
    run: Run, rows: Callable[[], list[int]], local_hub: LocalHub
) -> None:
    script = run("scheduler = make(JsonlScheduler, exit_budget=4); write(scheduler, 1); say('ready'); wait()")
    script.heard()
    local_hub.faults.add(Fault(route=("commit", "preupload", "commits"), delay=float("inf"), times=None))
    assert script.end()[0] == 0
    assert local_hub.faults.hits
    local_hub.faults.clear()
    assert run("make(JsonlScheduler).flush(60)").end()[0] == 0
    assert rows() == [1]


KILLED = """
from hubspool.client.hf_api import HfApi
commit = HfApi.create_commit
def commit_and_die(*args, **options):
    if {before}:
        os._exit(9)
    commit(*args, **options)
    os._exit(9)
scheduler = make({kind})
write(scheduler, 1)
scheduler.flush(60)
HfApi.create_commit = commit_and_die
write(scheduler, 2, 3)
scheduler.trigger().result(60)
"""


@BOTH
@pytest.mark.parametrize("before", [False, True], ids=["after the commit", "before the commit"])
def test_a_kill_around_a_commit_leaves_every_row_exactly_once(
    before: bool, kind: str, run: Run, rows: Callable[[], list[int]]
) -> None:
    assert run(KILLED.format(kind=kind, before=before)).end()[0] == 9
    assert rows() == ([1] if before else [1, 2, 3])
    again = run(f"scheduler = make({kind}); write(scheduler, 4); scheduler.stop()")
    assert again.end()[0] == 0
    assert rows() == [1, 2, 3, 4]


@BOTH
def test_a_kill_before_any_push_loses_no_row(kind: str, run: Run, rows: Callable[[], list[int]]) -> None:
    script = run(f"scheduler = make({kind}); write(scheduler, *range(200)); say('ready'); wait()")
    script.heard()
    script.process.kill()
    script.process.wait(SECONDS)
    assert run(f"make({kind}).flush(60)").end()[0] == 0
    assert rows() == list(range(200))


@BOTH
def test_processes_on_one_folder_send_every_row_once(kind: str, run: Run, rows: Callable[[], list[int]]) -> None:
    code = """
scheduler = make({kind})
say("ready"); wait()
for number in range({start}, {start} + 60):
    write(scheduler, number, name="rows-{start}.jsonl")
    if number % 10 == 0:
        scheduler.trigger()
scheduler.stop(timeout=60)
"""
    scripts = [run(code.format(kind=kind, start=start)) for start in (0, 100, 200)]
    assert [script.heard() for script in scripts] == ["ready"] * 3
    for script in scripts:
        assert script.process.stdin is not None
        script.process.stdin.write("\n")
        script.process.stdin.flush()
    assert [script.end()[0] for script in scripts] == [0, 0, 0]
    assert rows() == [start + n for start in (0, 100, 200) for n in range(60)]


@BOTH
def test_a_second_process_takes_along_the_rows_of_a_living_one(
    kind: str, run: Run, rows: Callable[[], list[int]]
) -> None:
    first = run(f"scheduler = make({kind}); write(scheduler, 1); say('ready'); wait()")
    first.heard()
    second = run(f"scheduler = make({kind}); write(scheduler, 2); scheduler.stop()")
    assert second.end()[0] == 0
    assert rows() == [1, 2]
    assert first.end()[0] == 0
    assert rows() == [1, 2]


FORK = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of fork in a process with threads, which is the point
import multiprocessing
scheduler = make({kind})
write(scheduler, 1)
def work(start):
    write(scheduler, *range(start, start + 20), name="rows-%d.jsonl" % start)
    if {flush}:
        scheduler.flush(60)
children = [multiprocessing.get_context("fork").Process(target=work, args=(start,)) for start in (100, 200)]
for child in children:
    child.start()
write(scheduler, 2)
for child in children:
    child.join(60)
    assert child.exitcode == 0, child.exitcode
write(scheduler, 3)
scheduler.stop(timeout=60)
"""


@BOTH
@pytest.mark.parametrize("flush", [True, False], ids=["child flushes", "parent flushes"])
def test_rows_of_forked_children_arrive(flush: bool, kind: str, run: Run, rows: Callable[[], list[int]]) -> None:
    assert run(FORK.format(kind=kind, flush=flush)).end()[0] == 0
    assert rows() == [1, 2, 3, *range(100, 120), *range(200, 220)]


def test_a_fork_under_the_lock_and_during_a_push_does_not_hang_the_child(
    run: Run, rows: Callable[[], list[int]], local_hub: LocalHub
) -> None:
    script = run(
        "scheduler = make(JsonlScheduler, exit_budget=60)\n"
        "say('ready'); wait()\n"
        "write(scheduler, 1); push = scheduler.trigger(); wait()\n"
        "scheduler.lock.acquire()  # as another thread of the app may have done, which the child does not have\n"
        "lock, child = scheduler.lock, os.fork()\n"
        "if child == 0:\n"
        "    assert scheduler.lock is lock\n"
        "    with lock: write(scheduler, 2)\n"
        "    os._exit(0)\n"
        "scheduler.lock.release()\n"
        "say(os.waitpid(child, 0)[1]); wait()\n"
    )
    script.heard()
    local_hub.faults.add(Fault(route="commit", delay=float("inf")))
    assert script.process.stdin is not None
    script.process.stdin.write("\n")
    script.process.stdin.flush()
    assert local_hub.faults.wait_for_hits()
    script.process.stdin.write("\n")
    script.process.stdin.flush()
    assert script.heard() == "0"
    local_hub.faults.clear()
    assert script.end()[0] == 0
    assert rows() == [1, 2]


def test_a_forked_child_that_exits_flushes_its_own_rows_once(run: Run, rows: Callable[[], list[int]]) -> None:
    """`os.fork` and `sys.exit` run the parent's exit handlers in the child too."""
    code = (
        "scheduler = make(JsonlScheduler); write(scheduler, 1)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    write(scheduler, 2); sys.exit(0)\n"
        "say(os.waitpid(child, 0)[1]); wait()\n"
    )
    script = run(code)
    assert script.heard() == "0"
    assert script.end()[0] == 0
    assert rows() == [1, 2]


@pytest.mark.parametrize("kind", [JsonlScheduler, CommitScheduler])
def test_a_process_that_waits_for_a_stopped_one_says_so_and_counts_its_rows(
    kind: type[CommitScheduler],
    run: Run,
    make: Callable[..., Any],
    rows: Callable[[], list[int]],
    local_hub: LocalHub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Docker pause and SIGSTOP leave the lock of a push held for as long as they like."""
    monkeypatch.setattr(folder_push, "DEFAULTS", replace(folder_push.DEFAULTS, lock_wait=0.2))
    script = run(f"scheduler = make({kind.__name__})\nwrite(scheduler, 1)\nsay('ready'); wait()\nscheduler.flush(60)")
    script.heard()
    local_hub.faults.add(Fault(route="commit", delay=float("inf")))
    assert script.process.stdin is not None
    script.process.stdin.write("\n")
    script.process.stdin.flush()
    assert local_hub.faults.wait_for_hits()
    script.process.send_signal(signal.SIGSTOP)
    told = threading.Event()
    waits = make(kind, every=0.01, settle=False, on_error=lambda event: told.set())
    if isinstance(waits, JsonlScheduler):
        waits.append({"n": 2})
    else:
        with waits.lock, (waits.folder_path / "more.jsonl").open("a") as file:
            file.write('{"n":2}\n')
    assert told.wait(SECONDS)
    status = waits.status()
    assert f"process {script.process.pid} " in (status.last_error or "")
    assert status.pending_files == 2
    assert status.pending_bytes > 0
    assert all("pushes this folder" in reason for reason in status.postponed.values())
    assert status.pending_rows == (2 if kind is JsonlScheduler else None)
    while waits.status().is_healthy:
        assert waits.status().last_error
    local_hub.faults.clear()
    script.process.send_signal(signal.SIGCONT)
    assert script.end()[0] == 0
    waits.flush(SECONDS)
    status = waits.status()  # healthy for two periods
    assert rows() == [1, 2]
    assert (status.last_error, status.pending_files, status.postponed, status.is_healthy) == (None, 0, {}, True)
