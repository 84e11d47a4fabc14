"""What commands print: results on stdout, everything else on stderr."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import Any

import click
import orjson

from hubspool.errors import SettingError
from hubspool.settings import Settings

_SIGNS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "FAIL": ("✗", "red")}
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

    def note(self, text: str, grade: str = "") -> None:
        """Print what the command does on stderr, unless the format is quiet; `grade` as in `print_line`."""
        if not self._is_quiet:
            print_line(text, grade, err=True)

    def result(self, text: str, fields: Mapping[str, Any]) -> None:
        """Print the result on stdout: `fields` as JSON, or `text`."""
        click.echo(orjson.dumps(fields).decode() if self._is_json else text)


def hide_progress_bars() -> None:
    """Show no progress bars in this process."""
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"


def print_line(text: str, grade: str = "", *, err: bool = False) -> None:
    """Print a line on stdout or stderr; on a terminal ✓, ! or ✗ stands before it for the grades ok, warn and FAIL.

    The sign has a colour on a terminal, unless NO_COLOR is set; FORCE_COLOR means a terminal.
    """
    color = _color()
    stream = sys.stderr if err else sys.stdout
    sign, fg = _SIGNS.get(grade, ("", None))
    if not (color or stream.isatty()) or not (stream.encoding or "").lower().startswith("utf"):
        sign = ""
    click.echo(f"{click.style(sign, fg=fg)} {text}" if sign else text, err=err, color=color)


def print_error(text: str) -> None:
    """Print an error on stderr after the program's name, which is red on a terminal."""
    click.echo(f"{click.style('hubspool:', fg='red')} {text}", err=True, color=_color())


def _color() -> bool | None:
    try:
        return Settings.from_env().color
    except SettingError:  # possibly the error to print
        return False
