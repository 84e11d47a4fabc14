"""The command line, run as a person runs it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hubspool import HfApi
from hubspool.local_hub import LocalHub
from hubspool_templates import JsonlScheduler, TrainingLogs, read_rows

Run = Callable[..., "subprocess.CompletedProcess[str]"]
REPO = "local/votes"
LEAVES_ROWS = """
import os, sys
from hubspool_templates import JsonlScheduler
scheduler = JsonlScheduler(sys.argv[1], sys.argv[2], every=600)
for number in range(int(sys.argv[3])):
    scheduler.append({"n": number})
os._exit(9)
"""


@pytest.fixture
def leave_rows(env: dict[str, str], tmp_path: Path) -> Callable[..., Path]:
    """A folder in which a process was killed with rows that nobody sent."""

    def leave(count: int, repo: str = REPO, **changes: str) -> Path:
        folder = tmp_path / "folder"
        argv = [sys.executable, "-c", LEAVES_ROWS, repo, str(folder), str(count)]
        done = subprocess.run(argv, env={**env, **changes}, capture_output=True, text=True, timeout=90)
        assert done.returncode == 9, done.stderr
        return folder

    return leave


def test_flush_sends_what_a_killed_process_left(run: Run, leave_rows: Callable[..., Path], hub_api: HfApi) -> None:
    folder = leave_rows(5)
    done = run("flush", folder)
    assert (done.returncode, done.stderr.splitlines()[0]) == (0, f"{folder} -> {REPO}")
    assert [row["n"] for row in read_rows(REPO, hub_api)] == list(range(5))
    again = run("flush", folder)
    assert again.stdout == "Nothing to send.\n"
    assert [row["n"] for row in read_rows(REPO, hub_api)] == list(range(5))


def test_flush_sends_what_a_process_left_that_never_reached_the_hub(
    run: Run, leave_rows: Callable[..., Path], hub_api: HfApi, local_hub: LocalHub
) -> None:
    """Even with a name alone for a repo, and no repo there yet; the card comes along."""
    local_hub.stop()
    folder = leave_rows(3, repo="votes")
    local_hub.start()
    done = run("flush", folder)
    assert done.returncode == 0, done.stderr
    assert [row["n"] for row in read_rows(REPO, hub_api)] == [0, 1, 2]
    assert "README.md" in hub_api.list_repo_files(REPO, repo_type="dataset")


def test_flush_tells_what_stands_in_its_way(run: Run, leave_rows: Callable[..., Path], tmp_path: Path) -> None:
    folder = leave_rows(1)
    for done, said in [
        (run("flush", folder, HF_TOKEN="hf_wrong"), "HF_TOKEN was refused"),
        (run("flush", tmp_path), "is not a scheduler's folder"),
        (run("flush", folder / "nowhere"), "does not exist"),
    ]:
        assert done.returncode in (1, 2)
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert "hf_wrong" not in done.stderr


def test_a_repo_that_was_made_again_gets_everything_once_a_person_says_so(
    run: Run, hub_api: HfApi, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    scheduler = JsonlScheduler(REPO, folder, hf_api=hub_api, every=600, keep_local=True)
    scheduler.append({"n": 1})
    scheduler.stop()
    hub_api.delete_repo(REPO, repo_type="dataset")
    hub_api.create_repo(REPO, repo_type="dataset", private=True)
    scheduler = JsonlScheduler(REPO, folder, hf_api=hub_api, every=600, keep_local=True)
    scheduler.append({"n": 2})
    with pytest.raises(Exception, match="deleted and created again"):
        scheduler.flush(60)
    scheduler.stop(flush=False)
    assert list(read_rows(REPO, hub_api)) == []
    assert run("flush", folder, "--from", REPO, "--to", REPO).returncode == 0
    assert sorted(row["n"] for row in read_rows(REPO, hub_api)) == [1, 2]


def test_status_tells_what_waits_and_asks_nobody(
    run: Run, leave_rows: Callable[..., Path], local_hub: LocalHub
) -> None:
    folder = leave_rows(0)
    run("flush", folder)
    folder = leave_rows(4)
    local_hub.stop()  # the last request of the process that ended may not have been counted yet
    local_hub.start()
    count = len(local_hub.requests)
    text = run("status", folder)
    (line,) = run("status", folder, "--json").stdout.splitlines()
    assert len(local_hub.requests) == count
    found = json.loads(line)
    assert found["repo_id"] == REPO
    assert (found["pending_files"], found["pending_bytes"], found["writers"]) == (1, 4 * len('{"n":0}\n'), 0)
    assert re.search(r"pending +1 file, 32 bytes", text.stdout)


def test_status_counts_only_what_the_scheduler_sends(run: Run, hub_api: HfApi, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    with TrainingLogs("local/logs", folder, hf_api=hub_api):
        (folder / "train.log").write_text("step 1\n")
        (folder / "model.safetensors").write_bytes(b"a checkpoint")
        (folder / "notes.docx").write_bytes(b"no log")
    assert json.loads(run("status", folder, "--json").stdout)["pending_files"] == 0
    (folder / "train.log").write_text("step 1\nstep 2\n")
    assert json.loads(run("status", folder, "--json").stdout)["pending_bytes"] == len("step 2\n")


def test_doctor_finds_nothing_wrong_where_nothing_is(run: Run, hub_api: HfApi) -> None:
    hub_api.create_repo(REPO, repo_type="dataset", private=True)
    done = run("doctor", REPO)
    assert done.returncode == 0, done.stdout
    assert "FAIL" not in done.stdout
    assert "local/votes is private" in done.stdout


@pytest.mark.parametrize(
    ("args", "changes", "said"),
    [
        ([], {"HF_TOKEN": None}, r"FAIL +token .*there is none"),
        ([], {"HF_TOKEN": "hf_wrong"}, r"FAIL +token .*refused"),
        (["--every", "1", "--replicas", "4"], {}, r"warn +budget .*240 commits an hour.*every 2 minutes"),
        (["--folder", "/proc"], {}, r"disk +/proc is on proc"),
    ],
)
def test_doctor_names_what_is_wrong(args: list[str], changes: dict[str, str | None], said: str, run: Run) -> None:
    done = run("doctor", "local/none", *args, **changes)
    assert re.search(said, done.stdout), done.stdout
    assert done.returncode == int("FAIL" in done.stdout)
    assert "hf_wrong" not in done.stdout + done.stderr


def test_doctor_warns_of_a_public_repo_and_of_a_token_that_only_reads(hub_api: HfApi, env: dict[str, str]) -> None:
    with LocalHub(users=["writer:hf_w", "reader:hf_r:read"]) as hub:
        HfApi(endpoint=hub.endpoint, token="hf_w").create_repo("writer/open", repo_type="dataset", private=False)
        argv = [sys.executable, "-m", "hubspool.cli", "doctor", "writer/open"]
        environ = {**env, "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": "hf_r"}
        done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert re.search(r"FAIL +token .*can only read", done.stdout)
    assert re.search(r"warn +repo .*is public", done.stdout)


def test_login_keeps_a_token_for_its_owner_alone_and_refuses_a_wrong_one(run: Run, tmp_path: Path) -> None:
    token = tmp_path / "home" / "token"
    refused = run("login", "--token", "hf_wrong", HF_TOKEN=None)
    assert refused.returncode == 1
    assert not token.exists()
    done = run("login", "--token", "hf_local", HF_TOKEN=None)
    assert done.returncode == 0, done.stderr
    assert "hf_local" not in done.stdout
    assert token.read_text() == "hf_local"
    assert token.stat().st_mode & 0o777 == 0o600
    assert "ok    token" in run("doctor", HF_TOKEN=None).stdout


@pytest.mark.parametrize("command", ["upload", "upload-large-folder", "flush", "status", "doctor", "login", "hub"])
def test_every_command_explains_itself(command: str, run: Run) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    assert f"Usage: hubspool {command} " in done.stdout
    assert command in run("--help").stdout
    # Every option and argument has its line of help.
    tables = "".join(re.split(r"^(?:Positional arguments|Options):$", done.stdout, flags=re.MULTILINE)[1:])
    options = re.findall(r"^  (?:-\w, )?(--?[\w-]+|\[?[A-Z_]{2,}\]?)(.*)$", tables, re.MULTILINE)
    assert len(options) >= 2
    assert [name for name, rest in options if not re.search(r"  \S", rest) and not _continues(done.stdout, name)] == []
    assert f"Examples:\n    hubspool {command}" in done.stdout


def test_ctrl_c_ends_a_flush_without_a_traceback(
    env: dict[str, str], leave_rows: Callable[..., Path], local_hub: LocalHub
) -> None:
    from hubspool.local_hub import Fault

    folder = leave_rows(1)
    local_hub.faults.add(Fault(route="commits", delay=float("inf")))
    argv = [sys.executable, "-m", "hubspool.cli", "flush", str(folder)]
    process = subprocess.Popen(argv, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert local_hub.faults.wait_for_hits(1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert process.returncode == 130
    assert "Traceback" not in said


def _continues(text: str, name: str) -> bool:
    """Whether the help of an option stands on the line below its name."""
    return re.search(rf"^  .*{re.escape(name)}.*\n {{20,}}\S", text, re.MULTILINE) is not None
