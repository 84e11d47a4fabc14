"""Lost, older and copied ledgers, commits that land late, and reads that are one commit behind."""

from __future__ import annotations

import contextlib
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hubspool import CommitOperationAdd, CommitScheduler, HfApi
from hubspool.cli.status import status as status_command
from hubspool.client.target import Target
from hubspool.errors import BadRequestError, FlushTimeout, HubspoolError, NotStoredError
from hubspool.files import state_folder
from hubspool.local_hub import Fault
from hubspool.push.ledger import Ledger
from hubspool.push.remote import ForeignChanges
from hubspool_templates import read_rows
from tests.support.env import Open, Place, Start
from tests.support.oracle import REPO, Verdict, judge, second_look_after
from tests.support.spools import spool_of

STALE = ("preupload", "paths-info", "commits", "tree", "resolve")


def state(place: Place) -> Path:
    return spool_of(place.folder)


def remove_ledger(place: Place) -> None:
    for path in state(place).glob("ledger*"):
        path.unlink()


def segments(place: Place) -> list[str]:
    return sorted(path.name for path in place.folder.rglob("*.jsonl"))


def read_now(place: Place) -> Verdict:
    """The verdict on what is on the Hub now; the folder is left alone."""
    return judge(place.hub, place.folder, place.records, start=False)


def killed_in_flight(place: Place, start: Start, *, rounds: int, late: Fault | None = None) -> None:
    """A process sends some rows, then others whose commit lands late, and is killed; its ledger is lost."""
    process = start(rows=3 if rounds else 0, rounds=max(rounds, 1), more=4, leave="wait", exit_budget=30)
    process.wait_line("ready")
    place.hub.faults.add(late or Fault(route="commit", late=math.inf, status=504))
    process.signal(15)
    assert place.hub.faults.wait_for_hits()
    process.kill()
    remove_ledger(place)


@pytest.mark.parametrize("rounds", [0, 1, 2], ids=["nothing sent", "one commit", "two commits"])
def test_a_lost_ledger_and_a_commit_that_lands_late(place: Place, start: Start, open_here: Open, rounds: int) -> None:
    """Nothing of the old segment is sent at once; new rows are; the late commit is found by the second look."""
    killed_in_flight(place, start, rounds=rounds)
    (old,) = segments(place)
    here = open_here()
    here.producer.put_many(2)
    with pytest.raises(FlushTimeout, match=r"waits for the second look until \d\d:\d\d"):
        here.scheduler.flush(60)
    status = here.scheduler.status()
    assert "second look" in status.postponed[old]
    assert status.pending_bytes > 0
    assert status.pending_files == 1
    assert read_now(place).on_hub == 3 * rounds + 2, "the new rows are there, and nothing of the old segment"
    here.scheduler.stop(flush=False)
    shown = CliRunner().invoke(status_command, [str(place.folder)]).output
    assert re.search(r"pending +1 file, [1-9].*waits for the second look until \d\d:\d\d", shown, re.DOTALL), shown
    assert place.hub.faults.release()
    verdict = place.judge().check()
    assert verdict.on_hub == 3 * rounds + 2 + 4 + 1


def test_a_lost_ledger_and_a_commit_that_never_lands(place: Place, start: Start) -> None:
    killed_in_flight(place, start, rounds=1, late=Fault(route="commit", status=504, times=None))
    assert place.judge().check().on_hub == 8


def test_the_first_look_is_remembered_by_a_later_life(place: Place, start: Start, open_here: Open) -> None:
    killed_in_flight(place, start, rounds=1)
    for _ in range(2):
        here = open_here()
        with pytest.raises(FlushTimeout):
            here.scheduler.flush(60)
        here.scheduler.stop(flush=False)
    ledger = Ledger(state(place))
    (key,) = ledger.targets()
    ((first_look, _),) = ledger.recovering(key).values()
    ledger.close()
    assert first_look is not None
    place.hub.faults.release()
    with second_look_after(0):
        here = open_here()
        here.scheduler.trigger().result(60)  # one push: the first look was made by the first life
        assert not here.scheduler.status().postponed
        here.scheduler.stop()
    place.judge().check()


def test_a_segment_that_the_first_look_finds_whole_is_done_and_kept(
    place: Place, start: Start, open_here: Open
) -> None:
    process = start(rows=3, rounds=2, leave="os-exit")
    process.wait()
    (old,) = segments(place)
    remove_ledger(place)
    here = open_here()
    here.scheduler.flush(60)
    assert here.scheduler.status().pending_bytes == 0
    assert segments(place) == [old], "its data is removed after the second look only"
    here.scheduler.stop()
    place.judge().check()
    assert old not in segments(place)


