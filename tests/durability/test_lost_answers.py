"""Commits whose answer is lost, wrong or late, and checks that are answered from the past."""

from __future__ import annotations

import math

import pytest

from hubspool.errors import HubspoolError
from hubspool.local_hub import Fault
from tests.support.env import InProcess, Open, Place, Start

WRONG_ANSWERS = {
    "reset": Fault(route="commit", drop=True, applied=True),
    "500 after success": Fault(route="commit", status=500, applied=True),
    "504 after success": Fault(route="commit", status=504, applied=True),
    "200 html": Fault(route="commit", status=200, applied=True, body="<html>soon</html>"),
    "200 broken json": Fault(route="commit", status=200, applied=True, body='{"commitOid": "12'),
    "200 of another shape": Fault(route="commit", status=200, applied=True, body="[]"),
    "200 empty": Fault(route="commit", status=200, applied=True),
    "202": Fault(route="commit", status=202, applied=True, body="{}"),
    "cut body": Fault(route="commit", keep_bytes=10),
    "500 and nothing": Fault(route="commit", status=500),
    "reset and nothing": Fault(route="commit", drop=True),
    "200 html and nothing": Fault(route="commit", status=200, body="<html>maintenance</html>"),
}


def begin(place: Place, open_here: Open) -> InProcess:
    """Return a scheduler with an open part that holds three rows, and two more on the disk."""
    here = open_here()
    here.producer.put_many(3)
    here.scheduler.flush(60)
    here.producer.put_many(2)
    return here


@pytest.mark.parametrize("fault", WRONG_ANSWERS.values(), ids=WRONG_ANSWERS.keys())
def test_a_wrong_answer(place: Place, open_here: Open, fault: Fault) -> None:
    here = begin(place, open_here)
    place.hub.faults.add(fault)
    here.scheduler.flush(60)
    here.producer.put_many(2)
    here.scheduler.stop()
    assert [hit.route for hit in place.hub.faults.hits] == ["commit"]
    place.judge().check()


@pytest.mark.parametrize("fault", WRONG_ANSWERS.values(), ids=WRONG_ANSWERS.keys())
def test_a_wrong_answer_to_the_very_first_commit(place: Place, open_here: Open, fault: Fault) -> None:
    here = open_here()
    here.scheduler.last_future.result(60)
    here.producer.put_many(3)
    place.hub.faults.add(fault)
    here.scheduler.flush(60)
    here.producer.put_many(2)
    here.scheduler.stop()
    assert place.hub.faults.hits
    place.judge().check()


@pytest.mark.parametrize("restart", [False, True], ids=["same process", "after a kill"])
@pytest.mark.parametrize("answer", [{"status": 504}, {"drop": True}], ids=["504", "reset"])
def test_a_commit_that_lands_after_the_path_could_have_grown(
    place: Place, open_here: Open, start: Start, restart: bool, answer: dict[str, object]
) -> None:
    """The rows of the late commit, and those that were written after it, all stand once at the end."""
    late = Fault(route="commit", late=math.inf, **answer)  # type: ignore[arg-type]  # two kinds of answer
    if restart:
        process = start(rows=3, more=2, leave="wait", exit_budget=30)
        process.wait_line("ready")
        place.hub.faults.add(late)
        process.signal(15)
        assert place.hub.faults.wait_for_hits()
        process.kill()
        here = open_here()
    else:
        here = begin(place, open_here)
        place.hub.faults.add(late)
        here.scheduler.flush(60)
    for _ in range(3):
        here.producer.put_many(2)
        here.scheduler.flush(60)
    assert len(place.hub.faults.hits) == 1
    assert place.hub.faults.release()
    here.producer.put_many(2)
    here.scheduler.flush(60)
    here.scheduler.stop()
    place.judge().check()


def test_two_late_commits_and_two_kills(place: Place, start: Start) -> None:
    for number in range(2):
        process = start(rows=3, more=2, leave="wait", exit_budget=30, rounds=1)
        process.wait_line("ready")
        place.hub.faults.add(Fault(route="commit", late=math.inf, status=504))
        process.signal(15)
        assert place.hub.faults.wait_for_hits(number + 1)
        process.kill()
    process = start(rows=2, rounds=2)
    process.wait_line("stopped")
    assert place.hub.faults.release()
    assert len(place.hub.faults.hits) == 2
    place.judge().check()


@pytest.mark.parametrize("answer", ["lost", "late"])
def test_checks_answered_from_the_past(place: Place, open_here: Open, answer: str) -> None:
    here = begin(place, open_here)
    lost = {"late": math.inf} if answer == "late" else {"applied": True}
    place.hub.faults.add(Fault(route="commit", status=500, **lost))
    stale = Fault(route=("preupload", "paths-info", "commits", "resolve", "tree"), stale=1, times=6)
    place.hub.faults.add(stale)
    with_error = 0
    for _ in range(3):
        here.producer.put_many(2)
        try:
            here.scheduler.flush(60)
        except HubspoolError:  # a suspect: nothing is lost by waiting
            with_error += 1
    answered = {hit.route for hit in place.hub.faults.hits if hit.fault == stale}  # from an older commit than the last
    assert "preupload" in answered
    assert place.hub.faults.release()
    place.hub.faults.clear()
    here.scheduler.stop()
    place.judge().check()


def test_user_files_survive_a_lost_and_a_late_answer(place: Place, start: Start) -> None:
    place.hub.faults.add(Fault(route="commit", status=500, applied=True))
    process = start(mode="files", rows=3, rounds=2)
    process.wait_line("stopped")
    place.hub.faults.add(Fault(route="commit", status=504, late=math.inf))
    process = start(mode="files", rows=3, rounds=2)
    process.wait_line("stopped")
    assert len(place.hub.faults.hits) == 2
    assert place.hub.faults.release()
    process = start(mode="files", rows=1)
    process.wait_line("stopped")
    place.judge(start=False).check()
