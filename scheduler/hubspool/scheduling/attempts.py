"""Repeats a push while the reason of its failure may pass."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from hubspool.client.retry import GiveUp, RetryPolicy, decide_retry
from hubspool.errors import ConflictError, HubspoolError, ParentCommitMismatchError
from hubspool.push.events import State
from hubspool.scheduling.status_tracker import StatusTracker

T = TypeVar("T")


def may_pass(error: HubspoolError) -> bool:
    """Whether the reason of a failed push may pass without anybody doing anything.

    A branch that moved on (412), or that another commit is being made to (409), is such a reason: the next attempt
    looks at it again.
    """
    return error.retryable or isinstance(error, (ParentCommitMismatchError, ConflictError))


class Attempts:
    """Runs one push after the other, each until it succeeds or its time is over.

    Used by the pushing thread; `deadline` may be set from any.

    Args:
        board: told of states and errors.
        stopping: set when the thread is to end; no wait goes on then.
        seconds: how long one push may be repeated; a period, since the next one plans anew.
    """

    def __init__(self, board: StatusTracker, stopping: threading.Event, seconds: float) -> None:
        self.board = board
        self.stopping = stopping
        self.policy = RetryPolicy(attempts=1000, seconds=max(seconds, 60.0), base=1.0, cap=60.0)
        self.deadline: float | None = None
        """Monotonic time when everything must be over, once somebody is leaving."""

    def run(self, push: Callable[[], T], *, name: str, repeat: bool) -> T:
        """Return what `push` returns; each call plans anew from what the ledger knows by then.

        Args:
            name: of the repo, for the log.
            repeat: False leaves every failure to the next period.

        Raises:
            Exception: the last failure, after the board was told.
        """
        began = time.monotonic()
        attempt = 0
        while True:
            attempt += 1
            try:
                result = push()
            except HubspoolError as error:
                wait = self._wait(error, attempt, time.monotonic() - began) if repeat else None
                self.board.note_error(name, error, retry_in=wait)
                if wait is None or self.stopping.wait(wait):
                    self.board.enter(State.IDLE)
                    raise
            except BaseException as error:  # an override's (even SystemExit), or a bug: told, and carried by the future
                self.board.note_error(name, error, retry_in=None)
                self.board.enter(State.IDLE)
                raise
            else:
                self.board.note_success()
                return result

    def seconds_left(self, otherwise: float) -> float:
        """Return `otherwise`, or what is left until the deadline where that is less."""
        return otherwise if self.deadline is None else min(max(self.deadline - time.monotonic(), 0.1), otherwise)

    def _wait(self, error: HubspoolError, attempt: int, elapsed: float) -> float | None:
        if not may_pass(error):
            return None
        chance = random.random()  # noqa: S311  jitter
        if not error.retryable:  # the same request would fail again, but the next attempt makes another one
            error = HubspoolError(error.message)
            error.retryable = True
        decision = decide_retry(self.policy, error, attempt=attempt, elapsed=elapsed, chance=chance)
        if isinstance(decision, GiveUp) or decision.seconds > self.seconds_left(decision.seconds):
            return None
        self.board.enter(State.BACKING_OFF)
        return decision.seconds
