"""`hubspool compact` is killed at its steps, again and again, while three replicas append and push.

`COMPACTION_KILLS=200` kills so often, with a Hub for each 20 kills.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections import Counter
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest

from hubspool.local_hub import Fault
from tests.support.env import Place, Start
from tests.support.oracle import REPO, recorded
from tests.support.processes import Process

KILLS = int(os.environ.get("COMPACTION_KILLS", "12"))
BATCH = 20
BATCHES = -(-KILLS // BATCH)


def compact(start: Start, place: Place, step: int, delay: float, days: int) -> Process:
    """Begin to join all parts; with many `days`, also files that were joined before."""
    before = datetime.now(timezone.utc).date() + timedelta(days=days)
    command = [sys.executable, "-m", "tests.support.programs.killed_compactor", step, delay]
    words = [*command, "compact", REPO, "--before", before, "--token", place.hub.token]
    return start([str(word) for word in words], env={"HF_ENDPOINT": place.hub.endpoint})


@pytest.mark.timeout(60 + 20 * min(KILLS, BATCH))
@pytest.mark.parametrize("batch", range(BATCHES))
def test_no_row_is_lost_or_doubled_by_kills_of_a_compactor(place: Place, start: Start, batch: int) -> None:
    chance = random.Random(batch)
    options = {"rows": 1, "rounds": 0, "no_flush": True, "every": 0.06, "pause": 0.1, "roll_bytes": 4000}
    options |= {"exit_budget": 60, "second_look": 1}
    ahead = format_datetime(datetime.now(timezone.utc) + timedelta(days=62), usegmt=True)
    place.hub.faults.add(Fault(headers={"Date": ahead}, times=None))  # what is written now is old there
    writers = [start(folder=place.root / f"replica{n}", **options) for n in range(3)]
    for writer in writers:
        writer.wait_line("round")
    place.hub.requests.wait_for(lambda record: record.route == "commit", count=4)
    whole = compact(start, place, 0, 0, days=1)
    steps = int(whole.wait_line("steps").split()[1])
    assert whole.wait(60) == 0, whole.errors()
    kills = min(BATCH, KILLS - batch * BATCH)
    killed: Counter[str] = Counter()
    for number in range(kills):
        at_post = number % 2
        step, reached = -1 if at_post else 1 + (number * steps) // kills, ""
        while not reached:  # a run that has less to join has fewer steps
            delay = chance.random() * 0.1 if at_post else 0.0
            victim = compact(start, place, step, delay, days=1 + 60 * (number % 3 == 2))
            code = victim.wait(60)
            reached = next((line for line in victim.lines if line.startswith("killed")), "")
            assert code == -signal.SIGKILL or delay or not reached, victim.errors()
            if not reached:
                last_step = int(victim.wait_line("steps").split()[1])
                assert last_step < step or at_post, "it passed its step and was not killed"
                step = step if at_post else 1 + step % last_step
        killed[reached] += 1
    assert len(killed) > 1, killed
    last = compact(start, place, 0, 0, days=61)
    assert last.wait(60) == 0, last.errors()
    for writer in writers:
        writer.signal(signal.SIGTERM)
    for writer in writers:
        assert writer.wait(90) == -signal.SIGTERM, writer.errors()
    for number in range(3):  # what a last push under load has left
        again = start(folder=place.root / f"replica{number}", rows=1, second_look=0)
        assert again.wait(90) == 0, again.errors()
    verdict = place.judge().check()
    joins = [c for c in place.api.list_repo_commits(REPO, repo_type="dataset") if c.title.startswith("Join")]
    print(f"{verdict.on_hub} rows, {len(joins)} joins, {verdict.commits} commits, {dict(killed)}")
    assert verdict.on_hub == len(recorded(place.records, "acknowledged"))
    assert joins
