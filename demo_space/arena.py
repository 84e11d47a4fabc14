"""The romanisation arena: a visitor enters a text, compares two romanisations and picks the better one."""

from __future__ import annotations

import json
import random
import uuid
from collections import Counter
from functools import partial
from html import escape
from typing import Any

import gradio as gr
from gradio.events import Dependency, api

from hubspool_templates import JsonlScheduler
from hubspool_templates.ui.save_button import Once, outcome_line, refuse_if_disk_is_full
from romanise import LIBRARIES, SAMPLES, Pair, romanise, script_of, winner_of
from tab import PAGE_ONLY, Tab, live, newest, utc_now
from vote import TEXT_LIMIT, check

ANOTHER_SAMPLE = (
    f"const others = {json.dumps(list(SAMPLES.values()))}.filter(sample => sample !== text); "
    "return others[Math.floor(Math.random() * others.length)];"
)

COLOURS = {"anyascii": "first", "text-unidecode": "second"}  # the class of each library's bars


class Arena(Tab[JsonlScheduler]):
    """The tab and its API event."""

    title = "Romanisation arena"
    name = "votes"
    noun = "vote"
    lead = "Two libraries write any script in Latin letters. Which does it better?"
    kept = "The text, both results and your choice become one row of"
    guide = "feedback"
    columns = ("input", "output_1", "output_2", "user_choice", "time")

    def __init__(self, scheduler: JsonlScheduler) -> None:
        super().__init__(scheduler)
        self.once = Once()

    def save_feedback(self, input_text: str, output_1: str, output_2: str, user_choice: int) -> str:
        """Stores one vote with its texts, and returns the row's id.

        The vote is on this disk when this returns, and on the Hub after a later push.
        """
        check(input_text, output_1, output_2, user_choice)
        results = {"output_1": output_1, "output_2": output_2, "user_choice": int(user_choice)}
        row_id = uuid.uuid4().hex
        with refuse_if_disk_is_full():
            self.scheduler.append({"id": row_id, "time": utc_now(), "input": input_text, **results})
        return row_id

    def vote(self, choice: int, turn: str, text: str, output_1: str, output_2: str) -> tuple[Any, ...]:
        """Stores the first click on one of the two buttons, and reveals the library."""
        choice = self.once(turn, lambda: (self.save_feedback(text, output_1, output_2, choice), choice)[1])
        better = winner_of(text, output_1, output_2, choice)
        thanks = "Thank you, your vote is stored."
        if better:
            (other,) = LIBRARIES.keys() - {better}
            thanks += f" You preferred <b>{better}</b> to {other}."
        disabled = gr.Button(interactive=False)
        return disabled, disabled, thanks, gr.Button(variant="primary")

    def standings(self) -> str:
        """Votes by script and library, as a table with bars; an empty text without votes."""
        total: Counter[tuple[str, str]] = (self.saved.answer() or [Counter()])[0]
        scripts = sorted({script for script, _ in total})
        most = max((sum(total[script, library] for library in COLOURS) for script in scripts), default=0)
        rows = "".join(_bars(script, [total[script, library] for library in COLOURS], most) for script in scripts)
        names = " ".join(f'<span class="{colour}">{library}</span>' for library, colour in COLOURS.items())
        return f"<table><caption>Votes by script: {names}</caption>{rows}</table>" if rows else ""

    def rows(self) -> list[dict[str, Any]]:
        """The newest votes."""
        _, rows = self.saved.answer() or (None, [])
        return list(rows)

    def read(self) -> tuple[Counter[tuple[str, str]], list[dict[str, Any]]]:
        """Return the votes by script and library, and the newest; rows of other programs may lack a column."""
        wins: Counter[tuple[str, str]] = Counter()
        rows = list(self.all_rows())
        for row in rows:
            values: list[Any] = [row.get(column) for column in ("input", "output_1", "output_2", "user_choice")]
            if None not in values and (library := winner_of(*values)):
                wins[script_of(row["input"]), library] += 1
        return wins, newest(rows)

    def build(self, page: gr.Blocks) -> list[Dependency]:
        """The text, both results, the two buttons, and the standings."""
        text = gr.Textbox(label="Text in any script", lines=2, max_lines=6, elem_id="text", elem_classes="big")
        texts = [[sample] for sample in SAMPLES.values()]
        look: dict[str, Any] = {"samples_per_page": len(SAMPLES), "layout": "gallery", "elem_id": "samples"}
        samples = gr.Dataset(
            label="Sample texts", components=[text], samples=texts, sample_labels=list(SAMPLES), **look
        )
        # The text of the results, which the browser sends with a vote. The text box may hold another text by then, if
        # the visitor typed on.
        shown = gr.Textbox(visible="hidden", label="Text of these results")
        turn = gr.Textbox(visible="hidden", label="Key of these results")
        outputs, buttons = [], []
        with gr.Row(equal_height=True):
            for number in (1, 2):
                with gr.Column(min_width=280):
                    label = f"Romanisation {number}"
                    outputs.append(gr.Textbox(label=label, lines=1, max_lines=8, interactive=False, elem_classes="big"))
                    buttons.append(
                        gr.Button(f"{label} is better", variant="primary", interactive=False, elem_id=f"vote-{number}")
                    )
        outcome = outcome_line("outcome")
        another = gr.Button("Another sample", elem_id="another")
        standings = gr.HTML(visible=False, elem_id="standings")
        live(page, self.saved, self.standings, standings, "No vote yet. Yours will appear here.")

        results = [turn, shown, *outputs, *buttons, outcome, another]
        text.change(_show, text, results, trigger_mode="always_last", **PAGE_ONLY)
        # In the browser: an answer of the server may arrive after the visitor began to type.
        another.click(None, text, text, js=f"(text) => {{ {ANOTHER_SAMPLE} }}")
        # The box itself: `text` is of the moment when the page asked, and a quick visitor has typed since.
        typed = 'document.querySelector("#text textarea")?.value || text'
        page.load(None, text, text, js=f"(text) => {{ text = {typed}; if (text) return text; {ANOTHER_SAMPLE} }}")
        samples.click(lambda sample: sample[0], samples, text, **PAGE_ONLY)
        api(self.save_feedback, api_name="save_feedback")
        given, changed = [turn, shown, *outputs], [*buttons, outcome, another]
        clicks = [(button, partial(self.vote, choice)) for choice, button in enumerate(buttons, start=1)]
        return [button.click(vote, given, changed, **PAGE_ONLY) for button, vote in clicks]


