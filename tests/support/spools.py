"""The spools in a scheduler's folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from hubspool.spool.destination import Destination

#: How a program says at its end that the time for the last push was too short: an exit, and `stop()`.
TOO_SHORT = ("unfinished pushes", "FlushTimeout")


def spool_of(folder: Path) -> Path:
    """Return the only spool in a folder: it holds the segments, the ledger and the push lock of a scheduler of rows."""
    (path,) = folder.glob("*.spool")
    return path


def default_spool(folder: Path, endpoint: str, repo_id: str) -> Path:
    """Return the spool that a `JsonlScheduler` with default options makes; the folder need not exist."""
    return folder / Destination.of(endpoint, repo_id, "dataset", None, "data", "train", "jsonl").folder_name()


def send_the_rest(root: Path, environment: Mapping[str, str], said: str) -> None:
    """Flush what a program that ran in a folder left on the disk, if it said at its end that the time was too short.

    8 s, the usual budget of an exit, can be too short on a machine that runs other tests.
    """
    if not any(words in said for words in TOO_SHORT):
        return
    folders = {file.parents[1] for file in root.rglob("*.spool/destination.json")}
    folders |= {file.parents[3] for file in root.rglob(".cache/huggingface/hubspool/ledger.sqlite3")}
    for folder in sorted(folders):
        command = [sys.executable, "-m", "hubspool.cli", "flush", str(folder)]
        sent = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
        assert sent.returncode == 0, sent.stdout + sent.stderr
