"""Joins of old parts that fail, come late, or meet somebody who changes the same files."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from hubspool import CommitOperationAdd, CommitOperationDelete, HfApi
from hubspool.client.target import Target
from hubspool.errors import HubspoolError
from hubspool.local_hub import Fault, LocalHub
from hubspool.push.compaction import Compactor, Joiner
from hubspool.push.remote import RemoteRepo
from hubspool.spool.segment_name import part_rule
from hubspool_templates import JsonlScheduler
from tests.datasets.test_compaction import REPO, check_manifests, data_files, fresh, numbers, plant
from tests.support.days import TOMORROW
from tests.support.oracle import second_look_after

Make = Callable[..., JsonlScheduler]
JOIN_POST = r"/commit/main$"
pytestmark = pytest.mark.usefixtures("hub_is_ahead")


@pytest.fixture
def compactor(hub_api: HfApi, local_hub: LocalHub) -> Compactor:
    repo = RemoteRepo(hub_api, Target(local_hub.endpoint, REPO, "dataset", "main"))
    return Compactor(repo, "data", {"jsonl": Joiner()}, pause=lambda _: False)


@pytest.fixture
def planted(hub_api: HfApi) -> list[int]:
    """Rows in 6 parts of two days; the card is missing, which `read_rows` does not need."""
    hub_api.create_repo(REPO, repo_type="dataset")
    return plant(hub_api, range(1, 3), 3)


class Meanwhile(Joiner):
    """Joins, and calls `act` at the end of the first join: before its commit."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = [act]

    def join(self, paths: Sequence[Path], out: Path) -> list[int]:
        offsets = super().join(paths, out)
        if self.act:
            self.act.pop()()
        return offsets


def by_a_person(api: HfApi, *operations: CommitOperationAdd | CommitOperationDelete) -> None:
    api.create_commit(REPO, operations, commit_message="by a person", repo_type="dataset")


@pytest.mark.parametrize(
    "fault",
    [
        Fault(route="commit", status=409, body='{"error": "conflict"}', times=2),
        Fault(route="commit", status=412, body='{"error": "A commit has happened since."}', times=2),
    ],
    ids=["409", "412"],
)
def test_a_join_that_is_overtaken_is_committed_again(
    hub_api: HfApi, local_hub: LocalHub, compactor: Compactor, planted: list[int], fault: Fault
) -> None:
    local_hub.faults.add(fault)
    report = compactor.run(TOMORROW)
    assert len(local_hub.faults.hits) == 2
    assert (report.files_before, len(report.commits), len(data_files(hub_api))) == (6, 1, 1)
    assert numbers(hub_api) == planted


def test_a_join_that_is_always_overtaken_is_given_up(
    hub_api: HfApi, local_hub: LocalHub, compactor: Compactor, planted: list[int]
) -> None:
    local_hub.faults.add(Fault(route="commit", status=412, body='{"error": "no"}', times=None))
    assert compactor.run(TOMORROW).commits == []
    assert len(local_hub.faults.hits) == compactor.limits.join_attempts
    local_hub.faults.clear()
    assert numbers(hub_api) == planted
    assert len(data_files(hub_api)) == 6


@pytest.mark.parametrize(
    ("fault", "applied"),
    [
        (Fault(route="commit", drop=True, applied=True), True),
        (Fault(route="commit", status=504, applied=True), True),
        (Fault(route="commit", status=504), False),
        (Fault(route="commit", drop=True, late=math.inf), False),
    ],
    ids=["lost answer", "504 applied", "504", "late"],
)
def test_an_unknown_outcome_of_a_join_doubles_nothing(
    hub_api: HfApi, local_hub: LocalHub, compactor: Compactor, planted: list[int], fault: Fault, applied: bool
) -> None:
    local_hub.faults.add(fault)
    with pytest.raises(HubspoolError):
        compactor.run(TOMORROW)
    assert len(data_files(hub_api)) == (1 if applied else 6)
    assert numbers(hub_api) == planted
    assert fresh(compactor).run(TOMORROW).files_before == (0 if applied else 6)
    local_hub.faults.release()  # the late commit has a parent, and is refused
    assert len(data_files(hub_api)) == 1
    assert numbers(hub_api) == planted


