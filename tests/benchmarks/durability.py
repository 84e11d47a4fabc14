"""Numbers about appending, the writers' lock and SIGTERM: ``python -m tests.benchmarks.durability [PART …]``.

Prints, and asserts nothing: what a run shows depends on the machine and on who else uses it. The Hub is a process of
its own, so that it takes no time of the interpreter that is measured.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests

from hubspool import CommitScheduler, HfApi
from hubspool.client.target import Target
from hubspool.errors import HubspoolError
from hubspool.files import Stat
from hubspool.push.ledger import Ledger
from hubspool.spool.spool import Spool
from hubspool_templates import JsonlScheduler, read_rows

TOKEN = "hf_local"  # of the local Hub's default user
ROW_BYTES = 433
SECONDS = 60


@contextmanager
def a_hub(directory: Path) -> Iterator[tuple[subprocess.Popen[str], HfApi]]:
    """Serve a Hub from a process of its own."""
    command = [sys.executable, "-m", "hubspool.cli", "hub", "--root", str(directory / "hub"), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process, HfApi(endpoint=process.stdout.readline().strip(), token=TOKEN)
    finally:
        process.terminate()
        process.wait(SECONDS)


def a_row(number: int) -> dict[str, Any]:
    """Return a vote of `ROW_BYTES` bytes as a line of JSON, with values of several kinds."""
    row = {"id": f"{number:08d}", "time": 1.5 + number, "input": "x", "output_1": "y" * 120, "output_2": "z" * 120}
    row |= {"user_choice": 1 + number % 2, "agreed": False, "note": None}
    row["input"] = "x" * (ROW_BYTES - len(_encoded(row)) + 1)
    return row


def _encoded(row: dict[str, Any]) -> bytes:
    from hubspool_templates.values import RowEncoder

    return RowEncoder().encode(row)


def paced(append: Callable[[dict[str, Any]], None], seconds: float, rows_per_second: int) -> list[int]:
    """Append at a steady pace; returns the nanoseconds that each call took."""
    taken = []
    due = time.perf_counter()
    for number in range(int(seconds * rows_per_second)):
        row = a_row(number)
        due += 1 / rows_per_second
        while (left := due - time.perf_counter()) > 0:
            time.sleep(left)
        began = time.perf_counter_ns()
        append(row)
        taken.append(time.perf_counter_ns() - began)
    return taken


def latency(directory: Path, options: argparse.Namespace) -> None:
    """Append at 1,000 rows/s while nothing, pushes or an outage happen; hf_xet alone shows what limits it."""
    measured: list[tuple[str, list[int]]] = []

    def measure(name: str) -> None:
        measured.append((name, paced(scheduler.append, options.seconds, 1000)))

    with a_hub(directory) as (hub, api):
        scheduler = JsonlScheduler("local/latency", directory / "rows", every=600, hf_api=api)
        scheduler.flush(SECONDS)
        paced(scheduler.append, 1, 1000)  # warm
        measure("idle")
        with _over_and_over(_push, scheduler, pause=1) as pushes:
            measure("a push a second")
        with _over_and_over(_push, scheduler) as many:
            measure("push after push")
        with _over_and_over(_send_bytes, _bare_upload(api)) as uploads:
            measure("hf_xet alone")
        measure("idle again")
        hub.kill()
        with _over_and_over(_push, scheduler):
            measure("an outage")
            failures = scheduler.status().consecutive_failures
        measure("idle again")
        scheduler.stop(flush=False)
    print(
        f"append, µs per call at 1,000 rows/s for {options.seconds:g} s each ({len(pushes)} and {len(many)} pushes,"
        f" {len(uploads)} uploads, {failures} failures in the outage)"
    )
    idle = [_quantile(taken, 0.99) for name, taken in measured if name.startswith("idle")]
    for name, taken in measured:
        p50, p99, p999 = (_quantile(taken, q) / 1000 for q in (0.5, 0.99, 0.999))
        print(f"  {name:16} p50 {p50:7.1f}   p99 {p99:7.1f} ({p99 * 1000 / statistics.median(idle):.1f}x of idle)"
              f"   p99.9 {p999:8.1f}   max {max(taken) / 1000:8.1f}")  # fmt: skip


def _push(scheduler: JsonlScheduler) -> None:
    with suppress(HubspoolError, TimeoutError):
        scheduler.trigger().result(1)


def _bare_upload(api: HfApi) -> Callable[[bytes], None]:
    """Return a call that sends bytes to the Hub's CAS with hf_xet and nothing of ours."""
    import hf_xet

    api.create_repo("local/bare", repo_type="dataset")
    url = f"{api.endpoint}/api/datasets/local/bare/xet-write-token/main"
    token = requests.get(url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=SECONDS).json()
    session = hf_xet.XetSession()

    def send(content: bytes) -> None:
        upload = session.new_upload_commit(
            endpoint=token["casUrl"], token=token["accessToken"], token_expiry_unix_secs=int(token["exp"])
        )
        upload.start_upload_bytes(content)
        upload.wait_to_finish()

    return send


