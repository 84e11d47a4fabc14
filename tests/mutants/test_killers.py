"""Short tests for the mutation gate, of mechanisms whose loss shows only between the parts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
from filelock import FileLock

from hubspool import CommitPlan, CommitScheduler, HfApi
from hubspool.errors import FlushTimeout, HubspoolError
from hubspool.local_hub import Fault, LocalHub
from hubspool.push.budget import Budget
from hubspool.push.ledger import Ledger
from hubspool.push.part import Part
from hubspool.scheduling.defaults import SchedulingDefaults
from hubspool.spool.owners import remove_segment
from hubspool_templates import JsonlScheduler
from tests.support.spools import spool_of

REPO = "local/kept"
SECONDS = 30

Make = Callable[..., Any]


@pytest.fixture
def scheduler_kind() -> type[CommitScheduler]:
    return JsonlScheduler


@pytest.fixture
def rows(lines: Callable[[], list[bytes]]) -> Callable[[], list[int]]:
    """The ids in all JSON Lines files on the Hub."""
    return lambda: sorted(orjson.loads(line)["id"] for line in lines())


def segments(folder: Path) -> list[Path]:
    return sorted(folder.rglob("train-*.jsonl"))


def parts(folder: Path) -> list[Part]:
    ledger = Ledger(spool_of(folder))
    try:
        return [part for key in ledger.targets() for found in ledger.parts(key).values() for part in found]
    finally:
        ledger.close()


def test_a_segment_stays_until_its_commit_is_known(make: Make, local_hub: LocalHub) -> None:
    scheduler = make()
    scheduler.append({"id": 0})
    scheduler.spool.close()
    fault = local_hub.faults.add(Fault(route="commit", status=403, times=None))
    with pytest.raises(HubspoolError):
        scheduler.flush(SECONDS)
    assert fault in [hit.fault for hit in local_hub.faults.hits]
    assert len(segments(scheduler.folder_path)) == 1


def test_a_live_segment_stays_although_all_of_it_is_sent(make: Make, rows: Callable[[], list[int]]) -> None:
    scheduler = make()
    inodes = set()
    for each in range(2):
        scheduler.append({"id": each})
        scheduler.flush(SECONDS)
        inodes |= {path.stat().st_ino for path in segments(scheduler.folder_path)}
    assert rows() == [0, 1]
    assert len(inodes) == 1, "it was not written again either"


def test_the_intent_is_in_the_ledger_before_the_request_and_stays_until_its_outcome_is_known(
    make: Make, local_hub: LocalHub, rows: Callable[[], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = make()
    scheduler.append({"id": 0})
    seen: list[list[bool]] = []
    real = HfApi.create_commit

    def commit(api: HfApi, *args: Any, **options: Any) -> Any:
        seen.append([part.in_doubt for part in parts(scheduler.folder_path)])
        return real(api, *args, **options)

    monkeypatch.setattr(HfApi, "create_commit", commit)
    # one try, to look at what it leaves
    monkeypatch.setattr("hubspool.client.retry.can_pass", lambda policy, error: False)
    local_hub.faults.add(Fault(route="commit", drop=True, applied=True))
    with suppress(HubspoolError):
        scheduler.flush(SECONDS)
    assert local_hub.faults.hits
    assert seen == [[True]]
    assert [part.in_doubt for part in parts(scheduler.folder_path)] == [True]
    scheduler.append({"id": 1})
    scheduler.flush(SECONDS)
    assert rows() == [0, 1]


def test_a_refused_push_settles_nothing(
    make: Make, local_hub: LocalHub, read: Callable[[str], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubspool.files.RACY_NS", 0)  # a young file is never settled
    scheduler = make(CommitScheduler)
    (scheduler.folder_path / "a.bin").write_bytes(b"one")
    local_hub.faults.add(Fault(route="commit", status=403))
    with pytest.raises(HubspoolError):
        scheduler.flush(SECONDS)
    assert local_hub.faults.hits
    assert scheduler.trigger().result(SECONDS) is not None  # a flush would also compare settled files
    assert read("a.bin") == b"one"


def test_a_file_that_may_change_in_the_same_tick_is_looked_at_again(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubspool.files.RACY_NS", 3600 * 10**9)
    scheduler = make(CommitScheduler)
    (scheduler.folder_path / "a.bin").write_bytes(b"one")
    scheduler.flush(SECONDS)
    ledger = scheduler._setup.ledger
    assert [ledger.settled(key) for key in ledger.targets()] == [{}]


def test_a_repo_that_was_made_again_gets_nothing_unasked(make: Make, hub_api: HfApi) -> None:
    scheduler = make()
    scheduler.append({"id": 0})
    scheduler.flush(SECONDS)
    hub_api.delete_repo(REPO, repo_type="dataset")
    hub_api.create_repo(REPO, repo_type="dataset")
    scheduler.append({"id": 1})
    with pytest.raises(HubspoolError, match="deleted and created again"):
        scheduler.flush(SECONDS)
    assert len(hub_api.list_repo_commits(REPO, repo_type="dataset")) == 1


def test_what_somebody_else_writes_during_the_push_is_not_overwritten(
    make: Make, hub_api: HfApi, read: Callable[[str], bytes]
) -> None:
    def interfere(plan: CommitPlan) -> None:
        if intruders:
            hub_api.upload_file(
                path_or_fileobj=intruders.pop(), path_in_repo="a.jsonl", repo_id=REPO, repo_type="dataset"
            )

    intruders = [b'{"id": 7}\n']
    scheduler = make(CommitScheduler, on_before_commit=interfere)
    (scheduler.folder_path / "a.jsonl").write_bytes(b'{"id": 0}\n')
    scheduler.flush(SECONDS)
    assert not intruders
    assert read("a.jsonl") == b'{"id": 7}\n'


def test_what_a_person_put_at_a_path_of_ours_stays(make: Make, hub_api: HfApi, read: Callable[[str], bytes]) -> None:
    scheduler = make()
    scheduler.append({"id": 0})
    scheduler.flush(SECONDS)
    (part,) = parts(scheduler.folder_path)
    hub_api.upload_file(path_or_fileobj=b'{"id": 7}\n', path_in_repo=part.path, repo_id=REPO, repo_type="dataset")
    scheduler.append({"id": 1})
    with suppress(HubspoolError):
        scheduler.flush(SECONDS)
    assert read(part.path) == b'{"id": 7}\n'


def test_what_the_hub_does_not_store_is_no_successful_flush(make: Make, hub_api: HfApi) -> None:
    scheduler = make(CommitScheduler)
    hub_api.upload_file(path_or_fileobj=b"*.log\n", path_in_repo=".gitignore", repo_id=REPO, repo_type="dataset")
    (scheduler.folder_path / "a.log").write_text("one\n")
    with pytest.raises(HubspoolError, match="gitignore"):
        scheduler.flush(SECONDS)


def test_a_push_by_another_process_is_no_successful_flush(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hubspool.scheduling.folder_push.DEFAULTS", SchedulingDefaults(final_lock_wait=0.05))
    scheduler = make()
    scheduler.append({"id": 0})
    with (
        FileLock(scheduler.spool_folder / "push.lock"),
        pytest.raises(FlushTimeout),
    ):
        scheduler.flush(2)


def test_a_damaged_line_stays_here_and_its_neighbours_go(make: Make, rows: Callable[[], list[int]]) -> None:
    scheduler = make()
    for each in range(3):
        scheduler.append({"id": each})
    (segment,) = segments(scheduler.folder_path)
    data = bytearray(segment.read_bytes())
    data[data.index(b"1")] = 0
    segment.write_bytes(data)
    with suppress(HubspoolError):
        scheduler.flush(SECONDS)
    assert rows() == [0, 2]


def test_damage_on_this_disk_does_not_reach_the_rows_on_the_hub(make: Make, rows: Callable[[], list[int]]) -> None:
    scheduler = make()
    for each in range(2):
        scheduler.append({"id": each})
    scheduler.flush(SECONDS)
    (segment,) = segments(scheduler.folder_path)
    data = bytearray(segment.read_bytes())
    data[data.index(b"0")] = ord("9")
    segment.write_bytes(data)
    scheduler.append({"id": 2})
    with suppress(HubspoolError):
        scheduler.flush(SECONDS)
    assert rows() == [0, 1, 2]


def test_a_segment_that_grew_since_the_look_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "segment.jsonl"
    path.write_bytes(b"one\ntwo\n")
    assert not remove_segment(path, len(b"one\n"))
    assert path.exists()


def test_the_period_grows_with_the_writers() -> None:
    assert Budget().period(300, 1, 0.5) == 300
    assert Budget().period(300, 50, 0.5) == pytest.approx(1800)


KILLED = """
import os, signal, sys
from hubspool.spool.spool import Spool
spool = Spool(sys.argv[1])
for number in range(50):
    spool.write(b"%d\\n" % number)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_rows_outlive_a_kill_right_after_the_call(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], timeout=SECONDS, check=False)
    found = b"".join(path.read_bytes() for path in segments(tmp_path))
    assert found.splitlines() == [b"%d" % number for number in range(50)]


