"""Rows given to `JsonlScheduler` are a dataset: each exactly once, in parts that go through Xet, with a card."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
import yaml

from hubspool import CommitOperationAdd, HfApi, SpoolFull
from hubspool.errors import HubspoolError, NotStoredError
from hubspool.local_hub import LocalHub
from hubspool.push.remote import RemoteRepo
from hubspool.spool import spool
from hubspool.spool.segment_name import SegmentName, part_rule
from hubspool_templates import JsonlScheduler, read_rows
from tests.support.oracle import second_look_after

REPO = "local/votes"
SECONDS = 60
Make = Callable[..., JsonlScheduler]


@pytest.fixture
def raw(local_hub: LocalHub) -> Callable[[str], str]:
    """What git holds at a path."""
    headers = {"Authorization": f"Bearer {local_hub.token}"}
    base = f"{local_hub.endpoint}/datasets/{REPO}/raw/main"
    return lambda path: requests.get(f"{base}/{path}", headers=headers, timeout=SECONDS).text


def numbers(api: HfApi, repo_id: str = REPO) -> list[int]:
    return sorted(row["n"] for row in read_rows(repo_id, api))


def parts(api: HfApi) -> list[str]:
    return sorted(path for path in api.list_repo_files(REPO, repo_type="dataset") if path.endswith(".jsonl"))


def segments(scheduler: JsonlScheduler) -> list[str]:
    return [path.name for path in scheduler.spool_folder.iterdir() if SegmentName.parse(path.name)]


def test_every_row_arrives_once_from_eight_threads_with_pushes_running(make: Make, hub_api: HfApi) -> None:
    committed = threading.Event()
    scheduler = make(push_after_rows=40, on_commit=lambda _: committed.set())

    def work(start: int) -> None:
        for n in range(start, start + 100, 2):
            if n == start + 50:
                assert committed.wait(SECONDS)  # the other half comes while and after pushes run
            scheduler.append({"n": n})
            scheduler.extend([{"n": n + 1}])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(0, 800, 100)))
    scheduler.stop(timeout=SECONDS)
    assert numbers(hub_api) == list(range(800))
    assert segments(scheduler) == []
    assert (scheduler.status().commits_in_repo or 0) > 1


def test_a_part_closes_after_sixteen_commits_and_the_next_goes_on(make: Make, hub_api: HfApi) -> None:
    scheduler = make()
    for n in range(34):
        scheduler.append({"n": n})
        scheduler.trigger().result(SECONDS)
    names = parts(hub_api)
    assert [name[-10:] for name in names] == ["0000.jsonl", "0001.jsonl", "0002.jsonl"]
    (segment,) = segments(scheduler)
    month = f"{segment[6:10]}-{segment[10:12]}"
    assert all(name.startswith(f"data/{month}/{segment.removesuffix('.jsonl')}-p") for name in names)
    assert [row["n"] for row in read_rows(REPO, hub_api)] == list(range(34))


def test_parts_are_large_files_by_one_rule_and_nothing_else_is(
    make: Make, hub_api: HfApi, raw: Callable[[str], str]
) -> None:
    for n in range(2):
        with make() as scheduler:
            scheduler.append({"n": n})
            scheduler.flush(SECONDS)
            scheduler.append({"n": n + 10})
    assert raw(".gitattributes").splitlines().count(part_rule()) == 1
    assert len(parts(hub_api)) >= 2
    assert all(raw(path).startswith("version https://git-lfs.github.com/spec/v1\n") for path in parts(hub_api))
    assert raw("README.md").startswith("---\n")
    commits = [commit.title for commit in hub_api.list_repo_commits(REPO, repo_type="dataset")]
    assert commits[0] == "Add 1 row"


def test_rules_that_stand_in_gitattributes_stay(make: Make, hub_api: HfApi, raw: Callable[[str], str]) -> None:
    make().flush(SECONDS)
    before = "*.png filter=lfs\n# by hand, without a newline at the end"
    hub_api.create_commit(
        REPO, [CommitOperationAdd(".gitattributes", before.encode())], commit_message="x", repo_type="dataset"
    )
    with make() as scheduler:
        scheduler.append({"n": 1})
    assert raw(".gitattributes") == f"{before}\n{part_rule()}\n"


def test_the_card_comes_with_the_first_data_and_the_dataset_loads(
    make: Make, hub_api: HfApi, load: Callable[..., dict[str, list[dict[str, Any]]]]
) -> None:
    scheduler = make()
    assert "README.md" not in hub_api.list_repo_files(REPO, repo_type="dataset")
    scheduler.append({"n": 1, "text": "ü\n", "score": 0.5, "tags": ["a"], "none": None})
    scheduler.flush(SECONDS)
    files = hub_api.list_repo_files(REPO, repo_type="dataset")
    assert "README.md" in files
    assert len(hub_api.list_repo_commits(REPO, repo_type="dataset")) == 2
    hub_api.upload_file(
        path_or_fileobj=b'[{"not": "data"}]', path_in_repo="stray.json", repo_id=REPO, repo_type="dataset"
    )
    scheduler.append({"n": 2, "text": "", "score": 1.0, "tags": [], "none": None})
    scheduler.stop()
    assert load() == {
        "train": [
            {"n": 1, "text": "ü\n", "score": 0.5, "tags": ["a"], "none": None},
            {"n": 2, "text": "", "score": 1.0, "tags": [], "none": None},
        ]
    }


def test_a_persons_readme_keeps_its_text_and_fields(make: Make, hub_api: HfApi, raw: Callable[[str], str]) -> None:
    make().flush(SECONDS)
    text = "---\nlicense: mit\npretty_name: Stimmen\n---\n# Mine\n\nWritten by hand.\n"
    hub_api.upload_file(path_or_fileobj=text.encode(), path_in_repo="README.md", repo_id=REPO, repo_type="dataset")
    with make() as scheduler:
        scheduler.append({"n": 1})
    _, front, body = raw("README.md").split("---\n", 2)
    fields = yaml.safe_load(front)
    assert body == "# Mine\n\nWritten by hand.\n"
    assert (fields["license"], fields["pretty_name"]) == ("mit", "Stimmen")
    assert fields["configs"][0]["data_files"][0]["split"] == "train"


@pytest.mark.parametrize(
    "readme",
    [
        b"---\n- a: [\n---\n",
        b"---\ndate: 2026-13-01\n---\n",
        b"---\ndataset_info:\n  features:\n  - name: x\n    struct: [1]\n---\n",
        b"---\ndataset_info:\n  features:\n  - name: x\n    list:\n---\n",
        b"\xff\xfe",
    ],
)
def test_a_broken_readme_on_the_hub_does_not_hold_up_the_rows(
    readme: bytes, make: Make, hub_api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = make()
    monkeypatch.setattr(RemoteRepo, "text", lambda view, path: readme.decode() if path == "README.md" else None)
    scheduler.append({"n": 1})
    with contextlib.suppress(HubspoolError):
        scheduler.flush(SECONDS)
    assert numbers(hub_api) == [1]


def test_schedulers_and_folders_share_one_repo(
    make: Make, hub_api: HfApi, load: Callable[..., dict[str, list[dict[str, Any]]]]
) -> None:
    schedulers = [make(folder=f"f{number}") for number in range(4)]

    def work(number: int) -> None:
        for n in range(10):
            schedulers[number].append({"n": number * 10 + n})
            if n % 3 == 0:
                schedulers[number].trigger()
        schedulers[number].stop(timeout=SECONDS)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert numbers(hub_api) == list(range(40))
    assert sorted(row["n"] for row in load()["train"]) == list(range(40))


@pytest.mark.parametrize(
    "names", [("train", "test"), ("train", "my-votes"), ("train", "train-2")], ids=["plain", "dash", "prefix"]
)
def test_two_names_in_one_repo_are_two_splits(
    names: tuple[str, str], make: Make, load: Callable[..., dict[str, list[dict[str, Any]]]]
) -> None:
    for number, name in enumerate(names):
        with make(folder=name, name=name) as scheduler:
            scheduler.append({"n": number})
    found = load()
    assert sorted(found.values(), key=str) == [[{"n": 0}], [{"n": 1}]]


def test_two_folders_in_one_repo_are_both_read(
    make: Make, load: Callable[..., dict[str, list[dict[str, Any]]]]
) -> None:
    for number in range(2):
        with make(folder=f"f{number}", path_in_repo=f"data{number}") as scheduler:
            scheduler.append({"n": number})
    assert sorted(row["n"] for rows in load().values() for row in rows) == [0, 1]


def test_extend_is_all_or_nothing(make: Make, hub_api: HfApi) -> None:
    scheduler = make()
    with pytest.raises(ValueError, match="'bad'"):
        scheduler.extend([{"n": 1}, {"n": 2, "bad": object()}])
    scheduler.extend({"n": n} for n in (3, 4))
    scheduler.extend([])
    scheduler.flush(SECONDS)
    assert numbers(hub_api) == [3, 4]


def test_a_full_disk_inside_an_extend_tells_how_many_rows_are_stored(
    make: Make, hub_api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk takes the first row of the block, a push runs, then the disk is full."""
    scheduler = make()

    class FullDisk:
        def __getattr__(self, name: str) -> object:
            return getattr(os, name)

        @staticmethod
        def write(fd: int, data: bytes) -> int:
            if len(data) > 8:
                return os.write(fd, data[:8])
            scheduler.trigger().result(SECONDS)
            raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(spool, "os", FullDisk())
    rows = [{"n": 1}, {"n": 2}]
    with pytest.raises(SpoolFull, match="only the first 1 rows") as caught:
        scheduler.extend(rows)
    monkeypatch.undo()
    scheduler.extend(rows[caught.value.stored :])  # the caller tries again
    scheduler.flush(SECONDS)
    assert numbers(hub_api) == [1, 2]


