"""The Space by itself, where nothing takes its rows: what the page and the log say."""

from __future__ import annotations

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


def open_when_up(visitor: Visitor, address: str) -> None:
    for _ in range(100):
        try:
            with socket.create_connection(("127.0.0.1", int(address.rsplit(":", 1)[1])), timeout=5):
                break
        except ConnectionRefusedError:
            visitor.page.wait_for_timeout(300)
    visitor.visit(address)


def test_votes_are_safe_while_the_hub_is_away(tmp_path: Path, visitor_of: Callable[..., Visitor]) -> None:
    settings = {
        "HF_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "HF_TOKEN": "hf_local",
        "HUBSPOOL_EVERY": "0.02",
    }
    with space_alone(tmp_path, HUBSPOOL_REPO="local/away", **settings) as (address, _):
        visitor = visitor_of()
        open_when_up(visitor, address)
        visitor.page.get_by_role("button", name="Greek").click()
        visitor.page.get_by_role("button", name="Romanisation 1 is better").click()
        expect(visitor.page.locator("#outcome")).to_contain_text("your vote is stored")
        progress = visitor.page.locator("#progress")
        expect(progress).to_contain_text("1 vote is safe on this disk and will be sent.", timeout=60_000)
        expect(progress).not_to_contain_text("Traceback")


def test_a_space_without_a_token_says_that_votes_stay_on_its_disk(
    tmp_path: Path, visitor_of: Callable[..., Visitor]
) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    with space_alone(tmp_path, SPACE_ID="somebody/arena", HF_ENDPOINT=endpoint) as (address, lines):
        visitor = visitor_of()
        open_when_up(visitor, address)
        words = "Add a fine-grained token with write access to the dataset somebody/arena-votes"
        expect(visitor.page.locator("#progress")).to_contain_text("kept on this disk only")
        expect(visitor.page.locator("#progress")).to_contain_text(words)
    assert any("kept on this disk only" in line and words in line for line in lines)
