"""Processes that may open few files or map little memory: rows stay, the status tells, and all arrive."""

from __future__ import annotations

import sys

import pytest

from tests.support.env import Place, Start

LIMITED = """
import os, resource, sys, time
from pathlib import Path
from hubspool import HfApi
from hubspool_templates import JsonlScheduler
from tests.support.producer import Producer
endpoint, folder, records, kind = sys.argv[1:]
if kind == "memory":
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + 400_000_000,) * 2)
else:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
scheduler = JsonlScheduler("local/rows", folder, every=0.005, hf_api=HfApi(endpoint=endpoint, token="hf_local"))
producer = Producer(scheduler.append, Path(records))
producer.put_many(20)
scheduler.flush(60)
if kind == "none left":
    taken = []
    try:
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        pass
    producer.put_many(20)
    end = time.monotonic() + 30
    while not scheduler.status().last_error and time.monotonic() < end:
        time.sleep(0.05)
    os.close(taken.pop())  # print opens nothing, but the traceback of a failure does
    print("error", scheduler.status().pending_rows, scheduler.status().last_error, flush=True)
    for each in taken:
        os.close(each)
    scheduler.flush(60)
print("pending", scheduler.pending_rows(), flush=True)
scheduler.stop(timeout=60)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits as Linux has them")
@pytest.mark.parametrize("kind", ["files", "none left", "memory"])
def test_a_process_with_little_room_keeps_its_rows_and_sends_them(kind: str, place: Place, start: Start) -> None:
    process = start([sys.executable, "-c", LIMITED, place.hub.endpoint, place.folder, place.records, kind])
    if kind == "none left":
        line = process.wait_line("error", timeout=60)
        assert "Too many open files" in line
        assert line.split()[1] == "20"
    assert process.wait_line("pending", timeout=60) == "pending 0"
    process.wait(60)
    verdict = place.judge()
    assert verdict.acknowledged == (41 if kind == "none left" else 21)  # the judge adds one
    assert not verdict.faults
