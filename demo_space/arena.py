"""The romanisation arena: a visitor enters a text, compares two romanisations and picks the better one."""

from __future__ import annotations

import json
import random
import uuid
from collections import Counter, deque
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd
from gradio.events import api

from destination import VOTE
from hubspool_templates import JsonlScheduler
from romanise import LIBRARIES, SAMPLES, Pair, romanise, script_of, winner_of
from tab import LAST_ROWS, PAGE_ONLY, Tab, disk_errors_shown, frame, live, newest, outcome_line, utc_now
from vote import TEXT_LIMIT, check

ANOTHER_SAMPLE = (
    f"const others = {json.dumps(list(SAMPLES.values()))}.filter(sample => sample !== text); "
    "return others[Math.floor(Math.random() * others.length)];"
)


@dataclass(frozen=True)
class Votes:
    """The votes of one file on the Hub, as far as the page needs them."""

    wins: Counter[tuple[str, str]]
    """Votes by script and library."""
    newest: list[dict[str, Any]]


class Arena(Tab[JsonlScheduler]):
    """The tab and its API event."""

    title = "Romanisation arena"
    name = "votes"
    noun = "vote"
    lead = "Two libraries write any script in Latin letters. Which does it better?"
    kept = VOTE
    suffix = ".jsonl"

    def save_feedback(self, input_text: str, output_1: str, output_2: str, user_choice: int) -> str:
        """Stores one vote with its texts, and returns the row's id.

        The vote is on this disk when this returns, and on the Hub after a later push.

        Raises:
            gr.Error: the vote is not valid; the visitor reads why.
        """
        check(input_text, output_1, output_2, user_choice)
        row_id = uuid.uuid4().hex
        row = {
            "id": row_id,
            "time": utc_now(),
            "input": input_text,
            "output_1": output_1,
            "output_2": output_2,
            "user_choice": int(user_choice),
        }
        with disk_errors_shown():
            self.scheduler.append(row)
        return row_id

    def vote(self, choice: int, text: str, output_1: str, output_2: str) -> tuple[Any, ...]:
        """Stores a click on one of the two buttons, and reveals the library."""
        self.save_feedback(text, output_1, output_2, choice)
        better = winner_of(text, output_1, output_2, choice)
        thanks = "Thank you, your vote is stored."
        if better:
            (other,) = LIBRARIES - {better}
            thanks += f" You preferred <b>{better}</b> to {other}."
        disabled = gr.Button(interactive=False)
        return disabled, disabled, thanks, gr.Button(variant="primary"), self.progress()

    def standings(self) -> pd.DataFrame | None:
        """Votes on the Hub by script and library."""
        total: Counter[tuple[str, str]] = Counter()
        for votes in self.saved.answers():
            total.update(votes.wins)
        rows = [(script, library, count) for (script, library), count in sorted(total.items())]
        return frame(rows, ["script", "library", "votes"])

    def last_rows(self) -> list[dict[str, Any]]:
        """The newest votes on the Hub."""
        return newest([row for votes in self.saved.answers() for row in votes.newest])

    @staticmethod
    def read(path: Path) -> Votes:
        """Count the votes of one file; rows that other programs wrote may lack a column."""
        wins: Counter[tuple[str, str]] = Counter()
        last: deque[dict[str, Any]] = deque(maxlen=LAST_ROWS)
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                last.append(row)
                library = winner_of(*(row[column] for column in ("input", "output_1", "output_2", "user_choice")))
                if library:
                    wins[script_of(row["input"]), library] += 1
        return Votes(wins, list(last))

    def build(self, page: gr.Blocks) -> None:
        """The text, both results, the two buttons, and the standings."""
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
        # The text of the results, which the browser sends with a vote. The text box may hold another text by then, if
        # the visitor typed on.
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
        outcome = outcome_line("outcome")
        another = gr.Button("Another sample", elem_id="another")
        standings = gr.BarPlot(
            x="script",
            y="votes",
            color="library",
            title="Votes on the Hub, by script",
            x_title="Script",
            y_title="Votes",
            height=260,
            elem_id="standings",
        )
        live(page, self.saved, self.standings, standings)

        results = [shown, *outputs, *buttons, outcome, another]
        text.change(_show, text, results, trigger_mode="always_last", **PAGE_ONLY)
        # In the browser: an answer of the server may arrive after the visitor began to type.
        another.click(None, text, text, js=f"(text) => {{ {ANOTHER_SAMPLE} }}")
        page.load(None, text, text, js=f"(text) => {{ if (text) return text; {ANOTHER_SAMPLE} }}")
        samples.click(lambda sample: sample[0], samples, text, **PAGE_ONLY)
        for choice, button in enumerate(buttons, start=1):
            changed = [*buttons, outcome, another, self.line]
            button.click(partial(self.vote, choice), [shown, *outputs], changed, **PAGE_ONLY)
        api(self.save_feedback, api_name="save_feedback")


def _show(text: str, request: gr.Request) -> tuple[Any, ...]:
    """Both romanisations in random order, and whether a vote makes sense."""
    text = text.strip()
    if len(text) > TEXT_LIMIT:
        pair, words = Pair("", "", "", ""), f"Please use at most {TEXT_LIMIT:,} characters; this is {len(text):,}."
    else:
        # One order for all texts of a session with the same first letter: typing must not swap the boxes at every key.
        coin = random.Random(f"{request.session_hash}{text[:1]}")  # noqa: S311  a fair order, not a secret
        pair = romanise(text, swapped=coin.random() < 0.5)
        words = ""
        if text and pair.agree:
            words = "Both libraries agree on this text, so there is nothing to vote on. Please try another one."
    open_for_votes = gr.Button(interactive=not pair.agree)
    highlight = gr.Button(variant="primary" if words else "secondary")
    return text, pair.output_1, pair.output_2, open_for_votes, open_for_votes, words, highlight
