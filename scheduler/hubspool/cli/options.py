"""What the commands share: their class, options that several have, types of values."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from functools import reduce
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hubspool.cli.output import FORMATS
from hubspool.settings import Settings

if TYPE_CHECKING:
    from hubspool.client.hf_api import HfApi
    from hubspool.push.remote import RemoteRepo

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


class Command(click.Command):
    """A command whose help is the docstring of its function, with the lines after "Examples:" as they are.

    While it runs, the log goes to stderr at the level of `HUBSPOOL_LOG`.
    """

    def __init__(self, *args: Any, help: str, **attributes: Any) -> None:  # noqa: A002 - click's name
        text, _, examples = inspect.cleandoc(help).partition("Examples:\n")
        attributes |= {"help": text, "epilog": f"\b\nExamples:\n{examples}"}
        super().__init__(*args, **attributes)
        self.no_args_is_help = any(parameter.required for parameter in self.params)

    def invoke(self, ctx: click.Context) -> Any:
        """Configure the log, then run the command."""
        log_format = "%(asctime)s %(levelname)s %(name)s: %(message)s"
        logging.basicConfig(level=Settings.from_env().log_level, format=log_format)
        return super().invoke(ctx)


class LocalPath(click.Path):
    """A path on this machine, as a `pathlib.Path`; `~` is the home folder."""

    def convert(self, value: str | PathLike[str], *context: Any) -> Path:
        """Check the path as `click.Path` does."""
        return Path(str(super().convert(Path(value).expanduser(), *context)))


def option_group(*options: Callable[[Any], Any]) -> Callable[[_Decorated], _Decorated]:
    """Return a decorator that gives a command several options, in their order."""
    return lambda command: reduce(lambda decorated, option: option(decorated), reversed(options), command)


def repo_type_option(**settings: Any) -> Callable[[_Decorated], _Decorated]:
    """Return the option --repo-type."""
    choices = click.Choice(["model", "dataset", "space"])
    return click.option("--repo-type", type=choices, help="Kind of repository.", **settings)


def duration_option(name: str, unit: str, **settings: Any) -> Callable[[_Decorated], _Decorated]:
    """Return an option whose value is a number of minutes or seconds. Not of `click.FloatRange`, which accepts NaN."""

    def check(_context: click.Context, _option: click.Parameter, value: float | None) -> float | None:
        if value is not None and not value > 0:
            raise click.BadParameter(f"{value:g} is not a number of {unit} greater than 0.")
        return value

    return click.option(name, type=float, callback=check, metavar=unit.upper(), **settings)


def patterns_option(option: str, name: str, text: str) -> Callable[[_Decorated], _Decorated]:
    """Return an option that can be repeated; its value is a list, or None when it was not given."""
    text = f"{text}; may be repeated."
    return click.option(
        option, name, multiple=True, metavar="GLOB", callback=lambda _, __, found: [*found] or None, help=text
    )


def full_id(api: HfApi, repo_id: str) -> str:
    """Return user/name; a name alone is in the account of the token."""
    return repo_id if "/" in repo_id else f"{api.whoami(cache=True)['name']}/{repo_id}"


def remote_repo(repo_id: str, repo_type: str, revision: str, token: str | None) -> RemoteRepo:
    """Return the branch that a command is given."""
    from hubspool.client.hf_api import HfApi
    from hubspool.push.remote import RemoteRepo

    api = HfApi(token=token, library_name="hubspool-cli")
    return RemoteRepo(api, api.target(full_id(api, repo_id), repo_type, revision))


repo_id_argument = click.argument("repo_id", help="Repository, as user/name; a name alone is in your own account.")
token_option = click.option("--token", help="Token to use in place of HF_TOKEN and the token file.")
branch_options = option_group(
    repo_type_option(default="dataset"), click.option("--revision", default="main", help="Branch."), token_option
)
folder_options = option_group(
    click.argument("folder", type=LocalPath(exists=True, file_okay=False, resolve_path=True), help="The folder_path."),
    click.option("--state-dir", type=LocalPath(), metavar="DIR", help="The state_dir, if the scheduler has one."),
)
selection_options = option_group(
    click.option("--revision", show_default="main", help="Branch, or pull request such as refs/pr/1."),
    click.option("--private/--public", default=None, help="Visibility of the repository if it is created."),
    patterns_option("--include", "allow_patterns", "Upload only files that match"),
    patterns_option("--exclude", "ignore_patterns", "Upload no file that matches"),
    token_option,
)
output_options = option_group(
    click.option(
        "--format",
        "output_format",
        type=click.Choice(FORMATS),
        show_default=FORMATS[0],
        help="human prints the address of the upload, json an object on one line, quiet the address without progress.",
    ),
    click.option("--json", "output_format", flag_value="json", help="Same as --format json."),
    click.option("-q", "--quiet", "output_format", flag_value="quiet", help="Same as --format quiet."),
)
