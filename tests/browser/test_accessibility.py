"""What axe-core finds on each tab: nothing serious."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from playwright.sync_api import Page, expect

from tests.support.demo_launcher import RunningDemo
from tests.support.demo_page import open_tab
from tests.support.paths import ROOT
from tests.support.visitor import Visitor

AXE = "axe-core@4.14.1"
TABS = ["Romanisation arena", "Picture and label", "Bulk images", "Training logs", "What is on the Hub"]


pytestmark = pytest.mark.timeout(300)  # the first one waits for npm and for the demo


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, from npm."""
    npm = shutil.which("npm")
    if npm is None:
        if os.environ.get("CI"):
            pytest.fail("npm is not installed, and CI is set (apt-get install npm)")
        pytest.skip("npm is not installed (apt-get install npm)")
    folder = tmp_path_factory.mktemp("axe")
    command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder), AXE]
    subprocess.run(command, check=True, timeout=100)
    return Path(folder, "node_modules", "axe-core", "axe.min.js").read_text(encoding="utf-8")


def serious(page: Page) -> list[str]:
    """Each serious fault, and where it is."""
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert found["passes"], "axe has looked at the page"
    return [
        f"{fault['id']}: {node['html'][:200]}"
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]


@pytest.fixture(scope="module")
def used(demo: RunningDemo) -> RunningDemo:
    """Where somebody was before: a gallery or a plot with something in it has parts that an empty one has not."""
    client = Client(demo.space, verbose=False, analytics_enabled=False)
    client.predict("Καλημέρα", "Kalemera", "Kalimera", 1, api_name="/save_feedback")
    client.predict(handle_file(ROOT / "docs" / "demo-phone.png"), "a page", api_name="/save_picture")
    client.predict(2, api_name="/start_training")
    client.close()
    return demo


@pytest.mark.parametrize("size", [(1200, 900), (390, 844)], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_tab_has_a_serious_fault(
    used: RunningDemo, visitor_of: Callable[..., Visitor], axe: str, scheme: str, size: tuple[int, int]
) -> None:
    page = visitor_of(*size, scheme).visit(used.space)
    page.evaluate(axe)
    faults = {}
    for title in TABS:
        open_tab(page, title)
        if title == "Romanisation arena":
            expect(page.locator("#standings td span")).to_have_count(1, timeout=60_000)
        if title == "Picture and label":
            expect(page.locator("#gallery")).to_contain_text("a page", timeout=60_000)
            faults["Photo"] = serious(page)
            page.get_by_role("tab", name="Sketch").click()
            page.locator("#sketch canvas").first.wait_for()
        if title == "What is on the Hub":
            page.locator("#repos table").wait_for()
        faults[title] = serious(page)
    found = [f"{title}: {fault}" for title, some in faults.items() for fault in some]
    assert not found, "\n".join(found)


def test_the_page_that_axe_reads_can_fail(demo: RunningDemo, visitor_of: Callable[..., Visitor], axe: str) -> None:
    page = visitor_of().visit(demo.space)
    page.evaluate(axe)
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<button id=nameless></button>')")
    assert any("nameless" in fault for fault in serious(page))
