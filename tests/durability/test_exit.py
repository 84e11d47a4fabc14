"""Every way out of a process: what it leaves behind, and that nothing is lost by it."""

from __future__ import annotations

import math
import signal
import sys

import pytest

from hubspool.local_hub import Fault
from tests.support.env import Place, Start
from tests.support.oracle import recorded, torn_tails

PENDING = 20


def on_hub_at_once(place: Place) -> int:
    """How many rows are on the Hub although nobody has started again."""
    verdict = place.judge(start=False)
    verdict.lost.clear()
    verdict.check()
    return verdict.on_hub


@pytest.mark.parametrize(
    ("way", "code", "flushed"),
    [
        ("return", 0, True),
        ("stop", 0, True),
        ("sys-exit", 3, True),
        ("exception", 1, True),
        ("os-exit", 4, False),
        ("exec", 5, False),
        ("abort", -signal.SIGABRT, False),
        ("segfault", -signal.SIGSEGV, False),
    ],
)
def test_a_way_out(place: Place, start: Start, way: str, code: int, flushed: bool) -> None:
    process = start(rows=3, more=PENDING, leave=way, exit_budget=40)
    assert process.wait() == code, process.errors()
    assert process.lines[-1] in ("ready", "stopped")
    assert on_hub_at_once(place) == (3 + PENDING if flushed else 3)
    assert len(recorded(place.records, "acknowledged")) == 3 + PENDING
    place.judge().check()


@pytest.mark.parametrize(
    ("number", "flushed"),
    [
        (signal.SIGTERM, True),
        (signal.SIGINT, True),
        (signal.SIGHUP, False),
        (signal.SIGQUIT, False),
        (signal.SIGKILL, False),
    ],
    ids=["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGKILL"],
)
def test_a_signal(place: Place, start: Start, number: signal.Signals, flushed: bool) -> None:
    process = start(rows=3, more=PENDING, leave="wait", exit_budget=40)
    process.wait_line("ready")
    process.signal(number)
    assert process.wait() == -number, process.errors()
    assert on_hub_at_once(place) == (3 + PENDING if flushed else 3)
    place.judge().check()


def test_a_second_sigterm_does_not_end_the_flush(place: Place, start: Start) -> None:
    process = start(rows=3, more=PENDING, leave="wait", exit_budget=40)
    process.wait_line("ready")
    place.hub.faults.add(Fault(route="commit", delay=math.inf))
    process.signal(signal.SIGTERM)
    assert place.hub.faults.wait_for_hits()
    process.signal(signal.SIGTERM)
    place.hub.faults.clear()
    assert process.wait() == -signal.SIGTERM
    assert on_hub_at_once(place) == 3 + PENDING
    place.judge().check()


def test_ctrl_c_during_the_flush_ends_it_and_loses_nothing(place: Place, start: Start) -> None:
    process = start(rows=3, more=PENDING, leave="wait", exit_budget=5)
    process.wait_line("ready")
    place.hub.faults.add(Fault(route="commit", delay=math.inf))
    process.signal(signal.SIGTERM)
    assert place.hub.faults.wait_for_hits()
    process.signal(signal.SIGINT)
    process.wait()
    place.judge().check()


SURVIVOR = """
import signal, sys, time
from pathlib import Path
from hubspool import HfApi
from hubspool_templates import JsonlScheduler
from tests.support.producer import Producer, wait_for_signals
endpoint, folder, records = sys.argv[1:]
api = HfApi(endpoint=endpoint, token="hf_local")
scheduler = JsonlScheduler("local/rows", folder, every=600, hf_api=api, exit_budget=60)
producer = Producer(scheduler.append, Path(records))
scheduler.flush(60)
producer.put_many(5)
try:
    print("ready", flush=True)
    wait_for_signals()
except KeyboardInterrupt:
    print("caught", flush=True)
if sys.stdin.readline().strip() == "wait":
    print("waiting", flush=True)
    wait_for_signals()
"""


