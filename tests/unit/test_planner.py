"""The planner lists the uploads of a folder, with a Hub that only answers reads."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from hubspool.client.target import Target
from hubspool.errors import HubConnectionError, RemoteEntryNotFoundError
from hubspool.files import Stat
from hubspool.push import lines
from hubspool.push.budget import BOUNDLESS
from hubspool.push.context import PushContext, PushHooks, PushMemory
from hubspool.push.defaults import DEFAULTS, PushLimits
from hubspool.push.ledger import Ledger
from hubspool.push.part import Closed, Part
from hubspool.push.plan import PushPlan
from hubspool.push.planner import Planner
from hubspool.push.remote import ForeignChanges, RemoteFile
from hubspool.push.rules import OnExisting
from hubspool.push.scan import Snapshot
from hubspool.spool.segment_name import host_digits, new_writer_id

TARGET = Target.of("http://127.0.0.1:1", "user/rows", "dataset", "main")
REST = 300.0
LIMITS = PushLimits(part_commits=3, part_bytes=30, part_seconds=1000, rest_seconds=REST)


class Hub:
    """Has contents by path and records which paths it was asked about."""

    def __init__(self, **contents: bytes) -> None:
        self.contents = contents
        self.asked: list[list[str]] = []
        self.error: Exception | None = None

    def files(self, paths: Sequence[str]) -> dict[str, RemoteFile]:
        self.asked.append(list(paths))
        if self.error:
            raise self.error
        found = {path: self.contents[path] for path in paths if path in self.contents}
        return {path: RemoteFile(path, len(data), sha256(data).hexdigest()) for path, data in found.items()}

    def read(self, path: str, start: int, length: int) -> bytes:
        return self.contents[path][start : start + length]


class Folder:
    """A folder that is planned repeatedly, as a scheduler does it; nothing is sent."""

    def __init__(self, path: Path) -> None:
        self.path = path / "folder"
        self.path.mkdir()
        self.now = 1_000_000.0
        self.settled: dict[str, Stat] = {}
        self.known: dict[str, list[Part]] = {}

        def ignore(*args: object) -> None: ...

        api: Any = None  # the planner reads through the Hub that a test passes
        context = PushContext(
            api=api,
            target=TARGET,
            path_in_repo="data",
            folder=self.path,
            ledger=Ledger(path / "state"),
            memory=PushMemory(ForeignChanges(LIMITS.foreign_seconds), was_used=False),
            writer="0" * 12,
            is_chosen=lambda path: True,
            lock=nullcontext(True),
            on_existing=OnExisting.KEEP_BOTH,
            is_versioned=lambda path: False,
            versions_rewritten=False,
            period_seconds=REST,
            keep_local=False,
            hooks=PushHooks(ignore, lambda writers: True, str, ignore, lambda plan: (), ignore),
            budget=BOUNDLESS,
            encoding=None,
            limits=LIMITS,
            clock=lambda: self.now,
        )
        context.read_ledger()
        self.planner = Planner(context)

    def plan(self, hub: Hub | None = None, *, final: bool = False) -> PushPlan:
        snapshot = self.planner.scan(self.settled)
        return self.planner.plan(snapshot, self.settled, self.known, hub or Hub(), final=final)

    def known_in_ledger(self) -> dict[str, list[Part]]:
        return self.planner.context.ledger.parts(self.planner.context.key)

    def recovered(self, hub: Hub) -> PushPlan:
        """The plan of the second look, after the ledger was lost."""
        self.planner.context.ledger.recover([path.name for path in self.path.iterdir()])
        assert sent(self.plan(hub)) == []
        self.now += LIMITS.second_look_seconds
        return self.plan(hub)

    def segment(self, content: bytes, *, ours: bool = True, seq: int = 0) -> Path:
        writer = new_writer_id() if ours else ("0000" if host_digits() != "0000" else "1111") + "12345678"
        path = self.path / f"train-20260102-{writer}-{seq:05d}.jsonl"
        path.write_bytes(content)
        self.planner.context.is_spool = True
        return path


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def sent(plan: PushPlan) -> list[tuple[str, int, int]]:
    return [(upload.part.path, upload.part.start, upload.end) for upload in plan.uploads]


def test_all_paths_are_asked_about_in_one_request(folder: Folder) -> None:
    for name in ("a.txt", "b.bin", "c.json"):
        (folder.path / name).write_bytes(b"{}\n")
    hub = Hub()
    assert sent(folder.plan(hub)) == [("data/a.txt", 0, 3), ("data/b.bin", 0, 3), ("data/c.json", 0, 3)]
    assert hub.asked == [["data/a.txt", "data/b.bin", "data/c.json"]]


@pytest.mark.parametrize(
    "error",
    [
        HubConnectionError("down"),
        RemoteEntryNotFoundError("not there, says a replica that lags", status_code=404),
    ],
    ids=["connection", "not found"],
)
@pytest.mark.parametrize("segment", [False, True], ids=["file", "segment"])
def test_an_error_of_the_hub_is_no_fault_of_a_file(error: Exception, segment: bool, folder: Folder) -> None:
    """Both are an `OSError` too; taken for a local one, the push would go on and tell that waiting does not help."""
    if segment:
        path = folder.segment(b"{}\n")
        folder.planner.context.ledger.recover([path.name])
    else:
        (folder.path / "a.txt").write_bytes(b"one\n")
    hub = Hub()
    hub.error = error
    with pytest.raises(type(error)):
        folder.plan(hub)


def test_an_empty_line_file_waits_and_an_empty_other_file_is_sent(folder: Folder) -> None:
    for name in ("a.jsonl", "b.csv", "c.bin"):
        (folder.path / name).touch()
    assert sent(folder.plan()) == [("data/c.bin", 0, 0)]


def test_an_unfinished_line_goes_along_when_it_rested_for_a_period(folder: Folder) -> None:
    (folder.path / "a.txt").write_bytes(b"one\ntwo")
    assert sent(folder.plan()) == [("data/a.txt", 0, 4)]
    folder.now += REST - 1
    first = folder.plan()
    assert (sent(first), first.postponed_bytes) == ([("data/a.txt", 0, 4)], 3)
    folder.now += 1
    assert sent(folder.plan()) == [("data/a.txt", 0, 7)]
    with (folder.path / "a.txt").open("ab") as file:
        file.write(b"and more")
    assert sent(folder.plan()) == [("data/a.txt", 0, 4)]


@pytest.mark.parametrize(
    ("name", "content", "end"),
    [
        ("a.jsonl", b'{}\n{"x": 1}', 11),
        ("a.jsonl", b'{}\n{"x": 1', 3),
        ("a.jsonl", b"{}\n[1]", 3),
        ("a.csv", b"a,b\n1", 5),
        ("a.json", b'{"a": 1}', 8),
        ("a.json", b'{\n"a": 1}', 9),
        ("a.json", b'{"a": 1}\n{"b"', 9),
    ],
)
def test_a_final_look_takes_complete_rows_only(name: str, content: bytes, end: int, folder: Folder) -> None:
    (folder.path / name).write_bytes(content)
    assert sent(folder.plan(final=True)) == [(f"data/{name}", 0, end)]


def test_a_file_that_was_just_written_is_looked_at_again(folder: Folder) -> None:
    """It may change once more within the same tick of the clock, with the same size."""
    path = folder.path / "a.bin"
    path.write_bytes(b"one")
    os.utime(path, ns=(0, 0))
    changed = Stat.of(path.stat()).ctime_ns
    planner = folder.planner
    snapshot = planner.scan({})
    for after, settled in ((10**6, []), (10**9, ["a.bin"])):
        plan = planner.plan(replace(snapshot, taken_ns=changed + after), {}, {}, Hub(), final=False)
        assert list(plan.settled) == settled


def test_a_living_segment_is_cut_at_its_last_newline(folder: Folder) -> None:
    path = folder.segment(b'{"n":1}\n{"n":2}\n{"n":')
    with path.open("ab") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        found = folder.plan(final=True)
        assert sent(found) == [(f"data/2026-01/{path.stem}-p0000.jsonl", 0, 16)]
        assert (found.postponed_bytes, found.removable, found.settled) == (5, {}, {})
    left = folder.plan()
    assert sent(left) == [(f"data/2026-01/{path.stem}-p0000.jsonl", 0, 16)]
    assert list(left.settled) == [path.name]
    assert left.removable == {}  # something follows its last newline: it is kept


def test_a_segment_that_its_writer_left_may_be_removed_once_all_is_sent(folder: Folder) -> None:
    path = folder.segment(b'{"n":1}\n')
    assert list(folder.plan().removable) == [path.name]
    empty = folder.segment(b"")
    assert sorted(folder.plan().removable) == sorted([path.name, empty.name])


def test_a_living_segment_of_another_host_is_its_own_hosts(folder: Folder) -> None:
    path = folder.segment(b'{"n":1}\n', ours=False)
    assert sent(folder.plan()) == []
    assert folder.plan().postponed_bytes == 8
    os.utime(path, ns=(0, 0))
    assert len(folder.plan().uploads) == 1


def test_large_segments_are_cut_into_parts_at_line_ends(folder: Folder) -> None:
    path = folder.segment(b'{"n":1234}\n' * 5)  # 11 bytes each, 30 fit a part
    assert sent(folder.plan()) == [
        (f"data/2026-01/{path.stem}-p0000.jsonl", 0, 22),
        (f"data/2026-01/{path.stem}-p0001.jsonl", 22, 44),
        (f"data/2026-01/{path.stem}-p0002.jsonl", 44, 55),
    ]


def test_a_line_longer_than_a_part_goes_whole(folder: Folder) -> None:
    path = folder.segment(b'{"n":"%s"}\n{"n":1}\n' % (b"x" * 50))
    assert [end - start for _, start, end in sent(folder.plan())] == [59, 8]
    assert path.exists()


def test_damaged_lines_are_left_out_and_told(folder: Folder) -> None:
    path = folder.segment(b'{"n":1}\n\0\0\0\n{"n":2}\nnull\n')
    found = folder.plan()
    assert [(start, end) for _, start, end in sent(found)] == [(0, 8), (12, 20)]
    assert list(found.skipped) == [f"{path.name}#damaged"]
    assert found.removable == {}


def test_parts_of_a_lost_ledger_are_found_on_the_hub_by_a_second_look(folder: Folder) -> None:
    path = folder.segment(b'{"n":1}\n{"n":2}\n{"n":3}\n')
    hub = Hub(**{
        f"data/{path.stem}-p0000.jsonl": b'{"n":1}\n',  # where earlier versions put parts
        f"data/2026-01/{path.stem}-p0001.jsonl": b'{"n":2}\n',
    })  # fmt: skip
    assert sent(folder.recovered(hub)) == [(f"data/2026-01/{path.stem}-p0002.jsonl", 16, 24)]
    parts = folder.known_in_ledger()[path.name]
    assert [(part.start, part.end, part.rows, part.closed) for part in parts] == [
        (0, 8, 1, Closed.UNKNOWN),
        (8, 16, 1, Closed.UNKNOWN),
    ]


def test_a_recovered_segment_waits_for_an_hour_and_says_so(folder: Folder) -> None:
    path = folder.segment(b'{"n":1}\n{"n":2}\n')
    hub = Hub(**{f"data/2026-01/{path.stem}-p0000.jsonl": b'{"n":1}\n'})
    folder.planner.context.ledger.recover([path.name])
    for later in (0, LIMITS.second_look_seconds - 1):
        found = folder.plan(hub)
        assert (sent(found), found.postponed_bytes) == ([], 8)
        assert found.waits_until == 1_000_000 + LIMITS.second_look_seconds
        assert "second look" in found.postponed[path.name]
        folder.now = 1_000_000 + later
    assert len(hub.asked) == 1, "the first look is remembered, also by a later life"
    assert found.removable == found.settled == {}


def test_a_recovered_segment_that_the_hub_has_whole_is_no_longer_pending(folder: Folder) -> None:
    path = folder.segment(b'{"n":1}\n{"n":2}\n')
    hub = Hub(**{f"data/2026-01/{path.stem}-p0000.jsonl": b'{"n":1}\n{"n":2}\n'})
    folder.planner.context.ledger.recover([path.name])
    found = folder.plan(hub)
    assert (found.waits_until, found.postponed_bytes, found.removable) == (0, 0, {})
    assert list(folder.recovered(hub).removable) == [path.name], "its data is kept until the second look"


def test_a_gap_between_parts_on_the_hub_goes_into_a_new_part(folder: Folder) -> None:
    """The part before it was in doubt, and the next one was sent without it."""
    path = folder.segment(b'{"n":1}\n{"n":2}\n{"n":3}\n{"n":4}\n')
    hub = Hub(**{
        f"data/2026-01/{path.stem}-p0000.jsonl": b'{"n":1}\n',
        f"data/2026-01/{path.stem}-p0002.jsonl": b'{"n":3}\n',
    })  # fmt: skip
    assert sent(folder.recovered(hub)) == [
        (f"data/2026-01/{path.stem}-p0003.jsonl", 8, 16),
        (f"data/2026-01/{path.stem}-p0004.jsonl", 24, 32),
    ]


def test_a_copy_of_a_folder_does_not_send_what_the_original_sent_since(folder: Folder) -> None:
    path = folder.segment(b'{"n":1}\n{"n":2}\n')
    hub = Hub(**{f"data/2026-01/{path.stem}-p0000.jsonl": b'{"n":1}\n{"n":2}\n{"n":3}\n'})
    assert sent(folder.recovered(hub)) == []


def test_parts_on_the_hub_that_a_person_changed_are_not_sent_again(folder: Folder) -> None:
    """Somebody redacted a row, with as many bytes: it is not sent again, and the rows after it arrive."""
    path = folder.segment(b'{"n":1}\n{"n":2}\n')
    found = folder.recovered(Hub(**{f"data/2026-01/{path.stem}-p0000.jsonl": b'{"n":0}\n'}))
    assert sent(found) == [(f"data/2026-01/{path.stem}-p0001.jsonl", 8, 16)]


def test_one_file_that_cannot_be_read_does_not_hold_up_the_others(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.txt", "b.txt", "gone.txt"):
        (folder.path / name).write_bytes(b"one\n")
    snapshot = folder.planner.scan({})
    (folder.path / "gone.txt").unlink()
    real: Callable[..., int] = os.open

    def refuse(path: str | Path, *args: Any, **options: Any) -> int:
        if Path(path).name == "a.txt":
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **options)

    monkeypatch.setattr(os, "open", refuse)
    found = folder.planner.plan(snapshot, {}, {}, Hub(), final=False)
    assert sent(found) == [("data/b.txt", 0, 4)]
    assert list(found.skipped) == ["a.txt"]


def in_seconds(action: Callable[[], Any], seconds: float = 20) -> Any:
    """Return what `action` returns; fail if it does not return."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(action()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert found, "it waits"
    return found[0]


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.json", "a.jsonl", "a.bin", "a.tfevents.1", "segment"])
def test_a_file_that_a_pipe_replaced_after_the_scan_holds_up_no_other(name: str, folder: Folder) -> None:
    path, other = folder.path / name, folder.path / "other.txt"
    if name == "segment":  # the files of a user and segments are in different folders
        path, other = folder.segment(b"{}\n"), folder.segment(b"{}\n", seq=1)
    for each in (path, other):
        each.write_bytes(b"{}\n")
    snapshot = folder.planner.scan({})
    path.unlink()
    os.mkfifo(path)
    found = in_seconds(lambda: folder.planner.plan(snapshot, {}, {}, Hub(), final=True))
    assert [upload.part.source for upload in found.uploads] == [other.name]
    assert "not a regular file" in found.skipped[path.name]


