"""The ledger of a scheduler's folder, for commands that read it while no scheduler runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hubspool.errors import HFValidationError
from hubspool.files import StatePaths, state_folder

if TYPE_CHECKING:
    from hubspool.push.ledger import Ledger


def open_ledger(folder: Path, state_dir: Path | None) -> Ledger:
    """Open the ledger of a folder; the caller closes it.

    Raises:
        HFValidationError: the folder has no ledger, so no scheduler has used it.
    """
    from hubspool.push.ledger import Ledger

    state = state_dir or state_folder(folder)
    path = StatePaths(state).ledger
    if not path.is_file():
        raise HFValidationError(
            f"{folder} is not a scheduler's folder: there is no {path}.",
            hint="Pass the scheduler's folder_path, and --state-dir if it has a state_dir.",
        )
    return Ledger(state)
