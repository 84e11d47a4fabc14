"""`hubspool status FOLDER`: what of a folder is on the Hub, read from the ledgers without a request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import orjson

from hubspool.cli.options import Command, folder_options
from hubspool.cli.output import Output, print_error
from hubspool.cli.scheduler_records import SchedulerRecord, opened_records, unnamed_spools
from hubspool.client.validation import address_of
from hubspool.errors import second_look_reason
from hubspool.scheduling.status import counted

_LABELS = ("endpoint", "repo_type", "repo_id", "revision", "path_in_repo")


@click.command("status", cls=Command)
@folder_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on one line for each repository.")
@click.option("--prometheus", is_flag=True, help="Print the numbers in the text format of Prometheus.")
def status(folder: Path, state_dir: Path | None, as_json: bool, prometheus: bool) -> None:
    """Show what of a scheduler's folder is on the Hub.

    Reads the folder and the ledgers of its schedulers; sends nothing to the Hub.

    Examples:
      hubspool status ./votes
      hubspool status ./votes --json
      hubspool status ./votes --prometheus > /var/lib/node_exporter/votes.prom
    """
    with opened_records(folder, state_dir) as records:
        found = [_status_of(folder, record) for record in records]
    output = Output("json" if as_json else None)
    if prometheus:
        click.echo("\n".join(_exposition(found)))
    for fields in () if prometheus else found:
        output.result(_text(fields), fields)
    for error in (unnamed := unnamed_spools(folder)):
        print_error(str(error))
    if unnamed:
        raise click.exceptions.Exit(1)


def _status_of(folder: Path, record: SchedulerRecord) -> dict[str, Any]:
    """Return the JSON object for one scheduler of the folder.

    The fields:
        endpoint, repo_id, repo_type, revision, path_in_repo: where it goes.
        spool: the spool's folder, or None for the user's files.
        moved_to: the repository that a person sent its rows to, or None.
        last_commit: id of the newest commit of this folder, or None.
        The others are those of `push.backlog.Backlog`.
    """
    from hubspool.client.patterns import path_filter
    from hubspool.client.target import Target
    from hubspool.client.validation import split_destination
    from hubspool.push.backlog import backlog, spool_backlog

    spool, ledger, recipe = record.spool, record.ledger, record.recipe
    if record.target is not None:
        target, path_in_repo = ledger.targets()[record.target]
    else:
        given = asdict(spool.destination) | {"repo_id": spool.given} if spool else recipe
        place = split_destination(given["repo_id"], given["repo_type"], given["path_in_repo"])
        target, path_in_repo = Target.of(given["endpoint"], place[0], place[1], given["revision"]), place[2] or ""
    if spool is not None:
        found = spool_backlog(spool, ledger, counts_rows=True)
    else:
        chosen = path_filter(recipe["allow_patterns"], recipe["ignore_patterns"] or [])
        found = backlog(folder, ledger, record.target, chosen, is_spool=False)
    return {
        **asdict(target),
        "path_in_repo": path_in_repo,
        "spool": spool and str(spool.path),
        "moved_to": spool and spool.moved_to,
        **asdict(found),
        "last_commit": None if record.target is None else ledger.identity(record.target)[1],
    }


def _exposition(found: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a Prometheus exposition: a gauge for each number, a sample for each scheduler."""
    for name in ("pending_rows", "pending_bytes", "pending_files", "rows", "bytes", "in_doubt", "writers"):
        yield f"# TYPE hubspool_{name} gauge"
        for fields in found:
            if fields[name] is not None:
                labels = (f"{label}={orjson.dumps(fields[label]).decode()}" for label in _LABELS)
                yield f"hubspool_{name}{{{','.join(labels)}}} {fields[name]}"


def _place(fields: dict[str, Any]) -> str:
    """Return where the rows go, as a line of text."""
    kind, repo_id, path = fields["repo_type"], fields["repo_id"], fields["path_in_repo"]
    if kind == "bucket":
        return f"{kind} {address_of(repo_id, kind, path)} ({fields['endpoint']})"
    return f"{kind} {repo_id} ({fields['endpoint']}, {fields['revision']}, {path or '/'})"


def _text(fields: dict[str, Any]) -> str:
    pending = f"{counted(fields['pending_files'], 'file')}, {counted(fields['pending_bytes'], 'byte')}"
    if fields["pending_rows"] is not None:
        pending += f", {counted(fields['pending_rows'], 'row')}"
    lines = [
        _place(fields),
        f"  on the Hub  {counted(fields['rows'], 'row')}, {counted(fields['bytes'], 'byte')} of files in this folder",
        f"  pending     {pending}",
        f"  writers     {fields['writers']} running",
        f"  commit      {fields['last_commit'] or 'none yet'}",
    ]
    if fields["second_look"]:
        lines.append(f"  postponed   a segment {second_look_reason(fields['second_look'])}")
    if fields["in_doubt"]:
        lines.append(f"  in doubt    {counted(fields['in_doubt'], 'part')}, checked by the next push")
    if fields["moved_to"]:
        lines.append(f"  moved       pending rows went to {fields['moved_to']}")
    return "\n".join(lines)
