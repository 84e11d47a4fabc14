"""A fork while a thread of this package imports a module, as the first push does."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

PROGRAM = """
import builtins, os, signal, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads is what is tested
import hubspool.fork

builtins.started, builtins.forking, builtins.forked = started, forking, forked = [threading.Event() for _ in range(3)]
os.register_at_fork(before=forking.set)
thread = threading.Thread(target=__import__, args=("slow",), name=sys.argv[1])
thread.start()
assert started.wait(30)
if os.fork() == 0:
    if sys.argv[2] == "import":
        signal.alarm(10)
        import slow
        assert slow.value == 7
    os._exit(0)
forked.set()
thread.join(30)
assert sys.modules["slow"].value == 7
_, status = os.wait()
threading.Thread(target=__import__, args=("colorsys",)).start()  # the import lock is free again
import wave
sys.exit(os.waitstatus_to_exitcode(status))
"""


def run(folder: Path, module: str, *arguments: str) -> None:
    (folder / "slow.py").write_text(textwrap.dedent(module))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_child_can_import_what_the_pushing_thread_was_importing(tmp_path: Path) -> None:
    module = """
    import time
    started.set()
    forking.wait(30)
    time.sleep(0.5)  # a fork that does not wait comes now
    value = 7
    """
    run(tmp_path, module, "hubspool-push-x", "import")


def test_a_fork_does_not_wait_for_an_import_of_the_app(tmp_path: Path) -> None:
    """The module may be the app itself, which serves until it ends."""
    run(tmp_path, "started.set()\nassert forked.wait(20)\nvalue = 7\n", "app", "-")
