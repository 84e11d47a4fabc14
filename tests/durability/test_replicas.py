"""Many writers: replicas with folders of their own, and processes that share one."""

from __future__ import annotations

import random
import signal

import pytest

from hubspool.local_hub import Fault
from hubspool.local_hub.faults import RateLimit
from tests.support.env import Place, Start
from tests.support.oracle import REPO, recorded
from tests.support.processes import Process

REPLICAS = 5


@pytest.mark.parametrize(
    "fault",
    [
        Fault(route="commit", status=409, times=8, body='{"error": "conflict"}'),
        Fault(route="commit", status=412, times=8, body='{"error": "A commit has happened since."}'),
        Fault(route="commit", limit=RateLimit(1, 2.0)),
        Fault(route="commit", status=429, times=6, headers={"Retry-After": "1"}),
    ],
    ids=["409", "412", "cap", "429"],
)
def test_replicas(place: Place, start: Start, fault: Fault) -> None:
    place.hub.faults.add(fault)
    folders = [place.root / f"replica{number}" for number in range(REPLICAS)]
    replicas = [start(rows=5, rounds=2, folder=folder, flush_timeout=90) for folder in folders]
    for replica in replicas:
        assert replica.wait(110) == 0, replica.errors()
    assert place.hub.faults.hits
    verdict = place.judge().check()
    assert verdict.on_hub == REPLICAS * 10 + 1


@pytest.mark.timeout(300)  # the judge reads each of its many commits
def test_processes_that_share_a_folder_under_random_kills(place: Place, start: Start) -> None:
    chance = random.Random(7)
    options = {"rows": 5, "rounds": 0, "threads": 4, "every": 0.01, "no_flush": True, "pause": 0.02, "roll_bytes": 9000}
    running: list[Process] = [start(**options) for _ in range(4)]
    for process in running:
        process.wait_line("round")
    place.hub.requests.wait_for(lambda record: record.route == "commit", count=2)
    stopped = running[0]
    stopped.signal(signal.SIGSTOP)  # an owner that does not move is no orphan
    killed = 0
    for _ in range(4):
        victim = running.pop(chance.randrange(1, len(running)))
        assert victim.kill() == -signal.SIGKILL
        killed += 1
        running.append(start(**options))
        running[-1].wait_line("round")
    before = len(place.hub.requests.of("commit"))
    stopped.signal(signal.SIGCONT)
    place.hub.requests.wait_for(lambda record: record.route == "commit", count=before + 2)
    for process in running:
        process.signal(signal.SIGTERM)
    for process in running:
        assert process.wait(60) == -signal.SIGTERM, process.errors()
    assert killed == 4
    assert len({row.split("-")[1] for row in recorded(place.records, "acknowledged")}) == 8
    place.judge().check()


def test_many_processes_begin_at_once_on_a_fresh_folder(place: Place, start: Start) -> None:
    started = [start(rows=3, leave="stop", exit_budget=60) for _ in range(8)]
    for process in started:
        assert process.wait(100) == 0, process.errors()
    assert len(place.api.list_repo_commits(REPO, repo_type="dataset")) > 1
    verdict = place.judge().check()
    assert verdict.on_hub == 25
