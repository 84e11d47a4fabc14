"""A bucket as the destination of schedulers: every row once, and nothing foreign is overwritten."""

from __future__ import annotations

import io
import json
import logging
import queue
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio
import pyarrow.parquet
import pytest

from hubspool import CommitEvent, CommitScheduler, ErrorEvent, HfApi
from hubspool.client.buckets import add_line, send_batch
from hubspool.client.operations import CommitOperationAdd
from hubspool.errors import (
    FlushTimeout,
    HFValidationError,
    HubspoolError,
    NotStoredError,
    RepoReplacedError,
)
from hubspool.local_hub import Fault, LocalHub, RateLimit
from hubspool.push.defaults import PushLimits
from hubspool.push.published import marker, marker_path
from hubspool.spool.segment_name import RangeName, SegmentName
from hubspool_templates import (
    HubFlaggingCallback,
    JsonlScheduler,
    ParquetScheduler,
    RowScheduler,
    TrainingLogs,
    ZipScheduler,
)
from tests.support.request_log import forget
from tests.support.spools import spool_of

ADDRESS = "hf://buckets/local/votes"
BUCKET = "local/votes"
SECONDS = 60
HOUR = 3601
Make = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("no_other_bucket")


@pytest.fixture
def no_other_bucket(hub_api: HfApi) -> None:
    hub_api.delete_bucket(BUCKET, missing_ok=True)


@pytest.fixture
def scheduler_kind() -> type[CommitScheduler]:
    return JsonlScheduler


@pytest.fixture
def scheduler_options() -> dict[str, Any]:
    return {"repo_id": ADDRESS}


