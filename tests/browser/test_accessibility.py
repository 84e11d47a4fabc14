"""What axe-core finds on each tab: nothing serious."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page
from running import RunningDemo
from tabs import open_tab
from visitor import Visitor

AXE = "axe-core@4.14.1"
TABS = ["Romanisation arena", "Picture and label", "Bulk images", "Training logs", "What is on the Hub"]


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_tab_has_a_serious_fault(
    demo: RunningDemo, visitor_of: Callable[..., Visitor], axe: str, scheme: str
) -> None:
    page = visitor_of(1200, 900, scheme).visit(demo.space)
    page.evaluate(axe)
    faults = {}
    for title in TABS:
        open_tab(page, title)
        if title == "Picture and label":
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
