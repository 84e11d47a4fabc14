"""`hubspool upload --every`: a folder or a file is mirrored until Ctrl-C, which sends what is left."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hubspool import HfApi
from hubspool.client.target import Target
from hubspool.local_hub import Fault, LocalHub

REPO = "local/runs"
SECONDS = 60


class Running:
    """The command as a process; in a terminal, Ctrl-C is the key."""

    def __init__(self, process: subprocess.Popen[str], terminal: int | None) -> None:
        self.process = process
        self.said = ""
        self._terminal = terminal
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        stream = self._terminal if self._terminal is not None else self.process.stderr.fileno()  # type: ignore[union-attr]
        with suppress(OSError):
            while chunk := os.read(stream, 65536):
                with self._changed:
                    self.said += chunk.decode()
                    self._changed.notify_all()

    def wait_for(self, text: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: text in self.said, SECONDS), self.said

    def press_ctrl_c(self) -> None:
        if self._terminal is None:
            self.process.send_signal(signal.SIGINT)
        else:
            os.write(self._terminal, b"\x03")

    def end(self) -> tuple[int, str]:
        """Exit code and stdout."""
        assert self.process.stdout is not None
        out = self.process.stdout.read()
        code = self.process.wait(SECONDS)
        self._reader.join(SECONDS)
        return code, out


@pytest.fixture(params=[False, True], ids=["pipe", "terminal"])
def start(
    request: pytest.FixtureRequest, env: dict[str, str], tmp_path: Path
) -> Callable[..., contextmanager[Running]]:  # type: ignore[valid-type]
    @contextmanager
    def begin(*args: str, repo: str = REPO) -> Iterator[Running]:
        argv = [sys.executable, "-m", "hubspool.cli", "upload", repo, *args]
        ours, theirs = pty.openpty() if request.param else (None, None)
        attach = (
            f"import fcntl, os, sys, termios; fcntl.ioctl(2, termios.TIOCSCTTY, 0); os.execv({argv[0]!r}, {argv!r})"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", attach] if request.param else argv,
            env=env,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=theirs if request.param else subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        if theirs is not None:
            os.close(theirs)
        running = Running(process, ours)
        try:
            yield running
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            running._reader.join(SECONDS)
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
            if ours is not None:
                os.close(ours)

    return begin


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "logs" / "deep").mkdir(parents=True)
    (tmp_path / "logs" / "run.jsonl").write_text('{"step":0}\n')
    (tmp_path / "logs" / "deep" / "more.csv").write_text("a\n1\n")
    (tmp_path / "logs" / "other.tmp").write_text("x\n")
    return tmp_path / "logs"


@pytest.fixture
def content(hub_api: HfApi) -> Callable[[str], bytes]:
    target = Target.of(hub_api.endpoint, REPO, "dataset")
    return lambda path: hub_api.client().request("GET", target.file_url(path)).content


def test_ctrl_c_sends_what_is_left_and_prints_the_address(
    start: Callable[..., contextmanager[Running]],  # type: ignore[valid-type]
    folder: Path,
    content: Callable[[str], bytes],
    hub_api: HfApi,
    local_hub: LocalHub,
) -> None:
    with start("logs", "in", "--every", "600", "--repo-type", "dataset", "--exclude", "*.tmp") as running:
        running.wait_for("Committed 2 files, 15 new bytes")
        with (folder / "run.jsonl").open("a") as file:
            file.write('{"step":1}\n{"ste')
        running.press_ctrl_c()
        code, out = running.end()
    assert (code, out) == (0, f"{local_hub.endpoint}/datasets/{REPO}/tree/main/in\n")
    assert "Sending what is left. Ctrl-C again aborts." in running.said
    assert "Traceback" not in running.said
    assert content("in/run.jsonl") == b'{"step":0}\n{"step":1}\n'
    assert hub_api.list_repo_files(REPO, repo_type="dataset")[1:] == ["in/deep/more.csv", "in/run.jsonl"]


def test_a_folder_is_mirrored_to_a_private_bucket(
    start: Callable[..., contextmanager[Running]],  # type: ignore[valid-type]
    folder: Path,
    hub_api: HfApi,
    local_hub: LocalHub,
) -> None:
    hub_api.delete_bucket("local/runs", missing_ok=True)
    address = "hf://buckets/local/runs/all"
    with start("logs", "in", "--every", "0.1", "--exclude", "*.tmp", repo=address) as running:
        running.wait_for("Committed 2 files, 15 new bytes")
        with (folder / "run.jsonl").open("a") as file:
            file.write('{"step":1}\n')
        running.press_ctrl_c()
        code, out = running.end()
    assert (code, out) == (0, f"{local_hub.endpoint}/buckets/local/runs\n")
    assert "commits an hour" not in running.said
    found = {entry.path: entry.size for entry in hub_api.list_bucket_tree("local/runs")}
    assert found == {"all/in/deep/more.csv": 4, "all/in/run.jsonl": 22}
    assert hub_api.bucket_info("local/runs").private


def test_a_second_ctrl_c_aborts_and_the_rest_is_sent_by_the_next_run(
    start: Callable[..., contextmanager[Running]],  # type: ignore[valid-type]
    folder: Path,
    content: Callable[[str], bytes],
    local_hub: LocalHub,
) -> None:
    with start("logs", "--repo-type=dataset", "--every=600") as running:
        running.wait_for("Committed 3 files")
        with (folder / "run.jsonl").open("a") as file:
            file.write('{"step":1}\n')
        fault = local_hub.faults.add(Fault(route="commit", delay=float("inf")))
        running.press_ctrl_c()
        assert local_hub.faults.wait_for_hits(1)
        assert local_hub.faults.hits[0].fault is fault
        running.press_ctrl_c()
        assert running.end() == (130, "")
    assert "Aborted. What was not sent stays in logs; the same command sends it." in running.said
    local_hub.faults.clear()
    with start("logs", "--repo-type=dataset", "--every=600") as running:
        running.wait_for("Mirroring")
        running.press_ctrl_c()
        assert running.end()[0] == 0
    assert content("run.jsonl") == b'{"step":0}\n{"step":1}\n'


def test_one_file_is_mirrored_alone(
    start: Callable[..., contextmanager[Running]],  # type: ignore[valid-type]
    folder: Path,
    content: Callable[[str], bytes],
    hub_api: HfApi,
    local_hub: LocalHub,
) -> None:
    (folder / "run[1].jsonl").write_text("{}\n")
    (folder / "run1.jsonl").write_text("{}\n")
    options = ["--every", "600", "--repo-type", "dataset", "--private", "--commit-message", "Steps", "--json"]
    with start(*options, "logs/run[1].jsonl", "in/run[1].jsonl") as running:
        running.wait_for("Committed 1 file, 3 new bytes")
        (folder / "run[1].jsonl").write_text("{}\n{}\n")
        running.press_ctrl_c()
        code, out = running.end()
    commits = hub_api.list_repo_commits(REPO, repo_type="dataset")
    assert code == 0
    assert json.loads(out) == {
        "url": f"{local_hub.endpoint}/datasets/{REPO}/blob/main/in/run%5B1%5D.jsonl",
        "commit": commits[0].commit_id,
    }
    assert [commit.title for commit in commits[:2]] == ["Steps", "Steps"]
    assert content("in/run[1].jsonl") == b"{}\n{}\n"
    assert hub_api.list_repo_files(REPO, repo_type="dataset")[1:] == ["in/run[1].jsonl"]
    assert hub_api.repo_info(REPO, repo_type="dataset").private


def test_a_file_that_versioned_selects_keeps_its_name(
    start: Callable[..., contextmanager[Running]],  # type: ignore[valid-type]
    folder: Path,
    content: Callable[[str], bytes],
    hub_api: HfApi,
) -> None:
    with start("logs", "--repo-type=dataset", "--every=600", "--versioned", "*.csv", "--include=*.csv") as running:
        running.wait_for("Committed 1 file")
        (folder / "deep" / "more.csv").write_text("a,b\n2,3")
        running.press_ctrl_c()
        assert running.end()[0] == 0
    assert content("deep/more.csv") == b"a,b\n2,3"
    assert hub_api.list_repo_files(REPO, repo_type="dataset")[1:] == ["deep/more.csv"]


def test_a_flush_that_the_hub_refuses_is_an_error_and_exit_code_1(
    start: Callable[..., contextmanager[Running]],  # type: ignore[valid-type]
    folder: Path,
    local_hub: LocalHub,
) -> None:
    with start("logs", "--repo-type=dataset", "--every=600") as running:
        running.wait_for("Committed 3 files")
        with (folder / "run.jsonl").open("a") as file:
            file.write('{"step":1}\n')
        local_hub.faults.add(Fault(route="commit", status=403, times=None))
        running.press_ctrl_c()
        assert running.end() == (1, "")
    assert local_hub.faults.hits
    assert "hubspool:" in running.said.splitlines()[-1]
    assert "answered 403" in running.said.splitlines()[-1]
