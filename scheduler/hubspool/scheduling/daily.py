"""What a scheduler does to its repository beside its pushes, each at its time.

The parts of past days are joined, or the rows of a bucket published, by whichever replica is first. Rows are removed on
request, an hour after it once more, and once they are too old. A history that is too long becomes one commit.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, TypeVar

from hubspool.client.folder import full_folders
from hubspool.client.retry import beside_outer
from hubspool.client.target import Target
from hubspool.errors import FlushTimeout, HFValidationError, HubspoolError
from hubspool.push.compaction import CompactionReport, Compactor
from hubspool.push.joiner import Joiner
from hubspool.push.remote import RemoteRepo
from hubspool.push.remote_bucket import RemoteBucket
from hubspool.push.removal import Removal
from hubspool.push.remover import Expirer, RemovalReport, Remover
from hubspool.scheduling.defaults import DEFAULTS
from hubspool.scheduling.messages import described
from hubspool.scheduling.publishing import publisher_of, seconds_until_look, seconds_until_publish
from hubspool.scheduling.status import NOT_COMPACTED, CompactionTimes

if TYPE_CHECKING:
    from hubspool.client.hf_api import HfApi
    from hubspool.push.budget import Turns
    from hubspool.push.context import PushContext
    from hubspool.push.manifest import Manifests
    from hubspool.push.publish import Publisher
    from hubspool.scheduling.options import PublishOptions
    from hubspool.scheduling.push_loop import PushLoop
    from hubspool.scheduling.repo_setup import RepoSetup

logger = logging.getLogger(__name__)

#: Values that the rows have, or a function that returns True for them.
Rows = Mapping[str, Any] | Callable[[Mapping[str, Any]], bool]
_HINT = 'Give keys and values, such as {"user": "anna"}, or a function that returns True for the rows to remove.'
T = TypeVar("T")
C = TypeVar("C", bound=Compactor)


def seconds_until_due(newest: datetime | None, parts: int, now: datetime) -> float:
    """Return the seconds until old files are to be joined; 0: now.

    Args:
        newest: time of the newest join, by any replica; None if there was none.
        parts: files that would be joined.
        now: the Hub's time; this machine's clock may be hours off.
    """
    if parts <= DEFAULTS.compaction_files:
        return DEFAULTS.compaction_period
    return 0.0 if newest is None else max(DEFAULTS.compaction_period - (now - newest).total_seconds(), 0.0)


@contextmanager
def beside_pushes(context: PushContext, loop: PushLoop[Any], seconds: float = math.inf) -> Iterator[PushContext]:
    """Yield a context whose requests and transfers fail within a moment once a flush waits, or the loop must end.

    Not guaranteed: that a commit which was sent by then does not land. A thread of its own watches the loop; where no
    thread can be started, requests end by their own time-outs.

    Args:
        context: of the push before.
        loop: of the pushing thread, which calls this.
        seconds: after which the requests end too.
    """
    until = time.monotonic() + seconds
    beside, ended = copy(context), threading.Event()
    beside.api = copy(context.api)
    beside.api.session = replace(context.api.session, interrupt=threading.Event(), ends_answers=True)
    beside.repo = copy(context.repo)
    beside.repo.api = beside.api

    def watch() -> None:
        while not ended.wait(DEFAULTS.beside_poll):
            if loop.pause(0) or time.monotonic() > until:
                beside.api.interrupt.set()

    with suppress(RuntimeError):
        threading.Thread(target=watch, name="hubspool-beside", daemon=True).start()
    try:
        with beside_outer():  # the push has succeeded: `status` must not tell of its failures
            yield beside
    finally:
        ended.set()
        beside.api.session.close()


def compactor_of(kind: type[C], context: PushContext, loop: PushLoop[Any] | None = None, **options: Any) -> C:
    """Return a compactor, or another object of its kind, of what a scheduler pushes; it stops when a flush waits.

    Args:
        kind: its class; a `Remover` is one of the whole repository.
        context: of the push.
        loop: of the pushing thread; None: it does not stop.
        options: more arguments of the class.
    """
    joiner = Joiner() if context.encoding is None else context.encoding.joiner
    options = {"manifests": context.memory.manifests, "limits": context.limits, **options}
    if loop is not None:
        options |= {"may_go_on": lambda: not loop.pause(0), "pause": loop.pause}
    joiners = {context.encoding.suffix if context.encoding else "jsonl": joiner} if joiner else {}
    return kind(context.repo, "" if kind is Remover else context.path_in_repo, joiners, **options)


class _DownloadTime:
    """Returns False once the downloads of a publish have held up the pushes for long enough.

    The time begins with the first call; threads: any.
    """

    def __init__(self, loop: PushLoop[Any], clock: Callable[[], float]) -> None:
        self._loop, self._clock = loop, clock
        self._began: float | None = None

    def __call__(self) -> bool:
        self._began = self._clock() if self._began is None else self._began
        pause = DEFAULTS.publish_pause
        most = pause if self._loop.is_requested else min(DEFAULTS.compaction_seconds, max(self._loop.period, pause))
        return self._clock() < self._began + most


class DailyCompaction:
    """Joins old parts after a push that no flush waits for, one joined file a push. Used by the pushing thread.

    Of a bucket it publishes the rows: what the time suffices for, after each push until all is published.

    It looks at the repository when the newest join may be a day old, at a random time of four hours, so that of many
    replicas one does the work and the others find it done.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._chance = random.random()  # noqa: S311  jitter
        self._due_at = clock() + self._chance * DEFAULTS.first_compaction
        self._goes_on = False  # files were joined since the last look that found nothing to do
        self._known = NOT_COMPACTED
        self._refused: set[tuple[str, str]] = set()  # for `Compactor`
        #: Of all months; None unless files are being joined: a year of four replicas takes 30 MB.
        self.manifests: Manifests | None = None
        #: Keeps manifests and, while a publish goes on, the list of files; and what it was made for.
        self._publisher: Publisher | None = None
        self._made_for: tuple[PublishOptions, PushLoop[Any]] | None = None

    def times(self) -> CompactionTimes:
        """Return what is known about the repository's files; any thread may call it."""
        left = max(self._due_at - self._clock(), 0.0)
        return replace(self._known, next_at=datetime.now(timezone.utc) + timedelta(seconds=left))

    def after_push(
        self, context: PushContext, loop: PushLoop[Any], publish: PublishOptions | None = None
    ) -> CompactionReport:
        """Make one join, or publish, if it is due, and return what was done.

        An error is logged and shown by `times`, and the next look is a day later; of a publish within an hour, as after
        a flush that ended a join.
        """
        report = CompactionReport()
        joiner = Joiner() if context.encoding is None else context.encoding.joiner
        period = DEFAULTS.compaction_period if publish is None else publish.seconds
        if publish is not None:  # it may be due each minute
            self._due_at = min(self._due_at, self._clock() + (1 + self._chance) * period)
        if self._clock() < self._due_at or joiner is None or loop.pause(0):
            return report
        wait: float | None = None
        error, what = "", "old files are joined" if publish is None else "rows are published"
        try:
            if publish is None:
                with beside_pushes(context, loop, DEFAULTS.compaction_limit) as beside:
                    wait = self._join(beside, loop, report)
            else:
                wait = self._publish(context, joiner, loop, report, publish)
        except HubspoolError as failure:
            error = described(failure)[0]
            level = logging.INFO if loop.pause(0) else logging.WARNING
            logger.log(level, "%s: %s at another time: %s", context.target.repo_id, what, failure)
        except Exception as failure:
            # The rows are on the Hub. A damaged file there, or a full disk here, is no failure of their push.
            error = described(failure)[0]
            logger.exception("%s: %s at another time", context.target.repo_id, what)
        chance = random.random()  # noqa: S311  jitter
        if loop.pause(0) and not report.commits:  # a flush waits
            wait = seconds_until_look(period, chance, None)
            error = "" if publish is None else "A flush ended it."
        elif publish is not None:
            wait = wait if wait == 0 else seconds_until_look(period, chance, wait)
        elif wait != 0:
            wait = (period if wait is None else wait) + chance * period / 5
        self._goes_on = bool(report.commits) and not wait
        if not self._goes_on:
            self.manifests = None
        self._due_at = self._clock() + wait
        self._known = replace(self._known, error=error or None)
        return report

    def _join(self, context: PushContext, loop: PushLoop[Any], report: CompactionReport) -> float:
        """Make one join if it is due; return the seconds until the next look."""
        ends = self._clock() + DEFAULTS.compaction_seconds
        manifests = self.manifests = self.manifests or replace(context.memory.manifests)
        compactor = compactor_of(
            Compactor,
            context,
            loop,
            manifests=manifests,
            has_time=lambda: self._clock() < ends,
            refused=self._refused,
        )
        joins, ghosts = compactor.due()
        context.memory.full_folders = full_folders(compactor.files)
        files = sum(path != "README.md" and not path.startswith(".") for path in compactor.files)
        newest = manifests.newest()
        self._known = CompactionTimes(files, newest)
        wait = seconds_until_due(newest, sum(len(join.sources) for join in joins), compactor.now)
        if not joins or (wait and not self._goes_on):
            return wait
        try:
            compactor.make(joins[:1], ghosts, report)
        finally:
            self._known = CompactionTimes(files - report.files_less, compactor.now if report.commits else newest)
        return 0.0 if report.commits else DEFAULTS.compaction_period

    def _publish(
        self,
        context: PushContext,
        joiner: Joiner,
        loop: PushLoop[Any],
        report: CompactionReport,
        options: PublishOptions,
    ) -> float:
        """Publish rows if it is due; return the seconds until the next publish.

        Raises:
            HubspoolError: a request failed, or the time did not suffice for a commit.
        """
        with beside_pushes(context, loop) as beside:  # however long the list is
            publisher = self._publisher_of(beside, joiner, loop, options)
            wait = seconds_until_publish(publisher, options.seconds, private=options.private)
        if wait != 0:
            return options.seconds if wait is None else wait
        with beside_pushes(context, loop, DEFAULTS.compaction_limit) as beside:
            publisher = self._publisher_of(beside, joiner, loop, options)
            try:
                publisher.run()
            finally:  # commits that were made before an error stay
                done = publisher.report
                report.commits, report.files_before, report.paths = done.commits, done.files, done.paths
                if done.commits:
                    self._known = replace(self._known, last_at=datetime.now(timezone.utc))
        if not done.commits and not done.is_whole:
            raise done.error or HubspoolError(
                f"The time for downloads ended before a row of {context.target.repo_id} could be published.",
                hint="`hubspool publish` takes as long as it needs, and names files that cannot be published.",
            )
        if done.is_whole:
            for path, reason in done.left.items():
                logger.warning("%s: %s is not published: %s", context.target.repo_id, path, reason)
        return 0.0 if publisher.goes_on else options.seconds

    def _publisher_of(
        self, context: PushContext, joiner: Joiner, loop: PushLoop[Any], options: PublishOptions
    ) -> Publisher:
        """Return the publisher of these options, which makes its requests with the client of `context`."""
        bucket = context.repo
        assert isinstance(bucket, RemoteBucket)
        if self._publisher is None or self._made_for != (options, loop):
            joiners = {context.payloads.suffix or "jsonl": joiner}
            made = publisher_of(bucket, options.inside, options.to, joiners, options.card_of, pause=loop.pause)
            made.limits, made.may_go_on = context.limits, lambda: not loop.pause(0)
            self._publisher, self._made_for = made, (options, loop)
        publisher = self._publisher
        publisher.bucket, publisher.repo.api = bucket, bucket.api
        publisher.has_time = _DownloadTime(loop, self._clock)
        return publisher


