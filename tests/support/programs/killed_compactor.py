"""`hubspool compact`, killed with SIGKILL at one of its steps.

    python -m tests.support.programs.killed_compactor STEP DELAY ARGUMENT …

A step is a request that it sends, a file that it opens for writing, or one that it removes; the delay is in seconds
from there on. The step is printed before the kill, and the number of steps at the end. Step 0 kills at none. Step -1 is
the POST of the first join, which leaves out the newest part of each writer: while it changes, no join of it is made.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from typing import Any

from hubspool.cli import main as command
from hubspool.push import compaction
from hubspool.push.remote import RemoteFile
from hubspool.spool.segment_name import is_part_path


def main(step: int, delay: float, arguments: list[str]) -> None:
    """Run the command."""
    seen = 0

    def die() -> None:
        time.sleep(delay)
        os.kill(os.getpid(), signal.SIGKILL)

    def kill() -> None:
        if delay:
            threading.Thread(target=die, daemon=True).start()
        else:
            die()

    def watch(event: str, values: tuple[Any, ...]) -> None:
        nonlocal seen
        is_step = event in ("http.client.send", "os.remove", "os.rmdir") or (
            event == "open" and isinstance(values[1], str) and values[1][:1] in "wx"
        )
        is_post = event == "http.client.send" and b"/commit/" in bytes(values[1])[:200]
        seen += is_step
        if (step > 0 and is_step and seen == step) or (step < 0 and is_post):
            print(f"killed at {seen} {event}", flush=True)
            kill()

    def settled(files: Iterable[RemoteFile], *arguments: Any) -> list[compaction.Join]:
        known = {file.path: file for file in files}
        newest = {path.split("-")[3]: path for path in sorted(known) if is_part_path(path)}
        return due([file for path, file in known.items() if path not in newest.values()], *arguments)

    due = compaction.due
    if step < 0:
        compaction.due = settled
    sys.addaudithook(watch)
    try:
        command(arguments)
    finally:
        print(f"steps {seen}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
