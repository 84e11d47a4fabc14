"""`hubspool upload-large-folder REPO_ID PATH`: upload a folder of any size, and resume after an interruption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hubspool.cli.options import Command, LocalPath, repo_id_argument, repo_type_option, selection_options
from hubspool.cli.output import Output, hide_progress_bars
from hubspool.cli.upload import note_created, web_page
from hubspool.errors import HFValidationError


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
    from hubspool.client.large_upload import upload

    if no_bars:
        hide_progress_bars()
    api = HfApi(token=token, library_name="hubspool-cli")
    if not path.is_dir():
        raise HFValidationError(f"There is no folder {path}.", hint="Check PATH.", path=path)
    repo = upload.upload_large_folder(
        api,
        repo_id,
        path,
        print_report=not no_report,
        on_created=lambda repo: note_created(api, repo, options["private"], Output(None)),
        **options,
    )
    click.echo(web_page(repo, "tree", options["revision"]))
