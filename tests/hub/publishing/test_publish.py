"""`hubspool publish`: the rows of a bucket are in a dataset once, whatever fails, and only then leave the bucket."""

from __future__ import annotations

import itertools
import json
import random
import signal
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from hubspool import HfApi, HubspoolError
from hubspool.cli.signals import SignalWaiter
from hubspool.client.file_range import FileRange
from hubspool.client.http import HubClient
from hubspool.errors import HFValidationError
from hubspool.local_hub import Fault, LocalHub
from hubspool.push.encodings import Span
from hubspool.push.publish import Publisher
from hubspool.push.published import MARKERS
from hubspool.push.remote_bucket import RemoteBucket
from hubspool.spool.segment_name import RangeName, SegmentName
from hubspool_templates import JsonlScheduler, ParquetScheduler, ZipScheduler, read_rows
from hubspool_templates.parquet.parquet_encoding import ParquetEncoding
from tests.support.command_calls import Call
from tests.support.publishing import (
    ADDRESS,
    BUCKET,
    DATASET,
    SECONDS,
    Make,
    commits,
    in_bucket,
    look,
    markers,
    put,
    rows,
    set_clock,
)


class Killed(BaseException):
    """The end of a process, at a request."""


def add(api: HfApi, content: bytes, start: int = 0, seq: int = 0, *, size: int | None = None, month: str = "01") -> str:
    """Put a file of a segment into the bucket, which its name says to be `size` bytes long."""
    api.create_bucket(BUCKET, exist_ok=True)
    end = start + (len(content) if size is None else size)
    name = RangeName(SegmentName("train", f"2026{month}02", "0123456789ab", seq), start, end)
    path = f"data/2026-{month}/{name}"
    api.batch_bucket_files(BUCKET, add=[(content, path)])
    return path


@pytest.mark.parametrize("kind", [JsonlScheduler, ParquetScheduler, ZipScheduler])
def test_what_is_new_becomes_one_commit_that_loads(kind: Any, make: Make, call: Call, hub_api: HfApi) -> None:
    scheduler = make(kind)
    for number in range(3):
        put(scheduler, number)
    code, out, err = call("publish", ADDRESS, DATASET)
    assert code == 0, err
    assert "3 rows" in out
    assert rows(hub_api) == [0, 1, 2]
    assert len(commits(hub_api)) == 1
    assert hub_api.repo_info(DATASET, repo_type="dataset").private
    assert len(in_bucket(hub_api)) == 3
    assert call("publish", ADDRESS, DATASET)[0] == 0
    assert len(commits(hub_api)) == 1
    put(scheduler, 3)
    assert call("publish", ADDRESS, DATASET, "--delete")[0] == 0
    assert rows(hub_api) == [0, 1, 2, 3]
    assert in_bucket(hub_api) == []
    assert len(markers(hub_api)) == 2
    for place in (DATASET, ADDRESS):
        code, out, err = call("verify", place)
        assert (code, "warn" in out) == (0, False), out + err


@pytest.mark.parametrize("kind", [JsonlScheduler, ParquetScheduler, ZipScheduler])
def test_each_folder_of_a_bucket_becomes_a_config(kind: Any, make: Make, call: Call, hub_api: HfApi) -> None:
    places = {
        "default": ("", {}),
        "errors": ("", {"config": "errors"}),
        "p": ("/p", {}),
        "p-errors": ("/p", {"config": "errors"}),
    }
    for number, (folder, options) in enumerate(places.values()):
        put(make(kind, f"{ADDRESS}{folder}", **options), number)
    code, out, err = call("publish", ADDRESS, DATASET, "--delete")
    assert (code, in_bucket(hub_api)) == (0, []), out + err
    for number, config in enumerate(places):
        assert [row["n"] for row in read_rows(DATASET, api=hub_api, config=config)] == [number]
    code, out, err = call("verify", DATASET)
    assert (code, "warn" in out) == (0, False), out + err