def _show(text: str, request: gr.Request) -> tuple[Any, ...]:
    """Both romanisations in random order, and whether a vote makes sense."""
    text, turn = text.strip(), uuid.uuid4().hex
    # One order for all texts of a session with the same first letter: typing must not swap the boxes at every key.
    coin = random.Random(f"{request.session_hash}{text[:1]}")  # noqa: S311  a fair order, not a secret
    pair = romanise(text[:TEXT_LIMIT], swapped=coin.random() < 0.5)
    words = _obstacle(text, pair)
    can_vote = gr.Button(interactive=bool(text) and not words)
    highlight = gr.Button(variant="primary" if words else "secondary")
    return turn, text, pair.output_1, pair.output_2, can_vote, can_vote, words, highlight


def _obstacle(text: str, pair: Pair) -> str:
    """Why nobody can vote on a text, in a sentence; empty if they can, or if there is no text."""
    if len(text) > TEXT_LIMIT:
        return f"Please use at most {TEXT_LIMIT:,} characters; this is {len(text):,}."
    if text and not any(char.isalpha() for char in text):
        return "There is no letter in this text, so there is nothing to romanise. Please enter some words."
    if text and not (pair.output_1.strip() and pair.output_2.strip()):
        return "One of the libraries does not know these letters, so there is no choice. Please try another text."
    words = "Both libraries agree on this text, so there is nothing to vote on. Please try another one."
    return words if text and pair.agree else ""


def _bars(script: str, counts: list[int], most: int) -> str:
    bars = "".join(
        f'<span class="{colour}" style="width: {100 * count / most:.1f}%" title="{library}">{count}</span>'
        for (library, colour), count in zip(COLOURS.items(), counts, strict=True)
        if count
    )
    return f'<tr><th scope="row">{escape(script)}</th><td>{bars}</td></tr>'
