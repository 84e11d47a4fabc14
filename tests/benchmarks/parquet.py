"""What `ParquetScheduler` sends, and how fast it is: ``python -m tests.benchmarks.parquet [bytes] [speed]``.

Prints a table, and asserts nothing. Bytes: the payload is hex of random bytes; what is sent is every byte that reaches
the Hub's socket, requests and headers, from the second push on (the first one makes the repo and brings the card), per
byte of the Parquet files that it made. Speed: 100,000 votes from a list to Parquet on the Hub, beside the time in which
pyarrow makes a table of the same list and writes it to a file, and beside what limits it: the libraries alone doing
what a row goes through that waits on the disk first.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import json

from hubspool import HfApi
from hubspool.client.repo_info import RepoFile
from hubspool.local_hub import LocalHub
from hubspool_templates import ParquetScheduler
from tests.benchmarks.durability import a_hub
from tests.benchmarks.jsonl import SECONDS, Counted, rows
from tests.support.bench_table import machine

PUSHES, SIZE = 60, 1_000_000
VOTES = 100_000
#: How the scheduler's files are written.
AS_OURS: dict[str, Any] = {
    "compression": "zstd",
    "use_content_defined_chunking": True,
    "write_page_index": True,
    "row_group_size": 50_000,
}


def stored(api: HfApi) -> int:
    """Return the bytes of all Parquet files on the Hub."""
    tree = api.list_repo_tree("local/bench", recursive=True, repo_type="dataset")
    return sum(entry.size for entry in tree if isinstance(entry, RepoFile) and entry.path.endswith(".parquet"))


def votes(count: int) -> list[dict[str, Any]]:
    """Return rows such as the demo's: a text in Greek letters, two romanisations, a choice."""
    chance = random.Random(1)
    words = [bytes(chance.choices(b"aeioklmnprst", k=chance.randint(2, 9))).decode() for _ in range(3000)]
    greek = str.maketrans("aeioklmnprst", "αεηοκλμνπρστ")
    rows = []
    for number in range(count):
        text = " ".join(chance.choices(words, k=18))
        row = {"id": f"{number:08d}", "time": 1.5e9 + number, "input": text[:60].translate(greek)}
        row |= {"output_1": text, "output_2": text.replace("k", "c"), "user_choice": 1 + number % 2}
        rows.append({**row, "agreed": number % 3 == 0, "note": None})
    return rows


def measure_bytes(directory: Path) -> None:
    """Print bytes sent per byte of final Parquet."""
    with LocalHub(root=directory / "hub") as hub:
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        scheduler = ParquetScheduler("local/bench", directory / "rows", every=600, hf_api=api)
        scheduler.last_future.result(SECONDS)
        scheduler.extend(rows(100))
        scheduler.flush(SECONDS)
        before, Counted.bytes = stored(api), 0
        sent = 0
        began = time.perf_counter()
        for _ in range(PUSHES):
            scheduler.extend(rows(SIZE))
            scheduler.trigger().result(SECONDS)
        seconds, sent = (time.perf_counter() - began) / PUSHES, Counted.bytes
        made = stored(api) - before
        scheduler.stop()
    print(
        f"| {PUSHES} pushes of {SIZE:,} bytes of rows, {seconds:.2f} s each | {sent / made:.3f} sent per byte of"
        f" Parquet ({made:,}) | 1.12 |"
    )


def seconds_of(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def alone(given: list[dict[str, Any]], folder: Path) -> None:
    """Do what cannot be left out, with the libraries alone: rows to disk, checked, digested, read, and encoded."""
    path, out = folder / "rows.jsonl", folder / "alone.parquet"
    path.write_bytes(b"".join(orjson.dumps(row, None, orjson.OPT_APPEND_NEWLINE) for row in given))
    with path.open("rb") as file:
        for line in file:
            orjson.loads(line)
    sha256(path.read_bytes())
    options = json.ReadOptions(block_size=8 << 20)
    pq.write_table(json.read_json(str(path), read_options=options), out, **AS_OURS)


def measure_speed(directory: Path, rounds: int = 5) -> None:
    """Print the time of votes to the Hub as a multiple of pyarrow's own, and of what limits it."""
    given = votes(VOTES)
    theirs, same, limit, ours = [], [], [], []
    plain = directory / "plain.parquet"
    with a_hub(directory) as (_, api):
        for number in range(rounds):
            theirs.append(seconds_of(lambda: pq.write_table(pa.Table.from_pylist(given), plain)))
            same.append(seconds_of(lambda: pq.write_table(pa.Table.from_pylist(given), plain, **AS_OURS)))
            limit.append(seconds_of(lambda: alone(given, directory)))
            scheduler = ParquetScheduler(f"local/bench-{number}", directory / str(number), every=600, hf_api=api)
            scheduler.last_future.result(SECONDS)
            began = time.perf_counter()
            scheduler.extend(given)
            scheduler.flush(SECONDS)
            ours.append(time.perf_counter() - began)
            scheduler.stop()
    full = statistics.median(ours)
    for name, figures, goal in (
        ("from_pylist + write_table", theirs, "3"),
        ("the same with zstd, content-defined chunks and page index", same, "-"),
        ("orjson, sha256, read_json and write_table alone", limit, "-"),
    ):
        ratio = full / statistics.median(figures)
        print(f"| {VOTES:,} votes to Parquet on the Hub | {full:.2f} s, {ratio:.2f} times {name} | {goal} |")


def main() -> None:
    """Measure what was asked for, or both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["bytes", "speed"])
    options = parser.parse_args()
    Counted.install()
    print(f"{machine()}\n\n| measure | hubspool | to reach |\n|---|---|---|")
    for part in options.parts:
        with tempfile.TemporaryDirectory(prefix="hubspool-bench-", ignore_cleanup_errors=True) as directory:
            {"bytes": measure_bytes, "speed": measure_speed}[part](Path(directory))


if __name__ == "__main__":
    main()
