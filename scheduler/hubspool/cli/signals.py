"""Waiting for a signal in the main thread."""

from __future__ import annotations

import signal
import socket


class Bell:
    """Rings at every signal that has a handler, from now on; `wait` also hears one that came before it.

    Not an Event: set by a handler in the very thread that waits for it, it can find its own lock taken. Not a sleep: a
    signal that comes right before one is looked at only when it ends.

    To be made, and used, in the main thread; handlers run as ever.
    """

    def __init__(self) -> None:
        self._ear, self._clapper = socket.socketpair()
        self._clapper.setblocking(False)
        signal.set_wakeup_fd(self._clapper.fileno(), warn_on_full_buffer=False)

    def wait(self) -> None:
        """Return when a signal has come that no earlier call has told."""
        self._ear.recv(1)
