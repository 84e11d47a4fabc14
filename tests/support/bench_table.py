"""Prints benchmarks as tables: each line has our figure, the stock client's figure and the goal."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

SIDES = ("huggingface_hub", "hubspool")


@dataclass(frozen=True)
class Figure:
    """One line of the table; values are text, with their units."""

    measure: str
    stock: str
    ours: str
    goal: str
    note: str = ""


def machine() -> str:
    """Return the kind of machine and its load, without which figures cannot be compared."""
    busy = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    date = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    return f"{date}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}{busy}"


def print_table(figures: Iterable[Figure]) -> None:
    """Print a Markdown table."""
    print(f"\n{machine()}\n")
    print("| measure | huggingface_hub | hubspool | to reach |\n|---|---|---|---|")
    for figure in figures:
        note = f" ({figure.note})" if figure.note else ""
        print(f"| {figure.measure} | {figure.stock} | {figure.ours}{note} | {figure.goal} |")


def child(module: str, *arguments: object, env: dict[str, str] | None = None, timeout: float = 1800) -> dict[str, Any]:
    """Run one measurement in a process of its own; its last line of output is its result, as JSON."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    ended = subprocess.run(
        command, env={**os.environ, **(env or {})}, stdout=subprocess.PIPE, text=True, timeout=timeout, check=True
    )
    result: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return result


def in_turn(rounds: int, sides: Sequence[str], run: Any) -> dict[str, dict[str, float]]:
    """Run the sides in turn, `rounds` times each, so that load from outside slows all; return each figure's median."""
    seen: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for number in range(rounds):
        for side in sides:
            began = time.monotonic()
            seen[side].append(run(side))
            print(f"  round {number + 1}/{rounds} {side}: {time.monotonic() - began:.1f} s", file=sys.stderr)
    return {
        side: {name: statistics.median(result[name] for result in results) for name in results[0]}
        for side, results in seen.items()
    }
