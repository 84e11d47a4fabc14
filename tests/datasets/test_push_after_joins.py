"""What a push does about parts that were joined: older ledgers, edits, late commits, damaged manifests, requests."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from hubspool import CommitOperationAdd, HfApi
from hubspool.client.target import Target
from hubspool.errors import HubspoolError, SecondLookError
from hubspool.local_hub import Fault, LocalHub
from hubspool.push.compaction import Compactor, Joiner
from hubspool.push.manifest import MANIFESTS, parse
from hubspool.push.payloads import Payloads
from hubspool.push.remote import RemoteRepo
from hubspool_templates import JsonlScheduler
from tests.datasets.test_compaction import REPO, check_manifests, data_files, numbers, plant
from tests.support.days import TOMORROW
from tests.support.oracle import hub_ahead, second_look_after

Make = Callable[..., JsonlScheduler]
ahead = pytest.mark.usefixtures("hub_is_ahead")


@pytest.fixture
def compactor(hub_api: HfApi, local_hub: LocalHub) -> Compactor:
    repo = RemoteRepo(hub_api, Target(local_hub.endpoint, REPO, "dataset", "main"))
    return Compactor(repo, "data", {"jsonl": Joiner()}, pause=lambda _: False)


def fresh(compactor: Compactor) -> Compactor:
    return Compactor(compactor.repo, "data", compactor.joiners, pause=lambda _: False)


def by_a_person(api: HfApi, path: str, content: bytes) -> None:
    operation = CommitOperationAdd(path, content)
    api.create_commit(REPO, [operation], commit_message="by a person", repo_type="dataset")


def sent(scheduler: JsonlScheduler, *rows: int) -> None:
    scheduler.extend({"n": n} for n in rows)
    scheduler.flush()


def ledger_of(scheduler: JsonlScheduler) -> Path:
    (path,) = scheduler.spool_folder.glob("**/ledger.sqlite3")
    return path


def copy_of(ledger: Path, to: Path) -> bytes:
    with closing(sqlite3.connect(ledger)) as source, closing(sqlite3.connect(to)) as copy:
        source.backup(copy)
    return to.read_bytes()


def put_back(ledger: Path, content: bytes) -> None:
    """Write an earlier state into the file, as the snapshot of a disk has it."""
    for beside in ledger.parent.glob("ledger.sqlite3-*"):
        beside.unlink()
    ledger.write_bytes(content)


@ahead
def test_an_older_ledger_finds_joined_parts_that_it_does_not_know(
    make: Make, hub_api: HfApi, compactor: Compactor, tmp_path: Path
) -> None:
    with second_look_after(0):
        writer, other = make(folder="a", keep_local=True), make(folder="b")
        sent(writer, 0)
        sent(other, 10)
        assert compactor.run().files_before == 2
        earlier = copy_of(ledger_of(writer), tmp_path / "copy")
        sent(writer, 1)
        sent(other, 11)
        assert fresh(compactor).run(TOMORROW).files_before == 2
        writer.append({"n": 2})
        writer.stop(flush=False)
        put_back(ledger_of(writer), earlier)
        make(folder="a", keep_local=True).flush()
    sent(other, 12)  # which deletes what landed at a joined part
    assert numbers(hub_api) == [0, 1, 2, 10, 11, 12]


@ahead
@pytest.mark.parametrize("order", [(0, 2), (0, 2, 1)], ids=["gap", "third part in the gap"])
def test_recovery_finds_joined_parts_that_do_not_follow_each_other(
    make: Make, hub_api: HfApi, compactor: Compactor, order: tuple[int, ...]
) -> None:
    """After an earlier recovery, a part holds what was missing between two others."""
    rows = [5, 1000, 20, 3]
    lines = [b'{"n":%d}\n' % n for n in rows]
    with second_look_after(0):
        writer = make(folder="a", keep_local=True)
        writer.extend({"n": n} for n in rows)
        writer.stop(flush=False)
        (segment,) = (path.name for path in writer.spool_folder.glob("*.jsonl"))
        month = f"{segment[6:10]}-{segment[10:12]}"
        hub_api.create_repo(REPO, repo_type="dataset", exist_ok=True)
        for number, row in enumerate(order):
            by_a_person(hub_api, f"data/{month}/{segment.removesuffix('.jsonl')}-p{number:04d}.jsonl", lines[row])
        assert compactor.run().files_before == len(order)
        ledger_of(writer).unlink()
        with suppress(HubspoolError):
            make(folder="a", keep_local=True).flush()
    assert numbers(hub_api) == sorted(rows)


@ahead
def test_the_manifest_says_where_joined_lines_begin_as_their_commits_did(make: Make, compactor: Compactor) -> None:
    writer, other = make(folder="a"), make(folder="b")
    sent(writer, 0)
    sent(other, 10)
    compactor.run()
    sent(writer, 1, 2)
    sent(other, 11)
    fresh(compactor).run()
    files = compactor.repo.list_files(MANIFESTS, recursive=True)
    runs = [run for path in files for run in parse(compactor.repo.content(path))]
    assert sorted((run.first, run.starts, run.sizes) for run in runs) == [
        (0, (0,), (8,)), (0, (0,), (9,)), (1, (8,), (16,)), (1, (9,), (9,)),
    ]  # fmt: skip


@ahead
def test_what_was_sent_in_doubt_and_edited_before_the_join_is_not_sent_again(
    make: Make, hub_api: HfApi, local_hub: LocalHub, compactor: Compactor
) -> None:
    other = make(folder="b")
    sent(other, 10)
    before = {*data_files(hub_api)}

    def edit(_: object) -> None:
        (path,) = {*data_files(hub_api)} - before
        by_a_person(hub_api, path, b'{"n":7}\n')
        assert compactor.run().files_before == 2

    writer = make(folder="a", on_error=edit)
    local_hub.faults.add(Fault(route="commit", drop=True, applied=True))
    sent(writer, 0, 1)
    assert numbers(hub_api) == [7, 10]
    sent(writer, 2)
    assert numbers(hub_api) == [2, 7, 10]


@ahead
def test_rows_in_doubt_of_a_part_that_was_edited_and_joined_wait_for_their_commit(
    make: Make, hub_api: HfApi, local_hub: LocalHub, compactor: Compactor
) -> None:
    other = make(folder="b")
    sent(other, 10)
    before, edits = {*data_files(hub_api)}, [b'{"n":7}\n']

    def edit(_: object) -> None:
        if edits:
            (path,) = {*data_files(hub_api)} - before
            by_a_person(hub_api, path, edits.pop())
            assert compactor.run().files_before == 2

    writer = make(folder="a", on_error=edit)
    sent(writer, 0)
    local_hub.faults.add(Fault(route="commit", drop=True, late=math.inf))
    writer.append({"n": 1})
    with pytest.raises(SecondLookError):
        writer.flush(30)
    assert numbers(hub_api) == [7, 10]
    local_hub.faults.release()  # the commit lands after the join: only its row that the joined file lacks is sent again
    writer.flush()
    assert numbers(hub_api) == [1, 7, 10]


def late(compactor: Compactor, path: str, content: bytes) -> None:
    """Let a replica that knows no manifests commit to the path of a joined part."""
    by_a_person(compactor.repo.api, path, content)


def test_rows_that_only_a_late_part_has_are_not_deleted(hub_api: HfApi, compactor: Compactor, make: Make) -> None:
    hub_api.create_repo(REPO, repo_type="dataset")
    planted = plant(hub_api, range(1, 3), 2)
    path = data_files(hub_api)[0]
    content = compactor.repo.content(path)
    compactor.run()
    late(compactor, path, content + b'{"n":5}\n')
    sent(make(folder="a"), 0)
    fresh(compactor).run()
    assert numbers(hub_api) == sorted([*planted, 0, 5])
    fresh(compactor).run()
    assert path not in data_files(hub_api)
    assert numbers(hub_api) == sorted([*planted, 0, 5])
    check_manifests(compactor, 4)


@ahead
def test_a_late_part_is_deleted_with_the_commit_that_sends_its_rows_again(
    make: Make, hub_api: HfApi, compactor: Compactor
) -> None:
    other, acts = make(folder="b"), [lambda: None]
    writer = make(folder="a", on_before_commit=lambda _: acts.pop()() if acts else None)
    sent(writer, 0)
    sent(other, 10)
    acts.append(compactor.run)  # the push has looked, and is about to commit
    sent(writer, 1)
    assert numbers(hub_api) == [0, 1, 10]
    assert len(data_files(hub_api)) == 2


@ahead
def test_a_segment_leaves_the_disk_after_a_part_that_one_look_found_was_joined(
    make: Make, hub_api: HfApi, local_hub: LocalHub, compactor: Compactor
) -> None:
    other, writer = make(folder="b"), make(folder="a")
    sent(other, 10)
    local_hub.faults.add(Fault(route="commit", drop=True, applied=True))
    sent(writer, 0)
    writer.stop()
    assert compactor.run().files_before == 2
    (segment,) = writer.spool_folder.glob("*.jsonl")
    with second_look_after(0):
        make(folder="a").flush()
    assert not segment.exists()
    assert numbers(hub_api) == [0, 10]


def requests_of(hub: LocalHub, act: Callable[[], object]) -> list[str]:
    hub.requests.clear()
    act()
    return [record.route for record in hub.requests]


def test_a_push_that_grows_a_part_of_today_asks_nothing_after_its_commit(make: Make, local_hub: LocalHub) -> None:
    writer = make(folder="a")
    sent(writer, 0)
    for n in (1, 2):
        routes = requests_of(local_hub, lambda n=n: sent(writer, n))
        assert routes[-1] == "commit", routes
        assert routes.count("commits") == 1, routes
        assert "tree" not in routes, routes


@ahead
def test_a_push_reads_what_a_join_has_added_and_lists_nothing(
    make: Make, local_hub: LocalHub, compactor: Compactor
) -> None:
    writer, other = make(folder="a"), make(folder="b")
    sent(writer, 0)
    sent(other, 10)
    compactor.run()
    assert "tree" not in requests_of(local_hub, lambda: sent(writer, 1))
    assert writer._worker.pusher.memory.manifests.newest() is not None


def test_a_push_knows_the_months_of_its_segments_only(
    make: Make, hub_api: HfApi, local_hub: LocalHub, compactor: Compactor
) -> None:
    writer = make(folder="a")
    sent(writer, 0)
    plant(hub_api, range(1, 3), 2)
    memory = writer._worker.pusher.memory
    memory.manifests = compactor.manifests  # of a compactor, which reads all months
    compactor.run()
    assert compactor.manifests.newest() is not None
    sent(writer, 1)
    assert memory.manifests.newest() is None


@ahead
def test_a_part_that_a_person_edited_before_its_join_is_worked_out_once(
    make: Make, hub_api: HfApi, compactor: Compactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, other = make(folder="a"), make(folder="b")
    sent(writer, 0, 1)
    (path,) = data_files(hub_api)
    sent(other, 10)
    by_a_person(hub_api, path, b'{"n":7}\n')
    assert compactor.run().files_before == 2
    after, calls = Payloads.after_join, []

    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        return after(*arguments, **options)

    monkeypatch.setattr(Payloads, "after_join", counted)
    for n in range(2, 5):
        sent(writer, n)
    assert len(calls) == 1
    assert numbers(hub_api) == [2, 3, 4, 7, 10]


@ahead
def test_a_late_part_that_is_gone_is_not_looked_for_again(
    make: Make, hub_api: HfApi, local_hub: LocalHub, compactor: Compactor
) -> None:
    writer, other = make(folder="a"), make(folder="b")
    sent(writer, 0)
    (path,) = data_files(hub_api)
    content = compactor.repo.content(path)
    sent(other, 10)
    compactor.run()
    hub_api.create_commit(
        REPO,
        [CommitOperationAdd(path, content)],
        commit_message="late",
        commit_description=f"hubspool-push: {'0' * 32}\nhubspool-part: {path} 0 {len(content)} {'0' * 64}",
        repo_type="dataset",
    )
    asked = [requests_of(local_hub, lambda n=n: sent(other, n)).count("paths-info") for n in range(11, 15)]
    assert path not in data_files(hub_api)
    assert asked[0] > 0
    assert asked[-1] == 0, asked


@ahead
def test_a_replica_of_the_hub_that_does_not_know_the_new_commit_yet_is_asked_again(
    make: Make, hub_api: HfApi, local_hub: LocalHub
) -> None:
    errors: list[object] = []
    writer = make(folder="a", on_error=errors.append)
    sent(writer, 0)
    unknown = {"X-Error-Code": "RevisionNotFound"}
    local_hub.faults.add(Fault(path=r"/commits/[0-9a-f]{40}", status=404, headers=unknown, body="{}"))
    with suppress(HubspoolError):
        sent(writer, 1)
    assert len(local_hub.faults.hits) == 1
    assert not errors
    assert numbers(hub_api) == [0, 1]


@ahead
def test_a_damaged_manifest_is_named_with_a_hint(make: Make, hub_api: HfApi, compactor: Compactor) -> None:
    writer, other = make(folder="a"), make(folder="b")
    sent(writer, 0)
    sent(other, 10)
    compactor.run()
    (path,) = compactor.repo.list_files(MANIFESTS, recursive=True)
    content = compactor.repo.content(path)
    by_a_person(hub_api, path, content[: len(content) // 3])
    writer.append({"n": 1})
    with pytest.raises(HubspoolError, match="Put back the version"):
        writer.flush(5)
    assert path in str(writer.status().last_error)
    by_a_person(hub_api, path, content)
    writer.flush()
    assert numbers(hub_api) == [0, 1, 10]


@pytest.mark.parametrize(
    "content",
    [b"{", b"[1]", b"7", b'"a"', b"{}", b'{"segment":"a.jsonl","folder":"","path":"","offset":0,"first":0,"sizes":7}',
     b'{"segment":7,"folder":"","path":"","offset":0,"first":0,"sizes":[1],"digests":["a"]}'],
)  # fmt: skip
def test_a_manifest_that_is_damaged_raises_nothing_but_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(content)


def test_parts_of_today_are_not_joined_whatever_day_is_given(make: Make, compactor: Compactor) -> None:
    for folder in ("a", "b"):
        sent(make(folder=folder), 0)
    with hub_ahead(1):
        day = compactor.repo.head().at.date()
    assert compactor.run(day).files_before == 0
    with hub_ahead(1):
        assert fresh(compactor).run(day).files_before == 2
