"""Rows reach the repository, path, split and format that they were appended for, whoever else uses the folder."""

from __future__ import annotations

import itertools
import json
import logging
import math
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from hubspool import CommitScheduler
from hubspool.errors import FilesMissingError, HubspoolError, RepoReplacedError, SecondLookError
from hubspool.extending import Spool
from hubspool.local_hub import Fault, LocalHub
from hubspool.push import backlog
from hubspool.push.context import PushContext
from hubspool.push.events import PushResult
from hubspool.push.ledger import Ledger
from hubspool.push.moves import adopt, reroute
from hubspool.push.pusher import Pusher
from hubspool.spool.destination import SpoolFolder
from hubspool_templates import JsonlScheduler, ZipScheduler
from tests.support.destinations import KINDS, SECONDS, Make, Run, client, ids_on, numbered, put

#: What two schedulers of one folder may differ in.
OTHERS: dict[str, dict[str, Any]] = {
    "another repository": {"repo_id": "alice/second"},
    "another split": {"name": "test"},
    "another path": {"path_in_repo": "elsewhere"},
    "another branch": {"revision": "drafts"},
}


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(KINDS, 2)))
def test_schedulers_of_two_forms_share_a_folder(one: str, other: str, make: Make, hub: LocalHub) -> None:
    # A `ZipScheduler` takes every file that is put into the folder, also one that another scheduler would send.
    patterns = {"ignore_patterns": "user.jsonl"} if one == "zip" else {}
    first, second = make(KINDS[one], **patterns), make(KINDS[other], "alice/second")
    put(first, *numbered(one))
    put(second, *numbered(other))
    first.flush(SECONDS)
    second.flush(SECONDS)
    assert ids_on(hub, "alice/first") == numbered(one)
    assert ids_on(hub, "alice/second") == numbered(other)
    assert {first.status().last_error, second.status().last_error} == {None}


@pytest.mark.parametrize("difference", OTHERS)
@pytest.mark.parametrize("kind", ["jsonl", "parquet", "zip"])
def test_schedulers_of_one_form_share_a_folder(kind: str, difference: str, make: Make, hub: LocalHub) -> None:
    options = OTHERS[difference]
    if "revision" in options:
        client(hub).create_repo("alice/first", repo_type="dataset")
        client(hub).create_branch("alice/first", repo_type="dataset", branch=options["revision"])
    first, second = make(KINDS[kind]), make(KINDS[kind], **options)
    put(first, *numbered("one"))
    put(second, *numbered("other"))
    second.flush(SECONDS)
    first.flush(SECONDS)
    place = (second.repo_id, options.get("path_in_repo", "data"), options.get("revision", "main"))
    found = ids_on(hub, *place)
    if "name" not in options:
        assert found == numbered("other")
        found += ids_on(hub, "alice/first", "data")
    assert sorted(found) == [*numbered("one"), *numbered("other")]


def test_a_public_repository_gets_no_row_of_a_private_one(make: Make, hub: LocalHub) -> None:
    hidden = make(JsonlScheduler, "alice/hidden", private=True)
    shown = make(JsonlScheduler, "alice/shown", private=False)
    put(hidden, *numbered("private"))
    put(shown, *numbered("public"))
    for _ in range(2):
        shown.flush(SECONDS)
        hidden.flush(SECONDS)
    assert ids_on(hub, "alice/shown") == numbered("public")
    assert ids_on(hub, "alice/hidden") == numbered("private")


def test_a_folder_that_is_used_again_sends_its_old_rows_to_nobody_else(
    make: Make, hub: LocalHub, caplog: pytest.LogCaptureFixture
) -> None:
    old = make(JsonlScheduler, "alice/mistyped")
    old.last_future.exception(SECONDS)
    put(old, *numbered("old"))
    old.stop(flush=False)
    with caplog.at_level(logging.WARNING):
        make(JsonlScheduler, "alice/right").stop()
        new = make(JsonlScheduler, "alice/right")
    put(new, *numbered("new"))
    new.flush(SECONDS)
    assert ids_on(hub, "alice/right") == numbered("new")
    (warning,) = [each.getMessage() for each in caplog.records if "alice/mistyped" in each.getMessage()]
    assert "hubspool flush" in warning
    make(JsonlScheduler, "alice/mistyped").flush(SECONDS)
    assert ids_on(hub, "alice/mistyped") == numbered("old")


