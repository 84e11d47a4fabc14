"""`hubspool publish --delete` is killed at its steps while replicas write to the bucket.

`PUBLISH_KILLS=200` kills so often.
"""

from __future__ import annotations

import os
import random
import signal
import sys

import pytest

from hubspool_templates import JsonlScheduler, read_rows
from tests.support.env import Place, Start
from tests.support.processes import Process

KILLS = int(os.environ.get("PUBLISH_KILLS", "4"))
ADDRESS, DATASET = "hf://buckets/local/votes", "local/published"
SECONDS = 60


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
