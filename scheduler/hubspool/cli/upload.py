"""`hubspool upload` of a file or a folder, once or every N minutes, and `hubspool upload-large-folder`."""

from __future__ import annotations

import glob
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from hubspool.cli.options import (
    Command,
    LocalPath,
    duration_option,
    output_options,
    patterns_option,
    repo_id_argument,
    repo_type_option,
    selection_options,
)
from hubspool.cli.output import Output, hide_progress_bars
from hubspool.cli.signals import SignalWaiter
from hubspool.client.validation import BUCKETS, check_path_in_repo, split_destination
from hubspool.errors import HFValidationError, HubspoolError
from hubspool.scheduling.status import counted

if TYPE_CHECKING:
    from hubspool.client.hf_api import HfApi
    from hubspool.client.repo_info import RepoUrl

#: Options that are refused for a file, or with --every, and the parameter that holds the value of each.
_FOR_FOLDERS = {"--include": "allow_patterns", "--exclude": "ignore_patterns", "--delete": "delete_patterns"}
_FOR_ONE_COMMIT = {
    "--delete": "delete_patterns",
    "--create-pr": "create_pr",
    "--commit-description": "commit_description",
}
_FOR_EVERY = {"--versioned": "versioned"}


@dataclass(frozen=True)
class Source:
    """What is uploaded, and to which path in the repository; `path_in_repo` is empty for the root."""

    path: Path
    path_in_repo: str

    @property
    def is_file(self) -> bool:
        return self.path.is_file()


@click.command("upload", cls=Command)
@repo_id_argument
@click.argument("local_path", type=LocalPath(), required=False, help="File or folder to upload.")
@click.argument("path_in_repo", required=False, help="Path in the repository; `.` is the root.")
@repo_type_option(default="model")
@selection_options
@patterns_option("--delete", "delete_patterns", "In the same commit, delete files in PATH_IN_REPO that match")
@click.option("--commit-message", metavar="TEXT", help="First line of the commit message.")
@click.option("--commit-description", metavar="TEXT", help="The rest of the commit message.")
@click.option("--create-pr", is_flag=True, help="Open a pull request with the commit.")
@duration_option("--every", "minutes", help="Upload changes this often until Ctrl-C, which uploads the rest.")
@patterns_option("--versioned", "versioned", "With --every: a file that matches is replaced when it is rewritten")
@output_options
def upload(
    repo_id: str,
    local_path: Path | None,
    path_in_repo: str | None,
    token: str | None,
    private: bool | None,
    every: float | None,
    output_format: str | None,
    **options: Any,
) -> None:
    """Upload a file or a folder.

    The upload is one commit. The repository is created if it is missing: with the visibility that the account's
    settings say, which is public for most, or as private with --every. By default LOCAL_PATH is the file or folder
    in the current folder that has the name of the repository, and PATH_IN_REPO is the name of a file and the root for
    a folder. With --every REPO_ID may be a bucket, hf://buckets/OWNER/NAME/PATH. The last line of stdout is the address
    of what was uploaded.

    Examples:
      hubspool upload user/my-model ./weights.safetensors
      hubspool upload user/my-data ./rows data/train --repo-type dataset --exclude '*.tmp'
      hubspool upload user/my-runs ./logs --repo-type dataset --every 10
    """
    from hubspool.client.hf_api import HfApi
    from hubspool.client.repo_info import RepoUrl

    source = source_of(repo_id, local_path, path_in_repo)
    _check(options, source, every)
    output = Output(output_format)
    api = HfApi(token=token, library_name="hubspool-cli")
    if repo_id.startswith(BUCKETS):
        if every is None:
            raise click.UsageError("A bucket is uploaded to with --every; `hf sync` uploads once.")
        kind, options["repo_type"] = options["repo_type"], None
        name, _, _ = split_destination(repo_id, None if kind == "model" else kind, None)  # the option's default
        repo = RepoUrl(f"{api.endpoint}/buckets/{name}", api.endpoint)
        _upload_regularly(api, repo, source, output, {**options, "every": every, "private": private}, repo_id)
        return
    repo_type, revision = options["repo_type"], options["revision"]
    if every is not None and private is None:
        private = True  # as a scheduler does
    space_sdk = "gradio" if repo_type == "space" else None
    repo = api.create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True, space_sdk=space_sdk)
    note_created(api, repo, private, output)
    is_branch = revision is not None and not options["create_pr"] and not revision.startswith("refs/")
    if is_branch and not api.revision_exists(repo.repo_id, revision, repo_type=repo_type):
        api.create_branch(repo.repo_id, branch=revision, repo_type=repo_type, exist_ok=True)
    if every is None:
        _upload_once(api, repo, source, output, _without(_FOR_EVERY, options))
    else:
        _upload_regularly(api, repo, source, output, {**options, "every": every, "private": private})


