"""A dataset of years: parts planted day by day and joined each day, beside a dataset that is not joined.

    python -m tests.benchmarks.years [--days 365] [--sample 1000]

Each day is one commit of 4 replicas with 96 parts each, stored as regular files; then the parts of that day are joined
as a scheduler joins them. Reading without joins is measured on `--sample` parts and told for each file, since a year of
them would take hours. The Hub runs in this process, the reader and the writer in processes of their own.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import orjson

from hubspool import CommitOperationAdd, HfApi
from hubspool.client.target import Target
from hubspool.local_hub import LocalHub
from hubspool.push.compaction import Compactor
from hubspool.push.joiner import Joiner
from hubspool.push.remote import RemoteRepo
from hubspool.spool.segment_name import part_rule
from tests.support.bench_table import child, machine

REPLICAS, PARTS, ROWS = 4, 96, 10
FIRST = date(2025, 1, 1)
_CHILD = "tests.benchmarks.years_child"
CARD = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/[0-9][0-9][0-9][0-9]-[0-9][0-9]/train-*.jsonl
---
"""


def parts_of(day: date, parts: int, rows: int, size: int) -> Iterator[CommitOperationAdd]:
    """Yield the parts that the replicas made on one day, of rows of about `size` bytes; all numbers are different."""
    chance = random.Random(day.toordinal())  # text that Xet cannot compress
    for replica in range(REPLICAS):
        for number in range(parts):
            first = (((day - FIRST).days * REPLICAS + replica) * parts + number) * rows
            content = [{"n": n, "text": chance.randbytes(size // 2).hex()} for n in range(first, first + rows)]
            path = f"data/{day:%Y-%m}/train-{day:%Y%m%d}-{replica:012x}-00000-p{number:04d}.jsonl"
            yield CommitOperationAdd(path, b"".join(orjson.dumps(row) + b"\n" for row in content))


class Dataset:
    """A repository on the local Hub that parts are planted in."""

    def __init__(self, hub: LocalHub, name: str) -> None:
        self.hub = hub
        self.repo_id = f"local/{name}"
        self.api = HfApi(endpoint=hub.endpoint, token=hub.token)
        self.api.create_repo(self.repo_id, repo_type="dataset")
        self.parts, self.part_bytes = 0, 0
        repo = RemoteRepo(self.api, Target.of(hub.endpoint, self.repo_id, "dataset", "main"))
        self.compactor = Compactor(repo, "data", {"jsonl": Joiner()})
        self._commit([CommitOperationAdd("README.md", CARD.encode())])

    def _commit(self, operations: list[CommitOperationAdd]) -> None:
        self.api.create_commit(self.repo_id, operations, commit_message="planted", repo_type="dataset")

    def add_rule(self) -> None:
        """Store what is named like a part through Xet from now on, as after a scheduler's first push."""
        self._commit([CommitOperationAdd(".gitattributes", f"{part_rule()}\n".encode())])

    def plant(self, day: date, parts: int, rows: int = ROWS, size: int = 80) -> None:
        """Add the parts of one day as regular files."""
        operations = list(parts_of(day, parts, rows, size))
        self.parts += len(operations)
        self.part_bytes += sum(operation.size for operation in operations)
        self._commit(operations)

    def files(self) -> dict[str, int]:
        """Return path → size of the data files."""
        files = self.compactor.repo.list_files("data", recursive=True)
        return {path: file.size for path, file in files.items()}

    def load(self) -> tuple[float, int, int]:
        """Return the seconds and requests of `load_dataset`, and its rows, each of which was checked."""
        self.hub.requests.clear()
        with tempfile.TemporaryDirectory(prefix="hubspool-bench-") as home:
            env = {"HF_ENDPOINT": self.hub.endpoint, "HF_TOKEN": self.hub.token, "HF_HOME": home}
            result = child(_CHILD, "load", self.repo_id, env={**env, "HF_HUB_DISABLE_PROGRESS_BARS": "1"})
        assert result["distinct"] == result["rows"] == self.parts * ROWS == result["largest"] + 1, result
        return result["seconds"], len(self.hub.requests), result["rows"]


def year(hub: LocalHub, days: int) -> tuple[Dataset, int]:
    """Plant day after day, and join the parts of each as the automatic run does on the next; returns bytes joined."""
    dataset, joined, began = Dataset(hub, "year"), 0, time.monotonic()
    for number in range(days):
        day = FIRST + timedelta(days=number)
        dataset.plant(day, PARTS)
        joined += dataset.compactor.run(day + timedelta(days=1)).bytes_joined
        if number % 10 == 9:
            print(f"  day {number + 1}/{days}, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return dataset, joined


def thousand(hub: LocalHub) -> tuple[float, float, float]:
    """Join 1,000 parts of 20 rows; return bytes sent per byte, and p99 of `append` (µs) idle and beside it."""
    dataset = Dataset(hub, "thousand")
    dataset.add_rule()
    for number in range(0, 1000, REPLICAS * 50):
        dataset.plant(FIRST + timedelta(days=number // (REPLICAS * 50)), 50, 20, 400)
    hub.requests.clear()
    with tempfile.TemporaryDirectory(prefix="hubspool-bench-") as folder:
        env = {"HF_HOME": str(Path(folder) / "home"), "HF_XET_CACHE": str(Path(folder) / "xet")}
        before = FIRST + timedelta(days=6)
        result = child(_CHILD, "append", hub.endpoint, hub.token, dataset.repo_id, folder, before, env=env)
    sent = sum(record.bytes_in for record in hub.requests)
    assert result["files_before"] == dataset.parts == 1000, result
    return sent / result["bytes_joined"], result["idle_us"], result["beside_us"]


def main() -> None:
    """Run and print; exits with 1 if a figure misses its goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--sample", type=int, default=1000, help="parts that are read without being joined")
    args = parser.parse_args()
    with LocalHub() as hub:
        sent, idle, beside = thousand(hub)
        sample = Dataset(hub, "sample")
        sample.plant(FIRST, args.sample // REPLICAS)
        slow, slow_requests, _ = sample.load()
        dataset, bytes_joined = year(hub, args.days)
        seconds, requests, rows = dataset.load()
        files = dataset.files()
        manifests = sum(file.size for file in dataset.compactor.repo.list_files(".hubspool", recursive=True).values())
    old = [path for path in files if f"{FIRST + timedelta(days=args.days - 1):%Y%m%d}" not in path]
    without = slow / sample.parts * dataset.parts
    versions = (dataset.part_bytes + bytes_joined) / dataset.part_bytes
    figures = [
        ("data files older than a day", f"{len(old)}, of {dataset.parts:,} parts", 40, len(old)),
        ("load_dataset: requests, at most 4 a file + 15", f"{requests}", 4 * len(files) + 15, requests),
        (
            f"load_dataset: without joins / with (without: of {sample.parts:,} parts, {slow_requests:,} requests)",
            f"{without:.0f} s ({slow:.1f} s) / {seconds:.1f} s = {without / seconds:.0f}",
            -20,
            -without / seconds,
        ),
        ("bytes of all versions / without joins", f"{versions:.2f}, newest manifests {manifests:,} B", 3, versions),
        ("1,000 parts of 20 rows of 400 bytes joined: bytes sent per byte", f"{sent:.3f}", 1.05, sent),
        ("append beside it: p99 / idle", f"{beside:.0f} / {idle:.0f} µs = {beside / idle:.2f}", 1.5, beside / idle),
    ]
    print(f"\n{machine()}; {args.days} days, {rows:,} rows, all there, none twice\n")
    print("| measure | figure | to reach |\n|---|---|---|")
    for measure, text, goal, _ in figures:
        print(f"| {measure} | {text} | {abs(goal)} |")
    if missed := [measure for measure, _, goal, value in figures if value > goal]:
        print(f"\nmissed: {'; '.join(missed)}")
        sys.exit(1)


if __name__ == "__main__":
    main()
