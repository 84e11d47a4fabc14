"""What stands on the Hub already is not destroyed, and what was sent is not sent twice."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hubspool import CommitScheduler, HfApi
from hubspool.errors import HubspoolError, NotStoredError
from hubspool.local_hub import Fault, LocalHub
from hubspool.push.remote import ForeignChanges

REPO = "local/kept"
SECONDS = 15

Make = Callable[..., CommitScheduler]
Contents = Callable[[], dict[str, bytes]]


@pytest.fixture
def put(hub_api: HfApi) -> Callable[[str, bytes | None], None]:
    """A person writes to the repo, or removes from it."""

    def change(path: str, content: bytes | None) -> None:
        from hubspool import CommitOperationAdd, CommitOperationDelete

        hub_api.create_repo(REPO, repo_type="dataset", exist_ok=True)
        operation = CommitOperationDelete(path) if content is None else CommitOperationAdd(path, content)
        hub_api.create_commit(REPO, [operation], commit_message="by hand", repo_type="dataset")

    return change


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Believe at once that somebody changed the Hub."""
    monkeypatch.setattr(ForeignChanges, "is_certain", lambda *args: True)


def write(scheduler: CommitScheduler, name: str, content: bytes, mode: str = "ab") -> None:
    with scheduler.lock, (scheduler.folder_path / name).open(mode) as file:
        file.write(content)


def lines_of(found: dict[str, bytes]) -> list[bytes]:
    return sorted(line for content in found.values() for line in content.splitlines())


@pytest.mark.parametrize(("suffix", "head"), [("jsonl", b""), ("csv", b"a,b\n"), ("txt", b""), ("json", b"")])
def test_a_fresh_disk_with_the_same_file_name_keeps_both(
    suffix: str, head: bytes, make: Make, contents: Contents
) -> None:
    name = f"rows.{suffix}"
    rows = [head + b"".join(b'{"n": %d}\n' % n for n in (n, n + 1)) for n in (1, 7)]
    for content in rows:
        scheduler = make()
        write(scheduler, name, content)
        scheduler.stop()
        shutil.rmtree(scheduler.folder_path)
    found = contents()
    assert found.pop(name) == rows[0]
    assert list(found.values()) == [rows[1]]


def test_a_table_that_goes_on_elsewhere_has_its_header_there_too(make: Make, contents: Contents) -> None:
    """The app writes the header anew at each start: it stands on the Hub already, with older rows below it."""
    first = make()
    write(first, "rows.csv", b"a,b\n1,2\n")
    first.stop()
    shutil.rmtree(first.folder_path)
    second = make()
    write(second, "rows.csv", b"a,b\n")
    second.flush(SECONDS)
    write(second, "rows.csv", b"3,4\n")
    second.flush(SECONDS)
    found = contents()
    assert found.pop("rows.csv") == b"a,b\n1,2\n"
    assert list(found.values()) == [b"a,b\n3,4\n"]


def test_the_same_file_on_a_fresh_disk_is_taken_as_sent(make: Make, contents: Contents, hub_api: HfApi) -> None:
    first = make()
    write(first, "rows.jsonl", b"{}\n" * 3)
    write(first, "image.bin", bytes(range(256)) * 1000)
    first.stop()
    shutil.rmtree(first.folder_path / ".cache")
    second = make()
    assert second.flush(SECONDS) is None
    write(second, "rows.jsonl", b'{"more": 1}\n')
    second.flush(SECONDS)
    assert contents()["rows.jsonl"] == b'{}\n{}\n{}\n{"more": 1}\n'
    assert len(contents()) == 2


def test_a_local_file_that_goes_on_where_the_hubs_ends_extends_it(
    make: Make, contents: Contents, put: Callable[[str, bytes], None]
) -> None:
    put("rows.txt", b"one\n")
    scheduler = make()
    write(scheduler, "rows.txt", b"one\ntwo\n")
    scheduler.flush(SECONDS)
    assert contents() == {"rows.txt": b"one\ntwo\n"}


@pytest.mark.parametrize("on_existing", ["keep_both", "overwrite"])
def test_another_file_becomes_a_new_version_and_the_history_keeps_the_old(
    on_existing: str, make: Make, contents: Contents, put: Callable[[str, bytes], None], hub_api: HfApi
) -> None:
    put("image.bin", b"old")
    put("README.md", b"# old\n")
    scheduler = make(on_existing=on_existing)
    write(scheduler, "image.bin", b"new")
    write(scheduler, "README.md", b"# new\n")
    scheduler.flush(SECONDS)
    assert contents() == {"image.bin": b"new", "README.md": b"# new\n"}
    write(scheduler, "image.bin", b"newest", "wb")
    scheduler.flush(SECONDS)
    assert contents()["image.bin"] == b"newest"


def test_rows_are_replaced_where_the_caller_asked_for_it(
    make: Make, contents: Contents, put: Callable[[str, bytes], None]
) -> None:
    put("rows.jsonl", b'{"old": 1}\n')
    scheduler = make(on_existing="overwrite")
    write(scheduler, "rows.jsonl", b'{"new": 1}\n')
    scheduler.flush(SECONDS)
    assert contents() == {"rows.jsonl": b'{"new": 1}\n'}


@pytest.mark.parametrize("name", ["rows.jsonl", "image.bin"])
def test_an_error_is_told_where_the_caller_asked_for_it_and_the_others_are_sent(
    name: str, make: Make, contents: Contents, put: Callable[[str, bytes], None]
) -> None:
    put(name, b'{"old": 1}\n')
    scheduler = make(on_existing="error")
    write(scheduler, name, b'{"new": 1}\n')
    write(scheduler, "other.txt", b"x\n")
    with pytest.raises(NotStoredError, match=name):
        scheduler.flush(SECONDS)
    assert contents() == {name: b'{"old": 1}\n', "other.txt": b"x\n"}


