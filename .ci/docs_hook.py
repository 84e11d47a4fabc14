"""What the documentation site generates from the code; MkDocs calls it for each page.

- ``<!-- commands -->``: each command of the command line with its options, from click.
- ``<!-- options CLASS -->``: each argument of a class with its default, from its signature and docstrings.
- ``<!-- functions -->``: the functions of `hubspool`, and the method that each of them is.
- A link to a file outside of docs/ goes to the repository, so that pages can also be read there.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import click

_ENTRY = re.compile(r"^    (\w[\w, ]*): (.*(?:\n {8,}.*)*)", re.MULTILINE)
_OUTSIDE = re.compile(r"\]\(\.\./([^)]*)\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:  # noqa: ARG001 - MkDocs's names
    """Replace the marks on a page."""
    return rendered(markdown, config.extra["source"])


def on_page_content(html: str, **_: Any) -> str:
    """Write the `::` with which docstrings announce code as a colon."""
    return html.replace("<p>::</p>", "").replace("::</p>", ":</p>")


def rendered(markdown: str, source: str) -> str:
    """Return a page with what its marks stand for.

    Args:
        markdown: the page.
        source: address of the repository.
    """
    markdown = re.sub(r"<!-- options (\S+) -->", lambda mark: options(mark[1]), markdown)
    markdown = markdown.replace("<!-- commands -->", "\n".join(commands()))
    markdown = markdown.replace("<!-- functions -->", "\n".join(functions()))
    return _OUTSIDE.sub(rf"]({source}/blob/main/\1)", markdown)


def options(path: str) -> str:
    """Return a table of all arguments of a class, inherited ones too."""
    module, _, name = path.rpartition(".")
    kind = getattr(import_module(module), name)
    # A class that only refers to its base ("those of …") leaves the base's description in place.
    said: dict[str, str] = {}
    for base in kind.__mro__:
        for option, text in described(base):
            if option not in said and not text.startswith("those of"):
                said[option] = text
    lines = ["| argument | default | meaning |", "|---|---|---|"]
    for each in inspect.signature(kind).parameters.values():
        if each.kind is not each.VAR_KEYWORD:
            default = "required" if each.default is each.empty else f"`{each.default!r}`"
            lines.append(f"| `{each.name}` | {cell(default)} | {cell(said[each.name])} |")
    return "\n".join(lines)


def described(kind: type) -> Iterator[tuple[str, str]]:
    """Yield each argument that the docstring of a class describes, with its text."""
    text = inspect.cleandoc(kind.__doc__ or "")
    section = re.search(r"^Args:\n((?:    .*\n?|\n)*)", text, re.MULTILINE)
    for names, meaning in _ENTRY.findall(section[1] if section else ""):
        for name in names.split(", "):
            yield name, " ".join(meaning.split())


def commands() -> Iterator[str]:
    """Yield a section for each command: its help, its arguments and options, examples."""
    from hubspool.cli import group

    context = click.Context(group, info_name="hubspool", **group.context_settings)
    for name, command in group.commands.items():
        inner = click.Context(command, context, info_name=name, **group.context_settings)
        yield f"## `hubspool {name}`\n"
        yield plain(command.help or "").replace("LOCAL_PATH", "`LOCAL_PATH`").replace("PATH_IN_REPO", "`PATH_IN_REPO`")
        yield f"\n```text\n{' '.join([inner.command_path, *command.collect_usage_pieces(inner)])}\n```\n"
        yield "| argument or option | meaning |\n|---|---|"
        for parameter in command.get_params(inner):
            if isinstance(parameter, click.Argument):
                yield f"| `{parameter.make_metavar(inner)}` | {cell(str(vars(parameter).get('help') or ''))} |"
            elif record := parameter.get_help_record(inner):
                yield f"| `{record[0].replace('|', '¦')}` | {cell(record[1])} |"
        examples = inspect.cleandoc((command.epilog or "").partition("Examples:\n")[2])
        if examples:
            yield f"\n```sh\n{examples}\n```\n"


def functions() -> Iterator[str]:
    """Yield a row for each function of the package."""
    import hubspool

    yield "| function | the method |\n|---|---|"
    for name in hubspool.__all__:
        if name.islower():
            yield f"| `hubspool.{name}` | [`HfApi.{name}`][hubspool.HfApi.{name}] |"


def plain(text: str) -> str:
    """Return a help text without click's marks."""
    return text.replace("\b\n", "")


def cell(text: str) -> str:
    """Return a text for a cell of a table, with the code of docstrings as code."""
    return re.sub(r"``(.+?)``", r"`\1`", text).replace("|", "\\|").replace("<", "&lt;")
