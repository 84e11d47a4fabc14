"""Kills producers: at chosen system calls by strace, and at random times; then judges what reached the Hub.

    python -m tests.durability.kill9 --points 500 --kills 500
    python -m tests.durability.kill9 --points 200 --kills 200 --bucket

A point is the N-th call of one system call in one thread: strace sends SIGKILL at its entry, before it acts. The calls
are taken from a run that is only watched, and spread over everything from the first row to the end of the process:
append, roll, intent, commit, acknowledgement, clean-up. Runs share a folder in batches, so that most of them begin with
the recovery from the one before. Each batch has a Hub of its own and is judged at its end.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from hubspool.local_hub import LocalHub
from tests.support.oracle import BUCKET, REPO, judge, torn_tails, verified
from tests.support.processes import Process, producer_command, strace

#: Without open and close: hf_xet reads thousands of certificates, which would crowd out everything else.
CALLS = (
    "write", "pwrite64", "writev", "fsync", "fdatasync", "ftruncate", "link", "linkat", "rename", "renameat", "unlink",
    "unlinkat", "mkdir", "flock", "fcntl", "sendto", "recvfrom", "connect", "pread64", "lseek",
)  # fmt: skip
BATCH = 10
SIZES = {400: 0.4, 20_000: 0.4, 1_000_000: 0.1}  # bytes of a row → longest life, seconds
_CALL = re.compile(r"(\d+)\s+(\w+)\(")
_FIRST_ROW = re.compile(r'write\(\d+, "[0-9a-f]{8}-\d+-0\\n"')


@dataclass(frozen=True)
class Point:
    """The `number`-th `call` of a thread."""

    call: str
    number: int


@dataclass
class Tally:
    """What a batch, or all of them, came to."""

    runs: int = 0
    killed: int = 0
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    torn: int = 0
    other: list[str] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)

    def add(self, more: Tally) -> None:
        for name in ("runs", "killed", "acknowledged", "lost", "doubled", "torn"):
            setattr(self, name, getattr(self, name) + getattr(more, name))
        self.other += more.other
        self.calls += more.calls

    @property
    def kept(self) -> bool:
        return not (self.lost or self.doubled or self.other)


def _environment(root: Path) -> dict[str, str]:
    home = {"HF_HOME": str(root / "home"), "HF_XET_CACHE": str(root / "home" / "xet"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    return {**home, "PYTHONDONTWRITEBYTECODE": "1"}


def _swept(hub: LocalHub, root: Path, repo: str) -> list[str | Path]:
    return producer_command(
        endpoint=hub.endpoint,
        repo=repo,
        folder=root / "folder",
        records=root / "records",
        rows=4,
        rounds=3,
        roll_bytes=1500,
        more=3,
        exit_budget=40,
    )


def watch(root: Path, repo: str = REPO) -> list[Point]:
    """Return the calls of a producer's run from its first row on, in order; each is the first with its number."""
    trace = root / "watched.trace"
    with LocalHub() as hub:
        command = [*strace("--seccomp-bpf", "-e", f"trace={','.join(CALLS)}", output=trace), *_swept(hub, root, repo)]
        done = subprocess.run(
            [str(word) for word in command],
            env={**os.environ, **_environment(root)},
            timeout=120,
            check=True,
            capture_output=True,
        )
        assert b"stopped" in done.stdout, done
    counts: Counter[tuple[str, str]] = Counter()
    seen: set[Point] = set()
    points, begun = [], False
    for line in trace.read_text(errors="replace").splitlines():
        if (match := _CALL.match(line)) is None:
            continue
        thread, call = match.groups()
        counts[thread, call] += 1
        point = Point(call, counts[thread, call])
        begun = begun or _FIRST_ROW.search(line) is not None
        if point not in seen and begun:
            points.append(point)
        seen.add(point)
    assert points, "the trace has no row"
    return points


