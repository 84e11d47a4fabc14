"""Files given to `ZipScheduler`, or dropped into its folder, are an image folder: each exactly once, nothing lost."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from hubspool import HfApi
from hubspool.cli.flush import scheduler_from
from hubspool.errors import FlushTimeout, NotStoredError
from hubspool.local_hub import Fault, LocalHub
from hubspool_templates import ZipScheduler
from hubspool_templates.archive.inbox import DroppedFiles, inbox_folder
from hubspool_templates.archive.zip_encoding import distinct, member_name
from hubspool_templates.defaults import DEFAULTS
from tests.support.oracle import second_look_after
from tests.support.paths import PROGRAMS
from tests.support.spools import spool_of

REPO = "local/drawings"
SECONDS = 60
LOAD = """
import json, sys, datasets
rows = []
for row in datasets.load_dataset(sys.argv[1])["train"]:
    image = row.pop("image")
    rows.append({**row, "size": image.size, "pixel": image.convert("RGB").getpixel((0, 0))})
print(json.dumps(rows))
"""
WRITER = PROGRAMS / "zip_writer.py"

POINTS = [
    "before the claim", "before the line", "before the encoding", "after the encoding", "before the commit",
    "after the commit", "before the removal", "between the removals",
]  # fmt: skip

Make = Callable[..., ZipScheduler]


@pytest.fixture
def scheduler_kind() -> type[ZipScheduler]:
    return ZipScheduler


@pytest.fixture
def scheduler_options() -> dict[str, Any]:
    return {"repo_id": REPO}


@pytest.fixture
def archives(hub_api: HfApi, tmp_path: Path) -> Callable[[], dict[str, zipfile.ZipFile]]:
    """Path → archive, of what is on the Hub."""

    def read() -> dict[str, zipfile.ZipFile]:
        found = {}
        for path in sorted(hub_api.list_repo_files(REPO, repo_type="dataset")):
            if path.endswith(".zip"):
                local = hub_api.hf_hub_download(REPO, path, repo_type="dataset", local_dir=tmp_path / "read")
                found[path] = zipfile.ZipFile(io.BytesIO(Path(local).read_bytes()))
                assert found[path].testzip() is None
        return found

    return read


def contents(archives: dict[str, zipfile.ZipFile]) -> list[tuple[str, bytes]]:
    """Every file in the archives but the tables, which name exactly those files."""
    found = []
    for archive in archives.values():
        names = [name for name in archive.namelist() if name != "metadata.jsonl" and not name.endswith("/")]
        assert names == sorted(names)
        assert [row["file_name"] for row in table(archive)] == names
        found += [(name, archive.read(name)) for name in names]
    return sorted(found)


def claimed(folder: Path) -> list[str]:
    return sorted(path.name for path in inbox_folder(spool_of(folder)).rglob("*.*") if path.suffix != ".lock")


def table(archive: zipfile.ZipFile) -> list[dict[str, Any]]:
    return [json.loads(line) for line in archive.read("metadata.jsonl").splitlines()]


def picture(n: int, kind: str = "PNG") -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (4 + n, 3), (n, 0, 0)).save(content, kind)
    return content.getvalue()


def test_everything_that_add_takes_loads_as_an_image_folder(
    make: Make, reader: Callable[..., str], tmp_path: Path
) -> None:
    outside = tmp_path / "z.png"
    outside.write_bytes(picture(1))
    with make() as scheduler:
        scheduler.add(outside, label="path", score=1)
        scheduler.add(picture(2), "Ünïcode 图.png", label="bytes", score=0.5)
        scheduler.add(Image.new("RGB", (7, 3), (3, 0, 0)), "sub/folder/c.png", label="image")
        scheduler.flush(SECONDS)
        with outside.open("rb") as file:
            scheduler.add(file, label="file object", extra=["a"])
            assert not file.closed
    rows = json.loads(reader(LOAD, REPO))
    assert sorted((row["label"], row["score"], row["extra"], row["size"], row["pixel"]) for row in rows) == [
        ("bytes", 0.5, None, [6, 3], [2, 0, 0]),
        ("file object", None, ["a"], [5, 3], [1, 0, 0]),
        ("image", None, None, [7, 3], [3, 0, 0]),
        ("path", 1.0, None, [5, 3], [1, 0, 0]),
    ]
    assert outside.exists()


def test_archives_of_one_file_each_load_as_an_image_folder(make: Make, reader: Callable[..., str]) -> None:
    scheduler = make()
    for n, kind in enumerate(["PNG", "JPEG", "BMP"]):
        scheduler.add(picture(n, kind), f"z.{kind.lower()}")
        scheduler.flush(SECONDS)
    assert sorted(row["size"] for row in json.loads(reader(LOAD, REPO))) == [[4, 3], [5, 3], [6, 3]]


@pytest.mark.slow
def test_digits_and_photographs_of_two_replicas_with_differing_columns_load(
    make: Make, reader: Callable[..., str], tmp_path: Path
) -> None:
    digits = load_digits()
    schedulers = [make(folder=f"f{number}") for number in range(2)]
    for n in range(200):
        image = Image.fromarray((digits.images[n] * 15).astype("uint8"))
        more = {"even": n % 2 == 0} if n % 3 else {"note": n if n % 2 else "text"}
        schedulers[n % 2].add(image, f"{n}.png", number=n, digit=int(digits.target[n]), **more)
    schedulers[0].flush(SECONDS)
    photographs = load_sample_images()
    for name, pixels in zip(photographs.filenames, photographs.images, strict=True):
        Image.fromarray(pixels).save(schedulers[0].folder_path / Path(name).name)
    for scheduler in schedulers:
        scheduler.stop(timeout=SECONDS)
    rows = json.loads(reader(LOAD, REPO))
    found = {row["number"]: row for row in rows if row["number"] is not None}
    assert {n: row["digit"] for n, row in found.items()} == {n: int(digits.target[n]) for n in range(200)}
    assert all(row["pixel"] == [int(digits.images[n][0][0]) * 15] * 3 for n, row in found.items())
    assert {(n, row["note"]) for n, row in found.items() if row["note"]} == {
        (n, str(n) if n % 2 else "text") for n in range(0, 200, 3)
    }
    assert sorted(row["size"] for row in rows if row["number"] is None) == [[640, 427], [640, 427]]


@pytest.mark.parametrize("limit", [{"push_after_rows": 2}, {"push_after_bytes": 1500}], ids=str)
def test_a_push_comes_sooner_when_enough_is_waiting(limit: dict[str, int], make: Make) -> None:
    pushed = threading.Event()
    scheduler = make(on_commit=lambda event: pushed.set(), **limit)
    scheduler.add(bytes(1000), "a")
    assert not pushed.is_set()
    scheduler.add(bytes(1000), "b")
    assert pushed.wait(SECONDS)


def test_two_thousand_dropped_files_arrive_once_and_leave_the_folder(make: Make, archives: Any) -> None:
    scheduler = make()
    expected = []
    for n in range(2000):
        path = scheduler.folder_path / f"{n % 7}" / f"{n}.bin"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(n.to_bytes(4, "big"))
        expected.append((f"{n % 7}/{n}.bin", n.to_bytes(4, "big")))
        if n % 500 == 250:
            scheduler.trigger()
    scheduler.stop(timeout=SECONDS)
    assert contents(archives()) == sorted(expected)
    assert list(scheduler.folder_path.rglob("*.bin")) == []


def test_only_complete_files_are_taken(make: Make, archives: Any) -> None:
    scheduler = make(check_media=False)
    folder = scheduler.folder_path
    for name in (".hidden.png", "a.tmp", "b.part", ".git/x"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"1")
    with (folder / "open.png").open("wb") as file:
        file.write(b"half")
        file.flush()
        (folder / "done.png").write_bytes(b"2")
        scheduler.flush(SECONDS)
        assert contents(archives()) == [("done.png", b"2")]
        file.write(b" and half")
    (folder / "a.tmp").rename(folder / "a.png")
    scheduler.flush(SECONDS)
    assert contents(archives()) == [("a.png", b"1"), ("done.png", b"2"), ("open.png", b"half and half")]
    left = {path.name for path in folder.iterdir()} - {spool_of(folder).name}
    assert left == {".git", ".hidden.png", "b.part"}


def test_a_file_that_is_written_under_the_lock_is_never_taken_in_between(
    make: Make, archives: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = make(check_media=False)
    is_complete, held = scheduler._dropped.is_complete, []

    def look(path: str, *, final: bool) -> bool:
        held.append(scheduler.lock.locked())
        return is_complete(path, final=final)

    monkeypatch.setattr(scheduler._dropped, "is_complete", look)
    with scheduler.lock:
        (scheduler.folder_path / "a.png").write_bytes(b"first ")
        future = scheduler.trigger()
        with (scheduler.folder_path / "a.png").open("ab") as file:
            file.write(b"second")
    future.result(SECONDS)
    scheduler.flush(SECONDS)
    assert held
    assert all(held)
    assert contents(archives()) == [("a.png", b"first second")]


def test_where_nobody_tells_who_writes_a_file_rests_first(
    make: Make, archives: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubspool_templates.archive.inbox._has_writer", lambda path: None)
    scheduler = make(check_media=False)
    (scheduler.folder_path / "a.png").write_bytes(b"half")
    for _ in range(2):
        scheduler.trigger().result(SECONDS)
    assert archives() == {}
    scheduler._dropped.rest_seconds = 0.0  # a period is over
    (scheduler.folder_path / "a.png").write_bytes(b"whole")
    scheduler.trigger().result(SECONDS)
    assert contents(archives()) == [("a.png", b"whole")]


def test_nothing_leaves_the_disk_before_the_commit_is_known(
    make: Make, archives: Any, local_hub: LocalHub, tmp_path: Path
) -> None:
    scheduler = make()
    large = os.urandom(DEFAULTS.inline_bytes + 1)
    local_hub.faults.add(Fault(route="commit", status=503, times=None))
    (scheduler.folder_path / "a.bin").write_bytes(picture(1))
    scheduler.add(large, "large.bin")
    with pytest.raises(FlushTimeout):
        scheduler.flush(2)
    assert local_hub.faults.hits
    assert claimed(scheduler.folder_path) == ["a.bin", "large.bin"]
    local_hub.faults.clear()
    scheduler.stop(timeout=SECONDS)
    assert contents(archives()) == [("a.bin", picture(1)), ("large.bin", large)]
    assert claimed(scheduler.folder_path) == []


@pytest.mark.parametrize("point", POINTS)
def test_kill_9_at_any_point_loses_and_doubles_nothing(
    point: str, local_hub: LocalHub, make: Make, archives: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for n in range(5):
        (folder / f"{n}.png").write_bytes(picture(n))
    environment = {**os.environ, "HF_ENDPOINT": local_hub.endpoint, "HF_TOKEN": local_hub.token}
    run = subprocess.run([sys.executable, str(WRITER), str(folder), point], env=environment, timeout=SECONDS)
    assert run.returncode == -signal.SIGKILL
    with second_look_after(0):  # what a look found on the Hub is removed after a second one
        for _ in range(2):
            with make() as scheduler:
                scheduler.flush(SECONDS)
    assert contents(archives()) == sorted((f"{n}.png", picture(n)) for n in range(5))
    assert [*folder.iterdir()] == [spool_of(folder)]
    assert not list(spool_of(folder).glob("*.jsonl"))
    assert claimed(folder) == []


def test_keep_local_keeps_the_files_and_sends_none_twice(make: Make, archives: Any) -> None:
    for n in range(2):
        with make(keep_local=True) as scheduler:
            (scheduler.folder_path / f"{n}.png").write_bytes(picture(n))
    assert [name for name, _ in contents(archives())] == ["0.png", "1.png"]
    assert claimed(scheduler.folder_path) == ["0.png", "1.png"]


def test_a_lost_state_folder_of_the_ledger_doubles_nothing(make: Make, archives: Any) -> None:
    scheduler = make(keep_local=True)
    for n in range(3):
        scheduler.add(picture(n), f"{n}.png")
        scheduler.flush(SECONDS)
    scheduler.stop()
    state = scheduler.spool_folder
    for path in [*state.glob("ledger*"), *state.glob("sealed/*/*")]:
        path.unlink()
    with make(keep_local=True) as again:
        again.add(picture(3), "3.png")
    assert contents(archives()) == [(f"{n}.png", picture(n)) for n in range(4)]


def test_a_dropped_file_that_add_is_given_is_stored_once_with_its_metadata(make: Make, archives: Any) -> None:
    with make() as scheduler:
        path = scheduler.folder_path / ".new.png"
        path.write_bytes(picture(1))
        scheduler.add(path, "a.png", label="x")
        assert not path.exists()
    (archive,) = archives().values()
    assert table(archive) == [{"file_name": "a.png", "label": "x"}]


@pytest.mark.parametrize(
    "name",
    ["../a", "a/../../b", "/a", "C:/a", "c:a", "a\\b", "..\\a", "", ".", "a//b", "a/", "a\0b", "\udcff", "x" * 256, "zip://a"],
)  # fmt: skip
def test_names_that_escape_are_refused(name: str, make: Make) -> None:
    with pytest.raises(ValueError, match="cannot be a file's name"):
        member_name(name)
    if name:
        with pytest.raises(ValueError, match="cannot be a file's name"):
            make().add(b"1", name)


def test_a_dropped_name_that_escapes_stays_and_holds_nothing_up(make: Make, archives: Any) -> None:
    scheduler = make(check_media=False)
    for name in ("..\\evil.png", "good.png"):
        (scheduler.folder_path / name).write_bytes(b"1")
    scheduler.flush(SECONDS)
    assert [name for name, _ in contents(archives())] == ["good.png"]
    assert (scheduler.folder_path / "..\\evil.png").exists()


def test_files_of_one_name_get_names_of_their_own(make: Make, archives: Any) -> None:
    with make() as scheduler, scheduler.lock:  # no push in between: one archive
        for n in range(3):
            scheduler.add(b"text", "a.txt", n=n)
        scheduler.add(b"{}", "metadata.jsonl", n=3)
    (archive,) = archives().values()
    assert {row["file_name"]: row["n"] for row in table(archive)} == {
        "a.txt": 0, "a-2.txt": 1, "a-3.txt": 2, "metadata-2.jsonl": 3,
    }  # fmt: skip
    assert distinct(["a-2.png", "a.png", "A.PNG", "a.png"]) == ["a-2.png", "a.png", "A-3.PNG", "a-4.png"]


def test_metadata_that_is_no_json_or_takes_the_files_column_is_refused(make: Make) -> None:
    scheduler = make()
    for metadata in ({"x": b"1"}, {"image": 1}, {"x": object()}):
        with pytest.raises(ValueError, match=r"'x'|'image'"):
            scheduler.add(b"1", "a", **metadata)
    for file in (3, io.BytesIO(b"1")):
        with pytest.raises(ValueError, match=r"not a file|no name"):
            scheduler.add(file, *(["a"] if file == 3 else []))
    assert scheduler.pending_rows() == 0


def test_redact_sees_the_name_and_the_metadata(make: Make, archives: Any) -> None:
    with make(redact=lambda row: {"file_name": "x/" + row["file_name"], "who": "?"}) as scheduler:
        scheduler.add(b"1", "a.bin", who="me")
        (scheduler.folder_path / "b.bin").write_bytes(b"2")
    rows = [row for archive in archives().values() for row in table(archive)]
    assert rows == [{"file_name": "x/a.bin", "who": "?"}, {"file_name": "x/b.bin", "who": "?"}]


def test_dropped_files_that_redact_gives_one_name_are_all_kept(make: Make, archives: Any) -> None:
    with make(redact=lambda row: {"file_name": "same.bin"}) as scheduler:
        for n in range(3):
            (scheduler.folder_path / f"{n}.bin").write_bytes(b"%d" % n)
    assert sorted(data for _, data in contents(archives())) == [b"0", b"1", b"2"]


def test_the_recipe_makes_the_same_object_again(make: Make, hub_api: HfApi) -> None:
    first = make(allow_patterns="*.png", keep_local=True)
    again = scheduler_from(first.recipe(), first.folder_path, None, hub_api.token)
    assert type(again) is ZipScheduler
    assert (again.allow_patterns, again.keep_local) == ("*.png", True)
    again.stop(flush=False)


def test_pipes_sockets_and_devices_in_the_folder_hold_up_nothing(
    make: Make, archives: Callable[[], dict[str, zipfile.ZipFile]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To open a pipe waits for its writer, for ever."""
    scheduler = make()
    os.mkfifo(scheduler.folder_path / "a.png")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(scheduler.folder_path)  # the path of a socket is short
        server.bind("b.png")
        (scheduler.folder_path / "c.png").write_bytes(picture(1))
        scheduler.flush(SECONDS)
    assert contents(archives()) == [("c.png", picture(1))]
    assert sorted(path.name for path in scheduler.folder_path.glob("*.png")) == ["a.png", "b.png"]


