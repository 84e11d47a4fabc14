"""Clicks through the sample Space, at every width of the page."""

from __future__ import annotations

import re
import time

from playwright.sync_api import Locator, Page, expect


def open_tab(page: Page, title: str) -> None:
    """Click a tab; on a narrow page some tabs are in the menu behind a button.

    The page shows all tabs and then moves some into the menu: the tab or the button is chosen at the click.
    """
    tab = page.get_by_role("tab", name=title, exact=True)
    menu = page.locator(".overflow-menu > button")
    item = page.locator(".overflow-dropdown").get_by_role("button", name=title)
    heading = page.get_by_role("heading", name=title, exact=True)
    tab.or_(menu).filter(visible=True).first.click()
    expect(item.or_(heading).filter(visible=True).first).to_be_visible()
    if item.is_visible():
        item.click()
    expect(heading).to_be_visible()


def commit_now(page: Page, dataset: str) -> None:
    """Push one dataset with the button on its tab; a periodic push may have sent the rows already."""
    open_tab(page, "What is on the Hub")
    page.get_by_role("button", name=f"Push romanisation-arena-{dataset} now").click()
    panel = page.locator(".column.panel").filter(has_text=f"romanisation-arena-{dataset}")
    expect(panel).to_contain_text(re.compile("Pushed\\.|There was nothing new"), timeout=60_000)


def draw(page: Page) -> None:
    """Draw one stroke on the sketch pad."""
    canvas = page.locator("#sketch canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 40, y - 30)
    page.mouse.down()
    page.mouse.move(x + 30, y + 20, steps=8)
    page.mouse.up()
    expect(page.locator("#sketch").get_by_role("button", name="Undo")).to_be_enabled()


def click_until_refused(button: Locator, words: str) -> None:
    """Click until a refusal appears: the server takes the clicks of the first second for parts of a double click."""
    toast = button.page.get_by_test_id("toast-body").first
    deadline = time.monotonic() + 30
    while True:
        button.click()
        try:
            expect(toast).to_contain_text(words, timeout=500)
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        else:
            return
