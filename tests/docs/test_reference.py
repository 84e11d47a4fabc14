"""The reference: every public name is on a page, with all of its options; what is generated comes from the code."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
from types import ModuleType

import click
import pytest

import hubspool
import hubspool.errors
import hubspool.extending
import hubspool.local_hub
import hubspool_templates
from hubspool.cli import group
from tests.support.paths import ROOT
from tests.support.reader import PAGES


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    """What MkDocs calls for each page."""
    spec = importlib.util.spec_from_file_location("docs_hook", ROOT / ".ci" / "docs_hook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rendered(hook: ModuleType) -> str:
    """All pages as MkDocs gets them."""
    return "\n".join(hook.rendered(text, "https://example.org") for text in PAGES.values())


@pytest.mark.parametrize("module", [hubspool, hubspool.extending, hubspool.local_hub, hubspool_templates], ids=str)
def test_every_public_name_is_in_the_reference(module: ModuleType, rendered: str) -> None:
    found = {*re.findall(r"^::: ([\w.]+)", rendered, re.MULTILINE), *re.findall(r"`(hubspool\.\w+)` \|", rendered)}
    assert [name for name in module.__all__ if f"{module.__name__}.{name}" not in found] == []


def test_every_public_error_is_on_its_page_once() -> None:
    names = {name for name, value in vars(hubspool.errors).items() if inspect.isclass(value)}
    names = {name for name in names if name[0] != "_" and vars(hubspool.errors)[name].__module__ == "hubspool.errors"}
    assert "RateLimitedError" in names
    found = re.findall(r"^::: (?:hubspool|hubspool\.errors)\.(\w+)$", PAGES["errors.md"], re.MULTILINE)
    assert sorted(name for name in found if name != "errors") == sorted(names)
    tree = str(hubspool.errors.__doc__)
    missing = [name for name in names - {"Outcome", "ErrorResponse"} if not re.search(rf"\b{name}\b", tree)]
    assert missing == []


@pytest.mark.parametrize(
    "name",
    [
        "hubspool.CommitScheduler",
        *(f"hubspool_templates.{kind}Scheduler" for kind in ("Jsonl", "Parquet", "Zip")),
        "hubspool_templates.TrainingLogs",
    ],
)
def test_every_option_is_described(name: str, hook: ModuleType) -> None:
    assert f"<!-- options {name} -->" in "".join(PAGES.values())
    module, _, kind = name.rpartition(".")
    signature = inspect.signature(getattr(importlib.import_module(module), kind))
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", hook.options(name), re.MULTILINE)
    assert [option for option, _, _ in rows] == [*signature.parameters]
    assert [option for option, default, text in rows if not default or len(text) < 10] == []


def test_the_command_line_has_every_command_and_option(hook: ModuleType) -> None:
    text = "\n".join(hook.commands())
    context = click.Context(group, **group.context_settings)
    for name, command in group.commands.items():
        section = text.split(f"## `hubspool {name}`\n")[1].split("\n## ")[0]
        named = {option for each in command.get_params(click.Context(command, context)) for option in each.opts}
        assert [option for option in named if option.startswith("-") and option not in section] == []
    assert "<!-- commands -->" in PAGES["command_line.md"]


def test_a_link_out_of_the_pages_goes_to_the_repository(hook: ModuleType) -> None:
    assert hook.rendered("see [it](../CHANGELOG.md)", "https://a.example") == (
        "see [it](https://a.example/blob/main/CHANGELOG.md)"
    )
