"""Full disks, short writes, and disks that report errors."""

from __future__ import annotations

import io
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hubspool.errors import NotStoredError
from hubspool_templates import ZipScheduler
from tests.support.env import Place, Start
from tests.support.oracle import judge
from tests.support.processes import strace
from tests.support.spools import spool_of

WRITER = """
import resource, signal, sys
from pathlib import Path
from hubspool import HfApi
from hubspool.errors import SpoolFull
from hubspool_templates import JsonlScheduler
from tests.support.producer import Producer
endpoint, folder, records, size, limit = sys.argv[1:]
scheduler = JsonlScheduler("local/rows", folder, every=600, hf_api=HfApi(endpoint=endpoint, token="hf_local"))
producer = Producer(scheduler.append, Path(records), int(size))
scheduler.flush(60)
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
refused = []
print("begin", flush=True)
for number in range(400):
    try:
        producer.put()
    except (SpoolFull, OSError) as error:
        refused.append(type(error).__name__)
        if len(refused) >= 3:
            break
print("refused", *refused, flush=True)
sys.stdin.readline()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
producer.put_many(3)
print("again", flush=True)
sys.stdin.readline()
scheduler.stop(timeout=60)
"""


@pytest.mark.parametrize("size", [400, 20_000, 300_000])
def test_a_full_disk(place: Place, start: Start, mount: Callable[[str], Path], size: int) -> None:
    disk = mount("3m")
    folder = disk / "folder"
    process = start([sys.executable, "-c", WRITER, place.hub.endpoint, folder, place.records, str(size), "0"])
    process.wait_line("begin")
    ballast = disk / "ballast"
    if size == 400:
        _fill(ballast)
    line = process.wait_line("refused")
    if size != 400:
        assert line.split()[1:] == ["SpoolFull"] * 3, line
    ballast.unlink(missing_ok=True)
    _fill(ballast)
    process.signal(signal.SIGCONT)
    ballast.unlink()
    for segment in folder.rglob("*.jsonl"):
        assert segment.read_bytes()[-1:] in (b"", b"\n"), "a short write was left behind"
    assert not list(folder.rglob(".*.new"))
    subprocess.run(["mount", "-o", "remount,size=30m", str(disk)], check=True)
    process.say()
    process.wait_line("again")
    process.say()
    assert process.wait() == 0, process.errors()
    judge(place.hub, folder, place.records).check()


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return


def test_an_app_starts_and_ends_on_a_full_disk(place: Place, start: Start, mount: Callable[[str], Path]) -> None:
    disk = mount("4m")
    folder = disk / "folder"
    process = start(rows=3, leave="stop", folder=folder)
    assert process.wait() == 0, process.errors()
    process = start(rows=3, leave="wait", no_flush=True, folder=folder)
    process.wait_line("ready")
    process.kill()
    ballast = disk / "ballast"
    _fill(ballast)
    state = spool_of(folder)
    ledgers = sorted(path.name for path in state.glob("ledger*kept*"))
    process = start(rows=0, leave="stop", no_flush=True, folder=folder)
    process.wait_line("ready")
    process.wait()
    assert sorted(path.name for path in state.glob("ledger*kept*")) == ledgers, "a healthy ledger was set aside"
    ballast.unlink()
    judge(place.hub, folder, place.records).check()


@pytest.mark.parametrize("size", [3_000, 60_000])
def test_a_short_write_is_finished_or_taken_back(place: Place, start: Start, size: int) -> None:
    """A limit on the file's size makes the kernel write a part of a row and then refuse."""
    limit = 5 * size + size // 3
    process = start(
        [sys.executable, "-c", WRITER, place.hub.endpoint, place.folder, place.records, str(size), str(limit)]
    )
    assert process.wait_line("refused").split()[1:], "the limit was never met"
    for segment in place.folder.rglob("*.jsonl"):
        assert segment.read_bytes()[-1:] in (b"", b"\n")
    process.say()
    process.wait_line("again")
    process.say()
    assert process.wait() == 0, process.errors()
    place.judge().check()


@pytest.mark.parametrize(
    "inject",
    [
        "fdatasync:error=EIO:when=2",
        "fdatasync:error=EIO:when=4+",
        "fsync:error=EIO:when=2+",
        "ftruncate:error=EIO",
        "unlink:error=EIO",
        "link:error=EIO:when=1",
        "rename:error=EIO:when=3",
        "pread64:error=EIO:when=5..8",
        "pwrite64:error=EIO:when=12..20",
        "pwrite64:error=ENOSPC:when=20+",
        "mkdir:error=ENOSPC:when=6+",
        "flock:error=ENOLCK:when=3..8",
    ],
)
def test_a_disk_that_reports_errors(place: Place, start: Start, inject: str) -> None:
    """Whatever was acknowledged in spite of it is on the Hub after the next start."""
    call = inject.split(":", maxsplit=1)[0]
    trace = place.root / "trace"
    prefix = strace("-e", f"trace={call}", "-e", f"inject={inject}", output=trace)
    process = start(prefix=prefix, rows=4, rounds=3, roll_bytes=1500, more=3, flush_timeout=5)
    process.wait(90)
    process.end()
    if call not in ("ftruncate",):
        assert "(INJECTED)" in trace.read_text(errors="replace"), "the error never came"
    place.judge().check()


