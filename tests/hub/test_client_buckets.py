"""The bucket calls of `HfApi` against the local Hub, and beside huggingface_hub's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hf_xet
import huggingface_hub
import pytest
import requests

from hubspool import HfApi
from hubspool.client.buckets import BucketFile, BucketFolder
from hubspool.client.defaults import DEFAULTS
from hubspool.client.file_range import FileRange
from hubspool.client.retry import RetryPolicy
from hubspool.errors import (
    BadResponseError,
    BucketBatchError,
    ConflictError,
    EntryNotFoundError,
    FileChangedError,
    ForbiddenError,
    HFValidationError,
    RepositoryNotFoundError,
    XetTransferError,
)
from hubspool.local_hub import Fault, LocalHub, RateLimit
from tests.support.request_log import asked, forget

BUCKET = "local/votes"
LARGE = bytes(range(256)) * 8192  # 2 MiB, streamed


@pytest.fixture
def bucket(hub_api: HfApi) -> str:
    return hub_api.create_bucket("votes").bucket_id


def paths(api: Any, prefix: str | None = None) -> list[str]:
    return [entry.path for entry in api.list_bucket_tree(BUCKET, prefix)]


def test_a_bucket_is_created_described_and_deleted(hub_api: HfApi, local_hub: LocalHub) -> None:
    created = hub_api.create_bucket("votes", private=True)
    assert (created.bucket_id, created.namespace, created.endpoint) == (BUCKET, "local", local_hub.endpoint)
    assert created.url == f"{local_hub.endpoint}/buckets/{BUCKET}"
    assert hub_api.create_bucket(BUCKET, exist_ok=True) == created
    with pytest.raises(ConflictError):
        hub_api.create_bucket(BUCKET)
    info = hub_api.bucket_info(BUCKET)
    assert (info.id, info.private, info.size, info.total_files) == (BUCKET, True, 0, 0)
    hub_api.delete_bucket(BUCKET)
    hub_api.delete_bucket(BUCKET, missing_ok=True)
    for call in (hub_api.delete_bucket, hub_api.bucket_info):
        with pytest.raises(RepositoryNotFoundError):
            call(BUCKET)
    with pytest.raises(HFValidationError, match="namespace/name"):
        hub_api.bucket_info("votes")


def test_a_token_that_may_not_create_finds_a_bucket_that_exists(tmp_path: Path) -> None:
    with LocalHub(tmp_path, users=["ada:hf_ada", "bob:hf_bob"]) as hub:
        HfApi(endpoint=hub.endpoint, token="hf_ada").create_bucket("ada/votes")
        bob = HfApi(endpoint=hub.endpoint, token="hf_bob")
        assert bob.create_bucket("ada/votes", exist_ok=True).bucket_id == "ada/votes"
        with pytest.raises(ForbiddenError):
            bob.create_bucket("ada/other", exist_ok=True)
        with pytest.raises(RepositoryNotFoundError):
            HfApi(endpoint=hub.endpoint, token=False).bucket_info("ada/other")


def test_files_are_added_listed_downloaded_and_deleted(hub_api: HfApi, bucket: str, tmp_path: Path) -> None:
    source = tmp_path / "table.csv"
    source.write_bytes(b"a,b\n1,2\n")
    hub_api.batch_bucket_files(
        bucket,
        add=[(source, "data/t"), (LARGE, "data/large.bin"), (b"", "empty"), (FileRange(source, 4, 8), "part")],
    )
    files = {file.path: file for file in hub_api.list_bucket_tree(bucket)}
    large = files["data/large.bin"]
    assert isinstance(large, BucketFile)
    assert (large.size, len(large.xet_hash), files["empty"].size) == (len(LARGE), 64, 0)
    assert files["data/t"].mtime.timestamp() == pytest.approx(source.stat().st_mtime, abs=0.002)
    assert next(type(entry) for entry in hub_api.list_bucket_tree(bucket, recursive=False)) is BucketFolder
    assert list(hub_api.get_bucket_paths_info(bucket, ["data/large.bin", "none", "data"])) == [large]
    named = {large: "new/large", "data/t": "t", "empty": "e", "part": "p"}
    hub_api.download_bucket_files(bucket, [(file, tmp_path / name) for file, name in named.items()])
    assert (tmp_path / "p").read_bytes() == b"1,2\n"
    assert (tmp_path / "new" / "large").read_bytes() == LARGE
    assert (tmp_path / "t").read_bytes() == source.read_bytes()
    assert (tmp_path / "e").read_bytes() == b""
    hub_api.batch_bucket_files(
        bucket, copy=[("bucket", bucket, large.xet_hash, "copy.bin")], delete=["data/large.bin", "empty"]
    )
    assert paths(hub_api)[:2] == ["copy.bin", "data/t"]


def test_a_list_with_entries_of_an_unknown_kind_is_the_list_without_them(
    hub_api: HfApi, bucket: str, local_hub: LocalHub
) -> None:
    new = {"type": "link", "path": "x"}
    known = {"type": "file", "path": "a", "size": 1, "xetHash": "f" * 64, "more": 1}
    local_hub.faults.add(Fault(route="bucket-tree", status=200, body=json.dumps([new, known])))
    assert paths(hub_api) == ["a"]
    hub_api.session.retry = RetryPolicy(attempts=1)
    for body in ([{"type": "file", "path": "a"}], [1], [{**known, "path": "../a"}], {}):
        local_hub.faults.add(Fault(route="bucket-tree", status=200, body=json.dumps(body)))
        with pytest.raises(BadResponseError):
            paths(hub_api)


def test_a_download_of_a_missing_file_warns_or_raises(hub_api: HfApi, bucket: str, tmp_path: Path) -> None:
    hub_api.batch_bucket_files(bucket, add=[(b"1", "a")])
    wanted = [("none", tmp_path / "none"), ("a", tmp_path / "a")]
    with pytest.raises(EntryNotFoundError, match="none"):
        hub_api.download_bucket_files(bucket, wanted, raise_on_missing_files=True)
    assert not (tmp_path / "a").exists()
    with pytest.warns(UserWarning, match="'none'"):
        hub_api.download_bucket_files(bucket, wanted)
    assert (tmp_path / "a").read_bytes() == b"1"


def test_a_download_that_breaks_off_is_repeated_and_never_seen_in_part(
    hub_api: HfApi, bucket: str, local_hub: LocalHub, tmp_path: Path
) -> None:
    hub_api.batch_bucket_files(bucket, add=[(LARGE, "large")])
    fault = local_hub.faults.add(Fault(route="bucket-resolve", keep_bytes=1000))
    hub_api.download_bucket_files(bucket, [("large", tmp_path / "large")])
    assert (tmp_path / "large").read_bytes() == LARGE
    assert [hit.fault for hit in local_hub.faults.hits] == [fault]


def test_what_the_hub_did_not_apply_is_named(hub_api: HfApi, bucket: str, stock_api: huggingface_hub.HfApi) -> None:
    foreign = ("bucket", bucket, "f" * 64, "copied")
    seen = []
    for api, error in ((hub_api, BucketBatchError), (stock_api, huggingface_hub.errors.BucketBatchError)):
        with pytest.raises(error) as caught:
            api.batch_bucket_files(bucket, add=[(b"1", "good")], copy=[foreign], delete=["missing"])
        seen.append(sorted(failure["path"] for failure in caught.value.failures))
        with pytest.raises(error) as caught:
            api.batch_bucket_files(bucket, delete=["missing"])
        seen.append([failure["path"] for failure in caught.value.failures])
    assert seen == [["copied", "missing"], ["missing"]] * 2
    assert paths(hub_api) == ["good"]


@pytest.mark.parametrize("options", [{"drop": True}, {"status": 502}, {"status": 429, "headers": {"Retry-After": "0"}}])
def test_a_lost_answer_is_the_same_as_one_that_arrived(
    options: dict[str, Any], hub_api: HfApi, bucket: str, local_hub: LocalHub
) -> None:
    hub_api.session.retry = RetryPolicy(base=0.01)
    hub_api.batch_bucket_files(bucket, add=[(b"1", "old"), (b"2", "kept")])
    local_hub.faults.add(Fault(route="bucket-batch", applied=True, **options))
    hub_api.batch_bucket_files(bucket, add=[(b"1", "new")], delete=["old"])
    assert len(local_hub.faults.hits) == 1
    assert paths(hub_api) == ["kept", "new"]
    local_hub.faults.add(Fault(route="bucket-batch", applied=True, **options))
    with pytest.raises(BucketBatchError) as caught:  # one that was never there is named all the same
        hub_api.batch_bucket_files(bucket, copy=[("bucket", bucket, "f" * 64, "x")], delete=["kept"])
    assert [failure["path"] for failure in caught.value.failures] == ["x"]


@pytest.mark.parametrize(
    "body",
    [
        {"success": False, "processed": 1, "succeeded": 0, "failed": []},
        {"success": False, "processed": 1, "succeeded": 1, "failed": []},
        {"success": True, "processed": 0, "succeeded": 0, "failed": []},
        {"success": True, "processed": 1, "succeeded": 0, "failed": []},
        {"success": False, "processed": 1, "succeeded": 1, "failed": [{"path": "a", "error": "busy"}]},
        {"success": False, "processed": 1, "succeeded": 0, "failed": [{"path": "", "error": "busy"}]},
        {"success": False, "processed": 1, "succeeded": 0, "failed": [{"path": "/a", "error": "busy"}]},
        {"success": True},
        [],
        "no json",
    ],
)
def test_a_success_that_does_not_say_so_is_none(body: object, hub_api: HfApi, bucket: str, local_hub: LocalHub) -> None:
    hub_api.session.retry = RetryPolicy(attempts=1)
    text = body if isinstance(body, str) else json.dumps(body)
    local_hub.faults.add(Fault(route="bucket-batch", status=200, body=text, times=None))
    with pytest.raises(BadResponseError):
        hub_api.batch_bucket_files(bucket, add=[(b"1", "a")])
    assert paths(hub_api) == []


def test_many_operations_go_in_several_batches_and_one_that_fails_does_not_stop_the_rest(
    hub_api: HfApi, bucket: str, local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(vars(DEFAULTS), "bucket_operations", 3)
    hub_api.batch_bucket_files(bucket, add=[(b"x", f"old/{number}") for number in range(5)])
    forget(local_hub)
    with pytest.raises(BucketBatchError, match="1 of 10 operations: missing"):
        hub_api.batch_bucket_files(
            bucket,
            add=[(b"%d" % number, f"new/{number}") for number in range(4)],
            delete=["missing", *(f"old/{number}" for number in range(5))],
        )
    assert paths(hub_api) == [f"new/{number}" for number in range(4)]
    assert len(asked(local_hub, "bucket-batch")) == 4
    assert len(list(hub_api.get_bucket_paths_info(bucket, [*paths(hub_api), "none"]))) == 4
    assert len(asked(local_hub, "bucket-paths-info")) == 2


def test_a_small_push_takes_few_requests(hub_api: HfApi, bucket: str, local_hub: LocalHub) -> None:
    hub_api.batch_bucket_files(bucket, add=[(b"first" * 100, "a.jsonl")])
    forget(local_hub)
    hub_api.batch_bucket_files(bucket, add=[(b"other" * 100, "b.jsonl")])
    assert local_hub.wait_idle()
    routes = [record.route for record in local_hub.requests]
    # the token of the first serves again; the request without a name asks for a grant, which this Hub does not give
    assert [*filter(None, routes)] == ["xet-xorb", "xet-shard", "bucket-batch"]
    assert len(routes) <= 4


def test_without_xet_nothing_is_sent_and_the_error_says_what_to_do(
    hub_api: HfApi, bucket: str, local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    with pytest.raises(XetTransferError, match="HF_HUB_DISABLE_XET"):
        hub_api.batch_bucket_files(bucket, add=[(b"1", "a")])
    assert not asked(local_hub, "bucket-batch")
    hub_api.batch_bucket_files(bucket, delete=[])
    assert not asked(local_hub, "bucket-batch")


def test_a_file_that_is_rewritten_while_it_is_sent_is_not_added(hub_api: HfApi, bucket: str, tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_bytes(b"before")
    with pytest.raises(FileChangedError):
        hub_api.batch_bucket_files(bucket, add=_shrinking(source))
    assert paths(hub_api) == []


def _shrinking(source: Path) -> Any:
    """Yield a file, and cut it once it was described."""
    yield source, "a"
    source.write_bytes(b"")


def test_a_limit_is_waited_for(hub_api: HfApi, bucket: str, local_hub: LocalHub) -> None:
    hub_api.session.retry = RetryPolicy(base=0.01)
    local_hub.faults.add(Fault(path="^/api/", limit=RateLimit(2, 1)))
    for number in range(3):
        hub_api.batch_bucket_files(bucket, add=[(b"%d" % number, f"{number}")])
    assert local_hub.faults.hits
    assert paths(hub_api) == ["0", "1", "2"]


@pytest.mark.parametrize("name", ["ours", "stock"])
def test_both_clients_leave_the_same_behind(
    name: str, hub_api: HfApi, stock_api: huggingface_hub.HfApi, bucket: str, local_hub: LocalHub, tmp_path: Path
) -> None:
    api: Any = hub_api if name == "ours" else stock_api
    table = tmp_path / "table.csv"
    table.write_bytes(b"a,b\n")
    api.batch_bucket_files(bucket, add=[(table, "t"), (LARGE, "large"), (b"", "empty.json"), (b"1", "gone")])
    (large,) = api.get_bucket_paths_info(bucket, ["large"])
    api.batch_bucket_files(bucket, copy=[("bucket", bucket, large.xet_hash, "same.png")], delete=["gone"])
    left = {entry.path: (entry.size, entry.xet_hash) for entry in api.list_bucket_tree(bucket)}
    assert left == {
        "t": (4, hf_xet.hash_files([str(table)])[0].hash),
        "large": (len(LARGE), large.xet_hash),
        "same.png": (len(LARGE), large.xet_hash),
        "empty.json": (0, "0" * 64),
    }
    kinds = [
        requests.get(f"{local_hub.endpoint}/buckets/{bucket}/resolve/{path}", timeout=20).headers["Content-Type"]
        for path in ("t", "large", "same.png", "empty.json")
    ]
    assert [kind.partition(";")[0] for kind in kinds] == [
        "text/plain", "application/octet-stream", "image/png", "application/json",
    ]  # fmt: skip