@pytest.mark.parametrize("then", ["exit", "wait"])
def test_an_app_that_survives_ctrl_c_in_the_flush_still_flushes_at_its_end(
    place: Place, start: Start, then: str
) -> None:
    """Gradio without server-side rendering is one: its main thread catches KeyboardInterrupt and closes the app."""

    process = start([sys.executable, "-c", SURVIVOR, place.hub.endpoint, place.folder, place.records])
    process.wait_line("ready")
    place.hub.faults.add(Fault(route="commit", delay=math.inf))
    process.signal(signal.SIGTERM)
    assert place.hub.faults.wait_for_hits()
    process.signal(signal.SIGINT)
    process.wait_line("caught")
    place.hub.faults.clear()
    process.say(then)
    if then == "wait":
        process.wait_line("waiting")
        process.signal(signal.SIGTERM)
    assert process.wait() == (-signal.SIGTERM if then == "wait" else 0), process.errors()
    assert on_hub_at_once(place) == 5
    place.judge().check()


def test_sigterm_during_atexit_does_not_end_the_flush(place: Place, start: Start) -> None:
    process = start(rows=3, more=PENDING, leave="read", exit_budget=40)
    process.wait_line("ready")
    place.hub.faults.add(Fault(route="commit", delay=math.inf))
    process.end_input()  # the main thread returns
    assert place.hub.faults.wait_for_hits(), process.errors()
    process.signal(signal.SIGTERM)
    place.hub.faults.clear()
    assert process.wait() in (0, -signal.SIGTERM)
    assert on_hub_at_once(place) == 3 + PENDING
    place.judge().check()


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=429, times=None, headers={"Retry-After": "30"}),
        Fault(status=500, times=None),
        Fault(delay=math.inf, times=None),
        Fault(drop=True, times=None),
        Fault(route=("xet-token", "xet-xorb", "xet-shard"), delay=math.inf, times=None),
    ],
    ids=["429", "500", "silent", "reset", "xet-silent"],
)
def test_sigterm_while_the_hub_is_unwell_ends_the_process_and_loses_nothing(
    place: Place, start: Start, fault: Fault
) -> None:
    process = start(rows=3, more=PENDING, leave="wait", exit_budget=6)
    process.wait_line("ready")
    place.hub.faults.add(fault)
    process.signal(signal.SIGTERM)
    assert process.wait(45) == -signal.SIGTERM, process.errors()
    assert place.hub.faults.hits
    place.hub.faults.clear()
    assert on_hub_at_once(place) == 3
    place.judge().check()


def test_a_process_that_was_killed_in_a_write_leaves_a_tail_that_no_part_reaches(place: Place, start: Start) -> None:
    for _ in range(40):
        process = start(rows=1, rounds=200, size=1_000_000, no_flush=True, leave="wait")  # at most 200 MB
        process.wait_line("round")
        process.kill()
        if torn_tails(place.folder):
            break
    else:
        pytest.fail("no kill tore a row")
    verdict = place.judge().check()
    assert verdict.torn_tails


#: Python 3.12 starts no thread once atexit handlers run, even without `no_thread`; a system at its limit never does.
NO_THREADS = """
import atexit, sys, threading
from pathlib import Path
from hubspool import HfApi
from hubspool_templates import JsonlScheduler
from tests.support.producer import Producer
endpoint, folder, records, begins, leaves = sys.argv[1:]

def no_thread(*_, **__):
    raise RuntimeError("can't start new thread")

def last():
    threading._start_new_thread = threading._start_joinable_thread = no_thread
    scheduler = earlier or new()
    producer = Producer(scheduler.append, Path(records))
    producer.put_many(5)
    if leaves == "stop":
        scheduler.stop()
    elif leaves == "flush":
        assert scheduler.flush(60) is not None

def new():
    return JsonlScheduler("local/rows", folder, every=600, hf_api=HfApi(endpoint=endpoint, token="hf_local"))

earlier = new() if begins == "before" else None
atexit.register(last)
"""


@pytest.mark.parametrize("leaves", ["stop", "flush", "return"])
@pytest.mark.parametrize("begins", ["before", "in the handler"])
def test_rows_of_an_atexit_handler_where_no_thread_starts(place: Place, start: Start, begins: str, leaves: str) -> None:
    arguments = [place.hub.endpoint, place.folder, place.records, begins, leaves]
    process = start([sys.executable, "-c", NO_THREADS, *arguments])
    assert process.wait() == 0, process.errors()
    assert len(recorded(place.records, "acknowledged")) == 5, process.errors()
    assert "Traceback" not in process.errors()
    if leaves != "return":
        assert on_hub_at_once(place) == 5
    place.judge().check()
