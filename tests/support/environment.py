"""Environment variables and a free port for processes that tests start."""

from __future__ import annotations

import os
import socket


def clean_environment() -> dict[str, str]:
    """Return this process's environment without the variables that name an account or another demo."""
    prefixes = ("HF_", "HUGGING", "HUBSPOOL_", "SPACE_", "GRADIO_")
    return {name: value for name, value in os.environ.items() if not name.startswith((*prefixes, "PORT", "HUB_PORT"))}


def free_port() -> int:
    """Return a TCP port of the loopback interface that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
