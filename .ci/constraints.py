"""Prints constraints.txt: what pip chooses for all extras and the group `dev`, merged with markers.

It asks pip for each supported Python. Needs python3.10 to python3.13 on the PATH, or the four interpreters as
arguments; a missing one is an error, because its markers would be lost. Packages that only Windows or macOS need stay
free within their ranges.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MINORS = (10, 11, 12, 13)
HEADER = """\
# Exact versions that the tests ran with, for each supported Python; written by `make constraints`.
# Used as `pip install -c constraints.txt`; the ranges that users get stand in pyproject.toml.
"""


def resolve(python: str) -> dict[str, str]:
    """What pip would install, by name; wheels only, so that no foreign build runs."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        # With the pip of this interpreter, which is new enough for dependency groups.
        command = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--dry-run"]
        command += ["--disable-pip-version-check", "--ignore-installed", "--only-binary=:all:"]
        command += ["--report", str(report), f"{ROOT}[all,demo]", "--group", "dev"]
        subprocess.run(command, check=True, cwd=ROOT)  # noqa: S603 - the command is built here
        found = [entry["metadata"] for entry in json.loads(report.read_text())["install"]]
    return {data["name"].lower().replace("_", "-"): data["version"] for data in found if data["name"] != "hubspool"}


def marker(minors: list[int]) -> str:
    """An environment marker for a contiguous run of minor versions; empty for all of them."""
    low, high = minors[0], minors[-1]
    if minors != list(range(low, high + 1)):
        raise ValueError(f"one version for {minors} and another in between: write these lines by hand")
    bounds = []
    if low != MINORS[0]:
        bounds.append(f'python_version >= "3.{low}"')
    if high != MINORS[-1]:
        bounds.append(f'python_version < "3.{high + 1}"')
    return " and ".join(bounds)


def main() -> None:
    pythons = sys.argv[1:] or [f"python3.{minor}" for minor in MINORS]
    merged: dict[str, dict[str, list[int]]] = {}
    for minor, python in zip(MINORS, pythons, strict=True):
        print(f"asking pip of {python}", file=sys.stderr)
        for name, version in resolve(python).items():
            merged.setdefault(name, {}).setdefault(version, []).append(minor)
    print(HEADER, end="")
    for name, versions in sorted(merged.items()):
        for version, minors in versions.items():
            condition = marker(minors)
            print(f"{name}=={version}" + (f" ; {condition}" if condition else ""))


if __name__ == "__main__":
    main()
