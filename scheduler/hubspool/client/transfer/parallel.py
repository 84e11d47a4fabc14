"""Works on a list in a few threads, or ahead of its use in one, without an executor."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Sized
from contextlib import suppress
from contextvars import copy_context
from typing import Any, TypeVar

T = TypeVar("T")


def for_each(items: Iterable[T], work: Callable[[T], None], num_threads: int) -> None:
    """Call `work` on every item, in up to `num_threads` threads, one of which is the caller's.

    Items are taken one at a time, each by the thread that works on it. After an error no further item is begun, and the
    first error is raised once all threads have ended.

    Rejected: a ThreadPoolExecutor. At interpreter exit it refuses work, and the final push happens there. This function
    does everything in the caller's thread when no other can be started.
    """
    end: Any = object()
    waiting = iter(items)
    errors: list[BaseException] = []
    lock = threading.Lock()

    def loop() -> None:
        while True:
            try:
                with lock:
                    item = end if errors else next(waiting, end)
                if item is end:
                    return
                work(item)
            except BaseException as error:  # noqa: BLE001 - raised below, in the caller's thread
                errors.append(error)

    most = min(num_threads, len(items)) if isinstance(items, Sized) else num_threads
    helpers = [
        threading.Thread(target=copy_context().run, args=(loop,), name=f"hubspool-transfer-{n}", daemon=True)
        for n in range(1, most)
    ]
    started = []
    for helper in helpers:
        with suppress(RuntimeError):  # no new thread can start: the interpreter ends, or a limit is reached
            helper.start()
            started.append(helper)
    loop()
    for helper in started:
        helper.join()
    if errors:
        raise errors[0]


def ahead(items: Iterable[T], depth: int) -> Generator[T, None, None]:
    """Yield the items; a thread takes them from their iterator up to `depth` ahead of their use.

    An error of that iterator is raised in place of the item. The thread ends soon after this generator is closed.
    """
    ready: queue.Queue[list[T] | BaseException] = queue.Queue(maxsize=depth)  # an item, the end ([]), or an error
    closed = threading.Event()
    try:
        arguments = (_fill, items, ready, closed)
        threading.Thread(target=copy_context().run, args=arguments, name="hubspool-ahead", daemon=True).start()
    except RuntimeError:  # the interpreter ends and starts no more threads
        yield from items
        return
    try:
        while True:
            entry = ready.get()
            if isinstance(entry, BaseException):
                raise entry
            if not entry:
                return
            yield entry[0]
    finally:
        closed.set()


def _fill(items: Iterable[T], ready: queue.Queue[list[T] | BaseException], closed: threading.Event) -> None:
    """Put each item, then the end or an error, into the queue; stop when it is closed."""

    def put(entry: list[T] | BaseException) -> bool:
        while not closed.is_set():
            with suppress(queue.Full):
                ready.put(entry, timeout=0.2)
                return True
        return False

    try:
        for item in items:
            if not put([item]):
                return
    except BaseException as error:  # noqa: BLE001 - `ahead` raises it in its caller's thread
        put(error)
    else:
        put([])