@dataclass(eq=False)
class Request:
    """A call of `CommitScheduler.forget`. The pushing thread sets `removal`, and the result of `done`."""

    rows: Rows
    done: Future[RemovalReport] = field(default_factory=Future)
    removal: Removal | None = None


class Removing:
    """Removes rows from the repository, before and after pushes. Used by the pushing thread, except `requests`.

    Args:
        turns: of the pushing thread; they count the commits.

    Attributes:
        requests: calls of `forget` that wait; any thread adds to it, and takes its own away.
    """

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.requests: list[Request] = []
        self._waiting: list[Removal] = []  # by functions, for their second look
        self._retain_at = time.monotonic() + random.uniform(0, DEFAULTS.first_compaction)  # noqa: S311  jitter

    def remove(self, rows: Rows, flush: Callable[[], object], setup: RepoSetup) -> RemovalReport:
        """Remove rows with the next final push, which `flush` makes; see `CommitScheduler.forget`."""
        if setup.spool is None:
            raise RuntimeError("forget() removes rows, and this scheduler keeps files: delete them in the repository.")
        if setup.target.is_bucket:
            raise RuntimeError(
                f"forget() removes no rows of a bucket: run `hubspool publish {setup.address} DATASET --delete`, then"
                " `hubspool forget DATASET`; rows that stay in the bucket are not reached."
            )
        _check(rows)
        self.requests.append(request := Request(rows))
        try:
            flush()
        except (HubspoolError, OSError):
            if not request.done.done():
                raise
        finally:
            if request in self.requests:
                self.requests.remove(request)
        if not request.done.done():
            raise FlushTimeout(
                "The scheduler was stopped before the rows were removed, or before it knew that all are.",
                hint="Call forget() of a scheduler that runs, or run `hubspool forget`; what is removed stays so.",
            )
        return request.done.result(0)

    def before_push(self, context: PushContext, *, final: bool) -> list[Request]:
        """Tell all replicas what is to be removed, and this push too.

        Returns:
            The requests for `after_push`; none for a push that the flush of a request may end.
        """
        requests = [*self.requests] if final else []
        for request in requests:
            if request.removal is None:
                at = context.repo.head().at
                if callable(request.rows):
                    request.removal = Removal.by(request.rows, at)
                else:
                    request.removal = Removal.of(request.rows, at)
                    compactor_of(Remover, context).note([request.removal])
                    self._turns.note_beside(1)
        context.memory.removals = [*filter(None, (request.removal for request in requests)), *self._waiting]
        return requests

    def after_push(self, context: PushContext, requests: list[Request], loop: PushLoop[Any]) -> None:
        """Remove from the repository what the requests ask for.

        Raises:
            HubspoolError: a request to the Hub failed; the next push tries again.
        """
        for request in requests:
            assert request.removal is not None
            removal = request.removal
            report = self._counted(compactor_of(Remover, context, loop), lambda remover: remover.remove([removal]))  # noqa: B023
            if loop.stopping.is_set():
                return
            logger.info("%s: %d rows were removed on request", context.target.repo_id, report.rows)
            if request.removal.chooses is not None:
                self._waiting.append(request.removal)
            request.done.set_result(report)
            if request in self.requests:  # its caller may have given up
                self.requests.remove(request)

    def after_period(
        self, context: PushContext, split: str | None, retain_days: int | None, loop: PushLoop[Any]
    ) -> None:
        """Make the second look of removals, and remove what is too old, where it is due; errors are logged."""
        try:
            self._look_again(context, loop)
            if retain_days is not None and time.monotonic() >= self._retain_at:
                self._retain_at = time.monotonic() + DEFAULTS.compaction_period
                with beside_pushes(context, loop) as beside:
                    expirer = compactor_of(Expirer, beside, loop, split=split, days=retain_days)
                    self._turns.note_beside(expirer.run().all_commits)
        except HubspoolError as error:
            logger.info("%s: rows are removed at another time: %s", context.target.repo_id, error)

    def _look_again(self, context: PushContext, loop: PushLoop[Any]) -> None:
        seconds, now = context.limits.second_look_seconds, datetime.fromtimestamp(context.clock(), timezone.utc)
        if any(removal.is_due(now, seconds) for removal in context.memory.manifests.removals.values()):
            with beside_pushes(context, loop) as beside:
                self._counted(compactor_of(Remover, beside, loop), Remover.check)
        if due := [removal for removal in self._waiting if removal.is_due(now, seconds)]:
            with beside_pushes(context, loop) as beside:
                self._counted(compactor_of(Remover, beside, loop), lambda remover: remover.remove(due))
            self._waiting = [removal for removal in self._waiting if removal not in due]

    def _counted(self, remover: Remover, act: Callable[[Remover], T]) -> T:
        """Return what `act` returns, and count its commits, also those before an error."""
        try:
            return act(remover)
        finally:
            self._turns.note_beside(remover.report.commits)


