"""Starts processes, each in its own process group, and ends them when the test ends."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support.paths import ROOT

PRODUCER = Path(__file__).with_name("producer.py")
TIMEOUT = 60


def missing(what: str) -> NoReturn:
    """Skip a test if its tool is not installed; fail in CI."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


class Process:
    """A child whose output is read line by line, with a time-out."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        log: Path | None = None,
    ) -> None:
        self.lines: list[str] = []
        self.log = log
        self._errors = log.open("ab") if log else None
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.popen = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors or subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            cwd=cwd,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": path, **(env or {})},
        )
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.popen.pid

    def wait_line(self, wanted: str, timeout: float = TIMEOUT) -> str:
        """Return the first further line that begins with `wanted`."""
        while True:
            try:
                line = self._queue.get(timeout=timeout)
            except queue.Empty:
                raise AssertionError(f"{wanted!r} did not come in {timeout} s; got {self.lines[-5:]}") from None
            assert line is not None, (
                f"{wanted!r} never came; exit {self.popen.wait(5)}; got {self.lines[-5:]}{self.errors()}"
            )
            if line.startswith(wanted):
                return line

    def say(self, text: str = "") -> None:
        """Write one line to its stdin."""
        assert self.popen.stdin is not None
        self.popen.stdin.write(f"{text}\n")
        self.popen.stdin.flush()

    def end_input(self) -> None:
        """Close its stdin, for one that reads until then."""
        assert self.popen.stdin is not None
        self.popen.stdin.close()

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout: float = TIMEOUT) -> int:
        """Return the exit code, once all that it said was read."""
        code = self.popen.wait(timeout)
        self._reader.join(2)  # a child of it may still hold the pipe
        return code

    def kill(self) -> int:
        """kill -9 of the process alone; returns the exit code."""
        self.signal(signal.SIGKILL)
        return self.wait()

    def errors(self) -> str:
        """What it wrote to stderr."""
        return "\n" + self.log.read_text(errors="replace")[-3000:] if self.log and self.log.exists() else ""

    def end(self) -> None:
        """Kill its whole group."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self.popen.wait(TIMEOUT)
        for stream in (self.popen.stdin, self._errors):
            if stream is not None:
                with suppress(OSError):
                    stream.close()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        with self.popen.stdout as stream:
            for line in stream:
                self.lines.append(line.rstrip("\n"))
                self._queue.put(line.rstrip("\n"))
        self._queue.put(None)


def strace(*arguments: str | Path, output: Path, follow: bool = True) -> list[str | Path]:
    """Return the beginning of a command that runs under strace; what it injected is in `output`."""
    return ["strace", *(["-f"] if follow else []), "-qq", "-o", output, *arguments]


def producer_command(python: str | Path = sys.executable, **options: object) -> list[str | Path]:
    """Return the producer's command line; an option that is True is a flag."""
    words: list[str | Path] = [python, PRODUCER]
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        words += [flag] if value is True else [flag, str(value)]
    return words
