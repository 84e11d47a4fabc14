"""Waiting for a signal in the main thread."""

from __future__ import annotations

import signal
import socket


class SignalWaiter:
    """Blocks until a handled signal arrives; signals received before `wait()` count.

    Handlers run as usual. Signals without a Python handler are not seen.

    Not a `threading.Event`: a handler that sets it runs in the thread that waits and can find the event's lock taken.
    Not `time.sleep`: a signal that arrives right before it is handled only when the sleep ends.

    Thread-safety: create and use it in the main thread. A process has one at a time: the newest.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def wait(self, seconds: float | None = None) -> int | None:
        """Return the number of the next signal that no earlier call has returned; None if none came in `seconds`."""
        self._reader.settimeout(seconds)
        try:
            return self._reader.recv(1)[0]
        except TimeoutError:
            return None

    def close(self) -> None:
        """Wait for no more signals."""
        signal.set_wakeup_fd(-1)
        self._reader.close()
        self._writer.close()
