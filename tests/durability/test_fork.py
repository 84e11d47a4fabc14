"""fork with rows on their way, with locks held and in the middle of a push; spawn and forkserver."""

from __future__ import annotations

import math
import sys

import pytest

from hubspool.local_hub import Fault
from tests.support.env import Place, Start
from tests.support.oracle import recorded

BEGIN = """
import multiprocessing, os, signal, sys, threading, warnings
from pathlib import Path
warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads is what is tested
from hubspool import HfApi
from hubspool_templates import JsonlScheduler
from tests.support.producer import Producer

def new(arguments):
    endpoint, folder, records = arguments
    scheduler = JsonlScheduler("local/rows", folder, every=600, hf_api=HfApi(endpoint=endpoint, token="hf_local"))
    return scheduler, Producer(scheduler.append, Path(records))

def child_work(scheduler, producer):
    producer.put_many(5)
    scheduler.flush(60)
    producer.put_many(2)
    print("child flushed", flush=True)

def reap():
    _, status = os.wait()
    assert status == 0, f"a child ended with {status}"

def at(name):
    print(name, flush=True)
    sys.stdin.readline()
"""

FORKS = {
    "rows queued": """
scheduler, producer = new(sys.argv[1:])
producer.put_many(3)
if os.fork() == 0:
    child_work(scheduler, producer)
    os._exit(0)
producer.put_many(3)
reap()
scheduler.stop()
""",
    "after a push": """
scheduler, producer = new(sys.argv[1:])
producer.put_many(3)
scheduler.flush(60)
if os.fork() == 0:
    child_work(scheduler, producer)
    sys.exit(0)
producer.put_many(3)
reap()
""",
    "the user's lock held by another thread": """
scheduler, producer = new(sys.argv[1:])
scheduler.flush(60)
held, go_on = threading.Event(), threading.Event()
def hold():
    with scheduler.lock:
        held.set()
        go_on.wait(60)
threading.Thread(target=hold).start()
held.wait()
if os.fork() == 0:
    child_work(scheduler, producer)
    os._exit(0)
reap()
go_on.set()
producer.put_many(3)
""",
    "threads appending": """
scheduler, producer = new(sys.argv[1:])
done = threading.Event()
def run():
    while not done.wait(0.01):
        producer.put()
for _ in range(3):
    threading.Thread(target=run).start()
for _ in range(5):
    if os.fork() == 0:
        child_work(scheduler, producer)
        os._exit(0)
try:
    for _ in range(5):
        reap()
finally:
    done.set()
""",
    "after stop": """
scheduler, producer = new(sys.argv[1:])
producer.put_many(3)
scheduler.stop()
if os.fork() == 0:
    producer.put_many(3)
    os._exit(0)
reap()
producer.put_many(3)
""",
    "two schedulers of one folder": """
scheduler, producer = new(sys.argv[1:])
second, other = new(sys.argv[1:])
producer.put_many(2); other.put_many(2)
scheduler.flush(60)
if os.fork() == 0:
    third, last = new(sys.argv[1:])
    producer.put_many(2); other.put_many(2)
    child_work(third, last)
    assert scheduler.pending_rows() == second.pending_rows() == third.pending_rows() == 2
    pushing = [thread for thread in threading.enumerate() if thread.name.startswith("hubspool-push")]
    assert len(pushing) == 1, pushing
    second.stop(); third.stop()
    producer.put_many(2)
    scheduler.stop()
    assert not pushing[0].is_alive()
    os._exit(0)
producer.put_many(3); other.put_many(3)
reap()
second.stop()
producer.put_many(3)
""",
    "multiprocessing": """
scheduler, producer = new(sys.argv[1:])
producer.put_many(3)
scheduler.flush(60)
workers = [multiprocessing.get_context("fork").Process(target=child_work, args=(scheduler, producer)) for _ in range(3)]
for worker in workers: worker.start()
producer.put_many(3)
for worker in workers: worker.join()
""",
    "a grandchild": """
scheduler, producer = new(sys.argv[1:])
producer.put_many(3)
if os.fork() == 0:
    producer.put_many(3)
    if os.fork() == 0:
        child_work(scheduler, producer)
        sys.exit(0)
    reap()
    sys.exit(0)
reap()
""",
}