def test_a_file_that_a_pipe_replaces_before_it_is_claimed_holds_up_nothing(
    make: Make, archives: Callable[[], dict[str, zipfile.ZipFile]], monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = make()
    (scheduler.folder_path / "a.png").write_bytes(picture(1))
    (scheduler.folder_path / "b.png").write_bytes(picture(2))
    real = DroppedFiles.is_complete

    def swap(dropped: DroppedFiles, path: str, *, final: bool) -> bool:
        complete = real(dropped, path, final=final)
        if path == "a.png" and complete:
            (scheduler.folder_path / path).unlink()
            os.mkfifo(scheduler.folder_path / path)
        return complete

    monkeypatch.setattr(DroppedFiles, "is_complete", swap)
    with pytest.raises(NotStoredError, match="not a regular file"):
        scheduler.flush(SECONDS)
    scheduler.flush(SECONDS)
    assert contents(archives()) == [("b.png", picture(2))]


def test_a_dropped_file_that_cannot_be_stored_is_named_until_it_can(
    make: Make, archives: Callable[[], dict[str, zipfile.ZipFile]]
) -> None:
    scheduler = make()
    (scheduler.folder_path / "nul.png").write_bytes(picture(1))
    bad = scheduler.folder_path / "a\\b.png"
    bad.write_bytes(picture(2))
    with pytest.raises(NotStoredError, match=r"b\.png"):
        scheduler.flush(SECONDS)
    assert list(scheduler.status().skipped) == ["a\\b.png"]
    bad.rename(scheduler.folder_path / "b.png")
    scheduler.flush(SECONDS)
    assert scheduler.status().skipped == {}
    assert len(contents(archives())) == 2


def test_a_folder_that_cannot_be_listed_is_named_and_the_others_are_stored(
    make: Make, archives: Callable[[], dict[str, zipfile.ZipFile]], monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = make()
    for name in ("closed", "open"):
        (scheduler.folder_path / name).mkdir()
        (scheduler.folder_path / name / "a.png").write_bytes(picture(1))
    real: Callable[[Any], Any] = os.scandir

    def scandir(path: Any) -> Any:
        if os.fspath(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(NotStoredError, match="Permission denied"):
        scheduler.flush(SECONDS)
    assert list(scheduler.status().skipped) == ["closed"]
    monkeypatch.undo()
    assert [name for name, _ in contents(archives())] == ["open/a.png"]
    scheduler.flush(SECONDS)
    assert scheduler.status().skipped == {}


def test_files_have_a_time_and_an_id_where_they_are_asked_for(
    make: Make, archives: Callable[[], dict[str, zipfile.ZipFile]]
) -> None:
    with make(timestamp=True, id=True) as scheduler:
        (scheduler.folder_path / "dropped.txt").write_bytes(b"1")
        scheduler.add(b"2", "added.txt", label="x")
        scheduler.add(b"3", "with its own.txt", id="mine")
    rows = [row for archive in archives().values() for row in table(archive)]
    by_name = {row["file_name"]: row for row in rows}
    assert by_name["with its own.txt"]["id"] == "mine"
    assert len({row["id"] for row in rows}) == 3
    assert all(row["timestamp"].endswith("+00:00") for row in rows)
    assert by_name["added.txt"]["label"] == "x"


def test_media_that_no_reader_opens_are_refused_and_dropped_ones_stay(
    make: Make, archives: Callable[[], dict[str, zipfile.ZipFile]]
) -> None:
    scheduler = make()
    for content in (b"", b"<html>", picture(1)[:-8]):
        with pytest.raises(ValueError, match=r"'bad\.png'.*check_media=False"):
            scheduler.add(content, "bad.png")
    for name, content in (("empty.png", b""), ("cut.png", picture(2)[:-8]), ("good.png", picture(3)), ("x.txt", b"")):
        (scheduler.folder_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"'cut\.png'.*truncated"):
        scheduler.add(scheduler.folder_path / "cut.png")
    with pytest.raises(NotStoredError, match=r"cut\.png.*truncated"):
        scheduler.flush(SECONDS)
    assert sorted(scheduler.left_in_folder()) == ["cut.png", "empty.png"]
    assert [name for name, _ in contents(archives())] == ["good.png", "x.txt"]
    assert (scheduler.folder_path / "cut.png").exists()


def test_pictures_in_archives_name_no_place_and_no_camera(
    make: Make, archives: Callable[[], dict[str, zipfile.ZipFile]], tmp_path: Path
) -> None:
    image = Image.linear_gradient("L")
    exif = image.getexif()
    exif[0x0112], exif[0x010F] = 6, "CameraMaker"
    image.save(tmp_path / "photo.jpg", exif=exif)
    with make(strip_exif=True) as scheduler:
        scheduler.add(tmp_path / "photo.jpg", "added.jpg")
        for name in ("moved.jpg", "dropped.jpg"):
            (scheduler.folder_path / name).write_bytes((tmp_path / "photo.jpg").read_bytes())
        scheduler.add(scheduler.folder_path / "moved.jpg")
        scheduler.add(Image.open(tmp_path / "photo.jpg"), "object.jpg")
        scheduler.add(Image.new("HSV", (2, 2)), "hsv.png")
        with pytest.raises(ValueError, match=r"'alpha\.jpg'.*RGB"):
            scheduler.add(Image.new("RGBA", (2, 2)), "alpha.jpg")
    assert b"CameraMaker" in (tmp_path / "photo.jpg").read_bytes()
    assert not list(scheduler.folder_path.glob("*.jpg"))
    found = dict(contents(archives()))
    assert sorted(found) == ["added.jpg", "dropped.jpg", "hsv.png", "moved.jpg", "object.jpg"]
    for name, content in found.items():
        assert b"CameraMaker" not in content
        stored = Image.open(io.BytesIO(content))
        assert stored.getexif().get(0x0112) == (None if name == "hsv.png" else 6)
        assert name in ("hsv.png", "object.jpg") or stored.tobytes() == Image.open(tmp_path / "photo.jpg").tobytes()
