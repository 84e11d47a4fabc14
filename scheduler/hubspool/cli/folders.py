"""What commands about a scheduler's folder share."""

from __future__ import annotations

import argparse
from pathlib import Path

from hubspool.errors import HFValidationError
from hubspool.push.ledger import FILE_NAME, Ledger

STATE = Path(".cache") / "huggingface" / "hubspool"


def add_folder(parser: argparse.ArgumentParser) -> None:
    """Add FOLDER and --state-dir."""
    parser.add_argument("folder", type=_folder, metavar="FOLDER", help="the scheduler's folder_path")
    parser.add_argument("--state-dir", type=Path, metavar="DIR", help="the scheduler's state_dir, if it was given one")


def ledger_of(folder: Path, state_dir: Path | None) -> Ledger:
    """Open the folder's ledger.

    Raises:
        HFValidationError: there is none, so no scheduler was ever there.
    """
    state = state_dir or folder / STATE
    if not (state / FILE_NAME).is_file():
        raise HFValidationError(
            f"{folder} is not a scheduler's folder: there is no {state / FILE_NAME}.",
            hint="Pass the scheduler's folder_path, and --state-dir if it had a state_dir.",
        )
    return Ledger(state)


def _folder(text: str) -> Path:
    path = Path(text).expanduser().resolve()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is not a folder")
    return path
