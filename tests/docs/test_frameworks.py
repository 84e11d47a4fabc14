"""Each framework's example runs as a process of its own, meets a visitor, and leaves its rows on the Hub.

Streamlit and the notebook are in tests/compat, which installs them.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from hubspool import HfApi
from hubspool.local_hub import LocalHub
from hubspool_templates import read_rows
from tests.support.environment import clean_environment, free_port
from tests.support.frameworks import PAGE, example
from tests.support.paths import ROOT
from tests.support.spools import send_the_rest

SECONDS = 90
Serve = Callable[..., str]


@pytest.fixture
def environment(local_hub: LocalHub, tmp_path: Path) -> dict[str, str]:
    return {
        **clean_environment(),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HF_ENDPOINT": local_hub.endpoint,
        "HF_TOKEN": local_hub.token,
        "HF_HOME": str(tmp_path / "home"),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_SSR_MODE": "False",
    }


@pytest.fixture
def serve(environment: dict[str, str], tmp_path: Path) -> Iterator[Serve]:
    """Write the example and run a command; return the address once it answers. SIGTERM ends it."""
    running: list[subprocess.Popen[bytes]] = []
    errors = tmp_path / "stderr.txt"

    def start(name: str, *command: str) -> str:
        port = free_port()
        (tmp_path / name).write_text(example(name), encoding="utf-8")
        with errors.open("wb") as stderr:
            running.append(
                subprocess.Popen(
                    [sys.executable, *(word.replace("PORT", str(port)) for word in command)],
                    cwd=tmp_path,
                    env={**environment, "GRADIO_SERVER_PORT": str(port)},
                    stderr=stderr,
                )
            )
        address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            assert running[-1].poll() is None
            try:
                requests.get(f"{address}/docs" if "uvicorn" in command else f"{address}/config", timeout=10)
                return address
            except (requests.ConnectionError, requests.Timeout):
                time.sleep(0.1)
        raise TimeoutError(address)

    def stop(process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGTERM)
        process.wait(SECONDS)
        send_the_rest(tmp_path, environment, errors.read_text(encoding="utf-8"))

    start.stop = lambda: stop(running[-1])  # type: ignore[attr-defined]
    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
            process.wait()


def call(address: str, name: str, *arguments: object) -> None:
    """Call a function of an app through Gradio's API, and wait until it has answered."""
    url = f"{address}/gradio_api/call/{name}"
    asked = requests.post(url, json={"data": arguments}, timeout=SECONDS)
    asked.raise_for_status()
    answer = requests.get(f"{url}/{asked.json()['event_id']}", timeout=SECONDS)
    assert "event: complete" in answer.text, answer.text


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_blocks(serve: Serve, hub_api: HfApi) -> None:
    address = serve("blocks.py", "blocks.py")
    call(address, "vote", "Solaris", True)
    serve.stop()  # type: ignore[attr-defined]
    (row,) = read_rows("local/blocks-votes", api=hub_api)
    assert (row["text"], row["liked"], "timestamp" in row) == ("Solaris", True, True)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_interface(serve: Serve, hub_api: HfApi) -> None:
    address = serve("interface.py", "interface.py")
    call(address, "Flag", "abc", "cba")
    serve.stop()  # type: ignore[attr-defined]
    (row,) = read_rows("local/interface-flags", api=hub_api)
    assert (row["text"], row["output"], row["flag"]) == ("abc", "cba", "wrong")


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_chat_interface(serve: Serve, hub_api: HfApi) -> None:
    address = serve("chat.py", "chat.py")
    call(address, "respond", "hello")
    serve.stop()  # type: ignore[attr-defined]
    (row,) = read_rows("local/chat-log", api=hub_api)
    assert [message["content"] for message in row["messages"]] == ["hello", "HELLO"]


@pytest.mark.timeout(200)
def test_fastapi(serve: Serve, hub_api: HfApi) -> None:
    address = serve("api.py", "-m", "uvicorn", "api:app", "--port", "PORT")
    assert requests.post(f"{address}/events", json={"kind": "click"}, timeout=30).json() == {"pending": 1}
    serve.stop()  # type: ignore[attr-defined]
    (row,) = read_rows("local/api-events", api=hub_api)
    assert row["kind"] == "click"


def test_docker(serve: Serve, hub_api: HfApi) -> None:
    """Docker is not on the machine that runs the tests: its command runs here, and the rest is read."""
    lines = [line.partition(" ") for line in example("Dockerfile").splitlines()]
    said = [(word, rest) for word, _, rest in lines]
    assert " ".join(word for word, _ in said) == "FROM RUN USER WORKDIR COPY RUN COPY ENV EXPOSE CMD"
    assert "--uid 1000 user" in said[1][1]
    assert said[0][1] == "python:3.12"
    requirements = example("requirements.txt").split("\n")
    assert requirements[0] == "hubspool @ git+https://github.com/hubspool/hubspool"
    command = re.findall(r'"([^"]+)"', said[-1][1])
    assert command[0] == "python"
    words = ["PORT" if word == said[-2][1] else "127.0.0.1" if word == "0.0.0.0" else word for word in command[1:]]
    assert "PORT" in words
    address = serve("api.py", *words)
    requests.post(f"{address}/events", json={"kind": "click"}, timeout=30).raise_for_status()
    serve.stop()  # type: ignore[attr-defined]
    assert len([*read_rows("local/api-events", api=hub_api)]) == 1


def test_slurm(environment: dict[str, str], hub_api: HfApi, tmp_path: Path) -> None:
    """A srun that starts the two processes that the script asks for."""
    for name in ("job.sh", "train.py"):
        (tmp_path / name).write_text(example(name), encoding="utf-8")
    tasks = int(re.findall(r"--ntasks=(\d+)", example("job.sh"))[0])
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    starts = "".join(f'SLURM_PROCID={rank} "$@" &\n' for rank in range(tasks))
    srun.write_text(f"#!/bin/bash\n{starts}wait\n")
    srun.chmod(0o755)
    path = f"{srun.parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        ["bash", "job.sh"],
        cwd=tmp_path,
        env={**environment, "PATH": path},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert sorted(done.stdout.splitlines()) == ["sends: False", "sends: True"], done.stderr
    assert "runs/slurm/loss-0.csv" in hub_api.list_repo_files("local/slurm-run")
    # The first push may come between the files of the two ranks; the one at the end sends the rest.
    assert len(hub_api.list_repo_commits("local/slurm-run")) in (2, 3)


def test_each_example_has_at_most_15_lines_and_is_run() -> None:
    found = re.findall(r'```\w+ title="([^"]+)"\n(.*?)```', PAGE, re.DOTALL)
    assert [name for name, code in found if len(code.splitlines()) > 15] == []
    tests = [ROOT / "tests" / "docs" / "test_frameworks.py", ROOT / "tests" / "compat" / "test_frameworks.py"]
    text = "".join(path.read_text(encoding="utf-8") for path in tests)
    assert [name for name, _ in found if f'"{name}"' not in text] == []
    assert re.findall(r"^## (.+)$", PAGE, re.MULTILINE) == [
        *("Gradio Blocks", "Gradio Interface", "Gradio ChatInterface", "FastAPI", "Streamlit"),
        *("A notebook", "A Docker Space", "Slurm"),
    ]
