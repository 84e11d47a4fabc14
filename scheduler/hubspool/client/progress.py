"""Shows the progress of a transfer: a bar on a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from hubspool.client.defaults import DEFAULTS
from hubspool.settings import Settings

logger = logging.getLogger("hubspool.progress")


class Progress:
    """Shows the bytes, or files, of one transfer; nothing if it ends within half a second.

    On a terminal it is a tqdm bar on stderr, elsewhere a line of the logger ``hubspool.progress`` every 30 seconds.
    HF_HUB_DISABLE_PROGRESS_BARS=1 turns the bar off, =0 shows it on any stderr; NO_COLOR keeps it plain.

    Args:
        title: name of the transfer.
        total: size of the transfer, bytes; or another number of units.
        unit: "B" for bytes, or the name of another unit.

    Threads: any thread may call `update`; a number smaller than an earlier one changes nothing.
    """

    def __init__(self, title: str, total: int, unit: str = "B") -> None:
        settings = Settings.from_env()
        self._title, self._total, self._unit = title, total, unit
        self._is_bar = sys.stderr.isatty() if settings.progress_bars is None else settings.progress_bars
        self._plain = settings.color is False
        self._bar: Any = None
        self._done = 0
        self._lock = threading.Lock()
        self._logged = time.monotonic()

    def __enter__(self) -> Progress:
        if self._is_bar:
            from tqdm import tqdm

            self._bar = tqdm(
                total=self._total,
                desc=self._title,
                unit=self._unit,
                unit_scale=self._unit == "B",
                dynamic_ncols=True,
                file=sys.stderr,
                delay=DEFAULTS.bar_seconds,
                colour=None if self._plain else "green",
                ascii=self._plain,
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.update(self._total)
        if self._bar is not None:
            self._bar.close()

    def update(self, done: int) -> None:
        """Show that `done` bytes are done."""
        with self._lock:
            gained = min(done, self._total) - self._done
            if gained <= 0:
                return
            self._done += gained
            if self._bar is not None:
                self._bar.update(gained)
            elif time.monotonic() - self._logged >= DEFAULTS.log_seconds:
                self._logged = time.monotonic()
                unit = "bytes" if self._unit == "B" else self._unit.strip()
                logger.info("%s: %d of %d %s", self._title, self._done, self._total, unit)


class ProgressSum:
    """Adds up the bytes that several sources have done, and reports the sum.

    Args:
        report: called with the sum after each change, under a lock; None reports nothing.

    Threads: any.
    """

    def __init__(self, report: Callable[[int], None] | None) -> None:
        self._report = report
        self._lock = threading.Lock()
        self._done: dict[object, int] = {}
        self.total = 0

    def add(self, count: int) -> None:
        """Count bytes that belong to no source."""
        with self._lock:
            self._change(count)

    def callback(self, source: object) -> Callable[[int], None] | None:
        """Return a function that sets the bytes that `source` has done; None if nothing is reported."""
        return None if self._report is None else partial(self._set, source)

    def _set(self, source: object, done: int) -> None:
        with self._lock:
            before, self._done[source] = self._done.get(source, 0), done
            self._change(done - before)

    def _change(self, count: int) -> None:
        self.total += count
        if self._report is not None:
            self._report(self.total)
