"""``hubspool upload REPO_ID [LOCAL_PATH] [PATH_IN_REPO]``: a file or folder in one commit, or every N minutes."""

from __future__ import annotations

import argparse
import glob
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import quote

from hubspool.cli.output import Output, add_output
from hubspool.cli.parsing import REPO_TYPES, add_selection
from hubspool.cli.signals import Bell
from hubspool.client.hf_api import HfApi
from hubspool.client.repo_info import RepoUrl
from hubspool.errors import HFValidationError

_EXAMPLES = """\
LOCAL_PATH is by default a file or folder here that is named like the repo. PATH_IN_REPO is by default the name of a
file, and the root for a folder; `.` is the root. The last line of stdout is the address of what was uploaded.

examples:
  hubspool upload user/my-model ./weights.safetensors
  hubspool upload user/my-data ./rows data/train --repo-type dataset --exclude '*.tmp'
  hubspool upload user/my-runs ./logs --repo-type dataset --every 10     # until Ctrl-C, which sends what is left
"""


@dataclass(frozen=True)
class Source:
    """What is uploaded, and where to; `path_in_repo` is empty for the root."""

    path: Path
    path_in_repo: str

    @property
    def is_file(self) -> bool:
        return self.path.is_file()


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "upload",
        help="upload a file or a folder",
        description="Uploads a file or a folder in one commit, and makes the repo if it is missing.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("repo_id", metavar="REPO_ID", help="the repo, user/name; a name alone is your own")
    parser.add_argument("local_path", nargs="?", metavar="LOCAL_PATH", help="a file or a folder")
    parser.add_argument("path_in_repo", nargs="?", metavar="PATH_IN_REPO", help="where it goes")
    parser.add_argument("--repo-type", choices=REPO_TYPES, default="model", help="default: model")
    add_selection(parser)
    parser.add_argument(
        "--delete",
        action="append",
        metavar="GLOB",
        help="in the same commit, delete remote files below PATH_IN_REPO that match; may be given several times",
    )
    parser.add_argument("--commit-message", metavar="TEXT", help="first line of the commit")
    parser.add_argument("--commit-description", metavar="TEXT", help="the rest of the commit's message")
    parser.add_argument("--create-pr", action="store_true", help="open a pull request with the commit")
    parser.add_argument(
        "--every", type=float, metavar="MINUTES", help="keep on: a commit every so many minutes, where there is news"
    )
    add_output(parser)
    parser.set_defaults(func=run, fail=parser.error)


def run(args: argparse.Namespace) -> int:
    """Upload, and print the address."""
    source = source_of(args.repo_id, args.local_path, args.path_in_repo)
    _check(args, source)
    out = Output(args.format)
    api = HfApi(token=args.token, library_name="hubspool-cli")
    space_sdk = "gradio" if args.repo_type == "space" else None
    repo = api.create_repo(
        args.repo_id, repo_type=args.repo_type, private=args.private, exist_ok=True, space_sdk=space_sdk
    )
    branch = None if args.create_pr or (args.revision or "").startswith("refs/") else args.revision
    if branch and not api.revision_exists(repo.repo_id, branch, repo_type=args.repo_type):
        api.create_branch(repo.repo_id, branch=branch, repo_type=args.repo_type, exist_ok=True)
    if args.every is None:
        _upload(args, api, repo, source, out)
    else:
        _mirror(args, api, repo, source, out)
    return 0


def source_of(repo_id: str, local_path: str | None, path_in_repo: str | None) -> Source:
    """Fill in what was not given.

    Raises:
        HFValidationError: There is no such file or folder, or none that is named like the repo.
    """
    if local_path is None:
        local_path = repo_id.rpartition("/")[2]
        if not Path(local_path).exists():
            raise HFValidationError(
                f"What is to be uploaded? LOCAL_PATH was not given, and nothing here is named {local_path}.",
                hint=f"Pass it: hubspool upload {repo_id} LOCAL_PATH.",
            )
    path = Path(local_path).expanduser()
    if not path.exists():
        raise HFValidationError(f"There is no file or folder {local_path}.", path=path)
    inner = (path_in_repo or "").removeprefix("./")
    inside = inner.strip("/") if inner != "." else ""
    if path.is_file() and (not inside or inner.endswith("/")):
        inside = f"{inside}/{path.name}".lstrip("/")
    return Source(path, inside)


