"""Rows are read from a bucket: what a wrong answer leaves behind."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from hubspool import HfApi, HubspoolError
from hubspool.errors import BadResponseError, HFValidationError
from hubspool.extending import RemoteBucket, Target
from hubspool.local_hub import Fault, LocalHub
from hubspool.push.published import marker, marker_path
from hubspool_templates import JsonlScheduler, ParquetScheduler, ZipScheduler, read_rows

BUCKET = "local/read"
ADDRESS = f"hf://buckets/{BUCKET}"


@pytest.fixture
def api(hub_api: HfApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HfApi:
    """A client with an empty bucket and an empty cache."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    hub_api.delete_bucket(BUCKET, missing_ok=True)
    hub_api.create_bucket(BUCKET)
    return hub_api


KINDS = [JsonlScheduler, ParquetScheduler, ZipScheduler]


def push(kind: type, folder: Path, api: HfApi, row: dict[str, Any], *, to: str = ADDRESS, **options: Any) -> None:
    """Send one row with a scheduler of its own folder; it is a file's metadata for `ZipScheduler`."""
    with kind(to, folder, every=600, hf_api=api, **options) as scheduler:
        scheduler.add(b"text", "a.txt", **row) if kind is ZipScheduler else scheduler.append(row)
        scheduler.flush(60)


def numbers(rows: Iterable[dict[str, Any]]) -> list[int]:
    return sorted(row["n"] for row in rows)


@pytest.mark.parametrize("kind", KINDS)
def test_a_scheduler_of_another_name_hides_no_rows(kind: type, api: HfApi, tmp_path: Path) -> None:
    push(kind, tmp_path / "likes", api, {"n": 1}, name="likes-2")
    first = read_rows(ADDRESS, api)
    assert numbers(first) == [1]
    push(kind, tmp_path / "train", api, {"n": 2})
    push(kind, tmp_path / "likes", api, {"n": 3}, name="likes-2")
    assert numbers(read_rows(ADDRESS, api)) == [1, 2, 3]
    assert numbers(read_rows(ADDRESS, api, since=first.cursor)) == [2, 3]
    assert numbers(read_rows(ADDRESS, api, split="likes_2")) == [1, 3]
    assert numbers(read_rows(ADDRESS, api, split="train")) == [2]
    with pytest.raises(HFValidationError, match=r"no split 'dev'. Give split= one of likes_2, train\."):
        read_rows(ADDRESS, api, split="dev")


def test_pending_rows_of_another_name_are_read_with_those_of_the_bucket(api: HfApi, tmp_path: Path) -> None:
    push(JsonlScheduler, tmp_path / "train", api, {"n": 1})
    with JsonlScheduler(ADDRESS, tmp_path / "likes", every=600, hf_api=api, name="likes") as likes:
        likes.append({"n": 2})
        likes.flush(60)
        likes.append({"n": 3})
        assert numbers(read_rows(ADDRESS, api, pending=likes)) == [1, 2, 3]
        assert numbers(read_rows(ADDRESS, api, pending=likes, split="likes")) == [2, 3]
        assert numbers(read_rows(ADDRESS, api, pending=likes, split="train")) == [1]


def test_a_folder_of_a_bucket_has_the_rows_of_its_schedulers_only(api: HfApi, tmp_path: Path) -> None:
    for number, (folder, name) in enumerate([("a", "train"), ("a", "likes"), ("b", "train")]):
        push(JsonlScheduler, tmp_path, api, {"n": number}, to=f"{ADDRESS}/{folder}", name=name)
    assert numbers(read_rows(ADDRESS, api)) == [0, 1, 2]
    assert numbers(read_rows(ADDRESS, api, split="train")) == [0, 2]
    assert numbers(read_rows(f"{ADDRESS}/a", api)) == [0, 1]
    schedulers = [JsonlScheduler(f"{ADDRESS}/{each}", tmp_path, every=600, hf_api=api) for each in "ab"]
    for number, scheduler in enumerate(schedulers, start=3):
        scheduler.append({"n": number})
    assert numbers(read_rows(ADDRESS, api, pending=tmp_path)) == [0, 1, 2, 3, 4]
    assert numbers(read_rows(f"{ADDRESS}/a", api, pending=tmp_path)) == [0, 1, 3]
    with pytest.raises(HFValidationError, match=r"sends rows to .*local/read/a"):
        read_rows(f"{ADDRESS}/a", api, pending=schedulers[1])
    for scheduler in schedulers:
        scheduler.stop()


