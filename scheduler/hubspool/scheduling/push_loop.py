"""The pushing thread: it decides when a push runs, not what a push does."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from enum import IntEnum
from typing import Generic, TypeVar

from hubspool.scheduling.watchdog import watchdog

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Urgency(IntEnum):
    """Why a push is made."""

    PERIOD = 0
    """The period is over; the push may be postponed."""
    REQUESTED = 1
    """`trigger` was called, or the scheduler starts."""
    FINAL = 2
    """A caller waits until everything is sent: flush, stop, exit."""


class PushFuture(Future[T]):
    """The future of a push; waiting for it where it could never end is an error at once.

    Args:
        refuse_wait: raises RuntimeError in a thread that must not wait; gets the name of the method.
    """

    def __init__(self, refuse_wait: Callable[[str], None]) -> None:
        super().__init__()
        self._refuse_wait = refuse_wait

    def result(self, timeout: float | None = None) -> T:
        """Return the result; `timeout` in seconds."""
        if not self.done():
            self._refuse_wait("result")
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the exception, or None; `timeout` in seconds."""
        if not self.done():
            self._refuse_wait("exception")
        return super().exception(timeout)


class PushLoop(Generic[T]):
    """Calls a job every `period` seconds and on request, never twice at once.

    Periods that pass while the job runs become one call, as do requests. Threads: the job runs in the loop's own daemon
    thread; every method may be called from any thread, also from a signal handler (the condition's lock is re-entrant).

    Args:
        job: gets the most urgent reason of the call; its result or exception goes into the call's future.
        period: seconds between the starts of two calls.
        name: of the thread.
    """

    def __init__(self, job: Callable[[Urgency], T], period: float, name: str) -> None:
        self.period = period
        self.stopping = threading.Event()
        self._job = job
        self._name = name
        self._builder = threading.current_thread()
        # Entered by itself: Ctrl-C inside the `__enter__` of a Condition, which is no C code, leaves it held.
        self._lock = threading.RLock()
        self._condition = threading.Condition(self._lock)
        # All below is written under _lock.
        self._thread: threading.Thread | None = None
        self._inline = threading.Lock()  # held by a caller that runs the job
        self._has_no_thread = False  # none could be started: Python 3.12 starts none at exit, no system any number
        self._waiting: list[Future[T]] = []  # of the next call; one per caller, so that no caller cancels another's
        self._urgency = Urgency.PERIOD
        self._due = time.monotonic() + period
        self._requests_from = 0.0
        #: The future of the latest call: done, running, or requested.
        self.last_future: Future[T] = PushFuture(self.refuse_wait)
        # Used by the thread alone.
        self._running: list[Future[T]] = []
        self._running_urgency = Urgency.PERIOD

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the next call is due; None once stopped."""
        with self._lock:
            return None if self.stopping.is_set() else max(self._due - time.monotonic(), 0.0)

    def start(self, *, at_once: bool) -> None:
        """Start the thread; a second call does nothing."""
        with self._lock:
            if self._thread is not None or self.stopping.is_set():
                return
            if at_once:
                self._request(Urgency.REQUESTED)
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError:
                self._has_no_thread = True
                logger.warning("%s: no thread can be started; only flush() and stop() push", self._name)
            else:
                self._thread = thread

    def change_period(self, seconds: float) -> None:
        """Make `seconds` the period; the next call is due after that time at the latest."""
        with self._condition:
            self.period = seconds
            self._due = min(self._due, time.monotonic() + seconds)
            self._condition.notify_all()

    def postpone(self, seconds: float) -> None:
        """Make the next call due so many seconds from now; a requested call still comes at once."""
        with self._lock:
            self._due = time.monotonic() + seconds
            self._condition.notify_all()

    def rest(self, seconds: float) -> None:
        """Begin no call but a final one in the next seconds."""
        if seconds > 0:
            with self._condition:
                self._requests_from = time.monotonic() + seconds
                self._due = max(self._due, self._requests_from)

    def delay_requests(self, seconds: float) -> None:
        """Begin no requested call, but a final one, in the next seconds, unless the period is over before."""
        with self._lock:
            self._requests_from = time.monotonic() + seconds
            self._condition.notify_all()

    def refuse_wait(self, what: str, *, needs_thread: bool = True) -> None:
        """Refuse to wait for a push where it could never end, or would hold up what watches over it.

        Args:
            what: the caller's method.
            needs_thread: it waits for a push, and so not only for the end of the thread.

        Raises:
            RuntimeError: the caller is a hook, an override of `push_to_hub`, or a constructor.
        """
        current = threading.current_thread()
        if current is self._thread or current is watchdog.thread:
            raise RuntimeError(
                f"{what}() was called in a hook, in the pushing thread, which it would wait for. Call trigger() there,"
                " and wait in another thread."
            )
        if (
            needs_thread
            and not (self._thread or self._has_no_thread)
            and current is self._builder
            and not self.stopping.is_set()
        ):
            raise RuntimeError(f"{what}() was called in the constructor; the first push starts after it.")

    def pause(self, seconds: float) -> bool:
        """Wait inside a call, before it tries again.

        Returns:
            Whether the call must end instead: the loop is stopped, or a final call waits behind one that is not final.
        """

        def must_end() -> bool:
            overtaken = self._urgency is Urgency.FINAL and self._running_urgency is not Urgency.FINAL
            return self.stopping.is_set() or overtaken

        with self._lock:
            return self._condition.wait_for(must_end, min(seconds, threading.TIMEOUT_MAX))

    def trigger(self, *, final: bool = False) -> Future[T]:
        """Request a call as soon as possible.

        Returns:
            The future of that call. While a call runs it is the next one's, because the running one may already have
            read the folder. Once stopped, a cancelled future.
        """
        with self._lock:
            if self.stopping.is_set():
                return _cancelled(Future())
            future = self._request(Urgency.FINAL if final else Urgency.REQUESTED)
        if final and self._has_no_thread:
            with self._inline:
                self._thread = threading.current_thread()
                if self._begin_call():
                    self._call()
                self._thread = None
        return future

    def stop(self, timeout: float | None = None) -> bool:
        """End the thread after the running call; a requested call is cancelled.

        Args:
            timeout: seconds to wait for the thread.

        Returns:
            Whether the thread has ended.
        """
        with self._lock:
            self.stopping.set()
            for future in self._waiting:
                _cancelled(future)
            self._waiting = []
            self._condition.notify_all()
            thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(timeout)
        return not thread.is_alive()

    def _request(self, urgency: Urgency) -> Future[T]:
        future = PushFuture[T](self.refuse_wait)
        self._waiting.append(future)
        self.last_future = future
        self._urgency = max(self._urgency, urgency)
        self._condition.notify_all()
        return future

    def _run(self) -> None:
        while self._begin_call():
            self._call()

    def _call(self) -> None:
        try:
            result = self._job(self._running_urgency)
        except BaseException as error:  # noqa: BLE001  top of a thread: the futures carry it, the job has reported it
            for future in self._running:
                future.set_exception(error)
        else:
            for future in self._running:
                future.set_result(result)
        self._running = []

    def _begin_call(self) -> bool:
        """Wait for the next call and take its futures; False once stopped."""
        with self._lock:
            while not self.stopping.is_set():
                start = self._due
                if self._waiting:
                    start = 0.0 if self._urgency is Urgency.FINAL else min(self._requests_from, start)
                if (left := start - time.monotonic()) > 0:
                    self._condition.wait(min(left, threading.TIMEOUT_MAX))
                    continue
                self._running = [future for future in self._waiting if future.set_running_or_notify_cancel()]
                was_waiting, self._waiting = bool(self._waiting), []
                if self._running:
                    self._running_urgency, self._urgency = self._urgency, Urgency.PERIOD
                    self._due = time.monotonic() + self.period
                    return True
                self._urgency = Urgency.PERIOD
                if not was_waiting:
                    self._request(Urgency.PERIOD)
            return False


def _cancelled(future: Future[T]) -> Future[T]:
    """Cancel a future and wake its waiters: `concurrent.futures.wait` does not return for a merely cancelled one."""
    if future.cancel():
        future.set_running_or_notify_cancel()
    return future
