"""Calls of the command line in the process of a test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hubspool.cli import main
from hubspool.local_hub import LocalHub

#: Runs one command: exit code, stdout, stderr.
Call = Callable[..., tuple[int, str, str]]


def command_calls(
    hub: LocalHub, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *files: str
) -> Call:
    """Enter a new folder with an empty `rows/` and these files, as a user of this Hub; return what runs a command."""
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    (folder / "work" / "rows").mkdir(parents=True)
    monkeypatch.chdir(folder / "work")
    for name in files:
        Path(name).write_text(f"{Path(name).name}\n")

    def command(*args: str) -> tuple[int, str, str]:
        capfd.readouterr()
        try:
            code = main(args)
        except SystemExit as error:
            code = int(error.code or 0)
        return (code, *capfd.readouterr())

    return command
