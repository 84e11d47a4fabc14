"""What a push sends: frozen prefixes, whole lines, no empty commit, and no other file held up by one."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import wait
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from tensorboardX import SummaryWriter

from hubspool import CommitEvent, CommitPlan, CommitScheduler, HfApi
from hubspool.client.retry import RetryPolicy
from hubspool.errors import HubspoolError, NotStoredError
from hubspool.local_hub import Fault, LocalHub
from hubspool.push.budget import Budget
from hubspool_templates import JsonlScheduler

REPO = "local/kept"
SECONDS = 60
NEVER = datetime.min.replace(tzinfo=timezone.utc)

Make = Callable[..., CommitScheduler]
Read = Callable[[str], bytes]


@pytest.fixture
def files(hub_api: HfApi) -> Callable[[], list[str]]:
    """Names on the Hub but for .gitattributes."""
    return lambda: [path for path in hub_api.list_repo_files(REPO, repo_type="dataset") if path != ".gitattributes"]


def add(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="") as file:
        file.write(text)


def test_files_stand_below_path_in_repo_in_one_commit(make: Make, read: Read, commits: Callable[[], int]) -> None:
    scheduler = make(path_in_repo="runs/one/")
    contents = {"a.csv": b"x,y\n1,2\n", "sub/deep/b.bin": os.urandom(300_000), "empty.bin": b"", "ö 空.txt": b"line\n"}
    for name, content in contents.items():
        (scheduler.folder_path / name).parent.mkdir(parents=True, exist_ok=True)
        (scheduler.folder_path / name).write_bytes(content)
    scheduler.flush(SECONDS)
    assert {name: read(f"runs/one/{name}") for name in contents} == contents
    assert commits() == 1


def test_patterns_choose_the_files(make: Make, files: Callable[[], list[str]]) -> None:
    scheduler = make(allow_patterns=["*.txt", "logs/*"], ignore_patterns="*secret*")
    for name in ("a.txt", "b.csv", "logs/c.csv", "logs/secret.txt"):
        add(scheduler.folder_path / name, "x\n")
    scheduler.flush(SECONDS)
    assert files() == ["a.txt", "logs/c.csv"]


def test_a_state_folder_inside_the_folder_is_not_sent(
    make: Make, files: Callable[[], list[str]], tmp_path: Path
) -> None:
    scheduler = make(state_dir=tmp_path / "folder" / "state")
    add(scheduler.folder_path / "a.txt", "x\n")
    scheduler.flush(SECONDS)
    assert [*(scheduler.folder_path / "state").glob("*/ledger.sqlite3")]
    assert files() == ["a.txt"]


def test_folders_that_share_a_state_dir_have_a_ledger_each(
    make: Make, files: Callable[[], list[str]], read: Read, tmp_path: Path
) -> None:
    """Their files have the same paths; one ledger took each for a rewritten version of the other, with every push."""
    folders = [tmp_path / "one", tmp_path / "two"]
    both = [make(folder_path=folder, state_dir=tmp_path / "state") for folder in folders]
    for number in range(3):
        for scheduler in both:
            add(scheduler.folder_path / "x.jsonl", f'{{"from": "{scheduler.folder_path.name}", "n": {number}}}\n')
            scheduler.flush(SECONDS)
    rows = [row for path in files() for row in read(path).splitlines()]
    assert len(rows) == len({*rows}) == 6


@pytest.mark.parametrize("suffix", ["jsonl", "log", "bin"])
def test_bytes_that_come_after_the_snapshot_are_in_the_next_commit(
    suffix: str, make: Make, read: Read, commits: Callable[[], int]
) -> None:
    late = ['{"n": 2}\n']

    def grow(plan: CommitPlan) -> None:
        if late:
            add(path, late.pop())

    scheduler = make(on_before_commit=grow)
    path = scheduler.folder_path / f"rows.{suffix}"
    add(path, '{"n": 1}\n')
    scheduler.trigger().result(SECONDS)
    assert read(path.name) == b'{"n": 1}\n'
    scheduler.trigger().result(SECONDS)
    assert read(path.name) == b'{"n": 1}\n{"n": 2}\n'
    assert commits() == 2


def test_half_a_line_is_not_sent_before_it_is_whole(make: Make, read: Read, files: Callable[[], list[str]]) -> None:
    scheduler = make()
    names = ["rows.jsonl", "rows.csv", "rows.txt", "rows.json"]
    whole = {"rows.jsonl": '{"a": 1}\n', "rows.csv": 'a,b\n1,"x\ny"\n', "rows.txt": "one\n", "rows.json": '{"a": 1}\n'}
    for name in names:
        add(scheduler.folder_path / name, whole[name] + '{"half')
    scheduler.trigger().result(SECONDS)
    assert {name: read(name).decode() for name in names} == whole
    assert scheduler.status().pending_bytes == 4 * len('{"half')


def test_what_follows_the_last_newline_goes_along_at_the_end_where_it_is_a_row(make: Make, read: Read) -> None:
    scheduler = make()
    for name, tail in {"a.jsonl": '{"b": 2}', "b.jsonl": '{"half', "c.txt": "rest", "d.csv": "1,2"}.items():
        add(scheduler.folder_path / name, ("{}\n" if name.endswith("l") else "x,y\n") + tail)
    scheduler.flush(SECONDS)
    assert [read(name) for name in ("a.jsonl", "b.jsonl", "c.txt", "d.csv")] == [
        b'{}\n{"b": 2}', b"{}\n", b"x,y\nrest", b"x,y\n1,2",
    ]  # fmt: skip
    add(scheduler.folder_path / "a.jsonl", '\n{"c": 3}\n')
    add(scheduler.folder_path / "b.jsonl", ' row": 1}\n')
    scheduler.flush(SECONDS)
    assert (read("a.jsonl"), read("b.jsonl")) == (b'{}\n{"b": 2}\n{"c": 3}\n', b'{}\n{"half row": 1}\n')


def test_a_json_document_is_committed_whole_and_replaced_whole(
    make: Make, read: Read, files: Callable[[], list[str]]
) -> None:
    scheduler = make()
    for text in ('{\n  "epoch": 1\n}\n', '{\n  "epoch": 2\n}\n'):
        (scheduler.folder_path / "state.json").write_text(text)
        scheduler.flush(SECONDS)
        assert read("state.json").decode() == text
    assert files() == ["state.json"]


def test_a_json_document_on_one_line_is_replaced_whole_too(
    make: Make, read: Read, files: Callable[[], list[str]]
) -> None:
    """What `json.dump` writes: one object, no newline at the end, rewritten each time."""
    scheduler = make()
    for text in ('{"epoch": 1}', '{"epoch": 2, "best": true}'):
        (scheduler.folder_path / "state.json").write_text(text)
        scheduler.flush(SECONDS)
    assert files() == ["state.json"]
    assert read("state.json") == b'{"epoch": 2, "best": true}'


def test_nothing_new_makes_no_commit_and_no_post(make: Make, local_hub: LocalHub, commits: Callable[[], int]) -> None:
    scheduler = make()
    for name in ("a.txt", "b.bin", "sub/c.json"):
        add(scheduler.folder_path / name, "{}\n")
    assert scheduler.flush(SECONDS) is not None
    local_hub.requests.clear()
    assert scheduler.flush(SECONDS) is None
    assert scheduler.flush(SECONDS) is None
    assert list(local_hub.requests) == []
    assert commits() == 1


def test_a_restart_with_the_same_folder_sends_nothing_again(
    make: Make, local_hub: LocalHub, commits: Callable[[], int]
) -> None:
    first = make()
    add(first.folder_path / "a.txt", "one\n")
    add(first.folder_path / "b.bin", "x" * 100_000)
    first.stop()
    local_hub.requests.clear()
    assert make().flush(SECONDS) is None
    assert commits() == 1
    assert {record.method for record in local_hub.requests} <= {"GET"}


def test_touched_files_with_the_same_content_make_no_commit(make: Make, commits: Callable[[], int]) -> None:
    scheduler = make()
    add(scheduler.folder_path / "a.bin", "x")
    add(scheduler.folder_path / "b.csv", "x\n")
    scheduler.flush(SECONDS)
    for path in scheduler.folder_path.glob("*.*"):
        path.touch()
    assert scheduler.flush(SECONDS) is None
    assert commits() == 1


def test_a_local_deletion_changes_nothing_on_the_hub(make: Make, read: Read, commits: Callable[[], int]) -> None:
    scheduler = make()
    add(scheduler.folder_path / "a.txt", "one\n")
    scheduler.flush(SECONDS)
    (scheduler.folder_path / "a.txt").unlink()
    assert scheduler.flush(SECONDS) is None
    assert read("a.txt") == b"one\n"


def test_newlines_in_images_and_event_files_are_not_rows(make: Make) -> None:
    events: list[CommitEvent] = []
    scheduler = make(on_commit=events.append)
    add(scheduler.folder_path / "a.txt", "one\ntwo\n")
    (scheduler.folder_path / "a.png").write_bytes(b"\n" * 100)
    with SummaryWriter(str(scheduler.folder_path)) as writer:
        writer.add_text("notes", "\n" * 100)
    scheduler.flush(SECONDS)
    assert sum(len(event.paths) for event in events) == 3
    assert sum(event.rows_new for event in events) == 2


def test_hooks_are_told_what_was_committed_and_may_choose_the_message(make: Make, hub_api: HfApi) -> None:
    plans: list[CommitPlan] = []
    events: list[CommitEvent] = []
    threads: list[str] = []

    def note(event: CommitEvent) -> None:
        events.append(event)
        threads.append(threading.current_thread().name)
        raise ValueError("a hook may fail")

    scheduler = make(on_before_commit=plans.append, on_commit=note, commit_message=lambda plan: f"{plan.rows_new} rows")
    add(scheduler.folder_path / "a.txt", "one\ntwo\n")
    first = scheduler.flush(SECONDS)
    add(scheduler.folder_path / "a.txt", "three\n")
    scheduler.flush(SECONDS)
    assert [(plan.paths, plan.bytes_total, plan.bytes_new, plan.rows_new) for plan in plans] == [
        (("a.txt",), 8, 8, 2),
        (("a.txt",), 14, 6, 1),
    ]
    assert first is not None
    assert (events[0].oid, events[0].paths, events[0].bytes_new, events[0].rows_new) == (first.oid, ("a.txt",), 8, 2)
    assert all(name.startswith("hubspool-push") for name in threads)
    assert [commit.title for commit in hub_api.list_repo_commits(REPO, repo_type="dataset")][:2] == ["1 rows", "2 rows"]


def test_a_hook_that_refuses_stops_the_commit_and_nothing_is_in_doubt(
    make: Make, read: Read, commits: Callable[[], int]
) -> None:
    refuse = [True]

    def before(plan: CommitPlan) -> None:
        if refuse.pop() if refuse else False:
            raise PermissionError("not now")

    scheduler = make(on_before_commit=before)
    add(scheduler.folder_path / "a.txt", "one\n")
    with pytest.raises(PermissionError, match="not now"):
        scheduler.flush(SECONDS)
    assert "not now" in (scheduler.status().last_error or "")
    scheduler.flush(SECONDS)
    assert read("a.txt") == b"one\n"
    assert commits() == 1


def test_a_message_function_that_fails_leaves_nothing_in_doubt(make: Make) -> None:
    def message(plan: CommitPlan) -> str:
        raise ZeroDivisionError("message")

    scheduler = make(commit_message=message)
    add(scheduler.folder_path / "a.txt", "one\n")
    with pytest.raises(ZeroDivisionError):
        scheduler.flush(SECONDS)
    ledger = scheduler._setup.ledger
    assert [part.in_doubt for key in ledger.targets() for parts in ledger.parts(key).values() for part in parts] in (
        [],
        [False],
    )


# -- one bad file does not hold up the others


def test_a_file_that_vanishes_during_the_push_does_not_hold_up_the_others(
    make: Make, files: Callable[[], list[str]]
) -> None:
    def vanish(plan: CommitPlan) -> None:
        (scheduler.folder_path / "gone.txt").unlink(missing_ok=True)

    scheduler = make(on_before_commit=vanish)
    for name in ("a.txt", "gone.txt", "z.txt"):
        add(scheduler.folder_path / name, "one\n")
    with contextlib.suppress(HubspoolError):
        scheduler.trigger().result(SECONDS)
    assert files() == ["a.txt", "z.txt"]


def test_a_file_that_is_cut_short_during_the_push_does_not_hold_up_the_others(
    make: Make, files: Callable[[], list[str]]
) -> None:
    """A log that is rotated, a state file that is rewritten in place again and again."""

    def cut(plan: CommitPlan) -> None:
        (scheduler.folder_path / "b.bin").write_bytes(b"")

    scheduler = make(on_before_commit=cut)
    for name in ("a.txt", "b.bin", "z.txt"):
        add(scheduler.folder_path / name, "one\n")
    with contextlib.suppress(HubspoolError):
        scheduler.trigger().result(SECONDS)
    assert set(files()) >= {"a.txt", "z.txt"}


def test_a_file_that_cannot_be_read_is_named_and_sent_when_it_can(
    make: Make, files: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = make()
    for name in ("a.txt", "closed.txt"):
        add(scheduler.folder_path / name, "one\n")
    real = os.open

    def refuse(path: Any, *args: Any, **options: Any) -> int:
        if Path(path).name == "closed.txt":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **options)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(NotStoredError, match=r"closed.txt") as caught:
        scheduler.flush(SECONDS)
    assert list(caught.value.reasons) == list(scheduler.status().skipped) == ["closed.txt"]
    assert files() == ["a.txt"]
    monkeypatch.setattr(os, "open", real)
    scheduler.flush(SECONDS)
    assert files() == ["a.txt", "closed.txt"]
    assert scheduler.status().skipped == {}


@pytest.mark.parametrize("name", [b"two\nlines.txt", b"back\\slash.txt", b"not utf-8 \xff.txt", b".cache/x.txt"])
def test_a_name_that_the_hub_does_not_take_sets_only_that_file_aside(
    name: bytes, make: Make, files: Callable[[], list[str]]
) -> None:
    scheduler = make()
    add(scheduler.folder_path / "a.txt", "one\n")
    add(scheduler.folder_path / os.fsdecode(name), "two\n")
    with pytest.raises(NotStoredError) as caught:
        scheduler.flush(SECONDS)
    assert list(caught.value.reasons) == [name.decode("utf-8", "backslashreplace")]
    assert files() == ["a.txt"]
    assert scheduler.status().pending_files == 1


def test_a_file_that_the_hub_refuses_is_set_aside_alone(
    make: Make, hub_api: HfApi, local_hub: LocalHub, files: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Hub answers 400 to a commit that holds it, and to no other."""
    scheduler = make()
    real = HfApi.create_commit

    def commit(api: HfApi, repo_id: str, operations: list[Any], **options: Any) -> Any:
        if any(operation.path_in_repo == "bad.txt" for operation in operations):
            local_hub.faults.add(Fault(route="commit", status=400, body='{"error": "bad.txt is not welcome"}'))
        return real(api, repo_id, operations, **options)

    monkeypatch.setattr(HfApi, "create_commit", commit)
    for name in ("a.txt", "b.txt", "bad.txt", "c.txt", "d.txt"):
        add(scheduler.folder_path / name, f"{name}\n")
    with pytest.raises(NotStoredError, match="not welcome") as caught:
        scheduler.flush(SECONDS)
    assert list(caught.value.reasons) == ["bad.txt"]
    assert files() == ["a.txt", "b.txt", "c.txt", "d.txt"]
    assert len(local_hub.faults.hits) >= 2


