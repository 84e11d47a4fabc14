"""Damage between two runs: torn and flipped bytes, lost ledgers, foreign files, crashes in the recovery itself."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from hubspool.errors import HubspoolError
from tests.support.env import Open, Place, Start
from tests.support.oracle import REPO, judge, recorded
from tests.support.processes import strace
from tests.support.spools import spool_of


def state(place: Place) -> Path:
    return spool_of(place.folder)


def a_crash(place: Place, start: Start, **options: object) -> Path:
    """Return the segment of a process that was killed with acknowledged rows on the Hub and others not."""
    process = start(**{"rows": 5, "more": 5, "leave": "wait", **options})
    process.wait_line("ready")
    process.kill()
    return next(place.folder.rglob("*.jsonl"))


def remove_ledger(place: Place) -> None:
    for path in state(place).glob("ledger*"):
        path.unlink()


def zero_ledger(place: Place) -> None:
    remove_ledger(place)
    (state(place) / "ledger.sqlite3").touch()


def garbage_ledger(place: Place) -> None:
    remove_ledger(place)
    (state(place) / "ledger.sqlite3").write_bytes(os.urandom(8192))


def cut_ledger(place: Place) -> None:
    path = state(place) / "ledger.sqlite3"
    for more in ("-wal", "-shm"):
        path.with_name(path.name + more).unlink(missing_ok=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def future_ledger(place: Place) -> None:
    with sqlite3.connect(state(place) / "ledger.sqlite3") as db:
        db.execute("pragma user_version = 99")
    db.close()


def folder_ledger(place: Place) -> None:
    remove_ledger(place)
    (state(place) / "ledger.sqlite3").mkdir()


def remove_state(place: Place) -> None:
    for path in state(place).iterdir():
        if path.suffix != ".jsonl":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    "damage",
    [remove_ledger, zero_ledger, garbage_ledger, cut_ledger, future_ledger, remove_state],
)
def test_a_ledger_that_is_lost(place: Place, start: Start, damage: Callable[[Place], None]) -> None:
    a_crash(place, start, rounds=3)
    damage(place)
    verdict = place.judge().check()
    assert verdict.acknowledged == 21
    assert verdict.on_hub == 21


def test_a_ledger_that_is_older_than_the_hub(place: Place, start: Start) -> None:
    process = start(rows=3, rounds=1, more=1, leave="read")
    process.wait_line("ready")
    shutil.copytree(state(place), place.root / "backup", ignore=shutil.ignore_patterns("*.jsonl"))
    process.kill()
    place.judge().check()
    remove_state(place)
    shutil.copytree(place.root / "backup", state(place), dirs_exist_ok=True)
    place.judge().check()


@pytest.mark.parametrize(
    "tail", [b'{"id": "to', b"\0" * 4096, b"\xff\xfe", b"{}"], ids=["torn", "nul", "binary", "whole"]
)
def test_a_tail_that_was_never_acknowledged(place: Place, start: Start, tail: bytes) -> None:
    segment = a_crash(place, start)
    with segment.open("ab") as file:
        file.write(tail)
    verdict = place.judge().check()
    assert verdict.torn_tails == 1


def test_a_damaged_line_does_not_keep_its_neighbours(place: Place, start: Start) -> None:
    segment = a_crash(place, start)
    lines = segment.read_bytes().split(b"\n")
    lines[7] = b"\0" + lines[7][1:]
    segment.write_bytes(b"\n".join(lines))
    verdict = place.judge()
    assert len(verdict.lost) == 1
    assert verdict.faults.keys() <= {"lost", "left"}
    assert segment.exists(), "what cannot be sent must be kept"
    assert verdict.on_hub == 10


def test_damage_in_what_was_sent_does_not_reach_the_hub(place: Place, open_here: Open) -> None:
    here = open_here()
    here.producer.put_many(5)
    here.scheduler.flush(60)
    segment = next(place.folder.rglob("*.jsonl"))
    with segment.open("r+b") as file:
        file.write(b"\0")
    here.producer.put_many(5)
    with pytest.raises(HubspoolError, match="damaged"):
        here.scheduler.flush(60)
    here.scheduler.stop(flush=False)
    verdict = place.judge()
    assert verdict.faults.keys() <= {"left"}
    assert verdict.on_hub == 11


@pytest.mark.parametrize("size", [0, 100, 2300])
def test_a_segment_that_was_cut(place: Place, start: Start, size: int) -> None:
    """Rows that were sent stay on the Hub; those that were not are gone with the disk, and later ones go on."""
    segment = a_crash(place, start)
    os.truncate(segment, size)
    verdict = place.judge()
    assert set(verdict.faults) <= {"lost", "left"}, verdict.faults  # it is told that bytes are missing
    assert verdict.on_hub >= 6
    assert not verdict.doubled


def test_foreign_files_beside_the_segments(place: Place, start: Start) -> None:
    segment = a_crash(place, start)
    (place.folder / "notes.txt").write_text("hello\n")
    (place.folder / "model.bin").write_bytes(b"\0" * 1000)
    (place.folder / f".{segment.name}.new").write_bytes(b"{}")
    (place.folder / "train-20260101-abc-00000.jsonl.bak").write_bytes(b"x")
    verdict = place.judge().check()
    assert verdict.on_hub == 11


@pytest.mark.parametrize("calls", [("write", (60, 90, 120)), ("fcntl", (40, 60, 80)), ("sendto", (6, 11, 16))])
def test_three_crashes_in_the_recovery(place: Place, start: Start, calls: tuple[str, tuple[int, ...]]) -> None:
    segment = a_crash(place, start)
    with segment.open("ab") as file:
        file.write(b'{"id": "torn')
    call, numbers = calls
    for number in numbers:
        inject = f"inject={call}:signal=SIGKILL:when={number}"
        prefix = strace("-e", f"trace={call}", "-e", inject, output=place.root / f"trace{number}")
        process = start(prefix=prefix, rows=2, rounds=3)
        assert process.wait() == -9, process.errors()
    verdict = place.judge().check()
    assert verdict.torn_tails == 1


def test_a_lost_ledger_and_a_commit_in_doubt(place: Place, start: Start) -> None:
    from hubspool.local_hub import Fault

    process = start(rows=3, more=2, leave="wait")
    process.wait_line("ready")
    place.hub.faults.add(Fault(route="commit", drop=True, applied=True))
    process.signal(15)
    assert place.hub.faults.wait_for_hits()
    process.kill()
    remove_ledger(place)
    place.judge().check()


def test_a_second_folder_with_a_copy_is_nobodys_business_of_the_first(place: Place, start: Start) -> None:
    """A folder that was copied whole, pushed from both places: parts are found, rows stand once."""
    a_crash(place, start)
    copy = place.root / "copy"
    shutil.copytree(place.folder, copy)
    place.judge().check()
    verdict = judge(place.hub, copy, place.records, repo=REPO)
    assert not verdict.doubled
    assert not verdict.lost
    assert len(recorded(place.records, "acknowledged")) == verdict.on_hub
