"""What the commands print: one sentence for each wrong value, what was created, signs and colours on a terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import click
import pytest

from hubspool import HfApi
from hubspool.cli import group
from hubspool.local_hub import Fault, LocalHub
from tests.support.command_calls import Call, command_calls

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def call(
    local_hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Call:
    """Runs one command in this process, in a folder with `file.txt` and `rows/`: exit code, stdout, stderr."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    return command_calls(local_hub, tmp_path, monkeypatch, capfd, "rows/a.txt", "file.txt")


WRONG = {
    "upload local/m file.txt ../up": "'..' leaves the repository",
    "upload local/bad..name file.txt": "Not a repository id: 'local/bad..name'",
    "upload buckets/o/n file.txt": "The address of a bucket is 'hf://buckets/o/n'.",
    "upload hf://buckets/o/n rows --every 1 --repo-type space": "repo_type is 'space', and hf://buckets/o/n is a",
    "read hf://bucket/o/n": "The address of a bucket is 'hf://buckets/o/n'.",
    "verify https://huggingface.co/datasets/o/n": "Its id is 'o/n'.",
    "verify hf://buckets/o/n --repo-type model": "repo_type is 'model', and hf://buckets/o/n is a bucket.",
    "publish hf://buckets/o/n hf://datasets/o/n": "Its id is 'o/n'.",
    "upload local/m nothing.txt": "There is no file or folder nothing.txt",
    "upload local/m file.txt --repo-type bucket": "'bucket' is not one of",
    "upload local/m file.txt --every nan": "nan is not a number of minutes greater than 0.",
    "upload local/m file.txt --every 1e9": "Give a number of minutes from 0 to a year.",
    "upload local/m file.txt --token ": "The argument token is empty.",
    "upload-large-folder local/m file.txt --repo-type model": "There is no folder file.txt.",
    "upload-large-folder local/m rows --repo-type model --num-workers 0": "0 is not in the range x>=1",
    "upload-large-folder local/m rows --repo-type model --revision ": "Not a revision: ''",
    "flush rows": "is not a scheduler's folder",
    "flush rows --timeout -1": "-1 is not a number of seconds greater than 0.",
    "flush rows --timeout nan": "nan is not a number of seconds greater than 0.",
    "flush rows --from a": "--from and --to belong together",
    "status file.txt": "Directory 'file.txt' is a file.",
    "doctor --every 0": "0 is not a number of minutes greater than 0.",
    "doctor --replicas 0": "0 is not in the range x>=1",
    "login --token ": "The token is empty.",
    "hub --root file.txt": "--root file.txt is a file. Pass a folder",
    "hub --root h --port 99999": "--port 99999 is not a port. Use 0 to 65535.",
    "hub --root h --user bad": "User 'bad' is not written as NAME:TOKEN",
    "hub --root h --org x": "Organization 'x' is not written as NAME:USER",
    "hub --root h --users-file nothing.txt": "File 'nothing.txt' does not exist.",
}


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_value_is_named_in_one_sentence_and_nothing_is_created(
    line: str, call: Call, local_hub: LocalHub
) -> None:
    code, out, err = call(*line.split(" "))
    assert code in (1, 2)
    assert out == ""
    assert WRONG[line] in err
    assert "Traceback" not in err
    assert [row for row in err.splitlines() if row.startswith(("hubspool: ", "Error: "))] == err.splitlines()[-1:]
    if "1e9" not in line:
        assert not [request for request in local_hub.requests if request.method == "POST"]


def test_each_option_with_a_type_is_refused_with_its_name(call: Call) -> None:
    for command in group.commands.values():
        for option in command.params:
            if option.type.name in ("text", "path", "directory", "file", "boolean", "choice"):
                continue
            words: list[str] = []
            for each in command.params:
                if each.required and each is not option:
                    words += each.opts[:1] if each.opts[0].startswith("-") else []
                    words.append(each.type.choices[0] if isinstance(each.type, click.Choice) else ".")
            code, _, err = call(str(command.name), *words, option.opts[0], "many")
            assert code == 2, (command.name, option.opts)
            assert option.opts[0] in err
            assert "Traceback" not in err


