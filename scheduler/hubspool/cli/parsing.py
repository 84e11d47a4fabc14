"""How arguments are read, alike for all commands."""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from typing import Any

REPO_TYPES = ("model", "dataset", "space")


class _Help(argparse.HelpFormatter):
    """Wraps descriptions, but leaves those alone that have lines of their own: examples."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


class CommandParser(argparse.ArgumentParser):
    """Parser of one command, whose options may stand anywhere among its arguments.

    Not argparse's `parse_intermixed_args`: that is not for parsers with subcommands, and below one it forgets ``--``.
    Options take one value or none; other kinds are not known here.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": _Help, "allow_abbrev": False, **options})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Put the options before the arguments, and read both; the subcommand's way in."""
        options: list[str] = []
        arguments: list[str] = []
        waiting = iter(sys.argv[1:] if args is None else args)
        for text in waiting:
            if text == "--":
                arguments += waiting
            elif text.startswith("-") and text != "-":
                options.append(text)
                action = self._option_string_actions.get(text)
                if action is not None and action.nargs != 0:
                    options += islice(waiting, 1)
            else:
                arguments.append(text)
        return super().parse_known_args([*options, "--", *arguments] if arguments else options, namespace)


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose files, the revision and the account."""
    parser.add_argument("--revision", metavar="REV", help="branch, or pull request such as refs/pr/1 (default: main)")
    parser.add_argument(
        "--private", action="store_true", default=None, help="where the repo has to be made: make it private"
    )
    parser.add_argument(
        "--include", action="append", metavar="GLOB", help="send only files that match; may be given several times"
    )
    parser.add_argument(
        "--exclude", action="append", metavar="GLOB", help="send no file that matches; may be given several times"
    )
    parser.add_argument("--token", help="token to use instead of HF_TOKEN and the token file")
