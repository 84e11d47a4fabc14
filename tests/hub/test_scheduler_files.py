"""Files as apps keep them: rewritten, unfinished, with stray quotes, mapped into memory, replaced by a pipe."""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hubspool import CommitPlan, CommitScheduler
from hubspool.cli.flush import scheduler_from
from hubspool.errors import NotStoredError
from hubspool.files import Stat
from hubspool_templates import TrainingLogs

SECONDS = 60

Make = Callable[..., CommitScheduler]
Contents = Callable[[], dict[str, bytes]]


def versions(scheduler: CommitScheduler, contents: Contents, name: str, *texts: str) -> dict[str, bytes]:
    """Write each text over the file and flush; each must be the file's content on the Hub then."""
    for text in texts:
        (scheduler.folder_path / name).write_text(text)
        scheduler.flush(SECONDS)
        assert contents()[name].decode() == text
    return contents()


REWRITTEN = {
    "state.json": ('{"epoch": 1}\n', '{"epoch": 2}\n', '{\n  "epoch": 3\n}'),
    "count.txt": ("7", "8", "10\n"),
    "board.csv": ("name,score\na,1\n", "name,score\nb,2\na,1\n", "name,score\n"),
    "sub/metrics.csv": ("step,loss\n1,0.5\n", "step,loss,lr\n1,0.5,\n2,0.4,0.1\n", "step,loss,lr\n"),
}


@pytest.mark.parametrize("name", REWRITTEN)
def test_a_versioned_file_keeps_its_name_however_often_the_app_rewrites_it(
    name: str, make: Make, contents: Contents
) -> None:
    scheduler = make(versioned=["state.json", "count.txt", "*.csv"])
    (scheduler.folder_path / "sub").mkdir()
    assert list(versions(scheduler, contents, name, *REWRITTEN[name])) == [name]


def test_a_file_that_becomes_versioned_later_gets_its_own_name_back(make: Make, contents: Contents) -> None:
    before = make()
    for text in ("a,b\n1,2\n", "a,b\n3,4\n", "a,b\n5,6\n"):
        (before.folder_path / "board.csv").write_text(text)
        before.flush(SECONDS)
    before.stop()
    found = versions(make(versioned="board.csv"), contents, "board.csv", "a,b\n7,8\n", "a,b\n")
    assert len(found) == 3  # with the two that were kept beside it before


def test_a_versioned_file_is_a_new_version_of_what_another_life_left(make: Make, contents: Contents) -> None:
    first = make(versioned="*.txt")
    versions(first, contents, "count.txt", "7\n")
    first.stop()
    second = make(folder="fresh disk", versioned="*.txt")
    assert list(versions(second, contents, "count.txt", "1\n", "2\n")) == ["count.txt"]


def test_a_flush_from_the_command_line_knows_which_files_are_versioned(
    make: Make, contents: Contents, tmp_path: Path
) -> None:
    scheduler = make(versioned=["*.csv"])
    versions(scheduler, contents, "board.csv", "a,b\n1,2\n")
    scheduler.stop()
    (scheduler.folder_path / "board.csv").write_text("a,b\n3,4\n")
    recipe = json.loads(json.dumps(scheduler.recipe()))
    again = scheduler_from(recipe, scheduler.folder_path, None, scheduler.api.token)
    again.flush(SECONDS)
    again.stop()
    assert contents() == {"board.csv": b"a,b\n3,4\n"}