@pytest.mark.parametrize("name", ["a.jsonl", "a.bin"])
def test_a_file_that_was_replaced_after_the_scan_is_planned_as_it_is_now(name: str, folder: Folder) -> None:
    (folder.path / name).write_bytes(b"{}\n")
    snapshot = folder.planner.scan({})
    (folder.path / "new").write_bytes(b'{"longer": 1}\n')
    (folder.path / "new").replace(folder.path / name)
    assert sent(folder.planner.plan(snapshot, {}, {}, Hub(), final=False)) == [(f"data/{name}", 0, 14)]


def test_a_file_that_is_replaced_while_it_is_planned_is_left_to_the_next_push(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was cut in the one file would be sent from the other: half a row, or half a picture."""
    (folder.path / "a.jsonl").write_bytes(b"{}\n{}\n")
    real: Callable[..., int] = lines.cut

    def replace_after(path: Path, *args: Any) -> int:
        end = real(path, *args)
        (folder.path.parent / "new").write_bytes(b'{"longer": 1}\n')
        (folder.path.parent / "new").replace(path)
        return end

    monkeypatch.setattr(lines, "cut", replace_after)
    found = folder.plan()
    assert (sent(found), list(found.skipped), found.settled) == ([], ["a.jsonl"], {})
    monkeypatch.undo()
    assert sent(folder.plan()) == [("data/a.jsonl", 0, 14)]


def aged(folder: Folder, seconds: float) -> Snapshot:
    """The snapshot that a scan takes so much later."""
    return replace(folder.planner.scan(folder.settled), taken_ns=time.time_ns() + int(seconds * 1e9))


def test_an_unfinished_line_goes_along_in_the_first_push_that_finds_it_old(folder: Folder) -> None:
    """Also in a new process, which has not seen the file before."""
    (folder.path / "a.txt").write_bytes(b"one\ntwo")
    (folder.path / "b.jsonl").write_bytes(b'{}\n{"half')
    for seconds, ends in ((REST - 5, [4, 3]), (REST + 1, [7, 3])):
        plan = folder.planner.plan(aged(folder, seconds), {}, {}, Hub(), final=False)
        assert [end for _, _, end in sent(plan)] == ends


def test_the_rest_of_a_line_waits_ten_seconds_by_default() -> None:
    assert DEFAULTS.rest_seconds == 10


STRAY = b'a,b\n1,2\n2,"stray\n'


def test_a_stray_quote_holds_up_a_table_for_one_period_and_is_told_once(
    folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder.path / "a.csv"
    path.write_bytes(STRAY)
    found = []
    for _ in range(4):
        found += [end for _, _, end in sent(folder.plan())]
        folder.now += REST / 2 - 1
        with path.open("ab") as file:
            file.write(b"3,4\n5,")
            file.flush()
        folder.now += 1
    assert found == [8, 8, len(STRAY) + 10, len(STRAY) + 16]
    assert caplog.text.count("do not balance") == 1


def test_a_stray_quote_holds_up_no_more_than_a_mebibyte(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    (folder.path / "a.csv").write_bytes(STRAY + b"3,4\n" * (LIMITS.quote_bytes // 4))
    assert [end for _, _, end in sent(folder.plan())] == [len(STRAY) + LIMITS.quote_bytes]
    assert caplog.text.count("do not balance") == 1


def test_quotes_that_balance_again_begin_a_new_period(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    path = folder.path / "a.csv"
    path.write_bytes(STRAY)
    assert sent(folder.plan())[0][2] == 8
    folder.now += REST - 1
    path.write_bytes(STRAY + b'"\n3,"open\n')
    assert sent(folder.plan())[0][2] == len(STRAY) + 2
    folder.now += REST - 1
    path.write_bytes(STRAY + b'"\n3,"open\n4,5\n')
    assert sent(folder.plan())[0][2] == len(STRAY) + 2
    assert caplog.text == ""


def test_a_tab_separated_table_is_cut_at_newlines_and_its_parts_have_its_header(folder: Folder) -> None:
    content = b'a\tb\n1\t5" disk\n2\thalf'
    (folder.path / "a.tsv").write_bytes(content)
    hub = Hub(**{"data/a.tsv": b"other\n"})
    (upload,) = folder.plan(hub).uploads
    assert (upload.end, content[: upload.end]) == (14, b'a\tb\n1\t5" disk\n')
    (first,) = folder.plan(hub).parts
    folder.known["a.tsv"] = [replace(first, end=4, sha256=sha256(content[:4]).hexdigest(), content_id="it")]
    (upload,) = folder.plan(Hub()).uploads
    assert (upload.part.start, upload.part.head, upload.end) == (4, 4, 14)
