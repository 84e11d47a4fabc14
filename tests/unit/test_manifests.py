"""Manifests of a large dataset: what they say of a part, and how much memory and work that takes."""

from __future__ import annotations

import secrets
import tracemalloc
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import cast

import pytest

from hubspool.push.manifest import HeldPart, JoinedRun, Manifests
from hubspool.push.remote import Head, RemoteFile, RemoteRepo
from hubspool.spool.segment_name import part_path

PARTS = 96


def run_of(day: int, folder: str, writer: str, first: int = 0) -> JoinedRun:
    date = f"2026{day // 28 + 1:02}{day % 28 + 1:02}"
    month = f"{date[:4]}-{date[4:6]}"
    joined = f"{folder}/{month}/train-{date}-joined.{writer}-00000-p0001.jsonl"
    return JoinedRun(
        segment=f"train-{date}-{writer}-{day:05d}.jsonl",
        folder=f"{folder}/{month}",
        path=joined,
        offset=0,
        first=first,
        sizes=tuple(range(5000, 5000 + PARTS)),
        digests=tuple(secrets.token_hex(32) for _ in range(PARTS)),
        starts=tuple(range(0, 5000 * PARTS, 5000)),
        rows=10 * PARTS,
        counts=(10,) * PARTS,
    )


class Repo:
    """A branch with manifests."""

    def __init__(self, runs: dict[str, list[JoinedRun]]) -> None:
        self.contents = {path: b"".join(run.line() for run in each) for path, each in runs.items()}

    def at(self, _: str) -> Repo:
        return self

    def list_files(self, folder: str, **_: object) -> dict[str, RemoteFile]:
        return {path: RemoteFile(path, 0, "") for path in self.contents if path.startswith(f"{folder}/")}

    def content(self, path: str) -> bytes:
        return self.contents[path]


def read(runs: dict[str, list[JoinedRun]]) -> Manifests:
    manifests = Manifests()
    asked = {path.split("/")[2] for path in runs}
    head = Head(("1" * 40,), {}, datetime.now(timezone.utc))
    manifests.read(cast("RemoteRepo", Repo(runs)), head, (), asked)
    return manifests


@pytest.fixture(scope="module")
def months() -> Iterator[dict[str, list[JoinedRun]]]:
    """Parts of two writers on each day of two months: a manifest for each month."""
    runs: dict[str, list[JoinedRun]] = {}
    for day in range(56):
        for writer in ("aaaa00000001", "bbbb00000002"):
            run = run_of(day, "data", writer)
            runs.setdefault(f".hubspool/manifest/{run.folder[5:]}/20270101T000000-{day // 28:012d}.jsonl", []).append(
                run
            )
    return runs


def test_what_manifests_say_of_a_part_is_what_its_run_says(months: dict[str, list[JoinedRun]]) -> None:
    manifests = read(months)
    path, runs = [*months.items()][1]
    run = runs[7]
    for part, held in run.parts():
        assert part == part_path(f"data/{run.segment}", held.number)
        assert (manifests.held(part), manifests.run_of(part), manifests.named_in(part)) == (held, run, path)
    assert manifests.of_segment(f"data/{run.segment}") == {held.number: held for _, held in run.parts()}
    (first, held), *_ = run.parts()
    assert held == HeldPart(0, 5000, run.digests[0], 0)
    beyond = part_path(f"data/{run.segment}", PARTS)
    for other in (beyond, first.replace("data/", "other/"), first.rpartition("/")[2], run.path, "README.md"):
        assert (manifests.held(other), manifests.named_in(other)) == (None, "")


def test_parts_in_the_root_of_a_repository_are_found() -> None:
    for folder in ("", "."):
        run = JoinedRun("train-20260101-aaaa00000001-00000.parquet.jsonl", folder, "joined", 0, 3, (8,), ("id",))
        manifests = read({".hubspool/manifest/2026-01/a.jsonl": [run]})
        (path, held), *_ = run.parts()
        assert path == "train-20260101-aaaa00000001-00000-p0003.parquet"
        assert manifests.held(path) == held


def test_a_look_at_one_part_reads_no_other(months: dict[str, list[JoinedRun]], monkeypatch: pytest.MonkeyPatch) -> None:
    manifests = read(months)
    run = [*months.values()][1][0]
    part = part_path(f"data/{run.segment}", 1)
    made: list[HeldPart] = []
    monkeypatch.setattr("hubspool.push.manifest.HeldPart.__init__", count(made))
    assert manifests.run_of(part) == run
    assert manifests.named_in(part)
    assert len(made) == 0
    manifests.of_segment(run.segment)
    assert len(made) == PARTS


def count(made: list[HeldPart]) -> object:
    init = HeldPart.__init__

    def counted(self: HeldPart, *args: object, **named: object) -> None:
        made.append(self)
        init(self, *args, **named)  # type: ignore[arg-type]

    return counted


def test_manifests_take_at_most_three_times_their_text_in_memory(months: dict[str, list[JoinedRun]]) -> None:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        manifests = read(months)
        size = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert manifests.newest() is not None
    text = sum(len(run.line()) for runs in months.values() for run in runs)
    parts = sum(len(run.sizes) for runs in months.values() for run in runs)
    assert size < 3 * text, f"{size / parts:.0f} bytes a part, {text / parts:.0f} in the manifests"