def test_a_part_that_a_person_edits_before_the_commit_stays_as_it_is(
    hub_api: HfApi, compactor: Compactor, planted: list[int]
) -> None:
    path = data_files(hub_api)[0]
    compactor.joiners = {"jsonl": Meanwhile(lambda: by_a_person(hub_api, CommitOperationAdd(path, b'{"n":7}\n')))}
    assert compactor.run(TOMORROW).commits == []
    assert len(data_files(hub_api)) == 6
    assert numbers(hub_api) == [7, *planted[1:]]
    assert compactor.run(TOMORROW).files_before == 6
    assert numbers(hub_api) == [7, *planted[1:]]


def test_a_part_that_a_person_deletes_before_the_commit_does_not_come_back(
    hub_api: HfApi, compactor: Compactor, planted: list[int]
) -> None:
    path = data_files(hub_api)[0]
    compactor.joiners = {"jsonl": Meanwhile(lambda: by_a_person(hub_api, CommitOperationDelete(path)))}
    compactor.run(TOMORROW)
    assert numbers(hub_api) == planted[1:]


def test_what_a_person_takes_out_of_a_joined_file_does_not_come_back(
    make: Make, hub_api: HfApi, compactor: Compactor
) -> None:
    writer, other = make(folder="a", keep_local=True), make(folder="b")
    for n in range(2):
        writer.append({"n": n})
        other.append({"n": 10 + n})
        writer.flush()
        other.flush()
    compactor.run(TOMORROW)
    (joined,) = data_files(hub_api)
    kept = [line for line in compactor.repo.content(joined).splitlines(keepends=True) if line != b'{"n":1}\n']
    by_a_person(hub_api, CommitOperationAdd(joined, b"".join(kept)))
    writer.append({"n": 2})
    writer.flush()
    assert numbers(hub_api) == [0, 2, 10, 11]
    writer.stop()
    again = make(folder="a", keep_local=True)
    again.append({"n": 3})
    again.flush()
    assert numbers(hub_api) == [0, 2, 3, 10, 11]


def test_what_a_person_edits_before_the_join_is_joined_and_not_sent_again(
    make: Make, hub_api: HfApi, compactor: Compactor
) -> None:
    writer, other = make(folder="a"), make(folder="b")
    writer.extend([{"n": 0}, {"n": 1}])
    writer.flush()
    (path,) = data_files(hub_api)
    other.append({"n": 10})
    other.flush()
    by_a_person(hub_api, CommitOperationAdd(path, b'{"n":7}\n'))
    assert compactor.run(TOMORROW).files_before == 2
    writer.append({"n": 2})
    writer.flush()
    assert numbers(hub_api) == [2, 7, 10]
    assert writer.status().pending_rows == 0


def test_of_two_compactors_one_makes_the_join(hub_api: HfApi, compactor: Compactor, planted: list[int]) -> None:
    other = fresh(compactor)
    reports = []
    compactor.joiners = {"jsonl": Meanwhile(lambda: reports.append(other.run(TOMORROW)))}
    assert compactor.run(TOMORROW).commits == []
    assert reports[0].files_before == 6
    assert len(data_files(hub_api)) == 1
    assert numbers(hub_api) == planted


def test_what_is_joined_was_read_at_the_commit_that_listed_it(
    hub_api: HfApi, local_hub: LocalHub, compactor: Compactor, planted: list[int]
) -> None:
    """The answer of a branch may be older than its listing; a row less in a joined file would be a row lost."""
    path = data_files(hub_api)[0]
    by_a_person(hub_api, CommitOperationAdd(path, b'{"n":1000}\n{"n":5}\n'))
    local_hub.faults.add(Fault(route="resolve", path="/resolve/main/", stale=1, times=None))
    local_hub.requests.clear()
    assert compactor.run(TOMORROW).files_before == 6
    local_hub.faults.clear()
    assert not any("/main/" in request.path for request in local_hub.requests.of("resolve"))
    assert numbers(hub_api) == [5, *planted]


def test_a_commit_that_lands_after_its_part_was_joined_is_deleted_by_the_next_push(
    make: Make, hub_api: HfApi, local_hub: LocalHub, compactor: Compactor
) -> None:
    writer, other = make(folder="a"), make(folder="b")
    other.append({"n": 10})
    other.flush()
    writer.append({"n": 0})
    local_hub.faults.add(Fault(route="commit", drop=True, late=math.inf))
    writer.flush()  # the first answer is lost; the same bytes are sent again
    assert len(local_hub.faults.hits) == 1
    late = [path for path in data_files(hub_api) if b'{"n":0}' in compactor.repo.content(path)]
    writer.append({"n": 1})
    writer.flush()
    assert compactor.run(TOMORROW).files_before == 3
    local_hub.faults.release()
    assert [path for path in data_files(hub_api) if "joined" not in path] == late
    assert numbers(hub_api) == [0, 1, 10]
    other.append({"n": 11})
    other.flush()
    assert late[0] not in data_files(hub_api)
    assert numbers(hub_api) == [0, 1, 10, 11]


