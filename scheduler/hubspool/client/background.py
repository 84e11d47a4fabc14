"""Jobs in the background, one after the other, in the order in which they were given."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import wraps
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Protocol, TypeVar, cast, overload

P = ParamSpec("P")
R = TypeVar("R")


class BackgroundJobs:
    """Runs jobs in one thread that lives while there are any.

    The interpreter waits for that thread before it runs exit handlers, so every job that was given ends. Not
    a
    ThreadPoolExecutor: from the moment the main thread ends it refuses jobs, also those of a job that still
        runs.

    Not guaranteed: that a job survives a fork. Jobs stay with the process that they were given in; their
        futures
    never finish in the child.

    Threads: any thread may submit. A job must not wait for the future of a later one.
    """

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._waiting: deque[Callable[[], None]] = deque()
        self._running = False

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Run ``fn(*args, **kwargs)`` after all jobs that were given before."""
        if self._pid != os.getpid():
            self._reset()  # the lock may have been held when the process was copied, and the thread was not
        future: Future[R] = Future()

        def job() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - it is the future's to raise
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
        except RuntimeError:  # the interpreter ends and starts no threads any more
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
    """A call that may be made in the background; the arguments are only checked where it is not."""

    @overload
    def __call__(self, *args: Any, run_as_future: Literal[True], **kwargs: Any) -> Future[R]: ...
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...


class _Method(Generic[P, R]):
    """How a type checker sees a decorated method; at run time it is a plain function."""

    def __get__(self, instance: object, owner: type | None = None) -> BackgroundCall[P, R]:
        raise NotImplementedError


def future_compatible(method: Callable[Concatenate[Any, P], R]) -> _Method[P, R]:
    """Let a method of `HfApi` take ``run_as_future=True``: it is queued, and a `Future` comes back.

    The method declares ``run_as_future: Literal[False] = False`` and never sees it. One decorator in place of two
    overloads for each method, which repeat its whole signature.
    """

    @wraps(method)
    def call(self: Any, *args: Any, run_as_future: bool = False, **kwargs: Any) -> Any:
        if run_as_future:
            return self.run_as_future(method, self, *args, **kwargs)
        return method(self, *args, **kwargs)

    return cast("_Method[P, R]", call)
