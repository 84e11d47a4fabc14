"""What the tabs that store something have in common: a notice before the first click, a line on what waits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, ClassVar, Generic, TypeVar

import gradio as gr
import pandas as pd

from destination import Destination
from hubspool import CommitScheduler
from saved import Saved

S = TypeVar("S", bound=CommitScheduler)

PAGE_ONLY: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
LAST_ROWS = 5
"""How many of the newest rows on the Hub a tab knows."""
STATUS_SECONDS = 3.0
"""How often an open page asks how many rows wait, and what is new on the Hub."""


class Tab(ABC, Generic[S]):
    """A tab on one scheduler, and what its dataset holds."""

    title: ClassVar[str]
    name: ClassVar[str]
    """Ends the name of its dataset."""
    noun: ClassVar[str]
    """What a visitor leaves here."""
    lead: ClassVar[str]
    kept: ClassVar[str]
    """What becomes part of the dataset; its name follows."""
    saved: Saved[Any]

    def __init__(self, scheduler: S, destination: Destination) -> None:
        self.scheduler = scheduler
        self.destination = destination
        self.line: gr.HTML
        """The line about what waits, from `render` on."""

    @abstractmethod
    def build(self, page: gr.Blocks) -> None:
        """Puts what is this tab's own into the page."""

    @abstractmethod
    def last_rows(self) -> list[dict[str, Any]]:
        """The newest rows on the Hub, for people to read, the newest first."""

    def render(self, page: gr.Blocks) -> None:
        """Puts the tab into the page that is being built."""
        gr.HTML(f"<h2>{self.title}</h2><p>{self.lead}</p>")
        notice = gr.HTML(self.notice(), elem_id=f"notice-{self.name}")
        self.line = gr.HTML(self.progress(), elem_id=f"progress-{self.name}", render=False)
        self.build(page)
        self.line.render()  # type: ignore[no-untyped-call]  # gradio declares no types here
        gr.on(
            [page.load, gr.Timer(STATUS_SECONDS).tick],
            lambda: (self.notice(), self.progress()),
            outputs=[notice, self.line],
            queue=False,
            **PAGE_ONLY,
        )

    def notice(self) -> str:
        """What a visitor reads before the first click."""
        return self.destination.notice(self.scheduler.status(), self.kept)

    def progress(self) -> str:
        """The line about what waits."""
        return self.destination.progress(self.scheduler.status(), datetime.now(timezone.utc))


def live(page: gr.Blocks, saved: Saved[Any], show: Callable[[], Any], output: gr.components.Component) -> None:
    """Shows what is on the Hub when the page opens, and anew once it has changed."""
    seen = gr.State(-1)

    def look(version: int) -> tuple[Any, Any]:
        saved.answers()
        return (gr.skip(), gr.skip()) if saved.version == version else (saved.version, show())

    gr.on([page.load, gr.Timer(STATUS_SECONDS).tick], look, seen, [seen, output], **PAGE_ONLY)


def frame(rows: list[Any], columns: list[str]) -> pd.DataFrame | None:
    """The points of a plot; None for no points, whose columns would have no type, and a plot keeps its first types."""
    return pd.DataFrame(rows, columns=columns) if rows else None


def keep(store: Callable[[], object]) -> None:
    """Writes to the disk; a disk that refuses is told to the visitor.

    Raises:
        gr.Error: nothing was stored, and why.
    """
    try:
        store()
    except OSError as error:
        raise refusal(f"It could not be written to the server's disk: {error.strerror or error}.") from error


def refusal(message: str) -> gr.Error:
    """What is wrong, for the visitor to read; no traceback in the page or the log."""
    return gr.Error(message, title="Not stored", print_exception=False)
