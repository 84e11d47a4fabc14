"""One measurement of one scheduler, in a process of its own: ``scheduling_child.py SIDE PART DIRECTORY [NUMBER]``.

Prints its result as JSON. Both sides run the same lines as far as their interfaces are the same.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any

REPO, TOKEN = "local/bench", "hf_local"
SECONDS = 600


def import_it(side: str, directory: Path, number: int) -> dict[str, float]:
    """Import the package, then make the first object, with the Hub out of reach."""
    began = time.perf_counter()
    module = __import__(side)
    imported = time.perf_counter() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began = time.perf_counter()
    module.HfApi(endpoint="http://127.0.0.1:9", token=TOKEN)
    first = time.perf_counter() - began
    all_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "import_ms": imported * 1000,
        "first_ms": first * 1000,
        "memory_mb": memory,
        "all_memory_mb": all_memory,
    }


def _hub(directory: Path) -> Any:
    from hubspool.local_hub import LocalHub

    return LocalHub(directory / "hub")


def _scheduler(side: str, folder: Path, endpoint: str) -> Any:
    package = __import__(side)
    api = package.HfApi(endpoint=endpoint, token=TOKEN)
    return package.CommitScheduler(repo_id=REPO, repo_type="dataset", folder_path=folder, every=600, hf_api=api)


def _push(scheduler: Any) -> None:
    scheduler.trigger().result(SECONDS)


def requests_of_a_push(side: str, directory: Path, number: int) -> dict[str, float]:
    """Count the requests, those to the CAS apart, of pushes that change one file."""
    with _hub(directory) as hub:
        scheduler = _scheduler(side, directory / "files", hub.endpoint)
        counts = []
        for push in range(number):
            with scheduler.lock, (scheduler.folder_path / "rows.jsonl").open("a") as file:
                file.write(json.dumps({"id": push, "text": "x" * 400}) + "\n")
            hub.requests.clear()
            _push(scheduler)
            counts.append(sum(not each.route.startswith("xet-") or each.route == "xet-token" for each in hub.requests))
        scheduler.stop()
    return {"median": statistics.median(counts[2:]), "most": max(counts[2:])}


def _tree(folder: Path, number: int) -> list[Path]:
    files = [folder / f"{each // 1000:04d}" / f"{each}.txt" for each in range(number)]
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{path.name}\n")
    return files


def _with_all_pushed(side: str, folder: Path, hub: Any, number: int) -> Any:
    """Return a scheduler that takes all of the folder's files for pushed, which would take an hour to bring about."""
    if side == "huggingface_hub":
        scheduler = _scheduler(side, folder, hub.endpoint)
        _push(scheduler)  # of an empty folder
        scheduler.last_uploaded.update({path: path.stat().st_mtime for path in _tree(folder, number)})
        return scheduler
    from hubspool import HfApi
    from hubspool.client.target import Target
    from hubspool.files import Stat
    from hubspool.push.ledger import Ledger

    files = _tree(folder, number)
    HfApi(endpoint=hub.endpoint, token=TOKEN).create_repo(REPO, repo_type="dataset")
    ledger = Ledger(folder / ".cache" / "huggingface" / "hubspool")
    key = ledger.target(Target.of(hub.endpoint, REPO, "dataset", None), "")
    ledger.settle(key, [(str(path.relative_to(folder)), Stat.of(path.stat())) for path in files])
    ledger.close()
    return _scheduler(side, folder, hub.endpoint)