def test_the_compactor_deletes_a_late_part_and_does_not_join_it(
    hub_api: HfApi, compactor: Compactor, planted: list[int]
) -> None:
    late = data_files(hub_api)[0]
    content = compactor.repo.content(late)
    compactor.run(TOMORROW)
    more = "data/2026-01/train-20260103-0123456789ab-00000-p0000.jsonl"
    by_a_person(hub_api, CommitOperationAdd(late, content), CommitOperationAdd(more, b'{"n":1}\n'))
    report = fresh(compactor).run(TOMORROW)
    assert (report.ghosts, report.files_before) == (1, 0)
    assert numbers(hub_api) == [1, *planted]


@pytest.mark.parametrize("status", [409, 412])
def test_a_deletion_of_late_parts_that_is_overtaken_is_made_again(
    hub_api: HfApi, local_hub: LocalHub, compactor: Compactor, planted: list[int], status: int
) -> None:
    late = data_files(hub_api)[0]
    content = compactor.repo.content(late)
    compactor.run(TOMORROW)
    by_a_person(hub_api, CommitOperationAdd(late, content))
    fault = Fault(route="commit", status=status, body='{"error": "A commit has happened since."}', times=2)
    local_hub.faults.add(fault)
    assert compactor.run(TOMORROW).ghosts == 1
    assert len(local_hub.faults.hits) == 2
    assert late not in data_files(hub_api)
    assert numbers(hub_api) == planted


def test_the_joined_file_is_sent_before_the_newest_commit_is_read(
    hub_api: HfApi, local_hub: LocalHub, compactor: Compactor, planted: list[int]
) -> None:
    """Others commit while it is sent, so a commit that was read before would be an old one."""
    by_a_person(hub_api, CommitOperationAdd(".gitattributes", f"{part_rule()}\n".encode()))
    local_hub.faults.add(Fault(route="commit", status=412, body='{"error": "A commit has happened since."}'))
    local_hub.requests.clear()
    assert compactor.run(TOMORROW).files_before == 6
    routes = [request.route for request in local_hub.requests]
    sent, commit = routes.index("xet-shard"), routes.index("commit")
    newest = max(index for index, route in enumerate(routes[:commit]) if route == "commits")
    assert sent < newest
    assert (routes.count("xet-shard"), routes.count("commit")) == (1, 2), "it is not sent again"
    assert numbers(hub_api) == planted


def test_three_writers_and_two_compactors_at_once(make: Make, hub_api: HfApi, compactor: Compactor) -> None:
    writers = [make(folder=f"copy-{n}") for n in range(3)]
    planted = plant(hub_api, range(1, 32), 2)
    ended, errors = threading.Event(), []

    def join() -> None:
        while not ended.is_set():
            try:
                fresh(compactor).run(TOMORROW)
            except HubspoolError as error:
                errors.append(error)

    def write(number: int) -> None:
        for n in range(4):
            writers[number].append({"n": 100 * number + n})
            writers[number].flush()

    compactors = [threading.Thread(target=join) for _ in range(2)]
    threads = [threading.Thread(target=write, args=(n,)) for n in range(3)]
    for thread in (*compactors, *threads):
        thread.start()
    for thread in threads:
        thread.join(60)
    ended.set()
    for thread in compactors:
        thread.join(60)
    assert errors == []
    titles = [commit.title for commit in hub_api.list_repo_commits(REPO, repo_type="dataset")]
    assert any(title.startswith("Join") for title in titles)
    assert numbers(hub_api) == sorted([*planted, *(100 * number + n for number in range(3) for n in range(4))])
    assert [writer.status().pending_rows for writer in writers] == [0, 0, 0]


