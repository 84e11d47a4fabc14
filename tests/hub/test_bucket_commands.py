"""The commands on a bucket: flush, status, doctor, read, verify, upload --every; compact says what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hubspool import HfApi
from hubspool.client.buckets import BucketFile
from hubspool.errors import HFValidationError, HubspoolError, RepositoryNotFoundError
from hubspool.local_hub import Fault, LocalHub
from hubspool.push.published import marker, marker_path
from hubspool.spool.segment_name import RangeName
from hubspool_templates import JsonlScheduler, ParquetScheduler, ZipScheduler
from hubspool_templates.reading.rows import read_rows
from tests.support.command_calls import Call, command_calls

ADDRESS = "hf://buckets/local/votes"
BUCKET = "local/votes"
SECONDS = 60


@pytest.fixture
def call(
    local_hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Call:
    return command_calls(local_hub, tmp_path, monkeypatch, capfd)


@pytest.fixture
def make(call: Call, hub_api: HfApi, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Schedulers of one folder and an empty bucket."""
    hub_api.delete_bucket(BUCKET, missing_ok=True)
    made: list[Any] = []

    def build(kind: Any = JsonlScheduler, repo_id: str = ADDRESS, **options: Any) -> Any:
        made.append(kind(repo_id, tmp_path / "folder", hf_api=hub_api, every=600, **options))
        made[-1].last_future.exception(SECONDS)
        return made[-1]

    yield build
    for scheduler in made:
        scheduler.stop(flush=False)


def paths(api: HfApi) -> list[str]:
    return [entry.path for entry in api.list_bucket_tree(BUCKET) if not entry.path.startswith(".hubspool")]


def test_flush_sends_what_a_program_left_and_status_shows_it(make: Any, call: Call, hub_api: HfApi) -> None:
    scheduler = make(repo_id=f"{ADDRESS}/raw")
    scheduler.append({"n": 1})
    scheduler.stop(flush=False)
    code, out, _ = call("status", "../folder", "--json")
    assert code == 0
    before = json.loads(out)
    assert (before["repo_type"], before["repo_id"], before["path_in_repo"]) == ("bucket", BUCKET, "raw/data")
    assert before["pending_rows"] == 1
    code, out, err = call("flush", "../folder")
    assert (code, out.strip()) == (0, f"{hub_api.endpoint}/buckets/{BUCKET}"), err
    assert f"bucket {ADDRESS}/raw/data ({hub_api.endpoint})" in call("status", "../folder")[1]
    after = json.loads(call("status", "../folder", "--json")[1])
    assert (after["pending_rows"], after["spool"]) == (0, before["spool"])
    assert [path.startswith("raw/data/") for path in paths(hub_api)] == [True]


@pytest.mark.parametrize("kind", [JsonlScheduler, ParquetScheduler])
@pytest.mark.parametrize(("old", "new"), [(ADDRESS, "local/rows"), (ADDRESS, BUCKET), (BUCKET, ADDRESS)])
def test_flush_sends_pending_rows_elsewhere(
    old: str, new: str, kind: Any, make: Any, call: Call, hub_api: HfApi
) -> None:
    for repo_id in ("local/rows", BUCKET):  # a dataset with the name of the bucket
        hub_api.delete_repo(repo_id, repo_type="dataset", missing_ok=True)
    scheduler = make(kind, repo_id=old, keep_local=True)
    for number in range(2):
        scheduler.append({"n": number})
        scheduler.flush(SECONDS)
    scheduler.append({"n": 2})
    scheduler.stop(flush=False)
    code, _, err = call("flush", "../folder", "--from", old, "--to", new, "--timeout", "60")
    assert (code, "1 row moved" in err) == (0, True), err
    assert [*read_rows(new, hub_api)] == [{"n": 2}]
    assert [*read_rows(old, hub_api)] == [{"n": 0}, {"n": 1}]


