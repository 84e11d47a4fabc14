"""The base class of the tabs that store something: a notice before the first click, and a line of progress."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from heapq import nlargest
from pathlib import PurePosixPath
from typing import Any, ClassVar, Generic, TypeVar

import gradio as gr
from gradio.events import Dependency

from destination import kind_of, link, missing_token, progress
from hubspool import CommitScheduler
from hubspool_templates import read_rows
from saved import Saved

S = TypeVar("S", bound=CommitScheduler)

PAGE_ONLY: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
LAST_ROWS = 5  # rows that the last tab shows of each tab
STATUS_SECONDS = 3.0
"""Seconds between two questions of an open page: how many rows are pending, and what is new on the Hub."""
CODE = "https://github.com/hubspool/hubspool/blob/main/demo_space/"
DOCS = "https://hubspool.github.io/hubspool/"


class Tab(ABC, Generic[S]):
    """A tab with its scheduler and its place on the Hub."""

    title: ClassVar[str]
    name: ClassVar[str]  # the end of the dataset's name, or the folder in the bucket
    noun: ClassVar[str]  # one row, in a word
    lead: ClassVar[str]  # the sentence below the title
    kept: ClassVar[str]  # what is stored; the dataset or the bucket follows
    guide: ClassVar[str]  # the page of the documentation
    columns: ClassVar[tuple[str, ...]]  # what the last tab shows of a row; what people look for comes first

    def __init__(self, scheduler: S) -> None:
        self.scheduler = scheduler
        self.saved = Saved(scheduler, self.read)
        self.missing_token = missing_token(self.noun, self.place, os.environ)

    @property
    def place(self) -> str:
        """The id of the dataset, or the address of the folder in the bucket."""
        target, folder = self.scheduler.target, PurePosixPath(self.scheduler.path_in_repo).parent
        return f"hf://buckets/{target.repo_id}/{folder}" if target.is_bucket else target.repo_id

    def read(self) -> Any:
        """Return what the page needs of the rows, with the rows that are pending; it stays in memory."""
        return newest({name: row.get(name) for name in self.columns} for row in self.all_rows())

    def all_rows(self) -> Iterator[dict[str, Any]]:
        """Return all rows, those that are pending too."""
        return read_rows(self.place, pending=self.scheduler)

    @abstractmethod
    def build(self, page: gr.Blocks) -> list[Dependency]:
        """Adds the components of this tab to the page; returns the events that store something."""

    def rows(self) -> list[dict[str, Any]]:
        """The newest rows, pending ones too."""
        return list(self.saved.answer() or [])

    def last_rows(self) -> list[dict[str, Any]]:
        """The newest rows without media, newest first."""
        return [{name: row.get(name, "") for name in self.columns} for row in newest(self.rows())]

    def render(self, page: gr.Blocks) -> None:
        """Adds the whole tab to the page."""
        source = f'<a href="{CODE}{type(self).__module__}.py">code</a> and <a href="{DOCS}{self.guide}.html">guide</a>'
        shown = f"Stored with <code>{type(self.scheduler).__name__}</code> · {source}"
        gr.HTML(f"<h2>{self.title}</h2><p>{self.lead}<br>{shown}</p>")
        notice = gr.HTML(elem_id=f"notice-{self.name}")
        saves = self.build(page)
        outputs = [notice, gr.HTML(elem_id=f"progress-{self.name}")]
        gr.on([page.load, gr.Timer(STATUS_SECONDS).tick], self.words, None, outputs, queue=False, **PAGE_ONLY)
        for save in saves:  # what was stored is pending at once, not after the next tick
            save.then(self.words, None, outputs, queue=False, **PAGE_ONLY)

    def words(self) -> tuple[str, str]:
        """What a visitor reads before the first click, and how many rows are pending."""
        status = self.scheduler.status()
        notice = (
            f"<b>Your {self.noun} is kept.</b> {self.kept} the {kind_of(self.place)} {link(self.place, status)}. "
            "No name and no address is stored. Please do not enter anything private."
        )
        return notice, progress(self.noun, status, self.missing_token, datetime.now(timezone.utc))


def live(page: gr.Blocks, saved: Saved, show: Callable[[], Any], output: gr.components.Component, empty: str) -> None:
    """Shows what is stored when the page opens, and again after each change; a sentence while there is nothing."""
    seen = gr.State(-1)
    hint = gr.HTML(f"<p>{empty}</p>", elem_classes="empty-hint")

    def refresh(version: int) -> tuple[Any, ...]:
        saved.answer()
        if saved.version == version:
            return gr.skip(), gr.skip(), gr.skip()
        value = show()
        return saved.version, gr.update(visible=not value), gr.update(value=value, visible=bool(value))

    gr.on([page.load, gr.Timer(STATUS_SECONDS).tick], refresh, seen, [seen, hint, output], **PAGE_ONLY)


def newest(rows: Iterable[dict[str, Any]], count: int = LAST_ROWS) -> list[dict[str, Any]]:
    """The newest rows by their column `time`, newest first; the time as people read it."""
    found = nlargest(count, rows, key=lambda row: str(row.get("time")))
    return [{**row, "time": str(row.get("time"))[:19].replace("T", " ")} for row in found]


def utc_now() -> str:
    """The time as rows store it."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def refusal(message: str) -> gr.Error:
    """An error that the visitor reads; without a traceback in the page or the log."""
    return gr.Error(message, title="Not stored", print_exception=False)
