"""`hubspool flush FOLDER`: upload what a program that has ended, or was offline, left on this disk."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hubspool.cli.options import Command, duration_option, folder_options, token_option
from hubspool.cli.output import print_error
from hubspool.cli.scheduler_records import SchedulerRecord, opened_records, unnamed_spools
from hubspool.client.validation import split_destination
from hubspool.errors import HFValidationError, HubspoolError
from hubspool.scheduling.status import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hubspool.scheduling.commit_scheduler import CommitScheduler

#: The schedulers that their recipes describe completely. Any other class may have code of its own, which only the
#: program that uses it can run.
_KNOWN = ("CommitScheduler", "JsonlScheduler", "ParquetScheduler", "TrainingLogs", "ZipScheduler")


@click.command("flush", cls=Command)
@folder_options
@duration_option("--timeout", "seconds", show_default="no limit", help="Give up after this time.")
@token_option
@click.option("--from", "old", metavar="REPO", help="Send rows for this repository to the one of --to.")
@click.option("--to", "new", metavar="REPO", help="The repository that gets them; the same as --from to send again.")
@click.option("--include-doubtful", is_flag=True, help="With --from: also rows that may have reached the old one.")
def flush(
    folder: Path,
    state_dir: Path | None,
    timeout: float | None,
    token: str | None,
    old: str | None,
    new: str | None,
    include_doubtful: bool,
) -> None:
    """Upload what is pending in a scheduler's folder.

    Everything in FOLDER that is not on the Hub yet goes to the repositories that its schedulers push to. Prints the
    address of each commit. If one repository refuses, the others get theirs, and the exit code is 1.

    With --from and --to, rows for a mistyped or lost repository go to another one; what the old one has stays there. A
    repository that was deleted and created again gets nothing until you name it in both; a bucket then gets what it
    lacks. A bucket is named by its address, hf://buckets/OWNER/NAME/PATH; --from without a path means all of it.

    Examples:
      hubspool flush ./votes
      hubspool flush ./votes --timeout 60
      hubspool flush ./votes --from user/vots --to user/votes
    """
    if (old is None) is not (new is None) or (include_doubtful and old is None):
        raise click.UsageError("--from and --to belong together, and --include-doubtful needs both.")
    errors: list[HubspoolError | OSError] = [*unnamed_spools(folder)]
    with opened_records(folder, state_dir) as records:
        if old is None or new is None:
            recipes = [record.recipe for record in records if not _is_done_with(record)]
        else:
            recipes = list(_redirected(folder, records, old, new, errors, include_doubtful=include_doubtful))
    for recipe in recipes:
        try:
            _flush(folder, state_dir, recipe, token, timeout)
        except (HubspoolError, OSError) as error:  # another repository may take its rows
            errors.append(error)
    for each in errors:
        print_error(str(each))
    if errors:
        raise click.exceptions.Exit(1)


def _flush(
    folder: Path, state_dir: Path | None, recipe: dict[str, Any], token: str | None, timeout: float | None
) -> None:
    scheduler = scheduler_from(recipe, folder, state_dir, token)
    click.echo(f"{folder} -> {recipe['repo_id']}", err=True)
    try:
        commit = scheduler.flush(timeout)
    finally:
        scheduler.stop(flush=False)
    click.echo(commit.commit_url if commit else "Nothing to send.")


def _is_done_with(record: SchedulerRecord) -> bool:
    """Return True if all rows of a spool were sent elsewhere; its repository may be mistyped, or gone."""
    from hubspool.push.backlog import spool_backlog

    if record.spool is None or record.spool.moved_to is None:
        return False
    left = spool_backlog(record.spool, record.ledger)
    return not left.pending_files and not left.in_doubt


def _redirected(
    folder: Path,
    records: list[SchedulerRecord],
    old: str,
    new: str,
    errors: list[HubspoolError | OSError],
    *,
    include_doubtful: bool,
) -> Iterator[dict[str, Any]]:
    """Move the rows for `old` to spools for `new`, or forget what `old` has if both are the same; yield the recipes."""
    from hubspool.client.validation import address_of, check_repo_id
    from hubspool.push.moves import reroute
    from hubspool.spool.destination import spool_for

    source, target = _Place.of(old), _Place.of(new)
    check_repo_id(target.repo_id)
    is_same = source.is_same(target)
    found = [record for record in records if source.has(record) and (record.spool is not None or is_same)]
    if not found:
        raise HFValidationError(
            f"No rows in {folder} are for {old!r}.", hint=f"`hubspool status {folder}` names the repositories."
        )
    rows = 0
    for record in found:
        spool = record.spool
        if is_same:
            _start_over(record)
            yield record.recipe
        elif spool is not None:
            state = Path(spool.state_dir) if spool.state_dir else None
            there = spool.destination
            kind = "bucket" if target.is_bucket else "dataset" if there.repo_type == "bucket" else there.repo_type
            path = target.inside(there.path_in_repo, source)
            there = replace(there, repo_id=target.repo_id.lower(), repo_type=kind, path_in_repo=path)
            into = spool_for(folder, there, target.repo_id, state)
            moved = reroute(spool, into, include_doubtful=include_doubtful)
            rows += moved.rows
            for each in moved.in_doubt:
                click.echo(f"may be in {old} already, and stay (--include-doubtful moves them): {each}.", err=True)
            errors += [
                HubspoolError(f"{spool.path / name} stays: its writer is running.", hint="Stop it, and repeat.")
                for name in moved.live
            ]
            place = {"repo_id": address_of(target.repo_id, kind), "repo_type": kind, **_folder(record.recipe, path)}
            yield dict(into.recipe) or {**record.recipe, **place}
    if not is_same:
        click.echo(f"{counted(rows, 'row')} moved from {old} to {new}.", err=True)


def _folder(recipe: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the options with which the scheduler of a recipe writes to a folder; a config is the end of its path."""
    config = recipe.get("config")
    if config is None:
        return {"path_in_repo": path}
    if f"/{path}".endswith(f"/{config}"):
        return {"path_in_repo": path.removesuffix(config).rstrip("/")}
    return {"path_in_repo": path, "config": None}


