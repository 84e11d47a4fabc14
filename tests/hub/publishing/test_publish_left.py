"""What a publish leaves in the bucket, refuses, or puts off, and what it says of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from hubspool import CommitOperationDelete, HfApi, HubspoolError
from hubspool.errors import RepositoryNotFoundError
from hubspool.local_hub import Fault, LocalHub, RateLimit
from hubspool.push.publish import Publisher
from hubspool.push.remote_bucket import RemoteBucket
from hubspool.spool.segment_name import RangeName, SegmentName
from hubspool_templates import JsonlScheduler, ParquetScheduler, ZipScheduler
from tests.support.command_calls import Call
from tests.support.publishing import (
    ADDRESS,
    BUCKET,
    DATASET,
    Make,
    commits,
    in_bucket,
    look,
    markers,
    put,
    rows,
)


def add(api: HfApi, content: bytes, start: int = 0, seq: int = 0, *, size: int | None = None, month: str = "01") -> str:
    """Put a file of a segment into the bucket, which its name says to be `size` bytes long."""
    api.create_bucket(BUCKET, exist_ok=True)
    end = start + (len(content) if size is None else size)
    name = RangeName(SegmentName("train", f"2026{month}02", "0123456789ab", seq), start, end)
    path = f"data/2026-{month}/{name}"
    api.batch_bucket_files(BUCKET, add=[(content, path)])
    return path


def test_a_file_that_is_not_what_its_name_says_stays(make: Make, call: Call, hub_api: HfApi) -> None:
    put(make(), 1)
    name = RangeName(SegmentName("train", "20260102", "0123456789ab", 0), 0, 9)
    hub_api.batch_bucket_files(BUCKET, add=[(b'{"n": 2}\n{"n": 3}\n', f"data/2026-01/{name}")])
    torn = RangeName(name.segment, 20, 24)
    hub_api.batch_bucket_files(BUCKET, add=[(b'{"n"', f"data/2026-01/{torn}")])
    code, _, err = call("publish", ADDRESS, DATASET, "--delete")
    assert code == 1
    assert f"{name} is left in the bucket" in err
    assert f"{torn} is left in the bucket" in err
    assert sorted(in_bucket(hub_api)) == [f"data/2026-01/{name}", f"data/2026-01/{torn}"]
    assert rows(hub_api) == [1]


@pytest.mark.parametrize(("words", "text"), [
    (("local/votes", "local/votes"), "Not a bucket"),
    (("hf://buckets/local/other", "local/votes"), "other"),
    ((ADDRESS, "local/votes"), "or publish with --format parquet"),
    ((f"{ADDRESS}/data", "local/votes", "--format", "jsonl"), "cannot become"),
])  # fmt: skip
def test_what_cannot_be_published_is_said(words: tuple[str, ...], text: str, call: Call, hub_api: HfApi) -> None:
    hub_api.create_bucket(BUCKET)
    segment = SegmentName("train", "20260102", "0123456789ab", 0)
    names = [RangeName(segment, 0, 9), RangeName(SegmentName("train", "20260102", "0123456789ab", 0, "parquet"), 0, 9)]
    hub_api.batch_bucket_files(BUCKET, add=[(b'{"n": 2}\n', f"data/2026-01/{name}") for name in names])
    code, _, err = call("publish", *words)
    assert (code, text in err) == (1, True), err


def test_a_dataset_of_another_form_is_not_made_unreadable(make: Make, call: Call, hub_api: HfApi) -> None:
    put(make(ParquetScheduler, DATASET, "other"), 1)
    put(make(), 0)
    code, _, err = call("publish", ADDRESS, DATASET)
    assert code == 1
    assert "Publish with --format parquet, or to another dataset; the rows stay in the bucket." in err
    assert call("publish", ADDRESS, DATASET, "--format", "parquet")[0] == 0
    assert rows(hub_api) == [0, 1]


def test_without_time_what_has_arrived_is_published(
    make: Make, publisher: Callable[..., Publisher], hub_api: HfApi
) -> None:
    scheduler = make()
    for number in range(4):
        put(scheduler, number)
    left = iter([True] * 2)
    done = publisher(has_time=lambda: next(left, False)).run(delete=True)
    assert (done.files, done.is_whole, done.deleted) == (2, False, 0)
    assert publisher().run(delete=True).deleted == 4
    assert rows(hub_api) == [0, 1, 2, 3]


def test_an_error_of_a_publish_is_shown_holds_up_no_row_and_is_tried_again_within_an_hour(
    make: Make, hub_api: HfApi, local_hub: LocalHub
) -> None:
    scheduler = make(publish_to=DATASET)
    put(scheduler, 1)
    fault = local_hub.faults.add(Fault(route="commit", status=403, body="no"))
    look(scheduler)
    assert sum(hit.fault is fault for hit in local_hub.faults.hits) == 1
    status = scheduler.status()
    assert status.last_error is None
    assert "403" in str(status.last_compaction_error)
    assert status.next_compaction_at - datetime.now(timezone.utc) <= timedelta(hours=1)
    put(scheduler, 2)
    assert len(in_bucket(hub_api)) == 2
    look(scheduler)
    assert rows(hub_api) == [1, 2]
    assert scheduler.status().last_compaction_error is None


def test_a_look_that_is_older_than_the_publish_publishes_nothing_again(
    make: Make, publisher: Callable[..., Publisher], hub_api: HfApi, local_hub: LocalHub
) -> None:
    put(make(), 1)
    before = publisher()
    fault = local_hub.faults.add(Fault(route="commits", after=2, times=2, stale=1))
    before.run(delete=True)
    assert sum(hit.fault is fault for hit in local_hub.faults.hits) == 2
    assert len(commits(hub_api)) == 1
    assert rows(hub_api) == [1]
    assert in_bucket(hub_api) == []


def test_a_download_with_other_bytes_is_not_published(
    publisher: Callable[..., Publisher], hub_api: HfApi, local_hub: LocalHub
) -> None:
    path = add(hub_api, b'{"n":1}\n')
    add(hub_api, b'{"n":2}\n', seq=1)
    wrong = local_hub.faults.add(Fault(route="bucket-resolve", path=path, status=200, body='{"n":9}\n'))
    assert publisher().run(delete=True).deleted == 2
    assert sum(hit.fault is wrong for hit in local_hub.faults.hits) == 1
    assert (rows(hub_api), in_bucket(hub_api)) == ([1, 2], [])


@pytest.mark.parametrize(("fault", "reason"), [
    ({"status": 200, "body": '{"n":9}\n'}, "has not the content that was listed"),
    ({"status": 403, "body": "no"}, "403"),
], ids=str)  # fmt: skip
def test_a_file_that_cannot_be_had_keeps_no_other_month_back(
    fault: dict[str, Any], reason: str, publisher: Callable[..., Publisher], hub_api: HfApi, local_hub: LocalHub
) -> None:
    paths = [add(hub_api, b'{"n":%d}\n' % number, month=f"0{number}") for number in (1, 2, 3)]
    faults = [
        local_hub.faults.add(Fault(route="bucket-resolve", path=path, times=None, **fault)) for path in paths[::2]
    ]
    one = publisher()
    with suppress(HubspoolError):
        one.run(delete=True)
    done = one.report
    assert {id(hit.fault) for hit in local_hub.faults.hits} == {*map(id, faults)}
    assert [*done.left] == in_bucket(hub_api) == paths[::2]
    assert all(reason in each for each in done.left.values())
    assert (rows(hub_api), done.is_whole, done.deleted) == ([2], True, 1)
    local_hub.faults.clear()
    assert one.run(delete=True).left == {}
    assert (rows(hub_api), in_bucket(hub_api)) == ([1, 2, 3], [])


def test_a_hub_that_refuses_every_download_ends_a_run(
    publisher: Callable[..., Publisher], hub_api: HfApi, local_hub: LocalHub
) -> None:
    for number in range(2):
        add(hub_api, b'{"n":%d}\n' % number, seq=number)
    fault = local_hub.faults.add(Fault(route="bucket-resolve", status=503, times=None))
    one = publisher()
    with pytest.raises(HubspoolError, match="503"):
        one.run(delete=True)
    assert {id(hit.fault) for hit in local_hub.faults.hits} == {id(fault)}
    assert (one.report.left, one.report.is_whole, len(in_bucket(hub_api))) == ({}, False, 2)


def test_a_second_list_that_fails_hides_no_file(
    publisher: Callable[..., Publisher], hub_api: HfApi, local_hub: LocalHub
) -> None:
    path = add(hub_api, b'{"n":1}\n')
    add(hub_api, b'{"n":2}\n', seq=1)
    wrong = Fault(route="bucket-resolve", path=path, status=200, body='{"n":9}\n')
    lost = Fault(route="bucket-tree", after=2, status=503, times=5)  # of the files, and of the markers
    for fault in (wrong, lost):
        local_hub.faults.add(fault)
    done = publisher().run()
    assert sum(hit.fault is lost for hit in local_hub.faults.hits) == 5
    assert (done.is_whole, done.files, done.left) == (True, 2, {})
    assert rows(hub_api) == [1, 2]


def test_a_run_that_fails_tells_what_it_did(
    publisher: Callable[..., Publisher], hub_api: HfApi, local_hub: LocalHub
) -> None:
    add(hub_api, b'{"n":1}\n')
    add(hub_api, b'{"n":2}\n', month="02")
    fault = local_hub.faults.add(Fault(route="commit", after=1, status=403, body="no"))
    one = publisher()
    with pytest.raises(HubspoolError, match="403"):
        one.run()
    assert sum(hit.fault is fault for hit in local_hub.faults.hits) == 1
    assert (len(one.report.commits), one.report.rows, one.report.is_whole) == (1, 1, False)


def test_a_damaged_file_keeps_no_sound_row_back(publisher: Callable[..., Publisher], hub_api: HfApi) -> None:
    damaged = add(hub_api, b'{"n":0}\n{"n"', size=16)
    add(hub_api, b'{"n":1}\n{"n":2}\n', start=8)
    done = publisher().run(delete=True)
    assert rows(hub_api) == [1, 2]
    assert [*done.left] == in_bucket(hub_api) == [damaged]


@pytest.mark.parametrize("kind", [JsonlScheduler, ParquetScheduler, ZipScheduler])
def test_rows_that_were_to_be_removed_are_not_published(kind: Any, make: Make, call: Call, hub_api: HfApi) -> None:
    scheduler = make(kind)
    put(scheduler, 1)
    assert call("publish", ADDRESS, DATASET)[0] == 0
    put(scheduler, 2, 3, 4)
    put(scheduler, 3)
    put(scheduler, 5)
    assert call("forget", DATASET, "--where", "n=3", "--yes")[0] == 0
    code, out, err = call("publish", ADDRESS, DATASET, "--delete")
    assert (code, "3 rows" in out) == (0, True), out + err
    assert rows(hub_api) == [1, 2, 4, 5]
    assert in_bucket(hub_api) == []
    code, out, err = call("verify", DATASET)
    assert (code, "warn" in out) == (0, False), out + err
    manifests = [path for path in hub_api.list_repo_files(DATASET, repo_type="dataset") if "/manifest/" in path]
    text = "".join(Path(hub_api.hf_hub_download(DATASET, path, repo_type="dataset")).read_text() for path in manifests)
    assert sum(json.loads(line)["removed"] for line in text.splitlines()) == 2


def test_a_bucket_without_any_row_to_publish_is_covered(
    make: Make, call: Call, publisher: Callable[..., Publisher], hub_api: HfApi
) -> None:
    put(make(), 3)
    publisher()
    assert call("forget", DATASET, "--where", "n=3", "--yes")[0] == 0
    done = publisher().run(delete=True)
    assert (done.rows, done.paths, done.deleted, len(done.commits)) == (0, [], 1, 1)
    assert call("verify", DATASET)[0] == 0


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_removal_that_is_asked_for_meanwhile_makes_a_publish_begin_again(
    form: str, make: Make, call: Call, publisher: Callable[..., Publisher], hub_api: HfApi
) -> None:
    put(make(), 1, 2)
    asked: list[int] = []

    def forget(*_: Any) -> None:
        if not asked:
            asked.append(call("forget", DATASET, "--where", "n=1", "--yes")[0])

    done = publisher(form=form).run(delete=True, note=forget)
    assert asked == [0]
    assert (done.rows, done.deleted) == (1, 1)
    assert rows(hub_api) == [2]
    assert call("verify", DATASET)[0] == 0


def test_more_files_than_the_hub_lets_us_download_are_published_in_the_end(
    make: Make, publisher: Callable[..., Publisher], hub_api: HfApi, local_hub: LocalHub
) -> None:
    for number in range(25):
        add(hub_api, b'{"n":%d}\n' % number, seq=number)
    fault = Fault(route="bucket-resolve", limit=RateLimit(10, seconds=300))
    waited: list[float] = []

    def pause(seconds: float) -> bool:
        waited.append(seconds)
        if sum(waited) >= 300:  # the next window
            waited.clear()
            local_hub.faults.clear()
            local_hub.faults.add(fault)
        return False

    local_hub.faults.add(fault)
    steps: list[tuple[int, int]] = []
    done = publisher(pause=pause).run(delete=True, note=lambda *step: steps.append(step))
    local_hub.faults.clear()
    assert any(hit.fault is fault for hit in local_hub.faults.hits)
    assert len(commits(hub_api)) == len(done.commits) > 2
    files = [number for _, number in steps]
    assert [number for number, _ in steps] == [n for most in dict.fromkeys(files) for n in range(1, most + 1)]
    assert (done.files, done.deleted, done.is_whole) == (25, 25, True)
    assert rows(hub_api) == [*range(25)]


def test_without_time_a_commit_that_fails_once_is_made_again(
    make: Make, publisher: Callable[..., Publisher], local_hub: LocalHub, hub_api: HfApi
) -> None:
    put(make(), 0)
    fault = local_hub.faults.add(Fault(route="commit", status=412, times=1))
    with_time = publisher(has_time=lambda: not local_hub.requests.of("bucket-resolve"))
    local_hub.requests.clear()
    with_time.run()
    assert [hit.fault for hit in local_hub.faults.hits] == [fault]
    assert rows(hub_api) == [0]


def test_without_time_nobody_waits_for_the_rate_limit(
    publisher: Callable[..., Publisher], hub_api: HfApi, local_hub: LocalHub
) -> None:
    for number in range(3):
        add(hub_api, b'{"n":%d}\n' % number, seq=number)
    local_hub.faults.add(Fault(route="bucket-resolve", limit=RateLimit(2, seconds=300)))
    waited: list[float] = []
    done = publisher(pause=lambda seconds: bool(waited.append(seconds)), has_time=lambda: not waited).run(delete=True)
    assert (done.files, done.is_whole, sum(waited)) == (2, False, 1)


def test_a_compaction_does_not_put_a_publish_off(
    publisher: Callable[..., Publisher], call: Call, hub_api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_api.create_bucket(BUCKET)
    assert publisher().seconds_until_due(60) == 0
    for number in range(3):
        add(hub_api, b'{"n":%d}\n' % number, seq=number)
        publisher().run()
    at = publisher().bucket.markers()[-1].at
    for moved in markers(hub_api):  # as if it were an hour ago
        content = hub_api.client().content(f"{hub_api.endpoint}/buckets/{BUCKET}/resolve/{moved}")
        earlier = (datetime.fromisoformat(at) - timedelta(hours=1)).isoformat()
        hub_api.batch_bucket_files(BUCKET, add=[(json.dumps({**json.loads(content), "at": earlier}).encode(), moved)])
    assert call("compact", DATASET)[0] == 0
    assert publisher().seconds_until_due(3600) == 0
    assert 0 < publisher().seconds_until_due(7200) <= 3600


def test_what_somebody_deleted_from_the_dataset_stays_in_the_bucket(
    make: Make, publisher: Callable[..., Publisher], hub_api: HfApi
) -> None:
    scheduler = make()
    put(scheduler, 1)
    (first,) = in_bucket(hub_api)
    (path,) = publisher().run().paths
    put(scheduler, 2)
    hub_api.create_commit(DATASET, [CommitOperationDelete(path)], commit_message="Delete", repo_type="dataset")
    assert publisher().run(delete=True).deleted == 1
    assert in_bucket(hub_api) == [first]


def test_a_publisher_remembers_only_what_no_manifest_has(publisher: Callable[..., Publisher], hub_api: HfApi) -> None:
    one = publisher()
    for number in range(3):
        add(hub_api, b'{"n":%d}\n' % number, seq=number)
        one.run()
    assert one._done == set()


def test_files_of_a_hidden_folder_stay_in_the_bucket(publisher: Callable[..., Publisher], hub_api: HfApi) -> None:
    line = b'{"n":1}\n'
    moved = add(hub_api, line)
    path = f".hidden/{moved}"
    hub_api.batch_bucket_files(BUCKET, add=[(line, path)], delete=[moved])
    add(hub_api, b'{"n":2}\n', seq=1)
    done = publisher().run(delete=True)
    assert [*done.left] == in_bucket(hub_api) == [path]
    assert rows(hub_api) == [2]
    assert publisher(inside=".hidden").run(delete=True).left == {}
    assert rows(hub_api) == [1, 2]


def test_a_file_that_comes_back_while_another_publisher_deletes_is_deleted_again(
    publisher: Callable[..., Publisher], hub_api: HfApi, local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, files = b'{"n":1}\n', RemoteBucket.files
    paths = [add(hub_api, line, seq=number) for number in range(2)]

    def files_of(bucket: RemoteBucket, asked: Any) -> Any:
        if not in_bucket(hub_api) and asked == paths:
            add(hub_api, line)
        return files(bucket, asked)

    monkeypatch.setattr(RemoteBucket, "files", files_of)
    failed = [{"path": path, "error": "Entry not found"} for path in paths]
    body = json.dumps({"success": False, "processed": 2, "succeeded": 0, "failed": failed})
    fault = local_hub.faults.add(Fault(route="bucket-batch", after=1, status=200, body=body, applied=True))
    assert publisher().run(delete=True).deleted == 2
    assert sum(hit.fault is fault for hit in local_hub.faults.hits) == 1
    assert in_bucket(hub_api) == []


def test_no_dataset_is_created_for_files_that_cannot_be_published(call: Call, hub_api: HfApi) -> None:
    line = b'{"n":1}\n'
    moved = add(hub_api, line, seq=1)
    hub_api.batch_bucket_files(BUCKET, add=[(line, f".hidden/{moved}")], delete=[moved])
    damaged = add(hub_api, b'{"n"')
    code, out, err = call("publish", ADDRESS, DATASET, "--delete")
    assert (code, moved in err, damaged in err) == (1, True, True), out + err
    with pytest.raises(RepositoryNotFoundError):
        hub_api.repo_info(DATASET, repo_type="dataset")
    add(hub_api, line, seq=2)
    assert call("publish", ADDRESS, DATASET, "--delete")[0] == 1
    assert (rows(hub_api), hub_api.repo_info(DATASET, repo_type="dataset").private) == ([1], True)
    assert in_bucket(hub_api) == [f".hidden/{moved}", damaged]
