"""The command line: ``hubspool COMMAND``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from hubspool import __version__
from hubspool.cli import doctor, flush, hub, login, status, upload, upload_large_folder
from hubspool.cli.output import complain
from hubspool.cli.parsing import CommandParser
from hubspool.errors import HubspoolError
from hubspool.settings import Settings

_COMMANDS = (upload, upload_large_folder, flush, status, doctor, login, hub)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code.

    0: done; 1: an error, said in one sentence with what to do; 2: wrong arguments; 130: ended by Ctrl-C; 141: nobody
    reads our output any more.
    """
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # What is still in the buffer would fail again, with a traceback, when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _run(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(
        prog="hubspool",
        description="Keeps data on the Hugging Face Hub, and serves a Hub on this machine.",
        epilog="`hubspool COMMAND --help` explains a command.",
    )
    parser.add_argument("--version", action="version", version=f"hubspool {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=CommandParser)
    for command in _COMMANDS:
        command.add_parser(subparsers)
    args = parser.parse_args(argv)
    try:
        logging.basicConfig(
            level=Settings.from_env().log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
        return int(args.func(args))
    except HubspoolError as error:
        complain(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        if error.filename is None:
            raise
        complain(f"{error}.")
        return 1
