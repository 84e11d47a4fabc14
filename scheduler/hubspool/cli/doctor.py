"""``hubspool doctor [REPO]``: what would keep a scheduler from working here."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import Enum
from pathlib import Path
from typing import Any

from hubspool.client.hf_api import HfApi
from hubspool.client.target import Target
from hubspool.errors import HubspoolError, LocalTokenNotFoundError, RepositoryNotFoundError
from hubspool.files import disk_of
from hubspool.push.budget import Budget
from hubspool.push.remote import RemoteRepo
from hubspool.settings import Settings

#: A history this long makes clones and listings slow.
_LONG_HISTORY = 10_000


class Grade(str, Enum):
    """How a finding weighs."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: its grade, and a sentence that says what to do if it is not ok."""

    grade: Grade
    subject: str
    text: str


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "doctor",
        help="check token, repo, budget and disk",
        description="Checks what a scheduler needs: token and its rights, repo and its visibility, the budget of "
        "commits, the length of the history, the kind of disk. Changes nothing. Exit code 1 when something FAILs.",
    )
    parser.add_argument("repo", nargs="?", metavar="REPO", help="the repo, user/name (default: HUBSPOOL_REPO)")
    parser.add_argument(
        "--repo-type", default="dataset", choices=("dataset", "model", "space"), help="default: dataset"
    )
    parser.add_argument("--every", type=float, metavar="MINUTES", help="minutes between pushes (default: 5)")
    parser.add_argument("--replicas", type=int, default=1, metavar="N", help="processes that push (default: 1)")
    parser.add_argument("--folder", type=Path, default=Path(), help="where rows are to wait (default: this folder)")
    parser.add_argument("--token", help="token to use instead of HF_TOKEN and the token file")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print the findings."""
    settings = Settings.from_env()
    every = args.every or settings.every or 5.0
    api = HfApi(token=args.token)
    findings = [
        *_account(api),
        *_repo(api, args.repo or settings.repo, args.repo_type),
        _budget(every, args.replicas),
        _disk(args.folder),
    ]
    for finding in findings:
        print(f"{finding.grade.value:<5} {finding.subject:<9} {finding.text}")
    return int(any(finding.grade is Grade.FAIL for finding in findings))


def _account(api: HfApi) -> Iterator[Finding]:
    try:
        account = api.whoami()
    except LocalTokenNotFoundError as error:
        yield Finding(Grade.FAIL, "token", str(error))
        return
    except HubspoolError as error:
        yield Finding(Grade.FAIL, "token", f"{api.endpoint}: {error}")
        return
    role = ((account.get("auth") or {}).get("accessToken") or {}).get("role", "unknown")
    if role == "read":
        text = f"{account['name']}'s token can only read; make one that may write to this repo."
        yield Finding(Grade.FAIL, "token", text)
    else:
        yield Finding(Grade.OK, "token", f"{account['name']} at {api.endpoint}, role {role}")


def _repo(api: HfApi, repo: str | None, repo_type: str) -> Iterator[Finding]:
    if repo is None:
        yield Finding(Grade.WARN, "repo", "no repo was named; pass user/name or set HUBSPOOL_REPO.")
        return
    try:
        info = api.repo_info(repo, repo_type=repo_type)
        target = Target.of(api.endpoint, repo, repo_type)
        commits = api.list_repo_commits(repo, repo_type=repo_type)
        head = RemoteRepo(api, target).head()
    except RepositoryNotFoundError as error:
        if "/" in repo:
            yield Finding(
                Grade.WARN, "repo", f"{repo} is not there, or not shown to this token; it is made if allowed."
            )
        else:
            yield Finding(Grade.FAIL, "repo", str(error))
        return
    except HubspoolError as error:
        yield Finding(Grade.FAIL, "repo", str(error))
        return
    public = Finding(Grade.WARN, "repo", f"{repo} is public: everybody can read what visitors enter.")
    yield Finding(Grade.OK, "repo", f"{repo} is private") if info.private else public
    yield _history(len(commits))
    writers = len(head.writers_since(datetime.now(timezone.utc) - timedelta(hours=1)))
    recent = sum(commit.created_at > datetime.now(timezone.utc) - timedelta(hours=1) for commit in commits)
    grade = Grade.OK if recent <= Budget().commits else Grade.WARN
    yield Finding(grade, "commits", f"{recent} in the last hour, from {writers} hubspool writers among the newest")


def _history(count: int) -> Finding:
    if count > _LONG_HISTORY:
        return Finding(Grade.WARN, "history", f"{count} commits: squash_history={_LONG_HISTORY} keeps it short.")
    return Finding(Grade.OK, "history", f"{count} commits")


def _budget(every: float, replicas: int) -> Finding:
    commits = replicas * 60 / every
    text = f"every={every:g} with {replicas} processes is up to {commits:.0f} commits an hour"
    if commits <= Budget().commits:
        return Finding(Grade.OK, "budget", f"{text}; the Hub takes about 128")
    slower = Budget().period(every * 60, replicas, 0.5) / 60
    return Finding(Grade.WARN, "budget", f"{text}, more than the Hub takes; each will push every {slower:.0f} minutes.")


def _disk(folder: Path) -> Finding:
    disk = disk_of(folder)
    if disk.is_reliable:
        return Finding(Grade.OK, "disk", f"{folder.resolve()} is on {disk.kind or 'a local disk'}")
    text = f"{folder.resolve()} is on {disk.kind}: locks and fsync are not reliable there; use a local disk."
    return Finding(Grade.WARN, "disk", text)
