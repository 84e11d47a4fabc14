"""Prints the coverage of each folder, from a JSON report of coverage.py: ``coverage_by_folder.py FILE``."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path, PurePosixPath

COUNTS = ("num_statements", "covered_lines", "num_branches", "covered_branches")


def main(report: Path) -> None:
    """Print a Markdown table: a row for each folder, and the total."""
    folders: dict[str, Counter[str]] = {}
    total: Counter[str] = Counter()
    for name, file in json.loads(report.read_text(encoding="utf-8"))["files"].items():
        folder = PurePosixPath(*PurePosixPath(name).parent.parts[-3:]).as_posix()
        folder = folder[max(folder.find("hubspool"), 0) :]
        counts = Counter({count: file["summary"][count] for count in COUNTS})
        folders.setdefault(folder, Counter()).update(counts)
        total.update(counts)
    print("| folder | statements | covered | branches | covered |\n|---|---|---|---|---|")
    for folder, counts in [*sorted(folders.items()), ("total", total)]:
        lines = _percent(counts["covered_lines"], counts["num_statements"])
        branches = _percent(counts["covered_branches"], counts["num_branches"])
        print(f"| {folder} | {counts['num_statements']:,} | {lines} | {counts['num_branches']:,} | {branches} |")


def _percent(covered: int, of: int) -> str:
    return f"{100 * covered / of:.1f} %" if of else "-"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
