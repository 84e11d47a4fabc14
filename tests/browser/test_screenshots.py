"""The pictures of the documentation, of a page that people have used; `make screenshots` writes them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from gradio_client import Client
from playwright.sync_api import expect

from romanise import SAMPLES, romanise
from tests.support.demo_launcher import RunningDemo
from tests.support.visitor import Visitor

VOTES = {"Russian": 7, "Greek": 6, "Chinese": 5, "Japanese": 5, "Arabic": 4, "Hindi": 4, "Thai": 3, "Korean": 3}
"""Votes for each text, of which every third is for text-unidecode."""


@pytest.mark.slow
def test_screenshots(demo: RunningDemo, visitor_of: Callable[..., Visitor]) -> None:
    client = Client(demo.space, verbose=False, analytics_enabled=False)
    for script, count in VOTES.items():
        pair = romanise(SAMPLES[script])
        for number in range(count):
            choice = 2 if number % 3 == 2 else 1
            client.predict(SAMPLES[script], pair.output_1, pair.output_2, choice, api_name="/save_feedback")
    client.close()
    folder = os.environ.get("HUBSPOOL_SCREENSHOTS")
    for name, size, scheme in [
        ("demo", (1000, 740), "light"),
        ("demo-dark", (1000, 740), "dark"),
        ("demo-phone", (390, 844), "light"),
    ]:
        page = visitor_of(*size, scheme).visit(demo.space)
        page.get_by_role("button", name="Greek").click()
        expect(page.get_by_label("Romanisation 1")).to_have_value(re.compile("kosme"))
        expect(page.locator("#standings tr")).to_have_count(len(VOTES), timeout=60_000)
        expect(page.locator("#progress-votes")).to_contain_text("No vote is pending. Last push:", timeout=60_000)
        picture = page.screenshot(full_page=True)
        assert len(picture) < 300_000
        if folder:
            Path(folder, f"{name}.png").write_bytes(picture)
