"""The picture of a local Hub's page in the README; `make screenshots` writes it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from hubspool import HfApi
from hubspool.local_hub import LocalHub, User
from hubspool_templates import JsonlScheduler

FILMS = {"Solaris": True, "Stalker": True, "The Mirror": False, "Ivan's Childhood": True, "Nostalghia": False}


@pytest.mark.browser
def test_hub_screenshot(chromium: Browser, tmp_path: Path) -> None:
    with LocalHub(tmp_path / "hub", users=[User("your-name", "hf_owner")]) as hub:
        api = HfApi(endpoint=hub.endpoint, token="hf_owner")
        folder = tmp_path / "votes"
        with JsonlScheduler("your-name/film-votes", folder_path=folder, timestamp=True, hf_api=api) as votes:
            for film, liked in FILMS.items():
                votes.append({"film": film, "liked": liked})
        context = chromium.new_context(viewport={"width": 1000, "height": 690})
        page = context.new_page()
        page.goto(f"{hub.endpoint}/datasets/your-name/film-votes")
        page.get_by_label("Token").fill("hf_owner")
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("link", name="Add 5 rows").click()
        expect(page.get_by_text("Nostalghia")).to_be_visible()
        picture = page.screenshot()
        context.close()
    assert len(picture) < 300_000
    if wanted := os.environ.get("HUBSPOOL_SCREENSHOTS"):
        Path(wanted, "hub.png").write_bytes(picture)