def test_flush_without_a_limit_waits_for_the_second_look(place: Place, start: Start, open_here: Open) -> None:
    killed_in_flight(place, start, rounds=1)
    assert place.hub.faults.release()
    with second_look_after(0.5):
        here = open_here()
        here.scheduler.flush()
    assert read_now(place).on_hub == 7


def test_rows_in_doubt_are_done_when_a_look_finds_them_and_kept_until_the_second(place: Place, open_here: Open) -> None:
    here = open_here()
    here.producer.put_many(3)
    here.scheduler.flush(60)
    here.producer.put_many(2)
    place.hub.faults.add(Fault(route="commit", status=500, applied=True))
    here.scheduler.flush(60)
    assert place.hub.faults.hits
    assert here.scheduler.status().pending_rows == 0
    (old,) = segments(place)
    here.scheduler.stop()
    here = open_here()
    here.scheduler.flush(60)
    assert segments(place) == [old]
    here.scheduler.stop()
    with second_look_after(0):
        here = open_here()
        here.scheduler.flush(60)
    assert segments(place) == []
    here.scheduler.stop()
    place.judge().check()


@pytest.mark.parametrize("final", [False, True], ids=["push", "flush"])
def test_a_read_that_is_one_commit_behind_decides_nothing(place: Place, open_here: Open, final: bool) -> None:
    """The part has grown to its second commit; the read shows it after its first."""
    here = open_here()
    for _ in range(2):
        here.producer.put_many(2)
        here.scheduler.flush(60)
    stale = place.hub.faults.add(Fault(route=STALE, stale=1, times=4))
    here.producer.put_many(2)
    with contextlib.suppress(HubspoolError):
        if final:
            here.scheduler.flush(60)
        else:
            here.scheduler.trigger().result(60)
    assert "preupload" in {hit.route for hit in place.hub.faults.hits if hit.fault == stale}
    place.hub.faults.clear()
    here.producer.put_many(2)
    here.scheduler.flush(60)
    here.scheduler.stop()
    assert place.judge().check().on_hub == 9


def backup(place: Place) -> Path:
    copy = place.root / "backup"
    shutil.copytree(state(place), copy)
    return copy


def restore(place: Place, copy: Path, in_place: bool) -> None:
    """Put an older ledger back: over the files that are there, or as new files."""
    for name in ("ledger.sqlite3-wal", "ledger.sqlite3-shm"):
        (state(place) / name).unlink(missing_ok=True)
    if not in_place:
        (state(place) / "ledger.sqlite3").unlink()
    for path in copy.glob("ledger*"):
        target = state(place) / path.name
        with path.open("rb") as source, target.open("r+b" if target.exists() else "wb") as file:
            file.truncate()
            shutil.copyfileobj(source, file)


@pytest.mark.parametrize("in_place", [True, False], ids=["written over", "new file"])
def test_an_older_ledger_with_a_commit_in_flight(place: Place, start: Start, open_here: Open, in_place: bool) -> None:
    """The copy was made while a commit was under way, which landed; then the part grew further."""
    process = start(rows=3, rounds=1, more=3, leave="read")
    process.wait_line("ready")
    process.end_input()
    assert process.wait() == 0, process.errors()
    here = open_here()
    here.producer.put_many(3)
    here.scheduler.flush(60)
    fault = place.hub.faults.add(Fault(route="commit", delay=math.inf))
    here.producer.put_many(3)
    pushed = here.scheduler.trigger()
    assert place.hub.faults.wait_for_hits()
    copy = backup(place)
    place.hub.faults.clear()
    pushed.result(60)
    assert [hit.fault for hit in place.hub.faults.hits] == [fault]
    here.producer.put_many(3)
    here.scheduler.flush(60)
    here.producer.put_many(2)
    here.scheduler.stop(flush=False)
    restore(place, copy, in_place)
    here = open_here()
    with pytest.raises(FlushTimeout, match="second look"):  # what the newer ledger had in flight may still land
        here.scheduler.flush(60)
    here.scheduler.stop(flush=False)
    assert place.judge().check().on_hub == 6 + 11 + 1


