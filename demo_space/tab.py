"""The base class of the tabs that store something: a notice before the first click, and a line of progress."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import gradio as gr
import pandas as pd

from destination import TabDataset
from hubspool import CommitScheduler
from saved import Saved

S = TypeVar("S", bound=CommitScheduler)

PAGE_ONLY: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
LAST_ROWS = 5
"""Rows that the last tab shows of each dataset."""
STATUS_SECONDS = 3.0
"""Seconds between two questions of an open page: how many rows are pending, and what is new on the Hub."""


class Tab(ABC, Generic[S]):
    """A tab with its scheduler and its dataset."""

    title: ClassVar[str]
    name: ClassVar[str]
    """The end of the dataset's name."""
    noun: ClassVar[str]
    """One row, in a word."""
    lead: ClassVar[str]
    """The sentence below the title."""
    kept: ClassVar[str]
    """What is stored; the name of the dataset follows."""
    suffix: ClassVar[str]
    """The end of the names of its files on the Hub."""

    def __init__(self, scheduler: S, destination: TabDataset) -> None:
        self.scheduler = scheduler
        self.destination = destination
        self.saved = Saved(scheduler, self.suffix, self.read)
        self.line: gr.HTML
        """The line of progress; set by `render`."""

    @staticmethod
    @abstractmethod
    def read(path: Path) -> Any:
        """Return what the page needs of one file of the dataset."""

    @abstractmethod
    def build(self, page: gr.Blocks) -> None:
        """Adds the components of this tab to the page."""

    @abstractmethod
    def last_rows(self) -> list[dict[str, Any]]:
        """The newest rows on the Hub without media, newest first."""

    def render(self, page: gr.Blocks) -> None:
        """Adds the whole tab to the page."""
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
        """The text that a visitor reads before the first click."""
        return self.destination.notice(self.scheduler.status(), self.kept)

    def progress(self) -> str:
        """The line that says how many rows are pending."""
        return self.destination.progress(self.scheduler.status(), datetime.now(timezone.utc))


def live(page: gr.Blocks, saved: Saved[Any], show: Callable[[], Any], output: gr.components.Component) -> None:
    """Shows what is on the Hub when the page opens, and again after each change."""
    seen = gr.State(-1)

    def refresh(version: int) -> tuple[Any, Any]:
        saved.answers()
        return (gr.skip(), gr.skip()) if saved.version == version else (saved.version, show())

    gr.on([page.load, gr.Timer(STATUS_SECONDS).tick], refresh, seen, [seen, output], **PAGE_ONLY)


def frame(rows: list[Any], columns: list[str]) -> pd.DataFrame | None:
    """The points of a plot; None for no points, because a plot keeps the column types of its first data."""
    return pd.DataFrame(rows, columns=columns) if rows else None


def outcome_line(elem_id: str) -> gr.HTML:
    """An empty line for the outcome of a click, which screen readers read out when it changes."""
    return gr.HTML(elem_id=elem_id, js_on_load="element.setAttribute('role', 'status')")


def newest(rows: list[dict[str, Any]], count: int = LAST_ROWS) -> list[dict[str, Any]]:
    """The newest rows by their column `time`, newest first."""
    return sorted(rows, key=lambda row: str(row.get("time")), reverse=True)[:count]


def utc_now() -> str:
    """The time as rows store it."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


@contextmanager
def disk_errors_shown() -> Iterator[None]:
    """Around an `append`: the visitor reads an error of the disk.

    Raises:
        gr.Error: nothing was stored, and why.
    """
    try:
        yield
    except OSError as error:
        raise refusal(f"The server's disk could not store it: {error.strerror or error}.") from error


def refusal(message: str) -> gr.Error:
    """An error that the visitor reads; without a traceback in the page or the log."""
    return gr.Error(message, title="Not stored", print_exception=False)