def spread(points: Sequence[Point], count: int) -> list[Point]:
    """Return `count` of them, evenly over the run; all, again and again, where there are fewer."""
    return [points[i * len(points) // count] for i in range(count)] if count else []


def sweep(points: Sequence[Point], repo: str = REPO) -> Tally:
    """Kill a run at each of these points, one folder for all of them."""
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="hubspool-kill9-") as name, LocalHub() as hub:
        root = Path(name)
        for number, point in enumerate(points):
            inject = ("-e", f"trace={point.call}", "-e", f"inject={point.call}:signal=SIGKILL:when={point.number}")
            prefix = strace(*inject, output=root / f"{number}.trace")
            process = Process([*prefix, *_swept(hub, root, repo)], env=_environment(root), log=root / f"{number}.log")
            try:
                code = process.wait(120)
            finally:
                process.end()
            tally.runs += 1
            if code == -signal.SIGKILL:
                tally.killed += 1
                tally.calls[point.call] += 1
            elif code:
                tally.other.append(f"{point}: exit {code} {process.errors()[-800:]}")
            tally.torn += torn_tails(root / "folder")
        _judge(hub, root, tally, repo)
    return tally


def random_kills(count: int, size: int, seed: int, repo: str = REPO) -> Tally:
    """Kill `count` producers that append and push without a pause; one folder for all of them."""
    tally, chance = Tally(), random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="hubspool-kill9-") as name, LocalHub() as hub:
        root = Path(name)
        for number in range(count):
            command = producer_command(
                endpoint=hub.endpoint, repo=repo, folder=root / "folder", records=root / "records", rows=1, rounds=0,
                size=size, every=0.002, no_flush=True, pause=0.002 if size > 100_000 else 0.0003,
            )  # fmt: skip
            process = Process(command, env=_environment(root), log=root / f"{number}.log")
            try:
                process.wait_line("round")
                time.sleep(chance.random() * SIZES[size])  # a random moment is what is wanted
                tally.killed += process.kill() == -signal.SIGKILL
            finally:
                process.end()
            tally.runs += 1
            tally.torn += torn_tails(root / "folder") > 0
        _judge(hub, root, tally, repo)
    return tally


def _judge(hub: LocalHub, root: Path, tally: Tally, repo: str) -> None:
    found = verified(hub, root / "folder", repo, all_sent=False)
    verdict = judge(hub, root / "folder", root / "records", repo=repo)
    found += verified(hub, root / "folder", repo)
    tally.other += [f"hubspool verify: {text}" for text in found]
    tally.acknowledged += verdict.acknowledged
    tally.lost += len(verdict.lost)
    tally.doubled += len(verdict.doubled)
    if verdict.faults or found:  # what a person needs to find out why
        kept = shutil.copytree(root, tempfile.mkdtemp(prefix="hubspool-kill9-kept-"), dirs_exist_ok=True)
        tally.other += [f"{kind}: {found[:5]} (kept in {kept})" for kind, found in verdict.faults.items()]


def run(points: int, kills: int, jobs: int, seed: int, repo: str = REPO) -> tuple[Tally, Tally]:
    """Return what the sweep and the random kills came to."""
    swept, random_ones = Tally(), Tally()
    with tempfile.TemporaryDirectory(prefix="hubspool-kill9-") as name:
        chosen = spread(watch(Path(name), repo), points) if points else []
    with ProcessPoolExecutor(jobs) as pool:
        # Every batch has points from everywhere.
        batches = max(1, -(-points // BATCH))
        sweeping = [pool.submit(sweep, chosen[first::batches], repo) for first in range(batches) if points]
        sizes = [list(SIZES)[i % len(SIZES)] for i in range(-(-kills // BATCH))]
        counts = [min(BATCH, kills - i * BATCH) for i in range(len(sizes))]
        killing = [
            pool.submit(random_kills, count, size, seed + i, repo)
            for i, (count, size) in enumerate(zip(counts, sizes, strict=True))
        ]
        for future in sweeping:
            swept.add(future.result())
            _progress(swept, points)
        for future in killing:
            random_ones.add(future.result())
            _progress(random_ones, kills)
    return swept, random_ones


def _progress(tally: Tally, total: int) -> None:
    print(f"  {tally.runs}/{total} runs, {tally.killed} killed, {tally.lost} lost, {tally.doubled} doubled", flush=True)


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description="kill -9 at system calls and at random times")
    parser.add_argument("--points", type=int, default=40, help="system calls to kill at")
    parser.add_argument("--kills", type=int, default=40, help="random kills, with rows of 400 B, 20 kB and 1 MB")
    parser.add_argument("--jobs", type=int, default=max(2, os.cpu_count() or 2))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bucket", action="store_true", help="the destination is a bucket")
    args = parser.parse_args()
    began = time.monotonic()
    swept, killed = run(args.points, args.kills, args.jobs, args.seed, BUCKET if args.bucket else REPO)
    print(f"{'':14}{'runs':>8}{'killed':>8}{'acknowledged':>14}{'lost':>6}{'doubled':>9}{'torn tails seen':>17}")
    for name, tally in (("system calls", swept), ("random times", killed)):
        print(
            f"{name:14}{tally.runs:8}{tally.killed:8}{tally.acknowledged:14,}{tally.lost:6}{tally.doubled:9}{tally.torn:17}"
        )
        for line in tally.other:
            print(f"  {line}")
    print(f"killed at {dict(swept.calls.most_common())}; {time.monotonic() - began:.0f} s, seed {args.seed}")
    reached = (not args.points or swept.killed >= args.points / 2) and killed.killed == args.kills
    if not reached:
        print("too few runs were really killed: nothing is proved")
    return 0 if swept.kept and killed.kept and reached else 1


if __name__ == "__main__":
    sys.exit(main())
