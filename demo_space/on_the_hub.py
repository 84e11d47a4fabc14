"""What is on the Hub: its datasets, commits and last rows, and the status of each scheduler."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr
import pandas as pd

from hubspool import HubspoolError
from hubspool_templates import status_panel
from tab import PAGE_ONLY, Tab, frame

logger = logging.getLogger(__name__)
AWAY = '<p class="away">The Hub cannot be reached now. Pending data is safe on this disk and will be sent.</p>'
CELL_LIMIT = 80
"""Characters that are shown of one value."""
COLUMNS = ["time", "commits", "dataset"]
Shown = tuple[str, pd.DataFrame | None, str]


class OnTheHub:
    """The tab; it stores nothing."""

    title = "What is on the Hub"

    def __init__(self, tabs: Sequence[Tab[Any]]) -> None:
        self.tabs = tabs

    def load(self) -> Shown:
        """Asks the Hub; returns a table of datasets, the points of the timeline, and the last rows."""
        repos, points, rows = [], [], []
        try:
            for tab in self.tabs:
                name, commits = tab.name, self._commits(tab)
                last = f"{commits[-1].created_at:%Y-%m-%d %H:%M:%S}" if commits else "none yet"
                title = escape(commits[-1].title) if commits else ""
                repos.append([_link(tab), str(len(commits)), last, title])
                points += [(commit.created_at, number, name) for number, commit in enumerate(commits, start=1)]
                rows.append(f"<h3>{tab.title}</h3>{_rows(tab.last_rows())}")
        except (HubspoolError, OSError) as error:
            logger.info("the Hub cannot be read now: %s", error)
            return AWAY, None, ""
        table = _table(["Dataset", "Commits", "Last commit (UTC)", "Message"], repos)
        return table, frame(points, COLUMNS), "".join(rows)

    def _commits(self, tab: Tab[Any]) -> list[Any]:
        """The commits of a dataset, oldest first; none if the dataset does not exist yet."""
        api, repo = tab.scheduler.api, tab.scheduler.repo_id
        if not api.repo_exists(repo, repo_type="dataset"):
            return []
        return list(api.list_repo_commits(repo, repo_type="dataset"))[::-1]

    def render(self, opened: gr.Tab) -> None:
        """Adds the tab to the page; it asks the Hub when a visitor opens it."""
        gr.HTML(f"<h2>{self.title}</h2><p>Read from the Hub, not from this server's memory.</p>")
        repos = gr.HTML(elem_id="repos")
        refresh = gr.Button("Read again", elem_id="read-again")
        timeline = gr.LinePlot(
            x="time",
            y="commits",
            color="dataset",
            title="Commits over time",
            x_title="Time",
            y_title="Commits so far",
            height=260,
            elem_id="timeline",
        )
        rows = gr.HTML(elem_id="rows")
        gr.HTML("<h3>The schedulers of this server</h3>")
        for tab in self.tabs:
            status_panel(tab.scheduler)
        gr.on([opened.select, refresh.click], self.load, None, [repos, timeline, rows], **PAGE_ONLY)


def _link(tab: Tab[Any]) -> str:
    name, url = escape(tab.scheduler.repo_id), tab.scheduler.status().repo_url
    return f'<a href="{escape(url)}" target="_blank" rel="noopener">{name}</a>' if url else name


def _rows(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "<p>No rows yet.</p>"
    names = list(rows[0])
    return _table(names, [[escape(_short(row.get(name, ""))) for name in names] for row in rows])


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= CELL_LIMIT else f"{text[:CELL_LIMIT]}…"


def _table(names: list[str], rows: list[list[str]]) -> str:
    """A table; the cells are HTML. On a narrow page the table scrolls, not the page."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Table">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
