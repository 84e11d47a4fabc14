"""Shows the progress of a transfer: a bar on a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import threading
import time
from types import TracebackType
from typing import Any

from hubspool.client.defaults import DEFAULTS
from hubspool.settings import Settings

logger = logging.getLogger("hubspool.progress")


class Progress:
    """Shows the bytes of one transfer, however many files it has; nothing if it ends within half a second.

    On a terminal it is a tqdm bar on stderr, elsewhere a line of the logger ``hubspool.progress`` every 30 seconds.
    HF_HUB_DISABLE_PROGRESS_BARS=1 turns the bar off, =0 shows it on any stderr; NO_COLOR keeps it plain.

    Args:
        title: name of the transfer.
        total: size of the transfer, bytes.

    Threads: any thread may call `update`; a number smaller than an earlier one changes nothing.
    """

    def __init__(self, title: str, total: int) -> None:
        settings = Settings.from_env()
        self._title, self._total = title, total
        shown = settings.progress_bars
        self._is_bar = sys.stderr.isatty() if shown is None else shown
        self._plain = not settings.color
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
                unit="B",
                unit_scale=True,
                dynamic_ncols=True,
                file=sys.stderr,
                delay=DEFAULTS.bar_seconds,
                colour=None if self._plain else "green",
                ascii=self._plain,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
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
                logger.info("%s: %d of %d bytes", self._title, self._done, self._total)
