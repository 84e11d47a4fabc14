"""The folder, a segment, the ledger or the push lock is removed or moved while schedulers run."""

from __future__ import annotations

import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import orjson
import pytest

from hubspool.errors import HubspoolError
from hubspool.local_hub import Fault, LocalHub
from hubspool.spool import segment_file
from tests.support.env import Open, Place, Start
from tests.support.oracle import REPO, Verdict
from tests.support.processes import Process
from tests.support.spools import default_spool

#: Obeys lines on its stdin. `end` ends the segment; `fork N` makes a child that writes N rows, and flushes on SIGTERM.
WORKER = """
import json, os, signal, sys, warnings
from pathlib import Path
from hubspool import HfApi
from hubspool.errors import HubspoolError
from hubspool_templates import JsonlScheduler
from tests.support.producer import Producer
warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads is what is tested
endpoint, folder, records, *state = sys.argv[1:]
options = {"state_dir": state[0]} if state else {}
api = HfApi(endpoint=endpoint, token="hf_local")
scheduler = JsonlScheduler("local/rows", folder, every=600, hf_api=api, **options)
scheduler.last_future.exception(60)
producer = Producer(scheduler.append, Path(records))

def flush(timeout):
    try:
        scheduler.flush(timeout)
    except HubspoolError as error:
        return f"{type(error).__name__}: {error}"
    return "ok"

print("begin", flush=True)
for line in sys.stdin:
    word, *numbers = line.split()
    number = int((numbers or [0])[0])
    if word == "put":
        producer.put_many(number)
    elif word == "end":
        scheduler.spool.close()
    elif word == "flush":
        print("flush", flush(number or 60), flush=True)
    elif word == "fork":
        if os.fork() == 0:
            producer.put_many(number)
            print(f"child {os.getpid()}\\n", end="", flush=True)  # one write: the parent writes "done" meanwhile
            signal.pause()
    elif word == "fork_only":
        if os.fork() == 0:
            os._exit(0)
        os.wait()
    elif word == "trigger":
        scheduler.trigger()
    elif word == "stop":
        scheduler.stop(timeout=60)
    elif word == "missing":
        scheduler.spool.rescue.check()
        print("missing", json.dumps(scheduler.spool.rescue.missing), flush=True)
    elif word == "status":
        status = scheduler.status()
        print("status", json.dumps([status.pending_rows, status.last_error, status.skipped]), flush=True)
    elif word == "leave":
        break
    print("done\\n", end="", flush=True)
scheduler.stop(timeout=60)
print("stopped", flush=True)
"""


class Worker:
    """A process with a scheduler that obeys."""

    def __init__(self, place: Place, start: Start, *state: Path) -> None:
        self.process: Process = start(
            [sys.executable, "-c", WORKER, place.hub.endpoint, place.folder, place.records, *state]
        )
        self.process.wait_line("begin")

    def do(self, *lines: str) -> None:
        for line in lines:
            self.process.say(line)
            self.process.wait_line("done")

    def flush(self, seconds: int = 60) -> str:
        return self._ask(f"flush {seconds}")

    def status(self) -> tuple[int, str | None, dict[str, str]]:
        pending, error, skipped = orjson.loads(self._ask("status"))
        return pending, error, skipped

    def _ask(self, line: str) -> str:
        word = line.split(maxsplit=1)[0]
        self.process.say(line)
        answer = self.process.wait_line(word).removeprefix(f"{word} ")
        self.process.wait_line("done")
        return answer

    def wait_status(self, accepts: Callable[[int, str | None, dict[str, str]], bool]) -> None:
        """Wait until the status is as wanted: the process looks at its files once a second."""
        wait_for(lambda: accepts(*self.status()))

    def leave(self) -> None:
        self.process.say("leave")
        self.process.wait_line("stopped")
        assert self.process.wait() == 0


def state(place: Place) -> Path:
    return default_spool(place.folder, place.hub.endpoint, REPO)


def segments(place: Place) -> list[Path]:
    return sorted(place.folder.rglob("*.jsonl"))


def remove_folder(place: Place) -> None:
    try:
        shutil.rmtree(place.folder)
    except OSError:  # a process removed or made one of its files in between
        shutil.rmtree(place.folder, ignore_errors=True)


def remove_segments(place: Place) -> None:
    for path in segments(place):
        path.unlink()


def remove_state(place: Place) -> None:
    for path in state(place).iterdir():
        if path.suffix != ".jsonl":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def remove_ledger(place: Place) -> None:
    (state(place) / "ledger.sqlite3").unlink()


def remove_log(place: Place) -> None:
    (state(place) / "ledger.sqlite3-wal").unlink()


