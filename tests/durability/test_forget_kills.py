"""kill -9 of `hubspool forget` before each of its steps, and at a moment during and after it."""

from __future__ import annotations

import math
import sys

import pytest

from hubspool.cli.verify import check
from hubspool.client.target import Target
from hubspool.local_hub import Fault
from hubspool.push.remote import RemoteRepo
from hubspool.push.removal import REMOVALS
from hubspool.push.verify import Severity
from hubspool_templates import JsonlScheduler, read_rows
from tests.support.env import Place, Start
from tests.support.oracle import REPO, SECONDS

#: Route and how many earlier requests of it pass: the request's commit, the commit that replaces files, the squash.
STEPS = {"request": ("commit", 0), "files": ("commit", 1), "squash": ("super-squash", 0)}


@pytest.mark.parametrize("delay", [math.inf, 0], ids=["before", "during"])
@pytest.mark.parametrize("step", STEPS)
def test_the_next_run_completes_what_a_killed_one_began(place: Place, start: Start, step: str, delay: float) -> None:
    for copy in range(2):
        with JsonlScheduler(REPO, place.root / f"copy-{copy}", hf_api=place.api) as scheduler:
            scheduler.extend({"user": user, "n": copy} for user in ("anna", "ben", "anna"))
    route, after = STEPS[step]
    place.hub.faults.add(Fault(route=route, after=after, delay=delay))
    env = {"HF_ENDPOINT": place.hub.endpoint, "HF_TOKEN": place.hub.token}
    forget = [sys.executable, "-m", "hubspool.cli", "forget", REPO]
    killed = start([*forget, "--where", "user=anna", "--yes"], env=env)
    assert place.hub.faults.wait_for_hits(timeout=SECONDS)
    assert killed.kill() == -9
    place.hub.faults.clear()

    began = [path for path in place.api.list_repo_files(REPO, repo_type="dataset") if path.startswith(REMOVALS)]
    assert began or step == "request"
    again = start([*forget, *(["--check"] if began else ["--where", "user=anna", "--yes"])], env=env)
    assert again.wait(SECONDS) == 0, again.errors()
    assert [(row["user"], row["n"]) for row in read_rows(REPO, place.api)] == [("ben", 0), ("ben", 1)]
    assert len(place.api.list_repo_commits(REPO, repo_type="dataset")) == 1
    seen, found = check(RemoteRepo(place.api, Target(place.hub.endpoint, REPO, "dataset", "main")), None)
    assert len(seen.facts) == 2
    assert [each for each in found if each.kind.severity is Severity.DAMAGE] == []
