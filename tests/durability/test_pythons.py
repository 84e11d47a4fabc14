"""Leaving and forking under the oldest and the newest Python that are on this machine.

An environment for each is made once, in $HUBSPOOL_TEST_VENVS where that is set.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from place import Place, Start
from test_fork import BEGIN, FORKS

ROOT = Path(__file__).parents[2]


def interpreter(version: str) -> str | None:
    """Return a Python of that version, if there is one."""
    found = sorted(Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python"))
    named = shutil.which(f"python{version}")
    for candidate in [*map(str, found), *([named] if named else [])]:
        said = subprocess.run([candidate, "-c", "import sqlite3, ssl, venv"], capture_output=True, check=False)
        if said.returncode == 0:
            return candidate
    return None


#: The oldest and the newest that are supported and here; the one that runs the tests has them all anyway.
VERSIONS = [
    version for version in ("3.10", "3.13") if not sys.version.startswith(f"{version}.") and interpreter(version)
]


@pytest.fixture(scope="module", params=VERSIONS)
def python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    version = str(request.param)
    base = interpreter(version)
    assert base is not None
    kept = os.environ.get("HUBSPOOL_TEST_VENVS")
    folder = (Path(kept) if kept else tmp_path_factory.mktemp("venvs")) / f"py{version}"
    made = folder / "bin" / "python"
    if not (folder / "complete").exists():
        subprocess.run([base, "-m", "venv", "--clear", str(folder)], check=True, timeout=100)
        install = [
            str(made),
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
            "-c",
            "constraints.txt",
            "-e",
            ".",
        ]
        subprocess.run(install, cwd=ROOT, check=True, timeout=300)
        (folder / "complete").touch()
    return made


@pytest.mark.timeout(500)
@pytest.mark.parametrize("way", ["return", "sys-exit", "exception", "stop"])
def test_a_way_out(place: Place, start: Start, python: Path, way: str) -> None:
    process = start(python=python, rows=3, more=20, leave=way)
    code = {"return": 0, "sys-exit": 3, "exception": 1, "stop": 0}[way]
    assert process.wait() == code, process.errors()
    assert place.judge(start=False).on_hub == 23
    place.judge().check()


def test_sigterm(place: Place, start: Start, python: Path) -> None:
    process = start(python=python, rows=3, more=20, leave="wait")
    process.wait_line("ready")
    process.signal(signal.SIGTERM)
    assert process.wait() == -signal.SIGTERM, process.errors()
    assert place.judge(start=False).on_hub == 23
    place.judge().check()


@pytest.mark.parametrize(
    "code", [FORKS["rows queued"], FORKS["threads appending"], FORKS["multiprocessing"]], ids=["rows", "threads", "mp"]
)
def test_fork(place: Place, start: Start, python: Path, code: str) -> None:
    process = start([python, "-c", BEGIN + code, place.hub.endpoint, place.folder, place.records])
    assert process.wait(90) == 0, process.errors()
    assert "child flushed" in process.lines
    place.judge().check()
