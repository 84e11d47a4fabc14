"""`hubspool publish BUCKET DATASET`: publish the rows of a bucket as a dataset."""

from __future__ import annotations

import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

import click

from hubspool.cli.compact import joiners
from hubspool.cli.options import Command, duration_option, token_option
from hubspool.cli.output import print_error, print_line
from hubspool.cli.signals import SignalWaiter
from hubspool.client.progress import Progress
from hubspool.errors import HFValidationError, HubspoolError
from hubspool.scheduling.publishing import publisher_of, seconds_until_look, seconds_until_publish
from hubspool.scheduling.status import counted

if TYPE_CHECKING:
    from hubspool.push.publish import Publisher, PublishReport


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@click.command("publish", cls=Command)
@click.argument("bucket", help="Bucket, as hf://buckets/OWNER/NAME, or a folder in it.")
@click.argument("dataset", help="Dataset, as user/name; it is created if it is missing and there are rows.")
@click.option("--delete", is_flag=True, help="Then delete from the bucket what is published.")
@duration_option("--every", "minutes", help="Publish when the last publish is that old, until Ctrl-C or SIGTERM.")
@click.option("--format", "form", type=click.Choice(["jsonl", "parquet"]), help="Form of the dataset's files.")
@click.option("--private/--public", default=True, help="Visibility of the dataset if it is created.")
@token_option
def publish(
    bucket: str, dataset: str, delete: bool, every: float | None, form: str | None, private: bool, token: str | None
) -> None:
    """Publish the rows that schedulers wrote to a bucket as a dataset.

    What is not published yet becomes one commit, for each month: few files, the card, and a note of what is in them, so
    that each row is published once, however often and by however many machines this command runs, and wherever it is
    killed. A small marker in the bucket says what is published, also without --delete: the token must be able to write
    there. Schedulers may go on meanwhile. By default the files keep their form; JSON Lines may become Parquet.

    With --every, it looks a few minutes later than a publish is due, at random, since other machines may do it, too.
    Ctrl-C or SIGTERM ends the wait with exit code 0, and a publish with 130; the next run goes on.

    Examples:
      hubspool publish hf://buckets/user/live-votes user/votes
      hubspool publish hf://buckets/user/live-votes user/votes --delete --every 1440
    """
    publisher = _publisher(bucket, dataset, form, token)
    if sys.stderr.isatty():
        click.echo(f"Listing the files of {bucket}.", err=True)

    looks = _Looks(publisher, delete=delete, private=private)
    if every is not None:
        _repeat(looks, every * 60)
        return
    try:
        wait = looks.work(0)
    finally:
        looks.show()
    if wait is None:
        print_line(f"Nothing to publish: {bucket} has no rows of a scheduler.", "ok")
    elif publisher.report.left:
        raise click.exceptions.Exit(1)


class _Looks:
    """Looks whether a publish is due, makes it, and shows what was done, also before an error or a signal."""

    def __init__(self, publisher: Publisher, *, delete: bool, private: bool) -> None:
        self._publisher, self._delete, self._private = publisher, delete, private
        self._has_run = self._has_ended = False

    def work(self, period: float) -> float | None:
        """Publish if it is due; return the seconds until then, as far as they are known."""
        self._has_run = self._has_ended = False
        wait = seconds_until_publish(self._publisher, period, private=self._private)
        if wait == 0:
            self._has_run = True
            with _Downloads() as downloads:
                self._publisher.run(delete=self._delete, note=downloads)
            self._has_ended = True
        return wait

    def show(self) -> None:
        """Print what the last call of `work` did."""
        if self._has_run:
            _show(self._publisher.report, has_ended=self._has_ended)


def _repeat(looks: _Looks, period: float) -> None:
    """Look each period, in seconds, until a signal comes."""
    has_begun = False
    with _Ending() as ending:
        while True:
            due_in: float | None = None
            try:
                try:
                    with ending.while_working():
                        due_in = looks.work(period) or period
                finally:
                    looks.show()
                has_begun = True
            except HubspoolError as error:
                if not has_begun:  # the command is wrong, more likely than the Hub
                    raise
                print_error(str(error))
            if ending.comes_in(seconds_until_look(period, random.random(), due_in)):  # noqa: S311  jitter
                return


class _Ending:
    """SIGINT and SIGTERM: they interrupt work, which may be ended anywhere, and otherwise end the wait.

    To be used in the main thread.
    """

    def __init__(self) -> None:
        self._waiter, self._works = SignalWaiter(), False

    def __enter__(self) -> _Ending:
        self._before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._waiter.close()

    def _handle(self, *_: object) -> None:
        if self._works:
            raise KeyboardInterrupt

    @contextmanager
    def while_working(self) -> Iterator[None]:
        """Let a signal raise KeyboardInterrupt."""
        self._works = True
        try:
            yield
        finally:
            self._works = False

    def comes_in(self, seconds: float) -> bool:
        """Wait, and return True if a signal has come."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            if self._waiter.wait(min(left, 86_400)) in _SIGNALS:  # no socket waits for longer than 24 days
                return True
        return False


def _publisher(bucket: str, dataset: str, form: str | None, token: str | None) -> Publisher:
    from hubspool.client.hf_api import HfApi
    from hubspool.client.target import Target
    from hubspool.client.validation import split_destination
    from hubspool.push.remote_bucket import RemoteBucket

    name, kind, inside = split_destination(bucket, None, None)
    if kind != "bucket":
        raise HFValidationError(f"Not a bucket: {bucket!r}.", hint="Use hf://buckets/OWNER/NAME.")
    api = HfApi(token=token, library_name="hubspool-cli")
    source = RemoteBucket(api, Target.of(api.endpoint, name, kind))
    card_of = import_module("hubspool_templates.publishing").card_of
    return publisher_of(source, inside or "", dataset, joiners(), card_of, form=form, pause=threading.Event().wait)


class _Downloads:
    """Shows on a terminal how many files of the next commit were downloaded. Threads: any may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bar: Progress | None = None

    def __call__(self, done: int, files: int) -> None:
        with self._lock:
            if self._bar is None:
                self._bar = Progress(f"Downloading {counted(files, 'file')}", files, unit=" files").__enter__()
            self._bar.update(done)
            if done == files:
                self.close()

    def __enter__(self) -> _Downloads:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.close()

    def close(self) -> None:
        """End the bar of the commit that was downloaded for, as when a run ends before all files are here."""
        if self._bar is not None:
            self._bar.__exit__(None)
            self._bar = None


def _show(report: PublishReport, *, has_ended: bool) -> None:
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
    elif has_ended:
        print_line("Nothing new to publish.", "ok")
    if report.commits and not has_ended:
        print_line("Not all was published; the next run goes on.", "warn", err=True)
