"""What commands print: results on stdout, everything else on stderr."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from enum import Enum
from typing import Any

import click
import orjson

from hubspool.errors import SettingError
from hubspool.settings import Settings


class Format(str, Enum):
    """How a command prints its result."""

    HUMAN = "human"
    """Text on stdout, progress on stderr."""
    JSON = "json"
    """One JSON object on one line of stdout, progress on stderr."""
    QUIET = "quiet"
    """Text on stdout; on stderr only warnings and errors."""


class Output:
    """Prints in the chosen format.

    Args:
        name: value of `--format`; None means human.
    """

    def __init__(self, name: str | None) -> None:
        self._format = Format(name or Format.HUMAN)
        if self._format is Format.QUIET:
            hide_progress_bars()
        else:  # progress as log lines where stderr is no terminal and has no bar
            logging.getLogger("hubspool.progress").setLevel(logging.INFO)

    def note(self, text: str) -> None:
        """Print what the command does on stderr, unless the format is quiet."""
        if self._format is not Format.QUIET:
            click.echo(text, err=True)

    def result(self, text: str, fields: Mapping[str, Any]) -> None:
        """Print the result on stdout: `fields` as JSON, or `text`."""
        click.echo(orjson.dumps(fields).decode() if self._format is Format.JSON else text)


def hide_progress_bars() -> None:
    """Show no progress bars in this process."""
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"


def print_error(text: str) -> None:
    """Print an error on stderr after the program's name, which is red on a terminal unless NO_COLOR is set."""
    try:
        color = Settings.from_env().color
    except SettingError:  # possibly the error to print
        color = True
    name = click.style("hubspool:", fg="red") if color else "hubspool:"
    click.echo(f"{name} {text}", err=True)


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return the number with its noun: "1 file", "2 files"; `plural` is needed where it is not the noun with an s."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"
