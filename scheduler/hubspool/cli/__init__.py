"""The command line: `hubspool COMMAND`.

Importing this package loads click and no module that talks to a Hub: each command imports those when it runs, so that
help and shell completion answer at once.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Sequence

import click
from click.shell_completion import shell_complete

from hubspool import __version__
from hubspool.cli.compact import compact
from hubspool.cli.doctor import doctor
from hubspool.cli.flush import flush
from hubspool.cli.forget import forget
from hubspool.cli.hub import hub
from hubspool.cli.login import login
from hubspool.cli.output import print_error
from hubspool.cli.publish import publish
from hubspool.cli.read import read
from hubspool.cli.status import status
from hubspool.cli.upload import upload, upload_large_folder
from hubspool.cli.verify import verify
from hubspool.errors import HubspoolError

logger = logging.getLogger(__name__)

_NAME = "hubspool"
_COMPLETE = "_HUBSPOOL_COMPLETE"


@click.group(
    _NAME,
    commands=[upload, upload_large_folder, flush, status, read, compact, publish, verify, forget, doctor, login, hub],
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True},
    epilog="\b\nExamples:\n  hubspool upload --help\n"
    f'  eval "$({_COMPLETE}=bash_source hubspool)"   # completion in bash; or zsh_source, fish_source',
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def group(context: click.Context) -> None:
    """Keep data on the Hugging Face Hub, and serve a Hub on this machine."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code.

    The exit codes: 0 success; 1 an error, printed in one line with the next step; 2 wrong arguments; 130 ended by
    Ctrl-C; 141 nothing reads the output any more.

    Args:
        argv: arguments after the program's name; those of the process by default.
    """
    try:
        try:
            return _run(sys.argv[1:] if argv is None else argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter would write the rest of the buffer at its end, fail again and print a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print_error("A disk is full, possibly the one that the output goes to. Free space, and run the command again.")
        logger.debug("the error in full", exc_info=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(arguments: Sequence[str]) -> int:
    # Not `group.main()`: it turns a broken pipe into exit code 1, and prints an empty line at Ctrl-C.
    try:
        if instruction := os.environ.get(_COMPLETE):
            return shell_complete(group, {}, _NAME, _COMPLETE, instruction)
        with group.make_context(_NAME, [*arguments]) as context:
            group.invoke(context)
            return 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return 130
    except HubspoolError as error:
        print_error(str(error))
        logger.debug("the error in full", exc_info=True)
    except OSError as error:
        if error.filename is None:
            raise
        print_error(f"{error}.")
    return 1
