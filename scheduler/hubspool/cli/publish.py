"""`hubspool publish BUCKET DATASET`: publish the rows of a bucket as a dataset."""

from __future__ import annotations

import logging
import time
from importlib import import_module
from typing import TYPE_CHECKING

import click

from hubspool.cli.compact import joiners
from hubspool.cli.options import Command, duration_option, token_option
from hubspool.cli.output import print_error, print_line
from hubspool.errors import HFValidationError, HubspoolError
from hubspool.scheduling.status import counted

if TYPE_CHECKING:
    from hubspool.push.publish import Publisher, PublishReport

logger = logging.getLogger(__name__)


@click.command("publish", cls=Command)
@click.argument("bucket", help="Bucket, as hf://buckets/OWNER/NAME, or a folder in it.")
@click.argument("dataset", help="Dataset, as user/name; it is created if it is missing.")
@click.option("--delete", is_flag=True, help="Then delete from the bucket what is published.")
@duration_option("--every", "minutes", help="Publish when the last publish is that old, until Ctrl-C.")
@click.option("--format", "form", type=click.Choice(["jsonl", "parquet"]), help="Form of the dataset's files.")
@click.option("--private/--public", default=True, help="Visibility of the dataset if it is created.")
@token_option
def publish(
    bucket: str, dataset: str, delete: bool, every: float | None, form: str | None, private: bool, token: str | None
) -> None:
    """Publish the rows that schedulers wrote to a bucket as a dataset.

    What is not published yet becomes one commit, for each month: few files, the card, and a note of what is in them, so
    that each row is published once, however often and by however many machines this command runs, and wherever it is
    killed. Schedulers may go on meanwhile. By default the files keep their form; JSON Lines may become Parquet.

    Examples:
      hubspool publish hf://buckets/user/live-votes user/votes
      hubspool publish hf://buckets/user/live-votes user/votes --delete --every 1440
    """
    publisher = _publisher(bucket, dataset, form, private=private, token=token)
    if every is None:
        report = publisher.run(delete=delete)
        _show(report)
        if report.left:
            raise click.exceptions.Exit(1)
        return
    has_begun = False
    while True:
        wait = every * 60
        try:
            if (left := publisher.seconds_until_due(wait)) > 0:
                wait = left
            else:
                _show(publisher.run(delete=delete))
            has_begun = True
        except HubspoolError as error:
            if not has_begun:  # the command is wrong, more likely than the Hub
                raise
            print_error(str(error))
            wait = min(wait, 60.0)
        time.sleep(wait)


def _publisher(bucket: str, dataset: str, form: str | None, *, private: bool, token: str | None) -> Publisher:
    import threading

    from hubspool.client.hf_api import HfApi
    from hubspool.client.target import Target
    from hubspool.client.validation import split_destination
    from hubspool.push.publish import Publisher
    from hubspool.push.remote import RemoteRepo
    from hubspool.push.remote_bucket import RemoteBucket

    name, kind, inside = split_destination(bucket, None, None)
    if kind != "bucket":
        raise HFValidationError(f"Not a bucket: {bucket!r}.", hint="Use hf://buckets/OWNER/NAME.")
    api = HfApi(token=token, library_name="hubspool-cli")
    source = RemoteBucket(api, Target.of(api.endpoint, name, kind))
    source.identity()  # before a dataset is created for a bucket that does not exist
    repo_id = api.create_repo(dataset, repo_type="dataset", private=private, exist_ok=True).repo_id
    repo = RemoteRepo(api, Target.of(api.endpoint, repo_id, "dataset"))
    card_of = import_module("hubspool_templates.publishing").card_of
    return Publisher(source, inside or "", repo, joiners(), card_of, form=form, pause=threading.Event().wait)


def _show(report: PublishReport) -> None:
    for path, reason in report.left.items():
        print_line(f"{path} is left in the bucket: {reason}.", "warn", err=True)
    for commit in report.commits:
        click.echo(commit.commit_url, err=True)
    if report.deleted:
        click.echo(f"Deleted {counted(report.deleted, 'file')} of the bucket.", err=True)
    if report.commits:
        what = (
            f"{counted(report.rows, 'row')} of {counted(report.files, 'file')} in {counted(len(report.paths), 'file')}"
        )
        print_line(f"Published {what}.", "ok")
    else:
        print_line("Nothing new to publish.", "ok")