def remove_lock(place: Place) -> None:
    (state(place) / "push.lock").unlink()


REMOVALS = [remove_folder, remove_segments, remove_state, remove_ledger, remove_log, remove_lock]


def counts(verdict: Verdict) -> tuple[int, int]:
    return verdict.check().acknowledged, verdict.on_hub


def parts(place: Place) -> list[tuple[str, int, int]]:
    """Return what the ledger at the path says."""
    with closing(sqlite3.connect(state(place) / "ledger.sqlite3")) as db:
        return db.execute('select path, "end", commits from part order by path').fetchall()


def wait_for(done: Callable[[], bool]) -> None:
    """Wait for what another process does by itself within a second."""
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)


@pytest.mark.parametrize("remove", REMOVALS)
def test_rows_before_and_after_a_removal_are_on_the_hub_once(
    place: Place, start: Start, remove: Callable[[Place], None]
) -> None:
    worker = Worker(place, start)
    worker.do("put 3")
    assert worker.flush() == "ok"
    known = parts(place)
    worker.do("put 4")
    remove(place)
    worker.do("put 5")
    assert worker.flush() == "ok", worker.process.errors()
    names = [name for name in place.api.list_repo_files(REPO, repo_type="dataset") if name.endswith(".jsonl")]
    assert known[0][0] in names
    assert [name[-11:] for name in names] == ["-p0000.jsonl"[1:]] * len(names)  # no part was closed or sent again
    assert worker.status()[0] == 0
    assert counts(place.judge(start=False)) == (12, 12)
    worker.leave()
    assert counts(place.judge()) == (13, 13)


@pytest.mark.parametrize("remove", [remove_folder, remove_segments])
def test_while_the_hub_is_down_removed_rows_are_back_on_the_disk_within_a_second(
    place: Place, start: Start, remove: Callable[[Place], None]
) -> None:
    worker = Worker(place, start)
    worker.do("put 3")
    assert worker.flush() == "ok"
    place.hub.faults.add(Fault(drop=True, times=None))
    worker.do("put 4")
    (path,) = segments(place)
    rows, known = path.read_bytes(), parts(place)
    remove(place)
    wait_for(path.exists)
    assert path.read_bytes() == rows
    assert parts(place) == known
    assert worker.flush(1).startswith("FlushTimeout")
    assert worker.status()[0] == 4
    worker.process.kill()
    assert place.hub.faults.hits
    assert counts(place.judge()) == (8, 8)


@pytest.mark.parametrize("remove", [remove_folder, remove_state, remove_lock])
def test_of_two_workers_one_pushes_although_the_lock_was_removed_during_its_push(
    place: Place, start: Start, remove: Callable[[Place], None]
) -> None:
    first, second = Worker(place, start), Worker(place, start)
    place.hub.faults.add(Fault(route="commit", delay=math.inf))
    first.do("put 2", "trigger")
    assert place.hub.faults.wait_for_hits()
    remove(place)
    first.do("put 2")
    second.do("put 2")
    assert second.flush(3).startswith("FlushTimeout"), second.process.errors()
    place.hub.faults.clear()
    assert second.flush() == "ok", second.process.errors()
    first.do("put 1")
    assert first.flush() == "ok", first.process.errors()
    assert counts(place.judge(start=False)) == (7, 7)
    first.leave()
    second.leave()
    assert counts(place.judge()) == (8, 8)


@pytest.mark.parametrize("remove", REMOVALS)
def test_two_workers_and_one_that_starts_after_the_removal(
    place: Place, start: Start, remove: Callable[[Place], None]
) -> None:
    workers = [Worker(place, start), Worker(place, start)]
    for worker in workers:
        worker.do("put 3")
    assert workers[0].flush() == "ok"
    for worker in workers:
        worker.do("put 1", "end", "put 1")
    remove(place)
    workers.append(Worker(place, start))
    for worker in workers:
        worker.do("put 2")
    assert [worker.flush() for worker in workers] == ["ok"] * 3, "".join(w.process.errors() for w in workers)
    assert counts(place.judge(start=False)) == (16, 16)
    for worker in workers:
        worker.do("put 1")
        worker.leave()
    assert counts(place.judge()) == (20, 20)


def test_a_segment_that_a_push_of_another_worker_removed_is_not_written_again(place: Place, start: Start) -> None:
    first, second = Worker(place, start), Worker(place, start)
    place.hub.faults.add(Fault(drop=True, times=None))
    first.do("put 2", "end", "put 1", "end")
    sent = segments(place)
    place.hub.faults.clear()
    assert second.flush() == "ok"
    assert not segments(place)
    for _ in range(3):
        first.do("put 1")
        assert first.flush() == "ok"
        assert first.status()[0] == 0
    assert not {*sent} & {*segments(place)}
    first.process.kill()
    assert counts(place.judge()) == (7, 7)


