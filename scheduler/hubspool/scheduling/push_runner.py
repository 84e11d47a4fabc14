"""Runs a scheduler's pushes in the background: periods, triggers, retries, flushes, the end."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hubspool.client.retry import (
    FLUSH,
    Caller,
    GiveUp,
    asked_seconds,
    call_with_retries,
    can_pass,
    decide_retry,
    push_policy,
)
from hubspool.errors import FlushTimeout, HubspoolError, NotStoredError, RequestError, SecondLookError
from hubspool.push.events import State
from hubspool.scheduling.messages import copied, described, in_words
from hubspool.scheduling.push_loop import PushLoop, Urgency
from hubspool.scheduling.shutdown import ShutdownHook, process_exit
from hubspool.scheduling.watchdog import watchdog

if TYPE_CHECKING:
    from hubspool.client.repo_info import CommitInfo
    from hubspool.scheduling.worker import Worker

logger = logging.getLogger(__name__)

_SHORTEST_WAIT = 0.1


@dataclass(frozen=True)
class _Refusal:
    """An error whose answer asked to wait until a monotonic time."""

    error: RequestError
    until: float


class PushRunner:
    """Runs the pushes of a worker: a thread, its retries, and the ways to wait for it.

    Thread-safety: all methods may be called from any thread, except that `flush` and `stop` wait for the pushing thread
    and so must not be called by it.

    Args:
        worker: says what a push does.
        period: seconds between two pushes, until `change_period`.
    """

    def __init__(self, worker: Worker, period: float) -> None:
        self._worker = worker
        self._tracker = worker.tracker
        self._period = period
        self._policy = push_policy(period)
        #: Who waits now → monotonic time when its push must be over: the ends of the process and of schedulers, and
        #: calls of `flush`. Any thread writes its own entry.
        self._exits: dict[object, float] = {}
        self._flushes: dict[object, float] = {}
        #: The newest answer that asked to wait; written by the pushing thread, and by a flush that has waited.
        self._refusal: _Refusal | None = None
        #: Final pushes that failed since the last success: the back-off outlives a call. Written by the pushing thread.
        self._failed_flushes = 0
        self._hook = ShutdownHook(worker.exit_budget, self._begin_final_push, self._end_final_push)
        #: The pushing thread; a forked child has another one.
        self.loop = self._new_loop()

    def start(self, *, handle_signals: bool) -> None:
        """Start the thread, with a push at once, and flush at the end of the process; later calls add signals."""
        process_exit.register(self._hook, handle_signals=handle_signals)
        watchdog.watch(self._tracker)
        self.loop.start(at_once=True)

    def change_period(self, seconds: float) -> None:
        """Push every so many seconds from now on."""
        if seconds != self._period:
            self._period, self._policy = seconds, push_policy(seconds)
            self.loop.change_period(seconds)

    def limited(self, seconds: float) -> float:
        """Return `seconds`, or what is left until the deadline of the exit where that is less."""
        left = min([*self._exits.values()], default=math.inf) - time.monotonic()
        return min(max(left, _SHORTEST_WAIT), seconds)

    @property
    def seconds_allowed(self) -> float:
        """Seconds that the exit and the callers of flush and stop still have; inf where nobody waits."""
        return min(self._exit_seconds_left(), self._flush_seconds_left())

    def check_refusal(self) -> None:
        """Raise the error of an answer that asked to wait until later, in the push of a flush that has data to send.

        Raises:
            HubspoolError: that error; its `retry_after` is what is left.
        """
        refusal, now = self._refusal, time.monotonic()
        if refusal is not None and refusal.until > now and self._flushes:
            error = copied(refusal.error)
            error.retry_after = refusal.until - now
            raise error.with_traceback(None)  # without the frames of the calls that it has ended before

    def flush(self, timeout: float | None) -> CommitInfo | None:
        """Push until one push succeeds; see `CommitScheduler.flush`."""
        self.loop.refuse_wait("flush")
        began = time.monotonic()
        deadline = math.inf if timeout is None or timeout > threading.TIMEOUT_MAX else began + timeout
        before = self._worker.last_commit
        self._flushes[key := object()] = deadline
        try:
            if (refusal := self._refusal) is not None and not self._worker.repeats:
                self._wait_within(refusal.error, refusal.until - began, deadline)
            while (error := self._final_push(deadline, timeout)) is not None:
                self._wait_after(error, self._failed_flushes, time.monotonic() - began, deadline)
                self._refusal = None
        finally:
            del self._flushes[key]
        if self._tracker.skipped:
            raise NotStoredError(self._tracker.skipped)
        # The push that ran when we were called may have sent everything: its commit counts too.
        last = self._worker.last_commit
        return None if last is before else last

    def stop(self, *, flush: bool, timeout: float | None, is_last: Callable[[], bool]) -> None:
        """Flush, then end the thread if `is_last` says so; see `CommitScheduler.stop`."""
        if self.loop.stopping.is_set():
            return
        budget = process_exit.budget_left(self._worker.exit_budget()) if timeout is None else timeout
        self._exits[key := object()] = time.monotonic() + budget
        try:
            if flush:
                self.flush(budget)
        finally:
            if is_last():
                self._tracker.enter(State.STOPPING)
                self._end(self.limited(budget))
            else:
                del self._exits[key]

    def restart_in_child(self) -> None:
        """Continue in a forked child, with a thread of its own; a stopped runner stays stopped."""
        stopped = self.loop.stopping.is_set()
        self._exits.clear()
        self._flushes.clear()
        self._failed_flushes = 0
        self.loop = self._new_loop()
        if stopped:
            self.loop.stop()
            return
        self._tracker.enter(State.IDLE)
        watchdog.watch(self._tracker)
        self.loop.start(at_once=False)

    def _end(self, timeout: float) -> None:
        process_exit.unregister(self._hook)
        watchdog.unwatch(self._tracker)
        if self.loop.stop(timeout=timeout):
            self._worker.setup.close()
        self._tracker.enter(State.STOPPED)

    def _new_loop(self) -> PushLoop[CommitInfo | None]:
        return PushLoop(self._run, self._period, f"hubspool-push-{self._worker.setup.repo_id}")

    def _final_push(self, deadline: float, timeout: float | None) -> BaseException | None:
        """Request a final push and wait for it; returns its error.

        Raises:
            FlushTimeout: it does not end in time.
            RuntimeError: the scheduler is stopped.
        """
        future = self.loop.trigger(final=True)
        left = deadline - time.monotonic()
        wait_for([future], timeout=None if math.isinf(left) else max(left, 0))
        if future.cancelled():
            raise RuntimeError(
                f"The scheduler of {self._worker.setup.repo_id} is stopped; the next one sends what is on the disk."
            )
        if not future.done():
            reason = "" if (error := self._tracker.error) is None else f" Last error: {described(error)[0]}"
            raise FlushTimeout(
                f"{self._worker.setup.repo_id}: the flush of {self._worker.setup.folder} did not end in {timeout:g}"
                f" seconds.{reason}",
                hint="What is pending stays on the disk and is sent later.",
            ) from (None if error is None else copied(error))
        return future.exception()

    def _wait_after(self, error: BaseException, attempt: int, elapsed: float, deadline: float) -> None:
        """Wait before the flush's next push.

        Raises:
            BaseException: `error`, or a copy of it, where another push cannot succeed, or where the Hub asks for a
                longer wait than the caller has.
        """
        if isinstance(error, SecondLookError):  # everything else is sent, and only time helps
            self._wait_within(error, max(error.until - time.time(), _SHORTEST_WAIT), deadline)
            return
        chance = random.random()  # noqa: S311  jitter
        decision = decide_retry(FLUSH, error, attempt=attempt, elapsed=elapsed, chance=chance)
        if isinstance(decision, GiveUp) or not self._worker.repeats:
            raise copied(error)
        self._wait_within(error, decision.seconds, deadline)

    def _wait_within(self, error: BaseException, seconds: float, deadline: float) -> None:
        left = max(deadline - time.monotonic(), 0.0)
        if seconds > left and (asked_seconds(error) or isinstance(error, SecondLookError)):
            raise copied(error)
        self.loop.stopping.wait(min(seconds, left, threading.TIMEOUT_MAX))

    def _run(self, urgency: Urgency) -> CommitInfo | None:
        """Make one push, repeated while its error can pass; called by the loop."""
        try:
            result = self._push(urgency)
        except BaseException:
            if urgency is Urgency.FINAL:
                self._failed_flushes += 1
            self._tracker.enter(State.IDLE)
            raise
        if result is not None or not self._worker.repeats:  # without a commit nothing was asked again
            self._refusal = None
        self._failed_flushes = 0
        self._tracker.note_success()
        return result

    def _push(self, urgency: Urgency) -> CommitInfo | None:
        # The wait after a flush's push is the flush's: only its caller knows how long it may wait.
        is_flush = urgency is Urgency.FINAL and not self._exits
        once = is_flush or not self._worker.repeats
        policy = replace(self._policy, attempts=1) if once else self._policy
        seconds_left = self._flush_seconds_left if is_flush else self._exit_seconds_left
        caller = Caller(self.loop.pause, self._note_failure, seconds_left, self._note_inner_wait)
        return call_with_retries(lambda: self._push_or_note(urgency), policy, caller)

    def _exit_seconds_left(self) -> float:
        return self.limited(math.inf)

    def _flush_seconds_left(self) -> float:
        return min([*self._flushes.values()], default=math.inf) - time.monotonic()

    def _push_or_note(self, urgency: Urgency) -> CommitInfo | None:
        try:
            return self._worker.push(urgency)
        except HubspoolError:
            raise
        except BaseException as error:  # an override's (even SystemExit), or a bug: reported here, kept by the future
            self._tracker.note_error(error, retry_in=None, next_try=self._next_try(error, None))
            raise

    def _next_try(self, error: BaseException, wait: float | None) -> str:
        """Return when a failed push is made again, in words."""
        if wait is None and self._exits:
            return "at the next start"
        waits = self._worker.repeats and can_pass(FLUSH, error)
        if wait is None and self._flushes and waits and (asked_seconds(error) or 0.0) < self._flush_seconds_left():
            return "by flush()"
        return in_words((self.loop.seconds_left or 0.0) if wait is None else wait)

    def _note_failure(self, error: HubspoolError, wait: float | None) -> None:
        if isinstance(error, RequestError) and (asked := asked_seconds(error)) is not None:
            self._refusal = _Refusal(error, time.monotonic() + asked)
            if wait is None:
                self.loop.postpone(max(asked, self.loop.seconds_left or 0.0))
        if wait is not None:
            self._tracker.enter(State.BACKING_OFF)
        self._tracker.note_error(error, retry_in=wait, next_try=self._next_try(error, wait))

    def _note_inner_wait(self, error: HubspoolError, wait: float) -> None:  # noqa: ARG002
        self._tracker.note_wait(error)

    def _begin_final_push(self, deadline: float) -> Future[CommitInfo | None] | None:
        self._exits[self._hook] = deadline
        future = self.loop.trigger(final=True)
        return None if future.cancelled() else future

    def _end_final_push(self) -> None:
        self._exits.pop(self._hook, None)
