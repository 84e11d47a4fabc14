"""Encoded files are staged before the ledger or a request refers to them, and kept as long as a part needs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import pytest

from hubspool.client.file_range import FileRange
from hubspool.errors import LocalFileError
from hubspool.push.compare import Digest, digests
from hubspool.push.encodings import Encoding, Span
from hubspool.push.part import Closed, Part
from hubspool.push.payloads import Payload, Payloads
from hubspool.push.remote import RemoteFile
from hubspool.push.rules import Naming

SOURCE = "train-20260102-0123456789ab-00000.shout.jsonl"
NAMING = Naming("data/", "f0" * 16)
LINES = b'{"n":1}\n{"n":2}\n{"n":3}\n'  # 8 bytes each


class Shout(Encoding):
    """Lines in capitals after a first line with their range."""

    suffix = "shout"
    part_commits = 3

    def __init__(self) -> None:
        self.calls: list[tuple[int, bool]] = []
        self.reused: list[Path] = []
        self.error: Exception | None = None
        self.refuses = False

    def encode(self, span: Span, lines: FileRange, grown: Path | None, out: Path) -> bool:
        self.calls.append((span.end, grown is not None))
        if self.error is not None:
            raise self.error
        if grown is not None and self.refuses:
            out.write_bytes(b"half")
            return False
        before = grown.read_bytes().split(b"\n", 1)[1] if grown is not None else b""
        with lines.open() as file:
            text = f"{span.segment} {span.start} {span.end} {len(self.calls)}\n".encode()
            out.write_bytes(text + before + file.read().upper())
        return True

    def span_of(self, size: int, read: Callable[[int, int], bytes]) -> Span | None:
        words = read(0, min(size, 100)).split(b"\n")[0].decode().split(" ")
        return Span(words[0], int(words[1]), int(words[2])) if len(words) == 4 else None

    def reuse(self, path: Path) -> None:
        self.reused.append(path)


class Hub:
    """One file."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data

    def files(self, paths: object) -> dict[str, RemoteFile]:
        raise AssertionError

    def read(self, path: str, start: int, length: int) -> bytes:
        return self.data[start : start + length]