@pytest.mark.parametrize("upload", ["upload_folder", "upload_large_folder"])
def test_an_upload_of_the_folder_leaves_the_rows_out(upload: str, make: Make, hub: LocalHub, tmp_path: Path) -> None:
    scheduler = make(JsonlScheduler)
    scheduler.last_future.exception(SECONDS)
    put(scheduler, *numbered("row"))
    (tmp_path / "folder" / "notes.txt").write_text("mine\n")
    client(hub).create_repo("alice/public", repo_type="dataset")
    getattr(client(hub), upload)(repo_id="alice/public", folder_path=tmp_path / "folder", repo_type="dataset")
    assert set(client(hub).list_repo_files("alice/public", repo_type="dataset")) - {".gitattributes"} == {"notes.txt"}


@pytest.mark.parametrize("name", ["backup", "votes.spool.bak", "votes (copy)"])
@pytest.mark.parametrize("upload", ["scheduler", "zip", "upload_folder"])
def test_a_copy_of_a_spool_is_not_sent_either(
    upload: str, name: str, make: Make, hub: LocalHub, tmp_path: Path
) -> None:
    rows = make(JsonlScheduler, "alice/private")
    rows.flush(SECONDS)  # no push runs while the spool is copied
    put(rows, "private")
    folder = tmp_path / "folder"
    shutil.copytree(rows.spool_folder, folder / name)
    (folder / "notes.txt").write_text("mine\n")
    if upload == "upload_folder":
        client(hub).create_repo("alice/public", repo_type="dataset")
        client(hub).upload_folder(repo_id="alice/public", repo_type="dataset", folder_path=folder)
    else:
        make({"scheduler": CommitScheduler, "zip": ZipScheduler}[upload], "alice/public").flush(SECONDS)
    sent = [*client(hub).list_repo_files("alice/public", repo_type="dataset")]
    assert ids_on(hub, "alice/public") == []
    assert not [path for path in sent if "json" in path or "sqlite" in path]
    assert (folder / name / "destination.json").exists()


def test_after_a_restart_the_status_counts_the_rows_that_still_wait(make: Make, hub: LocalHub) -> None:
    hub.faults.add(Fault(route="commit", status=503, times=None))
    first = make(JsonlScheduler)
    put(first, "a", "b")
    first.stop(flush=False)
    again = make(JsonlScheduler)
    put(again, "c")
    assert again.status().pending_rows == 3
    hub.faults.clear()
    again.flush(SECONDS)
    assert again.status().pending_rows == 0


def test_a_file_with_the_name_of_a_segment_is_one_of_the_users_files(make: Make, hub: LocalHub, tmp_path: Path) -> None:
    name = "train-20260102-0123456789ab-00000.jsonl"
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / name).write_text('{"id": "mine"}\n')
    make(JsonlScheduler, "alice/second").flush(SECONDS)
    make(CommitScheduler).flush(SECONDS)
    assert name in client(hub).list_repo_files("alice/first", repo_type="dataset")
    assert ids_on(hub, "alice/second") == []
    assert (tmp_path / "folder" / name).exists()


def test_the_ledger_is_in_the_state_dir_that_the_caller_gives(make: Make, hub: LocalHub, tmp_path: Path) -> None:
    schedulers = [
        make(KINDS[kind], f"alice/{kind}", state_dir=tmp_path / "state") for kind in ("jsonl", "parquet", "zip")
    ]
    for scheduler in schedulers:
        put(scheduler, *numbered("row"))
        scheduler.flush(SECONDS)
        assert ids_on(hub, scheduler.repo_id) == numbered("row")
        assert not (scheduler.spool_folder / "ledger.sqlite3").exists()
    places = [tmp_path / "state" / scheduler.spool_folder.name for scheduler in schedulers]
    assert [(place / "ledger.sqlite3").exists() for place in places] == [True] * 3


def test_a_scheduler_of_ones_own_with_a_spool_sends_its_rows(make: Make, hub: LocalHub) -> None:
    """As `hubspool.extending` describes it."""

    class Own(CommitScheduler):
        def __init__(self, **options: Any) -> None:
            self.spool_name = "train"
            super().__init__(**options)
            self.spool = Spool(self.spool_folder, name="train")

    own = make(Own, path_in_repo="data")
    own.spool.write(b'{"id": "one"}\n')
    own.flush(SECONDS)
    assert ids_on(hub, "alice/first") == ["one"]
    own.spool.close()