@pytest.mark.parametrize("new", [f"{ADDRESS}/new", "hf://buckets/local/other/new"])
def test_flush_moves_the_rows_of_one_folder_of_a_bucket_to_another(
    new: str, make: Any, call: Call, hub_api: HfApi
) -> None:
    hub_api.delete_bucket("local/other", missing_ok=True)
    for number, folder in enumerate(("raw", "rawer")):
        scheduler = make(repo_id=f"{ADDRESS}/{folder}")
        scheduler.append({"n": number})
        scheduler.stop(flush=False)
    code, _, err = call("flush", "../folder", "--from", f"{ADDRESS}/raw", "--to", new, "--timeout", "60")
    assert code == 0, err
    assert [*read_rows(new, hub_api)] == [{"n": 0}]
    assert {path.rpartition("/")[0][:-8] for path in paths(hub_api)} <= {"new/data"}  # without the month
    code, _, err = call("flush", "../folder", "--from", f"{BUCKET}", "--to", "local/rows")
    assert (code, "hf://buckets/" in call("status", "../folder")[1]) == (1, True)  # of a dataset, here is none


def test_flush_says_once_how_many_rows_it_has_moved(make: Any, call: Call, hub_api: HfApi) -> None:
    hub_api.delete_bucket("local/other", missing_ok=True)
    for number, folder in enumerate(("raw", "sent")):
        scheduler = make(repo_id=f"{ADDRESS}/{folder}")
        scheduler.append({"n": number})
        scheduler.stop(flush=number == 1)
    code, _, err = call("flush", "../folder", "--from", ADDRESS, "--to", "hf://buckets/local/other")
    assert (code, re.findall(r"\d+ rows? moved", err)) == (0, ["1 row moved"]), err


@pytest.mark.parametrize("new", ["hf://buckets/local/other", "local/other"])
@pytest.mark.parametrize("folder", ["/data/errors", "/data", "", None])
@pytest.mark.parametrize("config", ["errors", None])
def test_flush_sends_what_it_has_moved(
    config: str | None, folder: str | None, new: str, make: Any, call: Call, hub_api: HfApi, tmp_path: Path
) -> None:
    hub_api.delete_bucket("local/other", missing_ok=True)
    hub_api.delete_repo("local/other", repo_type="dataset", missing_ok=True)
    scheduler = make(config=config)
    scheduler.append({"n": 1})
    scheduler.stop(flush=False)
    (spool,) = (path.name for path in (tmp_path / "folder").glob("*.spool"))
    code, _, err = call("flush", "../folder", "--from", spool if folder is None else f"{ADDRESS}{folder}", "--to", new)
    if folder == "/data/errors" and config is None:
        assert (code, "No rows in" in err) == (1, True)
        return
    assert (code, "1 row moved" in err) == (0, True), err
    assert [*read_rows(new, hub_api, config=config if new == "local/other" and not folder else None)] == [{"n": 1}]
    assert call("flush", "../folder")[0] == 0
    if folder is None:  # there is nothing left to move, and the rows are where they were
        assert "0 rows moved" in call("flush", "../folder", "--from", spool, "--to", "hf://buckets/local/third")[2]
        assert f"pending rows went to {new}" in call("status", "../folder")[1]


@pytest.mark.parametrize("kind", [JsonlScheduler, ParquetScheduler])
@pytest.mark.parametrize("is_new", [False, True])
def test_a_bucket_that_is_named_in_both_gets_what_it_lacks(
    is_new: bool, kind: Any, make: Any, call: Call, hub_api: HfApi
) -> None:
    scheduler = make(kind, keep_local=True)
    for number in range(3):
        scheduler.append({"n": number})
        scheduler.flush(SECONDS)
    publish(hub_api, sorted(paths(hub_api))[0])
    scheduler.append({"n": 3})
    scheduler.stop(flush=False)
    if is_new:
        hub_api.delete_bucket(BUCKET)
        hub_api.create_bucket(BUCKET)
    code, _, err = call("flush", "../folder", "--from", ADDRESS, "--to", ADDRESS, "--timeout", "60")
    assert code == 0, err
    assert [row["n"] for row in read_rows(ADDRESS, hub_api)] == ([0, 1, 2, 3] if is_new else [1, 2, 3])
    assert len(paths(hub_api)) == (1 if is_new else 3)