def note_created(api: HfApi, repo: RepoUrl, private: bool | None, output: Output) -> None:
    """Say what `create_repo` has created with that `private`, if it has; the Hub is asked what None means."""
    if repo.is_new:
        if private is None:
            with suppress(HubspoolError):  # a note is no reason to fail
                private = api.repo_info(repo.repo_id, repo_type=repo.repo_type).private
        kind = "" if private is None else "private " if private else "public "
        other = "--public" if private else "--private"
        sentence = f"Created the {kind}{repo.repo_type} {repo.repo_id}"
        output.note(f"{sentence} ({other} and --repo-type create another kind).", "ok")


def source_of(repo_id: str, local_path: Path | None, path_in_repo: str | None) -> Source:
    """Return what to upload, with the defaults of the two paths.

    Raises:
        HFValidationError: the file or folder does not exist.
    """
    if local_path is None:
        local_path = Path(repo_id.rpartition("/")[2])
        if not local_path.exists():
            raise HFValidationError(
                f"LOCAL_PATH is missing, and nothing here is named {local_path}.",
                hint=f"Pass it: hubspool upload {repo_id} LOCAL_PATH.",
            )
    if not local_path.exists():
        raise HFValidationError(f"There is no file or folder {local_path}.", hint="Check LOCAL_PATH.", path=local_path)
    given = (path_in_repo or "").removeprefix("./")
    inside = given.strip("/") if given != "." else ""
    if local_path.is_file() and (not inside or given.endswith("/")):
        inside = f"{inside}/{local_path.name}".lstrip("/")
    return Source(local_path, inside)


def web_page(repo_url: str, kind: str, revision: str | None, path_in_repo: str = "") -> str:
    """Return the address of a file (`kind` is blob) or a folder (tree) on the Hub's site."""
    page = f"{repo_url}/{kind}/{quote(revision or 'main', safe='')}"
    return f"{page}/{quote(path_in_repo)}" if path_in_repo else page


def _page_of(repo: RepoUrl, source: Source, revision: str | None) -> str:
    return web_page(repo, "blob" if source.is_file else "tree", revision, source.path_in_repo)


def _check(options: dict[str, Any], source: Source, every: float | None) -> None:
    """Refuse options that would have no effect, and a path that no repository can hold."""
    if source.path_in_repo:
        check_path_in_repo(source.path_in_repo)
    if source.is_file:
        _refuse(options, _FOR_FOLDERS, f"is for folders, and {source.path} is a file.")
    if every is None:
        _refuse(options, _FOR_EVERY, "needs --every: one upload replaces every file.")
    else:
        _refuse(options, _FOR_ONE_COMMIT, "cannot be used with --every.")
        if source.is_file and Path(source.path_in_repo).name != source.path.name:
            raise click.UsageError(
                f"With --every a file keeps its name: PATH_IN_REPO has to end in {source.path.name}."
            )


def _refuse(options: dict[str, Any], refused: dict[str, str], reason: str) -> None:
    for option, name in refused.items():
        if options[name]:
            raise click.UsageError(f"{option} {reason}")


def _without(refused: dict[str, str], options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in refused.values()}


def _upload_once(api: HfApi, repo: RepoUrl, source: Source, output: Output, options: dict[str, Any]) -> None:
    output.note(f"Uploading {source.path} to {repo.repo_id}.")
    if source.is_file:
        commit = api.upload_file(
            repo_id=repo.repo_id,
            path_or_fileobj=source.path,
            path_in_repo=source.path_in_repo,
            **_without(_FOR_FOLDERS, options),
        )
    else:
        commit = api.upload_folder(
            repo_id=repo.repo_id, folder_path=source.path, path_in_repo=source.path_in_repo or None, **options
        )
    if commit.is_noop:
        output.note("Nothing has changed: no commit was made.")
    else:
        output.note(f"Opened the pull request {commit.pr_url}" if commit.pr_url else "Uploaded.", "ok")
    page = _page_of(repo, source, commit.pr_revision or options["revision"])
    fields = {"commit": commit.oid, "commit_url": commit.commit_url, "pr_url": commit.pr_url}
    _print_result(output, page, {**fields, "is_noop": commit.is_noop})


