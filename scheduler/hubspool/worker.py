"""The thread that pushes: when, not what."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Worker(Generic[T]):
    """Calls a job every `period` seconds and whenever it is asked to, never twice at once.

    Periods that pass while the job runs coalesce into one, as do triggers. Threads: the job runs in the worker's own
    daemon thread; every method may be called from any thread, also from a signal handler (the condition's lock is
    re-entrant).

    Args:
        job: gets whether this is a final call (flush, stop, exit); its result or exception ends the call's future.
        period: seconds between the starts of two calls.
        name: of the thread.
    """

    def __init__(self, job: Callable[[bool], T], period: float, name: str) -> None:
        self.period = period
        self.stopping = threading.Event()
        self._job = job
        self._name = name
        self._condition = threading.Condition()
        # All below is written under _condition.
        self._thread: threading.Thread | None = None
        self._waiting: Future[T] | None = None
        self._final = False
        self._due = time.monotonic() + period
        self._last: Future[T] = Future()

    @property
    def last_future(self) -> Future[T]:
        """The future of the latest call: done, running, or asked for."""
        with self._condition:
            return self._waiting or self._last

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the next call is due; None once stopped."""
        with self._condition:
            return None if self.stopping.is_set() else max(self._due - time.monotonic(), 0.0)

    def start(self, *, at_once: bool) -> None:
        """Start the thread, once."""
        with self._condition:
            if self._thread is not None or self.stopping.is_set():
                return
            if at_once:
                self._ask(final=False)
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def revive(self) -> bool:
        """Start the thread again if it died; returns whether it had.

        Nothing in here ends it, but code that raises in other threads from outside can.
        """
        with self._condition:
            if self._thread is None or self._thread.is_alive() or self.stopping.is_set():
                return False
            if not self._last.done():
                self._last.set_exception(RuntimeError("the pushing thread died"))
            self._thread = None
        self.start(at_once=True)
        return True

    def trigger(self, *, final: bool = False) -> Future[T]:
        """Ask for a call as soon as possible.

        Returns:
            The call's future. While a call runs it is the next one's, since the running one may have looked already.
            Once stopped: a cancelled future.
        """
        with self._condition:
            if self.stopping.is_set():
                future: Future[T] = Future()
                future.cancel()
                return future
            return self._ask(final=final)

    def stop(self, timeout: float | None = None) -> bool:
        """End the thread after the call that is running; a call that waits is cancelled.

        Args:
            timeout: seconds to wait for the thread.

        Returns:
            Whether the thread has ended.
        """
        with self._condition:
            self.stopping.set()
            if self._waiting is not None:
                self._waiting.cancel()
            self._condition.notify_all()
            thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(timeout)
        return not thread.is_alive()

    def _ask(self, *, final: bool) -> Future[T]:
        if self._waiting is None:
            self._waiting = Future()
        self._final = self._final or final
        self._condition.notify_all()
        return self._waiting

    def _run(self) -> None:
        while (call := self._next_call()) is not None:
            future, final = call
            try:
                result = self._job(final)
            except BaseException as error:  # noqa: BLE001  top of a thread: the future carries it, the job has told it
                future.set_exception(error)
            else:
                future.set_result(result)
            del future, call  # a result must not be kept alive until the next period

    def _next_call(self) -> tuple[Future[T], bool] | None:
        with self._condition:
            while self._waiting is None and not self.stopping.is_set():
                left = self._due - time.monotonic()
                if left <= 0:
                    self._ask(final=False)
                else:
                    self._condition.wait(left)
            if self.stopping.is_set():
                return None
            self._due = time.monotonic() + self.period
            future, final = self._waiting or Future(), self._final
            self._waiting, self._final, self._last = None, False, future
        if not future.set_running_or_notify_cancel():
            return self._next_call()
        return future, final
