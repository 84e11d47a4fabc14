"""``hubspool flush FOLDER``: send what a program that has ended, or was offline, left on the disk."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubspool.cli.folders import add_folder, ledger_of
from hubspool.errors import HFValidationError

if TYPE_CHECKING:
    from hubspool.scheduling.commit_scheduler import CommitScheduler

#: Schedulers that can be made from their recipe alone; any other has code of its own, in the program that made it.
_KNOWN = {
    "CommitScheduler": "hubspool",
    "JsonlScheduler": "hubspool_templates",
    "ParquetScheduler": "hubspool_templates",
    "TrainingLogs": "hubspool_templates",
    "ZipScheduler": "hubspool_templates",
}


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "flush",
        help="send what is left in a scheduler's folder",
        description="Sends everything in FOLDER that is not on the Hub yet, to the repos that it was pushed to before.",
    )
    add_folder(parser)
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="give up after so long (default: never)")
    parser.add_argument("--token", help="token to use instead of HF_TOKEN and the token file")
    parser.add_argument(
        "--to-new-repo",
        action="store_true",
        help="the repo was deleted and made again: send the whole folder to the new one",
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Flush every scheduler of the folder in turn."""
    ledger = ledger_of(args.folder, args.state_dir)
    try:
        recipes = ledger.recipes()
        if args.to_new_repo:
            for target in ledger.targets():
                ledger.start_over(target)
    finally:
        ledger.close()
    for recipe in recipes:
        scheduler = scheduler_from(recipe, args.folder, args.state_dir, args.token)
        print(f"{args.folder} -> {scheduler.repo_id}", file=sys.stderr)
        try:
            commit = scheduler.flush(args.timeout)
        finally:
            scheduler.stop(flush=False)
        print(commit.commit_url if commit else "nothing to send")
    return 0


def scheduler_from(recipe: dict[str, Any], folder: Path, state_dir: Path | None, token: str | None) -> CommitScheduler:
    """Make a scheduler again as its recipe says.

    Raises:
        HFValidationError: it has code of its own, so only its program can.
    """
    from hubspool.client.hf_api import HfApi

    options = dict(recipe)
    kind, endpoint = options.pop("class"), options.pop("endpoint")
    if kind not in _KNOWN:
        raise HFValidationError(
            f"{folder} belongs to a {kind}, which sends its data in its own way.",
            hint="Start the program that made it once more; it sends what is left.",
        )
    made: CommitScheduler = getattr(import_module(_KNOWN[kind]), kind)(
        folder_path=folder,
        state_dir=state_dir,
        hf_api=HfApi(endpoint=endpoint, token=token),
        strict=True,
        handle_signals=False,
        **options,
    )
    return made
