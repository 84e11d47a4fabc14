"""Rows are read from a bucket: what a wrong answer leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubspool import HfApi, HubspoolError
from hubspool.errors import BadResponseError, HFValidationError
from hubspool.extending import RemoteBucket, Target
from hubspool.local_hub import Fault, LocalHub
from hubspool.push.published import marker, marker_path
from hubspool_templates import JsonlScheduler, read_rows

BUCKET = "local/read"
ADDRESS = f"hf://buckets/{BUCKET}"


@pytest.fixture
def api(hub_api: HfApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HfApi:
    """A client with an empty bucket and an empty cache."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    hub_api.delete_bucket(BUCKET, missing_ok=True)
    hub_api.create_bucket(BUCKET)
    return hub_api


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
