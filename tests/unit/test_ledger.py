"""The ledger remembers what was sent, through kills, damage and several processes."""

from __future__ import annotations

import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from hubspool.client.target import Target
from hubspool.errors import StateFileError
from hubspool.files import Stat, StatePaths
from hubspool.push import ledger as ledger_module
from hubspool.push.ledger import SCHEMA_VERSION, Ledger
from hubspool.push.part import Closed, Part
from hubspool.state_db import StateDb

TARGET = Target.of("http://127.0.0.1:1", "user/rows", "dataset", "main")
PART = Part("train.jsonl", 0, "data/train.jsonl", 0, 10, 1000.5, 3, "aa" * 32, "bb" * 20, 2)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path)


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob(f"{StatePaths(folder).ledger.name}.*.kept"))


@pytest.mark.parametrize(
    "part",
    [
        Part("a", 0, "a", 0, 0, 0.0),
        PART,
        replace(PART, closed=Closed.UNKNOWN),
        PART.sending(20, "cc" * 32, "dd" * 20, "push", 1001.25),
        replace(PART, source="ö ' \" ;--/\u2028.jsonl", end=2**40),
    ],
    ids=["unsent", "sent", "closed", "in doubt", "odd name"],
)
def test_a_part_comes_back_as_it_was(part: Part, ledger: Ledger, tmp_path: Path) -> None:
    key = ledger.target(TARGET, "data")
    ledger.save(key, [part])
    ledger.close()
    assert Ledger(tmp_path).parts(key) == {part.source: [part]}


def test_a_part_is_replaced_by_its_later_state_and_parts_come_in_order(ledger: Ledger) -> None:
    key = ledger.target(TARGET, "data")
    ledger.save(key, [replace(PART, number=number) for number in (10, 2, 1)])
    ledger.save(key, [replace(PART, number=2, end=99), PART])
    assert [(part.number, part.end) for part in ledger.parts(key)["train.jsonl"]] == [
        (0, 10),
        (1, 10),
        (2, 99),
        (10, 10),
    ]


def test_targets_know_nothing_of_each_other(ledger: Ledger) -> None:
    others = [
        replace(TARGET, endpoint="http://127.0.0.1:2"),
        replace(TARGET, repo_type="model"),
        replace(TARGET, repo_id="user/other"),
        replace(TARGET, revision="dev"),
    ]
    keys = [ledger.target(TARGET, "data"), ledger.target(TARGET, ""), *(ledger.target(t, "data") for t in others)]
    assert len(set(keys)) == 6
    assert ledger.target(TARGET, "data") == keys[0]
    ledger.save(keys[0], [PART])
    ledger.settle(keys[0], [("x", Stat(1, 2, 3, 4))])
    assert not any(ledger.parts(key) or ledger.settled(key) for key in keys[1:])


def test_settled_files_are_remembered_and_forgotten(ledger: Ledger, tmp_path: Path) -> None:
    key = ledger.target(TARGET, "")
    ledger.save(key, [PART])
    ledger.settle(key, [("train.jsonl", Stat(1, 2**62, 3, 4)), ("b", Stat(5, 6, 7, 8))])
    ledger.settle(key, [("b", Stat(9, 6, 7, 8))])
    again = Ledger(tmp_path)
    assert again.settled(key) == {"train.jsonl": Stat(1, 2**62, 3, 4), "b": Stat(9, 6, 7, 8)}
    again.forget(["train.jsonl"])
    # No process that still has it open may take it for one that somebody removed.
    assert list(ledger.settled(key)) == ["b", "train.jsonl"]
    assert ledger.rows_on_hub("train.jsonl") == math.inf
    assert ledger.parts(key) == {}


def test_the_targets_of_a_folder_can_be_listed(ledger: Ledger) -> None:
    other = replace(TARGET, repo_id="user/other")
    numbers = [ledger.target(TARGET, "data"), ledger.target(other, "")]
    assert ledger.targets() == {numbers[0]: (TARGET, "data"), numbers[1]: (other, "")}


