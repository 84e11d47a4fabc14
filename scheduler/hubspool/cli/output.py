"""What commands say, and where: results on stdout, everything else on stderr."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from enum import Enum
from typing import Any

import orjson

from hubspool.errors import SettingError
from hubspool.settings import Settings


class Format(str, Enum):
    """How a command says its result."""

    HUMAN = "human"
    """An address, and on stderr what is under way."""
    JSON = "json"
    """One object on one line, and on stderr what is under way."""
    QUIET = "quiet"
    """The address alone; on stderr only warnings and errors."""


class Output:
    """Says things in the format that was asked for."""

    def __init__(self, form: Format) -> None:
        self._form = form
        if form is Format.QUIET:
            hide_bars()
        else:  # where there is no terminal for a bar
            logging.getLogger("hubspool.progress").setLevel(logging.INFO)

    def note(self, text: str) -> None:
        """Tell what is under way."""
        if self._form is not Format.QUIET:
            print(text, file=sys.stderr, flush=True)

    def result(self, url: str, **facts: Any) -> None:
        """Tell the result: its address, and as JSON also the facts that are not None."""
        if self._form is Format.JSON:
            known = {name: value for name, value in facts.items() if value is not None}
            print(orjson.dumps({"url": url, **known}).decode(), flush=True)
        else:
            print(url, flush=True)


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add the options about what is printed."""
    group = parser.add_argument_group("output")
    group.add_argument(
        "--format",
        type=Format,
        choices=[*Format],
        default=Format.HUMAN,
        metavar="|".join(each.value for each in Format),
        help="human: the address of what was uploaded (default); json: an object on one line; quiet: the address, "
        "without progress",
    )
    group.add_argument("--json", dest="format", action="store_const", const=Format.JSON, help="--format json")
    group.add_argument("-q", "--quiet", dest="format", action="store_const", const=Format.QUIET, help="--format quiet")


def hide_bars() -> None:
    """Show no progress bars in this process."""
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"


def complain(text: str) -> None:
    """Say an error on stderr, with our name in red on a terminal that wants colour."""
    name = "hubspool:"
    try:
        if sys.stderr.isatty() and Settings.from_env().color:
            name = f"\x1b[31m{name}\x1b[0m"
    except SettingError:
        pass  # the error may be this very one
    print(f"{name} {text}", file=sys.stderr)