def address(repo: RepoUrl, source: Source, revision: str | None) -> str:
    """Return the page of what was uploaded."""
    kind = "blob" if source.is_file else "tree"
    page = f"{repo}/{kind}/{quote(revision or 'main', safe='')}"
    return f"{page}/{quote(source.path_in_repo)}" if source.path_in_repo else page


def _check(args: argparse.Namespace, source: Source) -> None:
    """Refuse options that would have no effect."""
    given = {
        name: getattr(args, name.strip("-").replace("-", "_"))
        for name in ("--include", "--exclude", "--delete", "--create-pr", "--commit-description")
    }
    if source.is_file:
        for name in ("--include", "--exclude", "--delete"):
            if given[name]:
                args.fail(f"{name} is for folders, and {source.path} is a file")
    if args.every is not None:
        if not args.every > 0:
            args.fail("--every: give a number of minutes greater than 0")
        for name in ("--delete", "--create-pr", "--commit-description"):
            if given[name]:
                args.fail(f"{name} does not go with --every")
        if source.is_file and Path(source.path_in_repo).name != source.path.name:
            args.fail(f"with --every the file keeps its name: PATH_IN_REPO has to end in {source.path.name}")


def _upload(args: argparse.Namespace, api: HfApi, repo: RepoUrl, source: Source, out: Output) -> None:
    options: dict[str, Any] = {
        "repo_id": repo.repo_id,
        "repo_type": args.repo_type,
        "revision": args.revision,
        "commit_message": args.commit_message,
        "commit_description": args.commit_description,
        "create_pr": args.create_pr,
    }
    out.note(f"Uploading {source.path} to {repo}")
    if source.is_file:
        commit = api.upload_file(path_or_fileobj=source.path, path_in_repo=source.path_in_repo, **options)
    else:
        commit = api.upload_folder(
            folder_path=source.path,
            path_in_repo=source.path_in_repo or None,
            allow_patterns=args.include,
            ignore_patterns=args.exclude,
            delete_patterns=args.delete,
            **options,
        )
    if commit.is_noop:
        out.note("Nothing has changed: no commit was made.")
    elif commit.pr_url:
        out.note(f"Pull request: {commit.pr_url}")
    out.result(
        address(repo, source, commit.pr_revision or args.revision),
        commit=commit.oid,
        commit_url=commit.commit_url,
        pr_url=commit.pr_url,
        is_noop=commit.is_noop,
    )


def _mirror(args: argparse.Namespace, api: HfApi, repo: RepoUrl, source: Source, out: Output) -> None:
    from hubspool.scheduling.commit_scheduler import CommitScheduler

    folder, inner, chosen = source.path, source.path_in_repo, args.include
    if source.is_file:
        folder, inner, chosen = folder.parent, inner.rpartition("/")[0], [glob.escape(folder.name)]
    page = address(repo, source, args.revision)
    ctrl_c = _CtrlC(f"Aborted. What was not sent stays in {folder}; the same command sends it.\n")
    scheduler = CommitScheduler(
        repo_id=repo.repo_id,
        repo_type=args.repo_type,
        revision=args.revision,
        folder_path=folder,
        path_in_repo=inner or None,
        every=args.every,
        private=args.private,
        allow_patterns=chosen,
        ignore_patterns=args.exclude,
        commit_message=args.commit_message,
        hf_api=api,
        strict=True,
        on_commit=lambda event: out.note(f"Committed {len(event.paths)} files, {event.bytes_new} new bytes"),
    )
    out.note(f"Mirroring {source.path} to {page} every {args.every:g} minutes. Ctrl-C sends what is left and ends.")
    try:
        ctrl_c.wait()
        out.note("Sending what is left. Ctrl-C again aborts.")
        scheduler.flush()
    finally:
        scheduler.stop(flush=False)
    out.result(page, commit=scheduler.status().last_commit)


class _CtrlC:
    """Ctrl-C, from now on: the first ends `wait`, or keeps it from beginning; the second ends the process with 130."""

    def __init__(self, farewell: str) -> None:
        self._farewell = farewell
        self._pressed = False
        self._bell = Bell()
        signal.signal(signal.SIGINT, self._press)

    def wait(self) -> None:
        """Return at the first Ctrl-C."""
        while not self._pressed:
            self._bell.wait()

    def _press(self, _signal: int, _frame: FrameType | None) -> None:
        if self._pressed:
            # Not an exception: it would still wait, at the end of the process, for the flush that it is to break off.
            os.write(2, self._farewell.encode())
            os._exit(130)
        self._pressed = True
