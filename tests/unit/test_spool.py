"""A row for which `write` returned is whole and stays; one that failed leaves no trace."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from hubspool import SpoolFull
from hubspool.spool import segment_file, spool
from hubspool.spool.segment_file import EndedSegment
from hubspool.spool.segment_name import SegmentName
from hubspool.spool.spool import Spool

ROW = b'{"n": 1}\n'


class Os:
    """The real `os`, but for the calls that a test replaces; only `hubspool.spool.spool` sees it."""

    def __init__(self, **replaced: Callable[..., object]) -> None:
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Spool]]:
    made: list[Spool] = []

    def build(**options: object) -> Spool:
        made.append(Spool(tmp_path / "spool", **options))  # type: ignore[arg-type]  # a test may pass anything
        return made[-1]

    yield build
    for each in made:
        each.close()


def segments(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if SegmentName.parse(path.name))


def content(each: Spool) -> list[bytes]:
    return [path.read_bytes() for path in segments(each.folder)]


def is_locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_rows_stand_in_one_segment_in_the_order_of_the_calls(make: Callable[..., Spool]) -> None:
    each = make(name="votes")
    each.write(b"1\n")
    each.write_many([b"2\n", b"3\n"])
    each.write_many([])
    assert content(each) == [b"1\n2\n3\n"]
    (path,) = segments(each.folder)
    assert path.name.startswith("votes-")
    assert each.rows_written() == {path.name: 3}


@pytest.mark.parametrize("line", [b"", b"no end", b"a\nb\n", b"\n\n", b"a\nb"])
def test_what_is_not_exactly_one_line_is_refused(line: bytes, make: Callable[..., Spool]) -> None:
    each = make()
    with pytest.raises(ValueError, match="only newline"):
        each.write(line)
    with pytest.raises(ValueError, match="only newline"):
        each.write_many([ROW, line])
    assert not each.folder.exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"name": ""}, "''"),
        ({"name": "a/b"}, "'a/b'"),
        ({"name": ".hidden"}, "'.hidden'"),
        ({"name": "a b"}, "'a b'"),
        ({"durability": "none"}, "'none'"),
        ({"max_bytes": 0}, "0"),
    ],
)
def test_unusable_options_are_named(options: dict[str, object], named: str, make: Callable[..., Spool]) -> None:
    with pytest.raises(ValueError, match=named):
        make(**options)


def test_a_short_write_is_finished(make: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def write(fd: int, data: bytes) -> int:
        sizes.append(os.write(fd, data[:5]))
        return sizes[-1]

    monkeypatch.setattr(spool, "os", Os(write=write))
    each = make()
    each.write(ROW)
    each.write_many([ROW, ROW])
    assert content(each) == [ROW * 3]
    assert sizes == [5, 4, 5, 5, 5, 3]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_row_that_a_full_disk_took_half_of_is_cut_back(
    number: int, make: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    each = make()
    each.write(ROW)
    calls: list[int] = []

    def write(fd: int, data: bytes) -> int:
        calls.append(fd)
        if len(calls) % 2:
            return os.write(fd, data[:4])
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(spool, "os", Os(write=write))
    for write_it in (each.write, lambda row: each.write_many([row, row])):
        with pytest.raises(SpoolFull, match="the disk is full") as caught:
            write_it(ROW)
        assert caught.value.limit is None
    monkeypatch.undo()
    each.write(b"after\n")
    assert content(each) == [ROW + b"after\n"]  # a disk that is full must not be filled with empty segments
    assert sum(each.rows_written().values()) == 2


def test_a_full_disk_is_told_with_what_the_spool_holds(
    make: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    each = make()
    each.write(ROW)
    monkeypatch.setattr(spool, "os", Os(write=write))
    with pytest.raises(SpoolFull) as caught:
        each.write(ROW)
    assert caught.value.used == len(ROW)


def test_a_write_that_returns_nothing_is_a_full_disk(
    make: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "os", Os(write=lambda fd, data: 0))
    each = make()
    with pytest.raises(SpoolFull):
        each.write(ROW)
    assert content(each) == [b""]


def test_any_other_error_is_raised_and_the_next_row_goes_to_a_new_segment(
    make: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    each = make()
    each.write(ROW)

    def write(fd: int, data: bytes) -> int:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(spool, "os", Os(write=write))
    with pytest.raises(OSError, match="broken") as caught:
        each.write(ROW)
    assert not isinstance(caught.value, SpoolFull)
    monkeypatch.undo()
    each.write(b"after\n")
    assert content(each) == [ROW, b"after\n"]


def test_disk_durability_syncs_before_write_returns_and_a_failed_sync_keeps_no_row(
    make: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bytes] = []
    each = make(durability="disk")
    monkeypatch.setattr(segment_file, "sync", lambda fd: synced.append(segments(each.folder)[-1].read_bytes()))
    each.write(ROW)
    assert synced == [ROW]

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "the disk is gone")

    monkeypatch.setattr(segment_file, "sync", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        each.write(ROW)
    monkeypatch.undo()
    each.write(b"after\n")
    assert content(each) == [ROW, b"after\n"]


def test_max_bytes_counts_all_segments_and_room_comes_back_when_they_are_removed(make: Callable[..., Spool]) -> None:
    first = make(max_bytes=40, roll_bytes=20)
    for _ in range(3):
        first.write(b"123456789\n")
    with pytest.raises(SpoolFull, match="40 bytes") as caught:
        make(max_bytes=40).write(b"12345678901\n")
    assert (caught.value.used, caught.value.limit) == (30, 40)
    first.write(b"123456789\n")
    with pytest.raises(SpoolFull):
        first.write(ROW)
    next(path for path in segments(first.folder) if path.stat().st_size).unlink()
    first.write(ROW)


def test_a_segment_is_rolled_when_it_is_large_enough(make: Callable[..., Spool]) -> None:
    each = make(roll_bytes=2 * len(ROW))
    for _ in range(5):
        each.write(ROW)
    assert content(each) == [ROW * 2, ROW * 2, ROW]
    assert [SegmentName.of(str(path)).seq for path in segments(each.folder)] == [0, 1, 2]


def test_a_new_utc_day_gets_a_new_segment(make: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch) -> None:
    finished = threading.Event()
    finish = EndedSegment.finish

    def finish_and_signal(ended: EndedSegment) -> None:
        finish(ended)
        finished.set()

    monkeypatch.setattr(spool, "DEFAULTS", replace(spool.DEFAULTS, sync_seconds=0.01))
    monkeypatch.setattr(EndedSegment, "finish", finish_and_signal)
    monkeypatch.setattr(spool, "_utc_date", lambda: "20260102")
    each = make()
    each.write(b"old day\n")
    assert not finished.is_set()
    monkeypatch.setattr(spool, "_utc_date", lambda: "20260103")
    assert finished.wait(30)
    each.write(b"new day\n")
    assert [(SegmentName.of(str(path)).date, path.read_bytes()) for path in segments(each.folder)] == [
        ("20260102", b"old day\n"),
        ("20260103", b"new day\n"),
    ]
    assert [is_locked(path) for path in segments(each.folder)] == [False, True]


def test_the_background_sync_covers_what_was_written(
    make: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = threading.Event()
    each = make()
    monkeypatch.setattr(spool, "DEFAULTS", replace(spool.DEFAULTS, sync_seconds=0.01))
    monkeypatch.setattr(segment_file, "sync", lambda fd: synced.set())
    each.write(ROW)
    assert synced.wait(30)


def test_after_a_failed_sync_the_segment_is_written_anew_and_later_rows_go_to_another(
    make: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    finished = threading.Event()
    synced: list[int] = []
    refused: list[int] = []
    finish, sync = EndedSegment.finish, segment_file.sync

    def finish_and_signal(ended: EndedSegment) -> None:
        finish(ended)
        finished.set()

    def fail_for_the_first_file(fd: int) -> None:
        inode = os.fstat(fd).st_ino
        if inode == (refused or [inode])[0]:
            refused.append(inode)
            raise OSError(errno.EIO, "the disk is gone")
        sync(fd)
        synced.append(inode)

    monkeypatch.setattr(spool, "DEFAULTS", replace(spool.DEFAULTS, sync_seconds=0.01))
    monkeypatch.setattr(EndedSegment, "finish", finish_and_signal)
    monkeypatch.setattr(segment_file, "sync", fail_for_the_first_file)
    each = make()
    each.write(ROW)
    assert finished.wait(30)
    (path,) = segments(each.folder)
    each.write(b"after\n")
    assert content(each) == [ROW, b"after\n"]
    assert path.stat().st_ino in synced
    assert refused == [refused[0]]  # it is not tried again: the second time the kernel says yes
    assert path.stat().st_ino != refused[0]
    assert not is_locked(path)
    assert "could not be synced" in caplog.text
    assert not list(each.folder.glob(".*"))


def test_a_hook_may_close_the_spool_in_its_own_thread(make: Callable[..., Spool]) -> None:
    """An error of the check for removed files is told in the sync thread."""
    each, closed = make(), threading.Event()

    def close_once() -> None:
        if not closed.is_set():
            each.close()
            closed.set()

    each.rescue.check_and_tell = close_once  # type: ignore[method-assign]
    each.write(b"1\n")
    assert closed.wait(30)
    each.write(b"2\n")
    assert content(each) == [b"1\n", b"2\n"]


def test_the_segment_is_locked_while_it_is_written_and_free_after_close(make: Callable[..., Spool]) -> None:
    each = make()
    each.write(ROW)
    (path,) = segments(each.folder)
    assert is_locked(path)
    each.close()
    assert not is_locked(path)
    each.write(b"later\n")
    assert not is_locked(path)
    assert is_locked(segments(each.folder)[1])
    assert content(each) == [ROW, b"later\n"]


def test_a_segment_is_locked_before_anybody_can_see_it(
    make: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    publish = segment_file.publish  # type: ignore[attr-defined]  # replaced where it is used

    def look_and_publish(hidden: Path, final: Path) -> None:
        seen.append(is_locked(hidden))
        publish(hidden, final)

    monkeypatch.setattr(segment_file, "publish", look_and_publish)
    make().write(ROW)
    assert seen == [True]


def test_a_child_process_does_not_hold_the_lock_open(make: Callable[..., Spool]) -> None:
    each = make()
    each.write(ROW)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    try:
        each.close()
        assert not is_locked(segments(each.folder)[0])
    finally:
        child.communicate(b"\n", timeout=30)


def test_two_spools_never_share_a_file(make: Callable[..., Spool]) -> None:
    both = [make(roll_bytes=1), make(roll_bytes=1)]
    for number in range(10):
        for each in both:
            each.write(b"%d\n" % number)
    names = [set(each.rows_written()) for each in both]
    assert len(names[0] | names[1]) == 20
    assert {path.name for path in segments(both[0].folder)} == names[0] | names[1]


def test_a_name_that_is_taken_is_never_written_to(make: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch) -> None:
    """Writer ids are random; should two be the same after all, no row of the other one may be lost."""
    monkeypatch.setattr(spool, "new_writer_id", lambda: "0123456789ab")
    first, second = make(), make()
    first.write(b"first\n")
    try:
        second.write(b"second\n")
    except FileExistsError:
        second.write(b"second\n")
    assert sorted(content(first)) == [b"first\n", b"second\n"]


def test_threads_lose_no_row_and_tear_none(make: Callable[..., Spool]) -> None:
    each = make(roll_bytes=5_000)
    rows = [[b"%d-%d\n" % (thread, number) for number in range(200)] for thread in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(each.write, [row for mine in zip(*rows, strict=True) for row in mine]))
    assert sorted(b"".join(content(each)).splitlines(keepends=True)) == sorted(row for mine in rows for row in mine)
    assert sum(each.rows_written().values()) == 1600