@pytest.mark.parametrize("limit", [{"push_after_rows": 3}, {"push_after_bytes": 24}], ids=str)
def test_a_push_comes_sooner_when_enough_is_waiting(limit: dict[str, int], make: Make) -> None:
    pushed = threading.Event()
    scheduler = make(on_commit=lambda event: pushed.set(), **limit)
    for n in (1, 2):
        scheduler.append({"n": n})
    assert not pushed.is_set()
    scheduler.append({"n": 3})
    assert pushed.wait(SECONDS)


def test_redact_sees_every_row_before_the_disk_does(make: Make, hub_api: HfApi) -> None:
    scheduler = make(redact=lambda row: {key: value for key, value in row.items() if key != "email"})
    scheduler.append({"n": 1, "email": "a@example.org"})
    scheduler.extend([{"n": 2, "email": "b@example.org"}])
    on_disk = b"".join((scheduler.spool_folder / name).read_bytes() for name in segments(scheduler))
    assert b"example" not in on_disk
    scheduler.flush(SECONDS)
    assert list(read_rows(REPO, hub_api)) == [{"n": 1}, {"n": 2}]


def test_a_redact_that_fails_stores_nothing(make: Make) -> None:
    def fail(row: object) -> Any:
        raise KeyError("no rule for this row")

    scheduler = make(redact=fail)
    with pytest.raises(KeyError, match="no rule"):
        scheduler.append({"secret": 1})
    assert segments(scheduler) == []


