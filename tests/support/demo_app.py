"""Runs the sample Space without its launcher, as one process in its own folder."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.environment import clean_environment, free_port
from tests.support.paths import ROOT


def wait_for(port: int, process: subprocess.Popen[str], lines: list[str]) -> None:
    pause = threading.Event()
    for _ in range(300):
        assert process.poll() is None, "".join(lines)
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except ConnectionRefusedError:
            pause.wait(0.2)
        else:
            return
    raise AssertionError("the Space did not answer: " + "".join(lines))


@contextmanager
def space_alone(
    folder: Path, *, python: str | Path = sys.executable, app: Path = ROOT / "demo_space" / "app.py", **environment: str
) -> Iterator[tuple[str, list[str]]]:
    """Run `python app.py` in a folder; yield its address when it answers, and the lines that it prints."""
    port = free_port()
    process = subprocess.Popen(
        [str(python), str(app)],
        cwd=folder,
        env={**clean_environment(), "PORT": str(port), "HF_HOME": str(folder / "home"), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    assert process.stdout
    reader = threading.Thread(target=lines.extend, args=(iter(process.stdout.readline, ""),), daemon=True)
    reader.start()
    try:
        wait_for(port, process, lines)
        yield f"http://127.0.0.1:{port}", lines
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join(10)
        process.stdout.close()
