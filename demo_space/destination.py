"""The dataset of a tab, and what the page says about it: before the first click, and while the Hub is away."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from html import escape

from hubspool import SchedulerStatus


def dataset_of(tab: str, environment: Mapping[str, str]) -> str:
    """The dataset of a tab: the prefix is HUBSPOOL_REPO, else the Space's own name."""
    prefix = environment.get("HUBSPOOL_REPO") or environment.get("SPACE_ID") or "romanisation-arena"
    return f"{prefix}-{tab}"


def missing_token(noun: str, repo_id: str, environment: Mapping[str, str]) -> str:
    """What the owner of a Space without a token must do; an empty text where rows can be sent.

    A duplicated Space starts without a token: the Hub does not copy secrets.
    """
    if "SPACE_ID" not in environment or environment.get("HF_TOKEN"):
        return ""
    return (
        f"{noun.capitalize()}s are kept on this disk only, and are lost when the Space restarts: HF_TOKEN is "
        f"missing. Add a secret HF_TOKEN: a fine-grained token with write access to the dataset {repo_id}."
    )


def link(repo_id: str, status: SchedulerStatus) -> str:
    """The name of a dataset, with a link once its address is known."""
    name, url = f"<b>{escape(repo_id)}</b>", status.repo_url
    return f'<a href="{escape(url)}" target="_blank" rel="noopener">{name}</a>' if url else name


def progress(noun: str, status: SchedulerStatus, missing: str, now: datetime) -> str:
    """One line: how many rows are pending, and when the last commit was; `missing` is the text of `missing_token`."""
    rows = status.pending_files if status.pending_rows is None else status.pending_rows
    count = f"{rows:,} {noun}{'' if rows == 1 else 's'}"
    if missing:
        return _line("warn", f"{count} on this disk. {missing}")
    last = _ago(now, status.last_commit_at)
    if status.consecutive_failures:
        subject = f"{count} {'is' if rows == 1 else 'are'}" if rows else f"New {noun}s are"
        text = f"The last push failed. {subject} safe on this disk and will be sent. {last}"
        detail = " ".join(part for part in (status.last_error, status.last_error_hint) if part)
        return _line("warn", text, detail)
    if not rows:
        return _line("ok", f"No {noun} is pending. {last}")
    return _line("busy", f"{count} pending on this disk{_due(now, status.next_push_at)}. {last}")


def _line(kind: str, text: str, detail: str = "") -> str:
    more = f"<details><summary>Details</summary>{escape(detail)}</details>" if detail else ""
    dot = '<span aria-hidden="true"></span>'
    return f'<div class="progress-line {kind}">{dot}<div>{escape(text)}{more}</div></div>'


def _ago(now: datetime, then: datetime | None) -> str:
    if then is None:
        return "No commit yet since this server started."
    return f"Last commit: {_span((now - then).total_seconds())} ago ({then:%H:%M:%S} UTC)."


def _due(now: datetime, then: datetime | None) -> str:
    seconds = (then - now).total_seconds() if then else 0.0
    return f", to be sent in about {_span(seconds)}" if seconds >= 1 else ", being sent now" if then else ""


def _span(seconds: float) -> str:
    """A duration in words."""
    sizes = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))
    unit, size = next((each for each in sizes if seconds >= 2 * each[1]), sizes[-1])
    count = max(0, int(seconds // size))
    return f"{count} {unit}{'' if count == 1 else 's'}"