def _walk(folder: Path) -> None:
    waiting = [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    entry.stat()


class _Held:
    """A lock that notes for how long it was held."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lock, name)

    def acquire(self, *args: Any, **options: Any) -> bool:
        taken: bool = self._lock.acquire(*args, **options)
        self._began = time.perf_counter()
        return taken

    def release(self) -> None:
        self.seconds += time.perf_counter() - self._began
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


def idle(side: str, directory: Path, number: int) -> dict[str, float]:
    """Push a folder of unchanged files: CPU, requests, and how long the lock is held, beside a bare walk."""
    with _hub(directory) as hub:
        scheduler = _with_all_pushed(side, directory / "files", hub, number)
        scheduler.lock = held = _Held(scheduler.lock)
        _push(scheduler)
        hub.requests.clear()
        cpu, walk = [], []
        for _ in range(5):
            held.seconds = 0.0
            began = time.process_time()
            _walk(directory / "files")
            walk.append(time.process_time() - began)
            began = time.process_time()
            _push(scheduler)
            cpu.append(time.process_time() - began)
        count = len(hub.requests)
        scheduler.stop()
    ratio = statistics.median(each / bare for each, bare in zip(cpu, walk, strict=True))
    return {"cpu": statistics.median(cpu), "walk": statistics.median(walk), "ratio": ratio, "requests": count,
            "held": held.seconds}  # fmt: skip


def start_up(side: str, directory: Path, number: int) -> dict[str, float]:
    """Start on a folder all of which is on the Hub: seconds until the first push is over, and files that it opened."""
    with _hub(directory) as hub:
        _with_all_pushed(side, directory / "files", hub, number).stop()
        opened = 0

        def listen(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal opened
            opened += event == "open" and str(arguments[0]).endswith(".txt")

        sys.addaudithook(listen)
        began = time.perf_counter()
        again = _scheduler(side, directory / "files", hub.endpoint)
        again.last_future.result(SECONDS)
        seconds = time.perf_counter() - began
        again.stop()
    return {"seconds": seconds, "opened": opened}


def append(side: str, directory: Path, number: int) -> dict[str, float]:
    """Append rows of 433 bytes on one thread: as the guide does, or with `append`; the Hub is out of reach."""
    from tests.benchmarks.durability import a_row

    rows = [a_row(each) for each in range(number)]
    if side == "hubspool":
        from hubspool import HfApi
        from hubspool_templates import JsonlScheduler

        api = HfApi(endpoint="http://127.0.0.1:9", token=TOKEN)
        scheduler = JsonlScheduler(REPO, directory / "rows", every=600, hf_api=api)
        began = time.perf_counter()
        for row in rows:
            scheduler.append(row)
        seconds = time.perf_counter() - began
        scheduler.stop(flush=False)
    else:
        lock, path = threading.Lock(), directory / "rows.jsonl"
        began = time.perf_counter()
        for row in rows:
            with lock, path.open("a") as file:
                file.write(json.dumps(row))
                file.write("\n")
        seconds = time.perf_counter() - began
    return {"rows": number / seconds}


def threads(side: str, directory: Path, number: int) -> dict[str, float]:
    """Append from 32 threads, 5,000 rows/s in all while pushes run, and then flat out."""
    from hubspool_templates import JsonlScheduler, read_rows
    from tests.benchmarks.durability import a_hub, a_row

    row, per_thread, seconds = a_row(1), number // 32, 10.0
    taken: list[float] = []
    with a_hub(directory) as (_, api):
        scheduler = JsonlScheduler("local/threads", directory / "rows", every=600, hf_api=api)
        ended = threading.Event()

        def pushing() -> None:
            while not ended.is_set():
                _push(scheduler)

        def paced() -> None:
            mine, due = [], time.perf_counter()
            for _ in range(int(5000 * seconds / 32)):
                due += 32 / 5000
                while (left := due - time.perf_counter()) > 0:
                    time.sleep(left)
                began = time.perf_counter()
                scheduler.append(row)
                mine.append(time.perf_counter() - began)
            taken.extend(mine)

        def flat_out() -> None:
            for _ in range(per_thread):
                scheduler.append(row)

        pusher = threading.Thread(target=pushing)
        pusher.start()
        _together(paced)
        began = time.perf_counter()
        _together(flat_out)
        rate = 32 * per_thread / (time.perf_counter() - began)
        ended.set()
        pusher.join()
        scheduler.stop()
        found = sum(1 for _ in read_rows("local/threads", api))
    appended = len(taken) + 32 * per_thread
    return {"p99_ms": sorted(taken)[int(len(taken) * 0.99)] * 1000, "rate": rate, "lost": appended - found}


def _together(run: Any) -> None:
    running = [threading.Thread(target=run) for _ in range(32)]
    for each in running:
        each.start()
    for each in running:
        each.join()


PARTS = {part.__name__: part for part in (import_it, requests_of_a_push, idle, start_up, append, threads)}

if __name__ == "__main__":
    logging.disable(logging.CRITICAL)  # the Hub is out of reach on purpose
    print(json.dumps(PARTS[sys.argv[2]](sys.argv[1], Path(sys.argv[3]), int(sys.argv[4]))))
