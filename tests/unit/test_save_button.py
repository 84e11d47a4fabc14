"""What `save_button` does with a click: once per form, and in words that a visitor may read."""

from __future__ import annotations

import asyncio
import errno
import functools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from hubspool import SpoolFull
from hubspool_templates import save_button
from hubspool_templates.defaults import DEFAULTS
from hubspool_templates.ui.save_button import Once
from tests.support.paths import ROOT

PICTURE = ROOT / "docs" / "demo-phone.png"


def click_of(save: Callable[..., str], *inputs: Callable[[], Any], **options: Any) -> Callable[..., Sequence[Any]]:
    """The function that a click runs: it takes the values and the key; it returns the answer, a key and the values."""

    async def build() -> gr.Blocks:
        with gr.Blocks() as page:
            save_button("Save", save, [component() for component in inputs], api_name="save", **options)
        return page

    page = asyncio.run(build())  # without a loop that runs, Gradio makes some and leaves them open
    (found,) = (event.fn for event in page.fns.values() if event.api_name == "save")
    assert found
    return found


def test_a_double_click_stores_once_although_the_cleared_form_is_valid() -> None:
    stored: list[str] = []
    store = lambda choice: stored.append(choice) or "Stored."  # noqa: E731
    click = click_of(store, gr.Radio, double_click_seconds=600)
    words, key, _ = click("yes", "form 1")
    assert words == "Stored."
    assert click("yes", key) == [gr.skip()] * 3
    assert stored == ["yes"]


def test_a_click_after_a_double_click_stores_again_and_a_refusal_is_shown() -> None:
    stored: list[str] = []

    def store(choice: str) -> str:
        if not choice:
            raise gr.Error("Please choose.")
        stored.append(choice)
        return "Stored."

    click = click_of(store, gr.Radio, double_click_seconds=0)
    _, key, _ = click("yes", "form 1")
    with pytest.raises(gr.Error, match="Please choose"):
        click("", key)
    click("no", key)
    assert stored == ["yes", "no"]


@pytest.mark.parametrize(
    "key",
    [None, 7, ["list"], "9" * 5_000, f"{time.time_ns() + 10**15} from the future"],
    ids=["none", "number", "list", "long", "future"],
)
def test_any_key_of_a_caller_gets_the_answer_or_the_refusal(key: object) -> None:
    def store(text: str) -> str:
        if not text:
            raise gr.Error("Empty.")
        return "Stored."

    click = click_of(store, gr.Textbox)
    with pytest.raises(gr.Error, match="Empty"):
        click("", key)
    assert click("a", key)[0] == "Stored."


def test_keys_take_little_memory() -> None:
    once = Once()
    for number in range(DEFAULTS.remembered_forms + 5):
        once(f"{number} " + "x" * 1_000, lambda: "stored")
    assert len(once._answers) == DEFAULTS.remembered_forms
    assert max(map(len, once._answers)) == DEFAULTS.key_characters


def test_no_click_waits_for_one_that_left_the_thread() -> None:
    once, began, leave = Once(), threading.Event(), threading.Event()
    ends: list[BaseException] = []

    def save() -> str:
        began.set()
        assert leave.wait(30)
        raise SystemExit(1)

    def click() -> None:
        try:
            once("key", save)
        except BaseException as error:  # noqa: BLE001  what the click met
            ends.append(error)

    first = threading.Thread(target=click, daemon=True)
    first.start()
    assert began.wait(30)
    waiting = once._answers["key"]
    leave.set()
    assert isinstance(waiting.exception(30), SystemExit)
    first.join(30)
    assert [type(end) for end in ends] == [SystemExit]
    assert once("key", lambda: "stored") == "stored"


@pytest.mark.parametrize(
    "fault",
    [
        SpoolFull("/data/spool", 10, 10),
        *(OSError(number, "no", "/data/x") for number in (28, errno.EDQUOT, errno.EROFS)),
    ],
    ids=["spool", "disk", "quota", "read-only"],
)
def test_a_full_disk_is_a_sentence_without_a_path_and_a_line_in_the_log(
    fault: OSError, caplog: pytest.LogCaptureFixture
) -> None:
    def store(_: str) -> str:
        raise fault

    with caplog.at_level(logging.ERROR), pytest.raises(gr.Error) as refusal:
        click_of(store, gr.Textbox)("a", "form 1")
    assert refusal.value.message == "The server's disk takes no data now. Please try again later."
    assert not refusal.value.print_exception
    assert [record.exc_info[1] for record in caplog.records if record.exc_info] == [fault]


@pytest.mark.parametrize("fault", [ConnectionError("HTTPConnectionPool(host='10.0.0.5')"), TimeoutError("late")])
def test_another_error_is_not_taken_for_one_of_the_disk(fault: OSError) -> None:
    def store(_: str) -> str:
        raise fault

    with pytest.raises(type(fault)) as met:
        click_of(store, gr.Textbox)("a", "form 1")
    assert met.value is fault


def test_a_form_with_a_file_of_its_own_gets_it_back(tmp_path: Path) -> None:
    components = [
        lambda: gr.Image(value=str(PICTURE), type="filepath"),
        lambda: gr.Slider(2, 8),
        lambda: gr.Dropdown(["a", "b"]),
        lambda: gr.Textbox(lambda: "now"),
    ]
    click = click_of(lambda *_: "Stored.", *components)
    _, _, picture, number, choice, text = click(str(PICTURE), 3, "b", "then", "form 1")
    assert gr.Image(type="filepath").postprocess(picture)
    assert (picture, number, choice, text) == (str(PICTURE), 2, "a", "now")


def test_a_function_with_more_arguments_is_called_with_the_inputs_alone() -> None:
    def store(text: str, mark: str = "", *, table: str = "votes") -> str:
        return f"{text}{mark} in {table}"

    assert click_of(store, gr.Textbox)("a", "form 1")[0] == "a in votes"
    assert click_of(functools.partial(store, table="other"), gr.Textbox)("a", "form 1")[0] == "a in other"


def test_a_function_that_cannot_take_the_inputs_is_refused_with_a_sentence() -> None:
    def store(text: str, *, table: str) -> str:
        return f"{text} in {table}"

    with pytest.raises(TypeError, match=r"save is called with 1 values, one per input: missing .*'table'"):
        click_of(store, gr.Textbox)


def test_the_answer_is_text_and_no_html() -> None:
    assert click_of(lambda text: f"It's {text}.", gr.Textbox)("<b>&", "form 1")[0] == "It's &lt;b&gt;&amp;."
