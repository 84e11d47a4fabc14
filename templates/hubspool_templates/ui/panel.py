"""status_panel: the status of a scheduler, as a part of a Gradio page."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from hubspool import CommitEvent, SchedulerStatus, State
from hubspool_templates.defaults import DEFAULTS

if TYPE_CHECKING:
    from hubspool import CommitScheduler

_WORDS = {
    State.IDLE: "Waiting",
    State.SCANNING: "Looking for new data",
    State.UPLOADING: "Uploading",
    State.COMMITTING: "Committing",
    State.BACKING_OFF: "Trying again soon",
    State.FAILING: "Will try again",
    State.STOPPING: "Sending what is left",
    State.STOPPED: "Stopped",
}
_CSS = Path(__file__).with_name("panel.css").read_text(encoding="utf-8")


def status_panel(scheduler: CommitScheduler) -> gr.Column:
    """Add a panel to the page: pending rows, pushes, the last error, and a button "Push … now".

    Not for every visitor: the panel shows the last error, which may name folders, and its button pushes at once. The
    plot begins with this process. An open page asks the scheduler every two seconds, which makes no request to the Hub.

    Call it inside ``with gr.Blocks()``, once for each panel.

    Args:
        scheduler: a running scheduler; any kind.

    Returns:
        The column that holds the panel.
    """
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    panel = gr.Column(variant="panel")
    with panel:
        # Two parts: an update closes a table that the visitor has opened, so the plot is updated by itself.
        facts = gr.HTML(_facts(scheduler), css_template=_CSS, js_on_load=None)
        plot = gr.HTML(_plot(scheduler), css_template=_CSS, js_on_load=None)
        # The label names the destination for screen readers, and on a page with several panels.
        button = gr.Button(f"Push {re.sub('^[^/]*/', '', _name(scheduler))} now", size="sm")
        outcome = gr.HTML(css_template=_CSS, js_on_load="element.setAttribute('role', 'status')")
    shown = [facts, plot]

    def refresh() -> tuple[str, str]:
        return _facts(scheduler), _plot(scheduler)

    async def commit() -> tuple[str, str, str]:
        return await _commit(scheduler), *refresh()

    gr.Timer(DEFAULTS.panel_refresh_seconds).tick(refresh, None, shown, queue=False, **quiet)
    if root := gr.context.Context.root_block:
        root.load(refresh, None, shown, queue=False, **quiet)
    button.click(commit, None, [outcome, *shown], concurrency_limit=None, **quiet)
    return panel


async def _commit(scheduler: CommitScheduler) -> str:
    """Push now, and return the outcome in words; the wait blocks no thread."""
    before = scheduler.status().commits_in_repo
    future = asyncio.wrap_future(scheduler.trigger())
    done, _ = await asyncio.wait([future], timeout=DEFAULTS.panel_wait_seconds)
    if not done:
        return "The push continues in the background."
    if future.cancelled():
        return "The scheduler is stopped. Pending data is sent at the next start."
    if future.exception() is not None:
        return "The push failed. Pending data stays on the disk and is sent later."
    is_new = scheduler.status().commits_in_repo > before
    return "Pushed." if is_new else "There was nothing new to push."


def _name(scheduler: CommitScheduler) -> str:
    """The repository, or a folder of a bucket."""
    inside = scheduler.path_in_repo if scheduler.target.is_bucket else ""
    return f"{scheduler.repo_id}/{inside}".removesuffix("/")


def _facts(scheduler: CommitScheduler) -> str:
    status, now = scheduler.status(), datetime.now(timezone.utc)
    name = escape(_name(scheduler))
    if status.repo_url:
        name = f'<a href="{escape(status.repo_url)}" target="_blank" rel="noopener">{name}</a>'
    files = f"{status.pending_files:,} ({_size(status.pending_bytes)})"
    rows = status.pending_rows
    facts = {
        **({"Pending files": files} if rows is None else {"Pending rows": f"{rows:,}"}),
        "Next push": "at the next start" if status.next_push_at is None else _until(now, status.next_push_at),
        "Last push": "none yet" if status.last_commit_at is None else f"{status.last_commit_at:%H:%M:%S} UTC",
        "Pushes since the start": f"{status.commits_in_repo:,}",
        **({} if status.files_on_hub is None else {"Files on the Hub": f"{status.files_on_hub:,}"}),
        **({} if (at := status.last_compaction_at) is None else {"Last compaction": f"{at:%d %b %H:%M} UTC"}),
    }
    cells = "".join(f"<div><dt>{key}</dt><dd>{value}</dd></div>" for key, value in facts.items())
    return (
        f'<section class="{_mood(status)}" aria-label="Saving to {escape(_name(scheduler))}">'
        f'<div class="top"><b>{name}</b>'
        f'<span class="pill"><i aria-hidden="true"></i>{_WORDS[status.state]}</span></div>'
        f"<dl>{cells}</dl>{_errors(status)}</section>"
    )


def _mood(status: SchedulerStatus) -> str:
    if status.state is State.STOPPED:
        return "off"
    if status.last_error or status.skipped or not status.is_healthy:
        return "fault"
    return "ok" if status.state is State.IDLE else "busy"


def _errors(status: SchedulerStatus) -> str:
    lines = []
    if status.last_error:
        times = f"The last {status.consecutive_failures} pushes" if status.consecutive_failures > 1 else "The last push"
        lines += [f"{times} failed. Nothing is lost: pending data stays on the disk.", status.last_error]
        lines += [status.last_error_hint] if status.last_error_hint else []
    lines += [f"Not sent: {path}: {reason}" for path, reason in status.skipped.items()]
    lines += status.warnings
    if not status.is_healthy:
        lines += [f"Postponed: {path}: {reason}" for path, reason in status.postponed.items()]
    return f'<div class="error">{"".join(f"<p>{escape(line)}</p>" for line in lines)}</div>' if lines else ""


def _plot(scheduler: CommitScheduler) -> str:
    commits = scheduler.status().recent_commits
    if not commits:
        return '<p class="empty">Rows and bytes of each push will appear here.</p>'
    has_rows = any(commit.rows_new for commit in commits)
    noun = "rows" if has_rows else "files"  # of images and runs

    def count(commit: CommitEvent) -> int:
        return commit.rows_new if has_rows else len(commit.paths)

    rows = "".join(
        f"<tr><td>{commit.at:%d %b %H:%M:%S}</td><td>{count(commit):,}</td><td>{_size(commit.bytes_new)}</td></tr>"
        for commit in reversed(commits)
    )
    return (
        f'<div class="charts">{_bars(noun, commits, count, "{:,}".format)}'
        f"{_bars('bytes', commits, lambda commit: commit.bytes_new, _size)}</div>"
        "<details><summary>Show as a table</summary><table><thead><tr><th scope='col'>Time (UTC)</th>"
        f"<th scope='col'>{noun.capitalize()}</th><th scope='col'>Bytes</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></details>"
    )


def _bars(
    what: str, commits: Sequence[CommitEvent], value: Callable[[CommitEvent], int], show: Callable[[int], str]
) -> str:
    values = [value(commit) for commit in commits]
    most = max(values)
    bars = "".join(
        f'<span style="height:{100 * number / (most or 1):.1f}%" title="{commit.at:%H:%M:%S}: {show(number)}"></span>'
        for number, commit in zip(values, commits, strict=True)
    )
    first = f"<span>{commits[0].at:%H:%M:%S}</span>" if len(commits) > 1 else ""
    pushes = "last push" if len(values) == 1 else f"last {len(values)} pushes"
    label = f"{what.capitalize()} of the {pushes}: from {show(min(values))} to {show(most)}"
    return (
        f'<figure class="{what}"><figcaption>{what.capitalize()} per push, at most {show(most)}</figcaption>'
        f'<div class="plot" style="max-width: max(11rem, {len(values) * 1.7:.1f}rem)">'
        f'<div class="axis" aria-hidden="true"><span>{show(most)}</span><span>0</span></div>'
        f'<div class="bars" role="img" aria-label="{label}">{bars}</div>'
        f'<div class="ends">{first}<span>{commits[-1].at:%H:%M:%S} UTC</span></div>'
        "</div></figure>"
    )


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"


def _until(now: datetime, then: datetime) -> str:
    seconds = max(0, round((then - now).total_seconds()))
    if seconds < 1:
        return "now"
    if seconds < 120:
        return f"in {seconds} s"
    return f"in {seconds / 60:.0f} min" if seconds < 7200 else f"in {seconds / 3600:.0f} h"
