"""Runs `make demo` as a process, and reads its output, its child processes and the rows on its Hub."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType

from hubspool import HfApi
from tests.support.environment import clean_environment
from tests.support.paths import ROOT

START_SECONDS = 90
PUSH_SECONDS = 60


def descendants(parent: int) -> set[int]:
    """Return all descendants of a process; its process group lacks them, since each child has its own group."""
    table = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in table.splitlines()]
    found = {parent}
    while grown := {pid for pid, above in pairs if above in found} - found:
        found |= grown
    return found - {parent}


def alive(pids: set[int]) -> set[int]:
    """Return the processes that still run; a zombie has ended."""
    table = subprocess.run(["ps", "-eo", "pid=,stat="], capture_output=True, text=True, check=True).stdout
    states = {int(pid): state for pid, state in map(str.split, table.splitlines())}
    return {pid for pid in pids if pid in states and not states[pid].startswith("Z")}


class RunningDemo:
    """`demo_space/demo.py` as a process; the end of the `with` block ends it and its descendants."""

    def __init__(self, folder: Path, **environment: str) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.lines: list[str] = []
        command = [sys.executable, str(ROOT / "demo_space" / "demo.py"), "--root", str(folder)]
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env={**clean_environment(), "PORT": "0", "HUB_PORT": "0", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.announced = threading.Event()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.family: set[int] = set()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if "Ctrl-C ends the demo" in line:
                self.announced.set()
        self.process.stdout.close()
        self.announced.set()

    def __enter__(self) -> RunningDemo:
        """Waits until the demo says where it is."""
        self.announced.wait(START_SECONDS)
        self.family = descendants(self.process.pid)
        if self.process.poll() is not None or "Ctrl-C ends the demo" not in self.text:
            self.__exit__(None, None, None)
            raise AssertionError(f"the demo did not start: {self.text}\n{self._logs()}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(45)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid in alive(self.family):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.reader.join(10)

    def _logs(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text()}" for path in sorted(self.folder.glob("*.log")))

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def said(self, label: str) -> str:
        """The word behind a label of the announcement."""
        match = re.search(rf"^{label} +(\S+)", self.text, re.MULTILINE)
        assert match, self.text
        return match[1]

    @property
    def space(self) -> str:
        return self.said("Space")

    @property
    def command(self) -> str:
        """The line to paste that reads the rows."""
        return next(line for line in self.lines if "load_dataset" in line)

    def child(self, program: str) -> int:
        """The process id of the child whose command line ends in `program …`."""
        table = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True, check=True).stdout
        found = [int(line.split()[0]) for line in table.splitlines() if program in line]
        (pid,) = set(found) & descendants(self.process.pid)
        return pid

    def wait_until_ended(self, seconds: float = 60) -> int:
        code = self.process.wait(seconds)
        self.reader.join(10)
        return code

    @property
    def settings(self) -> dict[str, str]:
        """What the demo printed for those who read its Hub."""
        words = shlex.split(self.command)
        return dict(word.split("=", 1) for word in words[: words.index("-c") - 1])

    def rows(self, tab: str = "votes") -> list[dict[str, object]]:
        """What `datasets` reads of a tab's dataset from the demo's Hub, with the settings that the demo printed."""
        dataset = self.said("Dataset").removesuffix("votes") + tab
        self._wait_for_data(dataset)  # `datasets` refuses a repository that has only its card and .gitattributes
        return rows_of(dataset, self.settings)

    def row_with(self, marker: str) -> dict[str, object]:
        """The one row whose input holds `marker`; reads again while the push is under way."""
        for _ in range(8):
            rows = self.rows()
            found = [row for row in rows if marker in str(row["input"])]
            if found:
                (row,) = found
                return row
        raise AssertionError(f"no row with {marker} among {rows}\n{self._logs()}")

    def _wait_for_data(self, dataset: str) -> None:
        api = HfApi(endpoint=self.settings["HF_ENDPOINT"], token=self.settings["HF_TOKEN"])
        deadline = time.monotonic() + PUSH_SECONDS
        while not any(path.startswith("data/") for path in api.list_repo_files(dataset, repo_type="dataset")):
            assert time.monotonic() < deadline, f"no rows in {dataset}\n{self._logs()}"
            time.sleep(0.1)


def rows_of(dataset: str, settings: dict[str, str]) -> list[dict[str, object]]:
    code = (
        "import json; from datasets import load_dataset; "
        f"print(json.dumps(load_dataset({dataset!r}, split='train').to_list(), default=str))"
    )
    environment = {**clean_environment(), **settings}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, object]] = json.loads(done.stdout.splitlines()[-1])
    return rows