@pytest.mark.parametrize("value", ["0", '{"x":1}'])
def test_folders_with_one_name_have_configs_of_their_own(value: str, call: Call, hub_api: HfApi) -> None:
    """The name of a folder's config stays."""
    for number in range(3):
        for writer, (folder, text) in enumerate({"a/b": f"{number}", "a-b": value, "data/a/b": value}.items()):
            segment = SegmentName(("train", "test", "train")[number], "20260102", f"0123456789a{writer}", number)
            line = f'{{"in":"{folder}","n":{text}}}\n'.encode()
            hub_api.create_bucket(BUCKET, exist_ok=True)
            path = f"{folder}/2026-01/{RangeName(segment, 0, len(line))}"
            hub_api.batch_bucket_files(BUCKET, add=[(line, path)])
        code, out, err = call("publish", ADDRESS, DATASET)
        assert code == 0, out + err
    for config, folder in {"a-b": "a-b", "a-b-2": "a/b", "a-b-3": "data/a/b"}.items():
        assert [row["in"] for row in read_rows(DATASET, api=hub_api, config=config)] == [folder] * 3
    code, out, err = call("verify", DATASET)
    assert (code, "warn" in out) == (0, False), out + err


def test_verify_names_files_of_rows_that_no_config_loads(make: Make, call: Call, hub_api: HfApi) -> None:
    for number, config in enumerate((None, "errors")):
        put(make(config=config), number)
        assert call("publish", ADDRESS, DATASET)[0] == 0
        assert [row["n"] for row in read_rows(DATASET, api=hub_api, config=config)] == [number]
    readme = Path(hub_api.hf_hub_download(DATASET, "README.md", repo_type="dataset")).read_text()
    text = readme.replace("data/errors/", "data/mistakes/").encode()
    hub_api.upload_file(path_or_fileobj=text, path_in_repo="README.md", repo_id=DATASET, repo_type="dataset")
    code, out, _ = call("verify", DATASET)
    assert (code, "no config of the card loads 1 of its files" in out) == (1, True), out


def test_replicas_publish_their_bucket_once_a_period(make: Make, hub_api: HfApi, local_hub: LocalHub) -> None:
    """The Hub's clock says when a period is over."""
    replicas = [make(publish_to=DATASET, publish_every=60, folder=str(number)) for number in range(3)]
    for period in range(2):
        set_clock(local_hub, 61 * period)
        for number, scheduler in enumerate(replicas):
            put(scheduler, 10 * period + number)
        for scheduler in [*replicas, *replicas]:
            look(scheduler)
            assert scheduler.status().last_compaction_error is None
        assert len(commits(hub_api)) == period + 1
    assert rows(hub_api) == [10 * period + number for period in range(2) for number in range(3)]
    assert replicas[0].status().last_compaction_at is not None
    assert len(in_bucket(hub_api)) == 6
    for scheduler in replicas:
        left = scheduler.status().next_compaction_at - datetime.now(timezone.utc)
        assert timedelta(minutes=50) < left <= timedelta(minutes=70)


