"""`hubspool hub`: a Hub on this machine."""

from __future__ import annotations

import signal
from pathlib import Path

import click

from hubspool.cli.defaults import DEFAULTS
from hubspool.cli.options import Command, LocalPath
from hubspool.cli.signals import SignalWaiter
from hubspool.errors import HFValidationError, HubspoolError

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@click.command("hub", cls=Command)
@click.option("--root", required=True, type=LocalPath(), metavar="DIR", help="Folder of all data; created if missing.")
@click.option("--host", default=DEFAULTS.host, help="Address to listen on.")
@click.option("--port", type=int, default=DEFAULTS.port, help="Port to listen on; 0 is any free one.")
@click.option(
    "--user",
    "users",
    multiple=True,
    envvar="HUBSPOOL_HUB_USERS",
    metavar="NAME:TOKEN[:read|write|none|fineGrained=REPO,...]",
    show_default="local:hf_local",
    help="A user, and what the token permits: write everything in NAME's namespace (the default), read it, read what "
    "is public (none), or write the named repositories only (fineGrained); may be repeated. Other users of the machine "
    "see the options of a process: HUBSPOOL_HUB_USERS, with spaces between users, or --users-file hides the tokens.",
)
@click.option(
    "--users-file",
    type=LocalPath(exists=True, dir_okay=False),
    metavar="FILE",
    help="File with further users, one a line, written as for --user; lines that begin with # do not count.",
)
@click.option(
    "--org",
    "organizations",
    multiple=True,
    metavar="NAME:USER[,USER...]",
    help="An organization and its members, who may use its namespace like their own; may be repeated.",
)
@click.option(
    "--folder-limit",
    type=click.IntRange(1),
    metavar="N",
    help="Refuse commits that leave more entries in a folder; the Hub's limit is 10000. By default any number.",
)
@click.option("--faults", is_flag=True, help="For tests: let clients make this Hub fail.")
def hub(
    root: Path,
    host: str,
    port: int,
    users: tuple[str, ...],
    users_file: Path | None,
    organizations: tuple[str, ...],
    folder_limit: int | None,
    faults: bool,
) -> None:
    """Serve a Hub from a folder of this machine.

    The Hub runs until SIGTERM or Ctrl-C. The first line of stdout is its address: set HF_ENDPOINT to it.

    With --faults, clients with a write token can make this Hub fail: POST /api/local-hub/faults adds a fault, such as
    {"route": "commit", "status": 503, "times": 2}; GET lists the faults, DELETE removes them.

    Examples:
      hubspool hub --root ./hub
      hubspool hub --root ./hub --user ada:hf_ada --user bob:hf_bob:read --org lab:ada,bob
      hubspool hub --root ./hub --users-file ./users
      hubspool hub --root ./hub --user ci:hf_ci:fineGrained=datasets/ada/rows,ada/model
    """
    if not 0 <= port <= 65535:
        raise HFValidationError(f"--port {port} is not a port.", hint="Use 0 to 65535.")
    if root.is_file():
        raise HFValidationError(f"--root {root} is a file.", hint="Pass a folder; it is created if it is missing.")
    try:
        from hubspool.local_hub import LocalHub, User
        from hubspool.local_hub.storage.accounts import read_users, with_organizations
    except ImportError as error:
        raise HubspoolError(str(error)) from None
    try:
        named = [*map(User.parse, users), *(read_users(users_file) if users_file else ())]
        accounts = with_organizations(named, organizations)
    except ValueError as error:
        raise HFValidationError(f"--user, --users-file or --org: {error}") from None
    waiter = SignalWaiter()
    for number in _SIGNALS:
        signal.signal(number, lambda *_: None)
    try:
        server = LocalHub(
            root, host=host, port=port, users=accounts or None, folder_limit=folder_limit, fault_routes=faults
        ).start()
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, OSError) and error.filename:
            raise HubspoolError(
                f"--root {root} cannot be used: {error.strerror}.", hint="Pass a folder that this user may write to."
            ) from None
        raise HubspoolError(str(error)) from None
    click.echo(server.endpoint)
    token = "the token of a user" if users else f"the token {server.token}"
    click.echo(f"To log in with a browser, open {server.endpoint}/login and give {token}.", err=True)
    while waiter.wait() not in _SIGNALS:
        pass
    server.stop()