def test_a_readme_that_the_hub_refuses_does_not_hold_up_the_data(make: Make, files: Callable[[], list[str]]) -> None:
    scheduler = make()
    add(scheduler.folder_path / "README.md", "---\n- no mapping: [\n---\n")
    add(scheduler.folder_path / "a.txt", "one\n")
    with pytest.raises(HubspoolError, match="README"):
        scheduler.flush(SECONDS)
    assert files() == ["a.txt"]


def test_what_the_repos_gitignore_leaves_out_is_told_and_makes_no_commit(
    make: Make, hub_api: HfApi, files: Callable[[], list[str]], commits: Callable[[], int]
) -> None:
    scheduler = make()
    hub_api.upload_file(path_or_fileobj=b"*.log\n", path_in_repo=".gitignore", repo_id=REPO, repo_type="dataset")
    add(scheduler.folder_path / "a.log", "one\n")
    with pytest.raises(NotStoredError, match="gitignore"):
        scheduler.flush(SECONDS)
    assert commits() == 1
    assert list(scheduler.status().skipped) == ["a.log"]
    add(scheduler.folder_path / "b.txt", "two\n")
    scheduler.trigger().result(SECONDS)
    assert files() == [".gitignore", "b.txt"]


def test_an_error_of_a_look_at_the_hub_is_no_fault_of_the_files(
    make: Make, hub_api: HfApi, local_hub: LocalHub, files: Callable[[], list[str]]
) -> None:
    """The guard's question fails once: the push is repeated, nothing counts as refused."""
    scheduler = make()
    hub_api.session.retry = RetryPolicy(attempts=1)
    add(scheduler.folder_path / "a.txt", "one\n")
    local_hub.faults.add(Fault(route="paths-info", status=503))
    scheduler.flush(SECONDS)
    assert len(local_hub.faults.hits) == 1
    assert files() == ["a.txt"]