def test_elsewhere_both_are_kept_and_one_warning_names_the_option(
    make: Make, contents: Contents, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = make()
    for text in ("a,b\n1,2\n", "a,b\n3,4\n", "a,b\n5,6\n"):
        (scheduler.folder_path / "board.csv").write_text(text)
        scheduler.flush(SECONDS)
    assert len(contents()) == 3
    told = [record.message for record in caplog.records if "versioned=" in record.message]
    assert len(told) == 1
    assert "board.csv" in told[0]


def test_training_logs_version_a_log_that_begins_anew_and_let_the_others_grow(make: Make, contents: Contents) -> None:
    scheduler = make(TrainingLogs, path_in_repo="")
    versions(
        scheduler,
        contents,
        "metrics.csv",
        "step,loss\n1,0.5\n",
        "step,loss,lr\n1,0.5,\n",
        "step,loss,lr\n1,0.5,\n2,3,4\n",
    )
    (scheduler.folder_path / "train.log").write_text("one\ntw")
    scheduler.trigger().result(SECONDS)
    assert contents()["train.log"] == b"one\n"
    assert sorted(contents()) == ["metrics.csv", "train.log"]


def test_a_json_that_was_one_line_and_is_pretty_printed_later_arrives_whole(make: Make, contents: Contents) -> None:
    scheduler = make()
    texts = ('{"epoch": 1}\n', '{\n  "epoch": 1\n}', '{"epoch": 2}', '{\n  "epoch": 3\n}')
    assert list(versions(scheduler, contents, "state.json", *texts)) == ["state.json"]


def test_rows_in_a_json_that_became_a_document_arrive_whole(make: Make, contents: Contents) -> None:
    """Two rows make it line data, until its content says otherwise."""
    scheduler = make()
    versions(scheduler, contents, "rows.json", '{"n": 1}\n{"n": 2}\n', '[{"n": 1},\n {"n": 2}]')


def test_the_first_row_of_a_fresh_disk_does_not_replace_the_rows_of_the_last_one(
    make: Make, contents: Contents
) -> None:
    first = make()
    versions(first, contents, "feedback.json", '{"n": 1}\n{"n": 2}\n')
    first.stop()
    second = make(folder="fresh disk")
    for row in ('{"n": 3}\n', '{"n": 4}\n'):
        with (second.folder_path / "feedback.json").open("a") as file:
            file.write(row)
        second.flush(SECONDS)
    found = contents()
    assert found.pop("feedback.json") == b'{"n": 1}\n{"n": 2}\n'
    assert list(found.values()) == [b'{"n": 3}\n{"n": 4}\n']


def test_rows_in_a_json_that_begins_anew_with_one_row_are_kept(make: Make, contents: Contents) -> None:
    scheduler = make()
    versions(scheduler, contents, "feedback.json", '{"n": 1}\n{"n": 2}\n')
    (scheduler.folder_path / "feedback.json").write_text('{"n": 3}\n')
    scheduler.flush(SECONDS)
    assert sorted(contents().values()) == [b'{"n": 1}\n{"n": 2}\n', b'{"n": 3}\n']


def test_half_a_json_document_is_not_sent_empty(make: Make, contents: Contents) -> None:
    scheduler = make()
    (scheduler.folder_path / "state.json").write_text('{"epo')
    scheduler.trigger().result(SECONDS)
    assert contents() == {}


@pytest.mark.parametrize("flush", [True, False], ids=["flush", "stop"])
def test_what_is_written_through_a_mapping_without_a_new_time_is_sent_by_a_final_push(
    flush: bool, make: Make, contents: Contents
) -> None:
    scheduler = make()
    path = scheduler.folder_path / "weights.bin"
    path.write_bytes(b"one" * 10)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[0:1] = b"x"  # the page is dirty from now on: the kernel notes no further change of it
        while not is_settled(scheduler, path.name):
            scheduler.trigger().result(SECONDS)
        before = Stat.of(path.stat())
        mapped[0:5] = b"later"
        assert Stat.of(path.stat()) == before
        scheduler.trigger().result(SECONDS)
        assert contents()[path.name].startswith(b"x")
        scheduler.flush(SECONDS) if flush else scheduler.stop()
    assert contents()[path.name] == path.read_bytes() == b"later" + (b"one" * 10)[5:]


def is_settled(scheduler: CommitScheduler, name: str) -> bool:
    ledger = scheduler._setup.ledger
    return any(name in ledger.settled(key) for key in ledger.targets())


class Swapping(CommitScheduler):
    """Puts a pipe in the place of two files when they are planned and not yet read to be sent."""

    def additional_operations(self, plan: CommitPlan) -> tuple[()]:
        for name in ("b.txt", "c.bin"):
            path = self.folder_path / name
            if path.is_file():
                path.unlink()
                os.mkfifo(path)
        return ()


def test_a_file_that_a_pipe_replaces_during_the_push_holds_up_nothing(make: Make, contents: Contents) -> None:
    """To open a pipe waits for its writer, for ever."""
    scheduler = make(Swapping)
    for name in ("a.txt", "b.txt", "c.bin"):
        (scheduler.folder_path / name).write_bytes(b"x\n" * 100_000)
    with pytest.raises(NotStoredError, match="not a regular file"):
        scheduler.flush(SECONDS)
    scheduler.flush(SECONDS)
    assert list(contents()) == ["a.txt"]
