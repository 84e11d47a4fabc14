"""What `years` measures in processes of their own: `load REPO`, and `append ENDPOINT TOKEN REPO FOLDER DATE`."""

from __future__ import annotations

import json
import sys
import threading
import time
from datetime import date
from pathlib import Path


def load(repo_id: str) -> dict[str, float]:
    """Load a dataset, and count its rows."""
    import datasets
    import numpy as np

    began = time.perf_counter()
    loaded = datasets.load_dataset(repo_id, split="train")
    seconds = time.perf_counter() - began
    numbers = loaded.data.column("n").to_numpy()
    return {
        "seconds": seconds,
        "rows": len(numbers),
        "distinct": len(np.unique(numbers)),
        "largest": int(numbers.max()),
    }


def append(endpoint: str, token: str, repo_id: str, folder: str, before: str) -> dict[str, float]:
    """Append at 2,000 rows a second, first alone, then while the repository's parts are joined in another thread."""
    from hubspool import HfApi
    from hubspool.client.target import Target
    from hubspool.push.compaction import CompactionReport, Compactor
    from hubspool.push.joiner import Joiner
    from hubspool.push.remote import RemoteRepo
    from hubspool_templates import JsonlScheduler

    api = HfApi(endpoint=endpoint, token=token)
    scheduler = JsonlScheduler("local/appended", Path(folder) / "spool", every=600, hf_api=api, compact=False)
    scheduler.last_future.result()
    row = {"n": 1, "text": "x" * 400}

    def paced(ended: threading.Event) -> float:
        taken, due = [], time.perf_counter()
        while not ended.is_set():
            due = max(due + 1 / 2000, time.perf_counter() - 0.01)
            while (left := due - time.perf_counter()) > 0:
                time.sleep(left)
            began = time.perf_counter()
            scheduler.append(row)
            taken.append(time.perf_counter() - began)
        return sorted(taken)[int(len(taken) * 0.99)] * 1e6

    reports: list[CompactionReport] = []
    compactor = Compactor(RemoteRepo(api, Target.of(endpoint, repo_id, "dataset", "main")), "data", {"jsonl": Joiner()})
    ended = threading.Event()
    timer = threading.Timer(5, ended.set)
    timer.start()
    idle = paced(ended)
    ended = threading.Event()

    def join() -> None:
        try:
            reports.append(compactor.run(date.fromisoformat(before)))
        finally:
            ended.set()

    worker = threading.Thread(target=join)
    worker.start()
    beside = paced(ended)
    worker.join()
    scheduler.stop(flush=False)
    report = reports[0]
    return {
        "idle_us": idle, "beside_us": beside, "files_before": report.files_before, "bytes_joined": report.bytes_joined,
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps({"load": load, "append": append}[sys.argv[1]](*sys.argv[2:])))