@pytest.mark.parametrize("way", ["written over", "new file", "recovered"])
def test_new_rows_go_at_once_after_a_running_scheduler_got_an_older_ledger(
    place: Place, open_here: Open, way: str
) -> None:
    """What the scheduler still knows itself is added to another file; a segment in recovery gets no new rows."""
    here = open_here()
    here.producer.put_many(3)
    here.scheduler.flush(60)
    copy = backup(place)
    here.producer.put_many(3)
    here.scheduler.flush(60)
    here.producer.put_many(3)
    if way == "recovered":
        here.scheduler._setup.ledger.recover(segments(place))
        with pytest.raises(FlushTimeout):
            here.scheduler.flush(5)
    else:
        restore(place, copy, way == "written over")
        with contextlib.suppress(FlushTimeout):  # the sync thread may have written its own file before ours
            here.scheduler.flush(5)
    new = {here.producer.put() for _ in range(3)}
    with contextlib.suppress(FlushTimeout):
        here.scheduler.flush(60)
    assert new <= {row["id"] for row in read_rows(REPO, place.api)}
    assert here.scheduler.status().pending_rows in ((3,) if way == "recovered" else (0, 3))
    here.scheduler.stop(flush=False)
    place.judge().check()


def test_three_replicas_of_a_folder_that_was_baked_with_its_state(place: Place, start: Start) -> None:
    """The image was made while a commit was in flight; each replica writes rows of its own."""
    process = start(rows=3, more=4, leave="wait", exit_budget=30)
    process.wait_line("ready")
    place.hub.faults.add(Fault(route="commit", late=math.inf, status=504))
    process.signal(15)
    assert place.hub.faults.wait_for_hits()
    process.kill()
    replicas = [place.root / f"replica{number}" for number in range(3)]
    for replica in replicas:
        shutil.copytree(place.folder, replica)
    shutil.rmtree(place.folder)
    for replica in replicas:
        process = start(folder=replica, rows=2)
        process.wait()
    assert place.hub.faults.release()
    for replica in replicas:
        verdict = judge(place.hub, replica, place.records)
    assert verdict.check().on_hub == 7 + 3 * 2 + 3


def put(folder: Path, text: str) -> None:
    with (folder / "rows.jsonl").open("a") as file:
        file.write(text)


def user_files(place: Place, folder: Path) -> CommitScheduler:
    return CommitScheduler(
        repo_id=REPO, repo_type="dataset", folder_path=folder, every=600, hf_api=place.api, handle_signals=False
    )


def lines_on_hub(place: Place) -> list[str]:
    files = [path for path in place.api.list_repo_files(REPO, repo_type="dataset") if path.endswith(".jsonl")]
    target = Target.of(place.api.endpoint, REPO, "dataset", "main")
    texts = [place.api.client().request("GET", target.file_url(path)).text for path in files]
    return sorted(line for text in texts for line in text.splitlines())


@pytest.mark.parametrize("pending", [False, True], ids=["all sent", "a row pending"])
def test_three_replicas_of_a_baked_folder_continue_one_file_of_the_user(place: Place, pending: bool) -> None:
    scheduler = user_files(place, place.folder)
    put(place.folder, '{"n": 0}\n')
    scheduler.flush(60)
    if pending:
        put(place.folder, '{"n": 1}\n')
    scheduler.stop(flush=False)
    replicas = [place.root / f"replica{number}" for number in range(3)]
    for replica in replicas:
        shutil.copytree(place.folder, replica)
    for round_ in range(2):
        for number, replica in enumerate(replicas):
            put(replica, f'{{"replica": {number}, "round": {round_}}}\n')
            scheduler = user_files(place, replica)
            scheduler.flush(60)
            scheduler.stop()
    expected = ['{"n": 0}', *(['{"n": 1}'] if pending else [])]
    expected += [f'{{"replica": {number}, "round": {round_}}}' for number in range(3) for round_ in range(2)]
    assert lines_on_hub(place) == sorted(expected)


def test_rows_of_a_user_file_that_a_person_removed_are_not_sent_again_after_the_ledger_is_lost(place: Place) -> None:
    scheduler = user_files(place, place.folder)
    for n in range(2):
        put(place.folder, f'{{"n": {n}}}\n')
        scheduler.flush(60)
    place.api.create_commit(
        REPO, [CommitOperationAdd("rows.jsonl", b'{"n": 0}\n')], commit_message="by hand", repo_type="dataset"
    )
    for n in range(2, 4):
        put(place.folder, f'{{"n": {n}}}\n')
        scheduler.flush(60)
    scheduler.stop()
    kept = ['{"n": 0}', '{"n": 2}', '{"n": 3}']
    assert lines_on_hub(place) == kept
    for path in state_folder(place.folder).glob("ledger*"):
        path.unlink()
    scheduler = user_files(place, place.folder)
    put(place.folder, '{"n": 4}\n')
    scheduler.flush(60)
    scheduler.stop()
    assert lines_on_hub(place) == [*kept, '{"n": 4}']


