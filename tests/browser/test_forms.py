"""A form stores once: a double click, a second click and a click after a lost answer add no row."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from gradio_client import Client, handle_file
from playwright.sync_api import expect

from tests.support.demo_page import click_until_refused
from tests.support.gradio_space import RunningSpace, space
from tests.support.paths import ROOT
from tests.support.visitor import Visitor

if TYPE_CHECKING:
    from hubspool.local_hub import LocalHub

MINIMAL = ROOT / "demo_space" / "minimal"
PICTURE = ROOT / "docs" / "demo-phone.png"


def rows(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in folder.rglob("*.jsonl"))


@pytest.fixture
def pictures(local_hub: LocalHub, tmp_path: Path) -> Iterator[RunningSpace]:
    """The single-file Space of pictures, whose rows stay on the disk until it ends."""
    program = tmp_path / "app.py"
    text = (MINIMAL / "images.py").read_text(encoding="utf-8")
    program.write_text(text.replace("every=5", "every=600"), encoding="utf-8")
    with space(program, tmp_path, local_hub) as running:
        yield running


def test_a_double_click_stores_once_and_clears_the_form_and_a_refusal_clears_the_thanks(
    pictures: RunningSpace, visitor_of: Callable[..., Visitor], tmp_path: Path
) -> None:
    page = visitor_of().page
    page.goto(pictures.address)
    label = page.get_by_label("Label")
    page.locator("input[type=file]").first.set_input_files(PICTURE)
    expect(page.get_by_test_id("image").locator("img")).to_be_visible()
    label.fill("page")
    save = page.get_by_role("button", name="Save", exact=True)
    save.dblclick()
    thanks = page.get_by_role("status").filter(has_text="Thank you, the picture is stored.")
    expect(thanks).to_be_visible()
    expect(label).to_have_value("")
    expect(page.get_by_test_id("image").locator("img")).to_have_count(0)
    expect(page.get_by_test_id("toast-body")).to_have_count(0)
    click_until_refused(save, "Please give a picture and a label.")
    expect(thanks).to_have_count(0)
    assert rows(tmp_path / "pictures") == 1
    page.close()


def test_a_click_after_a_lost_answer_stores_once(pictures: RunningSpace, tmp_path: Path) -> None:
    client = Client(pictures.address, verbose=False, analytics_enabled=False)
    first, again, other = (
        client.predict(handle_file(PICTURE), "page", key, api_name="/save")[0] for key in ("a", "a", "b")
    )
    assert first == again == other == "Thank you, the picture is stored."
    assert rows(tmp_path / "pictures") == 2
    client.predict(handle_file(PICTURE), "no key", api_name="/save")
    client.predict(handle_file(PICTURE), "no key", api_name="/save")
    client.close()
    assert rows(tmp_path / "pictures") == 4, "a caller without a key decides for itself"
    assert re.search("Traceback", pictures.text) is None
