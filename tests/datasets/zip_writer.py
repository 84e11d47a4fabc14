"""Archives a folder and kills itself at a point: ``zip_writer.py FOLDER POINT``."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from hubspool import HfApi
from hubspool.spool import Spool
from hubspool_templates import ZipScheduler
from hubspool_templates.claims import Claims


def dies(after: int, call: Callable[..., Any], *, first: bool) -> Callable[..., Any]:
    """Kill -9 in the call after `after` others: before it, or `first` doing it."""
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
    if point == "before the claim":
        Claims.take = dies(2, Claims.take, first=False)  # type: ignore[method-assign]
    elif point == "before the line":
        Spool.write = dies(2, Spool.write, first=False)  # type: ignore[method-assign]
    elif point == "before the commit":
        HfApi.create_commit = dies(0, HfApi.create_commit, first=False)  # type: ignore[method-assign]
    else:
        HfApi.create_commit = dies(0, HfApi.create_commit, first=True)  # type: ignore[method-assign]
    api = HfApi(endpoint=os.environ["HF_ENDPOINT"], token=os.environ["HF_TOKEN"])
    with ZipScheduler("local/drawings", folder, every=600, hf_api=api):
        pass


if __name__ == "__main__":
    main()
