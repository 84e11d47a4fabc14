"""`since=`: only rows that came after an earlier read, a commit or a time, each once, whatever was joined."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hubspool import CommitOperationAdd, HfApi
from hubspool.client.repo_info import DatasetInfo
from hubspool.client.target import Target
from hubspool.errors import CursorTooOldError, HFValidationError
from hubspool.local_hub import LocalHub
from hubspool.push.compaction import Compactor
from hubspool.push.joiner import Joiner
from hubspool.push.manifest import MANIFESTS, JoinedRun
from hubspool.push.remote import RemoteFile, RemoteRepo
from hubspool.spool import spool
from hubspool_templates import JsonlScheduler, ParquetScheduler, ZipScheduler, read_rows
from hubspool_templates.joiners import JOINERS
from hubspool_templates.reading import on_hub
from hubspool_templates.reading.cursor import Cursor, positions_of
from hubspool_templates.reading.plan import pieces_of

REPO = "local/votes"
KINDS = {"jsonl": JsonlScheduler, "parquet": ParquetScheduler, "zip": ZipScheduler}
NOW = datetime.now(timezone.utc)
Make = Callable[..., Any]


class Follower:
    """Somebody who reads again and again, and keeps the cursor."""

    def __init__(self, api: HfApi) -> None:
        self.api = api
        self.cursor: str | None = None
        self.seen: list[int] = []

    def read(self) -> list[int]:
        """Read what is new."""
        rows = read_rows(REPO, self.api, since=self.cursor)
        new = [row["n"] for row in rows]
        self.cursor = rows.cursor
        self.seen += new
        return new


@pytest.fixture
def follower(hub_api: HfApi) -> Follower:
    return Follower(hub_api)


@pytest.fixture
def compact(hub_api: HfApi, local_hub: LocalHub) -> Callable[[], None]:
    repo = RemoteRepo(hub_api, Target(local_hub.endpoint, REPO, "dataset", "main"))
    joiners = {"jsonl": Joiner(), **{suffix: joiner() for suffix, joiner in JOINERS.items()}}

    def run() -> None:
        assert Compactor(repo, "", joiners).run(NOW.date() + timedelta(days=40)).commits

    return run


def add(scheduler: Any, *numbers: int) -> None:
    for n in numbers:
        if isinstance(scheduler, ZipScheduler):
            scheduler.add(b"x", f"{n}.bin", n=n)
        else:
            scheduler.append({"n": n})
    scheduler.flush()


def upload(api: HfApi, files: dict[str, bytes]) -> str:
    api.create_repo(REPO, repo_type="dataset", exist_ok=True)
    adds = [CommitOperationAdd(path, content) for path, content in files.items()]
    return api.create_commit(REPO, adds, commit_message="files", repo_type="dataset").oid


def without_commit(cursor: str | None) -> str:
    """A cursor whose commit a squash has removed."""
    return str(replace(Cursor.parse(str(cursor)), commit="f" * 40))


def squash(api: HfApi) -> None:
    api.super_squash_history(REPO, repo_type="dataset")


@pytest.mark.usefixtures("hub_is_ahead")
@pytest.mark.parametrize("form", KINDS)
def test_each_row_comes_once_while_parts_grow_and_are_joined(
    form: str, make: Make, follower: Follower, compact: Callable[[], None], hub_api: HfApi
) -> None:
    a, b = (make(kind=KINDS[form], folder=folder) for folder in "ab")
    add(a, 0, 1)
    assert follower.read() == [0, 1]
    add(a, 2)
    add(b, 10)
    assert sorted(follower.read()) == [2, 10]
    assert follower.read() == []
    compact()
    assert follower.read() == []
    add(a, 3)
    add(b, 11)
    compact()  # joins the new parts, and its manifest says what was read of them: nothing
    add(a, 4)
    assert sorted(follower.read()) == [3, 4, 11]
    squash(hub_api)
    assert follower.read() == []
    add(b, 12)
    assert follower.read() == [12]


@pytest.mark.usefixtures("hub_is_ahead")
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_part_that_was_read_in_its_middle_is_read_on_after_a_join(
    form: str, make: Make, follower: Follower, compact: Callable[[], None], hub_api: HfApi
) -> None:
    a, b = (make(kind=KINDS[form], folder=folder) for folder in "ab")
    add(a, 0, 1)
    add(b, 10)
    old = hub_api.list_repo_commits(REPO, repo_type="dataset")[0].commit_id
    follower.read()
    add(a, 2, 3)
    compact()
    assert follower.read() == [2, 3]
    assert [row["n"] for row in read_rows(REPO, hub_api, since=old)] == [2, 3]


def test_a_new_month_and_late_rows_of_an_old_one(
    make: Make, follower: Follower, hub_api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "_utc_date", lambda: "20260731")
    writer = make()
    add(writer, 0)
    follower.read()
    writer.spool.close()
    monkeypatch.setattr(spool, "_utc_date", lambda: "20260801")
    add(writer, 1)
    assert follower.read() == [1]
    late = {f"data/2026-07/train-20260701-{'a' * 12}-00000-p0000.jsonl": b'{"n":2}\n'}
    upload(hub_api, late)  # from months before the cursor's commit: that commit did not have it
    assert follower.read() == [2]
    assert follower.read() == []


@pytest.mark.usefixtures("hub_is_ahead")
def test_manifests_of_old_months_are_parsed_once_and_nothing_new_costs_no_second_listing(
    make: Make, compact: Callable[[], None], hub_api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    writers = [make(folder=folder) for folder in "ab"]
    for n, writer in enumerate(writers):
        add(writer, n)
    compact()
    rows = read_rows(REPO, hub_api)
    assert sorted(row["n"] for row in rows) == [0, 1]
    old = replace(Cursor.parse(rows.cursor), positions={}, at=NOW + timedelta(days=90))  # names no segment of before
    parsed: list[Path] = []

    def joined_runs(paths: list[Path]) -> list[JoinedRun]:
        parsed.extend(paths)
        return read_runs(paths)

    read_runs = on_hub.joined_runs
    monkeypatch.setattr(on_hub, "joined_runs", joined_runs)
    api = HfApi(endpoint=hub_api.endpoint, token=hub_api.token)
    assert list(read_rows(REPO, api, since=str(old))) == []
    assert api.session.counts["requests"] == 2  # the commits and the files
    assert len(parsed) == 1
    add(writers[0], 2)
    parsed.clear()
    assert [row["n"] for row in read_rows(REPO, hub_api, since=str(old))] == [2]
    assert len(parsed) == 1  # two commits have it


def test_after_a_squash_late_rows_of_months_ago_count_as_read(follower: Follower, hub_api: HfApi) -> None:
    old = f"{NOW - timedelta(days=60):%Y%m%d}"
    path = f"data/train-{old}-{'a' * 12}-0000%d-p0000.jsonl"
    upload(hub_api, {path % 0: b'{"n":0}\n'})
    assert follower.read() == [0]
    upload(hub_api, {path % 1: b'{"n":1}\n'})
    follower.cursor = without_commit(follower.cursor)
    assert follower.read() == []


def test_since_a_commit_or_a_time_means_the_commit_that_brought_the_row(
    make: Make, hub_api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = make()
    for n in range(4):
        add(writer, n)
    commits = hub_api.list_repo_commits(REPO, repo_type="dataset")  # the newest first
    third = commits[1]

    def read(since: Any) -> list[int]:
        return [row["n"] for row in read_rows(REPO, hub_api, since=since)]

    assert read(third.commit_id) == [3]
    by_time = [commit for commit in commits if commit.created_at <= third.created_at]
    assert read(third.created_at) == read(third.created_at.isoformat()) == read(by_time[0].commit_id)
    assert read(NOW - timedelta(days=1)) == [0, 1, 2, 3]
    assert read(datetime.now() + timedelta(days=1)) == []  # noqa: DTZ005  a time without a zone
    squash(hub_api)
    oldest = hub_api.list_repo_commits(REPO, repo_type="dataset")[0].created_at
    with pytest.raises(CursorTooOldError) as caught:
        read("f" * 40)
    assert caught.value.oldest == oldest
    created = oldest - timedelta(hours=1)
    monkeypatch.setattr(hub_api, "repo_info", lambda *_, **__: DatasetInfo(REPO, created_at=created))
    with pytest.raises(CursorTooOldError, match="can be read from is 20"):
        read(oldest - timedelta(minutes=30))
    assert read(created - timedelta(days=1)) == [0, 1, 2, 3]  # the repository is younger
    assert read(oldest) == []
    assert read((datetime.now(timezone.utc) - timedelta(days=400)).date()) == [0, 1, 2, 3]
    for wrong in ("yesterday", 1.5, b"2026"):
        with pytest.raises(HFValidationError, match="no cursor, commit or date"):
            read(wrong)


def test_a_file_of_another_program_is_read_on_if_it_grew_and_again_if_it_was_rewritten(
    follower: Follower, hub_api: HfApi
) -> None:
    upload(hub_api, {"a.jsonl": b'{"n":1}\n', "b.jsonl": b'{"n":2}\n'})
    assert follower.read() == [1, 2]
    upload(hub_api, {"a.jsonl": b'{"n":1}\n{"n":3}\n', "c.jsonl": b'{"n":4}\n'})
    squash(hub_api)
    assert follower.read() == [3, 4]
    upload(hub_api, {"b.jsonl": b'{"n":5}\n'})
    assert follower.read() == [5]
    assert follower.read() == []


@pytest.mark.parametrize("form", ["zip", "parquet"])
def test_a_rewritten_file_of_another_program_is_read_again(form: str, follower: Follower, hub_api: HfApi) -> None:
    def content(count: int) -> bytes:
        file = io.BytesIO()
        if form == "parquet":
            pq.write_table(pa.table({"n": list(range(count))}), file)
        else:
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr(
                    "metadata.jsonl", b"".join(b'{"file_name":"a.txt","n":%d}\n' % n for n in range(count))
                )
                archive.writestr("a.txt", "x")
        return file.getvalue()

    upload(hub_api, {f"a.{form}": content(2), f"b.{form}": content(1)})
    assert follower.read() == [0, 1, 0]
    upload(hub_api, {"x.txt": b"1"})
    assert follower.read() == []
    before = hub_api.list_repo_commits(REPO, repo_type="dataset")[0].commit_id
    squashed = without_commit(follower.cursor)
    upload(hub_api, {f"a.{form}": content(3)})
    assert follower.read() == [0, 1, 2]
    for since in (before, squashed):
        assert [row["n"] for row in read_rows(REPO, hub_api, since=since)] == [0, 1, 2]


def test_a_cursor_names_a_hundred_files_of_other_programs_and_looks_at_its_commit_for_more(
    follower: Follower, hub_api: HfApi
) -> None:
    upload(hub_api, {f"{n:03d}.jsonl": b'{"n":%d}\n' % n for n in range(120)})
    assert len(follower.read()) == 120
    upload(hub_api, {"120.jsonl": b'{"n":120}\n'})
    before = follower.cursor
    assert follower.read() == [120]
    follower.cursor = without_commit(before)
    with pytest.raises(CursorTooOldError, match="not known whether"):
        follower.read()


def test_new_rows_cost_a_listing_and_their_bytes(make: Make, follower: Follower, hub_api: HfApi) -> None:
    big = make(kind=ParquetScheduler)
    big.extend({"n": n, "text": random.randbytes(500).hex()} for n in range(2000))
    big.flush()
    follower.read()
    add(big, 2000)
    sizes: list[int] = []
    api = HfApi(endpoint=hub_api.endpoint, token=hub_api.token)
    session = api.session
    send = session.pool(local=True).send

    def counted(*args: Any, **options: Any) -> Any:
        response = send(*args, **options)
        sizes.append(int(response.headers.get("Content-Length", 0)))
        return response

    session.pool(local=True).send = counted  # type: ignore[method-assign]
    follower.api = api
    assert follower.read() == [2000]
    # commits, files, the card; the end of the file
    assert session.counts["requests"] <= 6
    assert sum(sizes) < 200_000


def test_a_cursor_of_a_hundred_writers_has_some_4_kb() -> None:
    writers = [f"{random.randrange(16**12):012x}" for _ in range(100)]
    files = [
        RemoteFile(f"data/2026-11/train-202611{n % 28 + 1:02d}-{writer}-00000-p0017.jsonl", n * 999, writer[::-1] * 5)
        for n, writer in enumerate(writers)
    ]
    cursor = position(*files)
    assert len(cursor.positions) == 100
    assert len(str(cursor)) < 4500
    assert Cursor.parse(str(cursor)) == cursor


PART = f"data/2026-11/train-20261128-{'a' * 12}-00000-p%04d.jsonl"
AT = datetime(2026, 11, 29, tzinfo=timezone.utc)


def position(*files: RemoteFile, before: Cursor | None = None, at: datetime = AT) -> Cursor:
    return (before or Cursor("", AT)).after("c" * 40, at, positions_of(pieces_of(files, []), {}))


def test_an_older_answer_never_takes_a_cursor_back() -> None:
    now, then = (RemoteFile(PART % 3, size, digit * 64) for size, digit in ((200, "b"), (100, "a")))
    cursor = position(now)
    assert position(then, before=cursor, at=AT - timedelta(seconds=1)) == cursor
    assert position(before=cursor).positions == cursor.positions
    assert position(now, before=position(then)).positions == cursor.positions
    longer = position(now, RemoteFile(PART % 4, 10, "c" * 64))
    assert position(now, before=longer, at=AT - timedelta(seconds=1)) == longer


def test_a_part_that_comes_late_is_new_and_then_it_is_not() -> None:
    files = [RemoteFile(PART % number, 10, f"{number}" * 64) for number in range(4)]
    cursor = position(*files[:1], *files[3:])
    (entry,) = cursor.positions.values()
    assert entry.late == (1, 2)
    late, last = pieces_of([files[1], files[3]], [])
    assert entry.read_of(late) == {1: 0}
    assert entry.read_of(last) == {3: None}
    (entry,) = position(files[0], files[1], files[3], before=cursor).positions.values()
    assert entry.late == (2,)
    assert entry.read_of(late) == {1: None}


def test_a_part_that_comes_very_late_is_read(hub_api: HfApi, follower: Follower) -> None:
    upload(hub_api, {PART % number: b'{"n":%d}\n' % number for number in range(1, 40)})
    assert follower.read() == [*range(1, 40)]
    upload(hub_api, {PART % 0: b'{"n":0}\n'})
    assert follower.read() == [0]
    assert follower.read() == []


def test_a_run_with_removed_rows_is_entered_at_its_ends_alone(hub_api: HfApi, follower: Follower) -> None:
    segment = f"train-20261128-{'a' * 12}-00000.jsonl"
    first, second = b'{"n":0}\n', b'{"n":1}\n{"n":2}\n'
    upload(hub_api, {PART % 0: first, PART % 1: second[:8]})
    assert follower.read() == [0, 1]
    joined = "data/2026-11/train-20261128-joined.0123456789ab-00000-p0001.jsonl"
    run = JoinedRun(segment, "data/2026-11", joined, 0, 0, (8, 16), ("0" * 64, "1" * 64), rows=3, removed=1)
    manifest = f"{MANIFESTS}/2026-11/20261129T000000-0123456789ab.jsonl"
    upload(hub_api, {joined: first + second[8:], manifest: run.line()})
    with pytest.raises(CursorTooOldError, match=r"Rows of .* were removed.* Read everything once") as caught:
        follower.read()
    assert caught.value.oldest is None  # a read since then may lack rows
    whole = replace(run, removed=0)
    upload(hub_api, {joined: first + second, manifest: whole.line()})
    assert follower.read() == [2]
    upload(hub_api, {joined: first + second[8:], manifest: replace(run, digests=("0" * 64, "1" * 64)).line()})
    assert follower.read() == []  # all of it was read before the row was removed
