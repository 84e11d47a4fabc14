"""The status panel on a page, as the owner of a Space reads and uses it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from gradio_client import Client
from playwright.sync_api import Locator, Page, expect

from hubspool.local_hub import Fault
from tests.support.gradio_space import RunningSpace, loaded, space
from tests.support.paths import PROGRAMS
from tests.support.visitor import Visitor

if TYPE_CHECKING:
    from hubspool.local_hub import LocalHub

PROGRAM = PROGRAMS / "panel_space.py"


@pytest.fixture
def running(local_hub: LocalHub, tmp_path: Path) -> Iterator[RunningSpace]:
    with space(PROGRAM, tmp_path, local_hub) as running:
        yield running


@pytest.fixture
def client(running: RunningSpace) -> Iterator[Client]:
    client = Client(running.address, verbose=False, analytics_enabled=False)
    yield client
    client.close()


@pytest.fixture
def page(running: RunningSpace, visitor: Visitor) -> Iterator[Page]:
    visitor.page.goto(running.address)
    yield visitor.page
    visitor.page.close()  # before its server ends, which would be an error in its console


def fact(panel: Locator, name: str) -> Locator:
    return panel.locator(f"dt:text-is('{name}') + dd")


def test_it_shows_what_waits_and_commits_it_now(
    local_hub: LocalHub, tmp_path: Path, client: Client, page: Page
) -> None:
    votes, notes = page.get_by_label("Saving to local/votes"), page.get_by_label("Saving to local/notes")
    expect(page.get_by_text("Rows and bytes of each push will appear here.")).to_have_count(2)
    expect(fact(votes, "Last push")).to_have_text("none yet")
    client.predict(0, 7, api_name="/add")
    expect(fact(votes, "Pending rows")).to_have_text("7")
    expect(fact(votes, "Next push")).to_contain_text("in 10 h")
    page.get_by_role("button", name="Push votes now").click()
    expect(page.get_by_text("Pushed.", exact=True)).to_be_visible()
    expect(fact(votes, "Pending rows")).to_have_text("0")
    expect(fact(votes, "Pushes since the start")).to_have_text("1")
    expect(page.get_by_role("img", name="Rows of the last push: from 7 to 7")).to_be_visible()
    expect(page.locator(".rows .axis")).to_have_text("70")  # from the top to the bottom: 7, 0
    expect(page.locator(".rows .ends span")).to_have_count(1)  # on a phone two would run into each other
    expect(fact(notes, "Pushes since the start")).to_have_text("0")
    page.get_by_role("button", name="Push votes now").click()
    expect(page.get_by_role("status").first).to_have_text("There was nothing new to push.")
    assert len(loaded(local_hub, tmp_path, "local/votes")[1]) == 7


def test_the_table_that_somebody_opened_stays_open_while_the_numbers_change(client: Client, page: Page) -> None:
    client.predict(0, 2, api_name="/add")
    page.get_by_role("button", name="Push votes now").click()
    page.get_by_text("Show as a table").click()
    cell = page.get_by_role("cell", name="2", exact=True)
    expect(cell).to_be_visible()
    client.predict(0, 3, api_name="/add")
    expect(fact(page.get_by_label("Saving to local/votes"), "Pending rows")).to_have_text("3")
    expect(cell).to_be_visible()


def test_it_says_what_failed_and_what_to_do_and_shows_no_traceback(
    local_hub: LocalHub, client: Client, page: Page
) -> None:
    panel = page.get_by_label("Saving to local/votes")
    local_hub.faults.add(Fault(route="commit", status=403, body="<script>alert(1)</script>", times=None))
    client.predict(0, 1, api_name="/add")
    page.get_by_role("button", name="Push votes now").click()
    expect(page.get_by_text("The push failed. Pending data stays on the disk and is sent later.")).to_be_visible()
    assert local_hub.faults.hits
    expect(panel).to_contain_text("answered 403")
    expect(panel).to_contain_text("Check that the token may write to this repository")
    expect(panel).to_contain_text("Will try again")
    expect(fact(panel, "Pending rows")).to_have_text("1")
    assert "Traceback" not in page.inner_text("body")
    local_hub.faults.clear()
    page.get_by_role("button", name="Push votes now").click()
    expect(page.get_by_text("Pushed.", exact=True)).to_be_visible()
    expect(panel).not_to_contain_text("answered 403")


def test_it_says_that_a_scheduler_is_stopped(client: Client, page: Page) -> None:
    client.predict(api_name="/stop")
    panel = page.get_by_label("Saving to local/notes")
    expect(panel).to_contain_text("Stopped")
    expect(fact(panel, "Next push")).to_have_text("at the next start")
    page.get_by_role("button", name="Push notes now").click()
    expect(page.get_by_text("The scheduler is stopped.")).to_be_visible()


def test_it_fits_a_phone_and_is_read_in_the_dark(
    running: RunningSpace, client: Client, visitor_of: Callable[..., Visitor]
) -> None:
    page = visitor_of(360, 740, "dark").page
    page.goto(running.address)
    client.predict(0, 2, api_name="/add")
    page.get_by_role("button", name="Push votes now").click()
    expect(page.get_by_role("img", name="Rows of the last push: from 2 to 2")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    colour = "element => getComputedStyle(element).color.match(/[0-9]+/g).slice(0, 3).map(Number)"
    text = fact(page.get_by_label("Saving to local/votes"), "Last push").evaluate(colour)
    assert min(text) > 200, "light text on a dark page"
    page.close()
