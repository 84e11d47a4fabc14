"""The mutation gate: each patch breaks one mechanism, and must turn a test red that it names.

    python -m tests.mutants.gate [NAME …]

A patch begins with ``breaks:`` (one sentence) and ``killed by:`` (tests, one a line, up to the diff). For each one the
sources are copied, the patch is applied, and the named tests run against the copy. It counts as killed when an
assertion of a named test failed; an error of the import, of a fixture or a time-out does not count. Before that the
same tests must be green on an unchanged copy. Exit code 1: a mutant survived, a patch does not apply, or a test is red
anyway.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.paths import ROOT

HERE = Path(__file__).resolve().parent
SOURCES = ("scheduler", "templates")
SECONDS = 100
WORKERS = 2


@dataclass(frozen=True)
class Mutant:
    """A patch and what it says of itself."""

    name: str
    path: Path
    breaks: str
    tests: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> Mutant:
        """Read a patch's header.

        Raises:
            ValueError: it does not say what it breaks, or who kills it.
        """
        header = path.read_text(encoding="utf-8").split("\n--- ", 1)[0]
        breaks, _, tests = header.partition("killed by:")
        if not breaks.startswith("breaks:") or not tests.split():
            raise ValueError(f"{path} must begin with 'breaks: …' and 'killed by: …'.")
        return cls(path.stem, path, breaks.removeprefix("breaks:").strip(), tuple(tests.split()))


@dataclass(frozen=True)
class Verdict:
    """What became of one mutant."""

    mutant: Mutant
    killed: bool
    how: str
    seconds: float


@dataclass
class Heard:
    """What the witness told of one run of pytest."""

    code: int | None
    output: str
    imported: str = ""
    failed: dict[str, tuple[str, bool]] = field(default_factory=dict)

    @property
    def asserted(self) -> list[str]:
        """Tests whose own assertion failed."""
        return [name for name, (_, asserted) in self.failed.items() if asserted]


def copy_sources(target: Path) -> None:
    """Copy what is tested."""
    for name in SOURCES:
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))


def run_tests(copy: Path, tests: tuple[str, ...]) -> Heard:
    """Run tests against a copy of the sources."""
    witness = copy / "witness.jsonl"
    path = os.pathsep.join([*(str(copy / name) for name in SOURCES), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path, "MUTANT_WITNESS": str(witness), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.support.mutant_witness",
        "-p",
        "no:cacheprovider",
        "--timeout=60",
    ]
    command += ["--tb=line", f"--basetemp={copy / 'tmp'}", *tests]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        heard = Heard(done.returncode, done.stdout + done.stderr)
    except subprocess.TimeoutExpired as error:
        heard = Heard(None, str(error))
    for line in witness.read_text(encoding="utf-8").splitlines() if witness.exists() else ():
        told = json.loads(line)
        heard.imported = told.get("imported", heard.imported)
        if "failed" in told:
            heard.failed[told["failed"]] = (told["kind"], told["asserted"])
    if heard.imported != str(copy / SOURCES[0] / "hubspool"):
        raise RuntimeError(f"the tests imported {heard.imported or 'nothing'}, not the copy: {heard.output[-2000:]}")
    return heard


def judge(mutant: Mutant) -> Verdict:
    """Break a copy of the sources and see who notices."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"mutant-{mutant.name}-", ignore_cleanup_errors=True) as directory:
        copy = Path(directory).resolve()
        copy_sources(copy)
        # Outside of any repository: git would otherwise leave out files that it does not know there.
        applied = subprocess.run(
            ["git", "apply", "--recount", "-C1", "--whitespace=nowarn", str(mutant.path)],
            cwd=copy,
            env={**os.environ, "GIT_CEILING_DIRECTORIES": str(copy.parent)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if applied.returncode != 0:
            return Verdict(mutant, False, f"does not apply: {applied.stderr.strip()}", time.monotonic() - began)
        heard = run_tests(copy, mutant.tests)
    seconds = time.monotonic() - began
    if heard.asserted:
        return Verdict(mutant, True, heard.asserted[0].split("::")[-1], seconds)
    others = ", ".join(f"{name.split('::')[-1]} ({kind})" for name, (kind, _) in heard.failed.items())
    reason = f"failed, but by no assertion: {others}" if others else " ".join(heard.output.split())[-300:]
    return Verdict(mutant, False, f"survived; {reason}", seconds)


def main(names: list[str]) -> int:
    """Run the gate; returns the exit code."""
    mutants = [Mutant.read(path) for path in sorted(HERE.glob("*.patch")) if not names or path.stem in names]
    if not mutants:
        print(f"no mutant is called {' or '.join(names)}")
        return 1
    tests = tuple(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
    with tempfile.TemporaryDirectory(prefix="mutant-none-", ignore_cleanup_errors=True) as directory:
        copy = Path(directory).resolve()
        copy_sources(copy)
        heard = run_tests(copy, tests)
    if heard.code != 0:
        print(f"the named tests are red without a mutant: {heard.output[-3000:]}")
        return 1
    with ThreadPoolExecutor(WORKERS) as pool:
        verdicts = list(pool.map(judge, mutants))
    print("| mutant | breaks | killed by |\n|---|---|---|")
    for verdict in verdicts:
        how = verdict.how if verdict.killed else f"**{verdict.how}**"
        print(f"| {verdict.mutant.name} | {verdict.mutant.breaks} | {how} ({verdict.seconds:.0f} s) |")
    alive = [verdict.mutant.name for verdict in verdicts if not verdict.killed]
    print(f"\n{len(verdicts) - len(alive)} of {len(verdicts)} mutants killed; alive: {', '.join(alive) or 'none'}")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
