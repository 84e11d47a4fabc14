"""Bytes that `JsonlScheduler` sends per byte of payload: ``python -m tests.benchmarks.jsonl [PUSHES:BYTES …]``.

Prints a table, and asserts nothing. The payload is hex of random bytes, in rows of up to 10,000 characters; what is
sent is every byte that reaches the Hub's socket, requests and headers, from the second push on: the first one makes the
repo and brings the card. A growing backlog is no part of it: each push ends before the next rows are appended.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import huggingface_hub
from uvicorn.protocols.http.h11_impl import H11Protocol

from hubspool import HfApi
from hubspool.local_hub import LocalHub
from hubspool_templates import JsonlScheduler
from tests.support.bench_table import machine

#: The stock scheduler sends the whole file each time: 600 pushes of 1 MB would be 180 GB.
STOCK_PUSHES = 60
#: Pushes, bytes of payload in each, and the most that may be sent per byte.
SERIES = {"60:1000000": 1.05, "600:1000000": 1.05, "600:100000": 1.4, "288:2000": 12.0}
ROW = 10_000
SECONDS = 120


class Counted:
    """Counts what reaches the sockets of this process's Hub."""

    bytes = 0

    @classmethod
    def install(cls) -> None:
        """Count from now on."""
        take = H11Protocol.data_received

        def data_received(self: H11Protocol, data: bytes) -> None:
            cls.bytes += len(data)
            take(self, data)

        H11Protocol.data_received = data_received  # type: ignore[method-assign]


def rows(size: int) -> list[dict[str, str]]:
    """Return rows with `size` characters of hex in all."""
    lengths = [ROW] * (size // ROW) + ([size % ROW] if size % ROW else [])
    return [{"text": random.randbytes(length // 2).hex()} for length in lengths]


class Stock(huggingface_hub.CommitScheduler):
    """The stock scheduler, with rows written as its guide does."""

    def __init__(self, repo_id: str, folder: Path, *, every: int, hf_api: HfApi) -> None:
        api = huggingface_hub.HfApi(endpoint=hf_api.endpoint, token=hf_api.token)
        super().__init__(repo_id=repo_id, folder_path=folder, repo_type="dataset", every=every, hf_api=api)

    def extend(self, rows: list[dict[str, str]]) -> None:
        with self.lock, (self.folder_path / "rows.jsonl").open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)


def measure(
    kind: type[JsonlScheduler] | type[Stock], pushes: int, size: int, directory: Path
) -> tuple[float, float, Counter[str]]:
    """Return bytes sent per byte of payload, seconds per push, and bytes of the bodies by route."""
    with LocalHub(root=directory / "hub") as hub:
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        scheduler: Any = kind("local/bench", directory / "rows", every=600, hf_api=api)
        scheduler.trigger().result(SECONDS)
        scheduler.extend(rows(100))
        scheduler.trigger().result(SECONDS)
        Counted.bytes = 0
        hub.requests.clear()
        began = time.perf_counter()
        for _ in range(pushes):
            scheduler.extend(rows(size))
            scheduler.trigger().result(SECONDS)
        seconds = time.perf_counter() - began
        sent = Counted.bytes
        by_route: Counter[str] = Counter()
        for record in hub.requests:
            by_route[record.route] += record.bytes_in
        by_route["headers"] = sent - by_route.total()
        scheduler.stop()
    return sent / (pushes * size), seconds / pushes, by_route


def main() -> None:
    """Run the series that were asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("series", nargs="*", default=[*SERIES], help="such as 60:1000000; all by default")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # the stock client warns at each push
    Counted.install()
    print(f"{machine()}\n")
    stock_title = f"huggingface_hub, {STOCK_PUSHES} pushes"
    print(f"| pushes | payload of each | {stock_title} | sent per byte | at most | seconds a push | of it |")
    print("|---|---|---|---|---|---|---|")
    for series in options.series:
        pushes, size = map(int, series.split(":"))
        with tempfile.TemporaryDirectory(prefix="hubspool-bench-", ignore_cleanup_errors=True) as directory:
            stock, _, _ = measure(Stock, min(pushes, STOCK_PUSHES), size, Path(directory) / "stock")
            ratio, seconds, by_route = measure(JsonlScheduler, pushes, size, Path(directory) / "ours")
        shares = ", ".join(f"{name} {count / pushes / size:.3f}" for name, count in by_route.most_common(5))
        line = f"| {pushes} | {size:,} | {stock:.1f} | {ratio:.3f} | {SERIES.get(series, '-')} | {seconds:.2f} |"
        print(line, shares, "|", flush=True)


if __name__ == "__main__":
    main()