class OneSegment:
    """A folder with one segment, and its staging folder."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "folder"
        self.folder.mkdir()
        self.path = self.folder / SOURCE
        self.path.write_bytes(LINES)
        self.staged = root / "staged"
        self.encoding = Shout()
        self.payloads = Payloads(self.encoding, self.staged)

    def digest(self, part: Part, end: int) -> Digest:
        return digests(self.folder / part.source, part.start, [end])[0]

    def payload(self, part: Part, end: int) -> Payload:
        return self.payloads.payload(self.folder / part.source, part, end, self.digest(part, end))

    def acknowledged(self, part: Part, end: int) -> Part:
        payload = self.payload(part, end)
        return part.sending(end, self.digest(part, end).sha256, payload.sha256, "p", 0).acknowledged(1)

    def kept(self) -> list[str]:
        return sorted(path.name for path in self.staged.iterdir())


@pytest.fixture
def segment(tmp_path: Path) -> OneSegment:
    return OneSegment(tmp_path)


@pytest.fixture
def part() -> Part:
    return NAMING.segment_part(SOURCE, 0, 0, 0.0)


def read(payload: Payload) -> bytes:
    with payload.range.open() as file:
        return file.read()


def test_the_form_of_a_segment_is_the_suffix_of_its_parts(part: Part) -> None:
    assert part.path == "data/2026-01/train-20260102-0123456789ab-00000-p0000.shout"


def test_the_same_lines_are_encoded_once_also_by_the_next_process(segment: OneSegment, part: Part) -> None:
    first = segment.payload(part, 16)
    again = OneSegment.payload(segment, part, 16)
    segment.payloads = Payloads(segment.encoding, segment.staged)
    assert read(segment.payload(part, 16)) == read(again) == read(first)
    assert len(segment.encoding.calls) == 1
    assert len(segment.encoding.reused) == 2
    manifest = json.loads((segment.staged / f"{Path(part.path).stem}-16.shout.json").read_text())
    assert {key: manifest[key] for key in ("source", "start", "end", "path", "sha256")} == {
        "source": SOURCE,
        "start": 0,
        "end": 16,
        "path": part.path,
        "sha256": first.sha256,
    }


@pytest.mark.parametrize("damage", ["no manifest", "half a manifest", "a flipped bit", "cut", "other lines"])
def test_sealed_bytes_that_are_not_whole_are_made_again(damage: str, segment: OneSegment, part: Part) -> None:
    file = segment.payload(part, 16).range.path
    manifest = file.with_name(file.name + ".json")
    if damage == "no manifest":
        manifest.unlink()
    elif damage == "half a manifest":
        manifest.write_bytes(manifest.read_bytes()[:20])
    elif damage == "other lines":
        segment.path.write_bytes(LINES.replace(b"1", b"7"))
    else:
        data = file.read_bytes()
        file.write_bytes(data[:-3] if damage == "cut" else data[:-3] + b"\0" + data[-2:])
    payload = segment.payload(part, 16)
    assert len(segment.encoding.calls) == 2
    assert digests(payload.range.path, 0, [payload.range.size])[0].sha256 == payload.sha256


def test_an_open_part_goes_on_from_its_acknowledged_bytes(segment: OneSegment, part: Part) -> None:
    part = segment.acknowledged(part, 8)
    assert segment.payloads.can_extend(segment.path, part, 16, segment.digest(part, 16))
    assert read(segment.payload(part, 16)).endswith(b'\n{"N":1}\n{"N":2}\n')
    assert segment.encoding.calls == [(8, False), (16, True)]


def test_a_part_whose_bytes_were_lost_is_encoded_from_its_lines(segment: OneSegment, part: Part) -> None:
    part = segment.acknowledged(part, 8)
    for path in segment.staged.iterdir():
        path.unlink()
    assert read(segment.payload(part, 16)).endswith(b'\n{"N":1}\n{"N":2}\n')
    assert segment.encoding.calls[-1] == (16, False)


def test_other_bytes_than_the_acknowledged_ones_are_not_grown(segment: OneSegment, part: Part) -> None:
    part = replace(segment.acknowledged(part, 8), content_id="0" * 64)
    segment.payload(part, 16)
    assert segment.encoding.calls[-1] == (16, False)


def test_an_encoding_that_cannot_grow_says_so_and_leaves_nothing(segment: OneSegment, part: Part) -> None:
    part = segment.acknowledged(part, 8)
    before = segment.kept()
    segment.encoding.refuses = True
    assert not segment.payloads.can_extend(segment.path, part, 16, segment.digest(part, 16))
    assert segment.kept() == before


def test_an_error_of_a_library_is_the_files_own_and_leaves_nothing(segment: OneSegment, part: Part) -> None:
    segment.encoding.error = RuntimeError("no such codec")
    with pytest.raises(LocalFileError, match="no such codec"):
        segment.payload(part, 8)
    assert segment.kept() == []


def test_an_error_while_lines_are_checked_leaves_the_check_to_json(
    segment: OneSegment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(lines: FileRange) -> tuple[tuple[int, int], ...]:
        raise ValueError("a library did not like it")

    monkeypatch.setattr(segment.encoding, "damaged", fail)
    segment.path.write_bytes(LINES + b"broken\n")
    end = len(LINES) + len(b"broken\n")
    assert Payloads(segment.encoding, segment.staged).damaged(segment.path, 0, end) == ((len(LINES), end),)


class Picky(Shout):
    """Fails for lines in which `fails` finds something."""

    def __init__(self, fails: Callable[[bytes], bool]) -> None:
        super().__init__()
        self.fails = fails

    def encode(self, span: Span, lines: FileRange, grown: Path | None, out: Path) -> bool:
        with lines.open() as file:
            if self.fails(file.read(lines.size)):
                self.calls.append((-1, False))
                raise ZeroDivisionError("no such codec")
        return super().encode(span, lines, grown, out)


ROWS = [json.dumps({"n": n}).encode() + b"\n" for n in range(1000)]


def unfit_rows(segment: OneSegment, part: Part, fails: Callable[[bytes], bool]) -> tuple[list[bytes], list[int]]:
    """Return the encoded rows, and which of them are kept as text."""
    segment.path.write_bytes(b"".join(ROWS))
    segment.encoding = Picky(fails)
    segment.payloads = Payloads(segment.encoding, segment.staged)
    rows = read(segment.payload(part, segment.path.stat().st_size)).splitlines()[1:]
    starts = list(accumulate(map(len, ROWS), initial=0))
    return rows, [starts.index(start) for start in segment.payloads.unfit.get(SOURCE, {})]


def test_lines_that_cannot_be_encoded_are_found_in_few_attempts_and_kept_as_text(
    segment: OneSegment, part: Part
) -> None:
    wrong = {0, 500, 501, 999}
    rows, unfit = unfit_rows(segment, part, lambda data: any(b'{"n": %d}\n' % n in data for n in wrong))
    assert sorted(unfit) == sorted(wrong)
    assert rows == [
        json.dumps({"_unfit": f'{{"n": {n}}}'}, separators=(",", ":")).upper().encode()
        if n in wrong
        else ROWS[n][:-1].upper()
        for n in range(1000)
    ]
    assert len(segment.encoding.calls) < 90
    assert segment.payloads.unfit[SOURCE][0] == "ZeroDivisionError('no such codec')"


def test_lines_that_cannot_be_encoded_together_are_all_kept_as_text(segment: OneSegment, part: Part) -> None:
    rows, unfit = unfit_rows(segment, part, lambda data: data.count(b'{"n"') > 700)
    assert len(unfit) == len(rows) == 1000
    assert json.loads(rows[7]) == {"_UNFIT": '{"N": 7}'}


def test_a_line_that_an_open_part_cannot_take_begins_the_next_part(segment: OneSegment, part: Part) -> None:
    segment.encoding = Picky(lambda data: b"2" in data and b"unfit" not in data)
    segment.payloads = Payloads(segment.encoding, segment.staged)
    part = segment.acknowledged(part, 8)
    assert not segment.payloads.can_extend(segment.path, part, 16, segment.digest(part, 16))
    after = replace(NAMING.segment_part(SOURCE, 1, 8, 0.0))
    assert read(segment.payload(after, 16)).splitlines()[1:] == [b'{"_UNFIT":"{\\"N\\":2}"}']


@pytest.mark.parametrize("error", [OSError("disk full"), MemoryError(), LocalFileError("gone")], ids=repr)
def test_an_error_that_no_row_is_to_blame_for_turns_no_row_into_text(
    error: Exception, segment: OneSegment, part: Part
) -> None:
    segment.encoding.error = error
    with pytest.raises((type(error), LocalFileError)):
        segment.payload(part, 16)
    assert len(segment.encoding.calls) == 1
    assert segment.payloads.unfit == {}


def test_an_outage_keeps_one_file_for_each_part(segment: OneSegment, part: Part) -> None:
    part = segment.acknowledged(part, 8)
    segment.payload(part, 16)
    segment.payload(part, 24)
    names = [f"{Path(part.path).stem}-{end}.shout" for end in (24, 8)]
    assert [name for name in segment.kept() if not name.endswith(".json")] == names


def test_bytes_in_doubt_stay_until_they_are_acknowledged(segment: OneSegment, part: Part) -> None:
    payload = segment.payload(part, 16)
    doubt = part.sending(16, segment.digest(part, 16).sha256, payload.sha256, "p", 0)
    segment.payloads.clean_up({SOURCE: [doubt]}, segment.folder)
    assert payload.range.path.exists()
    segment.payloads.clean_up({SOURCE: [replace(doubt.acknowledged(2), closed=Closed.UNKNOWN)]}, segment.folder)
    assert segment.kept() == []


def test_tidying_removes_what_nobody_needs_and_nothing_else(segment: OneSegment, part: Part) -> None:
    open_part = segment.acknowledged(part, 8)
    segment.payload(NAMING.segment_part(SOURCE, 1, 8, 0), 16)  # planned, and then the process died
    (segment.staged / "half").write_bytes(b"x")
    (segment.staged / ".train.0123").write_bytes(b"x")
    (segment.staged / "alone.shout.json").write_bytes(b"{}")
    segment.payloads.clean_up({SOURCE: [open_part]}, segment.folder)
    stem = Path(part.path).stem[:-6]
    expected = [f"{stem}-p0000-8.shout", f"{stem}-p0001-16.shout"]
    assert segment.kept() == sorted([*expected, *(f"{name}.json" for name in expected)])
    segment.path.unlink()
    segment.payloads.clean_up({}, segment.folder)
    assert segment.kept() == []


def test_what_stands_on_the_hub_is_known_by_what_it_says(segment: OneSegment, part: Part) -> None:
    data = read(segment.payload(part, 16))
    file = RemoteFile(part.path, len(data), "id")
    other = replace(part, source=SOURCE.replace("00000", "00001"))
    assert segment.payloads.range_on_hub(segment.path, part, file, Hub(data)) == (0, 16)
    assert segment.payloads.range_on_hub(segment.path, other, file, Hub(data)) is None
    assert segment.payloads.range_on_hub(segment.path, part, file, Hub(b"somebody else's")) is None
    assert segment.payloads.verified_end(segment.path, part, file, Hub(data)) == 16
    changed_by_a_person = [
        replace(part, end=16, content_id="other"),
        replace(part, end=8, content_id="other").sending(24, "", "another", "", 0),
    ]
    for acknowledged in changed_by_a_person:
        assert segment.payloads.verified_end(segment.path, acknowledged, file, Hub(data)) is None
    segment.path.write_bytes(LINES[:8])
    assert segment.payloads.verified_end(segment.path, part, file, Hub(data)) is None  # more than there ever was here


def test_files_of_the_user_go_as_they_are(segment: OneSegment) -> None:
    (segment.folder / "notes.txt").write_bytes(b"a\nb\n")
    part = NAMING.part("notes.txt", 0, 0, 0)
    assert read(segment.payload(part, 4)) == b"a\nb\n"
    assert segment.encoding.calls == []