@pytest.mark.parametrize("landed", [True, False], ids=["it landed", "it did not land"])
def test_rows_in_doubt_of_a_part_that_a_person_then_changed(
    place: Place, open_here: Open, monkeypatch: pytest.MonkeyPatch, landed: bool
) -> None:
    """Our commit id among the newest commits tells whether they were there; if not, they go into the next part."""
    monkeypatch.setattr(ForeignChanges, "is_certain", lambda *args: True)
    here = open_here()
    here.producer.put_many(2)
    here.scheduler.flush(60)
    (path,) = [path for path in place.api.list_repo_files(REPO, repo_type="dataset") if path.endswith(".jsonl")]
    doubtful = [here.producer.put() for _ in range(2)]
    lost = Fault(route="commit", status=500, applied=landed)
    place.hub.faults.add(lost)
    held = Fault(route="commits", after=1, delay=math.inf)
    place.hub.faults.add(held)
    pushed = here.scheduler.trigger()
    assert place.hub.faults.wait_for_hits(2)
    place.api.create_commit(REPO, [CommitOperationAdd(path, b"{}\n")], commit_message="by hand", repo_type="dataset")
    place.hub.faults.clear()
    pushed.exception(60)
    assert [hit.fault for hit in place.hub.faults.hits] == [lost, held]
    later = here.producer.put()
    with contextlib.suppress(HubspoolError):
        here.scheduler.flush(30)
    text = "".join(lines_on_hub(place))
    assert later in text
    assert not any(row in text for row in doubtful), "not sent again, or not before the second look"
    here.scheduler.stop(flush=False)
    with second_look_after(0):
        open_here().scheduler.flush(60)
    text = "".join(lines_on_hub(place))
    assert [text.count(row) for row in doubtful] == [0 if landed else 1] * 2


def test_a_path_that_the_hub_refuses_to_look_up_does_not_stop_the_others(place: Place) -> None:
    scheduler = user_files(place, place.folder)
    scheduler.last_future.result(60)
    for number in range(5):
        (place.folder / f"{number}.bin").write_bytes(b"x")
    refused = place.hub.faults.add(Fault(route="paths-info", status=400, times=2))
    scheduler.flush(60)
    scheduler.stop()
    assert [hit.fault for hit in place.hub.faults.hits] == [refused] * 2
    found = place.api.list_repo_files(REPO, repo_type="dataset")
    assert sorted(path for path in found if path.endswith(".bin")) == [f"{number}.bin" for number in range(5)]


def test_an_odd_name_that_the_hub_never_looks_up_is_alone_with_its_error(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(call: Callable[..., object]) -> Callable[..., object]:
        def with_error(api: HfApi, repo_id: str, given: list[Any], *args: Any, **options: Any) -> object:
            if any("odd" in str(getattr(each, "path_in_repo", each)) for each in given):
                raise BadRequestError("an odd name", status_code=400)
            return call(api, repo_id, given, *args, **options)

        return with_error

    for name in ("get_paths_info", "preupload_lfs_files"):
        monkeypatch.setattr(HfApi, name, refuse(getattr(HfApi, name)))
    scheduler = user_files(place, place.folder)
    for name in ("a.bin", "odd.bin", "z.bin"):
        (place.folder / name).write_bytes(b"x")
    with pytest.raises(NotStoredError, match=r"odd\.bin"):
        scheduler.flush(60)
    scheduler.stop(flush=False)
    found = place.api.list_repo_files(REPO, repo_type="dataset")
    assert sorted(path for path in found if path.endswith(".bin")) == ["a.bin", "z.bin"]


def test_a_rewritten_file_whose_push_failed_is_sent_whole_by_the_next(place: Place) -> None:
    scheduler = user_files(place, place.folder)
    put(place.folder, '{"day": 1, "n": 0}\n')
    scheduler.flush(60)
    (place.folder / "rows.jsonl").write_text('{"day": 2, "n": 0}\n')
    fault = place.hub.faults.add(Fault(route="preupload", status=401, times=2))
    with pytest.raises(HubspoolError):
        scheduler.flush(60)
    assert place.hub.faults.hits[0].fault == fault
    place.hub.faults.clear()
    put(place.folder, '{"day": 2, "n": 1}\n')
    scheduler.flush(60)
    scheduler.stop()
    assert lines_on_hub(place) == ['{"day": 1, "n": 0}', '{"day": 2, "n": 0}', '{"day": 2, "n": 1}']
