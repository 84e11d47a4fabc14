"""Bytes that a push of 2 kB sends when they are appended to a file grown to 30 MB by 300 pushes, by `TrainingLogs`.

Each push sends the last, unfinished chunk of the file again, of up to 128 KiB (hf_xet's largest), and a shard that
names all chunks of the file; the last column tells how much of the worst push these are.

Run by hand: ``python -m tests.benchmarks.training_logs [--pushes 300 --size 100000 --last 300]``. Prints a table, and
asserts nothing. What is sent is every byte that reaches the Hub's socket, requests and headers.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import RecordWriter

from hubspool import HfApi
from hubspool.local_hub import LocalHub
from hubspool_templates import TrainingLogs
from tests.benchmarks.jsonl import Counted
from tests.support.bench_table import machine

SECONDS = 120


def appends_records(folder: Path) -> Callable[[int], None]:
    """An event file with records of about a kilobyte that do not compress."""
    writer = RecordWriter(str(folder / "events.out.tfevents.1.host"))

    def append(size: int) -> None:
        for _ in range(max(size // 1000, 1)):
            writer.write(random.randbytes(984))
        writer.flush()

    return append


def appends_scalars(folder: Path) -> Callable[[int], None]:
    """An event file with scalars of five tags, as `SummaryWriter.add_scalar` writes them."""
    writer = RecordWriter(str(folder / "events.out.tfevents.1.host"))
    tags = [f"{split}/{name}" for split in ("train", "val") for name in ("loss", "accuracy")] + ["learning_rate"]
    step = 0

    def append(size: int) -> None:
        nonlocal step
        while size > 0:
            value = Summary.Value(tag=tags[step % 5], simple_value=random.random())
            event = Event(wall_time=1.7e9 + step * 0.1 + random.random() / 10, step=step // 5)
            event.summary.value.append(value)
            data = event.SerializeToString()
            writer.write(data)
            size -= len(data) + 16
            step += 1
        writer.flush()

    return append


def appends_lines(folder: Path) -> Callable[[int], None]:
    """A text log with lines of a hundred characters, hex of random bytes."""

    def append(size: int) -> None:
        with (folder / "train.log").open("a") as file:
            file.writelines(random.randbytes(50).hex()[:99] + "\n" for _ in range(max(size // 100, 1)))

    return append


def measure(
    kind: Callable[[Path], Callable[[int], None]], pushes: int, size: int, last: int, directory: Path
) -> tuple[list[int], list[Counter[str]], float]:
    """Return the bytes of each push that grew the file, of the `last` ones of 2 kB by route, and seconds a push."""
    with LocalHub(root=directory / "hub") as hub:
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        logs = TrainingLogs("local/bench", directory / "run", every=600, hf_api=api)
        logs.last_future.result(SECONDS)
        append = kind(logs.folder_path)

        def push(count: int) -> int:
            append(count)
            hub.requests.clear()
            Counted.bytes = 0
            commit = logs.flush(SECONDS)  # a flush: a trigger would let a large event file gather more first
            assert commit is not None
            return Counted.bytes

        def by_route(count: int) -> Counter[str]:
            sent = Counter({"": push(count)})
            for record in hub.requests:
                sent[record.route] += record.bytes_in
            return sent

        began = time.perf_counter()
        grown = [push(size) for _ in range(pushes)]
        seconds = (time.perf_counter() - began) / pushes
        small = [by_route(2000) for _ in range(last)]
        logs.stop()
    return grown, small, seconds


def main() -> None:
    """Measure both kinds of file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pushes", type=int, default=300)
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--last", type=int, default=300)
    parser.add_argument("kinds", nargs="*", default=["scalars", "random", "text"])
    options = parser.parse_args()
    Counted.install()
    print(f"{machine()}\n")
    print("| file | grown by | sent per byte | then 2 kB: mean | worst | at most | seconds a push | of the worst |")
    print("|---|---|---|---|---|---|---|---|")
    kinds = {"scalars": appends_scalars, "random": appends_records, "text": appends_lines}
    for name in options.kinds:
        kind = kinds[name]
        with tempfile.TemporaryDirectory(prefix="hubspool-bench-", ignore_cleanup_errors=True) as directory:
            grown, small, seconds = measure(kind, options.pushes, options.size, options.last, Path(directory))
        sizes, worst = [each[""] for each in small], max(small, key=lambda each: each[""])
        ratio = sum(grown) / (options.pushes * options.size)
        print(
            f"| {name} | {options.pushes} x {options.size / 1000:g} kB | {ratio:.2f} |"
            f" {statistics.mean(sizes) / 1000:.0f} kB | {worst[''] / 1000:.0f} kB | 80 and 150 kB | {seconds:.2f} |"
            f" chunk {worst['xet-xorb'] / 1000:.0f} kB, shard {worst['xet-shard'] / 1000:.0f} kB |"
        )


if __name__ == "__main__":
    main()
