"""What reading costs: ``python -m tests.benchmarks.reading``. 100,000 rows in 300 parts, on a local Hub."""

from __future__ import annotations

import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hubspool import CommitOperationAdd, HfApi
from hubspool.local_hub import LocalHub
from hubspool_templates import JsonlScheduler, read_rows
from tests.support.bench_table import Figure, child, in_turn, print_table

REPO = "local/rows"
PARTS, ROWS, WAITING = 300, 100_000, 10_000
CARD = b"---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/*/*.jsonl\n---\n"


def plant(api: HfApi) -> None:
    """Commit the parts of 30 writers, and a last part that grew by 100 rows since the commit before."""
    api.create_repo(REPO, repo_type="dataset")
    each = ROWS // PARTS

    def part(number: int, rows: int) -> CommitOperationAdd:
        first = number * each
        lines = (
            b'{"n":%d,"text":"%s"}\n' % (n, random.randbytes(30).hex().encode()) for n in range(first, first + rows)
        )
        path = f"data/2026-11/train-202611{number % 28 + 1:02d}-{number % 30:012x}-00000-p{number // 30:04d}.jsonl"
        return CommitOperationAdd(path, b"".join(lines))

    random.seed(1)
    small = [part(number, each) for number in range(PARTS - 1)] + [CommitOperationAdd("README.md", CARD)]
    rest = ROWS - each * (PARTS - 1)
    random.seed(2)
    last = part(PARTS - 1, rest)
    content = last.path_or_fileobj
    assert isinstance(content, bytes)
    kept = b"".join(content.splitlines(keepends=True)[:-100])
    api.create_commit(
        REPO, [*small, CommitOperationAdd(last.path_in_repo, kept)], commit_message="rows", repo_type="dataset"
    )
    api.create_commit(REPO, [last], commit_message="100 more", repo_type="dataset")


def load(side: str, endpoint: str) -> dict[str, Any]:
    """Load everything in a new process, with a cold cache."""
    with tempfile.TemporaryDirectory() as home:
        env = {"HF_ENDPOINT": endpoint, "HF_HOME": home, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        return child("tests.benchmarks.reading", side, env=env)


def timed(side: str) -> dict[str, float]:
    """Time one load in this process, imports not counted."""
    if side == "hubspool":
        began = time.perf_counter()
        count = sum(1 for _ in read_rows(REPO))
    else:
        import datasets

        began = time.perf_counter()
        count = sum(1 for _ in datasets.load_dataset(REPO, split="train"))
    assert count == ROWS
    return {"seconds": time.perf_counter() - began}


def new_rows(api: HfApi) -> tuple[int, int, int]:
    """Return the rows, requests and bytes of a read of what the last commit brought."""
    reader = HfApi(endpoint=api.endpoint, token=api.token)
    commits = api.list_repo_commits(REPO, repo_type="dataset")
    rows = read_rows(REPO, api, revision=commits[1].commit_id)
    assert sum(1 for _ in rows) == ROWS - 100
    pool = reader.session.pool(local=True)
    send, sizes = pool.send, []

    def counted(*args: Any, **options: Any) -> Any:
        response = send(*args, **options)
        sizes.append(int(response.headers.get("Content-Length", 0)))
        return response

    pool.send = counted  # type: ignore[method-assign]
    found = sum(1 for _ in read_rows(REPO, reader, since=rows.cursor))
    return found, reader.session.counts["requests"], sum(sizes)


def waiting(api: HfApi, folder: Path) -> float:
    """Return the seconds of a read of 10,000 pending rows beside 10 on the Hub."""
    scheduler = JsonlScheduler("local/votes", folder, every=600, hf_api=api)
    scheduler.extend({"n": n} for n in range(10))
    scheduler.flush()
    scheduler.extend({"n": n, "text": "x" * 60} for n in range(WAITING))
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        assert sum(1 for _ in read_rows("local/votes", pending=scheduler)) == WAITING + 10
        seconds.append(time.perf_counter() - began)
    scheduler.stop(flush=False)
    return statistics.median(seconds)


def main() -> None:
    if len(sys.argv) > 1:
        import json

        print(json.dumps(timed(sys.argv[1])))
        return
    with tempfile.TemporaryDirectory() as name, LocalHub(root=Path(name) / "hub") as hub:
        os.environ.update(HF_HOME=str(Path(name) / "home"), HF_TOKEN=hub.token, HF_ENDPOINT=hub.endpoint)
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        plant(api)
        seconds = in_turn(3, ("datasets", "hubspool"), lambda side: load(side, hub.endpoint))
        stock, ours = (seconds[side]["seconds"] for side in ("datasets", "hubspool"))
        found, requests, size = new_rows(api)
        pending = waiting(api, Path(name) / "votes")
    print_table(
        [
            Figure("all rows, cold cache (datasets)", f"{stock:.2f} s", f"{ours:.2f} s", "0.5", f"{ours / stock:.2f}"),
            Figure(f"`since=`, {found} new rows", "", f"{requests} requests, {size / 1000:.0f} kB", "6, 200 kB"),
            Figure(f"`pending=`, {WAITING:,} rows", "", f"{pending:.2f} s", "0.2 s"),
        ]
    )


if __name__ == "__main__":
    main()
