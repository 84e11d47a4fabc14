"""The mutation gate: each mutant breaks one mechanism, and a test that it names must fail.

    python -m tests.mutants.gate [--match | --tests-passed] [NAME …]

For each mutant of `catalog.py` the sources are copied, the edit is made, and the named tests run against the copy. It
counts as killed when an assertion of a named test failed; an error of the import, of a fixture or a time-out does not
count. The same tests must be green on an unchanged copy, too, which `--tests-passed` leaves to whoever ran them before.
Exit code 1: a mutant survived, an edit does not match the code, or a test is red anyway.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.mutants.catalog import MUTANTS
from tests.support.mutation import SOURCES, Mutant, NoMatchError
from tests.support.paths import ROOT

SECONDS = 100
WORKERS = 3  # more than two processors: some tests wait half a minute for what must not happen


@dataclass(frozen=True)
class Verdict:
    """What became of one mutant."""

    mutant: Mutant
    killed: bool
    how: str
    seconds: float = 0


@dataclass
class Observed:
    """What the plugin in `mutant_witness` reported of one run of pytest."""

    code: int | None
    output: str
    imported: str = ""
    failed: dict[str, tuple[str, bool]] = field(default_factory=dict)

    @property
    def asserted(self) -> list[str]:
        """Tests whose own assertion failed."""
        return [name for name, (_, asserted) in self.failed.items() if asserted]


@contextmanager
def copied_sources(name: str) -> Iterator[Path]:
    """Give a temporary folder with a copy of the code under test."""
    with tempfile.TemporaryDirectory(prefix=f"mutant-{name}-", ignore_cleanup_errors=True) as directory:
        copy = Path(directory).resolve()
        for source in SOURCES.values():
            shutil.copytree(ROOT / source, copy / source)
        yield copy


def run_tests(copy: Path, tests: tuple[str, ...]) -> Observed:
    """Run tests against a copy of the sources; they may take `SECONDS`, many tests longer."""
    witness = copy / "witness.jsonl"
    path = os.pathsep.join([*(str(copy / source) for source in SOURCES.values()), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path, "MUTANT_WITNESS": str(witness), "PYTHONDONTWRITEBYTECODE": "1"}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # the plugin of hypothesis takes a second to import
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.support.mutant_witness", "-p", "no:cacheprovider"]
    command += ["-p", "pytest_timeout", "--timeout=60", "--tb=line", f"--basetemp={copy / 'tmp'}", *tests]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=max(SECONDS, 8 * len(tests)),
            check=False,
        )
        observed = Observed(done.returncode, done.stdout + done.stderr)
    except subprocess.TimeoutExpired as error:
        observed = Observed(None, str(error))
    for line in witness.read_text(encoding="utf-8").splitlines() if witness.exists() else ():
        report = json.loads(line)
        observed.imported = report.get("imported", observed.imported)
        if "failed" in report:
            observed.failed[report["failed"]] = (report["kind"], report["asserted"])
    if observed.imported != str(copy / SOURCES["hubspool"] / "hubspool"):
        raise RuntimeError(
            f"the tests imported {observed.imported or 'nothing'}, not the copy: {observed.output[-2000:]}"
        )
    return observed


def judge(mutant: Mutant) -> Verdict:
    """Make a mutant's edits in a copy of the sources and run its tests."""
    began = time.monotonic()
    with copied_sources(mutant.name) as copy:
        try:
            mutant.apply(copy)
        except NoMatchError as error:
            return Verdict(mutant, False, str(error))
        observed = run_tests(copy, mutant.killed_by)
    seconds = time.monotonic() - began
    if observed.asserted:
        return Verdict(mutant, True, observed.asserted[0].split("::")[-1], seconds)
    others = ", ".join(f"{name.split('::')[-1]} ({kind})" for name, (kind, _) in observed.failed.items())
    reason = f"failed, but by no assertion: {others}" if others else " ".join(observed.output.split())[-300:]
    return Verdict(mutant, False, f"survived; {reason}", seconds)


def unmatched(mutants: list[Mutant]) -> list[str]:
    """Return a message for each mutant whose edit does not match the code."""
    messages = []
    for mutant in mutants:
        with copied_sources(mutant.name) as copy:
            try:
                mutant.apply(copy)
            except NoMatchError as error:
                messages.append(str(error))
    return messages


def main(arguments: list[str] | None = None) -> int:
    """Run the gate; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="of mutants; all by default")
    parser.add_argument("--match", action="store_true", help="only make the edits; no test runs")
    parser.add_argument("--tests-passed", action="store_true", help="do not run the tests on unchanged code once more")
    options = parser.parse_args(arguments)
    mutants = [mutant for mutant in MUTANTS if not options.names or mutant.name in options.names]
    if not mutants:
        print(f"no mutant is called {' or '.join(options.names)}")
        return 1
    if messages := unmatched(mutants):
        print("\n".join(messages))
        return 1
    if options.match:
        print(f"{len(mutants)} mutants match the code")
        return 0
    tests = tuple(dict.fromkeys(test for mutant in mutants for test in mutant.killed_by))
    with copied_sources("none") as copy, ThreadPoolExecutor(WORKERS) as pool:
        # takes one worker for minutes; the others need not wait
        unchanged = None if options.tests_passed else pool.submit(run_tests, copy, tests)
        verdicts = list(pool.map(judge, mutants))
        observed = unchanged.result() if unchanged else None
    if observed and observed.code != 0:
        print(f"the named tests are red without a mutant: {observed.output[-3000:]}")
        return 1
    print("| mutant | breaks | killed by |\n|---|---|---|")
    for verdict in verdicts:
        how = verdict.how if verdict.killed else f"**{verdict.how}**"
        print(f"| {verdict.mutant.name} | {verdict.mutant.breaks} | {how} ({verdict.seconds:.0f} s) |")
    alive = [verdict.mutant.name for verdict in verdicts if not verdict.killed]
    print(f"\n{len(verdicts) - len(alive)} of {len(verdicts)} mutants killed; alive: {', '.join(alive) or 'none'}")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
