"""`pending=`: rows on this disk that the Hub does not have yet come last, each row once although pushes run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hubspool import CommitOperationAdd, HfApi
from hubspool.client.http import HubClient
from hubspool.client.target import Target
from hubspool.errors import HFValidationError
from hubspool.local_hub import Fault, LocalHub
from hubspool.push.backlog import PendingSegments, RangeOnHub
from hubspool.push.compaction import Compactor
from hubspool.push.joiner import Joiner
from hubspool.push.remote import RemoteRepo
from hubspool.spool.destination import SpoolFolder
from hubspool_templates import JsonlScheduler, ParquetScheduler, ZipScheduler, read_rows
from hubspool_templates.joiners import JOINERS

REPO = "local/votes"
KINDS = {"jsonl": JsonlScheduler, "parquet": ParquetScheduler, "zip": ZipScheduler}
Make = Callable[..., Any]


def add(scheduler: Any, *numbers: int) -> None:
    for n in numbers:
        if isinstance(scheduler, ZipScheduler):
            scheduler.add(Image.new("RGB", (n + 1, 1)), f"{n}.png", n=n)
        elif isinstance(scheduler, ParquetScheduler):
            scheduler.append({"n": n, "image": Image.new("RGB", (n + 1, 1))})
        else:
            scheduler.append({"n": n})


def numbers(rows: Any) -> list[int]:
    """The column `n` of rows, whose pictures are as wide."""
    found = []
    for row in rows:
        assert "image" not in row or row["image"].width == row["n"] + 1
        found.append(row["n"])
    return found


def read(api: HfApi, pending: Any) -> list[int]:
    return numbers(read_rows(REPO, api, pending=pending))


@pytest.mark.usefixtures("hub_is_ahead")
@pytest.mark.parametrize("form", KINDS)
@pytest.mark.parametrize("keep_local", [False, True])
def test_rows_come_once_before_while_and_after_they_are_sent(
    form: str, keep_local: bool, make: Make, hub_api: HfApi, local_hub: LocalHub
) -> None:
    scheduler = make(kind=KINDS[form], keep_local=keep_local)
    add(scheduler, 0, 1)
    assert read(hub_api, scheduler) == [0, 1]
    scheduler.flush()
    assert read(hub_api, scheduler) == [0, 1]
    add(scheduler, 2)
    assert read(hub_api, scheduler) == read(hub_api, scheduler.folder_path) == [0, 1, 2]
    rows = read_rows(REPO, hub_api, pending=scheduler)
    scheduler.flush()
    scheduler.spool.close()
    add(scheduler, 3)
    scheduler.flush()  # the segment that `rows` reads is removed
    assert numbers(rows)[:3] == [0, 1, 2]
    add(scheduler, 4)
    other = make(kind=KINDS[form], folder="other")
    add(other, 5)
    other.flush()
    repo = RemoteRepo(hub_api, Target(local_hub.endpoint, REPO, "dataset", "main"))
    joiners = {"jsonl": Joiner(), **{suffix: joiner() for suffix, joiner in JOINERS.items()}}
    assert Compactor(repo, "", joiners).run(datetime.now(timezone.utc).date() + timedelta(days=1)).commits
    found = read(hub_api, scheduler)
    assert found[-1] == 4
    assert sorted(found) == [0, 1, 2, 3, 4, 5]


def test_a_push_between_the_look_at_the_disk_and_the_hub_changes_nothing(
    make: Make, hub_api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = make()
    add(scheduler, 0)
    scheduler.flush()
    add(scheduler, 1)
    pages = HubClient.pages
    pushed = []

    def pages_after_a_push(self: HubClient, url: str, *rest: Any) -> Any:
        if "/commits/" in url and not pushed:
            pushed.append(scheduler.flush())
            scheduler.spool.close()
            add(scheduler, 2)
            scheduler.flush()
        return pages(self, url, *rest)

    monkeypatch.setattr(HubClient, "pages", pages_after_a_push)
    reader = HfApi(endpoint=hub_api.endpoint, token=hub_api.token)
    assert read(reader, scheduler) == [0, 1, 2]
    assert pushed


def test_rows_are_there_before_their_repository_is(make: Make, hub_api: HfApi) -> None:
    scheduler = make(hf_api=HfApi(endpoint="http://127.0.0.1:9", token="x"), settle=False)
    assert read(hub_api, scheduler) == []
    add(scheduler, 0)
    assert read(hub_api, scheduler) == read(hub_api, scheduler.spool_folder) == [0]
    assert read_rows(REPO, hub_api, pending=scheduler).to_arrow().to_pylist() == [{"n": 0}]
    with pytest.raises(HFValidationError, match=r"No scheduler of .* sends rows to local/other at main"):
        read_rows("local/other", hub_api, pending=scheduler.folder_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_rows(REPO, hub_api, pending=Path("/nowhere"))


def test_the_cursor_of_a_missing_repository_reads_all_that_comes(make: Make, hub_api: HfApi) -> None:
    scheduler = make(hf_api=HfApi(endpoint="http://127.0.0.1:9", token="x"), settle=False)
    add(scheduler, 0)
    rows = read_rows(REPO, hub_api, pending=scheduler)
    assert numbers(rows) == [0]
    again = read_rows(REPO, hub_api, since=rows.cursor, pending=scheduler)  # there is none yet
    assert numbers(again) == [0]
    other = make(folder="other")
    add(other, 1)
    other.flush()
    assert numbers(read_rows(REPO, hub_api, since=rows.cursor)) == [1]
    assert numbers(read_rows(REPO, hub_api, since=again.cursor)) == [1]
    assert numbers(read_rows(REPO, hub_api, since="")) == [1]  # the file of a first start


def test_rows_that_a_person_deleted_do_not_come_back_as_pending(make: Make, hub_api: HfApi) -> None:
    scheduler = make(keep_local=True)
    add(scheduler, 0)
    scheduler.flush()
    (path,) = [path for path in hub_api.list_repo_files(REPO, repo_type="dataset") if path.endswith("-p0000.jsonl")]
    hub_api.delete_file(path, REPO, repo_type="dataset")
    add(scheduler, 1)
    scheduler.flush()
    (path,) = [path for path in hub_api.list_repo_files(REPO, repo_type="dataset") if path.endswith("-p0001.jsonl")]
    edited = [CommitOperationAdd(path, b'{"n":1}\n{"n":100}\n')]
    hub_api.create_commit(REPO, edited, commit_message="edit", repo_type="dataset")
    add(scheduler, 2)
    scheduler.flush()
    add(scheduler, 3)
    assert read(hub_api, scheduler) == [1, 100, 2, 3]
    hub_api.super_squash_history(REPO, repo_type="dataset")  # and the ledger's last commit is not among the newest
    assert read(hub_api, scheduler) == [1, 100, 2, 3]


def test_pending_rows_can_be_looked_at_before_all_are_read(make: Make, hub_api: HfApi) -> None:
    scheduler = make(kind=ZipScheduler)
    scheduler.add(Image.effect_noise((800, 800), 100), "big.png", n=799)
    rows = read_rows(REPO, hub_api, pending=scheduler)
    assert numbers(rows.last(1)) == numbers(rows.last(1)) == numbers(rows) == [799]


@pytest.mark.parametrize("applied", [True, False])
def test_rows_in_doubt_come_once(applied: bool, make: Make, hub_api: HfApi, local_hub: LocalHub) -> None:
    found: list[list[int]] = []
    scheduler = make(on_error=lambda _: found.append(read(hub_api, scheduler)))
    add(scheduler, 0)
    scheduler.flush()
    add(scheduler, 1)
    local_hub.faults.add(Fault(route="commit", drop=True, applied=applied))
    scheduler.trigger().result(60)
    assert found == [[0, 1]]  # after the lost answer, before the next attempt
    assert read(hub_api, scheduler) == [0, 1]


def test_the_split_and_the_config_count_for_pending_rows_too(make: Make, hub_api: HfApi) -> None:
    train, test = make(), make(name="test")
    add(train, 0)
    add(test, 1)
    assert read_rows(REPO, hub_api, pending=train, split="train").last(5) == [{"n": 0}]
    assert numbers(read_rows(REPO, hub_api, pending=train.folder_path, split="test")) == [1]
    train.flush()
    errors = make(config="errors", path_in_repo="errors")
    errors.append({"n": 2})
    errors.flush()
    errors.append({"n": 3})
    assert numbers(read_rows(REPO, hub_api, pending=errors, config="errors")) == [2, 3]
    assert numbers(read_rows(REPO, hub_api, pending=errors)) == [0]


def test_a_dropped_file_is_read_although_its_push_has_removed_it(make: Make, hub_api: HfApi) -> None:
    scheduler = make(kind=ZipScheduler)
    big = Image.effect_noise((800, 800), 100)
    scheduler.add(big, "big.png", n=1)
    rows = read_rows(REPO, hub_api, pending=scheduler)
    scheduler.flush()
    (row,) = rows
    assert row["image"].tobytes() == big.tobytes()


def test_where_the_hub_answers_with_an_older_commit_rows_come_from_the_disk(make: Make, hub_api: HfApi) -> None:
    scheduler = make(keep_local=True)
    add(scheduler, 0)
    scheduler.flush()
    add(scheduler, 1)
    scheduler.flush()
    found = SpoolFolder.read(scheduler.spool_folder)
    assert found is not None
    with PendingSegments(found) as segments:
        (name,) = segments.files
        assert segments.last_commit is not None
        held = [RangeOnHub(0, len(b'{"n":0}\n'))]
        assert list(segments.lines(name, held, ["an older one"])) == [b'{"n":1}\n']
        assert list(segments.lines(name, held, [segments.last_commit])) == []


def test_a_row_that_is_removed_before_it_was_sent_is_not_pending(make: Make, hub_api: HfApi) -> None:
    scheduler = make()
    add(scheduler, 0)
    scheduler.flush()
    add(scheduler, 1, 2)
    scheduler.forget({"n": 1})
    add(scheduler, 3)
    assert read(hub_api, scheduler) == [0, 2, 3]


def test_a_torn_line_is_no_row(make: Make, hub_api: HfApi) -> None:
    scheduler = make()
    add(scheduler, 0)
    segment = next(scheduler.spool_folder.glob("*.jsonl"))
    with segment.open("ab") as file:
        file.write(b'{"n": 1, "broken\n{"n"')
    assert read(hub_api, scheduler) == [0]