def _start_over(record: SchedulerRecord) -> None:
    """Forget what the ledger says of a repository that was created again.

    A bucket is looked at in its place, an hour after the last batch of unknown outcome was sent: what it lists, or its
    markers name, counts as sent.
    """
    ledger, spool, target = record.ledger, record.spool, record.target
    if target is not None:
        if spool is not None and spool.destination.repo_type == "bucket":
            for source, parts in ledger.parts(target).items():
                if (spool.path / source).exists():
                    ledger.recover([source])
                    ledger.look(target, source, max(part.sent_at or 0.0 for part in parts), 0)
        ledger.start_over(target)
    if spool is not None:
        replace(spool, hub_id=None).save()


@dataclass(frozen=True)
class _Place:
    """What a person names with --from or --to.

    Args:
        repo_id: of a bucket, or of a repository of any type; with --from also the name of a spool's folder.
        is_bucket: it is the address of a bucket.
        prefix: folder in the bucket; empty for all of it.
    """

    repo_id: str
    is_bucket: bool
    prefix: str

    @classmethod
    def of(cls, given: str) -> _Place:
        repo_id, kind, path = split_destination(given, None, None)
        return cls(repo_id, kind == "bucket", path or "")

    def is_same(self, other: _Place) -> bool:
        return replace(self, repo_id=self.repo_id.lower()) == replace(other, repo_id=other.repo_id.lower())

    def has(self, record: SchedulerRecord) -> bool:
        """Return whether the rows of a record are for this place, named as the program gave it, or in full."""
        spool, recipe = record.spool, record.recipe
        known, kind, path = set(), None, None
        if recipe:
            repo_id, kind, path = split_destination(recipe["repo_id"], recipe["repo_type"], recipe["path_in_repo"])
            known = {repo_id.lower()}
        if spool is not None:
            if self.repo_id == spool.path.name:
                return True
            known |= {spool.given.lower(), spool.destination.repo_id}
            kind, path = spool.destination.repo_type, spool.destination.path_in_repo
        if record.target is not None:
            known.add(record.ledger.targets()[record.target][0].repo_id.lower())
        is_inside = not self.prefix or f"{path}/".startswith(f"{self.prefix}/")
        return self.repo_id.lower() in known and self.is_bucket == (kind == "bucket") and is_inside

    def inside(self, path: str, source: _Place) -> str:
        """Return the path in this place of a folder in `source`, without the prefix of that."""
        return "/".join(filter(None, [self.prefix, path.removeprefix(source.prefix).strip("/")]))


def scheduler_from(recipe: dict[str, Any], folder: Path, state_dir: Path | None, token: str | None) -> CommitScheduler:
    """Create a scheduler with the class and the options of its recipe.

    Raises:
        HFValidationError: the class is not one of hubspool's own.
    """
    from hubspool.client.hf_api import HfApi

    options = dict(recipe)
    class_name, endpoint = options.pop("class", "program"), options.pop("endpoint", None)
    if class_name not in _KNOWN:
        raise HFValidationError(
            f"{folder} belongs to a {class_name}, a class of another program.",
            hint="Start that program again; it uploads what is pending.",
        )
    home = "hubspool" if class_name == "CommitScheduler" else "hubspool_templates"
    scheduler: CommitScheduler = getattr(import_module(home), class_name)(
        folder_path=folder,
        state_dir=state_dir,
        hf_api=HfApi(endpoint=endpoint, token=token),
        strict=True,
        handle_signals=False,
        **options,
    )
    return scheduler