def test_the_help_of_publish_says_that_it_writes_to_the_bucket(call: Call) -> None:
    assert "the token must be able to write there" in " ".join(call("publish", "--help")[1].split())


@pytest.mark.parametrize("command", ["upload", "upload-large-folder", "flush", "status", "hub"])
def test_a_bare_command_that_needs_arguments_prints_its_help(command: str, call: Call) -> None:
    code, out, err = call(command)
    assert code == 2
    assert "Examples:" in out + err
    assert "Missing argument" not in out + err


@pytest.mark.parametrize(
    ("options", "said", "private"),
    [
        ([], "Created the public model local/m (--private and --repo-type create another kind).", False),
        (["--private"], "Created the private model local/m (--public and --repo-type create another kind).", True),
        (["--repo-type", "dataset"], "Created the public dataset local/m (--private and", False),
    ],
    ids=str,
)
def test_upload_says_in_one_line_what_it_created(
    options: list[str], said: str, private: bool, call: Call, hub_api: HfApi
) -> None:
    code, _, err = call("upload", "local/m", "file.txt", *options)
    assert (code, err.splitlines()[0].startswith(said)) == (0, True)
    repo_type = "dataset" if "dataset" in options else "model"
    assert hub_api.repo_info("local/m", repo_type=repo_type).private is private
    Path("file.txt").write_text("other")
    assert "Created" not in call("upload", "local/m", "file.txt", *options)[2]
    assert "Created" not in call("upload", "local/other", "file.txt", "--quiet")[2]


def test_an_upload_does_not_fail_for_what_it_says_of_the_repository(call: Call, local_hub: LocalHub) -> None:
    local_hub.faults.add(Fault(route="repo-info", status=404, times=None))
    code, _, err = call("upload", "local/m", "file.txt")
    assert local_hub.faults.hits
    assert code == 0, err
    assert err.startswith("Created the model local/m (")


def test_a_failed_large_upload_says_what_it_created_before_its_error(call: Call, local_hub: LocalHub) -> None:
    local_hub.faults.add(Fault(route="preupload", status=403, times=None))
    code, _, err = call("upload-large-folder", "local/m", "rows", "--repo-type", "model", "--no-report", "--private")
    assert local_hub.faults.hits
    assert code == 1
    assert err.startswith("Created the private model local/m (")
    assert err.splitlines()[-1].startswith("hubspool: The token does not permit this")
    last = [request.route for request in local_hub.requests][-1]
    assert last == "preupload"


def test_the_large_upload_says_what_it_created(call: Call) -> None:
    code, out, err = call("upload-large-folder", "big", "rows", "--repo-type", "dataset", "--no-report")
    assert code == 0
    assert err.splitlines()[0].startswith("Created the public dataset local/big (--private and")
    assert out.endswith("/datasets/local/big/tree/main\n")


@pytest.mark.parametrize(("options", "private"), [([], True), (["--public"], False)])
def test_upload_every_is_private_as_a_scheduler(
    options: list[str], private: bool, env: dict[str, str], tmp_path: Path, hub_api: HfApi
) -> None:
    (tmp_path / "rows").mkdir()
    argv = [sys.executable, "-m", "hubspool.cli", "upload", "local/m", "rows", "--every", "60", *options]
    with subprocess.Popen(argv, env=env, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        process.terminate()
    assert line.startswith(f"Created the {'private' if private else 'public'} model local/m (")
    assert hub_api.repo_info("local/m").private is private


def test_a_failed_login_does_not_advise_login(call: Call) -> None:
    code, _, err = call("login", "--token", "hf_wrong")
    assert code == 1
    assert err.startswith("hubspool: The Hub did not accept the token: ")
    assert "hubspool login" not in err


def test_a_token_file_that_cannot_be_written_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    done = run("login", "--token", "hf_local", HF_TOKEN_PATH=str(tmp_path / "file" / "token"))
    assert done.returncode == 1
    assert "file/token cannot be written: File exists. Free space, or set HF_TOKEN_PATH" in done.stderr


def test_a_token_that_cannot_be_stored_is_in_no_other_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "home" / "token" / "x").mkdir(parents=True)
    done = run("login", "--token", "hf_local", HF_TOKEN_PATH=str(tmp_path / "home" / "token"))
    assert done.returncode == 1
    assert "home/token cannot be written: Is a directory." in done.stderr
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["token"]


