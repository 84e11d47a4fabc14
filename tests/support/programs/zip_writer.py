"""Archives a folder and kills itself at a point: ``zip_writer.py FOLDER POINT``."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from hubspool import HfApi
from hubspool.spool.spool import Spool
from hubspool_templates import ZipScheduler
from hubspool_templates.archive.inbox import Inbox
from hubspool_templates.archive.zip_encoding import ZipEncoding

#: Where the call is found, its name, how many go well, and whether the last one is done.
POINTS: dict[str, tuple[Any, str, int, bool]] = {
    "before the claim": (Inbox, "claim", 2, False),
    "before the line": (Spool, "write", 2, False),
    "before the encoding": (ZipEncoding, "encode", 0, False),
    "after the encoding": (ZipEncoding, "encode", 0, True),
    "before the commit": (HfApi, "create_commit", 0, False),
    "after the commit": (HfApi, "create_commit", 0, True),
    "before the removal": (ZipEncoding, "release", 0, False),
    "between the removals": (ZipEncoding, "release", 0, True),
}


def dies(after: int, call: Callable[..., Any], *, first: bool) -> Callable[..., Any]:
    """Kill this process in the call after `after` others: before the call, or after it if `first`."""
    calls = 0

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls <= after:
            return call(*args, **kwargs)
        result = call(*args, **kwargs) if first else None
        os.kill(os.getpid(), signal.SIGKILL)
        return result

    return wrapper


def main() -> None:
    folder, point = sys.argv[1:]
    owner, name, after, first = POINTS[point]
    setattr(owner, name, dies(after, getattr(owner, name), first=first))
    api = HfApi(endpoint=os.environ["HF_ENDPOINT"], token=os.environ["HF_TOKEN"])
    with ZipScheduler("local/drawings", folder, every=600, hf_api=api):
        pass


if __name__ == "__main__":
    main()