def _check(rows: Rows) -> None:
    """Raise an error if `rows` chooses no row for sure, before a request is made."""
    if callable(rows):
        return
    try:
        is_sound = bool(rows) and all(isinstance(key, str) for key in rows)
        Removal.of(rows, datetime.now(timezone.utc))
    except (AttributeError, TypeError) as error:
        raise HFValidationError(f"forget() was given {rows!r}: {error}", hint=_HINT) from None
    if not is_sound:
        raise HFValidationError(f"forget() was given {rows!r}, which chooses no row.", hint=_HINT)


@dataclass
class SquashPolicy:
    """Squashes the branch into one commit, and only while our own commit is its head.

    Used by the pushing thread.

    Args:
        history: False: never. True: after each commit, as `huggingface_hub` does. A number N: when the branch has more
            than N commits.
    """

    history: bool | int
    _count: int | None = field(default=None, init=False)

    def after_commit(self, api: HfApi, target: Target, oid: str) -> bool:
        """Squash the branch if it is due; return whether it was.

        Only the writer of the newest commit squashes, so of many writers one does. The commits are counted by listing
        them, and listed again only once our own commits may have reached the number. The new commit names the newest
        parts that they named (`hubspool verify`).

        Args:
            api: the client.
            target: the repository and branch.
            oid: the commit that was just made.
        """
        if self.history is False:
            return False
        if self.history is not True:
            self._count = None if self._count is None else self._count + 1
            if self._count is not None and self._count <= self.history:
                return False
        commits = api.list_repo_commits(target.repo_id, repo_type=target.repo_type, revision=target.revision)
        if self.history is not True:
            self._count = len(commits)
            if self._count <= self.history or commits[0].commit_id != oid:
                return False
        RemoteRepo(api, target).squash(commits)
        self._count = 1
        return True