@pytest.mark.parametrize("call", ["read", "close"])
def test_an_error_of_a_segments_own_calls(place: Place, start: Start, call: str) -> None:
    trace = place.root / "trace"
    process = start(rows=3, more=3, leave="read", no_flush=True)
    process.wait_line("ready")
    segment = next(place.folder.rglob("*.jsonl"))
    tracer = start(
        [
            "strace",
            "-f",
            "-p",
            str(process.pid),
            "-o",
            trace,
            "-P",
            segment,
            "-e",
            f"trace={call}",
            "-e",
            f"inject={call}:error=EIO:when=1..2",
        ]
    )
    tracer_log = place.root / "process1.log"
    while "attached" not in (tracer_log.read_text() if tracer_log.exists() else "") and tracer.popen.poll() is None:
        pass
    assert process.popen.stdin is not None
    process.popen.stdin.close()
    process.wait(60)
    tracer.wait(60)
    assert re.search(r"EIO.*INJECTED", trace.read_text(errors="replace")), "the error never came"
    place.judge().check()


def test_a_disk_that_becomes_read_only(place: Place, start: Start, mount: Callable[[str], Path]) -> None:
    disk = mount("8m")
    folder = disk / "folder"
    process = start(rows=3, more=3, leave="wait", folder=folder)
    process.wait_line("ready")
    process.kill()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    process = start(rows=0, leave="stop", no_flush=True, folder=folder)
    process.wait_line("ready")  # the app starts
    process.wait()
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    judge(place.hub, folder, place.records).check()


def test_a_file_on_a_mount_inside_the_folder_is_named_and_the_others_are_stored(
    place: Place, mount: Callable[..., Path]
) -> None:
    """A rename across mounts fails; given to `add`, which may take longer, such a file is copied, then removed."""
    scheduler = ZipScheduler("local/rows", place.folder, every=600, hf_api=place.api, check_media=False)
    inside = mount("9m", place.folder / "inside")
    (inside / "there.png").write_bytes(b"x" * 300_000)
    (place.folder / "here.png").write_bytes(b"here")
    with pytest.raises(NotStoredError, match=r"inside/there\.png: .* another mount"):
        scheduler.flush(60)
    assert list(scheduler.status().skipped) == ["inside/there.png"]
    assert (scheduler.status().pending_files, (place.folder / "here.png").exists()) == (1, False)
    scheduler.add(inside / "there.png")
    scheduler.stop()
    assert (scheduler.status().skipped, list(inside.iterdir())) == ({}, [])
    archives = [path for path in place.api.list_repo_files("local/rows", repo_type="dataset") if path.endswith(".zip")]
    contents = [place.api.client().request("GET", scheduler.target.file_url(path)).content for path in archives]
    files = [zipfile.ZipFile(io.BytesIO(content)) for content in contents]
    stored = {name: file.read(name) for file in files for name in file.namelist() if name.endswith(".png")}
    assert stored == {"here.png": b"here", "there.png": b"x" * 300_000}
    assert not list(scheduler._inbox.root.rglob("*"))


OWN_FILES_ONLY = """
import sys
from pathlib import Path
from hubspool import HfApi
from hubspool.errors import FlushTimeout
from hubspool_templates import JsonlScheduler
from tests.support.producer import Producer
endpoint, folder, records = sys.argv[1:]
scheduler = JsonlScheduler("local/rows", folder, every=600, hf_api=HfApi(endpoint=endpoint, token="hf_local"))
producer, refused = Producer(scheduler.append, Path(records)), ""
try:
    producer.put_many(3)
except PermissionError as error:
    refused = error.filename
try:
    scheduler.flush(5)
except FlushTimeout as error:
    print("flush", str(error).replace("\\n", " "), flush=True)
print("refused", refused, flush=True)
scheduler.stop(flush=False)
"""


@pytest.mark.parametrize("whose", ["ledger", "spool"])
def test_files_of_another_user(place: Place, start: Start, whose: str) -> None:
    """The second process may write its own user's files only: a row is refused, or it waits for a process that may."""
    assert start(rows=3, leave="os-exit").wait() == 4
    (spool,) = place.folder.glob("*.spool")
    subprocess.run(["chown", "-R", "65534", *(spool.iterdir() if whose == "ledger" else [spool])], check=True)
    unprivileged = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    words = [sys.executable, "-c", OWN_FILES_ONLY, place.hub.endpoint, place.folder, place.records]
    process = start(words, prefix=unprivileged)
    if whose == "ledger":
        assert re.search(r"ledger\.sqlite3 cannot be opened or written", process.wait_line("flush"))
        assert process.wait_line("refused").strip() == "refused"
    else:
        assert str(spool) in process.wait_line("refused")
    assert process.wait() == 0, process.errors()
    place.judge().check()