@pytest.mark.parametrize("status", [403, 404, 413, 429, 503])
def test_an_error_of_the_hub_is_one_line_that_begins_with_a_sentence(
    status: int, call: Call, local_hub: LocalHub, hub_api: HfApi
) -> None:
    hub_api.create_repo("local/m")
    local_hub.faults.add(Fault(route="commit", status=status, times=None, headers={"Retry-After": "300"}))
    code, _, err = call("upload", "local/m", "file.txt", "--quiet")
    assert local_hub.faults.hits
    (line,) = err.splitlines()
    assert code == 1
    assert re.match(r"hubspool: [A-Z][a-z ]+[^(]* \(POST http://\S+ answered \d+\)\. [A-Z].*\.", line)


def test_the_traceback_of_an_error_is_there_at_debug(run: Run, tmp_path: Path) -> None:
    assert "Traceback" in run("upload", "local/a..b", ".", HUBSPOOL_LOG="DEBUG").stderr
    assert "Traceback" not in run("upload", "local/a..b", ".").stderr


def test_doctor_expands_a_name_and_knows_memory(call: Call, hub_api: HfApi) -> None:
    hub_api.create_repo("local/votes", repo_type="dataset", private=True)
    code, out, _ = call("doctor", "votes", "--folder", "/dev/shm")
    assert code == 0
    assert "local/votes is private." in out
    if "tmpfs /dev/shm " in Path("/proc/mounts").read_text() or " /dev/shm tmpfs " in Path("/proc/mounts").read_text():
        assert "/dev/shm is on tmpfs, in memory: its rows are lost when the machine stops" in out
    assert all(line.endswith(".") for line in out.splitlines())


@pytest.mark.parametrize("arguments", [["--help"], ["upload", "--help"], ["doctor"]], ids=str)
def test_a_full_disk_under_stdout_is_one_line(arguments: list[str], env: dict[str, str]) -> None:
    with Path("/dev/full").open("w") as full:
        argv = [sys.executable, "-m", "hubspool.cli", *arguments]
        done = subprocess.run(argv, env=env, stdout=full, stderr=subprocess.PIPE, text=True, timeout=90)
    assert done.returncode == 1
    assert done.stderr.startswith("hubspool: A disk is full, possibly the one that the output goes to.")
    assert len(done.stderr.splitlines()) == 1


def on_terminal(*arguments: str, env: dict[str, str]) -> str:
    """What a command prints to a terminal."""
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "hubspool.cli", *arguments]
    process = subprocess.Popen(argv, env=env, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    with suppress(OSError):  # how a terminal says that its other side has gone
        while chunk := os.read(ours, 65536):
            said += chunk
    os.close(ours)
    process.wait(60)
    return said.decode()


@pytest.mark.parametrize(
    ("changes", "sign", "colour"),
    [({}, True, True), ({"NO_COLOR": "1"}, True, False), ({"PYTHONIOENCODING": "ascii"}, False, False)],
    ids=str,
)
def test_a_terminal_gets_signs_and_colours(
    changes: dict[str, str], sign: bool, colour: bool, env: dict[str, str]
) -> None:
    said = on_terminal("doctor", env={**env, "PYTHONIOENCODING": "utf-8", **changes})
    assert ("✓" in said) is sign
    assert ("\x1b[32m" in said) is colour
    assert "ok    token" in said


@pytest.mark.parametrize(("changes", "coloured"), [({}, False), ({"FORCE_COLOR": "1"}, True)], ids=str)
def test_a_pipe_gets_none_unless_forced(changes: dict[str, str], coloured: bool, run: Run) -> None:
    done = run("doctor", PYTHONIOENCODING="utf-8", **changes)
    assert ("\x1b[32m✓" in done.stdout) is coloured
