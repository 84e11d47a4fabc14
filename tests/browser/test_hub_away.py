"""The Space by itself, where nothing takes its rows: what the page and the log say."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.support.demo_app import space_alone
from tests.support.environment import free_port
from tests.support.visitor import Visitor

pytestmark = pytest.mark.slow


def test_votes_are_safe_while_the_hub_is_away(tmp_path: Path, visitor_of: Callable[..., Visitor]) -> None:
    settings = {
        "HF_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "HF_TOKEN": "hf_local",
        "HUBSPOOL_EVERY": "0.02",
    }
    with space_alone(tmp_path, HUBSPOOL_REPO="local/away", **settings) as (address, _):
        page = visitor_of().visit(address)
        page.get_by_role("button", name="Greek").click()
        expect(page.get_by_label("Romanisation 1")).to_have_value(re.compile("kosme"))
        page.get_by_role("button", name="Romanisation 1 is better").click()
        expect(page.locator("#outcome")).to_contain_text("your vote is stored")
        progress = page.locator("#progress-votes")
        expect(progress).to_contain_text("1 vote is safe on this disk and will be sent.", timeout=60_000)
        expect(progress).not_to_contain_text("Traceback")
        page.close()  # before its server ends, which would be an error in its console


def test_a_space_without_a_token_says_that_votes_stay_on_its_disk(
    tmp_path: Path, visitor_of: Callable[..., Visitor]
) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    with space_alone(tmp_path, SPACE_ID="somebody/arena", HF_ENDPOINT=endpoint) as (address, lines):
        page = visitor_of().visit(address)
        words = "Add a secret HF_TOKEN: a fine-grained token with write access to the dataset somebody/arena-votes"
        expect(page.locator("#progress-votes")).to_contain_text("kept on this disk only")
        expect(page.locator("#progress-votes")).to_contain_text(words)
        page.close()
    assert any("kept on this disk only" in line and words in line for line in lines)
