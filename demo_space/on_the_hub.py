"""What is on the Hub: its datasets or bucket, and the last rows; and the status of each scheduler."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import Any

import gradio as gr
import pandas as pd

from destination import kind_of, link
from hubspool import HubspoolError
from hubspool.extending import RepositoryNotFoundError
from hubspool_templates import status_panel
from tab import PAGE_ONLY, Tab

logger = logging.getLogger(__name__)
AWAY = '<p class="away">The Hub cannot be reached now. Pending data is safe on this disk and will be sent.</p>'
DATASET = ["Dataset", "Commits", "Last commit (UTC)", "Message"]
CELL_LIMIT = 80  # characters that are shown of one value


class OnTheHub:
    """The tab; it stores nothing."""

    title = "What is on the Hub"

    def __init__(self, tabs: Sequence[Tab[Any]]) -> None:
        self.tabs = tabs

    def load(self) -> tuple[str, str]:
        """Asks the Hub; returns a table of datasets, or of folders in the bucket, and the last rows."""
        places, rows, kind = [], [], kind_of(self.tabs[0].place)
        try:
            for tab in self.tabs:
                sent = _sent(tab)
                last, title = (f"{sent[0][0]:%Y-%m-%d %H:%M:%S}", sent[0][1]) if sent else ("none yet", "")
                places.append([link(tab.place, tab.scheduler.status()), str(len(sent)), last, escape(title)])
                rows.append(f"<h3>{tab.title}</h3>{_rows(tab)}")
        except (HubspoolError, OSError) as error:
            logger.info("the Hub cannot be read now: %s", error)
            return AWAY, ""
        names = ["Folder", "Files", "Last file (UTC)", "Its bytes"] if kind == "bucket" else DATASET
        return _table(names, places), "".join(rows)

    def render(self, opened: gr.Tab) -> None:
        """Adds the tab to the page; it asks the Hub when a visitor opens it."""
        lead = "Read from the Hub. The last rows include those that are still on this disk."
        gr.HTML(f"<h2>{self.title}</h2><p>{lead}</p>")
        repos = gr.HTML(elem_id="repos")
        refresh = gr.Button("Read again", elem_id="read-again")
        rows = gr.HTML(elem_id="rows")
        gr.HTML("<h3>The schedulers of this server</h3>")
        for tab in self.tabs:
            status_panel(tab.scheduler)
        # A click while the Hub is read asks for what came since.
        events = [opened.select, refresh.click]
        gr.on(events, self.load, None, [repos, rows], trigger_mode="always_last", **PAGE_ONLY)


def _sent(tab: Tab[Any]) -> list[tuple[datetime, str]]:
    """The commits of a dataset, or the files of a bucket's folder, newest first; none if it does not exist yet."""
    api, repo, path = tab.scheduler.api, tab.scheduler.target.repo_id, f"{tab.scheduler.path_in_repo}/"
    try:
        if tab.scheduler.target.is_bucket:
            files = api.list_bucket_tree(repo, path)
            return sorted(((file.uploaded_at, f"{file.size:,}") for file in files), reverse=True)
        return [(commit.created_at, commit.title) for commit in api.list_repo_commits(repo, repo_type="dataset")]
    except RepositoryNotFoundError:
        return []


def _rows(tab: Tab[Any]) -> str:
    rows = tab.last_rows()
    if not rows:
        return f"<p>No {tab.noun} yet.</p>"
    cells = [[_cell(row.get(name, "")) for name in rows[0]] for row in rows]
    return _table(["time (UTC)" if name == "time" else escape(name) for name in rows[0]], cells)


def _cell(value: object) -> str:
    text = str(value)
    return escape(text if len(text) <= CELL_LIMIT else f"{text[: CELL_LIMIT - 1]}…")


def _table(names: list[str], rows: list[list[str]]) -> str:
    """A table; the cells are HTML. On a narrow page the table scrolls, not the page."""
    table = pd.DataFrame(rows, columns=names).to_html(index=False, escape=False, border=0)
    table = table.replace("<th>", '<th scope="col">')
    return f'<div class="scroll" tabindex="0" role="region" aria-label="Table">{table}</div>'
