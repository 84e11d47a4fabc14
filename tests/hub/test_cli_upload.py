"""`hubspool upload`: arguments in any order, what it prints and where, what it refuses."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from hubspool import HfApi
from hubspool.local_hub import Fault, LocalHub
from tests.support.command_calls import Call, command_calls

REPO = "local/films"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def orders(arguments: Sequence[str], option: Sequence[str]) -> list[tuple[str, ...]]:
    return [(*arguments[:at], *option, *arguments[at:]) for at in range(len(arguments) + 1)]


@pytest.fixture
def call(
    local_hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Call:
    """Runs one command in this process, in a folder with `rows/` in it: exit code, stdout, stderr."""
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "0")
    return command_calls(local_hub, tmp_path, monkeypatch, capfd, "rows/a.txt", "rows/b.csv", "rows/c.log")


@pytest.fixture
def files(hub_api: HfApi) -> Callable[..., list[str]]:
    def listing(repo_type: str = "model", revision: str | None = None, repo: str = REPO) -> list[str]:
        found = hub_api.list_repo_files(repo, repo_type=repo_type, revision=revision)
        return [path for path in found if path != ".gitattributes"]

    return listing


@pytest.mark.parametrize("option", [("--repo-type", "dataset"), ("--repo-type=dataset",)], ids=["space", "equals"])
@pytest.mark.parametrize("position", range(4))
def test_options_may_stand_anywhere_among_the_arguments(
    position: int, option: tuple[str, ...], call: Call, files: Callable[..., list[str]], local_hub: LocalHub
) -> None:
    args = orders([REPO, "rows", "in/here"], option)[position]
    code, out, _ = call("upload", *args)
    assert (code, out) == (0, f"{local_hub.endpoint}/datasets/{REPO}/tree/main/in/here\n")
    assert files("dataset") == ["in/here/a.txt", "in/here/b.csv", "in/here/c.log"]


@pytest.mark.parametrize(
    "args", [*orders([REPO], ["--include", "*.txt"]), *orders([REPO, "rows"], ["--include=*.txt"])]
)
def test_options_may_stand_among_fewer_arguments(
    args: tuple[str, ...], call: Call, files: Callable[..., list[str]]
) -> None:
    Path("films").symlink_to("rows")
    assert call("upload", *args)[0] == 0
    assert files() == ["a.txt"]


def test_several_options_go_between_all_arguments(call: Call, files: Callable[..., list[str]]) -> None:
    options = [["-q"], ["--include", "*.txt"], ["--include", "*.csv"], ["--exclude", "b*"]]
    for number, (one, two, three, four) in enumerate(itertools.permutations(options)):
        code, out, err = call("upload", *one, REPO, *two, "rows", *three, f"to-{number}", *four)
        assert (code, err) == (0, "")
        assert out.endswith(f"/tree/main/to-{number}\n")
    assert sorted(files()) == sorted(f"to-{number}/a.txt" for number in range(24))


@pytest.mark.parametrize("position", range(3))
def test_the_large_upload_takes_its_options_anywhere_too(
    position: int, call: Call, files: Callable[..., list[str]], local_hub: LocalHub
) -> None:
    args = orders([REPO, "rows"], ["--repo-type=dataset", "--num-workers", "2", "--no-bars", "--exclude", "*.log"])
    code, out, err = call("upload-large-folder", *args[position])
    assert (code, out) == (0, f"{local_hub.endpoint}/datasets/{REPO}/tree/main\n")
    assert files("dataset") == ["a.txt", "b.csv"]
    assert "waiting: 2" in err
    assert "Recovering" not in err


def test_the_large_upload_is_silent_when_asked(call: Call) -> None:
    args = (REPO, "rows", "--repo-type", "dataset", "--no-report", "--private", "--include", "*.txt")
    code, out, err = call("upload-large-folder", *args)
    assert (code, err.splitlines()[1:]) == (0, [])  # but for what was created
    assert out.endswith("/tree/main\n")


@pytest.mark.parametrize(
    ("arguments", "page", "found"),
    [
        (["rows/a.txt"], "blob/main/a.txt", ["a.txt"]),
        (["rows/a.txt", "."], "blob/main/a.txt", ["a.txt"]),
        (["rows/a.txt", "x/"], "blob/main/x/a.txt", ["x/a.txt"]),
        (["rows/a.txt", "x/y z.txt"], "blob/main/x/y%20z.txt", ["x/y z.txt"]),
        (["./rows", "."], "tree/main", ["a.txt", "b.csv", "c.log"]),
        (["rows", "./x/"], "tree/main/x", ["x/a.txt", "x/b.csv", "x/c.log"]),
    ],
)
def test_where_it_goes_and_which_address_is_printed(
    arguments: list[str],
    page: str,
    found: list[str],
    call: Call,
    files: Callable[..., list[str]],
    local_hub: LocalHub,
) -> None:
    code, out, _ = call("upload", REPO, *arguments)
    assert (code, out) == (0, f"{local_hub.endpoint}/{REPO}/{page}\n")
    assert files() == found


def test_without_a_path_what_is_named_like_the_repo_is_uploaded(call: Call, files: Callable[..., list[str]]) -> None:
    code, out, err = call("upload", REPO)
    assert (code, out) == (1, "")
    assert "nothing here is named films. Pass it: hubspool upload local/films LOCAL_PATH." in err
    Path("films").write_text("x")
    assert call("upload", REPO)[1].endswith("/blob/main/films\n")
    Path("films").unlink()
    Path("rows").rename("films")
    assert call("upload", REPO)[1].endswith("/tree/main\n")
    assert files() == ["a.txt", "b.csv", "c.log", "films"]


def test_a_commit_can_delete_and_says_what_it_is_told_to(
    call: Call, files: Callable[..., list[str]], hub_api: HfApi
) -> None:
    call("upload", REPO, "rows", "logs")
    Path("rows", "c.log").unlink()
    Path("rows", "d.log").write_text("d")
    call("upload", REPO, "rows", "logs", "--delete", "*.log", "--commit-message", "New", "--commit-description", "Why")
    assert files() == ["logs/a.txt", "logs/b.csv", "logs/d.log"]
    assert hub_api.list_repo_commits(REPO)[0].message.split() == ["Why"]
    assert hub_api.list_repo_commits(REPO)[0].title == "New"


def test_a_branch_is_made_and_a_pull_request_opened(
    call: Call, files: Callable[..., list[str]], local_hub: LocalHub
) -> None:
    code, out, _ = call("upload", REPO, "rows/a.txt", "--revision", "side")
    assert (code, out) == (0, f"{local_hub.endpoint}/{REPO}/blob/side/a.txt\n")
    assert (files(), files(revision="side")) == ([], ["a.txt"])
    code, out, err = call("upload", REPO, "rows/b.csv", "--create-pr")
    assert (code, out) == (0, f"{local_hub.endpoint}/{REPO}/blob/refs%2Fpr%2F1/b.csv\n")
    assert f"Opened the pull request {local_hub.endpoint}/{REPO}/discussions/1" in err
    code, out, _ = call("upload", REPO, "rows/c.log", "--revision", "refs/pr/1")
    assert code == 0
    assert files(revision="refs/pr/1") == ["b.csv", "c.log"]


@pytest.mark.parametrize(("options", "private"), [([], False), (["--private"], True)])
def test_the_repo_is_made_as_asked(options: list[str], private: bool, call: Call, hub_api: HfApi) -> None:
    assert call("upload", REPO, "rows", *options)[0] == 0
    assert hub_api.repo_info(REPO).private is private


@pytest.mark.parametrize("options", [["--json"], ["--format", "json"]])
def test_json_is_one_object_on_stdout(options: list[str], call: Call, hub_api: HfApi, local_hub: LocalHub) -> None:
    code, out, err = call("upload", REPO, "rows", *options)
    found = json.loads(out)
    head = hub_api.repo_info(REPO).sha
    assert code == 0
    assert found == {
        "url": f"{local_hub.endpoint}/{REPO}/tree/main",
        "commit": head,
        "commit_url": f"{local_hub.endpoint}/{REPO}/commit/{head}",
        "is_noop": False,
    }
    assert "Uploading rows" in err
    assert json.loads(call("upload", REPO, "rows", *options)[1])["is_noop"] is True


@pytest.mark.parametrize("options", [["-q"], ["--quiet"], ["--format=quiet"]])
def test_quiet_is_the_address_alone(options: list[str], call: Call) -> None:
    code, out, err = call("upload", REPO, "rows", *options)
    assert (code, err) == (0, "")
    assert re.fullmatch(r"http\S+/tree/main\n", out)


def test_what_has_not_changed_makes_no_commit_and_is_said(call: Call, hub_api: HfApi) -> None:
    call("upload", REPO, "rows")
    code, out, err = call("upload", REPO, "rows")
    assert code == 0
    assert out.endswith("/tree/main\n")
    assert "Nothing has changed: no commit was made." in err
    assert len(hub_api.list_repo_commits(REPO)) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "There is no file or folder nowhere."),
        (["rows/a.txt", "../a.txt"], "leaves the repository"),
        (["rows", "--token", "hf_wrong"], "refused"),
        (["rows", "--repo-type", "model", "--revision", "bad..name"], "bad..name"),
        (["rows", "--every", "5", "--token", "hf_wrong"], "refused"),
    ],
)
def test_a_known_error_is_one_sentence_with_a_hint_and_exit_code_1(arguments: list[str], said: str, call: Call) -> None:
    code, out, err = call("upload", REPO, *arguments)
    assert (code, out) == (1, "")
    assert said in err
    assert err.splitlines()[-1].startswith("hubspool: ")
    assert "Traceback" not in err
    assert "hf_wrong" not in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--quiet"], "Missing argument 'REPO_ID'"),
        ([REPO, "rows", ".", "more"], "unexpected extra argument (more)"),
        ([REPO, "rows", "--repo-type", "film"], "'film' is not one of"),
        ([REPO, "rows", "--format", "xml"], "--format"),
        ([REPO, "rows", "--every", "often"], "'often' is not a valid float"),
        ([REPO, "rows", "--every", "0"], "greater than 0"),
        ([REPO, "rows", "--every", "nan"], "greater than 0"),
        ([REPO, "rows", "--every", "5", "--delete", "*"], "--delete cannot be used with --every"),
        ([REPO, "rows", "--every", "5", "--create-pr"], "--create-pr cannot be used with --every"),
        ([REPO, "rows/a.txt", "other.txt", "--every", "5"], "PATH_IN_REPO has to end in a.txt"),
        ([REPO, "rows", "--versioned", "*.csv"], "--versioned needs --every"),
        ([REPO, "rows/a.txt", "--include", "*"], "--include is for folders"),
        ([REPO, "rows", "--unknown"], "No such option '--unknown'"),
    ],
)
def test_wrong_arguments_are_exit_code_2_and_nothing_is_sent(
    arguments: list[str], said: str, call: Call, local_hub: LocalHub
) -> None:
    code, out, err = call("upload", *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert "Usage: hubspool" in err
    assert list(local_hub.requests) == []


def test_the_large_upload_wants_the_repo_type(call: Call) -> None:
    code, _, err = call("upload-large-folder", REPO, "rows")
    assert code == 2
    assert "Missing option '--repo-type'" in err


def test_a_name_that_begins_with_a_dash_goes_after_two_dashes(call: Call, files: Callable[..., list[str]]) -> None:
    Path("-odd.txt").write_text("x")
    assert call("upload", "--repo-type", "dataset", "--", REPO, "-odd.txt")[0] == 0
    assert files("dataset") == ["-odd.txt"]


def test_a_space_is_made_with_an_sdk(call: Call, files: Callable[..., list[str]], local_hub: LocalHub) -> None:
    code, out, _ = call("upload", "films", "rows", "--repo-type", "space")
    assert (code, out) == (0, f"{local_hub.endpoint}/spaces/{REPO}/tree/main\n")
    assert "a.txt" in files("space")


def test_a_reader_that_has_gone_is_no_traceback(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    reading, writing = os.pipe()
    os.close(reading)
    env.pop("PYTHONUNBUFFERED", None)
    for arguments in (["upload", REPO, "a.txt"], ["upload", "--help"]):
        argv = [sys.executable, "-m", "hubspool.cli", *arguments]
        done = subprocess.run(
            argv, env=env, cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=90
        )
        assert done.returncode == 141
        assert "Traceback" not in done.stderr
        assert "BrokenPipe" not in done.stderr
    os.close(writing)


def on_terminal(argv: Sequence[str], env: dict[str, str], cwd: Path) -> tuple[int, str]:
    """Run a command with a terminal for stderr; what it wrote there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))  # a bar needs a width
    process = subprocess.Popen([*argv], env=env, cwd=cwd, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    said = b""
    with suppress(OSError):  # how a terminal says that its other side has gone
        while chunk := os.read(ours, 65536):
            said += chunk
    os.close(ours)
    return process.wait(60), said.decode()


@pytest.mark.parametrize("plain", [False, True])
def test_a_terminal_gets_a_bar_and_colour_unless_no_color_is_set(
    plain: bool, env: dict[str, str], tmp_path: Path, local_hub: LocalHub
) -> None:
    (tmp_path / "large").mkdir()
    for number in range(12):
        (tmp_path / "large" / f"{number}.bin").write_bytes(os.urandom(1_000_000))
    env["HF_HUB_DISABLE_XET"] = "1"
    local_hub.faults.add(Fault(route="lfs-put", delay=0.5, times=None))  # what is over at once gets no bar
    if plain:
        env["NO_COLOR"] = "1"
    argv = [sys.executable, "-m", "hubspool.cli", "upload", REPO]
    code, said = on_terminal([*argv, "large"], env, tmp_path)
    assert code == 0
    assert len(local_hub.faults.hits) == 12
    assert re.search(r"100%.*12\.0M/12\.0M", said)
    code, said = on_terminal([*argv, "nowhere"], env, tmp_path)
    assert code == 1
    assert ("\x1b[31m" in said) is not plain


def test_where_there_is_no_terminal_there_is_no_bar(run: Run, tmp_path: Path) -> None:
    (tmp_path / "big.bin").write_bytes(os.urandom(12_000_000))
    done = run("upload", REPO, "big.bin", HF_HUB_DISABLE_PROGRESS_BARS=None)
    assert done.returncode == 0
    assert "%" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