def test_status_tells_rows_that_no_hub_ever_took(run: Run, make: Make, hub: LocalHub, tmp_path: Path) -> None:
    hub.faults.add(Fault(status=401, times=None))
    scheduler = make(JsonlScheduler)
    put(scheduler, "one", "two")
    scheduler.stop(flush=False)
    done = run("status", tmp_path / "folder")
    assert (done.returncode, done.stderr) == (0, "")
    assert "alice/first" in done.stdout
    assert "2 rows" in done.stdout
    (line,) = run("status", tmp_path / "folder", "--json").stdout.splitlines()
    assert json.loads(line)["pending_rows"] == 2
    assert hub.faults.hits


def test_status_tells_files_that_no_hub_ever_took(run: Run, make: Make, hub: LocalHub, tmp_path: Path) -> None:
    hub.faults.add(Fault(status=401, times=None))
    scheduler = make(CommitScheduler)
    put(scheduler, "one", "two")
    scheduler.stop(flush=False)
    (line,) = run("status", tmp_path / "folder", "--json").stdout.splitlines()
    assert json.loads(line)["pending_files"] == 1
    assert hub.faults.hits


@pytest.mark.parametrize("command", ["status", "flush"])
def test_a_folder_that_no_scheduler_used_is_an_error(command: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run(command, tmp_path / "empty")
    assert done.returncode == 1
    assert "is not a scheduler's folder" in done.stderr
    assert list((tmp_path / "empty").iterdir()) == []


def test_flush_goes_on_after_a_repository_that_it_cannot_write_to(
    run: Run, make: Make, hub: LocalHub, tmp_path: Path
) -> None:
    client(hub, "bob").create_repo("bob/private", repo_type="dataset", private=True)
    for kind, repo_id in (("jsonl", "alice/a"), ("parquet", "bob/private"), ("files", "alice/b"), ("zip", "alice/c")):
        patterns = {"ignore_patterns": "user.jsonl"} if kind == "zip" else {}
        scheduler = make(KINDS[kind], repo_id, **patterns)
        scheduler.last_future.exception(SECONDS)
        put(scheduler, *numbered(kind))
        scheduler.stop(flush=False)
    done = run("flush", tmp_path / "folder")
    assert done.returncode == 1
    assert "bob/private" in done.stderr
    assert "Traceback" not in done.stderr
    found = {repo_id: ids_on(hub, repo_id) for repo_id in ("alice/a", "alice/b", "alice/c")}
    assert found == {"alice/a": numbered("jsonl"), "alice/b": numbered("files"), "alice/c": numbered("zip")}


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "zip"])
def test_rows_of_a_mistyped_repository_go_where_a_person_says(
    kind: str, run: Run, make: Make, hub: LocalHub, tmp_path: Path
) -> None:
    mistyped = make(KINDS[kind], "nobody/votes")
    mistyped.last_future.exception(SECONDS)
    put(mistyped, *numbered("row"))
    if kind == "zip":
        mistyped.add(b"x" * 1_000_000, "large.bin")  # claimed: its line names a file of the spool
    mistyped.stop(flush=False)
    folder = tmp_path / "folder"
    assert run("flush", folder).returncode == 1
    done = run("flush", folder, "--from", "nobody/votes", "--to", "alice/votes")
    assert done.returncode == 0, done.stderr
    assert ids_on(hub, "alice/votes") == sorted([*numbered("row"), *(["large"] if kind == "zip" else [])])
    again = run("flush", folder)
    assert (again.returncode, again.stdout) == (0, "Nothing to send.\n")
    first, second = map(json.loads, run("status", folder, "--json").stdout.splitlines())
    assert {each["pending_rows"] for each in (first, second)} == {0}
    assert {first["moved_to"], second["moved_to"]} == {None, "alice/votes"}


