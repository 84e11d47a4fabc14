"""Rows of `ParquetScheduler` through kills, outages, lost and late answers, and the loss of what it remembers."""

from __future__ import annotations

import math
import random
import shutil
import time
from pathlib import Path

import pytest

from hubspool.errors import HubspoolError
from hubspool.local_hub import Fault
from hubspool_templates import ParquetScheduler
from tests.support.env import InProcess, Open, Place, Start
from tests.support.oracle import verified
from tests.support.spools import spool_of

ANSWERS = {
    "500 after success": Fault(route="commit", status=500, applied=True),
    "reset after success": Fault(route="commit", drop=True, applied=True),
    "200 html after success": Fault(route="commit", status=200, applied=True, body="<html>soon</html>"),
    "500 and nothing": Fault(route="commit", status=500),
    "reset and nothing": Fault(route="commit", drop=True),
    "503, four times": Fault(route="commit", status=503, times=4),
    "upload reset": Fault(route="xet-shard", drop=True),
}


def begin(open_here: Open) -> InProcess:
    """Return a scheduler with an open part that holds three rows, and two more on the disk."""
    here = open_here(ParquetScheduler)
    here.producer.put_many(3)
    here.scheduler.flush(60)
    here.producer.put_many(2)
    return here


def state_of(place: Place) -> Path:
    return spool_of(place.folder)


def check(place: Place) -> None:
    verdict = place.judge(kind=ParquetScheduler).check()
    assert verdict.on_hub >= verdict.acknowledged > 0
    assert verified(place.hub, place.folder) == []


@pytest.mark.parametrize("fault", ANSWERS.values(), ids=ANSWERS.keys())
def test_a_wrong_answer_neither_loses_nor_doubles(place: Place, open_here: Open, fault: Fault) -> None:
    here = begin(open_here)
    place.hub.faults.add(fault)
    here.scheduler.flush(90)
    here.producer.put_many(2)
    here.scheduler.stop()
    assert place.hub.faults.hits
    check(place)


@pytest.mark.parametrize("remembers", [True, False], ids=["sealed bytes kept", "sealed bytes lost"])
@pytest.mark.parametrize("restart", [False, True], ids=["same process", "after a kill"])
def test_a_commit_that_lands_late(place: Place, open_here: Open, start: Start, restart: bool, remembers: bool) -> None:
    late = Fault(route="commit", late=math.inf, status=504)
    if restart:
        process = start(mode="parquet", rows=3, more=2, leave="wait", exit_budget=30)
        process.wait_line("ready")
        place.hub.faults.add(late)
        process.signal(15)
        assert place.hub.faults.wait_for_hits()
        process.kill()
        if not remembers:
            shutil.rmtree(state_of(place) / "sealed")
        here = open_here(ParquetScheduler)
    else:
        here = begin(open_here)
        place.hub.faults.add(late)
        here.scheduler.flush(60)
        if not remembers:
            shutil.rmtree(state_of(place) / "sealed")
    for _ in range(3):
        here.producer.put_many(2)
        here.scheduler.flush(60)
    assert len(place.hub.faults.hits) == 1
    assert place.hub.faults.release()
    here.producer.put_many(2)
    here.scheduler.flush(60)
    here.scheduler.stop()
    check(place)


def test_an_outage_of_any_length_loses_no_row(place: Place, open_here: Open) -> None:
    """The case in which a scheduler that takes rows out of memory before the upload succeeded loses them."""
    here = begin(open_here)
    outage = Fault(status=503, times=None)
    place.hub.faults.add(outage)
    for _ in range(3):
        here.producer.put_many(5)
        with pytest.raises(HubspoolError):
            here.scheduler.flush(1)
    assert outage in [hit.fault for hit in place.hub.faults.hits]
    here.scheduler.stop(flush=False)
    check(place)


@pytest.mark.parametrize("lost", ["ledger", "everything"])
def test_a_lost_ledger_is_made_anew_from_what_the_files_on_the_hub_say(
    lost: str, place: Place, open_here: Open
) -> None:
    here = open_here(ParquetScheduler, keep_local=True)
    for _ in range(10):  # more than one part
        here.producer.put_many(2)
        here.scheduler.flush(60)
    here.producer.put_many(2)
    here.scheduler.stop(flush=False)
    for path in state_of(place).glob("ledger*" if lost == "ledger" else "*"):
        if path.suffix != ".jsonl":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    check(place)


def test_a_file_that_a_person_changed_is_left_alone(place: Place, open_here: Open) -> None:
    here = begin(open_here)
    here.scheduler.flush(60)
    (path,) = [p for p in place.api.list_repo_files("local/rows", repo_type="dataset") if p.endswith("parquet")]
    place.api.upload_file(path_or_fileobj=b"by hand", path_in_repo=path, repo_id="local/rows", repo_type="dataset")
    here.producer.put_many(2)
    here.scheduler.trigger().result(60)
    assert "by somebody else" in str(here.scheduler.status().skipped), "a push waits: the read may be stale"
    here.scheduler.flush(60)  # and a flush does not
    assert "somebody else changed" in here.scheduler.status().skipped[path]
    local = place.api.hf_hub_download("local/rows", path, repo_type="dataset", local_dir=place.root / "x")
    assert Path(local).read_bytes() == b"by hand"
    others = [p for p in place.api.list_repo_files("local/rows", repo_type="dataset") if p.endswith("p0001.parquet")]
    assert len(others) == 1


def test_kills_at_random_moments_neither_lose_nor_double(place: Place, start: Start) -> None:
    chance = random.Random(5)
    for _ in range(8):
        process = start(mode="parquet", rows=1, rounds=0, every=0.002, no_flush=True, pause=0.0005, size=2000)
        process.wait_line("round")
        time.sleep(chance.random())  # a random moment is what is wanted
        assert process.kill() == -9
    check(place)


@pytest.mark.parametrize("call", ["rename", "fsync", "fdatasync", "sendto", "unlink"])
def test_kills_at_system_calls_neither_lose_nor_double(call: str, place: Place, start: Start, tmp_path: Path) -> None:
    """The process dies before the call; each run begins with what the one before left."""
    from tests.support.processes import strace

    died = 0
    for number in (1, 2, 3, 4, 6, 9):
        inject = ("-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={number}")
        prefix = strace(*inject, output=tmp_path / f"{number}.trace")
        process = start(prefix=prefix, mode="parquet", rows=3, rounds=3, roll_bytes=1500, more=2)
        died += process.wait(120) != 0
    assert died >= 3
    check(place)
