"""The real launcher on free ports with a folder of its own, and a real Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.support.demo_launcher import RunningDemo
from tests.support.visitor import Visitor

ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the marker `browser` to each test that opens Chromium."""
    for item in items:
        if "chromium" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    """`make demo` for the tests of one file, pushing every 3 seconds."""
    with RunningDemo(tmp_path_factory.mktemp("demo"), HUBSPOOL_EVERY="0.05") as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser for the tests of one file: until it ends, Playwright's event loop runs in the main thread.

    One for the whole run made asyncio.run() fail in every test that came after it in the same process.
    """
    path = shutil.which("chromium")
    if path is None:
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail("chromium is not installed, and REQUIRE_BROWSER=1 is set (apt-get install chromium)")
        pytest.skip("chromium is not installed (apt-get install chromium)")
    expect.set_options(timeout=30_000)  # the usual 5 s are too few where everything runs at once
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(params=[(1200, 900), (390, 844)], ids=["desktop", "phone"])
def visitor(chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Visitor]:
    visitor = Visitor(chromium, *request.param)
    yield visitor
    visitor.close()


@pytest.fixture
def visitor_of(chromium: Browser) -> Iterator[Callable[..., Visitor]]:
    """For tests that choose the size or the colour scheme, or that open a page of their own."""
    opened: list[Visitor] = []

    def make(width: int = 1200, height: int = 900, scheme: str = "light") -> Visitor:
        opened.append(Visitor(chromium, width, height, scheme))
        return opened[-1]

    yield make
    for visitor in opened:
        visitor.close()
