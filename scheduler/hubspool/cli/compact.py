"""`hubspool compact REPO`: join the many small files of past days into few."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from hubspool.cli.options import Command, branch_options, remote_repo, repo_id_argument
from hubspool.cli.output import print_line
from hubspool.scheduling.status import counted

if TYPE_CHECKING:
    from hubspool.push.compaction import Compactor, Join
    from hubspool.push.joiner import Joiner
    from hubspool.push.remote import RemoteFile


_NOTHING = "Nothing to join; files of today (UTC) are left alone."


@click.command("compact", cls=Command)
@repo_id_argument
@click.option(
    "--before", type=click.DateTime(["%Y-%m-%d"]), metavar="DATE", help="Join files of earlier days; today by default."
)
@click.option("--dry-run", is_flag=True, help="Say what would be joined, and change nothing.")
@branch_options
def compact(
    repo_id: str, before: datetime | None, dry_run: bool, repo_type: str, revision: str, token: str | None
) -> None:
    """Join the files of past days into few.

    Schedulers do this once a day, unless they have compact=False. Rows stay as they are: readers find the same rows, in
    fewer files. Schedulers may go on meanwhile. Files that no scheduler of hubspool wrote are left alone.

    Examples:
      hubspool compact user/votes --dry-run
      hubspool compact user/votes --before 2026-11-01
    """
    from hubspool.client.validation import BUCKETS
    from hubspool.push.compaction import Compactor

    if repo_id.startswith(BUCKETS):
        raise click.UsageError(f"A publish joins the files of a bucket: hubspool publish {repo_id} DATASET.")
    compactor = Compactor(remote_repo(repo_id, repo_type, revision, token), "", joiners())
    day = None if before is None else before.date()
    if dry_run:
        _show_due(compactor, day)
        return
    report = compactor.run(day, note=lambda join: click.echo(_text(join), err=True))
    for pattern, text in left_alone(compactor.files.values(), compactor.joiners):
        click.echo(f"{pattern}: {text}.", err=True)
    if report.ghosts:
        click.echo(f"Deleted {counted(report.ghosts, 'file')} whose rows another file has too.", err=True)
    if not report.commits:
        print_line(_NOTHING, "ok")
        return
    files, commits = counted(len(report.paths), "file"), counted(len(report.commits), "commit")
    print_line(f"{report.files_before} files became {files}, in {commits}: {report.bytes_joined:,} bytes.", "ok")


def _show_due(compactor: Compactor, before: date | None) -> None:
    joins, ghosts = compactor.due(before)
    for join in joins:
        click.echo(_text(join))
    for pattern, text in left_alone(compactor.files.values(), compactor.joiners):
        click.echo(f"{pattern}: {text}.")
    if ghosts:
        click.echo(f"{counted(len(ghosts), 'file')} whose rows another file has too would be deleted.")
    files = sum(len(join.sources) for join in joins)
    click.echo(f"{files} files would become {len(joins)}, or one for each schema." if joins else _NOTHING)


def _text(join: Join) -> str:
    first, last = (edge(source.day for source in join.sources) for edge in (min, max))
    days = str(first) if first == last else f"{first} to {last}"
    size = sum(source.file.size for source in join.sources)
    return f"{join.sources[0].name}, {days}: {len(join.sources)} {join.sources[0].suffix} files, {size:,} bytes"


def joiners() -> dict[str, Joiner]:
    """Return suffix → what reads and joins files of that format, as far as the package that it needs is installed."""
    from hubspool.push.joiner import Joiner

    return {"jsonl": Joiner(), **{suffix: make() for suffix, make in _of_templates("JOINERS").items()}}


def left_alone(files: Iterable[RemoteFile], joiners: Mapping[str, Joiner]) -> list[tuple[str, str]]:
    """Return pattern and reason for the files of rows that none of `joiners` reads."""
    from hubspool.push.compaction import OldFile

    counts = Counter(source.suffix for source in map(OldFile.of, files) if source and source.suffix not in joiners)
    packages = _of_templates("NEEDS")
    return [
        (
            f"*.{suffix}",
            f"{counted(count, 'file')} left alone, {packages.get(suffix) or 'what reads them'} is not installed",
        )
        for suffix, count in sorted(counts.items())
    ]


def _of_templates(name: str) -> dict[str, Any]:
    """Return what `hubspool_templates.joiners` calls so; nothing if it is not installed."""
    try:
        found: dict[str, Any] = getattr(import_module("hubspool_templates.joiners"), name)
    except ModuleNotFoundError as error:
        if error.name != "hubspool_templates":
            raise
        return {}
    return found
