"""What is too long, too large or of the wrong kind is refused with a sentence, and leaves no row."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from playwright.sync_api import expect

from tests.support.demo_launcher import RunningDemo
from tests.support.visitor import Visitor

MARK = "must not be kept"


@pytest.fixture(scope="module")
def client(demo: RunningDemo) -> Iterator[Client]:
    client = Client(demo.space, verbose=False, analytics_enabled=False)
    yield client
    client.close()


def noise(path: Path, side: int) -> Any:
    """A picture that does not compress."""
    Image.frombytes("RGB", (side, side), os.urandom(3 * side * side)).save(path)
    return handle_file(path)


def large(folder: Path) -> Any:
    path = folder / "wide.png"
    Image.new("1", (8_001, 1)).save(path)
    return handle_file(path)


def text(folder: Path) -> Any:
    path = folder / "text.png"
    path.write_text("no picture")
    return handle_file(path)


def small(folder: Path) -> Any:
    return noise(folder / "small.png", 8)


REFUSALS: dict[str, tuple[str, Callable[[Path], tuple[Any, ...]], str]] = {
    "long text": ("/save_feedback", lambda _: ("x" * 2_001 + MARK, "left", "right", 1), "characters; at most"),
    "long result": ("/save_feedback", lambda _: (MARK, "x" * 100_000, "right", 1), "characters; at most"),
    "no text": ("/save_feedback", lambda _: (" ", MARK, "right", 1), "is empty"),
    "no choice": ("/save_feedback", lambda _: (MARK, "left", "right", 3), "must be 1 or 2"),
    "long label": ("/save_picture", lambda folder: (small(folder), MARK * 10), "at most 100"),
    "no label": ("/save_picture", lambda folder: (small(folder), "  "), "the label is empty"),
    "large picture": ("/save_picture", lambda folder: (large(folder), MARK), "8,001 by 1 pixels; at most 8,000"),
    "no picture": ("/save_picture", lambda folder: (text(folder), MARK), "not a picture that can be read"),
    "many files": ("/save_images", lambda folder: ([small(folder)] * 51, MARK), "These are 51 files"),
    "large file": ("/save_images", lambda folder: ([noise(folder / "big.png", 1_400)], MARK), "at most 5 MB"),
    "long name of what they show": ("/save_images", lambda folder: ([small(folder)], MARK * 10), "at most 100"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_it_is_refused_with_a_sentence_and_leaves_no_row(
    case: str, demo: RunningDemo, client: Client, tmp_path: Path
) -> None:
    route, given, said = REFUSALS[case]
    with pytest.raises(AppError, match=said) as refusal:
        client.predict(*given(tmp_path), api_name=route)
    assert "Traceback" not in str(refusal.value)
    kept = [
        path for path in (demo.folder / "spool").rglob("*") if path.is_file() and MARK.encode() in path.read_bytes()
    ]
    assert kept == []
    log = (demo.folder / "space.log").read_text()
    assert "Traceback" not in log, log


def test_a_text_that_is_too_long_cannot_be_voted_on(demo: RunningDemo, visitor_of: Callable[..., Visitor]) -> None:
    page = visitor_of().visit(demo.space)
    box = page.get_by_label("Text in any script")
    box.evaluate("element => element.removeAttribute('maxlength')")  # as somebody may who wants to send more
    box.fill("Москва " * 400)
    expect(page.locator("#outcome")).to_contain_text("Please use at most")
    expect(page.get_by_role("button", name="Romanisation 1 is better")).to_be_disabled()
