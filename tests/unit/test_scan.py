"""A scan finds every change, fixes lengths under the lock, and reads nothing twice."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import pytest

from hubspool.files import RACY_NS, Disk, Stat
from hubspool.push.scan import Snapshot, scan
from hubspool.spool.defaults import DEFAULTS
from hubspool.spool.owners import Owner, is_removable, owner_of
from hubspool.spool.segment_name import SegmentName, host_digits, new_writer_id

SECOND = 1_000_000_000


class Lock:
    """Calls `then` when it is first taken; what happens there is what writers did while the tree was walked."""

    def __init__(self, then: Callable[[], object]) -> None:
        self.then = then
        self.held = False

    def __enter__(self) -> bool:
        self.then()
        self.then = lambda: None
        self.held = True
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.held = False


def everything(path: str) -> bool:
    return True


def scan_folder(
    folder: Path, known: dict[str, Stat] | None = None, then: Callable[[], object] | None = None
) -> Snapshot:
    return scan(folder, known or {}, everything, Lock(then) if then else None)


def write(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_only_what_differs_from_the_known_numbers_is_changed(tmp_path: Path) -> None:
    for name in ("a.txt", "sub/b.txt", "sub/deep/c.txt"):
        write(tmp_path / name)
    known = scan_folder(tmp_path).changed
    assert sorted(known) == ["a.txt", "sub/b.txt", "sub/deep/c.txt"]
    assert scan_folder(tmp_path, known).changed == {}
    with (tmp_path / "sub" / "b.txt").open("ab") as file:
        file.write(b"more")
    assert {path: stat.size for path, stat in scan_folder(tmp_path, known).changed.items()} == {"sub/b.txt": 5}


def test_other_content_of_equal_size_and_time_is_a_change(tmp_path: Path) -> None:
    target = write(tmp_path / "a.bin", b"one")
    other = write(tmp_path.parent / f"{tmp_path.name}-other.bin", b"two")
    os.utime(other, ns=(target.stat().st_atime_ns, target.stat().st_mtime_ns))
    known = scan_folder(tmp_path).changed
    shutil.copy2(other, target)
    found = scan_folder(tmp_path, known).changed
    assert list(found) == ["a.bin"]
    before, after = known["a.bin"], found["a.bin"]
    assert (before.size, before.mtime_ns, before.inode) == (after.size, after.mtime_ns, after.inode)


def test_a_file_replaced_by_rename_is_a_change(tmp_path: Path) -> None:
    target = write(tmp_path / "a.bin", b"one")
    known = scan_folder(tmp_path).changed
    other = write(tmp_path / "other", b"two")
    os.utime(other, ns=(0, target.stat().st_mtime_ns))
    other.replace(target)
    assert list(scan_folder(tmp_path, known).changed) == ["a.bin"]


def test_ten_thousand_unchanged_files_give_nothing(tmp_path: Path) -> None:
    for number in range(10_000):
        path = tmp_path / str(number % 20) / f"{number}.txt"
        if number < 20:
            path.parent.mkdir()
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    known = scan_folder(tmp_path).changed
    assert len(known) == 10_000
    again = scan_folder(tmp_path, known)
    assert (again.changed, again.segments, again.unreadable) == ({}, {}, {})


def test_what_was_made_while_the_tree_was_walked_is_found_under_the_lock(tmp_path: Path) -> None:
    write(tmp_path / "a" / "old.txt")
    (tmp_path / "b").mkdir()

    def meanwhile() -> None:
        write(tmp_path / "top.txt")
        write(tmp_path / "a" / "new.txt")
        write(tmp_path / "b" / "c" / "d" / "deep.txt")

    found = scan_folder(tmp_path, then=meanwhile)
    assert sorted(found.changed) == ["a/new.txt", "a/old.txt", "b/c/d/deep.txt", "top.txt"]


def test_a_file_made_in_the_tick_in_which_its_folder_was_listed_is_found(tmp_path: Path) -> None:
    """A folder's time moves in ticks of some milliseconds: it can be the same before and after."""
    write(tmp_path / "z.txt")  # the lock is taken only if a file has changed
    (tmp_path / "a").mkdir()
    tick = time.time_ns() + 10**10  # just now, however late the folder is listed
    os.utime(tmp_path / "a", ns=(tick, tick))

    def meanwhile() -> None:
        write(tmp_path / "a" / "image.png")
        os.utime(tmp_path / "a", ns=(tick, tick))

    assert sorted(scan_folder(tmp_path, then=meanwhile).changed) == ["a/image.png", "z.txt"]


