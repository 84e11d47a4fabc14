"""Clocks that jump, and processes that stand still."""

from __future__ import annotations

import math
import signal
import sys

import pytest
from place import Place, Start

from hubspool.local_hub import Fault

JUMPING = """
import sys, time
from datetime import datetime, timedelta, timezone
from pathlib import Path
import hubspool.spool, hubspool.scan
from hubspool import HfApi
from hubspool_templates import JsonlScheduler
from producer import Producer
real, real_ns, jump = time.time, time.time_ns, [0]
time.time = lambda: real() + jump[0]
time.time_ns = lambda: real_ns() + jump[0] * 10**9
hubspool.spool._utc_date = lambda: (datetime.now(timezone.utc) + timedelta(seconds=jump[0])).strftime("%Y%m%d")
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
print("dates", *sorted({path.name.split("-")[1] for path in Path(folder).glob("*.jsonl")}), flush=True)
scheduler.stop(timeout=60)
"""
DAY = 86_400


@pytest.mark.parametrize("jumps", [(DAY,), (-DAY,), (DAY, -2 * DAY, DAY), (365 * DAY, -365 * DAY)], ids=str)
def test_jumps_of_the_clock(place: Place, start: Start, jumps: tuple[int, ...]) -> None:
    words = [sys.executable, "-c", JUMPING, place.hub.endpoint, place.folder, place.records, *map(str, jumps)]
    process = start(words)
    assert process.wait() == 0, process.errors()
    place.judge().check()


@pytest.mark.parametrize("route", ["commit", "preupload", "commits"])
def test_a_process_that_stood_still_in_a_push(place: Place, start: Start, route: str) -> None:
    """Others have sent its rows meanwhile, or could not; when it goes on, nothing is doubled."""
    process = start(rows=3, more=3, leave="wait", every=0.02)
    process.wait_line("ready")
    place.hub.faults.add(Fault(route=route, delay=math.inf))
    process.signal(signal.SIGTERM)
    assert place.hub.faults.wait_for_hits()
    process.signal(signal.SIGSTOP)
    place.hub.faults.clear()
    other = start(rows=3, leave="os-exit", no_flush=True)
    other.wait()
    process.signal(signal.SIGCONT)
    assert process.wait() == -signal.SIGTERM
    place.judge().check()