def test_rows_after_stop_that_another_worker_sent_and_removed_are_not_missing(place: Place, start: Start) -> None:
    first, second = Worker(place, start), Worker(place, start)
    first.do("stop", "put 2", "end")
    assert second.flush() == "ok"
    assert not segments(place)
    first.do("put 1")
    assert first._ask("missing") == "{}"
    first.do("end")
    (last,) = segments(place)
    assert last.read_bytes().count(b"\n") == 1
    second.leave()
    first.process.kill()
    assert counts(place.judge()) == (4, 4)


def test_the_rows_of_a_worker_that_was_killed_are_written_again_by_another(place: Place, start: Start) -> None:
    first, second = Worker(place, start), Worker(place, start)
    place.hub.faults.add(Fault(drop=True, times=None))
    first.do("put 1")
    second.do("put 2")
    of_both = segments(place)
    assert sorted(path.read_bytes().count(b"\n") for path in of_both) == [1, 2]
    assert first.flush(1).startswith("FlushTimeout")
    second.process.kill()
    remove_folder(place)
    wait_for(lambda: segments(place) == of_both)
    first.process.kill()
    assert counts(place.judge()) == (4, 4)


def test_the_folder_is_removed_and_its_state_is_elsewhere(place: Place, start: Start) -> None:
    worker = Worker(place, start, place.root / "state")
    worker.do("put 3")
    assert worker.flush() == "ok"
    worker.do("put 2")
    remove_folder(place)
    worker.do("put 2")
    assert worker.flush() == "ok"
    worker.do("put 1")
    worker.leave()
    assert counts(place.judge()) == (9, 9)


def test_a_moved_folder_is_an_error_that_names_the_new_place(place: Place, start: Start) -> None:
    worker = Worker(place, start)
    worker.do("put 3")
    assert worker.flush() == "ok"
    worker.do("put 2")
    moved = place.root / "moved"
    place.folder.rename(moved)
    worker.wait_status(lambda pending, error, skipped: str(moved) in (error or ""))
    worker.do("put 1")
    assert str(moved) in worker.flush()
    assert not place.folder.exists()
    moved.rename(place.folder)
    assert worker.flush() == "ok"
    assert worker.status() == (0, None, {})
    worker.leave()
    assert counts(place.judge()) == (7, 7)


def test_a_moved_segment_holds_up_no_other(place: Place, start: Start) -> None:
    worker = Worker(place, start)
    worker.do("put 3")
    (path,) = segments(place)
    moved = place.root / "moved.jsonl"
    path.rename(moved)
    worker.wait_status(lambda pending, error, skipped: "was moved" in (error or ""))
    worker.do("put 2")
    assert "was moved" in worker.flush()
    assert worker.status()[0] == 3
    assert place.judge(start=False).on_hub == 2
    moved.rename(path)
    assert worker.flush() == "ok"
    worker.leave()
    assert counts(place.judge()) == (6, 6)


def test_what_no_process_had_open_is_named_with_its_rows(place: Place, start: Start) -> None:
    worker = Worker(place, start)
    place.hub.faults.add(Fault(drop=True, times=None))
    for _ in range(70):
        worker.do("put 1", "end")
    worker.do("put 1")
    place.hub.faults.clear()
    remove_folder(place)
    answer = worker.flush()
    assert answer.startswith("NotStoredError: 6 files")
    assert "lost rows: 1; the file was removed" in answer
    pending, _, skipped = worker.status()
    assert (pending, len(skipped)) == (6, 6)
    assert "lost rows: 1; the file was removed" in worker.process.errors()
    verdict = place.judge(start=False)
    assert (verdict.acknowledged, verdict.on_hub, len(verdict.lost)) == (71, 65, 6)
    assert not verdict.doubled


def test_parent_and_child_write_their_own_rows_again(place: Place, start: Start) -> None:
    worker = Worker(place, start)
    place.hub.faults.add(Fault(drop=True, times=None))
    worker.do("put 2", "end", "put 3")
    worker.process.say("fork 4")
    child = int(worker.process.wait_line("child").split()[1])  # after the line "done" of the parent, or before it
    before = {path: path.read_bytes() for path in segments(place)}
    opened = [entry.resolve().name for entry in Path(f"/proc/{child}/fd").iterdir()]
    assert sum(".jsonl" in name for name in opened) == 1, opened
    remove_folder(place)
    wait_for(lambda: {path: path.read_bytes() for path in segments(place)} == before)
    place.hub.faults.clear()
    os.kill(child, signal.SIGTERM)
    assert worker.flush() == "ok"
    worker.leave()
    assert counts(place.judge()) == (10, 10)