@pytest.mark.parametrize("keep", [True, False])
def test_keep_local_decides_whether_sent_files_stay(keep: bool, make: Make, hub_api: HfApi) -> None:
    first = make(keep_local=keep)
    first.append({"n": 1})
    (first.folder_path / "mine.txt").write_text("the user's\n")
    first.flush(SECONDS)
    assert len(segments(first)) == 1  # still written to
    first.stop()
    second = make(keep_local=keep)
    second.flush(SECONDS)
    assert len(segments(second)) == int(keep)
    assert (second.folder_path / "mine.txt").exists()
    assert numbers(hub_api) == [1]


def test_pending_rows_counts_what_is_not_known_to_be_on_the_hub(make: Make) -> None:
    scheduler = make()
    assert scheduler.pending_rows() == 0
    scheduler.extend([{"n": n} for n in range(5)])
    assert scheduler.pending_rows() == scheduler.status().pending_rows == 5
    scheduler.flush(SECONDS)
    assert scheduler.pending_rows() == 0
    scheduler.append({"n": 5})
    assert scheduler.status().pending_rows == 1
    scheduler.stop()
    assert scheduler.status().pending_rows == 0
    scheduler.append({"n": 6})
    assert scheduler.status().pending_rows == 1


def test_rows_after_stop_are_sent_by_the_next_start(make: Make, hub_api: HfApi) -> None:
    scheduler = make()
    scheduler.append({"n": 1})
    scheduler.stop()
    for n in (2, 3):
        scheduler.append({"n": n})
    assert numbers(hub_api) == [1]
    scheduler.spool.close()
    make().flush(SECONDS)
    assert numbers(hub_api) == [1, 2, 3]


