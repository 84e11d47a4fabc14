"""The romanisation arena: text goes in, two romanisations come out, the visitor picks the better one."""

from __future__ import annotations

import json
import random
import uuid
from datetime import datetime, timezone
from functools import partial
from typing import Any

import gradio as gr
from gradio.events import api

from destination import Destination
from hubspool_templates import JsonlScheduler
from romanise import SAMPLES, Pair, romanise

QUESTION = "Two libraries write any script in Latin letters. Which does it better?"
TEXT_LIMIT = 2_000
"""Characters that a visitor may enter."""
OUTPUT_LIMIT = 20 * TEXT_LIMIT
"""Characters of one result; one character of the input can become many."""
ANOTHER_SAMPLE = (
    f"const others = {json.dumps(list(SAMPLES.values()))}.filter(sample => sample !== text); "
    "return others[Math.floor(Math.random() * others.length)];"
)
STATUS_SECONDS = 3.0
"""How often an open page asks how many votes wait."""


class Arena:
    """The tab and its API event, on one scheduler."""

    def __init__(self, scheduler: JsonlScheduler, destination: Destination) -> None:
        self.scheduler = scheduler
        self.destination = destination

    def save_feedback(self, input_text: str, output_1: str, output_2: str, user_choice: int) -> str:
        """Stores one vote with the texts that it is given, and returns the row's id.

        The vote is on this disk when this returns, and on the Hub after a later push.

        Raises:
            gr.Error: what is wrong with the vote, for the visitor to read.
        """
        _check(input_text, output_1, output_2, user_choice)
        row_id = uuid.uuid4().hex
        row = {
            "id": row_id,
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "input": input_text,
            "output_1": output_1,
            "output_2": output_2,
            "user_choice": int(user_choice),
        }
        try:
            self.scheduler.append(row)
        except OSError as error:
            raise _refusal(f"The vote could not be written to the server's disk: {error.strerror}.") from error
        return row_id

    def vote(self, choice: int, text: str, output_1: str, output_2: str) -> tuple[Any, ...]:
        """A click on one of the two buttons: stores it, and tells which library it was."""
        self.save_feedback(text, output_1, output_2, choice)
        thanks = f"Thank you, your vote is stored. {_reveal(choice, text, output_1)}"
        disabled = gr.Button(interactive=False)
        return disabled, disabled, thanks, gr.Button(variant="primary"), self.progress()

    def progress(self) -> str:
        """The line about waiting votes."""
        return self.destination.progress(self.scheduler.status(), datetime.now(timezone.utc))

    def notice(self) -> str:
        """What a visitor reads before the first vote."""
        return self.destination.notice(self.scheduler.status())

    def render(self, page: gr.Blocks) -> None:
        """Puts the tab into the page that is being built."""
        gr.HTML(f"<h1>Romanisation arena</h1><p>{QUESTION}</p>")
        notice = gr.HTML(self.notice(), elem_id="notice")
        text = gr.Textbox(
            label="Text in any script",
            lines=2,
            max_lines=6,
            max_length=TEXT_LIMIT,
            elem_id="text",
            elem_classes="big",
        )
        samples = gr.Dataset(
            label="Sample texts",
            components=[text],
            samples=[[sample] for sample in SAMPLES.values()],
            sample_labels=list(SAMPLES),
            samples_per_page=len(SAMPLES),
            layout="gallery",
            elem_id="samples",
        )
        # What the results belong to. The browser sends it with a vote; with the text box instead, the vote
        # of somebody who types on would mix two texts.
        shown = gr.Textbox(visible="hidden", label="Text of these results")
        outputs, buttons = [], []
        with gr.Row(equal_height=True):
            for number in (1, 2):
                with gr.Column(min_width=280):
                    label = f"Romanisation {number}"
                    outputs.append(gr.Textbox(label=label, lines=1, max_lines=8, interactive=False, elem_classes="big"))
                    buttons.append(
                        gr.Button(
                            f"{label} is better",
                            variant="primary",
                            interactive=False,
                            elem_id=f"vote-{number}",
                        )
                    )
        outcome = gr.HTML(elem_id="outcome", js_on_load="element.setAttribute('role', 'status')")
        another = gr.Button("Another sample", elem_id="another")
        progress = gr.HTML(self.progress(), elem_id="progress")

        page_only: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        results = [shown, *outputs, *buttons, outcome, another]
        text.change(_show, text, results, trigger_mode="always_last", **page_only)
        # In the browser, because an answer of the server may come after the visitor has begun to type.
        another.click(None, text, text, js=f"(text) => {{ {ANOTHER_SAMPLE} }}")
        page.load(None, text, text, js=f"(text) => {{ if (text) return text; {ANOTHER_SAMPLE} }}")
        samples.click(lambda sample: sample[0], samples, text, **page_only)
        for choice, button in enumerate(buttons, start=1):
            changed = [*buttons, outcome, another, progress]
            button.click(partial(self.vote, choice), [shown, *outputs], changed, **page_only)
        news: dict[str, Any] = {
            "fn": lambda: (self.notice(), self.progress()),
            "outputs": [notice, progress],
            "queue": False,
        }
        gr.on([page.load, gr.Timer(STATUS_SECONDS).tick], **news, **page_only)
        api(self.save_feedback, api_name="save_feedback")


def _show(text: str, request: gr.Request) -> tuple[Any, ...]:
    """Both romanisations in a random order, and whether there is something to vote on."""
    text = text.strip()
    if len(text) > TEXT_LIMIT:
        pair, words = Pair("", "", "", ""), f"Please use at most {TEXT_LIMIT:,} characters; this is {len(text):,}."
    else:
        # one order for texts of a session that begin alike: typing on must not swap the two boxes at every key
        coin = random.Random(f"{request.session_hash}{text[:1]}")  # noqa: S311 - a fair order, not a secret
        pair = romanise(text, swapped=coin.random() < 0.5)
        words = ""
        if text and pair.agree:
            words = "Both libraries agree on this text, so there is nothing to vote on. Please try another one."
    open_for_votes = gr.Button(interactive=not pair.agree)
    highlight = gr.Button(variant="primary" if words else "secondary")
    return text, pair.output_1, pair.output_2, open_for_votes, open_for_votes, words, highlight


def _reveal(choice: int, text: str, output_1: str) -> str:
    pair = romanise(text)
    libraries = [pair.library_1, pair.library_2]
    if output_1 != pair.output_1:
        libraries.reverse()
    better, other = libraries[choice - 1], libraries[2 - choice]
    return f"You preferred <b>{better}</b> to {other}."


def _check(input_text: str, output_1: str, output_2: str, user_choice: int) -> None:
    """Refuses what would make a useless row; through the API anything may come in."""
    limits = {"input_text": TEXT_LIMIT, "output_1": OUTPUT_LIMIT, "output_2": OUTPUT_LIMIT}
    for (name, limit), text in zip(limits.items(), (input_text, output_1, output_2), strict=True):
        if not isinstance(text, str) or not text.strip():
            raise _refusal(f"{name} is empty: a vote needs the text and both results.")
        if len(text) > limit:
            raise _refusal(f"{name} has {len(text):,} characters; at most {limit:,} are kept.")
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise _refusal(f"{name} holds half a character (a lone surrogate), which no file can store.")
    if isinstance(user_choice, bool) or user_choice not in (1, 2):
        raise _refusal(f"user_choice is {user_choice!r}: it must be 1 or 2.")


def _refusal(message: str) -> gr.Error:
    return gr.Error(message, title="Not stored", print_exception=False)
