"""Ready-made schedulers: subclasses of `hubspool.CommitScheduler` for one kind of data each."""

from __future__ import annotations

from hubspool_templates.jsonl import JsonlScheduler, read_rows

__all__ = ["JsonlScheduler", "read_rows"]