@pytest.fixture
def files(hub_api: HfApi) -> Callable[[], dict[str, bytes]]:
    """Path → content of everything in the bucket."""

    def fetch() -> dict[str, bytes]:
        base = f"{hub_api.endpoint}/buckets/{BUCKET}/resolve"
        paths = [entry.path for entry in hub_api.list_bucket_tree(BUCKET)]
        return {path: hub_api.client().content(f"{base}/{path}") for path in paths}

    return fetch


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The paths in each batch that was sent."""
    sent: list[list[str]] = []

    def send(client: Any, url: str, lines: Any, policy: Any) -> None:
        sent.append([line["path"] for line in lines])
        send_batch(client, url, lines, policy)

    monkeypatch.setattr("hubspool.push.bucket.send_batch", send)
    return sent


def start_again(make: Make, scheduler: CommitScheduler) -> Any:
    """The process ended without a flush and starts again."""
    scheduler.stop(flush=False)
    return make(type(scheduler))


def hits(hub: LocalHub, fault: Fault) -> int:
    return sum(hit.fault is fault for hit in hub.faults.hits)


def numbers(files: dict[str, bytes]) -> list[int]:
    """The numbers in all rows of the bucket."""
    found: list[int] = []
    for path, content in files.items():
        if path.endswith(".jsonl"):
            found += [json.loads(line)["n"] for line in content.splitlines()]
        elif path.endswith(".parquet"):
            found += pyarrow.parquet.read_table(io.BytesIO(content)).column("n").to_pylist()
        elif path.endswith(".zip"):
            names = zipfile.ZipFile(io.BytesIO(content)).namelist()
            found += [int(Path(name).stem) for name in names if name.endswith(".bin")]
    return sorted(found)


def put(scheduler: CommitScheduler, *wanted: int) -> None:
    for number in wanted:
        if isinstance(scheduler, ZipScheduler):
            scheduler.add(b"content", f"{number}.bin")
        elif isinstance(scheduler, RowScheduler):
            scheduler.append({"n": number})
        else:
            with scheduler.lock, (scheduler.folder_path / "rows.jsonl").open("a") as file:
                file.write(json.dumps({"n": number}) + "\n")


def ranges(paths: Any) -> list[tuple[int, int]]:
    """The ranges that paths in a bucket name."""
    names = [RangeName.parse(Path(path).name) for path in paths]
    return sorted((name.start, name.end) for name in names if name is not None)


@pytest.mark.parametrize("kind", [JsonlScheduler, ParquetScheduler, ZipScheduler, CommitScheduler, TrainingLogs])
def test_every_scheduler_sends_to_a_private_bucket(
    kind: type[CommitScheduler], make: Make, files: Callable[[], dict[str, bytes]], hub_api: HfApi
) -> None:
    scheduler = make(kind, repo_id=f"{ADDRESS}/raw")
    put(scheduler, 1, 2)
    first = scheduler.flush(SECONDS)
    put(scheduler, 3)
    assert scheduler.flush(SECONDS).oid != first.oid
    assert scheduler.flush(SECONDS) is None
    found = files()
    assert numbers(found) == [1, 2, 3]
    assert all(path.startswith("raw/") for path in found)
    assert hub_api.bucket_info(BUCKET).private
    status = scheduler.status()
    assert status.repo_url == f"{hub_api.endpoint}/buckets/{BUCKET}" == first.commit_url
    assert (status.pending_files, status.last_error) == (0, None)


def test_a_push_is_one_file_named_by_segment_and_range_that_never_changes(
    make: Make, files: Callable[[], dict[str, bytes]], local_hub: LocalHub
) -> None:
    scheduler = make(timestamp=True)
    put(scheduler, 0)
    scheduler.flush(SECONDS)  # gets the Xet token, for all
    seen = files()
    for number in range(1, 5):
        forget(local_hub)
        put(scheduler, number)
        scheduler.flush(SECONDS)
        assert local_hub.requests.wait_idle()
        assert len(local_hub.requests) <= 4, [each.route or each.path for each in local_hub.requests]
        found = files()
        assert {path: found[path] for path in seen} == seen
        assert len(found) == number + 1
        seen = found
    assert all(RangeName.parse(Path(path).name) for path in seen)
    parts = ranges(seen)
    assert [end for _, end in parts[:-1]] == [start for start, _ in parts[1:]]
    assert parts[0][0] == 0


def test_a_push_sends_hardly_more_than_the_rows_and_makes_four_requests(make: Make, local_hub: LocalHub) -> None:
    scheduler = make()
    forget(local_hub)
    size = 0
    for number in range(10):
        row = {"n": number, "text": random.Random(number).randbytes(3200).hex()[:4370]}
        size += len(json.dumps(row, separators=(",", ":"))) + 1
        scheduler.append(row)
        scheduler.flush(SECONDS)
    assert local_hub.requests.wait_idle()
    assert sum(each.bytes_in for each in local_hub.requests) <= 1.5 * size
    assert len(local_hub.requests) <= 4 * 10 + 1  # one Xet token for all


def test_the_ledger_stays_small_however_often_a_segment_is_pushed(
    make: Make, files: Callable[[], dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CommitScheduler, "_limits", PushLimits(ranges=3))
    scheduler = make(keep_local=True)
    for number in range(9):
        put(scheduler, number)
        scheduler.flush(SECONDS)
        ((_, parts),) = scheduler._setup.ledger.parts(1).items()
        assert len(parts) <= 4
    assert scheduler.rows_on_hub([*scheduler._setup.ledger.parts(1)]) == 9
    again = start_again(make, scheduler)
    put(again, 9)
    again.flush(SECONDS)
    assert len(ranges(files())) == 10
    assert numbers(files()) == [*range(10)]


@pytest.mark.parametrize("fault", [
    {"status": 503},
    {"status": 503, "applied": True},
    {"drop": True},
    {"drop": True, "applied": True},
    {"status": 429, "headers": {"Retry-After": "0"}},
    {"status": 400, "body": "not now"},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("kind", [JsonlScheduler, ParquetScheduler, CommitScheduler])
def test_a_refused_or_lost_answer_neither_loses_nor_doubles_a_row(
    kind: type[CommitScheduler],
    fault: dict[str, Any],
    make: Make,
    files: Callable[[], dict[str, bytes]],
    local_hub: LocalHub,
) -> None:
    events: list[CommitEvent] = []
    scheduler = make(kind, on_commit=events.append)
    hit = local_hub.faults.add(Fault(route="bucket-batch", **fault))
    put(scheduler, 1, 2)
    assert scheduler.trigger().exception(SECONDS) is None
    assert hits(local_hub, hit) == 1
    put(scheduler, 3)
    scheduler.flush(SECONDS)
    assert numbers(files()) == [1, 2, 3]
    assert scheduler.status().pending_files == 0
    if kind is not CommitScheduler:  # which reports no commit of a file that a look finds
        assert sum(event.rows_new for event in events) == 3


@pytest.mark.parametrize("kind", [JsonlScheduler, ParquetScheduler])
def test_a_range_in_doubt_is_repeated_unchanged_before_the_next_one(
    kind: type[CommitScheduler],
    make: Make,
    files: Callable[[], dict[str, bytes]],
    local_hub: LocalHub,
    batches: list[list[str]],
) -> None:
    later = iter([3])
    scheduler = make(kind, on_error=lambda _: put(scheduler, *later))  # before the repetition is planned
    fault = local_hub.faults.add(Fault(route="bucket-batch", drop=True, late=float("inf")))
    put(scheduler, 1, 2)
    scheduler.trigger().result(SECONDS)
    assert hits(local_hub, fault) == 1
    assert local_hub.faults.release()
    scheduler.flush(SECONDS)
    sent = [*map(ranges, batches)]
    assert sent[0] == sent[1]
    assert [start for start, _ in sent[2]] == [end for _, end in sent[0]]
    assert numbers(files()) == [1, 2, 3]


@pytest.mark.parametrize("is_published", [False, True])
@pytest.mark.parametrize("kind", [JsonlScheduler, ParquetScheduler])
def test_a_look_that_is_answered_from_an_older_state_doubles_nothing(
    kind: type[CommitScheduler],
    is_published: bool,
    make: Make,
    files: Callable[[], dict[str, bytes]],
    local_hub: LocalHub,
    hub_api: HfApi,
    batches: list[list[str]],
) -> None:
    scheduler = make(kind)
    put(scheduler, 1)
    scheduler.flush(SECONDS)
    local_hub.faults.add(Fault(route="bucket-batch", status=503, applied=True))
    looks = local_hub.faults.add(Fault(route="bucket-paths-info", status=503, times=None))
    put(scheduler, 2)
    scheduler.trigger()
    assert local_hub.faults.wait_for_hits(2)
    assert hits(local_hub, looks)
    path = batches[-1][0]
    if is_published:
        name = RangeName.parse(Path(path).name)
        assert name is not None
        content = marker("local/dataset", {str(name.segment): [(name.start, name.end)]})
        hub_api.batch_bucket_files(BUCKET, add=[(content, marker_path("0" * 40))])
    local_hub.faults.clear()
    stale = local_hub.faults.add(Fault(route=("bucket-paths-info", "bucket-tree"), stale=1 + is_published, times=None))
    put(scheduler, 3)
    scheduler.flush(SECONDS)
    assert hits(local_hub, stale) == 2  # the look sees neither the file nor, if there is one, the marker
    local_hub.faults.clear()
    assert batches[-2] == [path]  # repeated unchanged
    assert numbers(files()) == [1, 2, 3]


def test_a_range_that_a_marker_names_is_not_sent_again(
    make: Make, files: Callable[[], dict[str, bytes]], local_hub: LocalHub, hub_api: HfApi
) -> None:
    scheduler = make()
    put(scheduler, 1, 2)
    local_hub.faults.add(Fault(route="bucket-batch", status=503, applied=True))
    looks = local_hub.faults.add(Fault(route="bucket-paths-info", status=503, times=None))
    scheduler.trigger()
    assert local_hub.faults.wait_for_hits(2)
    (path,) = files()
    name = RangeName.parse(Path(path).name)
    assert name is not None
    content = marker("local/dataset", {str(name.segment): [(name.start, name.end)]})
    hub_api.batch_bucket_files(BUCKET, add=[(content, marker_path("0" * 40))])
    hub_api.batch_bucket_files(BUCKET, delete=[path])
    assert hits(local_hub, looks)
    local_hub.faults.clear()
    put(scheduler, 3)
    scheduler.flush(SECONDS)
    found = {path: content for path, content in files().items() if not path.startswith(".hubspool")}
    assert numbers(found) == [3]
    assert scheduler.status().pending_rows == 0


@pytest.mark.parametrize("answer", [
    {"success": True, "processed": 1, "succeeded": 0, "failed": []},
    {"success": False, "processed": 1, "succeeded": 0, "failed": [{"path": "", "error": "busy"}]},
    {"success": False, "processed": 1, "succeeded": 0, "failed": [{"path": "votes/", "error": "busy"}]},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("is_applied", [False, True])
def test_an_answer_that_does_not_account_for_a_range_leaves_it_in_doubt(
    is_applied: bool,
    answer: dict[str, Any],
    make: Make,
    files: Callable[[], dict[str, bytes]],
    local_hub: LocalHub,
    batches: list[list[str]],
) -> None:
    scheduler = make()
    fault = Fault(route="bucket-batch", status=200, body=json.dumps(answer), applied=is_applied)
    local_hub.faults.add(fault)
    put(scheduler, 1, 2)
    scheduler.flush(SECONDS)
    assert hits(local_hub, fault) == 1
    assert batches == batches[:1] * (1 if is_applied else 2)  # a look finds it, or it is repeated unchanged
    put(scheduler, 3)
    scheduler.flush(SECONDS)
    assert numbers(files()) == [1, 2, 3]


def test_operations_that_the_hub_did_not_apply_are_sent_once_more(
    make: Make,
    files: Callable[[], dict[str, bytes]],
    batches: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scheduler = make(CommitScheduler)
    put(scheduler, 1)
    (scheduler.folder_path / "other.bin").write_bytes(b"other")
    unknown = [{"xetHash": "f" * 64}]  # the Hub has no such content, and applies the rest of the batch

    def line(addition: CommitOperationAdd) -> dict[str, Any]:
        is_first = addition.path_in_repo == "rows.jsonl" and unknown
        return add_line(addition) | (unknown.pop() if is_first else {})

    monkeypatch.setattr("hubspool.push.bucket.add_line", line)
    scheduler.flush(SECONDS)
    assert [sorted(each) for each in batches] == [["other.bin", "rows.jsonl"], ["rows.jsonl"]]
    assert files() == {"other.bin": b"other", "rows.jsonl": b'{"n": 1}\n'}


def test_what_the_hub_refuses_for_good_is_named_and_holds_nothing_up(
    make: Make, files: Callable[[], dict[str, bytes]], local_hub: LocalHub
) -> None:
    scheduler = make(CommitScheduler)
    put(scheduler, 1)
    failed = {"success": False, "processed": 1, "succeeded": 0, "failed": [{"path": "rows.jsonl", "error": "no"}]}
    fault = local_hub.faults.add(Fault(route="bucket-batch", status=422, body=json.dumps(failed), times=2))
    with pytest.raises(NotStoredError, match=r"rows\.jsonl: no"):
        scheduler.flush(SECONDS)
    assert hits(local_hub, fault) == 2
    scheduler.flush(SECONDS)
    assert numbers(files()) == [1]


@pytest.mark.parametrize("is_published", [False, True])
def test_after_a_lost_ledger_only_what_neither_bucket_nor_marker_has_is_sent(
    is_published: bool, make: Make, files: Callable[[], dict[str, bytes]], tmp_path: Path, hub_api: HfApi
) -> None:
    scheduler = make(keep_local=True)
    put(scheduler, 1, 2)
    scheduler.flush(SECONDS)
    put(scheduler, 3)
    scheduler.stop(flush=False)
    for state in spool_of(tmp_path / "folder").glob("ledger*"):
        state.unlink()
    if is_published:
        (path,) = files()
        name = RangeName.parse(Path(path).name)
        assert name is not None
        content = marker("local/dataset", {str(name.segment): [(name.start, name.end)]})
        hub_api.batch_bucket_files(BUCKET, add=[(content, marker_path("1" * 40))], delete=[path])
    scheduler = make(keep_local=True)
    with pytest.raises(FlushTimeout, match="second look"):
        scheduler.flush(1)
    before = scheduler._clock
    scheduler._clock = lambda: before() + HOUR
    scheduler.flush(SECONDS)
    found = {path: content for path, content in files().items() if not path.startswith(".hubspool")}
    assert numbers(found) == ([3] if is_published else [1, 2, 3])
    assert scheduler.status().pending_rows == 0


@pytest.mark.parametrize("on_existing", ["keep_both", "overwrite", "error"])
def test_foreign_lines_at_a_path_are_treated_as_on_existing_says(
    on_existing: str, make: Make, files: Callable[[], dict[str, bytes]], hub_api: HfApi
) -> None:
    hub_api.create_bucket(BUCKET)
    hub_api.batch_bucket_files(BUCKET, add=[(b'{"n": 7}\n', "rows.jsonl")])
    scheduler = make(CommitScheduler, on_existing=on_existing, settle=False)
    put(scheduler, 1)
    if on_existing == "error":
        with pytest.raises(NotStoredError, match="on_existing"):
            scheduler.flush(SECONDS)
    else:
        scheduler.flush(SECONDS)
        put(scheduler, 2)
        scheduler.flush(SECONDS)
    expected = {"keep_both": [1, 2, 7], "overwrite": [1, 2], "error": [7]}[on_existing]
    assert numbers(files()) == expected


def test_a_file_that_a_person_changed_between_two_pushes_is_not_replaced(
    make: Make, files: Callable[[], dict[str, bytes]], hub_api: HfApi
) -> None:
    scheduler = make(CommitScheduler)
    put(scheduler, 1)
    scheduler.flush(SECONDS)
    hub_api.batch_bucket_files(BUCKET, add=[(b'{"n": 7}\n', "rows.jsonl")])
    put(scheduler, 2)
    scheduler.flush(SECONDS)
    assert numbers(files()) == [2, 7]


def test_a_folder_that_continues_what_the_bucket_has_goes_on_with_it(
    make: Make, files: Callable[[], dict[str, bytes]], tmp_path: Path
) -> None:
    scheduler = make(CommitScheduler)
    put(scheduler, 1)
    scheduler.flush(SECONDS)
    scheduler.stop()
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "rows.jsonl").write_text('{"n": 1}\n{"n": 2}\n')
    make(CommitScheduler, folder="copy", settle=False).flush(SECONDS)
    assert [*files()] == ["rows.jsonl"]
    assert numbers(files()) == [1, 2]


def test_restore_downloads_what_a_fresh_disk_lacks(make: Make, tmp_path: Path) -> None:
    scheduler = make(CommitScheduler, repo_id=f"{ADDRESS}/raw")
    put(scheduler, 1)
    scheduler.flush(SECONDS)
    again = make(CommitScheduler, repo_id=f"{ADDRESS}/raw", folder="fresh", restore=True)
    assert (tmp_path / "fresh" / "rows.jsonl").read_text() == '{"n": 1}\n'
    assert again.status().last_error is None


def test_an_older_version_that_lands_late_is_replaced_an_hour_later(
    make: Make, files: Callable[[], dict[str, bytes]], local_hub: LocalHub
) -> None:
    scheduler = make(CommitScheduler)
    state = scheduler.folder_path / "state.bin"
    state.write_bytes(b"old")
    fault = local_hub.faults.add(Fault(route="bucket-batch", drop=True, late=float("inf")))
    scheduler.stop(flush=False)
    scheduler = make(CommitScheduler)
    assert hits(local_hub, fault) == 1
    state.write_bytes(b"newer")
    scheduler.flush(SECONDS)
    assert local_hub.faults.release()
    assert files() == {"state.bin": b"old"}
    before = scheduler._clock
    scheduler._clock = lambda: before() + HOUR
    scheduler.flush(SECONDS)
    assert files() == {"state.bin": b"newer"}


def test_a_bucket_that_was_created_again_gets_nothing_until_a_person_says_so(
    make: Make, files: Callable[[], dict[str, bytes]], hub_api: HfApi
) -> None:
    scheduler = make()
    put(scheduler, 1)
    scheduler.flush(SECONDS)
    hub_api.delete_bucket(BUCKET)
    put(scheduler, 2)
    with pytest.raises(HubspoolError):
        scheduler.flush(SECONDS)
    hub_api.create_bucket(BUCKET)
    with pytest.raises(RepoReplacedError):
        scheduler.flush(SECONDS)
    assert files() == {}


def test_a_bucket_that_was_created_again_between_two_pushes_is_noticed(
    make: Make, files: Callable[[], dict[str, bytes]], hub_api: HfApi
) -> None:
    scheduler = make()
    put(scheduler, 1)
    scheduler.flush(SECONDS)
    hub_api.delete_bucket(BUCKET)
    hub_api.create_bucket(BUCKET)
    put(scheduler, 2)
    before = scheduler._clock
    scheduler._clock = lambda: before() + 61
    with pytest.raises(RepoReplacedError, match=f"--from {ADDRESS} --to {ADDRESS}"):
        scheduler.flush(SECONDS)
    assert files() == {}


def test_two_writers_share_a_bucket(make: Make, files: Callable[[], dict[str, bytes]]) -> None:
    schedulers = [make(folder=name) for name in ("one", "two")]
    for number, scheduler in enumerate(schedulers):
        put(scheduler, number, number + 10)
        scheduler.flush(SECONDS)
    assert numbers(files()) == [0, 1, 10, 11]


def test_pushes_stay_under_half_of_the_rate_limit(make: Make, local_hub: LocalHub) -> None:
    scheduler = make(every=0.05)
    local_hub.faults.add(Fault(path="/api/", limit=RateLimit(20, seconds=300)))
    forget(local_hub)

    def is_paused() -> bool:
        return bool((scheduler.status().next_push_at.timestamp() - scheduler._clock()) > 60)  # not after three seconds

    sent = 0
    while sent < 15 and not is_paused():
        put(scheduler, sent)
        scheduler.trigger().exception(5)
        sent += 1
    calls = [each.status for each in local_hub.requests if each.path.startswith("/api/")]
    assert (len(calls), {*calls}) == (10, {200})  # a token, nine batches
    assert sent == 9
    scheduler.flush(SECONDS)  # a caller who waits is served at once
    assert scheduler.status().pending_rows == 0


def test_a_short_period_is_no_reason_for_a_warning(
    make: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubspool.scheduling.repo_setup.is_loopback", lambda _: False)
    with caplog.at_level(logging.WARNING, logger="hubspool"):
        make(every=0.1, settle=False)
        assert not caplog.records
        make(every=0.1, repo_id="local/dataset", folder="other", settle=False)
        assert "commits an hour" in caplog.text


@pytest.mark.parametrize("address", ["hf://buckets/votes", "hf://buckets/local/", "hf://buckets/local/votes/../x"])
def test_an_address_that_is_none_is_refused(address: str, make: Make) -> None:
    with pytest.raises(HFValidationError):
        make(repo_id=address)


@pytest.mark.parametrize("option", [{"revision": "dev"}, {"squash_history": True}, {"retain_days": 3}])
def test_options_about_the_history_are_refused(option: dict[str, Any], make: Make) -> None:
    with pytest.raises(HFValidationError, match="a bucket has no history"):
        make(**option)


def test_rows_cannot_be_forgotten_in_a_bucket(make: Make) -> None:
    with pytest.raises(RuntimeError, match="publish"):
        make().forget({"n": 1})


def test_names_of_ranges_are_no_names_of_segments() -> None:
    segment = SegmentName("train", "20260102", "0123456789ab", 3, "parquet")
    name = RangeName(segment, 10, 200)
    assert RangeName.parse(str(name)) == name
    assert SegmentName.parse(str(name)) is None
    assert SegmentName.parse(str(RangeName(SegmentName("t", "20260102", "0123456789ab", 3), 1, 2))) is None
    assert RangeName.parse(str(segment)) is None


def test_flags_of_a_gradio_app_go_to_a_bucket(
    hub_api: HfApi, tmp_path: Path, files: Callable[[], dict[str, bytes]]
) -> None:
    callback = HubFlaggingCallback(ADDRESS, hf_api=hub_api, every=600)
    callback.setup([gradio.Number(label="n")], tmp_path / "flagged")
    callback.flag([7])
    callback.scheduler.stop(timeout=SECONDS)
    assert numbers(files()) == [7]
    assert [path.name for path in (tmp_path / "flagged").iterdir()] == ["local--votes"]


def test_replicas_whose_calls_are_refused_send_every_row_once(
    files: Callable[[], dict[str, bytes]], make: Make, local_hub: LocalHub
) -> None:
    apis = [HfApi(endpoint=local_hub.endpoint, token=local_hub.token) for _ in range(8)]
    schedulers = [make(folder=str(number), every=0.02, hf_api=api) for number, api in enumerate(apis)]
    refusal = {"status": 429, "headers": {"Retry-After": "0"}}
    refused = [local_hub.faults.add(Fault(path="/api/buckets/", after=after, times=2, **refusal)) for after in (4, 9)]
    for number in range(5):
        for replica, scheduler in enumerate(schedulers):
            put(scheduler, number * 8 + replica)
    for scheduler in schedulers:
        scheduler.flush(SECONDS)
    assert [hits(local_hub, fault) for fault in refused] == [2, 2]
    assert numbers(files()) == [*range(40)]


def test_a_renamed_bucket_keeps_its_rows_and_gets_the_next_ones(
    make: Make, files: Callable[[], dict[str, bytes]], hub_api: HfApi
) -> None:
    hub_api.delete_bucket("local/ballots", missing_ok=True)
    scheduler = make()
    put(scheduler, 1)
    scheduler.flush(SECONDS)
    body = {"fromRepo": BUCKET, "toRepo": "local/ballots", "type": "bucket"}
    hub_api.client().request("POST", f"{hub_api.endpoint}/api/repos/move", json=body)
    put(scheduler, 2)
    scheduler.flush(SECONDS)
    again = start_again(make, scheduler)
    put(again, 3)
    again.flush(SECONDS)
    assert hub_api.bucket_info("local/ballots").total_files == 3
    assert numbers(files()) == [1, 2, 3]
    again.stop()
    hub_api.delete_bucket("local/ballots")


def test_a_spool_is_used_on_when_the_hub_has_another_address(tmp_path: Path) -> None:
    for number in range(2):
        with LocalHub(tmp_path / "hub") as hub:
            api = HfApi(endpoint=hub.endpoint, token=hub.token)
            scheduler = JsonlScheduler(ADDRESS, tmp_path / "folder", hf_api=api, every=600)
            put(scheduler, number)
            scheduler.stop(timeout=SECONDS)
            assert api.bucket_info(BUCKET).total_files == number + 1
            spool_of(tmp_path / "folder")  # the only one


def test_a_damaged_marker_is_named_and_nothing_is_sent_twice(
    make: Make, files: Callable[[], dict[str, bytes]], local_hub: LocalHub, hub_api: HfApi
) -> None:
    errors: queue.Queue[ErrorEvent] = queue.Queue()
    scheduler = make(on_error=errors.put)
    hub_api.batch_bucket_files(BUCKET, add=[(b"no marker", marker_path("2" * 40))])
    local_hub.faults.add(Fault(route="bucket-batch", status=503))
    put(scheduler, 1)
    scheduler.trigger()
    while "is damaged" not in str(errors.get(timeout=SECONDS).error):
        pass
    hub_api.batch_bucket_files(BUCKET, delete=[marker_path("2" * 40)])
    scheduler.flush(SECONDS)
    assert numbers(files()) == [1]


@pytest.mark.parametrize("versioned", [None, "*.jsonl"])
@pytest.mark.parametrize("has_more", [True, False])
def test_an_older_version_of_lines_that_lands_late_takes_no_row_away(
    has_more: bool, versioned: str | None, make: Make, files: Callable[[], dict[str, bytes]], local_hub: LocalHub
) -> None:
    scheduler = make(CommitScheduler, versioned=versioned)
    put(scheduler, 1)
    fault = local_hub.faults.add(Fault(route="bucket-batch", drop=True, late=float("inf")))
    scheduler.stop(flush=False)
    scheduler = make(CommitScheduler, versioned=versioned)
    assert hits(local_hub, fault) == 1
    put(scheduler, 2)
    scheduler.flush(SECONDS)
    assert numbers(files()) == [1, 2]
    assert local_hub.faults.release()
    assert numbers(files()) == [1]
    before = scheduler._clock
    if has_more:
        put(scheduler, 3)
    else:
        scheduler._clock = lambda: before() + HOUR
    scheduler.flush(SECONDS)
    assert [*files()] == ["rows.jsonl"]
    assert numbers(files()) == [1, 2, *([3] if has_more else [])]


def test_a_file_that_is_gone_from_the_disk_holds_nothing_up(
    make: Make, files: Callable[[], dict[str, bytes]], local_hub: LocalHub
) -> None:
    scheduler = make(CommitScheduler)
    put(scheduler, 1)
    local_hub.faults.add(Fault(route="bucket-batch", drop=True, applied=True))
    scheduler.flush(SECONDS)
    (scheduler.folder_path / "rows.jsonl").unlink()
    (scheduler.folder_path / "other.jsonl").write_text('{"n": 2}\n')
    before = scheduler._clock
    scheduler._clock = lambda: before() + HOUR
    scheduler.flush(SECONDS)
    assert numbers(files()) == [1, 2]
    assert scheduler._setup.ledger.doubts(1) == {}


def test_what_a_person_puts_there_within_the_hour_is_no_older_version(
    make: Make, files: Callable[[], dict[str, bytes]], local_hub: LocalHub, hub_api: HfApi
) -> None:
    scheduler = make(CommitScheduler)
    put(scheduler, 1)
    local_hub.faults.add(Fault(route="bucket-batch", drop=True, applied=True))
    scheduler.flush(SECONDS)
    hub_api.batch_bucket_files(BUCKET, add=[(b'{"n": 7}\n', "rows.jsonl")])
    before = scheduler._clock
    scheduler._clock = lambda: before() + HOUR
    scheduler.flush(SECONDS)
    assert numbers(files()) == [7]
    put(scheduler, 2)
    scheduler.flush(SECONDS)
    assert numbers(files()) == [2, 7]