def test_lengths_are_those_at_the_moment_of_the_lock(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", b"1\n")

    def meanwhile() -> None:
        with path.open("ab") as file:
            file.write(b"22\n")

    assert scan_folder(tmp_path, then=meanwhile).changed["rows.jsonl"].size == 5


def test_segments_need_no_lock(tmp_path: Path) -> None:
    segment = write(tmp_path / f"train-20260102-{new_writer_id()}-00000.jsonl")
    found = scan(tmp_path, {}, everything, Lock(pytest.fail), is_spool=True)
    assert (list(found.segments), found.is_locked) == ([segment.name], True)


def test_the_lock_is_not_held_during_the_walk_and_free_afterwards(tmp_path: Path) -> None:
    asked: list[bool] = []
    lock = Lock(lambda: None)

    def chosen(path: str) -> bool:
        asked.append(lock.held)
        return True

    write(tmp_path / "a.txt")
    os.utime(tmp_path, (0, 0))  # a folder that has just changed is listed again under the lock
    scan(tmp_path, {}, chosen, lock)
    assert asked == [False]
    assert not lock.held


def test_what_vanishes_meanwhile_is_forgotten(tmp_path: Path) -> None:
    write(tmp_path / "a.txt")
    write(tmp_path / "gone.txt")
    write(tmp_path / "folder" / "gone.txt")

    def meanwhile() -> None:
        (tmp_path / "gone.txt").unlink()
        shutil.rmtree(tmp_path / "folder")

    found = scan_folder(tmp_path, then=meanwhile)
    assert list(found.changed) == ["a.txt"]
    assert found.unreadable == {}


def test_a_folder_that_became_a_file_does_not_stop_the_scan(tmp_path: Path) -> None:
    write(tmp_path / "a.txt")
    write(tmp_path / "folder" / "deep" / "b.txt")

    def meanwhile() -> None:
        shutil.rmtree(tmp_path / "folder")
        write(tmp_path / "folder", b"now a file")

    assert sorted(scan_folder(tmp_path, then=meanwhile).changed) == ["a.txt", "folder"]


def test_what_belongs_to_git_and_to_the_clients_is_left_out(tmp_path: Path) -> None:
    for name in (
        ".git/config",
        "sub/.git/config",
        ".cache/huggingface/x",
        "sub/.cache/huggingface/x",
    ):
        write(tmp_path / name)
    assert scan_folder(tmp_path).changed == {}


def test_the_git_file_of_a_submodule_is_left_out_like_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "sub" / ".git", b"gitdir: ../.git/modules/sub")
    assert scan_folder(tmp_path).changed == {}


def test_other_hidden_files_and_likely_names_are_data(tmp_path: Path) -> None:
    names = [".gitattributes", ".hidden/x.txt", "git/x.txt", "my.cache/huggingface/x.txt", "x.jsonl.new"]
    for name in names:
        write(tmp_path / name)
    assert sorted(scan_folder(tmp_path).changed) == sorted(names)


def test_links_to_files_count_and_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside" / "real.txt", b"12345")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file.txt").symlink_to(outside)
    (folder / "folder").symlink_to(outside.parent)
    (folder / "nowhere").symlink_to(tmp_path / "missing")
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "pipe")
    found = scan_folder(folder)
    assert {path: stat.size for path, stat in found.changed.items()} == {"file.txt": 5}


