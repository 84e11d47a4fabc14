"""`retain_days`: files of past days are removed, nobody sends their rows again, and the dataset still loads."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from hubspool import CommitOperationAdd, HfApi
from hubspool.client.target import Target
from hubspool.errors import HFValidationError
from hubspool.local_hub import LocalHub
from hubspool.push.compaction import Compactor, Joiner, OldFile
from hubspool.push.remote import RemoteFile, RemoteRepo
from hubspool.push.remover import Expirer, expired
from hubspool.spool.segment_name import SegmentName, new_writer_id
from hubspool_templates import JsonlScheduler, read_rows
from tests.datasets.test_compaction import REPO, data_files, numbers
from tests.support.days import TOMORROW
from tests.support.oracle import SECONDS, second_look_after

Make = Callable[..., JsonlScheduler]
OLD = TOMORROW - timedelta(days=41)


def old_segment(scheduler: JsonlScheduler, day: date, *rows: int) -> Path:
    """Write a segment of an earlier day into a spool; return its path."""
    name = SegmentName("train", f"{day:%Y%m%d}", new_writer_id(), 0)
    path = scheduler.spool_folder / str(name)
    path.write_text("".join(f'{{"n":{n}}}\n' for n in rows))
    return path


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + SECONDS
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert holds()


def planted(api: HfApi, days: range, folder: str = "data") -> None:
    names = [f"{OLD + timedelta(days=day):%Y%m%d}-0123456789ab-00000" for day in days]
    additions = [
        CommitOperationAdd(f"{folder}/{name[:4]}-{name[4:6]}/train-{name}-p0000.jsonl", b'{"n":%d}\n' % day)
        for day, name in zip(days, names, strict=True)
    ]
    api.create_commit(REPO, additions, commit_message="planted", repo_type="dataset")


@pytest.fixture
def repo(hub_api: HfApi, local_hub: LocalHub) -> RemoteRepo:
    return RemoteRepo(hub_api, Target(local_hub.endpoint, REPO, "dataset", "main"))


def test_a_scheduler_removes_old_files_and_a_lost_ledger_does_not_bring_them_back(make: Make, hub_api: HfApi) -> None:
    with second_look_after(0):
        writer = make(folder="a", keep_local=True)
        old_segment(writer, OLD, 1, 2)
        writer.append({"n": 3})
        writer.flush()
        assert numbers(hub_api) == [1, 2, 3]
        writer.stop()
        writer = make(folder="a", keep_local=True, retain_days=30, every=0.002)
        writer._worker.removing._retain_at = 0.0  # at the next period
        until(lambda: numbers(hub_api) == [3])
        writer.stop()
        for path in writer.spool_folder.glob("**/ledger.sqlite3*"):
            path.unlink()
        again = make(folder="a", keep_local=True)
        again.append({"n": 4})
        again.flush()
        again.stop()
    assert numbers(hub_api) == [3, 4]


def test_the_newest_file_of_a_split_stays(make: Make, hub_api: HfApi, repo: RemoteRepo) -> None:
    make(folder="a")
    planted(hub_api, range(3))
    expirer = Expirer(repo, "data", {"jsonl": Joiner()}, days=1)
    assert expirer.run().files_before == 2
    assert numbers(hub_api) == [2]
    assert expirer.run().commits == []


def test_files_of_other_splits_and_folders_stay(make: Make, hub_api: HfApi, repo: RemoteRepo) -> None:
    make(folder="a")
    for folder in ("data", "data/other"):
        planted(hub_api, range(3), folder)
    expirer = Expirer(repo, "data", {"jsonl": Joiner()}, days=1, split="test")
    assert expirer.run().files_before == 0
    expirer.split = "train"
    assert expirer.run().files_before == 2
    assert len([path for path in data_files(hub_api) if path.startswith("data/other/")]) == 3


def test_joined_files_are_removed_by_their_newest_day(make: Make, hub_api: HfApi, repo: RemoteRepo) -> None:
    make(folder="a")
    planted(hub_api, range(30))
    compactor = Compactor(repo, "data", {"jsonl": Joiner()})
    compactor.run(TOMORROW)
    files = data_files(hub_api)
    expirer = Expirer(repo, "data", {"jsonl": Joiner()}, days=23)  # a joined file has up to 16 days
    expirer.run()
    left = data_files(hub_api)
    assert 0 < len(left) < len(files)
    assert set(numbers(hub_api)) >= {*range(16, 30)}
    parts = [f"data/{OLD:%Y-%m}/train-{OLD:%Y%m%d}-0123456789ab-00000-p0000.jsonl"]
    expirer.manifests.read(repo, repo.head(), parts)
    held = expirer.manifests.held(parts[0])
    assert held is not None
    assert held.size == len(b'{"n":0}\n')


def test_pending_rows_that_are_too_old_are_told_and_not_sent_and_leave_the_disk(
    make: Make, hub_api: HfApi, local_hub: LocalHub
) -> None:
    writer = make(folder="a", retain_days=30)
    old = old_segment(writer, OLD, 1, 2)
    writer.append({"n": 3})
    writer.flush()
    since = len([*local_hub.requests])
    writer.trigger().result(SECONDS)
    assert len([*local_hub.requests]) == since  # nothing is left to look at
    assert numbers(hub_api) == [3]
    assert writer.status().skipped == {old.name: "2 rows are older than retain_days=30, and are not sent"}
    assert writer.status().pending_rows == 0
    assert [row["n"] for row in read_rows(REPO, hub_api, pending=writer)] == [3]
    assert not old.exists()
    writer.stop()
    assert [*writer.spool_folder.glob("*.jsonl")] == []


def test_a_clock_that_is_ahead_takes_no_pending_rows_away(make: Make, hub_api: HfApi) -> None:
    writer = make(folder="a", retain_days=30)
    writer._clock = lambda: time.time() + 40 * 24 * 3600
    old_segment(writer, TOMORROW - timedelta(days=3), 1)
    writer.flush()
    assert numbers(hub_api) == [1]


def test_rows_of_the_last_days_stay() -> None:
    today = date(2026, 3, 10)
    days = [date(2026, 3, day) for day in (1, 7, 8, 9)]
    files = [OldFile.of(RemoteFile(f"data/train-{day:%Y%m%d}-0123456789ab-00000-p0000.jsonl", 1, "")) for day in days]
    old = expired([file for file in files if file], today, 2)
    assert [file.day.day for file in old] == [1, 7]


@pytest.mark.parametrize("days", [0, -1, 1.5, True])
def test_a_number_of_days_that_cannot_be_is_refused(make: Make, days: object) -> None:
    with pytest.raises(HFValidationError, match="retain_days"):
        make(folder="a", retain_days=days)
