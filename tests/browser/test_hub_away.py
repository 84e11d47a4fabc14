"""The Space by itself, where nothing takes its rows: what the page and the log say."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import expect
from running import ROOT, clean_environment
from visitor import Visitor


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[str], lines: list[str]) -> None:
    pause = threading.Event()
    for _ in range(300):
        assert process.poll() is None, "".join(lines)
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except ConnectionRefusedError:
            pause.wait(0.2)
        else:
            return
    raise AssertionError("the Space did not answer: " + "".join(lines))


@contextmanager
def space_alone(folder: Path, **environment: str) -> Iterator[tuple[str, list[str]]]:
    """`python app.py` in a folder; gives its address once it answers, and the lines that it prints."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "demo_space" / "app.py")],
        cwd=folder,
        env={**clean_environment(), "PORT": str(port), "HF_HOME": str(folder / "home"), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    assert process.stdout
    reader = threading.Thread(target=lines.extend, args=(iter(process.stdout.readline, ""),), daemon=True)
    reader.start()
    try:
        wait_for(port, process, lines)
        yield f"http://127.0.0.1:{port}", lines
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join(10)
        process.stdout.close()


def test_votes_are_safe_while_the_hub_is_away(tmp_path: Path, visitor_of: Callable[..., Visitor]) -> None:
    settings = {
        "HF_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "HF_TOKEN": "hf_local",
        "HUBSPOOL_EVERY": "0.02",
    }
    with space_alone(tmp_path, HUBSPOOL_REPO="local/away", **settings) as (address, _):
        page = visitor_of().visit(address)
        page.get_by_role("button", name="Greek").click()
        expect(page.get_by_label("Romanisation 1")).to_have_value(re.compile("kosme"))
        page.get_by_role("button", name="Romanisation 1 is better").click()
        expect(page.locator("#outcome")).to_contain_text("your vote is stored")
        progress = page.locator("#progress")
        expect(progress).to_contain_text("1 vote is safe on this disk and will be sent.", timeout=60_000)
        expect(progress).not_to_contain_text("Traceback")
        page.close()  # before its server ends, which would be an error in its console


def test_a_space_without_a_token_says_that_votes_stay_on_its_disk(
    tmp_path: Path, visitor_of: Callable[..., Visitor]
) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    with space_alone(tmp_path, SPACE_ID="somebody/arena", HF_ENDPOINT=endpoint) as (address, lines):
        page = visitor_of().visit(address)
        words = "Add a fine-grained token with write access to the dataset somebody/arena-votes"
        expect(page.locator("#progress")).to_contain_text("kept on this disk only")
        expect(page.locator("#progress")).to_contain_text(words)
        page.close()
    assert any("kept on this disk only" in line and words in line for line in lines)
