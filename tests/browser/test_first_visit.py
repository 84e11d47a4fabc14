"""What somebody meets who opens the sample Space for the first time, and what a careless visitor gets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from PIL import Image
from playwright.sync_api import Browser, expect

from tests.support.demo_launcher import RunningDemo
from tests.support.demo_page import click_until_refused, commit_now, draw, open_tab
from tests.support.paths import ROOT
from tests.support.visitor import Visitor

CLASSES = {
    "Romanisation arena": ("JsonlScheduler", "arena.py"),
    "Picture and label": ("ParquetScheduler", "pictures.py"),
    "Bulk images": ("ZipScheduler", "bulk_images.py"),
    "Training logs": ("TrainingLogs", "training.py"),
}


@pytest.fixture
def client(demo: RunningDemo) -> Iterator[Client]:
    client = Client(demo.space, verbose=False, analytics_enabled=False)
    yield client
    client.close()


def rows(demo: RunningDemo, marker: str) -> int:
    """Rows on the Hub that hold a text."""
    return sum(marker in str(row) for row in demo.rows())


def test_an_open_page_says_what_will_appear_and_shows_votes_that_come_through_the_api(
    demo: RunningDemo, visitor_of: Callable[..., Visitor], client: Client
) -> None:
    page = visitor_of().visit(demo.space)
    expect(page.get_by_text("No vote yet. Yours will appear here.")).to_be_visible()
    for _ in range(2):
        client.predict("Καλημέρα", "Kalemera", "Kalimera", 1, api_name="/save_feedback")
    expect(page.locator("#standings tr")).to_have_text("Greek2", timeout=60_000)
    expect(page.get_by_text("No vote yet.")).to_have_count(0)
    open_tab(page, "Picture and label")
    expect(page.get_by_text("No picture yet. Yours will appear here.")).to_be_visible()
    open_tab(page, "Training logs")
    expect(page.get_by_text("No run yet: the curve of the first one will appear here.")).to_be_visible()
    open_tab(page, "What is on the Hub")
    expect(page.get_by_text("No run yet.", exact=True)).to_be_visible()
    headers = page.locator("#rows table").first.locator("th")
    expect(headers).to_have_text(["input", "output_1", "output_2", "user_choice", "time (UTC)"])


@pytest.mark.parametrize("title", CLASSES)
def test_a_tab_names_its_class_and_links_to_its_code_and_its_guide(
    demo: RunningDemo, visitor_of: Callable[..., Visitor], title: str
) -> None:
    name, program = CLASSES[title]
    page = visitor_of().visit(demo.space)
    open_tab(page, title)
    expect(page.get_by_text(f"Stored with {name}")).to_be_visible()
    shown = page.locator("p").filter(has_text=f"Stored with {name}").get_by_role("link")
    code, guide = (link.get_attribute("href") or "" for link in shown.all())
    assert code.endswith(f"/demo_space/{program}")
    assert (ROOT / "demo_space" / program).is_file()
    assert (ROOT / "docs" / Path(guide).with_suffix(".md").name).is_file(), guide


def test_clicks_on_both_buttons_store_one_vote(demo: RunningDemo, visitor_of: Callable[..., Visitor]) -> None:
    page = visitor_of().visit(demo.space)
    page.get_by_label("Text in any script").fill("χαίρε once")
    expect(page.get_by_label("Romanisation 2")).to_have_value(re.compile("once"))
    page.evaluate("for (const number of [1, 2, 1]) document.getElementById(`vote-${number}`).click()")
    expect(page.locator("#outcome")).to_contain_text("Thank you")
    commit_now(page, "votes")  # the line of progress may be of a moment before the vote
    assert rows(demo, "once") == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("😀🎉", "There is no letter in this text"),
        ("x" * 10_000, "Please use at most 2,000 characters; this is 10,000."),
        ("𐌰𐌱", "One of the libraries does not know these letters"),
    ],
    ids=["emoji", "long", "unknown letters"],
)
def test_a_text_without_a_choice_gets_a_sentence_that_says_why(
    demo: RunningDemo, visitor_of: Callable[..., Visitor], text: str, sentence: str
) -> None:
    page = visitor_of().visit(demo.space)
    page.get_by_label("Text in any script").fill(text)
    expect(page.locator("#outcome")).to_contain_text(sentence)
    for number in (1, 2):
        expect(page.get_by_role("button", name=f"Romanisation {number} is better")).to_be_disabled()


def test_the_first_stroke_draws_and_a_second_click_stores_no_second_sketch(
    demo: RunningDemo, visitor_of: Callable[..., Visitor]
) -> None:
    page = visitor_of().visit(demo.space)
    open_tab(page, "Picture and label")
    page.get_by_role("tab", name="Sketch").click()
    expect(page.locator("#sketch [data-taken]")).to_be_visible()
    draw(page)
    page.get_by_label("What is it?").fill("stroke once")
    save = page.get_by_role("button", name="Save the sketch")
    save.dblclick()
    thanks = page.get_by_role("status").filter(has_text="Thank you, the picture is stored.")
    expect(thanks).to_be_visible()
    expect(page.get_by_label("What is it?")).to_have_value("")
    click_until_refused(save, "The sketch is still empty")
    commit_now(page, "pictures")
    assert sum(row["label"] == "stroke once" for row in demo.rows("pictures")) == 1


def test_a_page_that_is_opened_again_shows_the_finished_run(
    demo: RunningDemo, visitor_of: Callable[..., Visitor], client: Client
) -> None:
    *_, (_, words) = client.submit(3, api_name="/start_training")
    assert "epoch 3" in words
    page = visitor_of().visit(demo.space)
    open_tab(page, "Training logs")
    expect(page.locator("#training-outcome")).to_contain_text(words)
    expect(page.locator("#curve canvas, #curve svg.marks").first).to_be_visible()


def test_a_dataset_link_opens_after_the_log_in_that_the_launcher_prints(
    demo: RunningDemo, chromium: Browser, visitor_of: Callable[..., Visitor], client: Client
) -> None:
    client.predict("Καλημέρα", "Kalemera", "Kalimera", 2, api_name="/save_feedback")
    page = visitor_of().visit(demo.space)
    link = page.locator("#notice-votes a").get_attribute("href")
    assert link
    log_in = next(line for line in demo.lines if line.startswith("Log in"))
    found = re.search(r"(\S+/login) with the token (\S+)", log_in)
    assert found, log_in
    with chromium.new_context() as context:
        opened = context.new_page()
        opened.goto(found[1])
        opened.get_by_label("Token of this Hub").fill(found[2])
        opened.get_by_role("button", name="Log in").click()
        expect(opened.get_by_role("button", name="Log out")).to_be_visible()
        opened.goto(link)
        expect(opened.get_by_role("heading").first).to_contain_text("romanisation-arena-votes")


def test_a_good_file_beside_seven_others_is_named_when_one_is_bad(
    demo: RunningDemo, client: Client, tmp_path: Path
) -> None:
    files = [tmp_path / f"{number}.png" for number in range(8)]
    for file in files[:7]:
        Image.new("RGB", (8, 8)).save(file)
    files[7].write_text("no picture")
    words = client.predict([handle_file(file) for file in files], "eight", api_name="/save_images")[0]
    assert words == (
        "Thank you, 7 images are stored. Not stored: 7.png is not a picture that can be read. "
        "Please use JPEG, PNG or WebP."
    )