def test_what_cannot_be_read_is_named_and_the_rest_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.txt")
    write(tmp_path / "closed" / "b.txt")
    real = os.scandir

    def scandir(path: Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = scan_folder(tmp_path)
    assert list(found.changed) == ["a.txt"]
    assert "Permission denied" in found.unreadable["closed"]


def test_only_chosen_files_count(tmp_path: Path) -> None:
    write(tmp_path / "a.txt")
    write(tmp_path / "b.txt")
    assert list(scan(tmp_path, {}, lambda path: path == "a.txt").changed) == ["a.txt"]


def test_a_spool_has_segments_and_no_other_folder_has(tmp_path: Path) -> None:
    """Anywhere else a file of such a name is one of the user's, and a spool is nothing of the user's."""
    spool = tmp_path / "votes-0123abcd.spool"
    segment = write(spool / f"train-20260102-{new_writer_id()}-00000.jsonl")
    for other in ("ledger.sqlite3", "destination.json", f".{segment.name}.new", f"claimed/{segment.name}"):
        write(spool / other)
    write(tmp_path / segment.name)
    write(tmp_path / "sub" / spool.name / "rows.jsonl")
    write(tmp_path / "reel.spool" / "film.txt")
    found = scan(spool, {}, everything, is_spool=True)
    assert (list(found.segments), list(found.changed)) == ([segment.name], [])
    found = scan_folder(tmp_path)
    assert (list(found.segments), sorted(found.changed)) == ([], ["reel.spool/film.txt", segment.name])


def test_a_folder_that_is_missing_is_empty(tmp_path: Path) -> None:
    assert scan_folder(tmp_path / "missing").changed == {}


def test_numbers_are_racy_while_the_last_change_is_young() -> None:
    stat = Stat(1, 10 * SECOND, 11 * SECOND, 4)
    assert stat.is_racy(11 * SECOND + RACY_NS - 1)
    assert not stat.is_racy(11 * SECOND + RACY_NS)


def segment_of(folder: Path, *, ours: bool = True) -> Path:
    writer = new_writer_id()
    if not ours:
        writer = writer[:-12] + ("ffff" if host_digits() != "ffff" else "0000") + writer[-8:]
    return write(folder / str(SegmentName("train", "20260102", writer, 0)), b"row\n")


def test_the_owners_lock_tells_whether_it_lives(tmp_path: Path) -> None:
    path = segment_of(tmp_path)
    stat = Stat.of(path.stat())
    long_after = stat.mtime_ns + 10 * DEFAULTS.foreign_rest_seconds * SECOND
    with path.open("ab") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        assert owner_of(path, stat, long_after) is Owner.ALIVE
    assert owner_of(path, stat, stat.mtime_ns) is Owner.GONE
    path.unlink()
    assert owner_of(path, stat, long_after) is Owner.ALIVE


def test_a_segment_of_another_host_is_left_alone_until_it_rested(tmp_path: Path) -> None:
    path = segment_of(tmp_path, ours=False)
    stat = Stat.of(path.stat())
    rest = DEFAULTS.foreign_rest_seconds * SECOND
    later = stat.mtime_ns + rest + 1
    assert owner_of(path, stat, stat.mtime_ns + rest) is Owner.ALIVE
    assert owner_of(path, stat, later) is Owner.GONE
    with path.open("ab") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        assert owner_of(path, stat, later) is Owner.ALIVE


def test_on_a_network_mount_the_age_of_anothers_segment_never_makes_it_removable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubspool.spool.owners.disk_of", lambda folder: Disk("/", "nfs4"))
    path = segment_of(tmp_path, ours=False)
    stat = Stat.of(path.stat())
    assert owner_of(path, stat, stat.mtime_ns + DEFAULTS.foreign_rest_seconds * SECOND + 1) is Owner.LEFT


def test_where_locks_do_not_work_the_age_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = segment_of(tmp_path)
    stat = Stat.of(path.stat())

    def no_locks(fd: int, operation: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert owner_of(path, stat, stat.mtime_ns) is Owner.ALIVE
    assert owner_of(path, stat, stat.mtime_ns + DEFAULTS.foreign_rest_seconds * SECOND + 1) is Owner.LEFT


@pytest.mark.parametrize(
    ("owner", "sent", "removable"),
    [
        (Owner.GONE, [(0, 10)], True),
        (Owner.GONE, [(0, 4), (4, 10)], True),
        (Owner.GONE, [(0, 4)], False),
        (Owner.GONE, [(0, 4), (6, 10)], False),  # damaged lines between them
        (Owner.GONE, [(2, 10)], False),
        (Owner.GONE, [], False),
        (Owner.LEFT, [(0, 10)], False),
        (Owner.ALIVE, [(0, 10)], False),
    ],
)
def test_a_segment_is_removed_only_when_its_writer_is_gone_and_all_of_it_is_sent(
    owner: Owner, sent: list[tuple[int, int]], removable: bool
) -> None:
    assert is_removable(owner, 10, sent) is removable
