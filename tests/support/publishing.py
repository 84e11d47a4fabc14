"""What the tests of `hubspool publish` share: one bucket, one dataset, and looks at both."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from hubspool import HfApi
from hubspool.local_hub import Fault, LocalHub
from hubspool.push.published import MARKERS
from hubspool.spool.segment_name import RangeName
from hubspool_templates import ZipScheduler, read_rows

ADDRESS = "hf://buckets/local/votes"
BUCKET = DATASET = "local/votes"
SECONDS = 60
Make = Callable[..., Any]


def put(scheduler: Any, *numbers: int) -> None:
    """Send one file of rows to the bucket."""
    for number in numbers:
        if isinstance(scheduler, ZipScheduler):
            scheduler.add(b"content", f"{number}.bin", n=number)
        else:
            scheduler.append({"n": number})
    scheduler.flush(SECONDS)


def look(scheduler: Any) -> None:
    """Let a scheduler look now whether it is to publish."""
    scheduler._worker.compaction._due_at = 0.0
    scheduler.trigger().result(SECONDS)


def set_clock(hub: LocalHub, minutes: float) -> None:
    """Let the Hub's clock be ahead; other faults end."""
    ahead = format_datetime(datetime.now(timezone.utc) + timedelta(minutes=minutes), usegmt=True)
    hub.faults.clear()
    hub.faults.add(Fault(headers={"Date": ahead}, times=None))


def rows(api: HfApi, repo: str = DATASET) -> list[int]:
    return sorted(row["n"] for row in read_rows(repo, api=api))


def in_bucket(api: HfApi) -> list[str]:
    """The files of rows."""
    return [file.path for file in api.list_bucket_tree(BUCKET) if RangeName.parse(Path(file.path).name)]


def markers(api: HfApi) -> list[str]:
    return [file.path for file in api.list_bucket_tree(BUCKET, MARKERS)]


def commits(api: HfApi) -> list[str]:
    if not api.repo_exists(DATASET, repo_type="dataset"):
        return []
    return [each.title for each in api.list_repo_commits(DATASET, repo_type="dataset") if "Publish" in each.title]
