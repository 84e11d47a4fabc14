"""The arena as a visitor uses it, from the click to the row that `datasets` reads."""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.support.demo_launcher import RunningDemo
from tests.support.environment import clean_environment
from tests.support.visitor import Visitor

COLUMNS = ["id", "time", "input", "output_1", "output_2", "user_choice"]


def outputs(page: Page) -> tuple[str, str]:
    return page.get_by_label("Romanisation 1").input_value(), page.get_by_label("Romanisation 2").input_value()


def enter(page: Page, text: str, part_of_result: str) -> None:
    page.get_by_label("Text in any script").fill(text)
    page.wait_for_function(
        "part => document.querySelectorAll('textarea:disabled')[0]?.value.includes(part)", arg=part_of_result
    )


def wait_until_sent(page: Page) -> None:
    expect(page.locator("#progress-votes")).to_contain_text("No vote is pending. Last push:", timeout=60_000)


def test_a_vote_on_a_typed_text_becomes_a_row_of_the_dataset(demo: RunningDemo, visitor: Visitor) -> None:
    page = visitor.visit(demo.space)
    expect(page.locator("#notice-votes")).to_contain_text("Your vote is kept.")
    expect(page.locator("#notice-votes")).to_contain_text(demo.said("Dataset"))
    marker = uuid.uuid4().hex[:8]
    enter(page, f"χαίρε {marker}", marker)
    first, second = outputs(page)
    assert {first, second} == {f"chaire {marker}", f"khaire {marker}"}
    page.get_by_role("button", name="Romanisation 2 is better").click()
    expect(page.locator("#outcome")).to_contain_text("Thank you, your vote is stored.")
    expect(page.get_by_role("button", name="Romanisation 1 is better")).to_be_disabled()
    wait_until_sent(page)
    row = demo.row_with(marker)
    assert list(row) == COLUMNS
    assert (row["output_1"], row["output_2"], row["user_choice"]) == (first, second, 2)


def test_where_both_agree_there_is_no_vote_but_another_sample(demo: RunningDemo, visitor: Visitor) -> None:
    page = visitor.visit(demo.space)
    enter(page, "plain text", "plain text")
    expect(page.locator("#outcome")).to_contain_text("Both libraries agree on this text")
    for number in (1, 2):
        expect(page.get_by_role("button", name=f"Romanisation {number} is better")).to_be_disabled()
    before = page.get_by_label("Text in any script").input_value()
    page.get_by_role("button", name="Another sample").click()
    expect(page.get_by_label("Text in any script")).not_to_have_value(before)


def test_the_keyboard_is_enough(demo: RunningDemo, visitor: Visitor) -> None:
    page = visitor.visit(demo.space)
    page.get_by_role("button", name="Georgian").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Text in any script")).to_have_value("გამარჯობა, როგორ ხარ?")
    expect(page.get_by_label("Romanisation 1")).to_have_value(re.compile("gamarjoba"))
    vote = page.get_by_role("button", name="Romanisation 1 is better")
    expect(vote).to_be_enabled()
    vote.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#outcome [role=status]")).to_contain_text("You preferred")
    wait_until_sent(page)


def test_an_empty_text_cannot_be_voted_on(demo: RunningDemo, visitor_of: Callable[..., Visitor]) -> None:
    page = visitor_of().visit(demo.space)
    page.get_by_label("Text in any script").fill("   ")
    expect(page.get_by_role("button", name="Romanisation 1 is better")).to_be_disabled()


def test_the_page_fits_a_phone(demo: RunningDemo, visitor_of: Callable[..., Visitor]) -> None:
    page = visitor_of(360, 740).visit(demo.space)
    enter(page, "слово" * 60, "slovo")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_api_stores_the_texts_that_it_is_given_and_refuses_bad_votes(
    demo: RunningDemo, visitor_of: Callable[..., Visitor]
) -> None:
    marker = uuid.uuid4().hex[:8]
    code = f"""
from gradio_client import Client
from gradio_client.exceptions import AppError
client = Client({demo.space!r}, verbose=False)
print(client.predict("как {marker}", "left", "right", 1, api_name="/save_feedback"))
bad = [("x {marker}", "a", "b", 3), ("", "a", "b", 1), ("{marker}" * 300, "a", "b", 1), ("x", "a", " ", 2)]
for vote in bad:
    try:
        client.predict(*vote, api_name="/save_feedback")
    except AppError as error:
        print(error)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=clean_environment(), check=False, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    row_id, *refusals = done.stdout.splitlines()
    assert refusals == [
        "user_choice is 3: it must be 1 or 2.",
        "input_text is empty: a vote needs the text and both results.",
        "input_text has 2,400 characters; at most 2,000 are allowed.",
        "output_2 is empty: a vote needs the text and both results.",
    ]
    wait_until_sent(visitor_of().visit(demo.space))
    row = demo.row_with(marker)
    assert row["id"] == row_id
    assert (row["output_1"], row["output_2"], row["user_choice"]) == ("left", "right", 1)
