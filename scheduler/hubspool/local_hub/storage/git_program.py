"""Runs the `git` of this machine, where there is one: it serves fetches, shows differences and packs objects.

The Hub works without it: then nobody can clone or fetch, and objects stay in files of their own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import IO

from dulwich.errors import GitProtocolError

from hubspool.local_hub.limits import LIMITS

#: Settings of the user and of the machine do not count; a folder that another user owns may be served.
_ENVIRONMENT = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "LC_ALL": "C"}
_SETTINGS = ("safe.directory=*", "uploadpack.allowFilter=true", "uploadpack.allowAnySHA1InWant=true")


def exists() -> bool:
    """Whether there is a git."""
    return shutil.which("git") is not None


def run(
    folder: Path,
    *args: str,
    stdin: bytes = b"",
    out: IO[bytes] | int = subprocess.DEVNULL,
    protocol: str = "",
    seconds: float = LIMITS.git_seconds,
) -> None:
    """Run a git command in a repository.

    Args:
        folder: the repository.
        args: the command and its options.
        stdin: what it reads.
        out: the file that it writes to.
        protocol: the client's header Git-Protocol.
        seconds: how long it may take.

    Raises:
        GitProtocolError: it failed; the message is what git says.
    """
    environ = {"PATH": os.environ.get("PATH", ""), **_ENVIRONMENT, "GIT_PROTOCOL": protocol}
    settings = [word for setting in _SETTINGS for word in ("-c", setting)]
    command = ["git", *settings, *args]
    try:
        done = subprocess.run(  # noqa: S603 - our own arguments
            command,
            cwd=folder,
            env=environ,
            input=stdin,
            stdout=out,
            stderr=subprocess.PIPE,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise GitProtocolError(f"git {args[0]} did not end within {seconds:g} s") from None
    if done.returncode:
        raise GitProtocolError(done.stderr.decode("utf-8", "replace").strip() or f"git {args[0]} failed")
