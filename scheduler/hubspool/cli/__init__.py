"""The command line: ``hubspool COMMAND``."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from hubspool import __version__
from hubspool.cli import doctor, flush, hub, login, status
from hubspool.errors import HubspoolError
from hubspool.settings import Settings

_COMMANDS = (flush, status, doctor, login, hub)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 0, 1 for an error that was said, 2 for wrong arguments."""
    parser = argparse.ArgumentParser(
        prog="hubspool",
        description="Keeps data on the Hugging Face Hub, and serves a Hub on this machine.",
        epilog="`hubspool COMMAND --help` explains a command.",
    )
    parser.add_argument("--version", action="version", version=f"hubspool {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_parser(subparsers)
    args = parser.parse_args(argv)
    try:
        logging.basicConfig(
            level=Settings.from_env().log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
        return int(args.func(args))
    except HubspoolError as error:
        print(f"hubspool: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
