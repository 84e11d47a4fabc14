"""The archive that lines of the spool become: the same bytes, what it holds, and names that are safe to unpack."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

from hubspool.client.file_range import FileRange
from hubspool.push.encodings import Span
from hubspool_templates.archive.inbox import inbox_folder
from hubspool_templates.archive.zip_encoding import ZipEncoding


def lines(tmp_path: Path, rows: list[dict[str, Any]]) -> tuple[Span, FileRange]:
    path = tmp_path / "train-20260101-000000000000-00000.zip.jsonl"
    path.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    return Span(path.name, 0, path.stat().st_size), FileRange(path, 0, path.stat().st_size)


def test_a_segment_that_has_grown_since_keeps_the_files_that_wait_for_it(tmp_path: Path) -> None:
    waiting = inbox_folder(tmp_path) / "train" / "batch" / "a.png"
    waiting.parent.mkdir(parents=True)
    waiting.write_bytes(b"1")
    span, content = lines(tmp_path, [{"name": "a.png", "metadata": {}, "claim": "train/batch/a.png"}])
    ZipEncoding().release(content.path, span.end - 1)
    assert waiting.exists()
    ZipEncoding().release(content.path, span.end)
    assert not waiting.parent.exists()


def test_the_same_lines_give_the_same_bytes_and_tell_what_they_hold(tmp_path: Path) -> None:
    rows = [{"name": name, "metadata": {}, "data": "AAAA" * 100} for name in ("b.txt", "a.png", "ü.txt")]
    span, content = lines(tmp_path, rows)
    digests = set()
    for n in range(2):
        out = tmp_path / f"{n}.zip"
        os.utime(content.path, (n * 1e6, n * 1e6))
        assert ZipEncoding().encode(span, content, None, out)
        digests.add(hashlib.sha256(out.read_bytes()).hexdigest())
    assert len(digests) == 1
    data = out.read_bytes()
    assert ZipEncoding().span_of(len(data), lambda start, length: data[start : start + length]) == span
    assert ZipEncoding().span_of(4, lambda start, length: b"PK\x05\x06") is None
    with zipfile.ZipFile(out) as archive:
        kinds = {info.filename: info.compress_type for info in archive.infolist()}
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert kinds["a.png"] == zipfile.ZIP_STORED
    assert kinds["b.txt"] == zipfile.ZIP_DEFLATED


def test_more_members_than_a_plain_archive_holds(tmp_path: Path) -> None:
    span, content = lines(tmp_path, [{"name": f"{n}", "metadata": {}, "data": ""} for n in range(66_000)])
    out = tmp_path / "out.zip"
    ZipEncoding().encode(span, content, None, out)
    data = out.read_bytes()
    assert b"PK\x06\x06" in data[-1000:]
    assert len(zipfile.ZipFile(out).namelist()) == 66_001
    assert ZipEncoding().span_of(len(data), lambda start, length: data[start : start + length]) == span
