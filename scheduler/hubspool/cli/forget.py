"""`hubspool forget REPO --where KEY=VALUE`: remove rows from a dataset, its history, and the disks of all replicas."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

import click

from hubspool.cli.compact import joiners
from hubspool.cli.options import Command, branch_options, remote_repo, repo_id_argument
from hubspool.cli.output import print_line
from hubspool.errors import HubspoolError
from hubspool.scheduling.status import counted

if TYPE_CHECKING:
    from hubspool.push.compaction import Join
    from hubspool.push.remover import RemovalReport, Remover

#: What to do about earlier versions of files that a person changed.
_IN_HISTORY = "If earlier versions of its files had one, squash it: HfApi.super_squash_history."
#: How many files that were not searched are named.
_MOST_NAMED = 50
#: What no request to the Hub reaches.
_ELSEWHERE = (
    "Not reached: clones, downloads and caches, also the Hugging Face cache of an app that reads the dataset; disks of"
    " replicas until their next push."
)


@click.command("forget", cls=Command)
@repo_id_argument
@click.option(
    "--where",
    "conditions",
    multiple=True,
    metavar="KEY=VALUE",
    help="Remove rows with this value, or with a list that has it; if repeated with other keys, rows that have all of"
    " them. A key inside another: user.name=anna.",
)
@click.option("--check", is_flag=True, help="Look again for the rows of earlier requests, an hour after them.")
@click.option("--dry-run", is_flag=True, help="Count the rows, and change nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@branch_options
def forget(
    repo_id: str,
    conditions: tuple[str, ...],
    check: bool,
    dry_run: bool,
    yes: bool,
    repo_type: str,
    revision: str,
    token: str | None,
) -> None:
    """Remove rows from all files of a dataset, from its history, and from the disks of all replicas.

    Schedulers may go on meanwhile: they read the request at their next push, remove the rows from their disks, and do
    not send them. The history of the branch is replaced by one commit. What a commit on its way brings back is removed
    an hour later, by `--check` or by any scheduler that runs then.

    Examples:
      hubspool forget user/votes --where user=anna --dry-run
      hubspool forget user/votes --where user=anna --yes
      hubspool forget user/votes --check
    """
    from hubspool.client.validation import BUCKETS
    from hubspool.push.removal import Removal
    from hubspool.push.remover import Remover

    if bool(conditions) == check:
        raise click.UsageError("Give either --where KEY=VALUE or --check" + (", not both." if check else "."))
    if repo_id.startswith(BUCKETS):
        raise click.UsageError(
            f"Rows of a bucket are removed in its dataset: hubspool publish {repo_id} DATASET --delete,"
            f" then hubspool forget DATASET. Rows that stay in the bucket are not reached."
        )
    values = _values(conditions)
    repo = remote_repo(repo_id, repo_type, revision, token)
    repo_id, remover = repo.target.repo_id, Remover(repo, "", joiners())
    if check:
        _check(remover, repo_id)
        return
    removal = Removal.of(values, remover.repo.head().at)
    if dry_run:
        _print(remover.remove([removal], is_dry=True, note=_show), "would be removed")
        return
    what = ", ".join(conditions)
    if not yes:
        found = remover.remove([removal], is_dry=True, note=_show)
        rows = f"{counted(found.rows, 'row')} of {counted(found.files, 'file')} of {repo_id} with {what}"
        _ask(f"Remove {rows}, and the whole history of {revision}?")
    remover.note([removal])
    with _says_what_was_done(remover, repo_id):
        report = remover.remove([removal], note=_show)
    _print(report, "removed")
    if not report.is_squashed:
        click.echo(f"No file of {repo_id} has a row with {what}: its history stays as it is. {_IN_HISTORY}")
    click.echo(_ELSEWHERE)
    print_line(f"Done; {_later(removal.due_at(remover.limits.second_look_seconds), repo_id)}", "ok")


def _ask(question: str) -> None:
    try:
        click.confirm(question, abort=True, err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise click.UsageError("Nobody answered, and nothing was removed. Add --yes.") from None


def _check(remover: Remover, repo_id: str) -> None:
    with _says_what_was_done(remover, repo_id):
        report, until = remover.check()
    if report is None:
        print_line("No request waits for its second look.", "ok")
        return
    _print(report, "removed")
    print_line("Done." if until is None else f"Done; {_later(until, repo_id)}", "ok")


@contextmanager
def _says_what_was_done(remover: Remover, repo_id: str) -> Iterator[None]:
    """Add to an error, such as that of the Hub's limit of commits, what was removed before it; say how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        print_line(f"Interrupted: rows may be left. hubspool forget --check {repo_id} removes them.", "warn", err=True)
        raise
    except HubspoolError as error:
        if done := remover.report.commits:
            rows, files = counted(remover.report.rows, "row"), counted(remover.report.files, "file")
            was = f"{rows} of {files} are removed, in {counted(done, 'commit')}."
            error.hint = f"{was} Run the same command again; it goes on. {error.hint}"
        raise


def _show(join: Join) -> None:
    if sys.stderr.isatty():
        click.echo(f"Reading {counted(len(join.sources), 'file')} of {join.sources[0].day:%Y-%m} …", err=True)


def _later(until: datetime, repo_id: str) -> str:
    at = until.astimezone()
    return f"late commits are checked until {at:%H:%M}: then run hubspool forget --check {repo_id}, or any scheduler."


def _print(report: RemovalReport, done: str) -> None:
    click.echo(f"{counted(report.rows, 'row')} of {counted(report.files, 'file')} {done}.")
    if report.ghosts:
        click.echo(f"{counted(report.ghosts, 'file')} that came back after a join {done}.")
    if report.large_files:
        click.echo(f"{counted(report.large_files, 'large file')} of the history {done}.")
    for path in report.unread[:_MOST_NAMED]:
        click.echo(f"Not searched: {path}, which no scheduler of hubspool wrote, or whose reader is not installed.")
    if (more := len(report.unread) - _MOST_NAMED) > 0:
        click.echo(f"Not searched: {counted(more, 'more file')}.")
    for kept in report.kept:
        click.echo(f"Not reached: {kept}.")


def _values(conditions: tuple[str, ...]) -> dict[str, str]:
    values: dict[str, str] = {}
    for text in conditions:
        key, sign, value = text.partition("=")
        if not key or not sign:
            raise click.BadParameter(f"{text} is not KEY=VALUE.", param_hint="--where")
        if values.setdefault(key, value) != value:
            raise click.BadParameter(f"{key} is given with two values. Run it once for each.", param_hint="--where")
    return values