def test_a_split_has_the_files_of_all_months_beside_those_of_other_programs(api: HfApi) -> None:
    content, writer = b'{"n": 1}\n', "0" * 23
    names = ["likes-20261031", "likes-20261101", "train-20261101", "__odd-20261101"]
    paths = [f"data/{name[-8:-4]}-{name[-4:-2]}/{name}-{writer}-00000-{0:012d}-{9:012d}.jsonl" for name in names]
    others = [(b'{"n": 2}\n', "train.jsonl"), *((b"a,b\n", f"{name}.csv") for name in "abcdefg")]
    api.batch_bucket_files(BUCKET, add=[*((content, path) for path in paths), *others])
    assert numbers(read_rows(ADDRESS, api, split="likes")) == [1, 1]
    assert numbers(read_rows(ADDRESS, api)) == [1, 1, 1, 1, 2]


def test_content_that_is_not_what_the_list_says_is_not_kept(api: HfApi, local_hub: LocalHub, tmp_path: Path) -> None:
    api.batch_bucket_files(BUCKET, add=[(b'{"v": "A"}\n', "state.jsonl")])
    local_hub.faults.add(Fault(route="bucket-resolve", status=200, body=b'{"v": "B"}\n'))
    with pytest.raises(HubspoolError, match="was changed while it was read"):
        list(read_rows(ADDRESS, api))
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
    assert list(read_rows(ADDRESS, api)) == [{"v": "A"}]


def test_a_marker_is_read_once_on_a_machine(api: HfApi, local_hub: LocalHub, tmp_path: Path) -> None:
    with JsonlScheduler(ADDRESS, tmp_path / "rows", every=600, hf_api=api) as scheduler:
        scheduler.append({"n": 1})
        scheduler.flush(60)
        ranges = {f"train-20260101-{'0' * 12}-0000{number}.jsonl": [(0, 9)] for number in range(3)}
        markers = [(marker("ada/other", {name: ranges[name]}), marker_path(name)) for name in ranges]
        api.batch_bucket_files(BUCKET, add=[(content, path) for content, path in markers])
        asked = []
        for _ in range(2):
            assert local_hub.requests.wait_idle()
            local_hub.requests.clear()
            assert list(read_rows(ADDRESS, api, pending=scheduler)) == [{"n": 1}]
            assert local_hub.requests.wait_idle()
            asked.append(sum("published" in record.path for record in local_hub.requests.of("bucket-resolve")))
    assert asked == [3, 0]


def test_a_damaged_time_of_a_marker_is_an_error_that_names_it(api: HfApi) -> None:
    content = marker("ada/other", {"a": [(0, 9)]}, at="yesterday")
    api.batch_bucket_files(BUCKET, add=[(content, marker_path("abc"))])
    target = Target.of(api.endpoint, BUCKET, "bucket")
    with pytest.raises(BadResponseError, match=r"published/abc.json of local/read tells what was published, and is"):
        RemoteBucket(api, target).markers()


@pytest.mark.parametrize("folder", [".hubspool", ".hidden/votes", "votes/.git"])
def test_a_hidden_folder_is_refused_because_no_reader_would_show_it(folder: str) -> None:
    with pytest.raises(HFValidationError, match="has a hidden folder"):
        JsonlScheduler(f"{ADDRESS}/{folder}")


@pytest.mark.parametrize("since", ["2026-11-01", date(2026, 11, 1), datetime(2026, 11, 1), "0" * 40])  # noqa: DTZ001
def test_a_bucket_takes_a_cursor_only_and_says_so(since: str | date, api: HfApi) -> None:
    with pytest.raises(HFValidationError, match=r"is no cursor, and a bucket has no commits .*rows.cursor of an earli"):
        read_rows(ADDRESS, api, since=since)


def test_a_damaged_file_of_a_bucket_is_not_said_to_have_versions(api: HfApi) -> None:
    api.batch_bucket_files(BUCKET, add=[(b"not json\n", "train.jsonl")])
    with pytest.raises(HFValidationError, match=r"train.jsonl of hf:.* cannot be read: .* remove the file\.$"):
        list(read_rows(ADDRESS, api))


def test_a_cursor_is_of_a_bucket_or_of_a_dataset(api: HfApi, tmp_path: Path) -> None:
    cursors = {}
    for address in (ADDRESS, "local/read"):
        with JsonlScheduler(address, tmp_path / address.replace("/", "-"), every=600, hf_api=api) as scheduler:
            scheduler.append({"n": 1})
            scheduler.flush(60)
        rows = read_rows(address, api)
        assert list(rows) == [{"n": 1}]
        cursors[address] = rows.cursor
        assert list(read_rows(address, api, since=rows.cursor)) == []
    with pytest.raises(HFValidationError, match="of a repository, and hf://buckets/local/read is none"):
        read_rows(ADDRESS, api, since=cursors["local/read"])
    with pytest.raises(HFValidationError, match="of a bucket, and local/read is none"):
        read_rows("local/read", api, since=cursors[ADDRESS])