def test_a_full_disk_delays_the_rescue(
    local_hub: LocalHub, tmp_path: Path, start: Start, mount: Callable[[str], Path]
) -> None:
    place = Place(local_hub, mount("4m"))
    worker = Worker(place, start)
    worker.do("put 3")
    assert worker.flush() == "ok"
    worker.do("put 4")
    fill(place.root / "ballast")
    remove_segments(place)
    remove_state(place)
    worker.wait_status(lambda pending, error, skipped: "full" in (error or ""))
    assert worker.flush(2).startswith("FlushTimeout")
    (place.root / "ballast").unlink()
    wait_for(lambda: len(segments(place)) == 1)
    assert worker.flush() == "ok"
    worker.leave()
    assert counts(place.judge()) == (8, 8)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)


#: Put before `WORKER`: kills the process at its N-th call of these functions after the line "trigger".
KILLER = """
import os, signal, sys
POINT, armed, called = int(sys.argv.pop()), [], []
def counted(function):
    def call(*args, **kwargs):
        if armed:
            called.append(function.__name__)
            if len(called) == POINT:
                os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call
for name in ("open", "link", "replace", "unlink", "fsync", "fdatasync"):
    setattr(os, name, counted(getattr(os, name)))
from dataclasses import replace
from hubspool.spool import spool
spool.DEFAULTS = replace(spool.DEFAULTS, sync_seconds=0.05)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_kill_at_any_point_of_the_rescue_loses_nothing_that_is_back_and_doubles_nothing(
    local_hub: LocalHub, tmp_path: Path, start: Start
) -> None:
    for point in range(1, 200):
        place = Place(local_hub, tmp_path / str(point))
        code = KILLER + WORKER.replace("scheduler.trigger()", "armed.append(1)").replace(REPO, f"{REPO}{point}")
        process = start([sys.executable, "-c", code, place.hub.endpoint, place.folder, place.records, str(point)])
        process.wait_line("begin")
        for line in ("put 3", "flush", "put 2", "end", "put 2", "trigger"):
            process.say(line)
            process.wait_line("done")
        remove_folder(place)
        try:
            code_of_exit = process.wait(10)
        except subprocess.TimeoutExpired:
            assert point > 20
            process.end()
            break
        assert code_of_exit == -signal.SIGKILL
        back = {orjson.loads(row)["id"] for path in segments(place) for row in path.read_bytes().splitlines()}
        verdict = place.judge(repo=f"local/rows{point}")
        assert not back & {*verdict.lost}
        assert not verdict.doubled + verdict.vanished + verdict.unparsed + verdict.left, (point, verdict.faults)
    else:
        pytest.fail("the rescue did not end")


def test_a_flush_waits_for_a_removed_segment_that_another_thread_still_syncs(
    place: Place, open_here: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = open_here()
    here.scheduler.last_future.result(60)
    monkeypatch.setattr(here.scheduler.spool, "roll_bytes", 1)  # each row begins a segment
    here.producer.put()
    syncing, disk_answers = threading.Event(), threading.Event()
    finish = segment_file.EndedSegment.finish

    def slowly(ended: segment_file.EndedSegment) -> None:
        syncing.set()
        disk_answers.wait(60)
        finish(ended)

    monkeypatch.setattr(segment_file.EndedSegment, "finish", slowly)
    here.producer.put()  # the sync thread finishes the first segment
    assert syncing.wait(60)
    remove_folder(place)
    with pytest.raises(HubspoolError):
        here.scheduler.flush(2)
    disk_answers.set()
    here.scheduler.flush(60)
    here.scheduler.stop()
    place.judge().check()


@pytest.mark.parametrize("remove", [remove_folder, remove_state, remove_ledger])
def test_a_removal_right_after_a_fork_loses_no_ledger(
    place: Place, start: Start, remove: Callable[[Place], None]
) -> None:
    worker = Worker(place, start)
    worker.do("put 3")
    assert worker.flush() == "ok"
    known = parts(place)
    place.hub.faults.add(Fault(drop=True, times=None))
    worker.do("put 2", "fork_only")
    remove(place)
    wait_for((state(place) / "ledger.sqlite3").exists)
    worker.wait_status(lambda pending, error, skipped: parts(place) == known)
    place.hub.faults.clear()
    worker.do("put 2")
    assert worker.flush(20) == "ok", worker.process.errors()
    worker.leave()
    assert counts(place.judge()) == (8, 8)
