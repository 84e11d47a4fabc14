"""What the schedulers of a folder push: a record for each spool of rows, and for its own files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubspool.client.validation import split_destination
from hubspool.errors import HFValidationError
from hubspool.files import StatePaths, is_spool_folder, state_folder

if TYPE_CHECKING:
    from hubspool.push.ledger import Ledger
    from hubspool.spool.destination import SpoolFolder


@dataclass(frozen=True)
class SchedulerRecord:
    """What one scheduler of a folder pushes.

    Args:
        spool: the spool of its rows; None for the files of the folder.
        recipe: the options that make the scheduler again.
        ledger: what is known to be on the Hub.
        target: its number in the ledger; None if nothing was ever sent.
    """

    spool: SpoolFolder | None
    recipe: dict[str, Any]
    ledger: Ledger
    target: int | None


@contextmanager
def opened_records(folder: Path, state_dir: Path | None) -> Iterator[list[SchedulerRecord]]:
    """Yield what the schedulers of a folder push; the ledgers are open in the block.

    Raises:
        HFValidationError: no scheduler has used the folder.
    """
    from hubspool.push.backlog import spool_target
    from hubspool.push.ledger import Ledger
    from hubspool.push.moves import finish_moves
    from hubspool.spool.destination import spool_folders

    state = state_folder(folder, state_dir)
    with ExitStack() as stack:
        found = []
        for spool in spool_folders(folder):
            ledger = Ledger(spool.state)
            stack.callback(ledger.close)
            finish_moves(ledger, spool.path)
            found.append(SchedulerRecord(spool, dict(spool.recipe), ledger, spool_target(ledger, spool)))
        if StatePaths(state).ledger.is_file():
            ledger = Ledger(state)
            stack.callback(ledger.close)
            found += [SchedulerRecord(None, recipe, ledger, _target_of(recipe, ledger)) for recipe in ledger.recipes()]
        if not found and not unnamed_spools(folder):
            raise HFValidationError(
                f"{folder} is not a scheduler's folder: there is no spool in it, and no {StatePaths(state).ledger}.",
                hint="Pass the scheduler's folder_path, and --state-dir if it has a state_dir.",
            )
        yield found


def unnamed_spools(folder: Path) -> list[HFValidationError]:
    """Return an error for each spool that does not say where its rows go."""
    from hubspool.spool.destination import SpoolFolder

    paths = [path for path in folder.glob("*.spool") if is_spool_folder(path.name) and SpoolFolder.read(path) is None]
    return [
        HFValidationError(
            f"{path} does not say where its rows go: destination.json is missing or damaged.",
            hint="Start the program that wrote them again; it sends them.",
        )
        for path in sorted(paths)
    ]


def _target_of(recipe: dict[str, Any], ledger: Ledger) -> int | None:
    """Return the number of the target of the scheduler that `recipe` describes; its id may lack the namespace."""
    repo_id, repo_type, path = split_destination(recipe["repo_id"], recipe["repo_type"], recipe["path_in_repo"])
    rest = (recipe["endpoint"], repo_type or "model", recipe["revision"] or "main", path or "")
    for number, (target, path_in_repo) in ledger.targets().items():
        same_repo = repo_id in (target.repo_id, target.repo_id.rpartition("/")[2])
        if same_repo and rest == (target.endpoint, target.repo_type, target.revision, path_in_repo):
            return number
    return None
