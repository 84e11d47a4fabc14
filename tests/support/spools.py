"""The spools in a scheduler's folder."""

from __future__ import annotations

from pathlib import Path

from hubspool.spool.destination import Destination


def spool_of(folder: Path) -> Path:
    """Return the only spool in a folder: it holds the segments, the ledger and the push lock of a scheduler of rows."""
    (path,) = folder.glob("*.spool")
    return path


def default_spool(folder: Path, endpoint: str, repo_id: str) -> Path:
    """Return the spool that a `JsonlScheduler` with default options makes; the folder need not exist."""
    return folder / Destination.of(endpoint, repo_id, "dataset", None, "data", "train", "jsonl").folder_name()
