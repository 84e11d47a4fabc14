"""save_button: a button that stores a form once, clears it and says so."""

from __future__ import annotations

import inspect
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import gradio as gr

from hubspool_templates.defaults import DEFAULTS

T = TypeVar("T")


class Once:
    """Calls a function once per key, and answers the same key again with the first result.

    Not promised: a key is known to this process only, and forgotten after 10,000 others; an empty key is no key. After
    an error the key is free again.

    Thread-safety: calls with one key at the same time wait for the first one.
    """

    def __init__(self) -> None:
        self._answers: dict[str, Future[Any]] = {}
        self._lock = threading.Lock()

    def __call__(self, key: str, function: Callable[[], T]) -> T:
        """Return the result of `function` for this key."""
        mine: Future[T] = Future()
        with self._lock:
            answer: Future[T] = self._answers.setdefault(key, mine) if key else mine
            if len(self._answers) > DEFAULTS.remembered_forms:
                self._answers.pop(next(iter(self._answers)))
        if answer is mine:
            try:
                mine.set_result(function())
            except Exception as error:  # noqa: BLE001  `result` below raises it
                with self._lock:
                    self._answers.pop(key, None)
                mine.set_exception(error)
        return answer.result()


def save_button(label: str, save: Callable[..., str], inputs: Sequence[Any], **event: Any) -> gr.Button:
    """Add a button to the page that stores the form once, clears its inputs, and shows what `save` answers.

    A double click, a second click, or a click again after a lost answer stores nothing more: the browser sends a key
    with the form and gets a new one with each answer, and a key that was stored gets the first answer again. A caller
    of the API may send a key of its own as the last argument. Not promised: what `Once` does not promise.

    Call it inside ``with gr.Blocks()``, below the inputs. If `save` raises, the inputs stay and the last answer goes.

    Usage::

        save_button("Vote", save, [text, choice], api_name="save")

    Args:
        label: the text of the button.
        save: a plain function of the inputs' values, called in a thread of Gradio's; returns the sentence to show.
            It raises `gr.Error` for input that it refuses; an error of the disk is shown to the visitor, too.
        inputs: the components of the form; afterwards each has the value that it was made with.
        event: more arguments of `gr.Button.click`, for example `api_name`.

    Returns:
        The button.
    """
    once = Once()

    def click(*values: Any) -> list[Any]:
        *given, key = values
        try:
            words = once(key, lambda: _saved(save, given))
        except gr.Error:
            issued = key.partition(" ")[0]
            if not issued.isdecimal() or time.time_ns() - int(issued) > DEFAULTS.double_click_seconds * 1e9:
                raise
            return [gr.skip()] * len(outputs)  # the second half of a double click meets the cleared form
        return [words, f"{time.time_ns()} {uuid.uuid4().hex}", *(component.value for component in inputs)]

    given = inspect.signature(save).parameters.values()
    last = inspect.Parameter("key", inspect.Parameter.POSITIONAL_OR_KEYWORD, default="")
    click.__signature__ = inspect.Signature([*given, last])  # type: ignore[attr-defined]  # the names in the API

    button = gr.Button(label, variant="primary")
    outcome = gr.HTML(elem_classes="outcome", js_on_load="element.setAttribute('role', 'status')")
    key = gr.Textbox("", label="Key of the form", visible="hidden")
    outputs = [outcome, key, *inputs]
    clicked = button.click(click, [*inputs, key], outputs, **{"show_progress": "minimal", **event})
    clicked.failure(None, None, outcome, js="() => ''", api_visibility="private")
    if root := gr.context.Context.root_block:
        root.load(None, None, key, js="() => `form ${Date.now()} ${Math.random()}`", api_visibility="private")
    return button


def _saved(save: Callable[..., str], given: Sequence[Any]) -> str:
    try:
        return save(*given)
    except OSError as error:  # SpoolFull is one
        words = f"The server's disk could not store it: {error.strerror or error}."
        raise gr.Error(words, title="Not stored", print_exception=False) from error
