"""Clocks that jump, and processes that stand still."""

from __future__ import annotations

import math
import signal
import sys
import time
from pathlib import Path

import pytest

from hubspool.local_hub import Fault
from tests.support.env import Place, Start
from tests.support.oracle import judge
from tests.support.processes import Process, missing

JUMPING = """
import sys, time
from datetime import datetime, timedelta, timezone
from pathlib import Path
import hubspool.spool.spool, hubspool.push.scan
from hubspool import HfApi
from hubspool_templates import JsonlScheduler
from tests.support.producer import Producer
real, real_ns, jump = time.time, time.time_ns, [0]
time.time = lambda: real() + jump[0]
time.time_ns = lambda: real_ns() + jump[0] * 10**9
hubspool.spool.spool._utc_date = lambda: (datetime.now(timezone.utc) + timedelta(seconds=jump[0])).strftime("%Y%m%d")
endpoint, folder, records, *jumps = sys.argv[1:]
scheduler = JsonlScheduler("local/rows", folder, every=600, hf_api=HfApi(endpoint=endpoint, token="hf_local"))
producer = Producer(scheduler.append, Path(records))
for seconds in map(int, jumps):
    producer.put_many(3)
    scheduler.flush(60)
    producer.put_many(2)
    jump[0] += seconds
    producer.put_many(2)
    scheduler.flush(60)
print("dates", *sorted({path.name.split("-")[1] for path in Path(folder).rglob("*.jsonl")}), flush=True)
scheduler.stop(timeout=60)
"""
DAY = 86_400


@pytest.mark.parametrize("jumps", [(DAY,), (-DAY,), (DAY, -2 * DAY, DAY), (365 * DAY, -365 * DAY)], ids=str)
def test_jumps_of_the_clock(place: Place, start: Start, jumps: tuple[int, ...]) -> None:
    words = [sys.executable, "-c", JUMPING, place.hub.endpoint, place.folder, place.records, *map(str, jumps)]
    process = start(words)
    assert process.wait() == 0, process.errors()
    place.judge().check()


REAL_JUMPS = """
import sys, time
from pathlib import Path
from hubspool import HfApi
from hubspool_templates import JsonlScheduler
from tests.support.producer import Producer
endpoint, folder, records, clock, *jumps = sys.argv[1:]
scheduler = JsonlScheduler("local/rows", folder, every=600, hf_api=HfApi(endpoint=endpoint, token="hf_local"))
producer = Producer(scheduler.append, Path(records))
seen = []
for seconds in jumps:
    producer.put_many(3)
    scheduler.flush(60)
    producer.put_many(2)
    Path(clock).write_text(seconds)  # this process, also its compiled parts, reads the clock from here on
    seen.append(round(time.time()))
    producer.put_many(2)
    scheduler.flush(60)
print("seen", *seen, flush=True)
scheduler.stop(timeout=60)
"""


@pytest.mark.parametrize("jumps", [("+7200", "-7200"), ("+400d", "+0"), ("-30d", "+1d")], ids=str)
def test_real_jumps_of_the_wall_clock(place: Place, start: Start, tmp_path: Path, jumps: tuple[str, ...]) -> None:
    """The C library's clock jumps, for hf_xet and SQLite too; the monotonic one does not."""
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not libraries:
        missing("libfaketime is not installed (Debian: faketime)")
    clock = tmp_path / "clock"
    clock.write_text("+0")
    faked = {
        "LD_PRELOAD": libraries[0],
        "FAKETIME_TIMESTAMP_FILE": clock,
        "FAKETIME_NO_CACHE": 1,
        "FAKETIME_DONT_FAKE_MONOTONIC": 1,
    }
    words = [sys.executable, "-c", REAL_JUMPS, place.hub.endpoint, place.folder, place.records, clock, *jumps]
    process = start(words, prefix=["env", *(f"{name}={value}" for name, value in faked.items())])
    seen = process.wait_line("seen").split()[1:]
    assert process.wait() == 0, process.errors()
    assert all(abs(int(at) - time.time()) > 3600 for at, jump in zip(seen, jumps, strict=True) if jump != "+0")
    place.judge().check()


@pytest.mark.timeout(240)
def test_processes_that_stood_still_for_a_minute(place: Place, start: Start) -> None:
    """In a push, whose answer the Hub meanwhile gave up on, and between two writes; others go on in their folders.

    A minute is longer than a request may be silent, than the budget of the exit that some of them were in, and than
    what is given to a read that may be stale.
    """
    folders = {route: place.root / route for route in ("commit", "preupload", "commits")}
    still: list[Process] = []
    for number, (route, folder) in enumerate(folders.items(), start=1):
        still.append(start(rows=3, more=3, leave="wait", folder=folder))
        still[-1].wait_line("ready")
        place.hub.faults.add(Fault(route=route, delay=math.inf))
        still[-1].signal(signal.SIGTERM)
        assert place.hub.faults.wait_for_hits(number)
        still[-1].signal(signal.SIGSTOP)
    folders["writing"] = place.root / "writing"
    still.append(start(rows=2, rounds=0, no_flush=True, pause=0.01, every=0.01, folder=folders["writing"]))
    still[-1].wait_line("round")
    still[-1].signal(signal.SIGSTOP)
    began = time.monotonic()
    place.hub.faults.clear()
    others = [start(rows=3, leave="os-exit", flush_timeout=20, folder=folder) for folder in folders.values()]
    for other in others:
        other.wait()
    for process in still:
        assert Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    time.sleep(max(0, 61 - (time.monotonic() - began)))  # the minute is the fault, not an order of events
    for process in still:
        process.signal(signal.SIGCONT)
    still[-1].signal(signal.SIGTERM)
    for process in still:
        assert process.wait() == -signal.SIGTERM, process.errors()
    for folder in folders.values():
        verdict = judge(place.hub, folder, place.records)
    verdict.check()