FORKED = """
import os, sys
from hubspool_templates import JsonlScheduler
scheduler = JsonlScheduler(sys.argv[1], sys.argv[2], every=600)
scheduler.append({"id": 0})
scheduler.flush(30)
child = os.fork()
if child == 0:
    scheduler.append({"id": 1})
    try:
        scheduler.trigger().result(25)
    finally:
        os._exit(0)
os.waitpid(child, 0)
print(len(list(scheduler.spool_folder.glob("*.jsonl"))))
sys.stdout.flush()
os._exit(0)
"""


def test_a_forks_child_has_a_thread_and_a_segment_of_its_own(
    local_hub: LocalHub, hub_api: HfApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: Callable[[], list[int]]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", local_hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", local_hub.token)
    command = [sys.executable, "-c", FORKED, REPO, str(tmp_path / "folder")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (rows(), done.stdout) == ([0, 1], "2\n"), done.stderr


FORKED_SPOOL = """
import os, sys
from hubspool.spool.spool import Spool
spool = Spool(sys.argv[1])
spool.write(b"parent\\n")
child = os.fork()
spool.write(b"child\\n" if child == 0 else b"parent again\\n")
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
"""


def test_a_forks_child_does_not_write_to_the_parents_segment(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", FORKED_SPOOL, str(tmp_path)], timeout=SECONDS, check=True)
    assert sorted(path.read_bytes() for path in segments(tmp_path)) == [b"child\n", b"parent\nparent again\n"]
