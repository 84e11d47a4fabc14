"""Runs a single-file Space as a process on a local Hub, and reads its repository with `datasets`."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.demo_launcher import START_SECONDS
from tests.support.environment import clean_environment, free_port
from tests.support.spools import send_the_rest

if TYPE_CHECKING:
    from hubspool.local_hub import LocalHub

LOAD = """
import json, sys
from datasets import load_dataset
data = load_dataset(sys.argv[1], split="train")
features = {name: str(kind) for name, kind in data.features.items()}
if sys.argv[2:] == ["raw"]:
    rows = data.with_format("arrow")[:].to_pylist()
    rows = [{name: value["bytes"] if features[name][:5] in ("Image", "Audio", "Video") and value else value
             for name, value in row.items()} for row in rows]
else:
    rows = list(data)
show = lambda value: value.hex() if isinstance(value, bytes) else str(value)
print(json.dumps({"features": features, "rows": rows}, default=show))
"""


class RunningSpace:
    """The address, the output and the exit code of a Space that runs."""

    def __init__(self, process: subprocess.Popen[str], folder: Path, environment: dict[str, str]) -> None:
        self.process = process
        self.folder = folder
        self.environment = environment
        self.lines: list[str] = []
        self.address = ""
        self.announced = threading.Event()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line)
            if found := re.search(r"Running on local URL: +(\S+)", line):
                self.address = found[1]
                self.announced.set()
        self.announced.set()

    @property
    def text(self) -> str:
        return "".join(self.lines)

    def leave(self) -> str:
        """End it and see to it that its rows are on the Hub; returns all that it has printed."""
        self.end()
        send_the_rest(self.folder, self.environment, self.text)
        return self.text

    def end(self) -> None:
        """Ask it to end, as a restart of a Space does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.reader.join(10)


@contextmanager
def space(program: Path, folder: Path, hub: LocalHub, repo: str = "local/kept", **more: str) -> Iterator[RunningSpace]:
    """Run `python program` in a folder until the end of the `with` block; yield when it answers requests."""
    environment = {
        **clean_environment(),
        **settings(hub, folder),
        "HUBSPOOL_REPO": repo,
        "GRADIO_SERVER_PORT": str(free_port()),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(folder / "uploads"),
        "PYTHONUNBUFFERED": "1",
        **more,
    }
    command = [sys.executable, str(program)]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **output)
    running = RunningSpace(process, folder, environment)
    try:
        running.announced.wait(START_SECONDS)
        assert running.address, running.text
        yield running
    finally:
        try:
            running.end()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            assert process.stdout
            process.stdout.close()


def settings(hub: LocalHub, folder: Path) -> dict[str, str]:
    return {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": hub.token, "HF_HOME": str(folder / "home")}


def loaded(
    hub: LocalHub, folder: Path, repo: str = "local/kept", *, raw: bool = False
) -> tuple[dict[str, str], list[dict[str, object]]]:
    """Return the features and the rows of a dataset, as `datasets` loads them without other arguments.

    `raw`: media as the bytes of their files, in hex, rather than decoded.
    """
    done = subprocess.run(
        [sys.executable, "-c", LOAD, repo, *(["raw"] if raw else [])],
        env={**clean_environment(), **settings(hub, folder)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    return found["features"], found["rows"]