def test_doctor_describes_the_bucket_and_the_calls(make: Any, call: Call, hub_api: HfApi) -> None:
    code, out, _ = call("doctor", ADDRESS)
    assert (code, "does not exist" in out) == (0, True)
    scheduler = make()
    scheduler.append({"n": 1})
    scheduler.flush(SECONDS)
    code, out, _ = call("doctor", ADDRESS, "--every", "0.1")
    assert code == 0
    assert f"ok    repo      {ADDRESS} is private." in out
    assert "1 file, 8 bytes" in out
    hub_api.batch_bucket_files(BUCKET, add=[(b"foreign", "data-of-others.txt")])
    assert "2 files, 15 bytes" in call("doctor", ADDRESS)[1]
    assert "1 file, 8 bytes" in call("doctor", f"{ADDRESS}/data")[1], "of the folder"
    assert "up to 100 calls in 5 minutes." in out
    assert "pushes will pause" in call("doctor", ADDRESS, "--every", "0.1", "--replicas", "20")[1]


def test_a_revision_of_a_bucket_is_an_error(call: Call, hub_api: HfApi) -> None:
    hub_api.create_bucket(BUCKET)
    for command, expected in (("read", 1), ("verify", 2)):
        code, _, err = call(command, ADDRESS, "--revision", "v1")
        assert (code, "revision is 'v1'. Leave it out: a bucket has no history." in err) == (expected, True), err


@pytest.mark.parametrize("kind", [JsonlScheduler, ParquetScheduler, ZipScheduler])
def test_read_and_verify_see_all_rows(kind: Any, make: Any, call: Call, hub_api: HfApi) -> None:
    scheduler = make(kind)
    for number in range(3):
        scheduler.add(b"x", f"{number}.bin", n=number) if kind is ZipScheduler else scheduler.append({"n": number})
        scheduler.flush(SECONDS)
    code, out, err = call("read", ADDRESS)
    assert code == 0, err
    assert [json.loads(line)["n"] for line in out.splitlines()] == [0, 1, 2]
    code, out, _ = call("verify", ADDRESS, "../folder", "--json")
    assert (code, json.loads(out)["rows"], json.loads(out)["findings"]) == (0, 3, [])
    assert f"Sound: 3 rows in 3 files of {ADDRESS}." in call("verify", ADDRESS)[1]


def test_verify_compares_the_spools_of_a_folder_of_the_bucket(make: Any, call: Call, tmp_path: Path) -> None:
    for path in ("raw", "other"):
        scheduler = make(repo_id=f"{ADDRESS}/{path}", keep_local=True)
        scheduler.append({"n": 1})
        scheduler.flush(SECONDS)
    code, out, _ = call("verify", f"{ADDRESS}/raw", "../folder", "--json")
    assert (code, json.loads(out)["rows"], json.loads(out)["findings"]) == (0, 1, [])
    code, out, _ = call("verify", ADDRESS, "../folder", "--json")
    assert (code, json.loads(out)["rows"], json.loads(out)["findings"]) == (0, 2, [])


def test_a_cursor_continues_after_the_rows_that_were_read(make: Any, hub_api: HfApi) -> None:
    scheduler = make()
    scheduler.append({"n": 1})
    scheduler.flush(SECONDS)
    rows = read_rows(f"{ADDRESS}/data", hub_api)
    assert [*rows] == [{"n": 1}]
    scheduler.append({"n": 2})
    scheduler.flush(SECONDS)
    scheduler.append({"n": 3})
    assert [*read_rows(f"{ADDRESS}/data", hub_api, since=rows.cursor, pending=scheduler)] == [{"n": 2}, {"n": 3}]