def test_a_full_spool_refuses_rows_and_takes_them_again_once_it_was_sent(make: Make, hub_api: HfApi) -> None:
    scheduler = make(max_spool_bytes=100)
    with pytest.raises(SpoolFull, match="100 bytes"):
        for n in range(1000, 1100):
            scheduler.append({"n": n})
    scheduler.stop()
    stored = numbers(hub_api)
    assert stored == list(range(1000, 1000 + len(stored)))
    assert stored
    again = make(max_spool_bytes=100)
    again.append({"n": 1})
    again.flush(SECONDS)
    assert numbers(hub_api) == [1, *stored]


def test_a_lost_ledger_neither_loses_nor_doubles(make: Make, hub_api: HfApi) -> None:
    first = make(keep_local=True)
    for n in range(18):  # more than one part
        first.append({"n": n})
        first.trigger().result(SECONDS)
    first.append({"n": 18})
    first.stop(flush=False)
    for path in first.spool_folder.glob("ledger*"):
        path.unlink()
    with second_look_after(0):
        second = make(keep_local=True)
        second.append({"n": 19})
        second.flush(SECONDS)
    assert numbers(hub_api) == list(range(20))


def test_a_damaged_line_is_kept_and_told_and_the_rows_around_it_arrive(make: Make, hub_api: HfApi) -> None:
    first = make()
    first.extend([{"n": n} for n in (1, 2, 3)])
    (name,) = segments(first)
    path = first.spool_folder / name
    first.stop(flush=False)
    path.write_bytes(path.read_bytes().replace(b'{"n":2}', b"\0" * 7) + b'{"n": 4')  # and a torn last line
    second = make()
    try:
        second.flush(SECONDS)
    except NotStoredError as error:
        assert "damaged" in str(error)
    assert numbers(hub_api) == [1, 3]
    assert path.exists()
    assert second.flush(SECONDS) is None


def test_a_folder_for_two_repos_loses_no_row_of_either(make: Make, hub_api: HfApi) -> None:
    """Whatever is done with a shared folder: what one has sent must not be removed before the other has it too."""
    first, second = make(), make(repo_id="local/second")
    second.append({"n": 2})
    second.stop(flush=False)
    for _ in range(3):
        first.flush(SECONDS)
    make(repo_id="local/second").flush(SECONDS)
    assert 2 in numbers(hub_api, "local/second")


def test_thousands_of_segments_that_are_sent_at_once_are_forgotten_and_not_taken_for_lost(
    make: Make, hub_api: HfApi
) -> None:
    """An app that restarts often, or an outage, leaves many; each was forgotten by a transaction of its own."""
    scheduler = make()
    scheduler.last_future.result(SECONDS)
    scheduler.spool.roll_bytes = 1
    scheduler.extend([{"n": -1}])
    for n in range(1500):
        scheduler.append({"n": n})
    scheduler.spool.close()
    scheduler.flush(SECONDS)
    assert segments(scheduler) == []
    assert (scheduler.status().skipped, scheduler.pending_rows()) == ({}, 0)
    assert numbers(hub_api) == list(range(-1, 1500))
