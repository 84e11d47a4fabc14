"""Some of every kind of test under the oldest and the newest Python that are on this machine, and exits under 3.12.

`make durability-pythons` runs all of them there. An environment for each is made once, in $HUBSPOOL_TEST_VENVS where
that is set.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

HERE = Path(__file__).parent

CHOSEN = {
    "kills": [
        "test_models.py::test_kill9_at_random_times[400]",
        "test_exit.py::test_a_signal[SIGKILL]",
    ],
    "exits": [
        *(f"test_exit.py::test_a_way_out[{way}]" for way in ("return-0-True", "stop-0-True", "sys-exit-3-True")),
        "test_exit.py::test_a_way_out[exception-1-True]",
        "test_exit.py::test_a_signal[SIGTERM]",
        "test_exit.py::test_a_signal[SIGINT]",
        "test_exit.py::test_sigterm_during_atexit_does_not_end_the_flush",
        "test_exit.py::test_sigterm_while_the_hub_is_unwell_ends_the_process_and_loses_nothing[xet-silent]",
    ],
    "fork, spawn, forkserver": [
        *(f"test_fork.py::test_fork[{way}]" for way in ("rows queued", "threads appending", "multiprocessing")),
        *(f"test_fork.py::test_a_child_that_is_no_copy[{way}]" for way in ("spawn", "forkserver")),
        "test_fork.py::test_fork_in_the_middle_of_a_push[commit-parent is killed]",
    ],
    "lost answers": [
        "test_lost_answers.py::test_a_wrong_answer[reset]",
        "test_lost_answers.py::test_a_wrong_answer_to_the_very_first_commit[200 html]",
        "test_lost_answers.py::test_a_commit_that_lands_after_the_path_could_have_grown[504-after a kill]",
        "test_lost_answers.py::test_user_files_survive_a_lost_and_a_late_answer",
    ],
    "outage": [
        "test_outages.py::test_a_route_that_fails_twice[commit-reset]",
        "test_outages.py::test_an_lfs_route_that_fails_twice[lfs-put-500]",
        "test_outages.py::test_ten_thousand_rows_while_the_hub_is_down",
        "test_outages.py::test_a_refusal_that_is_mended[token revoked]",
    ],
    "disk full": [
        "test_disk.py::test_a_full_disk[20000]",
        "test_disk.py::test_a_short_write_is_finished_or_taken_back[3000]",
    ],
    "adoption, replicas": [
        "test_replicas.py::test_many_processes_begin_at_once_on_a_fresh_folder",
        "test_replicas.py::test_replicas[409]",
    ],
    "recovery": [
        "test_recovery.py::test_a_tail_that_was_never_acknowledged[torn]",
        "test_recovery.py::test_three_crashes_in_the_recovery[calls0]",
    ],
    "damaged ledger": [
        "test_recovery.py::test_a_ledger_that_is_lost[garbage_ledger]",
        "test_recovery.py::test_a_ledger_that_is_lost[future_ledger]",
        "test_recovery.py::test_a_ledger_that_is_older_than_the_hub",
    ],
    "clock, repo": [
        "test_clock.py::test_jumps_of_the_clock[(86400,)]",
        "test_repo_changes.py::test_rows_go_on_arriving_in_a_repo_that_was_renamed[jsonl]",
    ],
}


#: Python 3.12 alone starts no thread once the interpreter ends.
CHOSEN_BY_VERSION = {
    "3.10": [test for tests in CHOSEN.values() for test in tests],
    "3.12": [
        f"test_exit.py::test_rows_of_an_atexit_handler_where_no_thread_starts[{begins}-{leaves}]"
        for begins in ("before", "in the handler")
        for leaves in ("stop", "flush", "return")
    ]
    + CHOSEN["exits"],
}
CHOSEN_BY_VERSION["3.13"] = CHOSEN_BY_VERSION["3.10"]


def interpreter(version: str) -> str | None:
    """Return a Python of that version, if there is one."""
    found = sorted(Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python"))
    named = shutil.which(f"python{version}")
    for candidate in [*map(str, found), *([named] if named else [])]:
        said = subprocess.run([candidate, "-c", "import sqlite3, ssl, venv"], capture_output=True, check=False)
        if said.returncode == 0:
            return candidate
    return None


#: Those that are here; the one that runs the tests has them all anyway.
VERSIONS = [
    version for version in CHOSEN_BY_VERSION if not sys.version.startswith(f"{version}.") and interpreter(version)
]


def environment(version: str, folder: Path) -> Path:
    """Return the Python of an environment that has what these tests import."""
    base = interpreter(version)
    assert base is not None
    made = folder / "bin" / "python"
    if not (folder / "complete").exists():
        subprocess.run([base, "-m", "venv", "--clear", "--without-pip", str(folder)], check=True, timeout=100)
        pip = [sys.executable, "-m", "pip", "--python", made, "install", "-q", "--disable-pip-version-check"]
        pip += ["--no-compile", "-c", "constraints.txt"]
        wanted = ["-e", ".[local-hub]", "pytest", "pytest-timeout", "pytest-xdist"]
        subprocess.run([*pip, *wanted], cwd=ROOT, check=True, timeout=300)
        (folder / "complete").touch()
    return made


@pytest.mark.timeout(1300)
@pytest.mark.parametrize("version", VERSIONS)
def test_some_of_every_kind(version: str, tmp_path: Path) -> None:
    python = environment(version, Path(os.environ.get("HUBSPOOL_TEST_VENVS", tmp_path)) / f"py{version}")
    chosen = [str(HERE / test) for test in CHOSEN_BY_VERSION[version]]
    command = [python, "-m", "pytest", "-n", "2", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'tests'}"]
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [*command, *chosen], cwd=ROOT, env=own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout[-8000:]
    assert f"-- Python {version}." in done.stdout
    passed = re.search(r"= (\d+) passed in ", done.stdout)  # and none skipped
    assert passed is not None, done.stdout[-8000:]
    assert int(passed[1]) >= len(chosen)