def test_a_read_of_a_bucket_never_gives_a_part_of_the_rows_in_silence(make: Any, hub_api: HfApi) -> None:
    for kind, folder in ((JsonlScheduler, "lines"), (ParquetScheduler, "tables")):
        scheduler = make(kind, repo_id=f"{ADDRESS}/{folder}")
        scheduler.append({"kind": folder})
        scheduler.flush(SECONDS)
        assert [*read_rows(f"{ADDRESS}/{folder}", hub_api)] == [{"kind": folder}]
    with pytest.raises(HFValidationError, match=r"several forms: lines/.*\.jsonl, tables/.*\.parquet"):
        read_rows(ADDRESS, hub_api)
    with pytest.raises(HFValidationError, match="no card that names configs"):
        read_rows(f"{ADDRESS}/lines", hub_api, config="errors")


def test_a_cursor_of_a_bucket_is_short_and_knows_ranges_that_come_back(make: Any, hub_api: HfApi) -> None:
    scheduler = make()
    for number in range(3):
        scheduler.append({"n": number, "text": "x" * 4000})
        scheduler.flush(SECONDS)
    first, *_ = found = sorted(paths(hub_api))
    content = hub_api.client().content(f"{hub_api.endpoint}/buckets/{BUCKET}/resolve/{first}")
    hub_api.batch_bucket_files(BUCKET, delete=[first])
    rows = read_rows(ADDRESS, hub_api)
    assert [row["n"] for row in rows] == [1, 2]
    assert len(rows.cursor) < 300
    hub_api.batch_bucket_files(BUCKET, add=[(content, first)])  # published before, and not deleted for good
    assert sorted(paths(hub_api)) == found
    assert [*read_rows(ADDRESS, hub_api, since=rows.cursor)] == []


def publish(api: HfApi, path: str) -> None:
    """Do what `hubspool publish --delete` does to a bucket for one of its files."""
    name = RangeName.parse(Path(path).name)
    assert name is not None
    content = marker("local/rows", {str(name.segment): [(name.start, name.end)]})
    api.batch_bucket_files(BUCKET, add=[(content, marker_path(f"{name.start:040x}"))])
    api.batch_bucket_files(BUCKET, delete=[path])


def test_a_range_in_doubt_that_was_published_is_not_read_as_pending(
    make: Any, hub_api: HfApi, local_hub: LocalHub
) -> None:
    scheduler = make(keep_local=True)
    local_hub.faults.add(Fault(route="bucket-batch", status=503, applied=True))
    looks = local_hub.faults.add(Fault(route="bucket-paths-info", status=503, times=None))
    scheduler.append({"n": 1})
    scheduler.trigger()
    assert local_hub.faults.wait_for_hits(2)
    (path,) = paths(hub_api)
    publish(hub_api, path)
    scheduler.append({"n": 2})
    assert [*read_rows(ADDRESS, hub_api, pending=scheduler)] == [{"n": 2}]
    assert any(hit.fault is looks for hit in local_hub.faults.hits)
    local_hub.faults.clear()


