"""Flags and chats of Gradio arrive in a Parquet dataset; a flag that cannot be stored shows on the visitor's button."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from gradio.flagging import FlagMethod
from PIL import Image

from hubspool import HfApi
from hubspool_templates import ChatLogger, HubFlaggingCallback, ParquetScheduler
from tests.datasets.test_parquet_drift import columns_of, load_all

Make = Callable[..., Any]
Load = Callable[..., list[list[dict[str, Any]]]]
SECONDS = 60
__all__ = ["load_all"]


def test_plain_chats_arrive_although_no_message_has_a_title(make: Make, load_all: Load) -> None:
    scheduler = make(kind=ParquetScheduler)
    logger = ChatLogger(scheduler)
    chats = [[{"role": "user", "content": "hi"}, {"role": "assistant", "content": f"hello {n}"}] for n in range(3)]
    for chat in chats:
        logger.log(chat)
    scheduler.stop(timeout=SECONDS)
    (rows,) = load_all("local/votes")
    told = [[{"role": each["role"], "content": each["content"]} for each in row["messages"]] for row in rows]
    assert sorted(told, key=str) == sorted(chats, key=str)


@pytest.fixture
def flag(hub_api: HfApi, tmp_path: Path) -> Callable[..., Any]:
    """Press the button of an interface with these components; returns the button's new state."""
    schedulers = []

    def press(components: list[Any], *values: Any, **options: Any) -> Any:
        callback = HubFlaggingCallback("local/votes", hf_api=hub_api, every=600, **options)
        callback.setup(components, tmp_path / "flagged")
        shown = FlagMethod(callback, "Flag", None)(SimpleNamespace(username=None), *values)
        callback.scheduler.stop(timeout=SECONDS)
        schedulers.append(callback)
        return shown

    return press


def test_flags_of_a_chatbot_and_a_gallery_arrive(
    flag: Callable[..., Any],
    load_all: Load,
    tmp_path: Path,
) -> None:
    Image.new("L", (2, 2)).save(tmp_path / "a.png")
    file = {"path": str(tmp_path / "a.png"), "orig_name": "a.png", "meta": {"_type": "gradio.FileData"}}
    message = {"role": "user", "content": [{"type": "text", "text": "hi"}], "metadata": None, "options": None}
    components = [gr.Chatbot(label="chat"), gr.Gallery(label="pictures")]
    for pictures in ([], [{"image": file, "caption": None}]):
        assert flag(components, [message, {**message, "role": "assistant"}], pictures) != "Error!"
    (rows,) = load_all("local/votes")
    assert [[each["role"] for each in row["chat"]] for row in rows] == [["user", "assistant"]] * 2
    first, second = sorted(rows, key=lambda row: len(row["pictures"]))
    assert first["pictures"] == []
    assert second["pictures"][0]["image"] == {"bytes": (tmp_path / "a.png").read_bytes(), "path": "a.png"}
    assert not any("_unfit" in name for row in rows for name in columns_of(row))


def test_a_flag_that_cannot_be_stored_is_told_to_the_visitor(
    flag: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in (gr.Textbox(label="text"), gr.Image(label="image")):
        assert flag([kind], "x", transform=lambda row: {**row, "made": object()}) == "Error!"
        assert "'made'" in capsys.readouterr().out


@pytest.mark.parametrize("write", ["flag", "chat"])
def test_a_visitors_text_that_names_a_file_of_the_app_is_text(
    write: str, flag: Callable[..., Any], make: Make, load_all: Load, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.png"
    Image.new("L", (2, 2)).save(secret)
    if write == "flag":
        file = {"path": str(secret), "orig_name": str(secret), "meta": {"_type": "gradio.FileData"}}
        components = [gr.Textbox(label="text"), gr.Image(label="image")]
        shown = flag(components, str(secret), file, transform=lambda row: {**row, "own": secret, "same": row["text"]})
        assert shown != "Error!"
    else:
        scheduler = make(kind=ParquetScheduler)
        messages = [{"role": str(secret), "content": str(secret)}]
        ChatLogger(scheduler).like(SimpleNamespace(liked=str(secret), index=0), messages)
        scheduler.stop(timeout=SECONDS)
    ((row,),) = load_all("local/votes")
    if write == "flag":
        assert row["text"] == row["same"] == str(secret)
        assert row["own"] == row["image"] == {"bytes": secret.read_bytes(), "path": "secret.png"}
    else:
        (message,) = row["messages"]
        assert message["role"] == message["content"] == row["feedback"] == str(secret)
