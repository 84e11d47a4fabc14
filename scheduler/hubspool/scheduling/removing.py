"""When rows are removed from the repository: on request, an hour after it once more, and once they are too old."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TypeVar

from hubspool.errors import FlushTimeout, HFValidationError, HubspoolError
from hubspool.push.removal import Removal
from hubspool.push.remover import Expirer, RemovalReport, Remover
from hubspool.scheduling.daily import beside_pushes, compactor_of
from hubspool.scheduling.defaults import DEFAULTS

if TYPE_CHECKING:
    from hubspool.push.budget import Turns
    from hubspool.push.context import PushContext
    from hubspool.scheduling.push_loop import PushLoop
    from hubspool.scheduling.repo_setup import RepoSetup

logger = logging.getLogger(__name__)

#: Values that the rows have, or a function that returns True for them.
Rows = Mapping[str, Any] | Callable[[Mapping[str, Any]], bool]
_HINT = 'Give keys and values, such as {"user": "anna"}, or a function that returns True for the rows to remove.'
T = TypeVar("T")


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
