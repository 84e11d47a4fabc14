"""save_button: a button that stores a form once, clears it and says so."""

from __future__ import annotations

import errno
import inspect
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from html import escape
from typing import Any, TypeVar

import gradio as gr
from gradio.events import Dependency

from hubspool import SpoolFull
from hubspool_templates.defaults import DEFAULTS

logger = logging.getLogger(__name__)
T = TypeVar("T")

_DISK = {errno.ENOSPC, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)}  # Windows has no EDQUOT


class Once:
    """Calls a function once per key, and answers the same key again with the first result.

    Not promised: a key is known to this process only, and forgotten after 10,000 others; an empty key is no key, and
    the first 100 characters of a key count. After an error the key is free again.

    Thread-safety: calls with one key at the same time wait for the first one.
    """

    def __init__(self) -> None:
        self._answers: dict[str, Future[Any]] = {}
        self._lock = threading.Lock()

    def __call__(self, key: str, function: Callable[[], T]) -> T:
        """Return the result of `function` for this key."""
        key = _cut(key)
        mine: Future[T] = Future()
        with self._lock:
            answer: Future[T] = self._answers.setdefault(key, mine) if key else mine
            if len(self._answers) > DEFAULTS.remembered_forms:
                self._answers.pop(next(iter(self._answers)))
        if answer is mine:
            try:
                mine.set_result(function())
            except BaseException as error:  # noqa: BLE001  `result` below raises it; without it the others would wait
                with self._lock:
                    self._answers.pop(key, None)
                mine.set_exception(error)
        return answer.result()


def save_button(
    label: str,
    save: Callable[..., str],
    inputs: Sequence[Any],
    *,
    double_click_seconds: float = DEFAULTS.double_click_seconds,
    **event: Any,
) -> Dependency:
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
            It raises `gr.Error` for input that it refuses. A full or read-only disk is logged, and shown as a sentence.
        inputs: the components of the form; afterwards each has the value that it was made with.
        double_click_seconds: a click this soon after an answer is the second half of a double click and does nothing.
        event: more arguments of `gr.Button.click`, for example `api_name`.

    Returns:
        What `gr.Button.click` returns: its `then(…)` adds what the page does after each click, stored or refused.

    Raises:
        TypeError: `save` cannot be called with the values of the inputs alone.
    """
    signature, once = inspect.signature(save), Once()
    try:
        signature.bind(*inputs)
    except TypeError as error:
        message = f"save is called with {len(inputs)} values, one per input: {error}. Change save or the inputs."
        raise TypeError(message) from None

    def click(*values: Any) -> list[Any]:
        *given, key = values
        issued = _cut(key).partition(" ")[0]
        if issued.isdecimal() and 0 <= time.time_ns() - int(issued) < double_click_seconds * 1e9:
            return [gr.skip()] * len(outputs)  # the second half of a double click meets the cleared form
        with refuse_if_disk_is_full():
            words = once(key, lambda: save(*given))
        shown = escape(str(words or ""), quote=False)
        return [shown, f"{time.time_ns()} {uuid.uuid4().hex}", *map(_first_value, inputs)]

    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    given = [parameter for parameter in signature.parameters.values() if parameter.kind in by_position]
    more = range(len(given), len(inputs))  # `save` takes `*values`
    given += [inspect.Parameter(f"value_{number + 1}", by_position[1], default=None) for number in more]
    last = inspect.Parameter("key", inspect.Parameter.POSITIONAL_OR_KEYWORD, default="")
    click.__signature__ = inspect.Signature([*given, last])  # type: ignore[attr-defined]  # the names in the API

    button = gr.Button(label, variant="primary")
    outcome = outcome_line()
    key = gr.Textbox("", label="Key of the form", visible="hidden")
    outputs = [outcome, key, *inputs]
    clicked = button.click(click, [*inputs, key], outputs, **{"show_progress": "minimal", **event})
    clicked.failure(None, None, outcome, js="() => ''", api_visibility="private")
    if root := gr.context.Context.root_block:
        root.load(None, None, key, js="() => `form ${Date.now()} ${Math.random()}`", api_visibility="private")
    return clicked


def outcome_line(elem_id: str | None = None) -> gr.HTML:
    """Return an empty line for the outcome of a click, which screen readers read out when it changes."""
    return gr.HTML(elem_id=elem_id, elem_classes="outcome", js_on_load="element.setAttribute('role', 'status')")


@contextmanager
def refuse_if_disk_is_full() -> Iterator[None]:
    """Log the error of a full or read-only disk, and raise a `gr.Error` for the visitor; other errors pass.

    Other errors are the app's: their words may name hosts and paths, which no visitor should read.
    """
    try:
        yield
    except OSError as error:
        if not isinstance(error, SpoolFull) and error.errno not in _DISK:
            raise
        logger.exception("the disk took no row of a visitor")
        words = "The server's disk takes no data now. Please try again later."
        raise gr.Error(words, title="Not stored", print_exception=False) from error


def _cut(key: object) -> str:
    """Return a key as a short text; a caller of the API may send anything."""
    return str(key or "")[: DEFAULTS.key_characters]


def _first_value(component: Any) -> Any:
    """Return the value that a component was made with; `component.value` is what a browser gets in place of a file."""
    value = component.constructor_args.get("value", component.value)
    return component.value if callable(value) else value
