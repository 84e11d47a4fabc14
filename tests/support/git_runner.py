"""Runs git without the user's settings and without prompts."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Protocol

import pytest

#: Content that does not compress: a file for git-lfs.
NOISE = os.urandom(3_000_000)
needs_git_lfs = pytest.mark.skipif(
    shutil.which("git-lfs") is None and "CI" not in os.environ, reason="git-lfs is not installed"
)


class Git(Protocol):
    """Runs a git command and returns its output; `ok=False` expects it to fail."""

    def __call__(self, *args: str, cwd: Path = ..., ok: bool = True) -> str: ...


def git_runner(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    (folder / "home").mkdir()
    monkeypatch.setenv("HOME", str(folder / "home"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_TERMINAL_PROMPT", "0")
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "a")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "a@b.c")

    def run(*args: str, cwd: Path = folder, ok: bool = True) -> str:
        done = subprocess.run(["git", *args], cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode == 0) == ok, done.stderr
        return done.stdout + done.stderr

    return run
