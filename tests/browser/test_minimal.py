"""Each single-file Space as its visitors use it: what they leave there is found on the Hub by `datasets`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from playwright.sync_api import expect

from hubspool_templates import read_rows
from tests.support.gradio_space import loaded, space
from tests.support.paths import ROOT
from tests.support.visitor import Visitor

if TYPE_CHECKING:
    from hubspool import HfApi
    from hubspool.local_hub import LocalHub

MINIMAL = ROOT / "demo_space" / "minimal"
PICTURE = ROOT / "docs" / "demo-phone.png"


@pytest.fixture
def client_of() -> Callable[[str], Client]:
    return lambda address: Client(address, verbose=False, analytics_enabled=False)


def wait_for_rows(folder: Path, count: int) -> None:
    """Until so many rows lie in a folder whose rows are not pushed yet; a click has no answer to wait for."""
    pause = threading.Event()
    for _ in range(300):
        lines = sum(path.read_bytes().count(b"\n") for path in folder.rglob("*.jsonl"))
        if lines == count:
            return
        pause.wait(0.1)
    raise AssertionError(f"{lines} rows rather than {count}")


@pytest.mark.parametrize("program", sorted(MINIMAL.glob("*.py")), ids=lambda path: path.stem)
def test_a_template_is_short(program: Path) -> None:
    assert len(program.read_text(encoding="utf-8").splitlines()) <= 40


def test_a_vote_is_a_row(local_hub: LocalHub, tmp_path: Path, client_of: Callable[[str], Client]) -> None:
    with space(MINIMAL / "feedback.py", tmp_path, local_hub) as running:
        client = client_of(running.address)
        assert client.predict("abc ✓", "✓ cba", "No", api_name="/save")[0] == "Thank you, your vote is stored."
        client.close()
        assert "Traceback" not in running.leave()
    _, rows = loaded(local_hub, tmp_path)
    assert [{**row, "timestamp": None} for row in rows] == [
        {"text": "abc ✓", "result": "✓ cba", "liked": False, "timestamp": None}
    ]


@pytest.mark.slow
def test_a_live_vote_is_in_the_bucket_and_is_published_as_a_dataset(
    local_hub: LocalHub, hub_api: HfApi, tmp_path: Path, client_of: Callable[[str], Client]
) -> None:
    text = (MINIMAL / "live_votes.py").read_text(encoding="utf-8")
    program, repo = tmp_path / "app.py", {"repo_id": "local/live", "repo_type": "dataset"}
    for number in ("=0.1", "=1440"):  # a second in place of six, and of a day
        assert number in text
        text = text.replace(number, "=1 / 60")
    program.write_text(text, encoding="utf-8")
    with space(program, tmp_path, local_hub, "hf://buckets/local/live") as running:
        client = client_of(running.address)
        with pytest.raises(AppError, match="Please name a film first"):
            client.predict(" ", 3, api_name="/save")
        assert client.predict("Solaris", 5, api_name="/save")[0] == "Thank you, your vote is stored."
        client.close()
        pause = threading.Event()
        for _ in range(600):
            files = hub_api.list_repo_files(**repo) if hub_api.repo_exists(**repo) else []
            if any(path.startswith("data/") for path in files):
                break
            pause.wait(0.1)
        assert "Traceback" not in running.leave()
    _, rows = loaded(local_hub, tmp_path, "local/live")
    for found in (rows, read_rows("hf://buckets/local/live", api=hub_api)):
        assert [{**row, "timestamp": None} for row in found] == [{"film": "Solaris", "stars": 5, "timestamp": None}]


@pytest.mark.slow
def test_a_picture_is_a_row_with_an_image(
    local_hub: LocalHub, tmp_path: Path, client_of: Callable[[str], Client]
) -> None:
    with space(MINIMAL / "images.py", tmp_path, local_hub) as running:
        client = client_of(running.address)
        with pytest.raises(AppError, match="Please give a picture and a label"):
            client.predict(None, "page", api_name="/save")
        client.predict(handle_file(PICTURE), "page", api_name="/save")
        client.close()
        assert "Traceback" not in running.leave()
    features, rows = loaded(local_hub, tmp_path)
    assert features["image"].startswith("Image(")
    assert [row["label"] for row in rows] == ["page"]
    assert "PngImageFile" in str(rows[0]["image"])


@pytest.mark.slow
def test_files_are_an_image_folder_with_their_label(
    local_hub: LocalHub, tmp_path: Path, client_of: Callable[[str], Client]
) -> None:
    with space(MINIMAL / "archive.py", tmp_path, local_hub) as running:
        client = client_of(running.address)
        files = [handle_file(PICTURE), handle_file(ROOT / "docs" / "demo.png")]
        assert client.predict(files, "pages", api_name="/save")[0] == "Thank you, 2 files are stored."
        client.close()
        assert "Traceback" not in running.leave()
    features, rows = loaded(local_hub, tmp_path)
    assert features["image"].startswith("Image(")
    assert [row["label"] for row in rows] == ["pages", "pages"]


@pytest.mark.slow
def test_a_flag_is_a_row_with_the_image_the_guess_and_the_reason(
    local_hub: LocalHub, tmp_path: Path, visitor_of: Callable[..., Visitor]
) -> None:
    with space(MINIMAL / "flagging.py", tmp_path, local_hub) as running:
        page = visitor_of().page
        page.goto(running.address)
        page.locator("input[type=file]").first.set_input_files(PICTURE)
        expect(page.get_by_test_id("image").locator("img")).to_be_visible()
        page.get_by_role("button", name="Submit").click()
        expect(page.get_by_test_id("label-output-value")).to_be_visible()
        page.evaluate(  # "Saving..." may come and go between two looks of `expect`
            "new MutationObserver(() => { window.saved ||= document.body.innerText.includes('Saving...') })"
            ".observe(document.body, {childList: true, subtree: true, characterData: true})"
        )
        page.get_by_role("button", name="Flag as unclear").click()
        page.wait_for_function("window.saved")
        expect(page.get_by_role("button", name="Flag as unclear")).to_be_visible()
        page.close()
        assert "Error" not in running.leave()
    features, [row] = loaded(local_hub, tmp_path)
    assert features["image"].startswith("Image(")
    assert row["flag"] == "unclear"
    assert row["guess"]["label"] in ("light", "dark")
    assert {guess["label"] for guess in row["guess"]["confidences"]} == {"light", "dark"}
    assert set(row) == {"image", "guess", "flag", "timestamp"}


@pytest.mark.slow
def test_a_chat_is_kept_with_its_likes(local_hub: LocalHub, tmp_path: Path, visitor_of: Callable[..., Visitor]) -> None:
    with space(MINIMAL / "chat.py", tmp_path, local_hub) as running:
        page = visitor_of().page
        page.goto(running.address)
        for text in ("hello", "and now?"):
            page.get_by_role("textbox").fill(text)
            page.keyboard.press("Enter")
            expect(page.get_by_test_id("bot").last).to_contain_text(f"You said: {text}")
        # The second click takes the first one back.
        for rows, label in enumerate(("Like", "Liked", "Dislike"), start=3):
            page.get_by_label(label, exact=True).last.click()
            wait_for_rows(tmp_path / "chats", rows)
        page.close()
        assert "Traceback" not in running.leave()
    _, rows = loaded(local_hub, tmp_path)
    talks = [row for row in rows if row["event"] == "conversation"]
    assert [len(row["messages"]) for row in talks] == [2, 4]
    said = [(message["role"], message["content"]) for message in talks[1]["messages"]]
    assert said[2:] == [("user", "and now?"), ("assistant", "You said: and now?")]
    clicks = [(row["message_index"], row["feedback"]) for row in rows if row["event"] == "feedback"]
    assert clicks == [(3, "Like"), (3, None), (3, "Dislike")]
    assert len({row["conversation_id"] for row in rows}) == 1


def test_a_training_run_leaves_its_log(local_hub: LocalHub, tmp_path: Path, client_of: Callable[[str], Client]) -> None:
    with space(MINIMAL / "training_logs.py", tmp_path, local_hub) as running:
        client = client_of(running.address)
        assert "Epoch 3" in client.predict(3, api_name="/train")
        client.close()
        assert "Traceback" not in running.leave()
    _, rows = loaded(local_hub, tmp_path)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
