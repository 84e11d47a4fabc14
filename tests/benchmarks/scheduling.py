"""The scheduler beside `huggingface_hub.CommitScheduler`: import, requests, idle periods, start, appends, replicas."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator

from tests.benchmarks.replicas_simulated import simulate
from tests.support.bench_table import SIDES, Figure, child, in_turn, print_table

_CHILD = "tests.benchmarks.scheduling_child"


def _measure(part: str, number: int, rounds: int, sides: tuple[str, ...] = SIDES) -> dict[str, dict[str, float]]:
    def once(side: str) -> dict[str, float]:
        with tempfile.TemporaryDirectory(prefix="hubspool-bench-", ignore_cleanup_errors=True) as directory:
            return child(_CHILD, side, part, directory, number)

    return in_turn(rounds, sides, once)


def figures(rounds: int, files: int, rows: int) -> Iterator[Figure]:
    """Yield the lines of the table.

    Args:
        rounds: of each measurement; medians are told.
        files: in the folder, where many are wanted.
        rows: appended.
    """
    stock, ours = (_measure("import_it", 0, max(rounds, 5))[side] for side in SIDES)
    yield Figure(
        "import; first object, without a network",
        f"{stock['import_ms'] + stock['first_ms']:.0f} ms, {stock['all_memory_mb']:.0f} MB in all",
        f"{ours['import_ms']:.0f} ms, {ours['memory_mb']:.0f} MB; {ours['first_ms']:.0f} ms",
        "a third of stock's; 150 ms",
        "both load their parts at their first use",
    )
    seen = _measure("requests_of_a_push", 8, 1)
    stock, ours = (seen[side] for side in SIDES)
    yield Figure(
        "requests of a push that changes one file (CAS apart)", f"{stock['median']:g}", f"{ours['median']:g}", "3"
    )
    seen = _measure("idle", files, rounds)
    stock, ours = (seen[side] for side in SIDES)
    for name, format_ in (("cpu", "{:.2f} s"), ("requests", "{:g}"), ("held", "{:.4f} s with the lock")):
        goal = {"cpu": "1.5 times a bare walk", "requests": "0", "held": "0"}[name]
        note = f"{ours['ratio']:.2f} times scandir and stat alone" if name == "cpu" else ""
        measure = f"idle period, {files:,} unchanged files: {name}"
        yield Figure(measure, format_.format(stock[name]), format_.format(ours[name]), goal, note)
    ours = _measure("start_up", files, rounds, ("hubspool",))["hubspool"]
    yield Figure(
        f"start with a ledger of {files:,} files",
        "hashes all again",
        f"{ours['seconds']:.2f} s, {ours['opened']:g} files read",
        "1 s, none read",
    )
    seen = _measure("append", rows, rounds)
    stock, ours = (seen[side] for side in SIDES)
    yield Figure(
        "append, rows of 433 bytes, one thread",
        f"{stock['rows']:,.0f}/s (the guide's pattern)",
        f"{ours['rows']:,.0f}/s",
        "200,000/s, 3 times the guide's",
        f"{ours['rows'] / stock['rows']:.1f} times",
    )
    ours = _measure("threads", rows, rounds, ("hubspool",))["hubspool"]
    yield Figure(
        "append from 32 threads at 5,000/s in all, push after push: p99", "-", f"{ours['p99_ms']:.2f} ms", "10 ms"
    )
    yield Figure("the same flat out", "-", f"{ours['rate']:,.0f}/s, {ours['lost']:g} lost", "15,000/s, none lost")
    outcomes = [simulate(50, 12, shares=shares) for shares in (False, True)]
    yield Figure(
        "50 replicas, 128 commits an hour, 12 simulated hours: oldest unsent row; commits a replica",
        *(f"{each.oldest:.0f} min; {each.fewest} to {each.most}" for each in outcomes),
        goal="35 min; within 2 times",
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round, and smaller numbers")
    if parser.parse_args().quick:
        print_table(figures(rounds=1, files=10_000, rows=20_000))
    else:
        print_table(figures(rounds=5, files=100_000, rows=200_000))