def _send_bytes(send: Callable[[bytes], None]) -> None:
    send(os.urandom(40 * ROW_BYTES))


@contextmanager
def _over_and_over(call: Callable[[Any], None], argument: Any, pause: float = 0) -> Iterator[list[float]]:
    """Call from another thread, again and again, with `pause` seconds between."""
    calls: list[float] = []
    ended = threading.Event()

    def go_on() -> None:
        while not ended.wait(pause):
            call(argument)
            calls.append(time.monotonic())

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield calls
    finally:
        ended.set()
        thread.join()


def flat_out(directory: Path, options: argparse.Namespace) -> None:
    """Append on one thread as fast as it goes; best of five, beside what the operating system takes alone."""
    rows = [a_row(number) for number in range(options.rows)]
    encoded = [_encoded(row) for row in rows]

    def append() -> None:
        for row in rows:
            scheduler.append(row)

    def encode() -> None:
        for row in rows:
            encoder.encode(row)

    def write() -> None:
        for line in encoded:
            spool.write(line)

    def system() -> None:
        for line in encoded:
            os.write(fd, line)

    dead = HfApi(endpoint="http://127.0.0.1:9", token=TOKEN)
    scheduler = JsonlScheduler("local/flat", directory / "flat", every=600, hf_api=dead)
    encoder = scheduler._encoder
    spool = Spool(directory / "spool")
    fd = os.open(directory / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    calls = [("JsonlScheduler.append", append), ("  of it RowEncoder.encode", encode), ("Spool.write", write)]
    for name, call in [*calls, ("  of it os.write", system)]:
        best = min(_seconds(call) for _ in range(5))
        print(f"{name:26} {len(rows) / best:9,.0f} rows/s   {best / len(rows) * 1e6:.2f} µs ({len(encoded[0])} bytes)")
    os.close(fd)
    scheduler.stop(flush=False)
    spool.close()


def _seconds(call: Callable[[], None]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


class TimedLock:
    """Passes a lock on, and notes for how long the pushing thread held it."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self.held: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lock, name)

    def acquire(self, *args: Any, **options: Any) -> bool:
        taken: bool = self._lock.acquire(*args, **options)
        self._began = time.perf_counter()
        return taken

    def release(self) -> None:
        if threading.current_thread().name.startswith("hubspool-push"):
            self.held.append(time.perf_counter() - self._began)
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


class Timed(CommitScheduler):
    """A scheduler whose lock is timed."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.lock: Any = TimedLock(self.lock)


def lock(directory: Path, options: argparse.Namespace) -> None:
    """Hold the lock over 20 pushes of a folder of many files, up to 1,000 of which changed and one is new."""
    for per_folder in (1000, options.files):
        _lock(directory / f"{per_folder}", options.files, per_folder)


def _lock(directory: Path, count: int, per_folder: int) -> None:
    folder = directory / "files"
    files = [folder / f"{number // per_folder:04d}" / f"{number}.txt" for number in range(count)]
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{path.name}\n")
    with a_hub(directory) as (_, api):
        # The state after the first pushes, without waiting for them: all is on the Hub.
        api.create_repo("local/lock", repo_type="dataset")
        ledger = Ledger(folder / ".cache" / "huggingface" / "hubspool")
        key = ledger.target(Target.of(api.endpoint, "local/lock", "dataset", None), "")
        ledger.settle(key, [(str(path.relative_to(folder)), Stat.of(path.stat())) for path in files])
        ledger.close()
        began = time.perf_counter()
        scheduler = Timed(repo_id="local/lock", repo_type="dataset", folder_path=folder, every=600, hf_api=api)
        scheduler.flush(600)
        first = time.perf_counter() - began
        scheduler.lock.held.clear()
        pushes = []
        for push in range(20):
            changed = random.sample(files, min(50 * (push + 1), count))
            with scheduler.lock:
                (changed[0].parent / f"new-{push}.txt").write_text(f"{push}\n")
                for path in changed:
                    with path.open("a") as file:
                        file.write(f"{push}\n")
            began = time.perf_counter()
            scheduler.flush(600)
            pushes.append(time.perf_counter() - began)
        scheduler.stop()
        held = [seconds * 1000 for seconds in scheduler.lock.held]
    print(
        f"lock held over {len(held)} looks at {count:,} files, {per_folder:,} in a folder: median"
        f" {statistics.median(held):.1f} ms, max {max(held):.1f} ms (first look {first:.1f} s, pushes"
        f" {min(pushes):.1f} to {max(pushes):.1f} s)"
    )


TERMINATED = """
import sys, threading
from hubspool import HfApi
from hubspool_templates import JsonlScheduler
scheduler = JsonlScheduler("local/term", sys.argv[2], every=600, hf_api=HfApi(endpoint=sys.argv[1], token=sys.argv[3]))
scheduler.flush(30)
for number in range(1000):
    scheduler.append({"id": number, "text": "x" * 400})
print("ready", flush=True)
threading.Event().wait()
"""


def sigterm(directory: Path, options: argparse.Namespace) -> None:
    """End a process with 1,000 rows pending on an idle Hub."""
    with a_hub(directory) as (_, api):
        for attempt in range(options.attempts):
            folder = directory / f"term-{attempt}"
            command = [sys.executable, "-c", TERMINATED, api.endpoint, str(folder), TOKEN]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert process.stdout is not None
            process.stdout.readline()
            began = time.perf_counter()
            process.send_signal(signal.SIGTERM)
            code = process.wait(SECONDS)
            seconds = time.perf_counter() - began
            process.stdout.close()
            found = sum(1 for _ in read_rows("local/term", api))
            print(f"SIGTERM with 1,000 rows pending: exit code {code} after {seconds:.2f} s,"
                  f" {found - 1000 * attempt} rows on the Hub")  # fmt: skip


def _quantile(values: list[int], share: float) -> float:
    return float(sorted(values)[min(int(len(values) * share), len(values) - 1)])


PARTS = {part.__name__: part for part in (flat_out, latency, lock, sigterm)}


def main() -> None:
    """Run the parts that were asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all by default")
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement of the latency (default: 10)")
    parser.add_argument("--rows", type=int, default=200_000, help="appended flat out (default: 200,000)")
    parser.add_argument("--files", type=int, default=100_000, help="in the folder (default: 100,000)")
    parser.add_argument("--attempts", type=int, default=3, help="at SIGTERM (default: 3)")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # outages are told at length
    for name in options.parts or PARTS:
        with tempfile.TemporaryDirectory(prefix="hubspool-bench-", ignore_cleanup_errors=True) as directory:
            PARTS[name](Path(directory), options)


if __name__ == "__main__":
    main()
