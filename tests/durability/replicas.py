"""Sixteen replicas on one repo that takes 128 commits an hour, with an hour of 60 s in client and Hub.

    python -m tests.durability.replicas --replicas 16 --hours 3

Prints the oldest row that waited to be sent, in hours and as minutes of a real hour, and the fewest and the most
commits of a replica. Every replica appends all the time and pushes every five (short) minutes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections import deque
from pathlib import Path

from hubspool import HfApi
from hubspool.local_hub import Fault, LocalHub
from hubspool.local_hub.faults import RateLimit
from hubspool.push.budget import Budget
from hubspool.push.events import CommitEvent
from hubspool_templates import JsonlScheduler
from tests.support.oracle import REPO, judge
from tests.support.processes import Process
from tests.support.producer import Producer

COMMITS = 128
ROWS_A_SECOND = 4


class ShortHour(JsonlScheduler):
    """A scheduler whose hour is as short as the Hub's here."""


def replica(endpoint: str, folder: Path, records: Path, hour: float, hours: float) -> None:
    """Append until the time is over, flush, and print what was seen."""
    ShortHour.budget = Budget(hour=hour)
    waiting: deque[float] = deque()
    oldest, commits = 0.0, 0

    def committed(event: CommitEvent) -> None:
        nonlocal oldest, commits
        commits += 1
        for _ in range(event.rows_new):  # one writer's rows arrive in order
            oldest = max(oldest, time.monotonic() - waiting.popleft())

    scheduler = ShortHour(
        REPO, folder, every=5 * hour / 3600, hf_api=HfApi(endpoint=endpoint, token="hf_local"), on_commit=committed
    )

    def write(row: dict[str, object]) -> None:
        waiting.append(time.monotonic())
        scheduler.append(row)

    producer = Producer(write, records)
    end, pause = time.monotonic() + hour * hours, threading.Event()
    while time.monotonic() < end:
        producer.put()
        pause.wait(1 / ROWS_A_SECOND)
    steady = commits
    scheduler.flush(4 * hour)
    scheduler.stop()
    print("result", json.dumps({"oldest": oldest, "commits": steady, "failures": scheduler.status().last_error}))


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description="replicas that share one repo's budget of commits")
    parser.add_argument("--replicas", type=int, default=16)
    parser.add_argument("--hours", type=float, default=3)
    parser.add_argument("--hour", type=float, default=60, help="its length, seconds")
    parser.add_argument("--as-replica", nargs=3, metavar=("ENDPOINT", "FOLDER", "RECORDS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.as_replica:
        endpoint, folder, records = args.as_replica
        replica(endpoint, Path(folder), Path(records), args.hour, args.hours)
        return 0
    with tempfile.TemporaryDirectory(prefix="hubspool-replicas-") as name, LocalHub() as hub:
        root = Path(name)
        cap = hub.faults.add(Fault(route="commit", limit=RateLimit(COMMITS, args.hour)))
        options = ["--hours", str(args.hours), "--hour", str(args.hour)]
        commands: list[list[str | Path]] = [
            [
                sys.executable,
                "-m",
                "tests.durability.replicas",
                *options,
                "--as-replica",
                hub.endpoint,
                root / f"folder{number}",
                root / "records",
            ]
            for number in range(args.replicas)
        ]
        running = [
            Process(command, env={"HF_HOME": str(root / "home")}, log=root / f"{n}.log")
            for n, command in enumerate(commands)
        ]
        try:
            lines = [process.wait_line("result", timeout=args.hour * (args.hours + 6)) for process in running]
        finally:
            for process in running:
                process.end()
        results = [json.loads(line.removeprefix("result ")) for line in lines]
        refused = sum(hit.fault is cap for hit in hub.faults.hits)
        verdict = judge(hub, root / "folder0", root / "records")
    oldest, commits = max(r["oldest"] for r in results), sorted(r["commits"] for r in results)
    print(f"{args.replicas} replicas, {args.hours:g} hours of {args.hour:g} s, {COMMITS} commits an hour:")
    print(f"  oldest unsent row: {oldest / args.hour * 60:.1f} min of a real hour ({oldest:.1f} s here)")
    print(f"  commits of a replica: {commits[0]} to {commits[-1]}; answered with 429: {refused}")
    print(f"  rows: {verdict.acknowledged:,} acknowledged, {len(verdict.lost)} lost, {len(verdict.doubled)} doubled")
    for kind, found in verdict.faults.items():
        print(f"  {kind}: {found[:5]}")
    return int(bool(verdict.faults))


if __name__ == "__main__":
    sys.exit(main())
