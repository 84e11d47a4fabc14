"""`hubspool hub`: a Hub on this machine."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from hubspool.cli.signals import Bell


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the `hubspool` parser."""
    parser = subparsers.add_parser(
        "hub",
        help="serve a Hub from a folder of this machine",
        description="Serve a Hub from a folder until SIGTERM or Ctrl-C. The first line of stdout is its address; "
        "set HF_ENDPOINT to it.",
    )
    parser.add_argument("--root", required=True, metavar="DIR", help="folder that keeps everything; made if missing")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="0 (default) for a free one")
    parser.add_argument(
        "--user",
        action="append",
        metavar="NAME:TOKEN[:read|write|none|fineGrained=REPO,...]",
        help="who may log in, and what the token may do: everything in NAME's namespace (write, the default), read it, "
        "read what is public (none), or write the named repositories only, such as "
        "ci:hf_ci:fineGrained=datasets/ada/rows,ada/model; repeatable (default: local:hf_local)",
    )
    parser.add_argument(
        "--org",
        action="append",
        default=[],
        metavar="NAME:USER[,USER...]",
        help="an organization and which of the users are in it: its namespace is theirs too; repeatable",
    )
    parser.add_argument(
        "--faults",
        action="store_true",
        help="let clients make this Hub fail, for tests: POST /api/local-hub/faults with a write token "
        '(such as {"route": "commit", "status": 503, "times": 2}), GET lists, DELETE clears',
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Serve; 0 after a signal, 1 with one sentence on stderr when that is not possible."""
    if not 0 <= args.port <= 65535:
        return _fail(f"--port {args.port} is not a port: use 0 to 65535.")
    try:
        from hubspool.local_hub import LocalHub, User
        from hubspool.local_hub.storage.accounts import with_organizations
    except ImportError as error:
        return _fail(str(error))
    option = "--user"
    try:
        users = [User.parse(text) for text in args.user or []]
        option = "--org"
        users = with_organizations(users, args.org)
    except ValueError as error:
        return _fail(f"{option}: {error}")
    bell = Bell()
    ended: list[int] = []  # signals
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: ended.append(number))
    try:
        hub = LocalHub(
            Path(args.root).expanduser(), host=args.host, port=args.port, users=users or None, fault_routes=args.faults
        ).start()
    except OSError as error:
        folder = f"--root {args.root} cannot be used: {error.strerror}."
        return _fail(folder if error.filename else str(error))
    except (ValueError, RuntimeError) as error:
        return _fail(str(error))
    print(hub.endpoint, flush=True)
    while not ended:
        bell.wait()
    hub.stop()
    return 0


def _fail(sentence: str) -> int:
    print(f"hubspool hub: {sentence}", file=sys.stderr)
    return 1
