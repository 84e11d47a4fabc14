"""`hubspool` itself: help, suggestions, completion, and an import that loads nothing heavy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from hubspool import __version__
from hubspool.cli import group, main
from hubspool.scheduling.status import counted

COMMANDS = [
    "compact",
    "doctor",
    "flush",
    "forget",
    "hub",
    "login",
    "publish",
    "read",
    "status",
    "upload",
    "upload-large-folder",
    "verify",
]
HEAVY = {"gradio", "hf_xet", "hubspool.client.hf_api", "hubspool.push.ledger", "requests", "sqlite3", "starlette"}
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_hubspool_alone_prints_the_help_and_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert [line.split()[0] for line in said.out.partition("Commands:\n")[2].splitlines()[: len(COMMANDS)]] == COMMANDS
    assert "Examples:" in said.out


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("command", [[], ["upload"]], ids=["hubspool", "upload"])
def test_both_spellings_of_help(command: list[str], option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, option]) == 0
    assert capsys.readouterr().out.startswith(" ".join(["Usage: hubspool", *command]))


def test_help_works_in_a_broken_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HUBSPOOL_LOG", "LOUD")
    assert main(["status", "--help"]) == 0
    assert main(["status", "."]) == 1
    assert capsys.readouterr().err.startswith("hubspool: HUBSPOOL_LOG is ")


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"hubspool {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["uploa"], "Did you mean 'upload'?"),
        (["statsu", "."], "Did you mean 'status'?"),
        (["upload", "a", "--repo-typ", "model"], "Did you mean '--repo-type'?"),
        (["upload", "--inclde", "*"], "'--include'"),
        (["flush", "--time-out", "5", "."], "Did you mean '--timeout'?"),
    ],
)
def test_an_unknown_name_is_refused_with_a_suggestion(
    arguments: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Error: No such " in said.err
    assert meant in said.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_printed_for_each_shell(shell: str, run: Run) -> None:
    done = run(_HUBSPOOL_COMPLETE=f"{shell}_source")
    assert done.returncode == 0
    assert f"_HUBSPOOL_COMPLETE={shell}_complete" in done.stdout


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("hubspool up", ["upload", "upload-large-folder"]),
        ("hubspool upload --create", ["--create-pr"]),
        ("hubspool doctor --repo-type d", ["dataset"]),
    ],
)
def test_the_shell_completes_commands_options_and_values(words: str, found: list[str], run: Run) -> None:
    count = str(len(words.split()) - 1)
    done = run(_HUBSPOOL_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=count)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.partition(",")[2] for line in done.stdout.splitlines()] == found


def test_the_command_line_loads_nothing_heavy_before_a_command_runs() -> None:
    code = "import sys, hubspool.cli; print(*sys.modules)"
    # Coverage starts in each child, and its own imports would be found.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, env=env)
    assert {*done.stdout.split()} & HEAVY == set()


def test_every_option_has_a_help_that_is_a_sentence() -> None:
    texts = {
        f"{command.name} {parameter.name}": getattr(parameter, "help", None) or ""
        for command in group.commands.values()
        for parameter in command.params
    }
    assert [name for name, text in texts.items() if not text.endswith(".")] == []


@pytest.mark.parametrize(("number", "text"), [(0, "0 files"), (1, "1 file"), (2, "2 files")])
def test_nouns_have_the_right_plural(number: int, text: str) -> None:
    assert counted(number, "file") == text
    assert counted(number, "process", "processes") == text.replace("files", "processes").replace("file", "process")
