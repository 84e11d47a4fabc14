"""Runs calls in the background, one after the other, in the order in which they were submitted."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, cast, overload

if TYPE_CHECKING:
    from concurrent.futures import Future

from hubspool import fork

P = ParamSpec("P")
R = TypeVar("R")


class BackgroundJobs(fork.ForkAware):
    """Runs jobs in one thread, that runs while there are jobs.

    Not guaranteed: that a job survives a fork. Jobs stay with the process that submitted them; their futures never
    finish in the child.

    The interpreter waits for the thread before it runs exit handlers, so every submitted job ends. Rejected: a
    ThreadPoolExecutor. From the moment the main thread ends it refuses jobs, also those of a job that still runs.

    Threads: any thread may submit. A job must not wait for the future of a later one.
    """

    def __init__(self) -> None:
        self._reset()
        fork.register(self)

    def after_fork_in_child(self) -> None:
        """Start with an empty queue: the thread was not copied, and its lock may be held."""
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[Callable[[], None]] = deque()
        self._running = False

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Run ``fn(*args, **kwargs)`` after all jobs that were submitted before."""
        from concurrent.futures import Future

        future: Future[R] = Future()

        def job() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - the future raises it
                future.set_exception(error)
            else:
                future.set_result(result)

        with self._lock:
            self._waiting.append(job)
            if self._running:
                return future
            self._running = True
        try:
            threading.Thread(target=self._work, name="hubspool-jobs", daemon=False).start()
        except RuntimeError:  # the interpreter ends and starts no more threads
            self._work()
        return future

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._running = False
                    return
                job = self._waiting.popleft()
            job()


class BackgroundCall(Protocol[P, R]):
    """A method with ``run_as_future``; a type checker checks its arguments only without ``run_as_future=True``."""

    @overload
    def __call__(self, *args: Any, run_as_future: Literal[True], **kwargs: Any) -> Future[R]: ...
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...


def future_compatible(method: Callable[Concatenate[Any, P], R]) -> BackgroundCall[P, R]:
    """Let a method of `HfApi` take ``run_as_future=True``: the call is queued and returns a `Future`.

    The method declares ``run_as_future: Literal[False] = False`` and never sees the argument. Rejected: two overloads
    for each method, which repeat its whole signature.
    """

    @wraps(method)
    def call(self: Any, *args: Any, run_as_future: bool = False, **kwargs: Any) -> Any:
        if run_as_future:
            return self.run_as_future(method, self, *args, **kwargs)
        return method(self, *args, **kwargs)

    return cast("BackgroundCall[P, R]", call)
