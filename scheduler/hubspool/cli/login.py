"""``hubspool login``: keep a token where every client looks for it."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from typing import Any

from hubspool.client.hf_api import HfApi
from hubspool.errors import HFValidationError
from hubspool.settings import Settings


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "login",
        help="check a token and keep it",
        description="Asks for a token, checks it with the Hub and writes it where hubspool and huggingface_hub look.",
    )
    parser.add_argument("--token", help="the token; asked for, or read from a pipe, by default")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Check the token, then write the file for its owner alone (mode 0600)."""
    token = args.token or (getpass.getpass("Token: ") if sys.stdin.isatty() else sys.stdin.readline())
    if not token.strip():
        raise HFValidationError("No token was given.", hint="Make one at https://huggingface.co/settings/tokens.")
    settings = Settings.from_env()
    account = HfApi(token=token.strip()).whoami()
    path = settings.token_path
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(token.strip())
    hidden.replace(path)
    print(f"Logged in as {account['name']} at {settings.endpoint}; the token is in {path}.")
    if settings.env_token is not None:
        print("HF_TOKEN is set and wins over it.", file=sys.stderr)
    return 0
