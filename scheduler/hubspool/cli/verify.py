"""`hubspool verify REPO [FOLDER]`: whether a dataset of rows is sound."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hubspool.cli.compact import joiners, left_alone
from hubspool.cli.options import Command, LocalPath, full_id, repo_type_option, token_option
from hubspool.cli.output import Output, print_error, print_line
from hubspool.errors import HFValidationError, HubspoolError
from hubspool.scheduling.status import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hubspool.push.ledger import Ledger
    from hubspool.push.remote import RemoteRepo
    from hubspool.push.verify import Found, RepoSnapshot
    from hubspool.spool.destination import SpoolFolder

_GRADES = {"damage": "FAIL", "warning": "warn", "note": ""}
#: The exit code of wrong usage and of failed requests; damage has 1.
_NOT_CHECKED = 2


@click.command("verify", cls=Command)
@click.argument("repo_id", help="Repository, as user/name; a name alone is in your own account. Or hf://buckets/….")
@click.argument(
    "folder", required=False, type=LocalPath(exists=True, file_okay=False, resolve_path=True),
    help="The folder_path of a scheduler of this dataset, to compare its ledger and its rows too.",
)  # fmt: skip
@click.option("--state-dir", type=LocalPath(), metavar="DIR", help="The state_dir, if the scheduler has one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on one line, with a list of findings.")
@repo_type_option(default="dataset")
@click.option("--revision", default="main", help="Branch or commit.")
@token_option
def verify(
    repo_id: str,
    folder: Path | None,
    state_dir: Path | None,
    as_json: bool,
    repo_type: str,
    revision: str,
    token: str | None,
) -> None:
    """Check that no row was lost, changed or doubled.

    Downloads every file of rows and compares it with what the commits, the manifests and the card say of it; with
    FOLDER also with the ledger of its scheduler. Changes nothing, and schedulers may go on meanwhile. The exit code is
    1 if there is damage, 2 if the dataset could not be checked. docs/verify.md lists what is found.

    Examples:
      hubspool verify user/votes
      hubspool verify user/votes ./votes --json
    """
    from hubspool.client.hf_api import HfApi
    from hubspool.client.target import Target
    from hubspool.client.validation import split_destination
    from hubspool.push.remote_bucket import remote_of

    api = HfApi(token=token, library_name="hubspool-cli")
    try:
        repo_id = full_id(api, repo_id)
        name, kind, inside = split_destination(repo_id, repo_type, None)
        repo = remote_of(api, Target.of(api.endpoint, name, kind, revision))
        seen, found = check(repo, folder, state_dir, inside=inside or "")
    except HubspoolError as error:
        print_error(str(error))
        raise click.exceptions.Exit(_NOT_CHECKED) from error
    damages = sum(finding.kind.severity.value == "damage" for finding in found)
    if not as_json:
        for finding in found:
            text = f"{finding.path}: {finding.sentence}."
            text = "".join(each if each.isprintable() else "?" for each in text)  # names in rows may command a terminal
            print_line(text, _GRADES[finding.kind.severity.value])
    rows = sum(facts.rows for facts in seen.facts.values())
    where = f"{repo_id} at {seen.commit[:8]}" if seen.commit else repo_id
    what = f"{counted(rows, 'row')} in {counted(len(seen.facts), 'file')} of {where}"
    text = f"{counted(damages, 'damage')} in {what}." if damages else f"Sound: {what}."
    if not seen.sources and not seen.facts and not damages:
        text = f"Nothing was checked: no file of a scheduler is in {where}."
    fields: dict[str, Any] = {
        "repo_id": repo_id,
        "commit": seen.commit,
        "files": len(seen.facts),
        "rows": rows,
        "damages": damages,
        "findings": [finding.fields() for finding in found],
    }
    Output("json" if as_json else None).result(text, fields)
    if damages:
        raise click.exceptions.Exit(1)


def check(
    repo: RemoteRepo,
    folder: Path | None,
    state_dir: Path | None = None,
    *,
    inside: str = "",
    pause: Callable[[float], bool] | None = None,
) -> tuple[RepoSnapshot, list[Found]]:
    """Return what was read of a dataset or a bucket, and what was found in it and in the folder.

    If the Hub lacks rows that a ledger knows to be there, and the last commit of this ledger too, its answer may be
    old: all is read again from another commit, if the Hub tells one within a minute.

    Args:
        repo: the branch, or the bucket.
        folder: of schedulers, or None.
        state_dir: of these schedulers, if they have one.
        inside: a folder of a bucket; empty for all of it.
        pause: waits for so many seconds; returns True to stop.

    Raises:
        HFValidationError: no scheduler of `folder` sends its rows to the dataset.
        HubspoolError: a request failed.
    """
    from hubspool.cli.scheduler_records import opened_records

    with ExitStack() as stack:
        records = stack.enter_context(opened_records(folder, state_dir)) if folder else []
        spools = [(each.spool, each.ledger) for each in records if each.spool and _is_of(each.spool, repo, inside)]
        if folder and not spools:
            raise HFValidationError(
                f"No scheduler of {folder} sends rows to {repo.target.name_and_revision}.",
                hint="`hubspool status FOLDER` says where its rows go.",
            )
        seen, found, may_be_old = _compared(repo, inside, spools)
        may_be_old = may_be_old and not repo.target.is_bucket
        if may_be_old and repo.await_other_head(seen.commit, pause or threading.Event().wait):
            seen, found, _ = _compared(repo, inside, spools)
        return seen, found


def _compared(
    repo: RemoteRepo, inside: str, spools: Sequence[tuple[SpoolFolder, Ledger]]
) -> tuple[RepoSnapshot, list[Found], bool]:
    from hubspool.push.remote_bucket import RemoteBucket
    from hubspool.push.snapshot import LedgerFacts, read_bucket, read_snapshot, spool_findings
    from hubspool.push.verify import Found, FoundKind, findings

    before = [LedgerFacts.read(ledger, spool) for spool, ledger in spools]
    if isinstance(repo, RemoteBucket):
        seen: RepoSnapshot = read_bucket(repo, inside, joiners())
    else:
        seen = read_snapshot(repo, joiners(), _configs_of)
    found = findings(seen)
    found += [Found(pattern, FoundKind.UNCHECKED, text) for pattern, text in left_alone(seen.files.values(), joiners())]
    may_be_old = False
    for (spool, ledger), known in zip(spools, before, strict=True):
        of_spool = [*spool_findings(spool.path, known, LedgerFacts.read(ledger, spool), seen)]
        is_newer = any(finding.kind is FoundKind.LEDGER_NEWER for finding in of_spool)
        may_be_old |= is_newer and known.last_commit not in seen.commits
        found += of_spool
    return seen, found, may_be_old


def _is_of(spool: SpoolFolder, repo: RemoteRepo, inside: str) -> bool:
    there, names = spool.destination, (spool.destination.repo_id, spool.given.lower())
    if (there.repo_type, there.revision) != (repo.target.repo_type, repo.target.revision):
        return False
    if inside and not f"{there.path_in_repo}/".startswith(f"{inside}/"):
        return False
    return repo.target.repo_id.lower() in names or (spool.hub_id is not None and spool.hub_id == repo.identity())


def _configs_of(text: str | None) -> Iterable[tuple[Any, ...]]:
    try:
        module = import_module("hubspool_templates.card")
    except ModuleNotFoundError:  # the templates are not installed: the card is not checked
        return ()
    configs: Iterable[tuple[Any, ...]] = module.configs_of(text)
    return configs
