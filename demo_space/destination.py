"""Where the rows of a tab go, and what the page says about it: before the first click, and while the Hub is away."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hubspool import SchedulerStatus


def place_of(tab: str, environment: Mapping[str, str]) -> str:
    """A dataset of the tab's own, or a folder of its own in the bucket that HUBSPOOL_REPO names; else a ValueError."""
    given = environment.get("HUBSPOOL_REPO") or environment.get("SPACE_ID") or "romanisation-arena"
    if re.fullmatch(r"hf://buckets(/[\w.-]+){2}(/[^/]+)*/?", given):
        return f"{given.rstrip('/')}/{tab}"
    if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", given):
        return f"{given}-{tab}"
    choice = "your-name/arena for datasets, or hf://buckets/your-name/arena for folders in a bucket"
    raise ValueError(f"HUBSPOOL_REPO is {given!r}: set it to {choice}.")


def kind_of(place: str) -> str:
    """The kind of a place, in a word."""
    return "bucket" if place.startswith("hf:") else "dataset"


def minutes_between_pushes(environment: Mapping[str, str]) -> float:
    """HUBSPOOL_EVERY; a ValueError if it, or HUBSPOOL_REPO, cannot be used. The commits of a dataset are limited."""
    default = {"bucket": "0.1", "dataset": "5"}[kind_of(place_of("", environment))]
    text = environment.get("HUBSPOOL_EVERY") or default
    with suppress(ValueError):
        if 0 < float(text) < float("inf"):
            return float(text)
    raise ValueError(f"HUBSPOOL_EVERY is {text!r}: set it to the minutes between two pushes, for example 0.2.")


def missing_token(noun: str, place: str, environment: Mapping[str, str]) -> str:
    """What the owner of a Space without a token must do; an empty text where rows can be sent.

    A duplicated Space starts without a token: the Hub does not copy secrets.
    """
    if "SPACE_ID" not in environment or environment.get("HF_TOKEN"):
        return ""
    return (
        f"{noun.capitalize()}s are kept on this disk only, and are lost when the Space restarts: HF_TOKEN is "
        f"missing. Add a secret HF_TOKEN: a fine-grained token with write access to the {kind_of(place)} {place}."
    )


def link(place: str, status: SchedulerStatus) -> str:
    """The name of a dataset, or the address in a bucket, with a link once it is known."""
    name, inside = f"<b>{escape(place)}</b>", re.match(r"hf://buckets/[^/]+/[^/]+(/.+)", place)
    url = status.repo_url and status.repo_url + (f"/tree{inside[1]}" if inside else "")
    return f'<a href="{escape(url)}" target="_blank" rel="noopener">{name}</a>' if url else name


def progress(noun: str, status: SchedulerStatus, missing: str, now: datetime) -> str:
    """One line: how many rows are pending, and when the last push was; `missing` is the text of `missing_token`."""
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
        return "Nothing was sent yet since this server started."
    return f"Last push: {_span((now - then).total_seconds())} ago ({then:%H:%M:%S} UTC)."


def _due(now: datetime, then: datetime | None) -> str:
    seconds = (then - now).total_seconds() if then else 0.0
    return f", to be sent in about {_span(seconds)}" if seconds >= 1 else ", being sent now" if then else ""


def _span(seconds: float) -> str:
    """A duration in words."""
    sizes = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))
    unit, size = next((each for each in sizes if seconds >= 2 * each[1]), sizes[-1])
    count = max(0, int(seconds // size))
    return f"{count} {unit}{'' if count == 1 else 's'}"
