"""The dataset of a tab, and what the page says about it: before the first click, and while the Hub is away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from html import escape

from hubspool import SchedulerStatus

VOTE = "The text, both results and your choice become one row of the dataset"


@dataclass(frozen=True)
class TabDataset:
    """One dataset on the Hub.

    Args:
        repo_id: the dataset, `user/name`; a name alone belongs to the token's user.
        local_only: this is a Space without a token, so nothing leaves its disk.
        noun: one row, in a word.
    """

    repo_id: str
    local_only: bool = False
    noun: str = "vote"

    @classmethod
    def of(cls, tab: str, environment: Mapping[str, str], noun: str = "vote") -> TabDataset:
        """The dataset of a tab: the prefix is HUBSPOOL_REPO, else the Space's own name."""
        prefix = environment.get("HUBSPOOL_REPO") or environment.get("SPACE_ID") or "romanisation-arena"
        # A duplicated Space starts without a token: the Hub does not copy secrets.
        local_only = "SPACE_ID" in environment and not environment.get("HF_TOKEN")
        return cls(f"{prefix}-{tab}", local_only, noun)

    @property
    def missing_token(self) -> str:
        """What the owner of a Space without a token must do; for the page and the log."""
        return (
            f"{self.noun.capitalize()}s are kept on this disk only, and are lost when the Space restarts: HF_TOKEN is "
            f"missing. Add a secret HF_TOKEN: a fine-grained token with write access to the dataset {self.repo_id}."
        )

    def notice(self, status: SchedulerStatus, kept: str = VOTE) -> str:
        """What a visitor must know before the first click; `kept` says what is stored, the dataset's name follows."""
        dataset = f"<b>{escape(self.repo_id)}</b>"
        if status.repo_url:
            dataset = f'<a href="{escape(status.repo_url)}" target="_blank" rel="noopener">{dataset}</a>'
        return (
            f"<b>Your {self.noun} is kept.</b> {kept} {dataset}. "
            "No name and no address is stored. Please do not enter anything private."
        )

    def progress(self, status: SchedulerStatus, now: datetime) -> str:
        """One line: how many rows are pending, and when the last commit was."""
        rows = status.pending_files if status.pending_rows is None else status.pending_rows
        waiting = f"{rows:,} {self.noun}{'' if rows == 1 else 's'}"
        if self.local_only:
            return _line("warn", f"{waiting} on this disk. {self.missing_token}")
        last = _ago(now, status.last_commit_at)
        if status.consecutive_failures:
            subject = f"{waiting} {'is' if rows == 1 else 'are'}" if rows else f"New {self.noun}s are"
            text = f"The last push failed. {subject} safe on this disk and will be sent. {last}"
            detail = " ".join(part for part in (status.last_error, status.last_error_hint) if part)
            return _line("warn", text, detail)
        if not rows:
            return _line("ok", f"No {self.noun} is waiting. {last}")
        return _line("busy", f"{waiting} waiting on this disk{_due(now, status.next_push_at)}. {last}")


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
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}s"
    whole = max(0, round(seconds))
    return f"{whole} second{'' if whole == 1 else 's'}"
