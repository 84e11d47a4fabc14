"""What the import of the scheduler costs, beside huggingface_hub's: ``python -m tests.benchmarks.imports [ROUNDS]``.

Each import runs in a fresh interpreter, the two packages in turn. One round of each comes first and does not count: it
fills the disk's cache and writes the compiled files.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

from tests.support.bench_table import SIDES, Figure, print_table

ROUNDS = 11
IMPORT = """
import time
began = time.perf_counter()
from {package} import CommitScheduler
print(time.perf_counter() - began)
"""


def seconds(package: str) -> float:
    """Return the seconds that the import takes in a new process, without the start of the interpreter."""
    command = [sys.executable, "-c", IMPORT.format(package=package)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=100, check=True).stdout)


def figure(rounds: int) -> Figure:
    """Return the medians and their ratio."""
    seen: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(rounds + 1):
        for side in SIDES:
            seen[side].append(seconds(side))
    stock, ours = (statistics.median(seen[side][1:]) for side in SIDES)
    ratio = f"{ours / stock:.2f} times; median of {rounds}"
    return Figure(
        "`from … import CommitScheduler`", f"{stock * 1000:.0f} ms", f"{ours * 1000:.0f} ms", "a third", ratio
    )


if __name__ == "__main__":
    print_table([figure(int(sys.argv[1]) if sys.argv[1:] else ROUNDS)])
