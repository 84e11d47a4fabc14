"""Fifty visitors at once, and a restart on an empty disk: everything is on the Hub, and the page shows it again."""

from __future__ import annotations

import os
import shutil
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from playwright.sync_api import expect

from tests.support.demo_launcher import RunningDemo
from tests.support.demo_page import commit_now, open_tab
from tests.support.paths import ROOT
from tests.support.visitor import Visitor

pytestmark = pytest.mark.slow

VISITORS = int(os.environ.get("VISITORS", "50"))
PICTURE = ROOT / "docs" / "demo-phone.png"


def client_of(address: str) -> Client:
    return Client(address, verbose=False, analytics_enabled=False, httpx_kwargs={"timeout": 60})


def test_fifty_visitors_at_once_lose_nothing(demo: RunningDemo, visitor_of: Callable[..., Visitor]) -> None:
    together = threading.Barrier(VISITORS, timeout=100)

    def visit(number: int) -> tuple[str, str | None]:
        client = client_of(demo.space)
        together.wait()
        vote = client.predict(f"visitor {number}", "left", "right", 2, api_name="/save_feedback")
        label = f"visitor {number}" if number % 5 == 0 else None
        if label:
            client.predict(handle_file(PICTURE), label, api_name="/save_picture")
        client.close()
        return vote, label

    with ThreadPoolExecutor(VISITORS) as pool:
        done = list(pool.map(visit, range(VISITORS)))
    page = visitor_of().visit(demo.space)
    for dataset in ("votes", "pictures"):
        commit_now(page, dataset)
    assert sorted(str(row["id"]) for row in demo.rows()) == sorted(vote for vote, _ in done)
    assert sorted(str(row["label"]) for row in demo.rows("pictures")) == sorted(label for _, label in done if label)


def test_gallery_and_standings_come_back_from_the_hub_after_a_restart(
    tmp_path: Path, visitor_of: Callable[..., Visitor]
) -> None:
    label = f"kept {uuid.uuid4().hex[:8]}"
    with RunningDemo(tmp_path, HUBSPOOL_EVERY="0.05") as demo:
        client = client_of(demo.space)
        client.predict("Καλημέρα", "Kalemera", "Kalimera", 1, api_name="/save_feedback")
        client.predict(handle_file(PICTURE), label, api_name="/save_picture")
        client.close()
        assert demo.rows(), "they are on the Hub before the end, which has 8 s for the last push"
        assert demo.rows("pictures")
    shutil.rmtree(tmp_path / "spool")
    with RunningDemo(tmp_path, HUBSPOOL_EVERY="600") as demo:
        page = visitor_of().visit(demo.space)
        bar = page.locator("#standings td span")
        expect(bar).to_have_count(1, timeout=30_000)
        expect(page.locator("#standings tr")).to_have_text("Greek1")
        expect(bar).to_have_attribute("title", "text-unidecode")
        open_tab(page, "Picture and label")
        expect(page.locator("#gallery")).to_contain_text(label, timeout=30_000)
        page.close()
