"""The dataset card of what is published from a bucket (`hubspool publish`), by the form of its files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import hubspool_templates
from hubspool import CommitOperationAdd
from hubspool_templates.rows import published_card

_SCHEDULERS = {"jsonl": "JsonlScheduler", "parquet": "ParquetScheduler", "zip": "ZipScheduler"}


def card_of(repo: Any, form: str, *new: Any) -> Callable[[str], Iterable[CommitOperationAdd]]:
    """Return what makes the card of new files; see `published_card`."""
    return published_card(getattr(hubspool_templates, _SCHEDULERS[form]), repo, form, *new)
