"""What commands print: results on stdout, everything else on stderr."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

import click
import orjson

from hubspool.errors import SettingError
from hubspool.settings import Settings

FORMATS = ("human", "json", "quiet")


class Output:
    """Prints what a command does and its result, in the format human, json or quiet.

    The result goes to stdout, as one line of JSON or as text. What the command does goes to stderr, unless the format
    is quiet.

    Args:
        name: one of `FORMATS`; None means human.
    """

    def __init__(self, name: str | None) -> None:
        self._is_json = name == "json"
        self._is_quiet = name == "quiet"
        if self._is_quiet:
            hide_progress_bars()
        else:  # progress as log lines where stderr is no terminal and has no bar
            logging.getLogger("hubspool.progress").setLevel(logging.INFO)

    def note(self, text: str) -> None:
        """Print what the command does on stderr, unless the format is quiet."""
        if not self._is_quiet:
            click.echo(text, err=True)

    def result(self, text: str, fields: Mapping[str, Any]) -> None:
        """Print the result on stdout: `fields` as JSON, or `text`."""
        click.echo(orjson.dumps(fields).decode() if self._is_json else text)


def hide_progress_bars() -> None:
    """Show no progress bars in this process."""
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"


def print_error(text: str) -> None:
    """Print an error on stderr after the program's name, which is red on a terminal unless NO_COLOR is set."""
    try:
        color = Settings.from_env().color
    except SettingError:  # possibly the error to print
        color = False
    name = click.style("hubspool:", fg="red") if color else "hubspool:"
    click.echo(f"{name} {text}", err=True)
