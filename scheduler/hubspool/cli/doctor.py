"""`hubspool doctor [REPO]`: what would keep a scheduler from working on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from hubspool.cli.defaults import DEFAULTS
from hubspool.cli.options import Command, LocalPath, duration_option, full_id, repo_type_option, token_option
from hubspool.cli.output import print_line
from hubspool.errors import HubspoolError, RepositoryNotFoundError
from hubspool.files import disk_of
from hubspool.push.budget import Budget
from hubspool.scheduling.defaults import DEFAULTS as SCHEDULING
from hubspool.scheduling.status import counted, full_folder_text
from hubspool.settings import Settings

if TYPE_CHECKING:
    from hubspool.client.hf_api import HfApi

_BUDGET = Budget()


@dataclass(frozen=True)
class Finding:
    """The result of one check; `text` says what to do unless the grade is ok."""

    grade: Literal["ok", "warn", "FAIL"]
    subject: str
    text: str


@click.command("doctor", cls=Command)
@click.argument("repo", required=False, help="Repository, as user/name, or hf://buckets/…; by default HUBSPOOL_REPO.")
@repo_type_option(default="dataset")
@duration_option(
    "--every", "minutes", show_default=f"HUBSPOOL_EVERY, or {SCHEDULING.every:g}", help="Minutes between pushes."
)
@click.option("--replicas", type=click.IntRange(1), default=DEFAULTS.replicas, help="Number of processes that push.")
@click.option("--folder", type=LocalPath(), default=".", metavar="DIR", help="Folder of the scheduler.")
@token_option
def doctor(
    repo: str | None, repo_type: str, every: float | None, replicas: int, folder: Path, token: str | None
) -> None:
    """Check token, repository, commit budget and disk.

    Checks what a scheduler needs: the token and its rights, the repository and its visibility, the number of commits,
    the length of the history, the kind of disk. Changes nothing. The exit code is 1 if a check FAILs.

    Examples:
      hubspool doctor user/my-votes
      hubspool doctor user/my-votes --every 1 --replicas 4
    """
    from hubspool.client.hf_api import HfApi
    from hubspool.client.validation import split_destination

    settings = Settings.from_env()
    api = HfApi(token=token)
    repo, every = repo or settings.repo, every or settings.every or SCHEDULING.every
    is_bucket = split_destination(repo or "", None, None)[1] == "bucket"
    findings = [
        _token(api),
        *(_bucket(api, repo or "") if is_bucket else _repository(api, repo, repo_type)),
        _calls(every, replicas) if is_bucket else _budget(every, replicas),
        _disk(folder),
    ]
    for finding in findings:
        print_line(f"{finding.grade:<5} {finding.subject:<9} {finding.text.rstrip('.')}.", finding.grade)
    if any(finding.grade == "FAIL" for finding in findings):
        raise click.exceptions.Exit(1)


def _token(api: HfApi) -> Finding:
    try:
        account = api.whoami()
    except HubspoolError as error:
        return Finding("FAIL", "token", f"{api.endpoint}: {error}")
    name = account["name"]
    role = ((account.get("auth") or {}).get("accessToken") or {}).get("role", "unknown")
    if role == "read":
        return Finding("FAIL", "token", f"The token of {name} can only read; create one that can write.")
    return Finding("ok", "token", f"{name} at {api.endpoint}, role {role}")


def _repository(api: HfApi, repo: str | None, repo_type: str) -> Iterator[Finding]:
    from hubspool.client.folder import full_folders
    from hubspool.push.remote import RemoteRepo

    if repo is None:
        yield Finding("warn", "repo", "Not checked: pass user/name, or set HUBSPOOL_REPO.")
        return
    try:
        repo = full_id(api, repo)
        info = api.repo_info(repo, repo_type=repo_type)
        commits = [commit.created_at for commit in api.list_repo_commits(repo, repo_type=repo_type)]
        remote = RemoteRepo(api, api.target(repo, repo_type))
        head, files = remote.head(), remote.list_files("", recursive=True)
    except HubspoolError as error:
        yield _unreadable(repo, error)
        return
    yield _visibility(repo, is_private=info.private)
    problem = f"; squash_history={DEFAULTS.long_history} keeps the history short."
    yield _graded(len(commits) <= DEFAULTS.long_history, "history", counted(len(commits), "commit"), problem)
    since = head.at - timedelta(hours=1)
    recent, writers = sum(created_at > since for created_at in commits), len(head.writers_within(3600))
    text = f"{counted(recent, 'commit')} in the last hour, by {counted(writers, 'writer')} of hubspool"
    problem = f", more than the budget of {_BUDGET.commits}; push less often."
    yield _graded(recent <= _BUDGET.commits, "commits", text, problem)
    yield Finding("ok", "files", counted(len(files), "file"))
    for path, entries in full_folders(files).items():
        yield Finding("warn", "files", full_folder_text(path, entries))


def _bucket(api: HfApi, address: str) -> Iterator[Finding]:
    from hubspool.client.buckets import BucketFile
    from hubspool.client.validation import split_destination

    repo_id, _, inside = split_destination(address, None, None)
    try:
        info = api.bucket_info(repo_id)
        files, size = info.total_files, info.size
        if inside:
            sizes = [file.size for file in api.list_bucket_tree(repo_id, f"{inside}/") if isinstance(file, BucketFile)]
            files, size = len(sizes), sum(sizes)
    except HubspoolError as error:
        yield _unreadable(address, error)
        return
    yield _visibility(address, is_private=info.private)
    yield Finding("ok", "files", f"{counted(files, 'file')}, {counted(size, 'byte')}")


def _unreadable(repo: str, error: HubspoolError) -> Finding:
    if not isinstance(error, RepositoryNotFoundError):
        return Finding("FAIL", "repo", str(error))
    text = "does not exist, or this token cannot see it. A scheduler creates it if the token permits that."
    return Finding("warn", "repo", f"{repo} {text}")


def _visibility(repo: str, *, is_private: bool) -> Finding:
    problem = ": everybody can read its rows. Make it private if needed."
    return _graded(is_private, "repo", f"{repo} is {'private' if is_private else 'public'}", problem)


def _calls(every: float, replicas: int) -> Finding:
    calls = round(replicas * 5 / every) * DEFAULTS.calls_per_push
    text = f"every={every:g} with {counted(replicas, 'process', 'processes')}: up to {calls} calls in 5 minutes"
    problem = f", more than {DEFAULTS.bucket_calls}, half of what a free account has; pushes will pause."
    return _graded(calls <= DEFAULTS.bucket_calls, "budget", text, problem)


def _budget(every: float, replicas: int) -> Finding:
    commits = replicas * 60 / every
    processes = counted(replicas, "process", "processes")
    text = f"every={every:g} with {processes}: up to {counted(round(commits), 'commit')} an hour"
    minutes = counted(round(_BUDGET.period(every * 60, replicas, 0.5) / 60), "minute")
    problem = f", more than the budget of {_BUDGET.commits}; each process will push every {minutes}."
    return _graded(commits <= _BUDGET.commits, "budget", text, problem)


def _disk(folder: Path) -> Finding:
    disk = disk_of(folder)
    text = f"{folder.resolve()} is on {disk.kind or 'a local disk'}"
    if disk.is_in_memory:
        return Finding("warn", "disk", f"{text}, in memory: its rows are lost when the machine stops; use a real disk.")
    return _graded(disk.is_reliable, "disk", text, ": locks and fsync are not reliable there; use a local disk.")


def _graded(is_ok: bool, subject: str, text: str, problem: str) -> Finding:
    """Return what was found; `problem` continues the text of a warning, and says what to do."""
    return Finding("ok", subject, text) if is_ok else Finding("warn", subject, f"{text}{problem}")
