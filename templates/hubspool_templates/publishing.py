"""The dataset card of what is published from a bucket (`hubspool publish`), by the form of its files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from hubspool import CommitOperationAdd
from hubspool_templates.archive.zip_scheduler import ZipScheduler
from hubspool_templates.jsonl import JsonlScheduler
from hubspool_templates.parquet.parquet_scheduler import ParquetScheduler
from hubspool_templates.rows import RowScheduler, published_card

_SCHEDULERS: dict[str, type[RowScheduler]] = {"jsonl": JsonlScheduler, "parquet": ParquetScheduler, "zip": ZipScheduler}


def card_of(repo: Any, form: str, *new: Any) -> Callable[[str], Iterable[CommitOperationAdd]]:
    """Return what makes the card of new files; see `published_card`."""
    return published_card(_SCHEDULERS[form], repo, form, *new)
