"""`hubspool hub`: a server process with an address, a clean end, and sentences in the place of tracebacks."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

COMMAND = [sys.executable, "-m", "hubspool.cli", "hub"]
TIMEOUT = 30


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    """The started servers; whatever still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=TIMEOUT)


def start(processes: list[subprocess.Popen[str]], *args: str) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen([*COMMAND, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    processes.append(process)
    assert process.stdout is not None
    return process, process.stdout.readline().rstrip("\n")


def refusal(*args: str) -> str:
    done = subprocess.run([*COMMAND, *args], capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_line_is_the_address_and_a_signal_ends_it_cleanly(
    number: signal.Signals, processes: list[subprocess.Popen[str]], tmp_path: Path, hub_environment: Path
) -> None:
    process, address = start(processes, "--root", str(tmp_path / "root"))
    with requests.Session() as session:  # its connection stays open while the server ends
        session.headers["Authorization"] = "Bearer hf_local"
        assert session.get(f"{address}/api/whoami-v2", timeout=TIMEOUT).json()["name"] == "local"
        process.send_signal(number)
        rest, errors = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, rest) == (0, "")
    assert f"open {address}/login and give the token hf_local" in errors


def test_users_are_those_that_were_named(processes: list[subprocess.Popen[str]], tmp_path: Path) -> None:
    users = ["--user", "ada:hf_a", "--user", "bob:hf_b:read"]
    _, address = start(processes, "--root", str(tmp_path / "root"), *users)
    for token, status in (("hf_a", 200), ("hf_b", 200), ("hf_local", 401)):
        answer = requests.get(f"{address}/api/whoami-v2", headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT)
        assert answer.status_code == status


def test_organizations_are_those_that_were_named(processes: list[subprocess.Popen[str]], tmp_path: Path) -> None:
    named = ["--user", "ada:hf_a", "--user", "bob:hf_b", "--org", "lab:ada", "--org", "club:bob,ada"]
    _, address = start(processes, "--root", str(tmp_path / "root"), *named)
    for token, organizations in (("hf_a", ["lab", "club"]), ("hf_b", ["club"])):
        answer = requests.get(f"{address}/api/whoami-v2", headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT)
        assert [each["name"] for each in answer.json()["orgs"]] == organizations


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        line = refusal("--root", str(tmp_path / "root"), "--port", port)
    assert port in line
    assert "--port" in line


def test_a_second_server_on_the_same_folder_is_refused(processes: list[subprocess.Popen[str]], tmp_path: Path) -> None:
    start(processes, "--root", str(tmp_path / "root"))
    assert "--root" in refusal("--root", str(tmp_path / "root"))


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (["--user", "nobody"], "--user"),
        (["--user", "a:hf_secret:admin"], "--user"),
        (["--host", "0.0.0.0"], "--user"),
        (["--user", "a:hf_secret", "--org", "lab:b"], "--org"),
        (["--org", "lab:local"], "--org"),
        (["--port", "70000"], "--port"),
        (["--host", "not a host", "--user", "a:b"], "--host"),
        (["--host", "203.0.113.1", "--user", "a:b"], "--host"),
    ],
)
def test_bad_arguments_are_named(args: list[str], word: str, tmp_path: Path) -> None:
    line = refusal("--root", str(tmp_path / "root"), *args)
    assert word in line
    assert "hf_secret" not in line


def test_a_root_that_cannot_be_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert str(tmp_path / "file") in refusal("--root", str(tmp_path / "file"))


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_server_leaves_every_repository_whole(
    processes: list[subprocess.Popen[str]], tmp_path: Path, hub_environment: Path
) -> None:
    root = tmp_path / "root"
    answered: list[str] = []
    for round_ in range(6):
        process, address = start(processes, "--root", str(root))
        with _session() as session:
            session.post(f"{address}/api/repos/create", json={"name": "m"}, timeout=TIMEOUT)
            assert set(answered) <= set(_commits(session, address)), "a commit that was answered is gone"
        repo = root / "repos" / "models" / "local" / "m.git"
        fsck = ["git", "fsck", "--strict", "--full"]
        subprocess.run(fsck, cwd=repo, check=True, timeout=TIMEOUT, capture_output=True)
        enough = threading.Event()
        writers = [threading.Thread(target=_write, args=(address, f"{round_}-{n}", answered, enough)) for n in range(3)]
        for writer in writers:
            writer.start()
        assert enough.wait(TIMEOUT)
        process.kill()  # while the writers go on
        for writer in writers:
            writer.join(TIMEOUT)
    assert len(answered) >= 6 * 20


def _session() -> requests.Session:
    session = requests.Session()
    session.headers["Authorization"] = "Bearer hf_local"
    return session


def _write(address: str, name: str, answered: list[str], enough: threading.Event) -> None:
    """Commit until the server is gone."""
    with _session() as session:
        for number in itertools.count():
            lines = (
                f'{{"key": "header", "value": {{"summary": "{name} {number}"}}}}\n'
                f'{{"key": "file", "value": {{"path": "{name}/{number}.txt", "content": "{number}"}}}}'
            )
            try:
                answer = session.post(f"{address}/api/models/local/m/commit/main", data=lines, timeout=TIMEOUT)
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                return
            answered.append(answer.json()["commitOid"])
            if number == 20:
                enough.set()


def _commits(session: requests.Session, address: str) -> list[str]:
    commits, url = [], f"{address}/api/models/local/m/commits/main"
    while url:
        answer = session.get(url, timeout=TIMEOUT)
        commits += [commit["id"] for commit in answer.json()]
        url = answer.links.get("next", {}).get("url", "")
    return commits


@pytest.mark.parametrize("missing", ["dulwich", "blake3", "starlette", "uvicorn"])
def test_a_missing_extra_is_named_with_the_command_that_installs_it(missing: str, tmp_path: Path) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from hubspool.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "hub", "--root", str(tmp_path)],
        capture_output=True, text=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert 'pip install "hubspool[local-hub]"' in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("asked", [True, False])
def test_faults_over_http_only_when_asked_for(
    processes: list[subprocess.Popen[str]], tmp_path: Path, asked: bool
) -> None:
    users = ("--user", "ada:hf_ada", "--user", "ci:hf_ci:fineGrained=ada/m,datasets/ada/rows")
    _, address = start(processes, "--root", str(tmp_path / "root"), *users, *(["--faults"] if asked else []))
    headers = {"Authorization": "Bearer hf_ada"}
    fault = {"route": "whoami", "status": 503}
    answer = requests.post(f"{address}/api/local-hub/faults", json=fault, headers=headers, timeout=TIMEOUT)
    assert answer.status_code == (201 if asked else 404)
    headers["Authorization"] = "Bearer hf_ci"
    answers = [requests.get(f"{address}/api/whoami-v2", headers=headers, timeout=TIMEOUT) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [503 if asked else 200, 200]
    assert answers[1].json()["auth"]["accessToken"]["role"] == "fineGrained"