@pytest.mark.parametrize("kind", [JsonlScheduler, ParquetScheduler, ZipScheduler])
def test_files_that_a_publish_deletes_under_a_reader_are_left_out_and_told(
    kind: Any, make: Any, hub_api: HfApi, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = make(kind)
    for number in range(3):
        scheduler.add(b"x", f"{number}.bin", n=number) if kind is ZipScheduler else scheduler.append({"n": number})
        scheduler.flush(SECONDS)
    first = sorted(paths(hub_api))[0]
    rows = read_rows(ADDRESS, hub_api)
    publish(hub_api, first)
    assert [row["n"] for row in rows] == [1, 2]
    assert [first in record.getMessage() for record in caplog.records if "published" in record.getMessage()] == [True]
    scheduler.add(b"x", "3.bin", n=3) if kind is ZipScheduler else scheduler.append({"n": 3})
    scheduler.flush(SECONDS)
    rows = read_rows(ADDRESS, hub_api, since=rows.cursor)
    assert [piece.file.path for piece in rows._reading.new] == [sorted(paths(hub_api))[-1]]
    hub_api.batch_bucket_files(BUCKET, delete=[sorted(paths(hub_api))[-1]])  # by a person
    with pytest.raises(HubspoolError, match="was changed while it was read"):
        list(rows)


def test_a_range_that_an_earlier_file_has_too_is_read_once_and_told(make: Any, call: Call, hub_api: HfApi) -> None:
    scheduler = make()
    scheduler.append({"n": 1})
    scheduler.flush(SECONDS)
    (path,) = paths(hub_api)
    name = RangeName.parse(Path(path).name)
    assert name is not None
    twin = f"{Path(path).parent}/{RangeName(name.segment, 0, 16)}"
    hub_api.batch_bucket_files(BUCKET, add=[(b'{"n":1}\n{"n":2}\n', twin)])
    assert [*read_rows(ADDRESS, hub_api)] == [{"n": 1}, {"n": 2}]
    code, out, _ = call("verify", ADDRESS, "--json")
    assert (code, [each["kind"] for each in json.loads(out)["findings"]]) == (1, ["range-overlap"])


def test_verify_tells_of_changed_and_missing_ranges_but_not_of_published_ones(
    make: Any, call: Call, hub_api: HfApi
) -> None:
    scheduler = make(keep_local=True)
    for number in range(3):
        scheduler.append({"n": number})
        scheduler.flush(SECONDS)
    first, second, third = sorted(paths(hub_api))
    hub_api.batch_bucket_files(BUCKET, add=[(b'{"n":2}\n\n', third)], delete=[first, second])
    name = RangeName.parse(Path(first).name)
    assert name is not None
    hub_api.batch_bucket_files(
        BUCKET, add=[(marker("local/rows", {str(name.segment): [(0, name.end)]}), marker_path("0" * 40))]
    )
    code, out, _ = call("verify", ADDRESS, "../folder", "--json")
    found = [(each["path"].rpartition("/")[2], each["kind"]) for each in json.loads(out)["findings"]]
    assert code == 1
    assert (Path(third).name, "range-gap") in found
    assert (Path(second).name, "ledger-newer") in found
    assert (Path(third).name, "unreadable") in found
    assert not any(path == Path(first).name for path, _ in found)


def test_upload_to_a_bucket_needs_every(call: Call) -> None:
    code, _, err = call("upload", ADDRESS, "rows")
    assert code == 2
    assert "--every" in err


def test_forget_says_that_rows_are_removed_in_the_dataset(call: Call) -> None:
    code, _, err = call("forget", ADDRESS, "--where", "user=anna", "--yes")
    assert code == 2
    assert f"hubspool publish {ADDRESS} DATASET --delete, then hubspool forget DATASET" in " ".join(err.split())


def test_a_bucket_that_does_not_exist_is_named_with_the_next_step(call: Call, hub_api: HfApi) -> None:
    hub_api.delete_bucket(BUCKET, missing_ok=True)
    for command in (["read", ADDRESS], ["verify", f"{ADDRESS}/raw"], ["publish", ADDRESS, "local/rows"]):
        code, _, err = call(*command)
        assert code == (2 if command[0] == "verify" else 1), err  # 1 would be a finding
        assert f"There is no bucket {ADDRESS}, or the token may not see it" in err
        assert "create_bucket" in err
        assert "repo_id" not in err
    with pytest.raises(RepositoryNotFoundError, match=f"no bucket {ADDRESS},"):
        hub_api.download_bucket_files(BUCKET, [(BucketFile("a", 1, "f" * 64), "unused")])


def test_compact_says_that_a_publish_joins(call: Call) -> None:
    code, _, err = call("compact", ADDRESS)
    assert code == 2
    assert "hubspool publish" in err
