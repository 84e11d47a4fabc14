"""Environment variables and a free port for processes that tests start."""

from __future__ import annotations

import os
import random
import socket
from contextlib import suppress


def clean_environment() -> dict[str, str]:
    """Return this process's environment without the variables that name an account or another demo."""
    prefixes = ("HF_", "HUGGING", "HUBSPOOL_", "SPACE_", "GRADIO_")
    return {name: value for name, value in os.environ.items() if not name.startswith((*prefixes, "PORT", "HUB_PORT"))}


def free_port() -> int:
    """Return a TCP port of the loopback interface that was free a moment ago.

    The system gives none of this range to a server that asks for port 0, so nobody takes it before it is used.
    """
    while True:
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", random.randrange(20_000, 32_000)))
            return int(listener.getsockname()[1])
