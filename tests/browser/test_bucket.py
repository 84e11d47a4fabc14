"""The sample Space on a bucket: each tab fills a folder of its own, reads it again, and tells where it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from hubspool import HfApi
from hubspool_templates import read_rows
from tests.support.demo_launcher import RunningDemo, rows_of
from tests.support.demo_page import open_tab
from tests.support.paths import ROOT
from tests.support.visitor import Visitor

PICTURE = ROOT / "docs" / "demo-phone.png"
BUCKET = "local/romanisation-arena"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    """`make demo` with a bucket, pushing every 3 seconds."""
    folder, repo = tmp_path_factory.mktemp("demo"), "hf://buckets/ada/arena"
    with RunningDemo(folder, HUBSPOOL_EVERY="0.05", HUBSPOOL_REPO=repo) as running:
        yield running


@pytest.fixture
def api(demo: RunningDemo) -> HfApi:
    return HfApi(endpoint=demo.settings["HF_ENDPOINT"], token=demo.settings["HF_TOKEN"])


@pytest.fixture
def page(demo: RunningDemo, visitor_of: Callable[..., Visitor]) -> Page:
    return visitor_of().visit(demo.space)


def sent(page: Page, tab: str, noun: str) -> None:
    """Wait until nothing is pending, and look at what the visitor reads about the place."""
    expect(page.locator(f"#progress-{tab}")).to_contain_text(f"No {noun} is pending. Last push:", timeout=60_000)
    place = page.locator(f"#notice-{tab}").get_by_role("link")
    expect(place).to_have_text(f"hf://buckets/{BUCKET}/{tab}")
    expect(page.locator(f"#notice-{tab}")).to_contain_text(f"the bucket hf://buckets/{BUCKET}/{tab}.")
    assert str(place.get_attribute("href")).endswith(f"/buckets/{BUCKET}/tree/{tab}")


def test_a_vote_is_in_the_bucket_and_in_the_standings(demo: RunningDemo, page: Page) -> None:
    assert f"this demo uses hf://buckets/{BUCKET} on a local Hub" in demo.text
    assert demo.said("Bucket") == f"hf://buckets/{BUCKET}/votes"
    page.get_by_role("button", name="Thai").click()
    expect(page.get_by_label("Romanisation 2")).to_have_value(re.compile("cha*w", re.IGNORECASE))
    page.get_by_role("button", name="Romanisation 1 is better").click()
    expect(page.locator("#outcome")).to_contain_text("Thank you, your vote is stored.")
    sent(page, "votes", "vote")
    expect(page.locator("#standings tr").filter(has_text="Thai")).to_contain_text("1")
    assert f"load_dataset('buckets/{BUCKET}/votes', split='train')" in demo.command
    assert [row["user_choice"] for row in rows_of(f"buckets/{BUCKET}/votes", demo.settings)] == [1]


def test_pictures_are_rows_of_their_folders(page: Page, api: HfApi) -> None:
    open_tab(page, "Picture and label")
    page.get_by_label("What is it?").fill("one page")
    page.locator("input[type=file]").first.set_input_files(PICTURE)
    expect(page.get_by_test_id("image").locator("img")).to_be_visible()
    page.get_by_role("button", name="Save the photo").click()
    sent(page, "pictures", "picture")
    expect(page.locator("#gallery")).to_contain_text("one page")
    open_tab(page, "Bulk images")
    page.get_by_label("What do they show?").fill("two pages")
    page.locator("#images input[type=file]").set_input_files([PICTURE, ROOT / "docs" / "demo.png"])
    expect(page.locator("#images").get_by_role("row", name="demo.png")).to_be_visible()
    page.get_by_role("button", name="Save the images").click()
    expect(page.get_by_role("status").filter(has_text="Thank you, 2 images are stored.")).to_be_visible()
    sent(page, "images", "image")
    for tab, labels in {"pictures": ["one page"], "images": ["two pages"] * 2}.items():
        assert [row["label"] for row in read_rows(f"hf://buckets/{BUCKET}/{tab}", api=api)] == labels
    forms = {Path(file.path).suffix for file in api.list_bucket_tree(BUCKET)}
    assert {".parquet", ".zip"} <= forms


def test_a_log_is_read_from_the_bucket_and_the_last_tab_tells_of_its_files(
    demo: RunningDemo, page: Page, api: HfApi
) -> None:
    open_tab(page, "Training logs")
    page.get_by_role("button", name="Start training").click()
    expect(page.locator("#training-outcome [role=status]")).to_contain_text("epoch 15", timeout=60_000)
    sent(page, "training", "run")
    open_tab(page, "What is on the Hub")
    page.get_by_role("button", name="Push romanisation-arena/training/runs now").click()
    expect(page.get_by_text(re.compile(r"^(Pushed\.|There was nothing new to push\.)$"))).to_be_visible()
    page.get_by_role("button", name="Read again").click()
    (log,) = [file for file in api.list_bucket_tree(BUCKET) if file.path.endswith("/metrics.csv")]
    row = page.locator("#repos tr").filter(has_text=f"hf://buckets/{BUCKET}/training")
    expect(row.locator("td").nth(1)).to_have_text("1")
    expect(row.locator("td").nth(3)).to_have_text(f"{log.size:,}")
    run = page.locator("#rows tr").filter(has_text=log.path.split("/")[-2])
    expect(run.locator("td").nth(1)).to_have_text("15")
    assert float(run.locator("td").nth(3).inner_text()) > 0.5, "the accuracy of its last epoch, from the bucket"
    link = page.context.new_page()
    link.goto(f"{demo.settings['HF_ENDPOINT']}/login")
    link.locator("input[type=password],input[name=token]").first.fill(demo.settings["HF_TOKEN"])
    link.locator("button").first.click()
    link.goto(str(row.get_by_role("link").get_attribute("href")))
    expect(link.get_by_text("runs").first).to_be_visible()
