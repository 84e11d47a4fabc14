"""ChatLogger: which forms of messages it takes, and what of a file is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from hubspool_templates import ChatLogger, JsonlScheduler, ParquetScheduler, read_rows
from tests.support.gradio_space import loaded

REPO = "local/kept"


@pytest.fixture
def like() -> Callable[..., gr.LikeData]:
    return lambda index, liked: gr.LikeData(None, {"index": index, "value": "x", "liked": liked})


def talk(folder: Path) -> list[Any]:
    """One conversation in the forms that Gradio uses: history, chatbot, generator, older file."""
    note = folder / "note.txt"
    note.write_text("a note")
    return [
        {"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "file", "file": {"path": str(note)}}]},
        gr.ChatMessage("thinking", metadata={"title": "Thought"}),
        {"role": "assistant", "content": "はい"},
        {"role": "user", "content": (str(note),)},
        gr.ChatMessage(gr.Plot()),
    ]


@pytest.mark.parametrize("kind", [JsonlScheduler, ParquetScheduler])
def test_messages_of_every_form_load_in_one(
    kind: type[JsonlScheduler] | type[ParquetScheduler], make: Callable[..., Any], tmp_path: Path, local_hub: Any
) -> None:
    scheduler = make(kind)
    ChatLogger(scheduler).log([{"role": "user", "content": "no file yet"}])
    scheduler.flush(60)
    ChatLogger(scheduler).log(talk(tmp_path))
    scheduler.flush(60)
    _, rows = loaded(local_hub, tmp_path)
    row = max(rows, key=lambda row: len(row["messages"]))
    file = {"name": "note.txt", "bytes": b"a note".hex()} if kind is ParquetScheduler else {"name": "note.txt"}
    assert [(message["role"], message["content"], message["title"]) for message in row["messages"]] == [
        ("user", "look", None),
        ("assistant", "thinking", "Thought"),
        ("assistant", "はい", None),
        ("user", "", None),
        ("assistant", "[plot]", None),
    ]
    assert [message["files"] for message in row["messages"]] == [[file], [], [], [file], []]


def test_feedback_says_what_was_chosen_and_where(
    make: Callable[..., Any], like: Callable[..., gr.LikeData], hub_api: Any
) -> None:
    scheduler = make(JsonlScheduler)
    logger = ChatLogger(scheduler)
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    for index, liked in ((1, True), (1, False), ([3, 1], "Rude"), (1, "")):
        logger.like(like(index, liked), messages)
    scheduler.flush(60)
    rows = [(row["event"], row["message_index"], row["feedback"]) for row in read_rows(REPO, hub_api)]
    assert rows == [("feedback", 1, "Like"), ("feedback", 1, "Dislike"), ("feedback", 3, "Rude"), ("feedback", 1, None)]


def test_pairs_of_gradio_5_are_messages(
    make: Callable[..., Any], like: Callable[..., gr.LikeData], hub_api: Any
) -> None:
    scheduler = make(JsonlScheduler)
    ChatLogger(scheduler).like(like([1, 0], True), [["hi", "hello"], ("and you?", None)])
    scheduler.flush(60)
    [row] = read_rows(REPO, hub_api)
    assert [(message["role"], message["content"]) for message in row["messages"]] == [
        ("user", "hi"),
        ("assistant", "hello"),
        ("user", "and you?"),
    ]
    assert (row["message_index"], row["feedback"]) == (2, "Like")


def test_a_conversation_has_an_id_that_does_not_tell_the_session(
    make: Callable[..., Any], like: Callable[..., gr.LikeData], hub_api: Any
) -> None:
    scheduler = make(JsonlScheduler)
    logger, other = ChatLogger(scheduler), ChatLogger(scheduler)
    one, two = gr.Request(session_hash="one"), gr.Request(session_hash="two")
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    logger.log(messages, one)
    logger.like(like(1, True), [*messages, {"role": "user", "content": "bye"}], one)
    logger.log(messages, two)
    logger.log([{"role": "user", "content": "another"}], one)
    other.log(messages, one)
    logger.log(messages)
    logger.log(messages)
    scheduler.flush(60)
    first, *ids = [row["conversation_id"] for row in read_rows(REPO, hub_api)]
    assert ids[0] == first
    assert len({first, *ids}) == 6
