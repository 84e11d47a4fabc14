"""`hubspool publish --delete`, and schedulers that publish, are killed at their steps while rows are written.

`PUBLISH_KILLS=200` kills so often.
"""

from __future__ import annotations

import math
import os
import random
import signal
import sys
from dataclasses import replace

import pytest

from hubspool.cli import main
from hubspool.local_hub import Fault
from hubspool_templates import JsonlScheduler, read_rows
from tests.support.env import Place, Start
from tests.support.processes import Process
from tests.support.publishing import look

KILLS = int(os.environ.get("PUBLISH_KILLS", "4"))
ADDRESS, DATASET = "hf://buckets/local/votes", "local/published"
SECONDS = 60
#: Sends rows, and publishes them once a line comes.
SCHEDULER = """
import sys
from hubspool_templates import JsonlScheduler

address, dataset, folder = sys.argv[1:]
scheduler = JsonlScheduler(address, folder, every=600, publish_to=dataset)
for n in range(3):
    scheduler.append({"n": n})
    scheduler.flush(60)
print("sent", flush=True)
sys.stdin.readline()
scheduler.append({"n": 3})
scheduler._worker.compaction._due_at = 0.0
scheduler.trigger().result(60)
"""


def publish(start: Start, place: Place, step: int) -> Process:
    command = [sys.executable, "-m", "tests.support.programs.killed_compactor", step, 0]
    words = [*command, "publish", ADDRESS, DATASET, "--delete", "--token", place.hub.token]
    return start([str(word) for word in words], env={"HF_ENDPOINT": place.hub.endpoint})


@pytest.mark.timeout(60 + 10 * KILLS)
def test_no_row_is_lost_or_doubled_by_kills_of_a_publisher(place: Place, start: Start) -> None:
    chance = random.Random(KILLS)
    writers = [JsonlScheduler(ADDRESS, place.root / f"{n}", every=600, hf_api=place.api) for n in range(2)]
    rows = 0

    def write() -> None:
        nonlocal rows
        for writer in writers:
            writer.append({"n": rows})
            writer.flush(SECONDS)
            rows += 1

    write()
    whole = publish(start, place, 0)
    steps = int(whole.wait_line("steps").split()[1])
    assert whole.wait(SECONDS) == 0, whole.errors()
    reached = set()
    for number in range(KILLS):
        write()
        victim = publish(start, place, 1 + number * steps // KILLS + chance.randrange(max(1, steps // KILLS)))
        assert victim.wait(SECONDS) == -signal.SIGKILL, victim.errors()
        reached.add(next(line for line in victim.lines if line.startswith("killed")))
    assert len(reached) > 1
    last = publish(start, place, 0)
    assert last.wait(SECONDS) == 0, last.errors()
    for writer in writers:
        writer.stop(flush=False)
    assert sorted(row["n"] for row in read_rows(DATASET, api=place.api)) == [*range(rows)]
    assert [*read_rows(ADDRESS, api=place.api)] == []


@pytest.mark.parametrize(("killed_at", "commits"), [
    (Fault(route="bucket-resolve", path="data", after=1), 0),
    (Fault(route="commit", path="datasets/"), 0),
    (Fault(route="bucket-batch", after=1), 1),  # of the marker
], ids=["download", "commit", "marker"])  # fmt: skip
def test_a_scheduler_that_is_killed_while_it_publishes_neither_loses_nor_doubles_a_row(
    killed_at: Fault, commits: int, place: Place, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request that waits when its client is killed takes no effect."""
    monkeypatch.setenv("HF_ENDPOINT", place.hub.endpoint)
    victim = start([sys.executable, "-c", SCHEDULER, ADDRESS, DATASET, place.folder], env={"HF_TOKEN": place.hub.token})
    victim.wait_line("sent")
    place.hub.faults.add(replace(killed_at, delay=math.inf))
    victim.say()
    assert place.hub.faults.wait_for_hits(1)
    victim.signal(signal.SIGKILL)
    assert victim.wait(SECONDS) == -signal.SIGKILL
    exists = place.api.repo_exists(DATASET, repo_type="dataset")  # its first commit creates it
    titles = [each.title for each in place.api.list_repo_commits(DATASET, repo_type="dataset")] if exists else []
    assert sum(title.startswith("Publish") for title in titles) == commits
    place.hub.faults.clear()
    heir = JsonlScheduler(ADDRESS, place.folder, every=600, publish_to=DATASET, hf_api=place.api)
    heir.append({"n": 4})
    heir.flush(SECONDS)
    look(heir)
    assert heir.status().last_compaction_error is None
    heir.stop(flush=False)
    assert sorted(row["n"] for row in read_rows(DATASET, api=place.api)) == [*range(5)]
    assert main(["publish", ADDRESS, DATASET, "--delete", "--token", place.hub.token]) == 0
    assert sorted(row["n"] for row in read_rows(DATASET, api=place.api)) == [*range(5)]
    assert [*read_rows(ADDRESS, api=place.api)] == []
