"""What is on the Hub: its datasets, commits and last rows, and the status of each scheduler."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr
import pandas as pd

from destination import link
from hubspool import HubspoolError
from hubspool_templates import status_panel
from tab import PAGE_ONLY, Tab

logger = logging.getLogger(__name__)
AWAY = '<p class="away">The Hub cannot be reached now. Pending data is safe on this disk and will be sent.</p>'
CELL_LIMIT = 80
"""Characters that are shown of one value."""


class OnTheHub:
    """The tab; it stores nothing."""

    title = "What is on the Hub"

    def __init__(self, tabs: Sequence[Tab[Any]]) -> None:
        self.tabs = tabs

    def load(self) -> tuple[str, str]:
        """Asks the Hub; returns a table of datasets, and the last rows."""
        repos, rows = [], []
        try:
            for tab in self.tabs:
                commits = self._commits(tab)
                last = f"{commits[0].created_at:%Y-%m-%d %H:%M:%S}" if commits else "none yet"
                title = escape(commits[0].title) if commits else ""
                repos.append([link(tab.scheduler.repo_id, tab.scheduler.status()), str(len(commits)), last, title])
                rows.append(f"<h3>{tab.title}</h3>{_rows(tab)}")
        except (HubspoolError, OSError) as error:
            logger.info("the Hub cannot be read now: %s", error)
            return AWAY, ""
        return _table(["Dataset", "Commits", "Last commit (UTC)", "Message"], repos), "".join(rows)

    def _commits(self, tab: Tab[Any]) -> list[Any]:
        """The commits of a dataset, newest first; none if the dataset does not exist yet."""
        api, repo = tab.scheduler.api, tab.scheduler.repo_id
        if not api.repo_exists(repo, repo_type="dataset"):
            return []
        return list(api.list_repo_commits(repo, repo_type="dataset"))

    def render(self, opened: gr.Tab) -> None:
        """Adds the tab to the page; it asks the Hub when a visitor opens it."""
        gr.HTML(
            f"<h2>{self.title}</h2><p>Read from the Hub. The last rows include those that are still on this disk.</p>"
        )
        repos = gr.HTML(elem_id="repos")
        refresh = gr.Button("Read again", elem_id="read-again")
        rows = gr.HTML(elem_id="rows")
        gr.HTML("<h3>The schedulers of this server</h3>")
        for tab in self.tabs:
            status_panel(tab.scheduler)
        gr.on([opened.select, refresh.click], self.load, None, [repos, rows], **PAGE_ONLY)


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