def _upload_regularly(
    api: HfApi, repo: RepoUrl, source: Source, output: Output, options: dict[str, Any], address: str | None = None
) -> None:
    """Mirror a folder or file; `address` is that of a bucket, which the scheduler creates."""
    from hubspool.scheduling.commit_scheduler import CommitScheduler

    folder, path_in_repo, options = source.path, source.path_in_repo, _without(_FOR_ONE_COMMIT, options)
    if source.is_file:
        folder, path_in_repo = folder.parent, path_in_repo.rpartition("/")[0]
        options["allow_patterns"] = [glob.escape(source.path.name)]
    page = _page_of(repo, source, options["revision"]) if address is None else str(repo)
    ctrl_c = _CtrlC(f"Aborted. What was not sent stays in {folder}; the same command sends it.\n")
    scheduler = CommitScheduler(
        repo_id=address or repo.repo_id,
        folder_path=folder,
        path_in_repo=path_in_repo or None,
        hf_api=api,
        strict=True,
        on_commit=lambda event: output.note(
            f"Committed {counted(len(event.paths), 'file')}, {counted(event.bytes_new, 'new byte')}.", "ok"
        ),
        **options,
    )
    every = "minute" if options["every"] == 1 else f"{options['every']:g} minutes"
    output.note(f"Mirroring {source.path} to {page} every {every}. Ctrl-C sends what is left and ends.")
    try:
        ctrl_c.wait()
        output.note("Sending what is left. Ctrl-C again aborts.")
        scheduler.flush()
    finally:
        scheduler.stop(flush=False)
    _print_result(output, page, {"commit": scheduler.status().last_commit})


def _print_result(output: Output, page: str, fields: dict[str, Any]) -> None:
    output.result(page, {"url": page, **{name: value for name, value in fields.items() if value is not None}})


class _CtrlC:
    """The first Ctrl-C ends `wait()`, also if it came earlier; the second ends the process with exit code 130.

    Args:
        farewell: printed on stderr at the second Ctrl-C.
    """

    def __init__(self, farewell: str) -> None:
        self._farewell = farewell
        self._pressed = False
        self._waiter = SignalWaiter()
        signal.signal(signal.SIGINT, self._handle)

    def wait(self) -> None:
        """Return after the first Ctrl-C."""
        while not self._pressed:
            self._waiter.wait()

    def _handle(self, *_: object) -> None:
        if self._pressed:
            # Not an exception: the end of the interpreter would still wait for the flush that this Ctrl-C is to stop.
            os.write(2, self._farewell.encode())
            os._exit(130)
        self._pressed = True


@click.command("upload-large-folder", cls=Command)
@repo_id_argument
@click.argument("path", type=LocalPath(), help="Folder to upload.")
@repo_type_option(required=True)
@selection_options
@click.option(
    "--num-workers", type=click.IntRange(1), metavar="N", show_default="half of the cores", help="Number of workers."
)
@click.option("--no-report", is_flag=True, help="Do not print the progress every minute.")
@click.option("--no-bars", is_flag=True, help="Show no progress bars.")
def upload_large_folder(
    repo_id: str, path: Path, token: str | None, no_report: bool, no_bars: bool, **options: Any
) -> None:
    """Upload a folder of any size, and resume after an interruption.

    Several workers upload the folder in several commits. The repository is created if it is missing. To resume after
    an interruption, run the same command again; its progress is stored in PATH, in .cache/huggingface. Use `upload`
    to choose a path in the repository or a commit message.

    Examples:
      hubspool upload-large-folder user/my-data ./rows --repo-type dataset --num-workers 8
    """
    from hubspool.client.hf_api import HfApi
    from hubspool.client.large_upload import upload as large_upload

    if no_bars:
        hide_progress_bars()
    api = HfApi(token=token, library_name="hubspool-cli")
    if not path.is_dir():
        raise HFValidationError(f"There is no folder {path}.", hint="Check PATH.", path=path)
    repo = large_upload.upload_large_folder(
        api,
        repo_id,
        path,
        print_report=not no_report,
        on_created=lambda repo: note_created(api, repo, options["private"], Output(None)),
        **options,
    )
    click.echo(web_page(repo, "tree", options["revision"]))
