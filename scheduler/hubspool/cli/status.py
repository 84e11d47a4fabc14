"""`hubspool status FOLDER`: what of a folder is on the Hub, read from the ledger without a request."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hubspool.cli.options import Command, folder_options
from hubspool.cli.output import Output, counted
from hubspool.errors import HFValidationError, second_look_reason
from hubspool.files import StatePaths, state_folder

if TYPE_CHECKING:
    from hubspool.client.target import Target
    from hubspool.push.ledger import Ledger


@click.command("status", cls=Command)
@folder_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on one line for each repository.")
def status(folder: Path, state_dir: Path | None, as_json: bool) -> None:
    """Show what of a scheduler's folder is on the Hub.

    Reads the folder and the scheduler's ledger; sends nothing to the Hub.

    Examples:
      hubspool status ./votes
      hubspool status ./votes --json
    """
    with closing(open_ledger(folder, state_dir)) as ledger:
        found = [_status_of(folder, ledger, key) for key in ledger.targets()]
    output = Output("json" if as_json else None)
    for fields in found:
        output.result(_text(fields), fields)
    if not found and not as_json:
        click.echo("Nothing of this folder has been uploaded to a Hub yet.")


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


def _status_of(folder: Path, ledger: Ledger, key: int) -> dict[str, Any]:
    """Return what the ledger knows of one target.

    The fields:
        endpoint, repo_id, repo_type, revision, path_in_repo: the target.
        rows, bytes: acknowledged lines and bytes of files that are still in the folder.
        pending_files, pending_bytes: files that are not wholly acknowledged, and the bytes that are not.
        in_doubt: parts that were sent and whose outcome is unknown.
        second_look: seconds since the epoch until which segments wait whose ledger was lost; None if none does.
        writers: segments that a living process writes.
        last_commit: id of the newest commit of this folder, or None.
    """
    from hubspool.client.patterns import path_filter
    from hubspool.push import rules
    from hubspool.push.defaults import DEFAULTS
    from hubspool.push.scan import scan
    from hubspool.spool.owners import Owner, owner_of

    target, path_in_repo = ledger.targets()[key]
    recipe: dict[str, Any] = next(
        (each for each in reversed(ledger.recipes()) if _is_of(each, target, path_in_repo)), {}
    )
    chosen = path_filter(recipe.get("allow_patterns"), recipe.get("ignore_patterns") or [])
    snapshot = scan(folder, ledger.settled(key), chosen)
    parts = ledger.parts(key)
    files = {**snapshot.segments, **snapshot.changed}.items()
    recovering = ledger.recovering(key)
    found = {source: rules.position_of(parts.get(source, [])) for source, _ in files}
    found.update((source, size) for source, (_, size) in recovering.items())
    unsent = [stat.size - found[source] for source, stat in files]
    waits = [
        (recovering[source][0] or time.time()) + DEFAULTS.second_look_seconds
        for source, stat in snapshot.segments.items()
        if source in recovering and stat.size > found[source]
    ]
    pending = [size for size in unsent if size > 0]
    sent = [part for of_source in parts.values() for part in of_source]
    owners = [owner_of(folder / source, stat, snapshot.taken_ns) for source, stat in snapshot.segments.items()]
    return {
        **asdict(target),
        "path_in_repo": path_in_repo,
        "rows": sum(part.rows for part in sent),
        "bytes": sum(part.end - part.start for part in sent),
        "pending_files": len(pending),
        "pending_bytes": sum(pending),
        "in_doubt": sum(part.in_doubt for part in sent),
        "second_look": max(waits, default=None),
        "writers": owners.count(Owner.ALIVE),
        "last_commit": ledger.identity(key)[1],
    }


def _is_of(recipe: dict[str, Any], target: Target, path_in_repo: str) -> bool:
    """Return whether a scheduler that `recipe` describes pushed to `target`; its id may lack the namespace."""
    same_repo = recipe["repo_id"] in (target.repo_id, target.repo_id.rpartition("/")[2])
    rest = (recipe["endpoint"], recipe["repo_type"] or "model", recipe["revision"] or "main", recipe["path_in_repo"])
    return same_repo and rest == (target.endpoint, target.repo_type, target.revision, path_in_repo)


def _text(fields: dict[str, Any]) -> str:
    path = fields["path_in_repo"] or "/"
    lines = [
        f"{fields['repo_type']} {fields['repo_id']} ({fields['endpoint']}, {fields['revision']}, {path})",
        f"  on the Hub  {counted(fields['rows'], 'row')}, {counted(fields['bytes'], 'byte')} of files in this folder",
        f"  pending     {counted(fields['pending_files'], 'file')}, {counted(fields['pending_bytes'], 'byte')}",
        f"  writers     {fields['writers']} running",
        f"  commit      {fields['last_commit'] or 'none yet'}",
    ]
    if fields["second_look"]:
        lines.append(f"  waiting     a segment {second_look_reason(fields['second_look'])}")
    if fields["in_doubt"]:
        lines.append(f"  in doubt    {counted(fields['in_doubt'], 'part')}, checked by the next push")
    return "\n".join(lines)
