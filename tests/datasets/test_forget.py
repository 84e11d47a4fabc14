"""`hubspool forget` removes rows everywhere while schedulers go on; other rows stay, and nothing brings them back."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from hubspool import CommitOperationAdd, CommitScheduler, HfApi
from hubspool.cli import group
from hubspool.client.target import Target
from hubspool.errors import HFValidationError, HubspoolError, SecondLookError
from hubspool.local_hub import Fault, LocalHub
from hubspool.push.compaction import Compactor, Joiner
from hubspool.push.remote import RemoteRepo, named_parts
from hubspool.push.removal import REMOVALS, Removal
from hubspool.push.remover import Remover
from hubspool_templates import JsonlScheduler, ParquetScheduler, ZipScheduler, read_rows
from tests.datasets.test_compaction import data_files
from tests.datasets.test_retain import until
from tests.support.days import TOMORROW
from tests.support.oracle import SECONDS, second_look_after

REPO = "local/votes"
VALUE = "anna-4711"
Make = Callable[..., JsonlScheduler]
Run = Callable[..., str]


@pytest.fixture
def run(local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`hubspool` with arguments; returns what it printed."""
    monkeypatch.setenv("HF_ENDPOINT", local_hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", local_hub.token)

    def call(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(group, [*arguments])
        assert result.exit_code == code, result.output
        return result.output

    return call


def rows(api: HfApi) -> list[tuple[str, int]]:
    return sorted((row["user"], row["n"]) for row in read_rows(REPO, api))


LOAD_CONFIGS = """
import json, sys, datasets
found = {}
for config in datasets.get_dataset_config_names(sys.argv[1]):
    loaded = datasets.load_dataset(sys.argv[1], config)
    found[config] = {name: sorted(split["n"]) for name, split in loaded.items()}
print(json.dumps(found))
"""


@pytest.mark.parametrize("kind", [JsonlScheduler, ParquetScheduler, ZipScheduler])
@pytest.mark.parametrize("other", [{"config": "errors"}, {"name": "likes"}])
def test_a_split_without_a_row_keeps_no_other_from_loading(
    other: dict[str, str], kind: Any, make: Make, run: Run, reader: Callable[..., str]
) -> None:
    def put(user: str, n: int, **options: str) -> None:
        with make(kind=kind, folder=f"{user}-{n}", **options) as scheduler:
            if kind is ZipScheduler:
                scheduler.add(Image.new("RGB", (2, 2)), f"{n}.png", user=user, n=n)
            else:
                scheduler.append({"user": user, "n": n})

    put(VALUE, 1)
    put("bob", 2, **other)
    run("forget", REPO, "--where", f"user={VALUE}", "--yes")
    loaded = json.loads(reader(LOAD_CONFIGS, REPO))
    assert [*loaded.values()] == [{other.get("name", "train"): [2]}]
    put("bob", 3)
    loaded = json.loads(reader(LOAD_CONFIGS, REPO))
    assert sorted(rows for splits in loaded.values() for rows in splits.values()) == [[2], [3]]
    assert "train" in loaded["default"]


def test_rows_are_removed_from_the_files_that_have_them_and_all_others_stay(
    make: Make, hub_api: HfApi, run: Run
) -> None:
    for n in range(3):
        scheduler = make(folder=f"copy-{n}")
        scheduler.extend({"user": VALUE if i == 1 else "ben", "n": 10 * n + i} for i in range(1 + n))
        scheduler.stop()
    before = rows(hub_api)
    assert "2 rows of 2 files would be removed." in run("forget", REPO, "--where", f"user={VALUE}", "--dry-run")
    assert rows(hub_api) == before
    text = run("forget", REPO, "--where", f"user={VALUE}", "--yes")
    assert "2 rows of 2 files removed." in text
    assert "late commits are checked until" in text
    assert "Not reached: clones, downloads and caches, also the Hugging Face cache of an app that reads" in text
    assert rows(hub_api) == [row for row in before if row[0] != VALUE]
    assert len(hub_api.list_repo_commits(REPO, repo_type="dataset")) == 1


def parts_of(scheduler: JsonlScheduler) -> str:
    return "".join(path.read_text() for path in scheduler.spool_folder.glob("*.jsonl"))


def everything_in(hub: LocalHub, *, is_held: bool = False) -> bytes:
    """All that the repository can show: its git objects from all refs on, and the large content that they name.

    With `is_held` also the large content that no commit names, which was uploaded for one that was not made.
    """
    assert hub._running is not None
    services = hub._running.services
    repo = services.repositories.at(f"datasets/{REPO}")
    git = ["git", "--git-dir", str(repo.git.repo.path)]
    names = subprocess.run([*git, "rev-list", "--objects", "--all"], check=True, capture_output=True).stdout
    oids = b"\n".join(line.split()[0] for line in names.splitlines())
    found = subprocess.run([*git, "cat-file", "--batch"], check=True, capture_output=True, input=oids).stdout
    pointers = {each.decode() for each in re.findall(rb"oid sha256:([0-9a-f]{64})", found)}
    for sha256 in {*pointers, *(repo.held._load() if is_held else ())}:
        size = services.contents.size(sha256)
        if size is None:  # the list has the Xet hash of a content beside its SHA-256
            assert sha256 not in pointers
            continue
        found += b"".join(services.contents.read(sha256, 0, size))
    return found


def age(api: HfApi) -> None:
    """Let all requests be an hour old."""
    files = [path for path in api.list_repo_files(REPO, repo_type="dataset") if path.startswith(REMOVALS)]
    for path in files:
        content = json.loads(Path(api.hf_hub_download(REPO, path, repo_type="dataset")).read_bytes())
        content["at"] = (datetime.fromisoformat(content["at"]) - timedelta(minutes=61)).isoformat()
        addition = CommitOperationAdd(path, json.dumps(content).encode())
        api.create_commit(REPO, [addition], commit_message="an hour later", repo_type="dataset")


def test_running_replicas_remove_pending_rows_from_their_disks_and_go_on(make: Make, hub_api: HfApi, run: Run) -> None:
    first, other = make(folder="a"), make(folder="b")
    for n, scheduler in enumerate((first, other)):
        scheduler.append({"user": VALUE, "n": n})
        scheduler.append({"user": "ben", "n": n})
        scheduler.flush()
    first.append({"user": "ben", "n": 10})
    first.append({"user": VALUE, "n": 11})
    first.append({"user": "ben", "n": 12})
    run("forget", REPO, "--where", f"user={VALUE}", "--yes")
    assert rows(hub_api) == [("ben", 0), ("ben", 1)]
    assert VALUE in parts_of(first)
    first.trigger().result(SECONDS)
    assert first.status().skipped == {}
    assert rows(hub_api) == [("ben", 0), ("ben", 1), ("ben", 10), ("ben", 12)]
    assert VALUE not in parts_of(first)
    assert first.status().pending_rows == 0
    other.append({"user": "ben", "n": 20})
    other.flush()
    assert VALUE not in parts_of(other)
    for scheduler in (first, other):
        scheduler.stop()
        assert not [*scheduler.spool_folder.glob("*.jsonl")]
    assert rows(hub_api) == [("ben", 0), ("ben", 1), ("ben", 10), ("ben", 12), ("ben", 20)]


def test_a_replica_that_reads_the_request_first_closes_its_part(
    make: Make, hub_api: HfApi, local_hub: LocalHub
) -> None:
    writer = make(folder="a")
    writer.extend([{"user": VALUE, "n": 0}, {"user": "ben", "n": 0}])
    writer.flush()
    repo = RemoteRepo(hub_api, Target(local_hub.endpoint, REPO, "dataset", "main"))
    remover, removal = Remover(repo, "", {"jsonl": Joiner()}), Removal.of({"user": VALUE}, repo.head().at)
    remover.note([removal])
    writer.append({"user": "ben", "n": 1})
    writer.trigger().result(SECONDS)
    assert writer.status().skipped == {}
    assert VALUE not in parts_of(writer)
    assert remover.remove([removal]).rows == 1
    writer.append({"user": "ben", "n": 2})
    writer.flush()
    assert rows(hub_api) == [("ben", 0), ("ben", 1), ("ben", 2)]


def test_nothing_that_the_repository_can_show_holds_the_value(
    make: Make, hub_api: HfApi, local_hub: LocalHub, run: Run
) -> None:
    writer = make(folder="a")
    for n in range(3):  # the part grows: the history has three versions of it
        writer.append({"user": VALUE, "n": n})
        writer.append({"user": "ben", "n": n})
        writer.flush()
    assert VALUE.encode() in everything_in(local_hub)
    text = run("forget", REPO, "--where", f"user={VALUE}", "--yes")
    assert "3 large files of the history removed." in text
    assert VALUE.encode() not in everything_in(local_hub, is_held=True)
    assert rows(hub_api) == [("ben", 0), ("ben", 1), ("ben", 2)]
    [removal] = [path for path in hub_api.list_repo_files(REPO, repo_type="dataset") if path.startswith(REMOVALS)]
    assert "late commits are checked until" in run("forget", REPO, "--check")
    age(hub_api)
    assert run("forget", REPO, "--check").rstrip().endswith("Done.")
    assert run("forget", REPO, "--check") == "No request waits for its second look.\n"
    assert VALUE.encode() not in everything_in(local_hub, is_held=True)
    assert removal in hub_api.list_repo_files(REPO, repo_type="dataset")


def test_the_history_of_other_branches_is_named_and_kept(
    make: Make, hub_api: HfApi, local_hub: LocalHub, run: Run
) -> None:
    writer = make(folder="a")
    writer.append({"user": VALUE, "n": 0})
    writer.flush()
    hub_api.create_branch(REPO, branch="frozen", repo_type="dataset")
    text = run("forget", REPO, "--where", f"user={VALUE}", "--yes")
    assert "Not reached: frozen, its files and its history." in text
    assert VALUE in "".join(map(str, read_rows(REPO, hub_api, revision="frozen")))


def test_commits_that_land_late_are_removed_by_the_second_look(
    make: Make, hub_api: HfApi, local_hub: LocalHub, run: Run
) -> None:
    writer, other = make(folder="a"), make(folder="b")
    writer.extend([{"user": VALUE, "n": 0}, {"user": "ben", "n": 0}])
    writer.flush()
    [part] = data_files(hub_api)
    content = Path(hub_api.hf_hub_download(REPO, part, repo_type="dataset")).read_bytes()
    run("forget", REPO, "--where", f"user={VALUE}", "--yes")
    # The part that was joined comes back, longer; and one that nobody has seen.
    for path, late in ((part, content * 2), (part.replace("-p0000", "-p0001"), content.replace(b'"n":0', b'"n":1'))):
        hub_api.create_commit(REPO, [CommitOperationAdd(path, late)], commit_message="late", repo_type="dataset")
    assert VALUE.encode() in everything_in(local_hub)
    age(hub_api)
    text = run("forget", REPO, "--check")
    assert "1 row of 1 file removed." in text
    assert "1 file that came back after a join removed." in text
    assert VALUE.encode() not in everything_in(local_hub)
    assert rows(hub_api) == [("ben", 0), ("ben", 1)]
    other.append({"user": "ben", "n": 2})
    other.flush()
    assert rows(hub_api) == [("ben", 0), ("ben", 1), ("ben", 2)]


def test_any_scheduler_makes_the_second_look(make: Make, hub_api: HfApi, local_hub: LocalHub, run: Run) -> None:
    writer = make(folder="a")
    writer.append({"user": VALUE, "n": 0})
    writer.flush()
    [part] = data_files(hub_api)
    content = Path(hub_api.hf_hub_download(REPO, part, repo_type="dataset")).read_bytes()
    run("forget", REPO, "--where", f"user={VALUE}", "--yes")
    late = CommitOperationAdd(part.replace("-p0000", "-p0001"), content)
    hub_api.create_commit(REPO, [late], commit_message="late", repo_type="dataset")
    with second_look_after(0):
        other = make(folder="b", every=0.002)
        other.append({"user": "ben", "n": 1})
        until(lambda: b'"checked":true' in everything_in(local_hub))
        other.stop()
    assert VALUE.encode() not in everything_in(local_hub)
    assert run("forget", REPO, "--check") == "No request waits for its second look.\n"
    assert rows(hub_api) == [("ben", 1)]


@pytest.mark.parametrize("lost", ["the ledger", "its newest rows"])
def test_a_ledger_that_is_lost_or_old_sends_nothing_again(
    make: Make, hub_api: HfApi, local_hub: LocalHub, run: Run, tmp_path: Path, lost: str
) -> None:
    with second_look_after(0):
        writer = make(folder="a", keep_local=True)
        writer.extend([{"user": VALUE, "n": 0}, {"user": "ben", "n": 0}])
        writer.flush()
        old = tmp_path / "old"
        shutil.copytree(writer.spool_folder, old)
        writer.extend([{"user": "ben", "n": 1}, {"user": VALUE, "n": 1}, {"user": "ben", "n": 2}])
        writer.flush()
        writer.extend([{"user": VALUE, "n": 3}, {"user": "ben", "n": 3}])
        run("forget", REPO, "--where", f"user={VALUE}", "--yes")
        writer.flush()
        writer.stop()
        for path in writer.spool_folder.glob("**/ledger.sqlite3*"):
            path.unlink()
            if lost != "the ledger" and (copy := old / path.relative_to(writer.spool_folder)).exists():
                shutil.copy(copy, path)
        again = make(folder="a", keep_local=True)
        again.append({"user": "ben", "n": 4})
        again.flush()
        again.stop()
    assert VALUE not in parts_of(again)
    assert rows(hub_api) == [("ben", n) for n in range(5)]
    assert VALUE.encode() not in everything_in(local_hub)


@pytest.mark.parametrize("lands", [True, False])
def test_rows_in_doubt_are_not_sent_again(
    make: Make, hub_api: HfApi, local_hub: LocalHub, run: Run, lands: bool
) -> None:
    writer = make(folder="a")
    writer.append({"user": "ben", "n": 0})
    writer.flush()
    writer.append({"user": VALUE, "n": 1})
    local_hub.faults.add(Fault(route="commit", status=504, late=math.inf, times=None))
    with pytest.raises(HubspoolError):
        writer.stop(timeout=5)
    assert writer._runner.loop.stop(SECONDS)  # its thread has ended
    local_hub.faults.clear()
    run("forget", REPO, "--where", f"user={VALUE}", "--yes")
    writer = make(folder="a")
    writer.append({"user": "ben", "n": 2})
    with pytest.raises(SecondLookError):
        writer.flush(SECONDS)
    assert VALUE.encode() not in everything_in(local_hub)
    if lands:
        local_hub.faults.release()
        assert rows(hub_api) == [(VALUE, 1), ("ben", 0), ("ben", 2)]
    with second_look_after(0):
        writer.flush(SECONDS)
    assert VALUE not in parts_of(writer)
    age(hub_api)
    assert run("forget", REPO, "--check").rstrip().endswith("Done.")
    assert VALUE.encode() not in everything_in(local_hub)
    assert rows(hub_api) == [("ben", 0), ("ben", 2)]
    assert writer.status().pending_rows == 0


@pytest.mark.usefixtures("hub_is_ahead")
def test_rows_of_joined_files_are_removed_and_the_files_are_joined_again(
    make: Make, hub_api: HfApi, local_hub: LocalHub, run: Run
) -> None:
    with second_look_after(0):
        writers = [make(folder=f"copy-{n}", keep_local=True) for n in range(3)]
        for n, writer in enumerate(writers):
            writer.extend({"user": VALUE if i == n else "ben", "n": 10 * n + i} for i in range(3))
            writer.flush()
        compactor = Compactor(
            RemoteRepo(hub_api, Target(local_hub.endpoint, REPO, "dataset", "main")), "data", {"jsonl": Joiner()}
        )
        assert compactor.run(TOMORROW).files_before == 3
        run("forget", REPO, "--where", f"user={VALUE}", "--yes")
        left = [("ben", 10 * n + i) for n in range(3) for i in range(3) if i != n]
        assert rows(hub_api) == left
        for n, writer in enumerate(writers):
            writer.append({"user": "ben", "n": 100 + n})
            writer.flush()
        assert compactor.run(TOMORROW + timedelta(days=40)).files_before == 5
        assert len(data_files(hub_api)) == 1
        for writer in writers:
            writer.stop()
            for path in writer.spool_folder.glob("**/ledger.sqlite3*"):
                path.unlink()
        again = [make(folder=f"copy-{n}", keep_local=True) for n in range(3)]
        for writer in again:
            writer.flush()
    assert rows(hub_api) == [*left, ("ben", 100), ("ben", 101), ("ben", 102)]
    assert VALUE.encode() not in everything_in(local_hub)


def test_rows_of_files_of_half_a_month_are_removed(hub_api: HfApi, local_hub: LocalHub, run: Run) -> None:
    hub_api.create_repo(REPO, repo_type="dataset")
    names = [
        f"data/2026-01/train-202601{day:02d}-0123456789ab-{seq:05d}-p0000.jsonl" for day in (1, 2) for seq in (0, 1)
    ]
    lines = [b'{"user":"%s","n":%d}\n' % (VALUE.encode() if n == 1 else b"ben", n) for n in range(4)]
    parts = [CommitOperationAdd(name, line) for name, line in zip(names, lines, strict=True)]
    hub_api.create_commit(REPO, parts, commit_message="planted", repo_type="dataset")
    repo = RemoteRepo(hub_api, Target(local_hub.endpoint, REPO, "dataset", "main"))
    for day in (date(2026, 1, 2), date(2026, 1, 3), date(2026, 2, 3)):
        Compactor(repo, "data", {"jsonl": Joiner()}).run(day)
    (joined,) = data_files(hub_api)
    assert joined.endswith("p0002.jsonl")
    assert "1 row of 1 file removed" in run("forget", REPO, "--where", f"user={VALUE}", "--yes")
    assert rows(hub_api) == [("ben", 0), ("ben", 2), ("ben", 3)]


@pytest.mark.parametrize("by", ["values", "a function"])
def test_a_scheduler_forgets_its_pending_rows_too(make: Make, hub_api: HfApi, local_hub: LocalHub, by: str) -> None:
    writer, other = make(folder="a"), make(folder="b")
    for n, scheduler in enumerate((writer, other)):
        scheduler.extend([{"user": VALUE, "n": n}, {"user": "ben", "n": n}])
        scheduler.flush()
    writer.extend([{"user": VALUE, "n": 2}, {"user": "ben", "n": 2}])
    report = writer.forget({"user": VALUE} if by == "values" else lambda row: row["user"] == VALUE, timeout=SECONDS)
    assert (report.rows, report.files, report.unread, report.kept) == (2, 2, [], [])
    assert VALUE not in parts_of(writer)
    assert rows(hub_api) == [("ben", 0), ("ben", 1), ("ben", 2)]
    assert VALUE.encode() not in everything_in(local_hub)
    assert writer.forget({"user": VALUE}, timeout=SECONDS).rows == 0


LOAD = """
import datasets, json, sys
found = []
for row in datasets.load_dataset(sys.argv[1], split="train"):
    row["image"] = row["image"] and row["image"].tobytes().hex()
    found.append(row)
print(json.dumps(sorted(found, key=lambda row: row["n"])))
"""
KINDS = {"parquet": ParquetScheduler, "zip": ZipScheduler}


LOAD = """
import datasets, json, sys
found = []
for row in datasets.load_dataset(sys.argv[1], split="train"):
    row["image"] = row["image"] and row["image"].tobytes().hex()
    found.append(row)
print(json.dumps(sorted(found, key=lambda row: row["n"])))
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", KINDS)
def test_rows_of_each_format_are_removed_and_the_others_load_as_before(
    make: Make, hub_api: HfApi, local_hub: LocalHub, reader: Callable[..., str], run: Run, suffix: str
) -> None:
    def put(scheduler: JsonlScheduler, user: str, n: int) -> None:
        picture = Image.new("RGB", (4, 4), (n, 0, 0))
        if suffix == "zip":
            scheduler.add(picture, "picture.png", n=n, user=user)
        else:
            scheduler.append({"n": n, "image": picture, "user": user})

    writers = [make(folder=f"copy-{n}", kind=KINDS[suffix]) for n in range(2)]
    for n, writer in enumerate(writers):
        for i in range(3):
            put(writer, VALUE if i == 1 else "ben", 10 * n + i)
        writer.flush()
    before = json.loads(reader(LOAD, REPO))
    put(writers[0], VALUE, 100)
    assert "2 rows of 2 files removed." in run("forget", REPO, "--where", f"user={VALUE}", "--yes")
    put(writers[0], "ben", 101)
    for writer in writers:
        writer.stop()
    after = json.loads(reader(LOAD, REPO))
    assert [row["n"] for row in after] == [0, 2, 10, 12, 101]
    assert after[:4] == [row for row in before if row["user"] != VALUE]
    assert not [path for writer in writers for path in writer.spool_folder.rglob("*") if path.suffix == ".jsonl"]
    assert VALUE.encode() not in everything_in(local_hub)


def test_values_inside_json_columns_of_parquet_are_found_on_the_hub_and_on_the_disk(
    make: Make, hub_api: HfApi, run: Run
) -> None:
    writer = make(folder="a", kind=ParquetScheduler)
    for n in range(2):
        writer.extend([{"meta": {"name": VALUE}, "n": n}, {"meta": "text", "n": n}, {"meta": {"name": "ben"}, "n": n}])
        if n == 0:
            writer.flush()
    assert read_rows(REPO, hub_api).columns.fields["meta"] == "json"
    where = ("--where", f"meta.name={VALUE}", "--dry-run")
    assert "1 row of 1 file would" in run("forget", REPO, *where)
    report = writer.forget(lambda row: isinstance(row["meta"], dict) and row["meta"]["name"] == VALUE, SECONDS)
    assert report.rows == 1
    assert [row["meta"] for row in read_rows(REPO, hub_api)] == 2 * ["text", {"name": "ben"}]


def test_pending_rows_that_were_removed_are_no_damage_for_verify(make: Make, hub_api: HfApi, run: Run) -> None:
    writer = make(folder="a", keep_local=True)
    writer.extend([{"user": "ben", "n": 1}, {"user": VALUE, "n": 2}])
    writer.flush()
    writer.extend([{"user": "ben", "n": 3}, {"user": VALUE, "n": 4}])
    writer.forget({"user": VALUE}, SECONDS)
    assert "Sound" in run("verify", REPO, str(writer.folder_path))
    writer.append({"user": "ben", "n": 5})
    writer.flush()
    text = run("verify", REPO, str(writer.folder_path))
    assert "Sound" in text
    assert "damage:" not in text


def test_the_new_history_names_the_parts_without_removed_rows(make: Make, hub_api: HfApi, run: Run) -> None:
    """`hubspool verify` compares them with what it says; the digest of the others would let a reader check a guess."""
    for folder, user in (("a", VALUE), ("b", "ben")):
        writer = make(folder=folder)
        writer.append({"user": user, "n": 0})
        writer.flush()
        writer.stop()
    before = {*data_files(hub_api)}
    run("forget", REPO, "--where", f"user={VALUE}", "--yes")
    (kept,) = before & {*data_files(hub_api)}
    (squashed, *_) = hub_api.list_repo_commits(REPO, repo_type="dataset")
    assert [*named_parts([squashed])] == [kept]


def test_files_of_people_are_named_and_keys_that_are_given_twice_refused(make: Make, hub_api: HfApi, run: Run) -> None:
    writer = make(folder="a")
    writer.append({"user": VALUE, "n": 0})
    writer.flush()
    names = [f"old/votes.{suffix}" for suffix in ("csv", "jsonl.gz", "tsv", "txt")]
    files = [CommitOperationAdd(name, VALUE.encode()) for name in names]
    hub_api.create_commit(REPO, files, commit_message="by hand", repo_type="dataset")
    text = run("forget", REPO, "--where", f"user={VALUE}", "--dry-run")
    assert re.findall(r"Not searched: (\S+),", text) == names
    text = run("forget", REPO, "--where", f"user={VALUE}", "--where", "user=ben", "--dry-run", code=2)
    assert "user is given with two values" in text
    assert "1 row of 1 file would" in run("forget", REPO, *2 * ("--where", f"user={VALUE}"), "--dry-run")


def test_it_asks_before_it_removes(make: Make, hub_api: HfApi, run: Run) -> None:
    writer = make(folder="a")
    writer.append({"user": VALUE, "n": 0})
    writer.flush()
    text = run("forget", REPO, "--where", f"user={VALUE}", code=2)
    assert f"Remove 1 row of 1 file of {REPO} with user={VALUE}, and the whole history of main?" in text
    assert "nothing was removed. Add --yes." in text
    assert rows(hub_api) == [(VALUE, 0)]


def test_a_function_that_fails_is_the_callers_error_and_pushes_go_on(make: Make, hub_api: HfApi) -> None:
    writer = make(folder="a")
    writer.append({"user": VALUE, "n": 0})
    with pytest.raises(RuntimeError, match=r"function given to forget\(\) raised KeyError.* columns user, n"):
        writer.forget(lambda row: bool(row["name"]), timeout=SECONDS)
    writer.flush(SECONDS)
    assert rows(hub_api) == [(VALUE, 0)]


def test_a_push_that_ends_before_it_has_overwritten_its_lines_does_so_later(
    make: Make, hub_api: HfApi, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = make(folder="a")
    writer.extend([{"user": "ben", "n": 0}, {"user": VALUE, "n": 0}])
    writer.flush()
    writer.extend([{"user": VALUE, "n": 1}, {"user": "ben", "n": 1}])
    run("forget", REPO, "--where", f"user={VALUE}", "--yes")
    with monkeypatch.context() as broken:
        broken.setattr("hubspool.push.lines.overwrite", lambda *_: (_ for _ in ()).throw(OSError(5, "killed")))
        with pytest.raises(OSError, match="killed"):
            writer.flush(SECONDS)
    assert VALUE in parts_of(writer)
    writer.flush(SECONDS)
    assert VALUE not in parts_of(writer)
    assert rows(hub_api) == [("ben", 0), ("ben", 1)]


def test_base_schedulers_have_no_rows_to_forget(make: Make) -> None:
    with pytest.raises(RuntimeError, match="keeps files"):
        make(CommitScheduler, folder="files").forget({"user": VALUE})


def test_a_value_that_no_row_has_leaves_the_history_as_it_is(
    make: Make, hub_api: HfApi, local_hub: LocalHub, run: Run
) -> None:
    """A typo must not cost the history; one that an earlier run did not get to squash is squashed by the next."""
    for n in range(2):
        with make(folder=f"copy-{n}") as scheduler:
            scheduler.append({"user": VALUE, "n": n})
    before = len(hub_api.list_repo_commits(REPO, repo_type="dataset"))
    text = run("forget", REPO, "--where", f"usr={VALUE}", "--yes")
    assert f"No file of {REPO} has a row with usr={VALUE}: its history stays as it is." in text
    assert len(hub_api.list_repo_commits(REPO, repo_type="dataset")) == before + 1  # the request, for pending rows
    local_hub.faults.add(Fault(route="super-squash", status=403, times=None))
    run("forget", REPO, "--where", f"user={VALUE}", "--yes", code=1)
    local_hub.faults.clear()
    assert len(hub_api.list_repo_commits(REPO, repo_type="dataset")) == before + 3
    assert rows(hub_api) == []
    assert "stays as it is" not in run("forget", REPO, "--where", f"user={VALUE}", "--yes")
    assert len(hub_api.list_repo_commits(REPO, repo_type="dataset")) == 1


@pytest.mark.parametrize("given", [None, {}, "user", [("user", "anna")], {5: 1}])
def test_what_chooses_no_row_is_refused_at_once(given: Any, make: Make) -> None:
    scheduler = make()
    with pytest.raises(HFValidationError, match=r"forget\(\) was given .*function"):
        scheduler.forget(given)
    assert scheduler.status().consecutive_failures == 0
