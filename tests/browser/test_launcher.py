"""`make demo` as a process: what it says, what it leaves, and what it does when something is in the way."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import sysconfig
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.demo_launcher import RunningDemo, alive, descendants, rows_of
from tests.support.environment import clean_environment

pytestmark = pytest.mark.slow

NEVER = {"HUBSPOOL_EVERY": "600"}
LOCAL = {"HF_TOKEN": "hf_local"}


def vote(address: str, marker: str) -> None:
    code = (
        "from gradio_client import Client\n"
        f"Client({address!r}, verbose=False).predict({marker!r}, 'one', 'two', 1, api_name='/save_feedback')"
    )
    subprocess.run([sys.executable, "-c", code], env=clean_environment(), check=True, timeout=100)


@contextmanager
def hub_on(folder: Path) -> Iterator[str]:
    """The local Hub by itself; gives its address."""
    command = [
        str(Path(sysconfig.get_path("scripts"), "hubspool")),
        "hub",
        "--root",
        str(folder),
        "--port",
        "0",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=clean_environment()) as hub:
        try:
            assert hub.stdout
            yield hub.stdout.readline().strip()
        finally:
            hub.terminate()


def inputs_on(hub: str, dataset: str, folder: Path) -> list[object]:
    settings = {"HF_ENDPOINT": hub, "HF_HOME": str(folder / "reader"), **LOCAL}
    return [row["input"] for row in rows_of(dataset, settings)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_leaving_sends_the_last_vote_and_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    marker = uuid.uuid4().hex
    with RunningDemo(tmp_path, **NEVER) as demo:
        vote(demo.space, f"first {marker}")
        vote(demo.space, f"last {marker}")
        family = descendants(demo.process.pid)
        assert family
        os.killpg(demo.process.pid, number)  # Ctrl-C in a terminal reaches the whole group
        assert demo.wait_until_ended() == 0
        assert alive(family) == set()
        dataset = demo.said("Dataset")
    with hub_on(tmp_path / "hub") as hub:
        assert inputs_on(hub, dataset, tmp_path) == [f"first {marker}", f"last {marker}"]


def test_the_pasted_command_prints_the_rows_and_the_home_stays_clean(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with RunningDemo(tmp_path / "demo folder", HUBSPOOL_EVERY="0.02", HOME=str(home)) as demo:
        vote(demo.space, "pasted")
        assert demo.row_with("pasted")["output_2"] == "two"
        environment = {**clean_environment(), "HOME": str(home)}
        options = {"env": environment, "cwd": "/", "capture_output": True, "text": True, "timeout": 100}
        done = subprocess.run(demo.command, shell=True, check=False, **options)
        assert done.returncode == 0, done.stderr
        assert "pasted" in done.stdout
    assert list(home.rglob("*")) == []


def test_a_killed_space_is_noticed_and_the_rest_ends(tmp_path: Path) -> None:
    with RunningDemo(tmp_path, **NEVER) as demo:
        os.kill(demo.child("app.py"), signal.SIGKILL)
        assert demo.wait_until_ended() == 1
        assert "The Space was killed by SIGKILL." in demo.text
        assert "Votes that were not sent are in" in demo.text
        assert alive(demo.family) == set()


def test_votes_from_before_a_kill_arrive_after_the_next_start(tmp_path: Path) -> None:
    with RunningDemo(tmp_path, **NEVER) as demo:
        vote(demo.space, "before")
        os.kill(demo.child("app.py"), signal.SIGKILL)
        demo.wait_until_ended()
    with RunningDemo(tmp_path, HUBSPOOL_EVERY="0.02") as demo:
        assert demo.row_with("before")["user_choice"] == 1


def test_a_token_alone_neither_switches_nor_reaches_the_local_hub(tmp_path: Path) -> None:
    with RunningDemo(tmp_path, HF_TOKEN="hf_secret", HF_ENDPOINT="http://127.0.0.1:9", SPACE_ID="me/mine") as demo:
        assert "HF_TOKEN alone is ignored" in demo.text
        assert demo.said("Dataset") == "local/romanisation-arena-votes"
        for pid in demo.family:
            environment = Path(f"/proc/{pid}/environ")
            if environment.exists():  # Linux; elsewhere the announcement above is the proof
                assert b"hf_secret" not in environment.read_bytes()
        assert "hf_secret" not in demo.text


@pytest.mark.parametrize(
    ("repo", "kind", "votes"),
    [("local/mine", "Dataset", "local/mine-votes"), ("hf://buckets/local/b", "Bucket", "hf://buckets/local/b/votes")],
)
def test_token_and_repo_together_use_that_hub(tmp_path: Path, repo: str, kind: str, votes: str) -> None:
    with hub_on(tmp_path / "other") as hub:
        settings = {"HF_ENDPOINT": hub, "HUBSPOOL_REPO": repo, "HUBSPOOL_EVERY": "600", **LOCAL}
        with RunningDemo(tmp_path / "demo", HF_HOME=str(tmp_path / "home"), **settings) as demo:
            assert (demo.said(kind), demo.said("Hub")) == (votes, hub)
            vote(demo.space, "real")
        assert not (tmp_path / "demo" / "hub").exists()
        assert inputs_on(hub, votes.removeprefix("hf://"), tmp_path) == ["real"]


@pytest.mark.parametrize("name", ["PORT", "HUB_PORT"])
def test_a_port_in_use_is_said_in_one_sentence(tmp_path: Path, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        demo = RunningDemo(tmp_path, **{name: port})
        assert demo.wait_until_ended() == 1
    (line,) = demo.lines
    assert f"Port {port} cannot be used" in line
    assert f"set {name} to another one" in line


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "http"), ("HUB_PORT", "70000"), ("HUBSPOOL_EVERY", "0"), ("HUBSPOOL_REPO", "hf://datasets/a/b")],
)
def test_a_bad_setting_is_said_in_one_sentence(tmp_path: Path, name: str, value: str) -> None:
    demo = RunningDemo(tmp_path, **{name: value})
    assert demo.wait_until_ended() == 1
    (line,) = demo.lines
    assert line.startswith(f"{name} is '{value}': set it to")


@pytest.mark.parametrize("moment", ["at once", "Starting the Space"])
def test_ctrl_c_while_it_starts_ends_quietly(tmp_path: Path, moment: str) -> None:
    demo = RunningDemo(tmp_path, **NEVER)
    while moment != "at once" and moment not in demo.text:
        assert demo.process.poll() is None, demo.text
    if moment == "at once":
        handlers = Path(f"/proc/{demo.process.pid}/status")
        while "SigCgt:\t0000000000000000" in handlers.read_text() or not caught(handlers):
            assert demo.process.poll() is None, demo.text
    os.killpg(demo.process.pid, signal.SIGINT)
    assert demo.wait_until_ended() == 0
    assert "Traceback" not in demo.text
    assert "Ending" in demo.text


def caught(status: Path) -> bool:
    """Whether a process has a handler of its own for SIGTERM, which `python` alone has not."""
    mask = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(mask, 16) >> (signal.SIGTERM - 1) & 1)