def test_more_files_than_one_commit_takes_all_arrive(make: Make, files: Callable[[], list[str]]) -> None:
    scheduler = make()
    for number in range(1100):
        (scheduler.folder_path / f"{number}.txt").write_text(f"{number}\n")
    scheduler.flush(SECONDS)
    assert len(files()) == 1100


class Crowded(CommitScheduler):
    """A scheduler for a Hub that takes ten commits an hour; of two writers each has one token."""

    budget = Budget(commits=10)


def test_among_other_writers_a_period_waits_for_its_turn_and_a_trigger_takes_a_token(
    make: Make, local_hub: LocalHub, tmp_path: Path, commits: Callable[[], int]
) -> None:
    schedulers = [make(Crowded, folder_path=tmp_path / name, every=0.002) for name in ("one", "two")]
    for number, scheduler in enumerate(schedulers):
        add(scheduler.folder_path / f"{number}.txt", "first\n")
        scheduler.flush(SECONDS)
    assert commits() == 2
    first = schedulers[0]
    local_hub.requests.clear()
    add(first.folder_path / "0.txt", "second\n")
    first._runner.loop.postpone(0)  # a period is over
    # It looks who else writes, and leaves: its share is a commit every twelve minutes.
    assert local_hub.requests.wait_for(lambda request: request.route == "commits")
    assert first.last_future.result(SECONDS) is None
    assert local_hub.requests.of("commit") == []
    assert (first.status().next_push_at or NEVER) > datetime.now(timezone.utc) + timedelta(minutes=10)
    assert first.status().pending_files == 1
    first.trigger().result(SECONDS)
    assert commits() == 3
    add(first.folder_path / "0.txt", "third\n")
    held = first.trigger()
    assert not wait([held], 0.5).done
    assert first.flush(SECONDS) is not None  # out of the reserve, and the held push with it
    assert held.done()
    assert commits() == 4


