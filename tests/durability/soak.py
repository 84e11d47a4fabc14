"""Mixed load, random faults and restarts for some minutes, then the verdict.

    python -m tests.durability.soak --minutes 60

Three producers share one folder: rows of mixed sizes, threads, short periods. Every few seconds one of them is killed,
told to end, or stopped for a while, and the Hub gets a fault: errors, resets, silence, lost and late answers, rate
limits. Then everything is stopped, the faults end, and the judge reads every version of the dataset.
"""

from __future__ import annotations

import argparse
import math
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from hubspool.local_hub import Fault, LocalHub
from hubspool.local_hub.faults import RateLimit
from tests.support.oracle import judge, torn_tails, verified
from tests.support.processes import Process, producer_command

PRODUCERS = 3
FAULTS = {
    "commit applied, reset": Fault(route="commit", drop=True, applied=True),
    "commit applied, 500": Fault(route="commit", status=500, applied=True),
    "commit late": Fault(route="commit", status=504, late=math.inf),
    "commit late by 3 s": Fault(route="commit", drop=True, late=3),
    "commit html": Fault(route="commit", status=200, applied=True, body="<html>"),
    "commit 409": Fault(route="commit", status=409, times=3),
    "commit 412": Fault(route="commit", status=412, times=2),
    "commit cap": Fault(route="commit", limit=RateLimit(2, 3.0)),
    "all 503": Fault(status=503, times=6),
    "all reset": Fault(drop=True, times=4),
    "xet reset": Fault(route=("xet-xorb", "xet-shard"), drop=True, times=2),
    "xet silent": Fault(route="xet-xorb", delay=20),
    "stale reads": Fault(route=("preupload", "paths-info", "commits"), stale=2, times=8),
    "token refused": Fault(status=401, times=4),
    "slow": Fault(delay=1.5, times=10),
}


def producer(hub: LocalHub, root: Path, chance: random.Random, number: int) -> Process:
    """Start one more producer."""
    size = chance.choice([400, 400, 400, 20_000, 300_000])
    command = producer_command(
        endpoint=hub.endpoint, folder=root / "folder", records=root / "records", rows=2, rounds=0, no_flush=True,
        size=size, threads=chance.choice([1, 3]), every=chance.choice([0.01, 0.05]), exit_budget=3,
        pause=0.02 if size == 400 else 0.3, roll_bytes=chance.choice([20_000, 1 << 26]),
    )  # fmt: skip
    home = root / "home"
    return Process(command, env={"HF_HOME": str(home), "HF_XET_CACHE": str(home / "xet")}, log=root / f"{number}.log")


def soak(hub: LocalHub, root: Path, seconds: float, seed: int) -> Counter[str]:
    """Return how often each thing was done."""
    chance, done, number = random.Random(seed), Counter[str](), PRODUCERS
    running = [producer(hub, root, chance, n) for n in range(PRODUCERS)]
    end, pause = time.monotonic() + seconds, threading.Event()
    try:
        while time.monotonic() < end:
            name = chance.choice(list(FAULTS))
            hub.faults.add(FAULTS[name])
            pause.wait(chance.uniform(0.5, 4))
            done[name] += 1
            victim = chance.randrange(len(running))
            way = chance.choice(["kill", "kill", "end", "stop", "release", "calm"])
            done[way] += 1
            if way == "kill":
                running[victim].kill()
            elif way == "end":
                running[victim].signal(signal.SIGTERM)
                running[victim].wait(60)
            elif way == "stop":
                running[victim].signal(signal.SIGSTOP)
                pause.wait(chance.uniform(0.5, 3))
                running[victim].signal(signal.SIGCONT)
            elif way == "release":
                hub.faults.release(timeout=1)
            else:
                hub.faults.clear()
            if way in ("kill", "end"):
                done["torn tails"] += torn_tails(root / "folder") > 0
                running[victim].end()
                running[victim] = producer(hub, root, chance, number)
                number += 1
    finally:
        for process in running:
            process.end()
    for name, fault in FAULTS.items():  # a stale read counts only if its answer was an older one
        done[f"answers changed by: {name}"] = sum(hit.fault == fault for hit in hub.faults.hits)
    return done


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description="mixed load, random faults, restarts")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hubspool-soak-") as name, LocalHub() as hub:
        root = Path(name)
        done = soak(hub, root, args.minutes * 60, args.seed)
        hub.faults.clear()
        hub.faults.release()
        # What an hour of faults has left may take longer than what a test leaves.
        verdict = judge(hub, root / "folder", root / "records", flush_seconds=600)
        found = verified(hub, root / "folder")
    print(f"{args.minutes:g} minutes, seed {args.seed}: {dict(done)}")
    print(
        f"{verdict.acknowledged:,} rows acknowledged, {verdict.on_hub:,} on the Hub in {verdict.commits:,} commits:"
        f" {len(verdict.lost)} lost, {len(verdict.doubled)} doubled"
    )
    print(verdict.last_flush)
    for kind, found in verdict.faults.items():
        print(f"  {kind}: {len(found)}, {found[:5]}")
    for text in found:
        print(f"  hubspool verify: {text}")
    broken = bool(verdict.faults or found)
    print("THE PROMISE WAS BROKEN" if broken else "the promise was kept")
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