def test_a_line_file_that_was_begun_anew_is_kept_beside_the_old_rows(make: Make, contents: Contents) -> None:
    """What log rotation does."""
    scheduler = make()
    write(scheduler, "app.log", b"monday 1\nmonday 2\n")
    scheduler.flush(SECONDS)
    write(scheduler, "app.log", b"tuesday 1\n", "wb")
    scheduler.flush(SECONDS)
    write(scheduler, "app.log", b"tuesday 2\n")
    scheduler.flush(SECONDS)
    found = contents()
    assert found.pop("app.log") == b"monday 1\nmonday 2\n"
    assert list(found.values()) == [b"tuesday 1\ntuesday 2\n"]


@pytest.mark.parametrize("lost", ["ledger.sqlite3*", "*"])
def test_a_lost_ledger_neither_loses_nor_doubles(lost: str, make: Make, contents: Contents) -> None:
    first = make()
    write(first, "a.jsonl", b'{"n": 1}\n')
    write(first, "b.bin", b"one")
    first.flush(SECONDS)
    write(first, "a.jsonl", b'{"n": 2}\n')
    first.stop()
    for path in (first.folder_path / ".cache" / "huggingface" / "hubspool").glob(lost):
        path.unlink()
    second = make()
    assert second.flush(SECONDS) is None
    write(second, "a.jsonl", b'{"n": 3}\n')
    write(second, "b.bin", b"two", "wb")
    second.stop()
    assert contents() == {"a.jsonl": b'{"n": 1}\n{"n": 2}\n{"n": 3}\n', "b.bin": b"two"}


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("theirs", [b'{"by": "hand"}\n', None], ids=["changed", "removed"])
def test_rows_that_a_person_changed_or_removed_are_not_sent_again_and_later_rows_arrive(
    theirs: bytes | None, make: Make, contents: Contents, put: Callable[[str, bytes | None], None]
) -> None:
    scheduler = make()
    write(scheduler, "rows.jsonl", b'{"n": 1}\n')
    scheduler.flush(SECONDS)
    put("rows.jsonl", theirs)
    write(scheduler, "rows.jsonl", b'{"n": 2}\n')
    for _ in range(3):
        with contextlib.suppress(HubspoolError):
            scheduler.flush(SECONDS)
    found = contents()
    assert found.pop("rows.jsonl", None) == theirs
    assert lines_of(found) == [b'{"n": 2}']


@pytest.mark.usefixtures("patience")
def test_another_file_that_a_person_changed_gets_the_next_local_version_on_top(
    make: Make, contents: Contents, put: Callable[[str, bytes | None], None]
) -> None:
    scheduler = make()
    write(scheduler, "image.bin", b"one")
    scheduler.flush(SECONDS)
    put("image.bin", b"by hand")
    assert scheduler.flush(SECONDS) is None
    assert contents()["image.bin"] == b"by hand"
    write(scheduler, "image.bin", b"two", "wb")
    for _ in range(3):
        with contextlib.suppress(HubspoolError):
            scheduler.flush(SECONDS)
    assert contents()["image.bin"] == b"two"


def test_a_stale_look_is_not_taken_for_a_foreign_change(make: Make, contents: Contents, local_hub: LocalHub) -> None:
    scheduler = make()
    write(scheduler, "rows.jsonl", b'{"n": 1}\n')
    scheduler.flush(SECONDS)
    reads = ("preupload", "paths-info")
    local_hub.faults.add(Fault(route=reads, stale=1, times=4))
    write(scheduler, "rows.jsonl", b'{"n": 2}\n')
    with contextlib.suppress(HubspoolError):
        scheduler.trigger().result(SECONDS)
    assert {hit.route for hit in local_hub.faults.hits} == {*reads}
    local_hub.faults.clear()
    scheduler.flush(SECONDS)
    assert contents() == {"rows.jsonl": b'{"n": 1}\n{"n": 2}\n'}


def test_two_writers_of_one_user_named_path_lose_nothing(make: Make, contents: Contents, tmp_path: Path) -> None:
    schedulers = [make(folder_path=tmp_path / str(number)) for number in range(2)]
    for round_ in range(2):
        for number, scheduler in enumerate(schedulers):
            write(scheduler, "rows.jsonl", b'{"w": %d, "r": %d}\n' % (number, round_))
        futures = [scheduler.trigger() for scheduler in schedulers]
        for future in futures:
            future.exception(SECONDS)
    for scheduler in schedulers:
        with contextlib.suppress(NotStoredError):
            scheduler.flush(SECONDS)
    assert lines_of(contents()) == [b'{"w": %d, "r": %d}' % (w, r) for w in range(2) for r in range(2)]


def test_a_repo_that_was_made_again_gets_nothing_until_a_person_says_so(
    make: Make, hub_api: HfApi, contents: Contents
) -> None:
    scheduler = make()
    write(scheduler, "rows.jsonl", b'{"n": 1}\n')
    scheduler.flush(SECONDS)
    hub_api.delete_repo(REPO, repo_type="dataset")
    hub_api.create_repo(REPO, repo_type="dataset")
    write(scheduler, "rows.jsonl", b'{"n": 2}\n')
    with pytest.raises(HubspoolError):
        scheduler.flush(SECONDS)
    assert contents() == {}
    assert scheduler.status().last_error
