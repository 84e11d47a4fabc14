"""Bad days: what the Hub refuses, loses or delays never loses or doubles a row."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hubspool import CommitPlan, CommitScheduler, HfApi, State
from hubspool.errors import HubspoolError, NotStoredError
from hubspool.local_hub import Fault, LocalHub
from hubspool.push.planner import Planner
from hubspool.spool import owners
from hubspool.spool.segment_name import host_digits
from hubspool.spool.spool import Spool
from hubspool_templates import JsonlScheduler

REPO = "local/kept"
SECONDS = 60

Make = Callable[..., Any]
Lines = Callable[[], list[bytes]]
KINDS = [CommitScheduler, JsonlScheduler]


def row(number: int) -> bytes:
    return b'{"n":%d}' % number


def write(scheduler: CommitScheduler, *numbers: int) -> None:
    for number in numbers:
        if isinstance(scheduler, JsonlScheduler):
            scheduler.append({"n": number})
            continue
        with scheduler.lock, (scheduler.folder_path / "rows.jsonl").open("ab") as file:
            file.write(row(number) + b"\n")


def restarted(make: Make, scheduler: CommitScheduler) -> CommitScheduler:
    """The process ended without a flush and starts again."""
    scheduler.stop(flush=False)
    again: CommitScheduler = make(type(scheduler))
    return again


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 409, 412, 408])
def test_a_commit_that_is_refused_once_succeeds_in_the_same_push(
    status: int, kind: type[CommitScheduler], make: Make, local_hub: LocalHub, lines: Lines
) -> None:
    scheduler = make(kind)
    body = '{"error": "another commit is in progress"}' if status == 409 else ""
    fault = local_hub.faults.add(Fault(route="commit", status=status, body=body, headers={"Retry-After": "0"}))
    write(scheduler, 1)
    assert scheduler.trigger().result(SECONDS) is not None
    assert [hit.fault for hit in local_hub.faults.hits] == [fault]
    write(scheduler, 2)
    scheduler.flush(SECONDS)
    assert lines() == [row(1), row(2)]
    assert scheduler.status().consecutive_failures == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "fault",
    [
        Fault(route="commit", drop=True, applied=True),
        Fault(route="commit", drop=True),
        Fault(route="commit", status=500, applied=True),
        Fault(route="commit", status=200, body="<html>", applied=True),
        Fault(route="commit", status=200, body='{"success": true}', applied=True),
        Fault(route="commit", status=200, body="{}"),
        Fault(route="commit", keep_bytes=10),
    ],
    ids=["dropped after", "dropped before", "500 after", "html after", "no id after", "no id before", "cut"],
)
def test_a_lost_answer_leaves_every_row_exactly_once(
    fault: Fault, kind: type[CommitScheduler], make: Make, local_hub: LocalHub, lines: Lines
) -> None:
    scheduler = make(kind)
    write(scheduler, 1)
    scheduler.flush(SECONDS)
    local_hub.faults.add(fault)
    write(scheduler, 2, 3)
    scheduler.trigger().result(SECONDS)
    write(scheduler, 4)
    scheduler.flush(SECONDS)
    assert len(local_hub.faults.hits) == 1
    assert lines() == [row(n) for n in (1, 2, 3, 4)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_commit_that_lands_after_it_was_given_up_changes_nothing(
    kind: type[CommitScheduler], make: Make, local_hub: LocalHub, lines: Lines
) -> None:
    scheduler = make(kind)
    write(scheduler, 1)
    scheduler.flush(SECONDS)
    local_hub.faults.add(Fault(route="commit", late=math.inf))
    write(scheduler, 2)
    scheduler.flush(SECONDS)
    write(scheduler, 3)
    scheduler.flush(SECONDS)
    assert local_hub.faults.release()
    assert len(local_hub.faults.hits) == 1
    assert lines() == [row(1), row(2), row(3)]
    write(scheduler, 4)
    scheduler.flush(SECONDS)
    assert lines() == [row(n) for n in (1, 2, 3, 4)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("applied", [True, False])
def test_a_restart_between_a_commit_and_its_answer_leaves_every_row_exactly_once(
    applied: bool, kind: type[CommitScheduler], make: Make, local_hub: LocalHub, lines: Lines
) -> None:
    scheduler = make(kind)
    write(scheduler, 1)
    scheduler.flush(SECONDS)
    local_hub.faults.add(Fault(route="commit", drop=True, applied=applied))
    write(scheduler, 2)
    ended: list[object] = []

    def no_second_try(event: object) -> None:
        ended.append(event)
        scheduler._runner.loop.stopping.set()
        scheduler._worker.detach(scheduler)

    scheduler._tracker._on_error = no_second_try
    assert isinstance(scheduler.trigger().exception(SECONDS), HubspoolError)
    assert len(ended) == 1
    again = restarted(make, scheduler)
    write(again, 3)
    again.flush(SECONDS)
    assert lines() == [row(1), row(2), row(3)]


ROUTES = ["preupload", "commits", "repo-info", "xet-token", "xet-xorb"]


@pytest.mark.parametrize(
    ("kind", "route"),
    [(kind, route) for kind in KINDS for route in ROUTES if kind is JsonlScheduler or not route.startswith("xet")],
)  # small files of the user's travel inside the commit, so Xet has no part in it
@pytest.mark.parametrize("effect", [{"status": 503}, {"drop": True}, {"status": 429}], ids=str)
def test_any_other_request_may_fail_once(
    effect: dict[str, Any], route: str, kind: type[CommitScheduler], make: Make, local_hub: LocalHub, lines: Lines
) -> None:
    local_hub.faults.add(Fault(route=route, headers={"Retry-After": "0"}, **effect))
    scheduler = make(kind)
    write(scheduler, 1)
    scheduler.flush(SECONDS)
    assert lines() == [row(1)]
    assert local_hub.faults.hits


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_permanent_error_is_told_and_the_next_push_works_once_it_is_mended(
    status: int, make: Make, local_hub: LocalHub, lines: Lines
) -> None:
    scheduler = make()
    local_hub.faults.add(Fault(route="commit", status=status, times=None))
    write(scheduler, 1)
    with pytest.raises(HubspoolError, match=str(status)):
        scheduler.flush(SECONDS)
    assert len(local_hub.faults.hits) == 1
    found = scheduler.status()
    assert (found.state, found.consecutive_failures, found.pending_files) == (State.FAILING, 1, 1)
    local_hub.faults.clear()
    scheduler.flush(SECONDS)
    assert lines() == [row(1)]


def test_rows_are_taken_while_a_push_hangs_in_the_middle_of_a_request(
    make: Make, local_hub: LocalHub, lines: Lines
) -> None:
    scheduler = make(JsonlScheduler)
    local_hub.faults.add(Fault(route="commit", delay=math.inf))
    write(scheduler, 0)
    push = scheduler.trigger()
    assert local_hub.faults.wait_for_hits()
    count = len(local_hub.requests)
    write(scheduler, *range(1, 200))  # returns although the Hub is silent
    with scheduler.lock:
        assert scheduler.lock.locked()
    assert not push.done()
    assert len(local_hub.requests) == count
    assert scheduler.pending_rows() == 200
    local_hub.faults.clear()
    push.exception(SECONDS)
    scheduler.flush(SECONDS)
    assert lines() == sorted(row(n) for n in range(200))
    assert scheduler.pending_rows() == 0


def test_rows_are_taken_while_the_hub_is_down(make: Make, tmp_path: Path) -> None:
    hub = LocalHub(tmp_path / "root").start()
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    hub.stop()
    scheduler = make(JsonlScheduler, settle=False, hf_api=api)
    write(scheduler, *range(500))
    assert scheduler.pending_rows() == 500
    assert scheduler.status().last_error
    with hub:
        scheduler.flush(SECONDS)
        assert scheduler.pending_rows() == 0
        hub.stop()
        hub.start()
        write(scheduler, 500)
        scheduler.stop()


def test_a_silent_hub_ends_in_an_error_and_the_next_push_works(
    make: Make, local_hub: LocalHub, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = make()
    scheduler.api.session.commit_timeout = 0.2
    local_hub.faults.add(Fault(route="commit", delay=math.inf))
    write(scheduler, 1)
    assert scheduler.trigger().result(SECONDS) is not None  # the second try of the same push
    assert len(local_hub.faults.hits) == 1
    assert lines() == [row(1)]


def test_one_file_in_doubt_does_not_hold_up_the_others(make: Make, local_hub: LocalHub, hub_api: HfApi) -> None:
    scheduler = make()
    write(scheduler, 1)
    scheduler.flush(SECONDS)
    local_hub.faults.add(Fault(route="commit", drop=True))
    write(scheduler, 2)
    (scheduler.folder_path / "b.txt").write_text("x\n")
    scheduler.flush(SECONDS)
    assert {"b.txt", "rows.jsonl"} <= set(hub_api.list_repo_files(REPO, repo_type="dataset"))


@pytest.mark.parametrize("kind", KINDS)
def test_pushes_and_faults_at_random_leave_every_row_exactly_once(
    kind: type[CommitScheduler], make: Make, local_hub: LocalHub, lines: Lines
) -> None:
    """One bad commit in three, of every sort, while four threads write."""
    scheduler = make(kind)
    bad: list[dict[str, Any]] = [{"drop": True}, {"drop": True, "applied": True}, {"status": 503}]
    bad.append({"status": 500, "applied": True})
    for number, effect in enumerate(bad * 2):
        local_hub.faults.add(Fault(route="commit", after=2 * number, **effect))
    threads = [
        threading.Thread(target=write, args=(scheduler, *range(start, start + 25))) for start in range(0, 100, 25)
    ]
    for thread in threads:
        thread.start()
        scheduler.trigger().exception(SECONDS)
    for thread in threads:
        thread.join()
    for number in range(100, 104):
        write(scheduler, number)
        scheduler.trigger().exception(SECONDS)
    scheduler.flush(SECONDS)
    assert local_hub.faults.hits
    assert lines() == sorted(row(n) for n in range(104))


def test_what_is_sent_is_never_more_than_was_there_at_the_snapshot(make: Make, lines: Lines) -> None:
    late = [2]

    def grow(plan: CommitPlan) -> None:
        if late:
            write(scheduler, late.pop())

    scheduler = make(JsonlScheduler, on_before_commit=grow)
    write(scheduler, 1)
    scheduler.trigger().result(SECONDS)
    assert lines() == [row(1)]
    scheduler.trigger().result(SECONDS)
    assert lines() == [row(1), row(2)]


def test_a_segment_that_grew_and_was_closed_after_the_look_is_not_removed(
    make: Make, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = make(JsonlScheduler)
    other = Spool(scheduler.spool_folder)
    scan = Planner.scan

    def scan_and_grow(planner: Planner, settled: dict[str, Any]) -> Any:
        snapshot = scan(planner, settled)
        other.write(row(2) + b"\n")
        other.close()
        monkeypatch.undo()
        return snapshot

    other.write(row(1) + b"\n")
    monkeypatch.setattr(Planner, "scan", scan_and_grow)
    scheduler.flush(SECONDS)
    scheduler.flush(SECONDS)
    assert lines() == [row(1), row(2)]


@pytest.mark.parametrize("ahead", [60, 366 * 24 * 3600])
def test_a_segment_of_another_host_whose_time_is_in_the_future_is_sent_once_it_rests(
    ahead: float, make: Make, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = make(JsonlScheduler)
    digits = "0000" if host_digits() != "0000" else "1111"
    segment = scheduler.spool_folder / f"train-20260102-{digits}12345678-00000.jsonl"
    segment.write_bytes(row(1) + b"\n")
    future = time.time() + ahead
    os.utime(segment, (future, future))
    if ahead > owners.DEFAULTS.foreign_rest_seconds:
        with pytest.raises(NotStoredError, match="future"):
            scheduler.flush(SECONDS)
    else:  # its host may well run: nobody waits for it
        scheduler.flush(SECONDS)
    status = scheduler.status()
    assert (status.pending_files, status.pending_bytes) == (1, len(row(1)) + 1)
    assert segment.name in status.postponed
    scheduler.stop(flush=False)
    assert lines() == []
    # 15 minutes later, in another life of the process: time passes by making them none.
    monkeypatch.setattr(owners, "DEFAULTS", replace(owners.DEFAULTS, foreign_rest_seconds=0))
    again = make(JsonlScheduler)
    again.trigger().exception(SECONDS)
    assert lines() == [row(1)]
    assert again.status().pending_files == 0
