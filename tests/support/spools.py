"""The spools in a scheduler's folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from hubspool.spool.destination import Destination


def spool_of(folder: Path) -> Path:
    """Return the only spool in a folder: it holds the segments, the ledger and the push lock of a scheduler of rows."""
    (path,) = folder.glob("*.spool")
    return path


def default_spool(folder: Path, endpoint: str, repo_id: str) -> Path:
    """Return the spool that a `JsonlScheduler` with default options makes; the folder need not exist."""
    return folder / Destination.of(endpoint, repo_id, "dataset", None, "data", "train", "jsonl").folder_name()


def send_the_rest(root: Path, environment: Mapping[str, str]) -> None:
    """Send what programs that ran in a folder had not sent when they ended.

    For tests of what is in a row: the budget of an exit, 8 s, may be too short on a machine that runs other tests.
    """
    folders = {file.parents[1] for file in root.rglob("*.spool/destination.json")}
    folders |= {file.parents[3] for file in root.rglob(".cache/huggingface/hubspool/ledger.sqlite3")}
    for folder in sorted(folders):
        command = [sys.executable, "-m", "hubspool.cli", "flush", str(folder)]
        sent = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
        assert sent.returncode == 0, sent.stdout + sent.stderr