@pytest.mark.parametrize("damage", [b"", b"not a database, but long enough to be read as one" * 100])
def test_a_file_that_is_no_database_is_kept_and_a_new_one_begun(
    damage: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    StatePaths(tmp_path).ledger.write_bytes(damage)
    ledger = Ledger(tmp_path)
    key = ledger.target(TARGET, "")
    ledger.save(key, [PART])
    assert Ledger(tmp_path).parts(key)
    if damage:
        (name,) = kept(tmp_path)
        assert (tmp_path / name).read_bytes() == damage
        assert name in caplog.text


def test_pages_that_were_overwritten_are_noticed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    key = ledger.target(TARGET, "")
    ledger.save(key, [replace(PART, number=number) for number in range(2000)])
    ledger.close()
    path = StatePaths(tmp_path).ledger
    data = bytearray(path.read_bytes())
    data[8192 : len(data) - 4096] = os.urandom(len(data) - 4096 - 8192)
    path.write_bytes(data)
    assert Ledger(tmp_path).parts(key) == {}
    assert len(kept(tmp_path)) == 1


def test_a_ledger_of_a_later_version_is_kept_untouched(tmp_path: Path) -> None:
    with sqlite3.connect(StatePaths(tmp_path).ledger) as db:
        db.execute(f"pragma user_version = {SCHEMA_VERSION + 1}")
        db.execute("create table news (x)")
    db.close()
    Ledger(tmp_path)
    (name,) = kept(tmp_path)
    with sqlite3.connect(tmp_path / name) as db:
        assert db.execute("select name from sqlite_master").fetchall() == [("news",)]
    db.close()


def test_two_damaged_ledgers_are_both_kept(tmp_path: Path) -> None:
    for number in range(2):
        StatePaths(tmp_path).ledger.write_bytes(b"damaged %d, not a database at all" % number * 100)
        Ledger(tmp_path).close()
    assert len(kept(tmp_path)) == 2


@pytest.mark.parametrize(
    "message", ["database or disk is full", "disk I/O error", "unable to open database file", "database is locked"]
)
def test_an_error_that_may_pass_does_not_cost_the_ledger(
    message: str, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk or too many open files say nothing about the file: given up, it would be missed."""
    key = ledger.target(TARGET, "")
    ledger.save(key, [PART])
    connect, calls = StateDb._connect, []

    def fail_once(db: StateDb) -> sqlite3.Connection:
        calls.append(db.path)
        if len(calls) == 1:
            raise sqlite3.OperationalError(message)
        return connect(db)

    monkeypatch.setattr(StateDb, "_connect", fail_once)
    try:
        Ledger(tmp_path).close()
    except StateFileError as error:
        assert message in str(error)
    monkeypatch.undo()
    assert kept(tmp_path) == []
    assert Ledger(tmp_path).parts(key) == {"train.jsonl": [PART]}


def test_the_folder_id_outlives_the_ledger(ledger: Ledger, tmp_path: Path) -> None:
    first = ledger.folder_id
    ledger.close()
    StatePaths(tmp_path).ledger.unlink()
    assert Ledger(tmp_path).folder_id == first
    assert len(first) == 32


def test_a_folder_id_that_was_cut_short_is_made_once(tmp_path: Path) -> None:
    """A crash (or another process) between making the file and writing to it leaves it empty."""
    (tmp_path / "folder_id").touch()
    assert Ledger(tmp_path).folder_id == Ledger(tmp_path).folder_id


WRITE = """
import sys
from pathlib import Path
from hubspool.push.ledger import Ledger
from hubspool.push.part import Part
from hubspool.client.target import Target
ledger = Ledger(Path(sys.argv[1]))
key = ledger.target(Target.of("http://127.0.0.1:1", "user/rows", "dataset", "main"), "")
for number in range(int(sys.argv[3])):
    parts = [Part(sys.argv[2] + half, number, "p", 0, number, 0.0) for half in ("-left", "-right")]
    ledger.save(key, parts)
    print(number, flush=True)
"""


def start_writer(folder: Path, source: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITE, str(folder), source, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_several_processes_write_to_one_ledger(tmp_path: Path) -> None:
    writers = [start_writer(tmp_path, f"w{number}", 40) for number in range(3)]
    for writer in writers:
        writer.communicate(timeout=60)
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    ledger = Ledger(tmp_path)
    parts = ledger.parts(ledger.target(TARGET, ""))
    assert {source: len(found) for source, found in parts.items()} == {
        f"w{number}-{half}": 40 for number in range(3) for half in ("left", "right")
    }
    assert kept(tmp_path) == []


def test_what_save_returned_for_is_there_after_a_kill_and_transactions_are_whole(tmp_path: Path) -> None:
    writer = start_writer(tmp_path, "w", 1_000_000)
    try:
        assert writer.stdout is not None
        while int(writer.stdout.readline()) < 50:
            pass
    finally:
        writer.send_signal(signal.SIGKILL)
        rest, _ = writer.communicate(timeout=30)
    told = 51 + rest.count("\n")
    ledger = Ledger(tmp_path)
    parts = ledger.parts(ledger.target(TARGET, ""))
    left, right = parts["w-left"], parts["w-right"]
    assert len(left) == len(right) in (told, told + 1)
    assert kept(tmp_path) == []


def test_writes_are_synced_before_they_return(ledger: Ledger) -> None:
    with ledger._db.read() as db:
        settings = [db.execute(f"pragma {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert settings == ["wal", 2]  # 2 is FULL


FORK = """
import os, sys, threading
from pathlib import Path
from hubspool.push.ledger import Ledger
from hubspool.client.target import Target
ledger = Ledger(Path(sys.argv[1]))
turns, written = threading.Semaphore(0), threading.Event()
def write():
    for turn in range(20):
        turns.acquire()
        for number in range(200):
            ledger.target(Target.of("http://127.0.0.1:1", f"user/rows{turn}-{number}", "dataset", "main"), "")
            written.set()
threading.Thread(target=write, daemon=True).start()
for number in range(20):
    written.clear()
    turns.release()
    written.wait()
    child = os.fork()
    if child == 0:
        ledger.target(Target.of("http://127.0.0.1:1", f"user/child{number}", "dataset", "main"), "")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
found = {target.repo_id for target, _ in ledger.targets().values()}
print({f"user/child{number}" for number in range(20)} <= found)
os._exit(0)
"""


def test_children_forked_in_the_middle_of_transactions_open_the_ledger(tmp_path: Path) -> None:
    """SQLite keeps its locks per process: a child's copy would count the parent's transaction for ever."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, str(tmp_path)]
    forking = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert forking.communicate(timeout=100) == ("True\n", "")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(forking.pid, signal.SIGKILL)


def test_threads_may_share_a_ledger(ledger: Ledger, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    key = ledger.target(TARGET, "")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: ledger.save(key, [replace(PART, number=number)]), range(64)))
    assert len(Ledger(tmp_path).parts(key)["train.jsonl"]) == 64


def segment_in(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    name = "train-20260102-0123456789ab-00000.jsonl"
    (folder / name).write_bytes(b"{}\n")
    return name


def test_a_segment_that_is_older_than_the_ledger_is_recovered_and_a_newer_one_is_not(tmp_path: Path) -> None:
    folder, state = tmp_path / "folder", tmp_path / "state"
    Ledger(state, folder).close()
    name = segment_in(folder)
    known = Ledger(state, folder)
    key = known.target(TARGET, "")
    assert known.recovering(key) == {}
    known.close()
    StatePaths(state).ledger.unlink()
    lost = Ledger(state, folder)
    key = lost.target(TARGET, "")
    assert lost.recovering(key) == {name: (None, 0)}
    lost.look(key, name, 7.0, 3)
    assert Ledger(state, folder).recovering(key) == {name: (7.0, 3)}
    lost.end_recovery(key, name, [replace(PART, source=name)])
    assert (lost.recovering(key), [*lost.parts(key)]) == ({}, [name])
    assert lost.recovering(lost.target(replace(TARGET, repo_id="local/other"), "")) == {name: (None, 0)}


@pytest.mark.parametrize("way", ["copy", "restore", "move"])
def test_a_copied_ledger_recovers_and_a_moved_one_does_not(way: str, tmp_path: Path) -> None:
    folder, state = tmp_path / "folder", tmp_path / "folder" / "state"
    first = Ledger(state, folder)
    key, folder_id = first.target(TARGET, ""), first.folder_id
    first.close()
    name, backup = segment_in(folder), tmp_path / "backup"
    if way == "move":
        folder.rename(backup)
        folder = backup
    else:
        shutil.copytree(folder, backup)
        if way == "copy":
            folder = backup
        else:
            StatePaths(state).ledger.unlink()
            shutil.copy2(StatePaths(backup / "state").ledger, state)
    found = Ledger(folder / "state", folder)
    assert found.recovering(key) == ({} if way == "move" else {name: (None, 0)})
    assert (found.folder_id == folder_id) is (way != "copy")
    assert Ledger(folder / "state", folder).folder_id == found.folder_id


def test_the_ledger_of_an_earlier_version_is_not_taken_for_a_lost_one(tmp_path: Path) -> None:
    folder, state = tmp_path / "folder", tmp_path / "state"
    earlier = Ledger(state)  # stores no place
    key = earlier.target(TARGET, "")
    earlier.close()
    segment_in(folder)
    assert Ledger(state, folder).recovering(key) == {}


def test_the_first_sighting_of_a_file_outlives_the_process_and_ends_with_a_change(ledger: Ledger) -> None:
    stat = Stat(5, 10**19 // 4, 7, 8)
    assert ledger.first_seen("a.jsonl", stat, 100) == 100
    again = Ledger(ledger.paths.folder)
    assert again.first_seen("a.jsonl", stat, 200) == 100
    assert again.first_seen("a.jsonl", stat._replace(size=6), 300) == 300
    assert again.first_seen("a.jsonl", stat, 400) == 400
    again.forget(["a.jsonl"])
    assert again.first_seen("a.jsonl", stat, 500) == 500


def test_that_a_removed_segment_is_on_the_hub_stays_known_for_the_newest(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "DEFAULTS", replace(ledger_module.DEFAULTS, kept_segments=2))
    key = ledger.target(TARGET, "data")
    ledger.settle(key, [(f"{name}.jsonl", Stat(10, age, 0, 1)) for name, age in (("a", 10), ("b", 30), ("c", 20))])
    ledger.save(key, [PART])
    ledger.settle(key, [(PART.source, Stat(10, 0, 0, 2))])
    ledger.forget(["c.jsonl"])
    assert ledger.settled(key).keys() == {"b.jsonl", "c.jsonl", PART.source}
    assert ledger.rows_on_hub("b.jsonl", 10) == math.inf
