"""What a scheduler shows: its public names are documented, its options are visible and typed."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import hubspool_templates
from hubspool import CommitScheduler
from hubspool.scheduling.options import SchedulerOptions

KINDS: list[type] = [
    CommitScheduler,
    hubspool_templates.RowScheduler,
    hubspool_templates.JsonlScheduler,
    hubspool_templates.ParquetScheduler,
    hubspool_templates.ZipScheduler,
    hubspool_templates.TrainingLogs,
]
READY_MADE = KINDS[2:]


@pytest.mark.parametrize("kind", KINDS)
def test_dir_shows_what_the_documentation_names_and_nothing_else(kind: type) -> None:
    documentation = "\n".join(base.__doc__ or "" for base in kind.__mro__[:-1])
    public = {name for name in dir(kind) if not name.startswith("_")}
    assert {name for name in public if f"`{name}`" not in documentation} == set()


@pytest.mark.parametrize("kind", READY_MADE)
def test_help_and_signature_show_every_option(kind: type) -> None:
    shown = inspect.signature(kind).parameters
    assert set(SchedulerOptions.__annotations__) <= set(shown)
    assert not any(each.kind is each.VAR_KEYWORD for each in shown.values())
    done = subprocess.run(
        [sys.executable, "-c", f"import hubspool_templates; help(hubspool_templates.{kind.__name__})"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    heading = done.stdout.split("Method resolution order", 1)[0]
    assert "on_existing" in heading
    assert "every" in heading


def test_the_typed_options_are_those_of_the_constructor() -> None:
    shown = inspect.signature(CommitScheduler).parameters
    assert set(SchedulerOptions.__annotations__) == set(shown) - {"repo_id", "folder_path"}


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_option_is_an_error_that_names_the_scheduler_and_the_option_that_was_meant(
    kind: Any, tmp_path: Path
) -> None:
    with pytest.raises(TypeError, match=rf"{kind.__name__}\(\) .*'evry'.*'every'"):
        kind(repo_id="user/rows", folder_path=tmp_path / "folder", evry=5)
    assert not (tmp_path / "folder").exists()


def test_a_subclass_that_takes_options_of_its_own_is_not_refused(tmp_path: Path) -> None:
    class Own(CommitScheduler):
        is_sending = False

        def __init__(self, **options: Any) -> None:
            self.colour = options.pop("colour")
            super().__init__(**options)

    assert Own(repo_id="user/rows", folder_path=tmp_path, colour="red").colour == "red"
    with pytest.raises(TypeError, match="'evry'"):
        Own(repo_id="user/rows", folder_path=tmp_path, colour="red", evry=5)