def run(place: Place, start: Start, code: str) -> str:
    process = start([sys.executable, "-c", BEGIN + code, place.hub.endpoint, place.folder, place.records])
    assert process.wait(90) == 0, process.errors()
    return "\n".join(process.lines)


@pytest.mark.parametrize("code", FORKS.values(), ids=FORKS.keys())
def test_fork(place: Place, start: Start, code: str) -> None:
    said = run(place, start, code)
    assert ("child flushed" in said) == ("child_work" in code)
    pids = {row.split("-")[1] for row in recorded(place.records, "acknowledged")}
    assert len(pids) >= 2, "no child wrote"
    place.judge().check()


@pytest.mark.parametrize("killed", [False, True], ids=["parent goes on", "parent is killed"])
@pytest.mark.parametrize("route", ["commit", "xet-xorb", "commits"])
def test_fork_in_the_middle_of_a_push(place: Place, start: Start, route: str, killed: bool) -> None:
    """The child inherits descriptors of the push lock, the ledger and the connections, and must use none of them."""
    code = """
scheduler, producer = new(sys.argv[1:])
scheduler.flush(60)
producer.put_many(3)
at("written")
scheduler.trigger()
at("triggered")
if os.fork() == 0:
    at("forked")
    producer.put_many(3)
    scheduler.flush(80)
    print("child flushed", flush=True)
    os._exit(0)
reap()
"""
    process = start([sys.executable, "-c", BEGIN + code, place.hub.endpoint, place.folder, place.records])
    process.wait_line("written")
    place.hub.faults.add(Fault(route=route, delay=math.inf))
    process.say()
    assert place.hub.faults.wait_for_hits()
    process.say()
    process.wait_line("triggered")
    process.wait_line("forked")
    if killed:
        process.kill()
    process.say()
    place.hub.faults.clear()
    process.wait_line("child flushed", timeout=90)
    place.judge().check()


@pytest.mark.parametrize("way", ["spawn", "forkserver"])
def test_a_child_that_is_no_copy(place: Place, start: Start, way: str) -> None:
    script = place.root / "app.py"
    script.write_text(
        BEGIN
        + f"""
def work(arguments):
    scheduler, producer = new(arguments)
    producer.put_many(4)
    scheduler.stop()

if __name__ == "__main__":
    scheduler, producer = new(sys.argv[1:])
    producer.put_many(3)
    worker = multiprocessing.get_context("{way}").Process(target=work, args=(sys.argv[1:],))
    worker.start()
    worker.join()
    producer.put_many(3)
    sys.exit(worker.exitcode)
"""
    )
    process = start([sys.executable, script, place.hub.endpoint, place.folder, place.records])
    assert process.wait(90) == 0, process.errors()
    assert len(recorded(place.records, "acknowledged")) == 10
    place.judge().check()


def test_in_a_child_no_row_waits_for_the_image_of_another_row(place: Place, start: Start) -> None:
    code = """
from hubspool_templates import ParquetScheduler

class Slow(ParquetScheduler):
    def encode_row(self, row):
        if row["n"] == 1:
            begun.set()
            assert go_on.wait(60)
        return super().encode_row(row)

begun, go_on = threading.Event(), threading.Event()
scheduler = Slow("local/rows", sys.argv[2], every=600, hf_api=HfApi(endpoint=sys.argv[1], token="hf_local"))
if os.fork() == 0:
    slow, quick = (threading.Thread(target=scheduler.append, args=({"n": n},)) for n in (1, 2))
    slow.start()
    assert begun.wait(60)
    quick.start()
    quick.join(10)
    print("quick waits" if quick.is_alive() else "quick is stored", flush=True)
    go_on.set()
    slow.join(60)
    print("rows", scheduler.pending_rows(), flush=True)
    os._exit(0)
reap()
"""
    said = run(place, start, code)
    assert "quick is stored" in said
    assert "rows 2" in said