def test_what_a_lost_repository_had_stays_and_rows_in_doubt_move_only_when_told_to(
    run: Run, make: Make, hub: LocalHub, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    lost = make(JsonlScheduler, "alice/lost")
    put(lost, "sent")
    lost.flush(SECONDS)
    put(lost, "doubtful")
    hub.faults.add(Fault(route="commit", status=500, times=None))
    with pytest.raises(HubspoolError):
        lost.flush(0.5)
    lost.stop(flush=False)
    put(lost, "pending")
    lost.spool.close()
    assert hub.faults.hits
    hub.faults.clear()
    client(hub).delete_repo("alice/lost", repo_type="dataset")
    done = run("flush", folder, "--from", "alice/lost", "--to", "alice/found")
    assert done.returncode == 0, done.stderr
    assert "1 rows, bytes" in done.stderr, done.stderr
    assert "1 row moved" in done.stderr, done.stderr
    assert ids_on(hub, "alice/found") == ["pending"]
    done = run("flush", folder, "--from", "alice/lost", "--to", "alice/found", "--include-doubtful")
    assert done.returncode == 0, done.stderr
    assert ids_on(hub, "alice/found") == ["doubtful", "pending"]
    assert run("flush", folder).returncode == 0
    assert ids_on(hub, "alice/found") == ["doubtful", "pending"]


@pytest.mark.parametrize("way", ["reroute", "adopt"])
def test_a_program_that_has_a_moved_segment_open_does_not_bring_it_back(way: str, make: Make, tmp_path: Path) -> None:
    """It keeps the segments of dead writers open, and looks at them once a second."""
    dead = make(JsonlScheduler, "nobody/votes")
    put(dead, "a", "b")
    dead.stop(flush=False)
    running = make(JsonlScheduler, "nobody/votes")
    rescue = running.spool.rescue
    (segment,) = running.spool_folder.glob("*.jsonl")
    rescue.keep([segment.name], {segment.name: None})
    old = SpoolFolder.read(running.spool_folder)
    assert old is not None
    (tmp_path / "new").mkdir()
    with closing(Ledger(tmp_path / "new")) as ledger:
        if way == "adopt":
            assert adopt(old, tmp_path / "new", ledger, 1)
        else:
            new = replace(old, path=tmp_path / "new", given="alice/meant")
            assert reroute(new=new, old=old, include_doubtful=False).rows == 2
    (tmp_path / "new" / segment.name).unlink()  # all of it was sent meanwhile
    assert rescue.check()
    assert (list(running.spool_folder.glob("*.jsonl")), rescue.missing) == ([], {})


def test_rows_of_a_running_program_stay_with_it(run: Run, make: Make, hub: LocalHub, tmp_path: Path) -> None:
    running = make(JsonlScheduler, "nobody/votes")
    running.last_future.exception(SECONDS)
    put(running, "one")
    done = run("flush", tmp_path / "folder", "--from", "nobody/votes", "--to", "alice/votes")
    assert done.returncode == 1
    assert "its writer is running" in done.stderr
    assert ids_on(hub, "alice/votes") == []


@pytest.mark.parametrize("options", [("--from", "a/b"), ("--to", "a/b"), ("--include-doubtful",)])
def test_the_options_of_a_move_belong_together(options: tuple[str, ...], run: Run, tmp_path: Path) -> None:
    done = run("flush", tmp_path, *options)
    assert done.returncode == 2
    assert "--from and --to belong together" in done.stderr


def test_schedulers_with_one_state_dir_share_neither_lock_nor_ledger(make: Make, hub: LocalHub, tmp_path: Path) -> None:
    repos = ["alice/first", "alice/second"]
    both = [make(JsonlScheduler, repo, state_dir=tmp_path / "state") for repo in repos]
    for scheduler in both:
        scheduler.last_future.result(SECONDS)
        put(scheduler, "one")
    hub.faults.add(Fault(route="commit", delay=math.inf, times=1))
    waiting = both[0].trigger()
    assert hub.faults.wait_for_hits()
    both[1].flush(10)
    hub.faults.clear()
    assert waiting.result(SECONDS) is not None
    for scheduler in both:
        put(scheduler, "two")
        scheduler.stop(flush=False)
    shutil.rmtree(tmp_path / "state")
    for repo in repos:  # each waits with its own rows for commits of before that may still land
        with pytest.raises(SecondLookError):
            make(JsonlScheduler, repo, state_dir=tmp_path / "state").flush(10)


def test_a_spool_that_is_moved_during_a_push_is_told_with_its_place(
    make: Make, hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = make(JsonlScheduler)
    put(scheduler, "one")
    scheduler.flush(SECONDS)
    put(scheduler, "two")
    read, moved = PushContext.read_ledger, []

    def move_and_read(context: PushContext) -> None:
        moved.append(scheduler.spool_folder.rename(tmp_path / "moved"))
        read(context)

    monkeypatch.setattr(PushContext, "read_ledger", move_and_read)
    with pytest.raises(FilesMissingError, match=str(tmp_path / "moved")):
        scheduler.flush(SECONDS)
    monkeypatch.undo()
    moved[0].rename(scheduler.spool_folder)
    scheduler.flush(SECONDS)
    assert ids_on(hub, "alice/first") == ["one", "two"]


def test_a_spool_that_is_moved_while_another_process_pushes_it_is_told_with_its_place(
    make: Make, hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = make(JsonlScheduler)
    put(scheduler, "one")
    scheduler.flush(SECONDS)
    put(scheduler, "two")
    spool, moved, count = scheduler.spool_folder, tmp_path / "moved", Pusher._result_without_a_push

    def move_and_count(pusher: Pusher, context: PushContext) -> PushResult:
        spool.rename(moved)
        return count(pusher, context)

    monkeypatch.setattr(Pusher, "_result_without_a_push", move_and_count)
    with FileLock(spool / "push.lock"):
        assert not isinstance(scheduler.trigger().exception(SECONDS), FileNotFoundError)
    assert moved.exists()
    with pytest.raises(FilesMissingError, match=str(moved)):
        scheduler.flush(SECONDS)
    moved.rename(spool)
    scheduler.flush(SECONDS)
    assert ids_on(hub, "alice/first") == ["one", "two"]


def test_a_program_with_two_schedulers_is_not_told_that_nobody_sends_the_rows_of_one(
    make: Make, hub: LocalHub, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    repos = ["alice/first", "alice/second"]
    for repo in repos:
        scheduler = make(JsonlScheduler, repo)
        scheduler.last_future.result(SECONDS)
        put(scheduler, "one")
        scheduler.stop(flush=False)
    monkeypatch.setattr(backlog, "count_lines", lambda *_: pytest.fail("another's rows were counted"))
    with caplog.at_level(logging.WARNING):
        caplog.clear()
        hub.faults.add(Fault(route="preupload", delay=1))  # the second is made while the first one pushes
        for scheduler in [make(JsonlScheduler, repo) for repo in repos]:
            scheduler.flush(SECONDS)
    assert caplog.messages == []
    assert hub.faults.hits
    assert [ids_on(hub, repo) for repo in repos] == [["one"], ["one"]]


@pytest.mark.parametrize("refused", [False, True])
def test_a_start_tells_once_of_rows_that_nobody_sends(
    refused: bool, make: Make, hub: LocalHub, caplog: pytest.LogCaptureFixture
) -> None:
    mistyped = make(JsonlScheduler, "nobody/votes")
    mistyped.last_future.exception(SECONDS)
    put(mistyped, "one")
    mistyped.stop(flush=False)
    if refused:
        hub.faults.add(Fault(status=401, times=None))
    for _ in range(2):
        make(JsonlScheduler, "alice/first").last_future.exception(SECONDS)
    told = [text for text in caplog.messages if "nobody/votes" in text and "--from nobody/votes" in text]
    assert len(told) == 1


def test_a_scheduler_that_met_a_replaced_repository_goes_on_once_a_person_has_decided(
    run: Run, make: Make, hub: LocalHub, tmp_path: Path
) -> None:
    old = make(JsonlScheduler)
    put(old, "one")
    old.flush(SECONDS)
    old.stop()
    client(hub).delete_repo("alice/first", repo_type="dataset")
    client(hub).create_repo("alice/first", repo_type="dataset")
    new = make(JsonlScheduler)
    put(new, "two")
    for _ in range(2):
        with pytest.raises(RepoReplacedError):
            new.flush(SECONDS)
    done = run("flush", tmp_path / "folder", "--from", "alice/first", "--to", "alice/first")
    assert done.returncode == 0, done.stderr
    put(new, "three")
    new.flush(SECONDS)
    assert ids_on(hub, "alice/first") == ["three", "two"]
