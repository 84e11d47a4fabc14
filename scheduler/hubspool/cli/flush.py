"""`hubspool flush FOLDER`: upload what a program that has ended, or was offline, left on this disk."""

from __future__ import annotations

from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hubspool.cli.options import Command, folder_options, token_option
from hubspool.cli.status import open_ledger
from hubspool.errors import HFValidationError

if TYPE_CHECKING:
    from hubspool.scheduling.commit_scheduler import CommitScheduler

#: The package of each scheduler that its recipe describes completely. Any other class may have code of its own, which
#: only the program that uses it can run.
_PACKAGES = {
    "CommitScheduler": "hubspool",
    "JsonlScheduler": "hubspool_templates",
    "ParquetScheduler": "hubspool_templates",
    "TrainingLogs": "hubspool_templates",
    "ZipScheduler": "hubspool_templates",
}


@click.command("flush", cls=Command)
@folder_options
@click.option("--timeout", type=float, metavar="SECONDS", show_default="no limit", help="Give up after this time.")
@token_option
@click.option("--to-new-repo", is_flag=True, help="Upload everything again, to a repository that was created again.")
def flush(folder: Path, state_dir: Path | None, timeout: float | None, token: str | None, to_new_repo: bool) -> None:
    """Upload what is pending in a scheduler's folder.

    Everything in FOLDER that is not on the Hub yet goes to the repositories that the scheduler pushed to. Prints the
    address of each commit. A repository that was deleted and created again under the same name gets nothing until you
    use --to-new-repo.

    Examples:
      hubspool flush ./votes
      hubspool flush ./votes --timeout 60
    """
    with closing(open_ledger(folder, state_dir)) as ledger:
        recipes = ledger.recipes()
        if to_new_repo:
            for target in ledger.targets():
                ledger.start_over(target)
    for recipe in recipes:
        scheduler = scheduler_from(recipe, folder, state_dir, token)
        click.echo(f"{folder} -> {scheduler.repo_id}", err=True)
        try:
            commit = scheduler.flush(timeout)
        finally:
            scheduler.stop(flush=False)
        click.echo(commit.commit_url if commit else "nothing to send")


def scheduler_from(recipe: dict[str, Any], folder: Path, state_dir: Path | None, token: str | None) -> CommitScheduler:
    """Create a scheduler with the class and the options of its recipe.

    Raises:
        HFValidationError: the class is not one of hubspool's own.
    """
    from hubspool.client.hf_api import HfApi

    options = dict(recipe)
    class_name, endpoint = options.pop("class"), options.pop("endpoint")
    if class_name not in _PACKAGES:
        raise HFValidationError(
            f"{folder} belongs to a {class_name}, a class of another program.",
            hint="Start that program again; it uploads what is pending.",
        )
    scheduler: CommitScheduler = getattr(import_module(_PACKAGES[class_name]), class_name)(
        folder_path=folder,
        state_dir=state_dir,
        hf_api=HfApi(endpoint=endpoint, token=token),
        strict=True,
        handle_signals=False,
        **options,
    )
    return scheduler
