"""Every tab but the arena as a visitor uses it: what they leave is found on the Hub, and the page tells of it."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, Route, expect

from hubspool import HfApi
from tests.support.demo_launcher import RunningDemo
from tests.support.demo_page import commit_now, draw, open_tab
from tests.support.paths import ROOT
from tests.support.visitor import Visitor

PICTURE = ROOT / "docs" / "demo-phone.png"
OTHER_PICTURE = ROOT / "docs" / "demo.png"


def api_of(demo: RunningDemo) -> HfApi:
    return HfApi(endpoint=demo.settings["HF_ENDPOINT"], token=demo.settings["HF_TOKEN"])


def vote(page: Page, sample: str, part_of_results: str, choice: int) -> None:
    """Votes on a sample, and waits until nothing waits."""
    page.get_by_role("button", name=sample).click()
    expect(page.get_by_label("Romanisation 2")).to_have_value(re.compile(part_of_results, re.IGNORECASE))
    page.get_by_role("button", name=f"Romanisation {choice} is better").click()
    expect(page.locator("#outcome")).to_contain_text("Thank you")
    expect(page.locator("#progress-votes")).to_contain_text("No vote is pending. Last push:", timeout=60_000)


def thanked(page: Page, words: str) -> None:
    expect(page.get_by_role("status").filter(has_text=words)).to_be_visible()


def refused(page: Page, words: str) -> None:
    """A message that says what is wrong, and that nothing was stored."""
    expect(page.get_by_test_id("toast-body")).to_contain_text(words)
    page.get_by_test_id("toast-close").click()
    expect(page.get_by_test_id("toast-body")).to_have_count(0)


def test_a_photo_becomes_a_row_with_an_image_and_stands_in_the_gallery(demo: RunningDemo, visitor: Visitor) -> None:
    page = visitor.visit(demo.space)
    open_tab(page, "Picture and label")
    expect(page.locator("#notice-pictures")).to_contain_text("Your picture is kept.")
    label = f"photo {uuid.uuid4().hex[:8]}"
    page.get_by_label("What is it?").fill(label)
    page.locator("input[type=file]").first.set_input_files(PICTURE)
    expect(page.get_by_test_id("image").locator("img")).to_be_visible()
    page.get_by_role("button", name="Save the photo").click()
    thanked(page, "Thank you, the picture is stored.")
    commit_now(page, "pictures")
    (row,) = [row for row in demo.rows("pictures") if row["label"] == label]
    assert row["kind"] == "photo"
    assert "PNG" in str(row["image"])
    open_tab(page, "Picture and label")
    expect(page.locator("#gallery")).to_contain_text(label)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_sketch_becomes_a_row(demo: RunningDemo, visitor: Visitor) -> None:
    page = visitor.visit(demo.space)
    open_tab(page, "Picture and label")
    label = f"sketch {uuid.uuid4().hex[:8]}"
    page.get_by_label("What is it?").fill(label)
    page.get_by_role("tab", name="Sketch").click()
    save = page.get_by_role("button", name="Save the sketch")
    save.click()
    refused(page, "The sketch is still empty")
    expect(page.locator("#sketch").get_by_label("Brush").first).to_have_attribute("data-taken", "yes")
    draw(page)
    save.click()
    thanked(page, "Thank you, the picture is stored.")
    commit_now(page, "pictures")
    assert [row["kind"] for row in demo.rows("pictures") if row["label"] == label] == ["sketch"]


def test_many_images_become_members_of_an_archive(demo: RunningDemo, visitor: Visitor) -> None:
    page = visitor.visit(demo.space)
    open_tab(page, "Bulk images")
    expect(page.locator("#notice-images")).to_contain_text("Your image is kept.")
    label = f"pages {uuid.uuid4().hex[:8]}"
    page.get_by_label("What do they show?").fill(label)
    page.locator("#images input[type=file]").set_input_files([PICTURE, OTHER_PICTURE])
    expect(page.locator("#images").get_by_role("row", name="demo-phone.png")).to_be_visible()
    page.get_by_role("button", name="Save the images").click()
    thanked(page, "Thank you, 2 images are stored.")
    commit_now(page, "images")
    rows = [row for row in demo.rows("images") if row["label"] == label]
    assert len(rows) == 2
    assert all("demo" in str(row["image"]) for row in rows), "each is a file of the archive"


def test_what_is_no_picture_is_refused_with_a_sentence_and_the_others_are_stored(
    demo: RunningDemo, visitor_of: Callable[..., Visitor], tmp_path: Path
) -> None:
    text = tmp_path / "notes.png"
    text.write_text("no picture")
    page = visitor_of().visit(demo.space)
    open_tab(page, "Bulk images")
    save = page.get_by_role("button", name="Save the images")
    save.click()
    refused(page, "Please choose a picture first.")
    page.locator("#images input[type=file]").set_input_files([text])
    expect(page.locator("#images").get_by_role("row", name="notes.png")).to_be_visible()
    save.click()
    refused(page, "the label is empty")
    page.get_by_label("What do they show?").fill("both")
    save.click()
    refused(page, "notes.png is not a picture that can be read.")
    expect(page.locator("#progress-images")).not_to_contain_text("pending on this disk")
    page = visitor_of().visit(demo.space)
    open_tab(page, "Bulk images")
    page.get_by_label("What do they show?").fill("both")
    page.locator("#images input[type=file]").set_input_files([PICTURE, text, OTHER_PICTURE])
    expect(page.locator("#images").get_by_role("row", name="demo.png")).to_be_visible()
    page.get_by_role("button", name="Save the images").click()
    thanked(page, "Thank you, 2 images are stored. Not stored: notes.png is not a picture that can be read.")
    expect(page.get_by_label("What do they show?")).to_have_value("")


def test_a_training_shows_its_curve_and_its_log_is_mirrored(demo: RunningDemo, visitor: Visitor) -> None:
    page = visitor.visit(demo.space)
    open_tab(page, "Training logs")
    expect(page.locator("#notice-training")).to_contain_text("Your run is kept.")
    outcome = page.locator("#training-outcome [role=status]")
    expect(outcome).to_contain_text("run", ignore_case=True)
    before = re.search(r"Run (\S+),", outcome.inner_text())  # of another visitor: the page shows it
    page.get_by_role("button", name="Start training").click()
    new = f"(?!{re.escape(before[1])})" if before else ""
    expect(outcome).to_contain_text(
        re.compile(rf"Run {new}\S+, epoch 15: [89]\d\.\d% of the unseen points are right"), timeout=60_000
    )
    expect(page.locator("#curve canvas, #curve svg.marks").first).to_be_visible()
    run = outcome.inner_text().split()[1].rstrip(",")
    commit_now(page, "training")
    files = api_of(demo).list_repo_files("local/romanisation-arena-training", repo_type="dataset")
    assert [path for path in files if path.startswith(f"runs/{run}/")] == [f"runs/{run}/metrics.csv"]
    page.get_by_role("button", name="Read again").click()
    row = page.locator("#rows tr").filter(has_text=run)
    expect(row.locator("td").nth(1)).to_have_text("15")
    assert float(row.locator("td").nth(3).inner_text()) > 0.5, "the accuracy of its last epoch, from the Hub"


def test_what_is_on_the_hub_is_what_the_hub_says(demo: RunningDemo, visitor: Visitor) -> None:
    page = visitor.visit(demo.space)
    vote(page, "Korean", "segye", 1)
    commit_now(page, "votes")
    api = api_of(demo)
    page.get_by_role("button", name="Read again").click()
    expect(page.locator("#rows")).to_contain_text("안녕하세요 세계")
    commits = list(api.list_repo_commits("local/romanisation-arena-votes", repo_type="dataset"))
    row = page.locator("#repos tr").filter(has_text="romanisation-arena-votes")
    expect(row.locator("td").nth(1)).to_have_text(str(len(commits)))
    expect(row).to_contain_text(commits[0].title)
    link = row.get_by_role("link").get_attribute("href")
    assert link == f"{api.endpoint}/datasets/local/romanisation-arena-votes"
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_click_while_the_hub_is_read_reads_it_once_more(
    demo: RunningDemo, visitor_of: Callable[..., Visitor]
) -> None:
    page = visitor_of().visit(demo.space)
    number = page.evaluate(
        "(({components, dependencies}) => {"
        " const {id} = components.find(each => each.props.elem_id === 'repos');"
        " return dependencies.find(each => each.outputs.includes(id)).id; })(window.gradio_config)"
    )
    held: list[Route] = []

    def reads(request: Request) -> bool:
        return "/queue/join" in request.url and (request.post_data_json or {})["fn_index"] == number

    def hold_the_first(route: Route) -> None:
        if reads(route.request) and not held:
            held.append(route)
        else:
            route.continue_()

    page.route("**/queue/join*", hold_the_first)
    open_tab(page, "What is on the Hub")
    while not held:
        page.wait_for_timeout(20)
    page.get_by_role("button", name="Read again").click()
    with page.expect_request(reads):
        held[0].continue_()
    expect(page.locator("#repos table")).to_be_visible()
    page.unroute_all(behavior="wait")


@pytest.mark.parametrize("choice", [1, 2])
def test_the_standings_count_the_votes_on_the_hub(
    demo: RunningDemo, visitor_of: Callable[..., Visitor], choice: int
) -> None:
    page = visitor_of().visit(demo.space)
    vote(page, "Thai", "cha*w", choice)
    winner = page.locator("#outcome b").inner_text()
    bar = page.locator("#standings tr").filter(has_text="Thai").get_by_title(winner, exact=True)
    expect(bar).to_have_text(re.compile(r"[1-9]\d*"), timeout=30_000)
