"""A few threads over a list, without an executor."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


def for_each(items: Iterable[T], work: Callable[[T], None], num_threads: int) -> None:
    """Call `work` on every item, in up to `num_threads` threads of which the caller's is one.

    After the first error no new item is begun, and that error is raised once all threads are done.

    Not a ThreadPoolExecutor: at interpreter exit it refuses work, and the last push happens there. Here,
        where no
    thread can be started any more, the caller's own does everything.
    """
    waiting = list(items)[::-1]
    errors: list[BaseException] = []
    lock = threading.Lock()

    def loop() -> None:
        while True:
            with lock:
                if errors or not waiting:
                    return
                item = waiting.pop()
            try:
                work(item)
            except BaseException as error:  # noqa: BLE001 - raised below, in the caller's thread
                with lock:
                    errors.append(error)

    helpers = [
        threading.Thread(target=loop, name=f"hubspool-transfer-{n}", daemon=True)
        for n in range(1, min(num_threads, len(waiting)))
    ]
    started = []
    for helper in helpers:
        with suppress(RuntimeError):  # "can't start new thread": the interpreter ends, or a limit is reached
            helper.start()
            started.append(helper)
    loop()
    for helper in started:
        helper.join()
    if errors:
        raise errors[0]
