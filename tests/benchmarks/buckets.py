"""What a bucket costs as the destination of rows: ``python -m tests.benchmarks.buckets [PART …]``.

Prints tables, and asserts what does not depend on the machine. Parts: `push` (bytes sent per byte, and requests of a
push: a bucket, a dataset, and one growing file in a bucket), `hour` (a push every 5 seconds for an hour under the Hub's
limit of 1,000 calls in 5 minutes, on a clock that is 25 times as fast: refusals and memory), `replicas` (many writers,
a client each, to one bucket under that limit, on a clock that is a hundred times as fast), `publish` (the files of one
day become a commit of a dataset: seconds, and bytes sent per byte).
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

from hubspool import HfApi
from hubspool.cli.compact import joiners
from hubspool.client.target import Target
from hubspool.local_hub import Fault, LocalHub, RateLimit
from hubspool.push.remote_bucket import RemoteBucket
from hubspool.scheduling.publishing import publisher_of
from hubspool.spool.segment_name import RangeName, SegmentName, new_writer_id
from hubspool_templates import JsonlScheduler
from hubspool_templates.publishing import card_of
from tests.support.bench_table import machine
from tests.support.loss_trial import UPLOADS

BUCKET = "hf://buckets/local/votes"
ROW_BYTES = 4400
SECONDS = 600


def row(number: int) -> dict[str, object]:
    """Return a row of 4.4 kB that cannot be compressed to less than half."""
    return {"n": number, "text": random.randbytes(ROW_BYTES // 2 - 12).hex()}


def cost(hub: LocalHub, push: Callable[[int], int], pushes: int) -> tuple[float, float]:
    """Return bytes sent per byte and requests of a push, without the first push; `push` returns its bytes."""
    push(0)
    assert hub.requests.wait_idle()
    hub.requests.clear()
    size = sum(push(number) for number in range(1, pushes + 1))
    assert hub.requests.wait_idle()
    sent = sum(record.bytes_in for record in hub.requests if record.route in UPLOADS)
    return sent / size, len(hub.requests) / pushes


def measure_pushes(pushes: int) -> None:
    """Print what pushes of 4.4 kB cost in three ways."""
    print(f"\n{machine()}: {pushes} pushes of {ROW_BYTES} bytes\n")
    print("| destination | bytes sent per byte | requests of a push |\n|---|---|---|")
    for name, repo in (("bucket", BUCKET), ("dataset", "local/votes"), ("bucket, one growing file", "")):
        with LocalHub() as hub, tempfile.TemporaryDirectory() as folder:
            api = HfApi(endpoint=hub.endpoint, token=hub.token)
            if repo:
                scheduler = JsonlScheduler(repo, folder, every=600, hf_api=api)
            else:
                api.create_bucket("local/votes")
            content = bytearray()

            def push(number: int) -> int:
                new = row(number)
                size = len(json.dumps(new))
                if repo:  # noqa: B023  called in this round only
                    scheduler.append(new)  # noqa: B023
                    scheduler.flush(SECONDS)  # noqa: B023
                else:
                    content.extend(json.dumps(new).encode() + b"\n")  # noqa: B023
                    api.batch_bucket_files("local/votes", add=[(bytes(content), "votes.jsonl")])  # noqa: B023
                return size

            ratio, requests = cost(hub, push, pushes)
            print(f"| {name} | {ratio:.2f} | {requests:.1f} |")
            assert name != "bucket" or (ratio <= 1.5 and requests <= 4.05)
            if repo:
                scheduler.stop()


def measure_hour(pushes: int, fast: float) -> None:
    """Print what pushes at their own pace do to memory, how many calls they make, and how many are refused.

    Args:
        pushes: one every 5 seconds.
        fast: how many times as fast as real ones all clocks are.
    """
    with LocalHub() as hub, tempfile.TemporaryDirectory() as folder:
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        scheduler = JsonlScheduler(BUCKET, folder, every=5 / 60 / fast, hf_api=api)
        hub.faults.add(Fault(path="/api/", limit=RateLimit(1000, 300 / fast)))
        pause, peaks = Event(), []
        for number in range(pushes):
            scheduler.append(row(number))
            pause.wait(5 / fast)
            if number + 1 in (pushes // 4, pushes):
                peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        scheduler.stop(timeout=SECONDS)
        calls = [record.status for record in hub.requests if record.path.startswith("/api/")]
        refused = calls.count(429)
        hub.faults.clear()
        files = api.bucket_info("local/votes").total_files
    print(f"\n{machine()}: {pushes} rows, {files} files, {len(calls)} calls of the API, {refused} refused;", end=" ")
    print(f"peak memory, Hub included, {peaks[0]:.0f} MiB after a quarter, {peaks[1]:.0f} MiB at the end")
    assert not refused


def measure_replicas(count: int, seconds: float) -> None:
    """Print how many rows of how many writers arrive under the rate limit, and whether a request was refused."""
    with LocalHub() as hub, tempfile.TemporaryDirectory() as folder:
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        hub.faults.add(Fault(path="/api/", limit=RateLimit(1000, seconds)))

        def write(number: int) -> None:
            own = HfApi(endpoint=hub.endpoint, token=hub.token)  # which knows nothing of the others' calls
            scheduler = JsonlScheduler(BUCKET, Path(folder) / str(number), every=0.001, hf_api=own)
            for each in range(5):
                scheduler.append({"n": number * 5 + each})
            scheduler.flush(SECONDS)
            scheduler.stop(timeout=SECONDS)

        with ThreadPoolExecutor(32) as pool:
            list(pool.map(write, range(count)))
        refused = sum(record.status == 429 for record in hub.requests)
        hub.faults.clear()
        paths = [entry.path for entry in api.list_bucket_tree("local/votes")]
        base = f"{hub.endpoint}/buckets/local/votes/resolve"
        rows = [json.loads(line)["n"] for path in paths for line in api.client().content(f"{base}/{path}").splitlines()]
    doubled, lost = len(rows) - len({*rows}), count * 5 - len({*rows})
    print(f"\n{machine()}: {count} writers, {len(rows)} rows, {lost} lost, {doubled} doubled, {refused} calls refused")
    assert (lost, doubled) == (0, 0)


def measure_publish(count: int) -> None:
    """Print how long it takes to publish the files of a day and to delete them, and what is sent for it."""
    with LocalHub() as hub:
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        api.create_bucket("local/votes")
        api.create_repo("local/votes", repo_type="dataset")
        segment, size, files = SegmentName("train", "20260102", new_writer_id(), 0), 0, []
        for number in range(count):
            line = json.dumps(row(number)).encode() + b"\n"
            files.append((line, f"data/2026-01/{RangeName(segment, size, size + len(line))}"))
            size += len(line)
        api.batch_bucket_files("local/votes", add=files)
        assert hub.requests.wait_idle()
        hub.requests.clear()
        bucket = RemoteBucket(api, Target.of(api.endpoint, "local/votes", "bucket"))
        began = time.monotonic()
        report = publisher_of(bucket, "", "local/votes", joiners(), card_of, pause=Event().wait).run(delete=True)
        seconds = time.monotonic() - began
        assert hub.requests.wait_idle()
        sent = sum(record.bytes_in for record in hub.requests) / size
    assert (report.rows, report.deleted) == (count, count)
    assert sent <= 1.1
    print(f"\n{machine()}: {report.rows} rows of {report.files} files published in {seconds:.0f} s,", end=" ")
    print(f"{len(report.commits)} commit, {len(report.paths)} files; {sent:.2f} bytes sent per byte")


def main() -> None:
    """Run the parts and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["push", "hour", "replicas", "publish"])
    parser.add_argument("--pushes", type=int, default=100)
    parser.add_argument("--hour", type=int, default=720, help="pushes of the hour")
    parser.add_argument("--replicas", type=int, default=200)
    parser.add_argument("--files", type=int, default=10_000, help="files that are published")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    if "push" in options.parts:
        measure_pushes(options.pushes)
    if "hour" in options.parts:
        measure_hour(options.hour, 25)
    if "replicas" in options.parts:
        measure_replicas(options.replicas, 3)
    if "publish" in options.parts:
        measure_publish(options.files)


if __name__ == "__main__":
    main()
