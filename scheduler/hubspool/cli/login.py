"""`hubspool login`: check a token and store it where every client reads it."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from hubspool.cli.options import Command
from hubspool.cli.output import print_line
from hubspool.errors import HFValidationError, LocalFileError, UnauthorizedError
from hubspool.settings import Settings


@click.command("login", cls=Command)
@click.option("--token", help="The token; by default it is asked for, or read from stdin if that is a pipe.")
def login(token: str | None) -> None:
    """Check a token and store it.

    The token is checked with the Hub and written to the file that hubspool and huggingface_hub read (HF_TOKEN_PATH).
    No other user can read this file.

    Examples:
      hubspool login
      hubspool login < token.txt
    """
    from hubspool.client.hf_api import HfApi

    if token is None:
        token = click.prompt("Token", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline()
    token = str(token).strip()
    if not token:
        raise HFValidationError("The token is empty.", hint="Create one at https://huggingface.co/settings/tokens.")
    settings = Settings.from_env()
    try:
        account = HfApi(token=token).whoami()
    except UnauthorizedError as error:
        error.hint = f"Copy the whole token of an account at {settings.endpoint}, or make a new one there."
        raise
    path = settings.token_path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent) as folder:  # so that a failure leaves no file with the token
            file = Path(folder, "token")
            file.touch(0o600)
            file.write_text(token, encoding="utf-8")
            file.replace(path)
    except OSError as error:
        hint = "Free space, or set HF_TOKEN_PATH to a file that this user may write."
        raise LocalFileError(f"{path} cannot be written: {error.strerror}.", hint=hint) from None
    print_line(f"Logged in as {account['name']} at {settings.endpoint}; the token is in {path}.", "ok")
    if settings.env_token is not None:
        click.echo("HF_TOKEN is set and is used in place of the stored token.", err=True)