def test_a_lost_state_folder_sends_nothing_again(
    make: Make, hub_api: HfApi, compactor: Compactor, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"folder": "a", "keep_local": True, "state_dir": tmp_path / "state"}
    with second_look_after(0):
        writer, other = make(**options), make(folder="b")
        for n in range(3):
            writer.append({"n": n})
            other.append({"n": 10 + n})
            writer.flush()
            other.flush()
        writer.append({"n": 4})
        writer.stop(flush=False)
        compactor.run(TOMORROW)
        (tmp_path / "state").rename(tmp_path / "lost")
        again = make(**options)
        again.append({"n": 3})
        again.flush()
        again.stop()
    assert numbers(hub_api) == [0, 1, 2, 3, 4, 10, 11, 12]


def test_rows_after_a_join_go_to_the_next_part_at_once(make: Make, hub_api: HfApi, compactor: Compactor) -> None:
    """A part that somebody else removed would be looked at again a minute later."""
    writer, other = make(folder="a"), make(folder="b")
    for scheduler, n in ((writer, 0), (other, 10)):
        scheduler.append({"n": n})
        scheduler.flush()
    assert compactor.run(TOMORROW).files_before == 2
    writer.append({"n": 1})
    writer.trigger().result(30)
    assert numbers(hub_api) == [0, 1, 10]


def test_a_commit_whose_answer_was_lost_is_not_sent_again_after_its_part_was_joined(
    make: Make, hub_api: HfApi, local_hub: LocalHub, compactor: Compactor
) -> None:
    other = make(folder="b")
    other.append({"n": 10})
    other.flush()
    reports = []
    writer = make(folder="a", on_error=lambda _: reports.append(compactor.run(TOMORROW)))
    local_hub.faults.add(Fault(route="commit", drop=True, applied=True))
    writer.append({"n": 0})
    writer.flush()
    assert reports[0].files_before == 2
    assert len(data_files(hub_api)) == 1
    assert numbers(hub_api) == [0, 10]
    assert writer.status().pending_rows == 0


def test_rows_that_land_in_a_part_after_its_join_are_sent_in_the_next(
    make: Make, hub_api: HfApi, compactor: Compactor
) -> None:
    other, acts = make(folder="b"), [lambda: None]
    writer = make(folder="a", on_before_commit=lambda _: acts.pop()() if acts else None)
    for scheduler, n in ((writer, 0), (other, 10)):
        scheduler.append({"n": n})
        scheduler.flush()
    reports = []
    acts.append(lambda: reports.append(compactor.run(TOMORROW)))  # the push has looked, and is about to commit
    writer.append({"n": 1})
    writer.flush()
    assert reports[0].files_before == 2
    assert numbers(hub_api) == [0, 1, 10]


def test_an_edit_between_the_check_and_the_commit_of_a_join_is_not_lost(
    hub_api: HfApi, compactor: Compactor, planted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, commit = data_files(hub_api)[0], compactor.repo.commit
    edits = [CommitOperationAdd(path, b'{"n":7}\n')]

    def edited(*arguments: Any) -> Any:
        if edits:
            by_a_person(hub_api, edits.pop())
        return commit(*arguments)

    monkeypatch.setattr(compactor.repo, "commit", edited)
    assert compactor.run(TOMORROW).commits == []
    assert numbers(hub_api) == [7, *planted[1:]]


def test_a_lost_ledger_believes_the_manifest_and_not_what_stands_at_a_joined_part(
    make: Make, hub_api: HfApi, compactor: Compactor
) -> None:
    with second_look_after(0):
        writer, other = make(folder="a", keep_local=True), make(folder="b")
        for scheduler, n in ((writer, 0), (other, 10)):
            scheduler.append({"n": n})
            scheduler.flush()
        path = next(path for path in data_files(hub_api) if compactor.repo.content(path) == b'{"n":0}\n')
        compactor.run(TOMORROW)
        writer.append({"n": 1})
        writer.stop(flush=False)
        by_a_person(hub_api, CommitOperationAdd(path, b'{"n":0}\n{"n":1}\n'))  # a late commit
        for ledger in writer.spool_folder.glob("**/ledger.sqlite3*"):
            ledger.unlink()
        make(folder="a", keep_local=True).flush()
    assert numbers(hub_api) == [0, 1, 10]


def test_a_process_that_joins_files_of_days_names_their_parts(hub_api: HfApi, compactor: Compactor) -> None:
    hub_api.create_repo(REPO, repo_type="dataset")
    planted = plant(hub_api, range(1, 3), 2)
    for day in (date(2026, 1, 2), date(2026, 1, 3), date(2026, 2, 3)):
        assert len(fresh(compactor).run(day).commits) == 1
    assert numbers(hub_api) == planted
    check_manifests(compactor, 4)