def test_a_clock_that_is_hours_ahead_of_the_hub_counts_all_writers(make: Make, tmp_path: Path) -> None:
    schedulers = [make(Crowded, folder_path=tmp_path / name) for name in ("one", "two", "three")]
    for scheduler in schedulers:
        add(scheduler.folder_path / f"{scheduler.folder_path.name}.txt", "first\n")
        scheduler.flush(SECONDS)
    last: Any = schedulers[-1]
    last._clock = lambda: time.time() + 2 * 3600
    add(last.folder_path / "three.txt", "second\n")
    last.flush(SECONDS)
    assert last._worker.pusher.result.writers == 3


class Eager(JsonlScheduler):
    """A scheduler for a Hub that takes twenty commits an hour."""

    budget = Budget(commits=20)


def test_push_after_rows_does_not_use_up_the_hour(
    make: Make, commits: Callable[[], int], lines: Callable[[], list[bytes]]
) -> None:
    scheduler: Any = make(Eager, push_after_rows=1)
    loop = scheduler._runner.loop
    for n in range(15):
        scheduler.append({"n": n})
        is_put_off = loop._requests_from > time.monotonic() + 1
        wait([scheduler.last_future], 0.3 if is_put_off else SECONDS)
    assert 2 <= commits() <= 4  # a fifth of the hour's; the next one is due in three minutes
    assert scheduler.pending_rows() > 0
    assert len(loop._waiting) == 1  # not one for each row
    scheduler.flush(SECONDS)
    assert len(lines()) == 15
    assert commits() <= 6


def test_on_a_hub_of_this_machine_a_lone_writer_keeps_its_own_period(make: Make) -> None:
    scheduler = make(every=0.1)
    for text in ("first\n", "second\n"):
        add(scheduler.folder_path / "a.txt", text)
        scheduler.flush(SECONDS)
    due = scheduler.status().next_push_at
    assert due is not None
    assert due < datetime.now(timezone.utc) + timedelta(seconds=10)