def test_a_publisher_that_ends_at_any_request_neither_loses_nor_doubles_a_row(
    publisher: Callable[..., Publisher], hub_api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, ends = HubClient.send, 0
    sent = itertools.count(1)

    def send_or_end(*given: Any, **options: Any) -> Any:
        is_last = "/resolve/" not in given[2] and next(sent) == ends
        if is_last and ends % 2:
            raise Killed
        try:
            return send(*given, **options)
        finally:
            if is_last:
                raise Killed

    hub_api.create_bucket(BUCKET)
    first = publisher()
    segment = SegmentName("train", "20260102", "0123456789ab", 0)
    position = 0
    with monkeypatch.context() as patch:
        patch.setattr(HubClient, "send", send_or_end)
        for number in range(60):
            line = json.dumps({"n": number}).encode() + b"\n"
            name = RangeName(segment, position, position + len(line))
            position += len(line)
            sent, ends = itertools.count(1), 0
            hub_api.batch_bucket_files(BUCKET, add=[(line, f"data/2026-01/{name}")])
            another = publisher()
            sent, ends = itertools.count(1), number + 1
            try:
                another.run(delete=True)
            except Killed:
                continue
            break
    assert number > 10, "it ended at each of its requests"
    assert rows(hub_api) == [*range(number + 1)]
    assert in_bucket(hub_api) == []
    assert first.run(delete=True).commits == []


@pytest.mark.parametrize("fault", [
    {"status": 503},
    {"status": 503, "applied": True},
    {"drop": True, "applied": True},
    {"drop": True, "late": float("inf")},
    {"status": 412, "body": "{}"},
    {"status": 429, "headers": {"Retry-After": "0"}},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("route", ["commit", "bucket-batch"])
def test_a_refused_or_lost_answer_is_answered_by_another_look(
    route: str,
    fault: dict[str, Any],
    make: Make,
    publisher: Callable[..., Publisher],
    hub_api: HfApi,
    local_hub: LocalHub,
) -> None:
    put(make(), 1, 2)
    added = local_hub.faults.add(Fault(route=route, **fault))
    publisher().run(delete=True)
    local_hub.faults.release()
    assert sum(hit.fault is added for hit in local_hub.faults.hits) == 1
    assert rows(hub_api) == [1, 2]
    assert len(commits(hub_api)) == 1
    assert in_bucket(hub_api) == []


def test_nothing_is_deleted_before_the_marker_is_there(
    make: Make, publisher: Callable[..., Publisher], hub_api: HfApi, local_hub: LocalHub
) -> None:
    put(make(), 1)
    publisher().run()
    (path,) = markers(hub_api)
    hub_api.batch_bucket_files(BUCKET, delete=[path])  # as if it had not been written yet
    failed = {"success": False, "processed": 1, "succeeded": 0, "failed": [{"path": path, "error": "busy"}]}
    fault = local_hub.faults.add(Fault(route="bucket-batch", status=200, body=json.dumps(failed), times=None))
    with pytest.raises(HubspoolError, match="busy"):
        publisher().run(delete=True)
    assert {hit.route for hit in local_hub.faults.hits if hit.fault is fault} == {"bucket-batch"}
    assert len(in_bucket(hub_api)) == 1
    local_hub.faults.clear()
    assert markers(hub_api) == []
    assert publisher().run(delete=True).deleted == 1
    assert markers(hub_api) == [path]
    assert len(commits(hub_api)) == 1


def test_a_file_that_no_marker_names_is_not_deleted(
    make: Make, publisher: Callable[..., Publisher], hub_api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(make(), 1)
    with monkeypatch.context() as patch:
        patch.setattr(RemoteBucket, "published", lambda _: {})  # as if somebody had deleted it
        assert publisher().run(delete=True).deleted == 0
    assert len(in_bucket(hub_api)) == 1
    assert publisher().run(delete=True).deleted == 1


def test_what_happens_at_any_step_of_a_publisher_doubles_no_row(
    make: Make, publisher: Callable[..., Publisher], hub_api: HfApi
) -> None:
    scheduler, number, left = make(), 0, 0

    def meanwhile() -> bool:
        nonlocal left
        left -= 1
        if left == -1 and number % 2:
            publisher().run(delete=True)
        elif left == -1:
            name = f"{number}.txt"
            hub_api.upload_file(path_or_fileobj=b"a person", path_in_repo=name, repo_id=DATASET, repo_type="dataset")
        return True

    while left < 0 or number == 0:
        put(scheduler, number)
        number, left = number + 1, number // 2
        publisher(may_go_on=meanwhile).run(delete=True)
        assert rows(hub_api) == [*range(number)]
        assert in_bucket(hub_api) == []
    assert number > 8
    assert len(commits(hub_api)) == number


def test_a_file_that_comes_back_is_deleted_again_and_published_once(
    make: Make, publisher: Callable[..., Publisher], hub_api: HfApi
) -> None:
    put(make(), 1)
    (path,) = in_bucket(hub_api)
    url = f"{hub_api.endpoint}/buckets/{BUCKET}/resolve/{path}"
    content = hub_api.client().content(url)
    publisher().run(delete=True)
    hub_api.batch_bucket_files(BUCKET, add=[(content, path)])  # a batch whose answer was lost
    done = publisher().run(delete=True)
    assert (done.commits, done.deleted) == ([], 1)
    assert rows(hub_api) == [1]
    hub_api.batch_bucket_files(BUCKET, add=[(b"a person's notes", path)])
    assert publisher().run(delete=True).deleted == 0
    assert in_bucket(hub_api) == [path]


def test_ranges_that_overlap_are_cut(publisher: Callable[..., Publisher], hub_api: HfApi) -> None:
    lines = [json.dumps({"n": number}).encode() + b"\n" for number in range(4)]
    hub_api.create_bucket(BUCKET)

    def add(first: int, last: int) -> None:
        start = len(b"".join(lines[:first]))
        name = RangeName(
            SegmentName("train", "20260102", "0123456789ab", 0), start, start + len(b"".join(lines[first:last]))
        )
        hub_api.batch_bucket_files(BUCKET, add=[(b"".join(lines[first:last]), f"data/2026-01/{name}")])

    add(1, 3)
    publisher().run()
    add(0, 4)
    add(2, 4)
    publisher().run(delete=True)
    assert rows(hub_api) == [0, 1, 2, 3]
    assert in_bucket(hub_api) == []


def test_an_encoded_range_that_overlaps_a_published_one_stays_and_verify_says_so(
    make: Make, call: Call, publisher: Callable[..., Publisher], hub_api: HfApi
) -> None:
    scheduler = make(ParquetScheduler, keep_local=True)
    put(scheduler, 1)
    publisher().run(delete=True)
    (segment,) = scheduler.spool.folder.glob("*.jsonl")
    put(scheduler, 2)
    (second,) = in_bucket(hub_api)
    name = RangeName.parse(Path(second).name)
    assert name is not None
    overlapping = Path(second).with_name(str(RangeName(name.segment, 0, name.end)))
    out = segment.with_suffix(".out")
    span = Span(str(name.segment), 0, name.end)
    ParquetEncoding(lambda columns: columns).encode(span, FileRange(segment, 0, name.end), None, out)
    hub_api.batch_bucket_files(BUCKET, add=[(str(out), str(overlapping))], delete=[second])
    done = publisher().run(delete=True)
    assert "cannot be cut" in done.left[str(overlapping)]
    assert in_bucket(hub_api) == [str(overlapping)]
    assert rows(hub_api) == [1]
    code, found, _ = call("verify", ADDRESS)
    assert (code, f"{MARKERS}/ has bytes 0 to" in found) == (1, True), found


def test_json_lines_are_published_as_parquet(make: Make, call: Call, hub_api: HfApi) -> None:
    scheduler = make(repo_id=f"{ADDRESS}/live")
    put(scheduler, 1, 2)
    put(scheduler, 3)
    code, _, err = call("publish", f"{ADDRESS}/live", DATASET, "--format", "parquet")
    assert code == 0, err
    put(scheduler, 4)
    assert call("publish", f"{ADDRESS}/live", DATASET, "--format", "parquet")[0] == 0
    assert rows(hub_api) == [1, 2, 3, 4]
    files = [path for path in hub_api.list_repo_files(DATASET, repo_type="dataset") if path.startswith("data")]
    assert [Path(path).suffix for path in files] == [".parquet"] * 2
    code, out, err = call("verify", DATASET)
    assert (code, "warn" in out) == (0, False), out + err


def test_rows_of_other_kinds_load_together(make: Make, call: Call, hub_api: HfApi) -> None:
    scheduler = make()
    for value in (1, "text", 2, "more"):
        scheduler.append({"n": value})
        scheduler.flush(SECONDS)
    assert call("publish", ADDRESS, DATASET)[0] == 0
    assert sorted(map(str, (row["n"] for row in read_rows(DATASET, api=hub_api)))) == ["1", "2", "more", "text"]
    assert call("verify", DATASET)[0] == 0


def test_every_publishes_when_the_newest_publish_is_old_enough(
    make: Make, call: Call, hub_api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    def wait(_: object, seconds: float) -> int:
        waits.append(seconds)
        return signal.SIGTERM

    monkeypatch.setattr(SignalWaiter, "wait", wait)
    scheduler = make()
    for number in range(2):  # the second one is another replica
        put(scheduler, number)
        assert call("publish", ADDRESS, DATASET, "--every", "60")[0] == 0
    assert 3590 < waits[0] <= 4200
    assert 3000 < waits[1] <= 4200
    assert rows(hub_api) == [0]


def test_a_file_in_the_folder_of_another_month_is_published_where_readers_look(call: Call, hub_api: HfApi) -> None:
    hub_api.create_bucket(BUCKET)
    names = [RangeName(SegmentName("train", "20261102", "0123456789ab", number), 0, 9) for number in range(2)]
    places = ("data/2026-10", "data/2026-11")
    add = [(b'{"n": %d}\n' % n, f"{place}/{name}") for n, (place, name) in enumerate(zip(places, names, strict=True))]
    hub_api.batch_bucket_files(BUCKET, add=add)
    assert call("publish", ADDRESS, DATASET, "--delete")[0] == 0
    files = hub_api.list_repo_files(DATASET, repo_type="dataset")
    assert {str(Path(path).parent) for path in files if path.startswith("data")} == {"data/2026-11"}
    assert rows(hub_api) == [0, 1]


def test_only_the_rows_of_a_bucket_are_published(make: Make) -> None:
    for wrong in (
        {"repo_id": "local/rows"},
        {"publish_every": 0},
        {"publish_to": ADDRESS},
        {"publish_to": None, "publish_every": 5},
    ):
        with pytest.raises(HFValidationError, match="publish"):
            make(**{"publish_to": DATASET, **wrong})
    for name in ("", "not a name", "a/b/c", "hf://datasets/local/x"):
        with pytest.raises(HFValidationError, match="repository"):
            make(publish_to=name)


def test_published_files_are_joined_later_and_stay_published(
    publisher: Callable[..., Publisher], call: Call, hub_api: HfApi
) -> None:
    hub_api.create_bucket(BUCKET)
    for number in range(3):
        segment = SegmentName("train", "20260102", "0123456789ab", number)
        name, line = RangeName(segment, 0, 9), json.dumps({"n": number}).encode() + b"\n"
        hub_api.batch_bucket_files(BUCKET, add=[(line, f"data/2026-01/{name}")])
        publisher().run()
    code, out, err = call("compact", DATASET)
    assert (code, "3 files became 1" in out) == (0, True), out + err
    assert publisher().run(delete=True).deleted == 3
    assert rows(hub_api) == [0, 1, 2]
    assert len(commits(hub_api)) == 3
    assert call("verify", DATASET)[0] == 0


def test_bytes_that_the_bucket_has_are_not_sent_again(
    make: Make, publisher: Callable[..., Publisher], hub_api: HfApi, local_hub: LocalHub
) -> None:
    scheduler, size = make(), 0
    for number in range(2):
        text = random.Random(number).randbytes(2_000_000).hex()
        scheduler.append({"n": number, "text": text})
        scheduler.flush(SECONDS)
        size += len(text)
    another = publisher()
    assert local_hub.requests.wait_idle()
    assert sum(record.bytes_in for record in local_hub.requests) > size / 2
    local_hub.requests.clear()
    another.run()
    assert local_hub.requests.wait_idle()
    assert sum(record.bytes_in for record in local_hub.requests) < size / 10
    assert rows(hub_api) == [0, 1]
