"""The sample Space ends in the middle of its visitors' votes: none that was acknowledged is lost."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import playwright
import pytest
import requests
from gradio_client import Client

from tests.support.demo_launcher import RunningDemo

pytestmark = pytest.mark.slow

VISITORS = 4
ENOUGH = 20
"""Votes before the signal."""


def rendering(by_server: bool) -> dict[str, str]:
    """Settings of Gradio; Playwright brings a Node.js that is new enough to render."""
    if not by_server:
        return {"GRADIO_SSR_MODE": "False"}
    node = shutil.which(Path(playwright.__file__).parent / "driver" / "node")
    assert node is not None
    return {"GRADIO_SSR_MODE": "True", "GRADIO_NODE_PATH": node}


def vote_until_it_ends(address: str, end: threading.Event) -> set[str]:
    """Several visitors vote on and on; returns the ids of the votes that were acknowledged."""
    acknowledged: set[str] = set()

    def visit(visitor: int) -> None:
        client = Client(address, verbose=False, analytics_enabled=False)
        try:
            for number in range(10_000):
                acknowledged.add(client.predict(f"{visitor} {number}", "left", "right", 2, api_name="/save_feedback"))
                if len(acknowledged) >= ENOUGH:
                    end.set()
        except Exception:  # noqa: BLE001  the Space has ended; how that looks to a client depends on the moment
            assert len(acknowledged) >= ENOUGH
        finally:
            client.close()

    with ThreadPoolExecutor(VISITORS) as pool:
        list(pool.map(visit, range(VISITORS)))
    return acknowledged


@pytest.mark.timeout(240)
@pytest.mark.parametrize("by_server", [False, True], ids=["client rendering", "server rendering"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_acknowledged_vote_is_lost(tmp_path: Path, number: signal.Signals, by_server: bool) -> None:
    with RunningDemo(tmp_path, HUBSPOOL_EVERY="600", **rendering(by_server)) as demo:
        # A page without its scripts has a footer only if the server rendered it.
        assert ("<footer" in requests.get(demo.space, timeout=30).text) == by_server
        enough = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            voting = pool.submit(vote_until_it_ends, demo.space, enough)
            assert enough.wait(60)
            os.kill(demo.child("app.py"), number)
            acknowledged = voting.result(60)
        demo.wait_until_ended()
    with RunningDemo(tmp_path, HUBSPOOL_EVERY="0.02", GRADIO_SSR_MODE="False") as demo:
        for _ in range(8):  # reads again while the first push is under way
            found = [str(row["id"]) for row in demo.rows()]
            if acknowledged <= {*found}:
                break
        assert acknowledged <= {*found}
        assert len(found) == len({*found})
