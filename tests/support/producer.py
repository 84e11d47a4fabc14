"""A producer of rows that keeps its own record of them, and, as a program, a process to be killed.

A row's id is recorded as *issued* before the call that stores it and as *acknowledged* after that call returned, each
by one `os.write` on an `O_APPEND` descriptor, so that the records survive kill -9 of the producer.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import hubspool_templates
from hubspool import CommitScheduler, HfApi
from hubspool.cli.signals import SignalWaiter
from hubspool.push.defaults import PushLimits

#: By name: an environment without pyarrow has no ParquetScheduler.
KINDS = {"jsonl": "JsonlScheduler", "parquet": "ParquetScheduler"}
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND


def make_row(row_id: str, size: int) -> dict[str, Any]:
    """Return a row of about `size` bytes all of which follows from its id."""
    digest = sha256(row_id.encode()).hexdigest()
    return {"id": row_id, "size": size, "payload": (digest * (size // len(digest) + 1))[:size]}


def is_intact(row: dict[str, Any]) -> bool:
    """Whether a row that was read is what `make_row` made."""
    return set(row) == {"id", "size", "payload"} and row == make_row(row["id"], row["size"])


class Producer:
    """Writes rows through `write` and records them under `records`; thread-safe."""

    def __init__(self, write: Callable[[dict[str, Any]], None], records: Path, size: int = 400) -> None:
        self.name = uuid.uuid4().hex[:8]
        self.size = size
        self._write = write
        self._numbers = itertools.count()
        records.mkdir(parents=True, exist_ok=True)
        self._issued = os.open(records / f"{self.name}.issued", _FLAGS, 0o600)
        self._acknowledged = os.open(records / f"{self.name}.acknowledged", _FLAGS, 0o600)

    def put(self) -> str:
        """Write one row; return its id."""
        row_id = f"{self.name}-{os.getpid()}-{next(self._numbers)}"
        os.write(self._issued, f"{row_id}\n".encode())
        self._write(make_row(row_id, self.size))
        os.write(self._acknowledged, f"{row_id}\n".encode())
        return row_id

    def put_many(self, count: int) -> None:
        """Write `count` rows."""
        for _ in range(count):
            self.put()

    def close(self) -> None:
        """Close the records."""
        os.close(self._issued)
        os.close(self._acknowledged)


def write_to_file(scheduler: CommitScheduler) -> Callable[[dict[str, Any]], None]:
    """Return how a user writes rows to a file of their own: under the lock, one file per process."""
    import json

    path = scheduler.folder_path / f"rows-{os.getpid()}-{uuid.uuid4().hex[:8]}.jsonl"

    def write(row: dict[str, Any]) -> None:
        with scheduler.lock, path.open("a") as file:
            file.write(json.dumps(row) + "\n")

    return write


def build(args: argparse.Namespace) -> tuple[CommitScheduler, Callable[[dict[str, Any]], None]]:
    """Return a scheduler as the command line wants it, and how rows are written through it."""
    CommitScheduler._limits = PushLimits(second_look_seconds=args.second_look, foreign_seconds=args.foreign)
    api = HfApi(endpoint=args.endpoint, token=args.token)
    options: dict[str, Any] = {"every": args.every, "hf_api": api, "exit_budget": args.exit_budget}
    if args.mode == "files":
        files = CommitScheduler(repo_id=args.repo, repo_type="dataset", folder_path=args.folder, **options)
        return files, write_to_file(files)
    rows = getattr(hubspool_templates, KINDS[args.mode])(args.repo, args.folder, **options)
    rows.spool.roll_bytes = args.roll_bytes
    return rows, rows.append


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--token", default="hf_local")
    parser.add_argument("--repo", default="local/rows")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--mode", choices=(*KINDS, "files"), default="jsonl")
    parser.add_argument("--every", type=float, default=600)
    parser.add_argument("--exit-budget", type=float, default=8)
    parser.add_argument("--size", type=int, default=400)
    parser.add_argument("--roll-bytes", type=int, default=1 << 26)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=int, default=10, help="rows of each thread before each `flush` or the end")
    parser.add_argument("--rounds", type=int, default=1, help="how often rows are written and flushed; 0: for ever")
    parser.add_argument("--more", type=int, default=0, help="rows after the last flush")
    parser.add_argument("--pause", type=float, default=0, help="seconds between two rounds")
    parser.add_argument("--flush-timeout", type=float, default=60)
    parser.add_argument("--second-look", type=float, default=3600, help="seconds until the second look")
    parser.add_argument("--foreign", type=float, default=60, help="seconds that foreign content must stay")
    parser.add_argument("--no-flush", action="store_true")
    parser.add_argument("--leave", default="stop", choices=sorted(WAYS))
    return parser.parse_args(arguments)


def wait_for_signals() -> None:
    """Wait and handle signals, also one that came just before; `time.sleep` would handle that one at its end."""
    waiter = SignalWaiter()
    while True:
        waiter.wait()


def _die_by_segfault() -> None:
    import ctypes

    ctypes.string_at(0)


def _raise() -> None:
    raise RuntimeError("the app has a bug")


#: Ways to the end of the process, after the rows were written and "ready" was said.
WAYS: dict[str, Callable[[], object]] = {
    "stop": lambda: None,  # the scheduler is stopped
    "return": lambda: None,  # nothing is called: atexit does it
    "sys-exit": lambda: sys.exit(3),
    "exception": _raise,
    "os-exit": lambda: os._exit(4),
    "exec": lambda: os.execv(sys.executable, [sys.executable, "-c", "raise SystemExit(5)"]),
    "abort": os.abort,
    "segfault": _die_by_segfault,
    "wait": wait_for_signals,
    "read": sys.stdin.read,
}


def main(arguments: list[str] | None = None) -> None:
    """Write the rows, print "ready", and end as the options say."""
    args = parse(arguments)
    scheduler, write = build(args)
    producer = Producer(write, args.records, args.size)
    for number in itertools.count():
        if args.rounds and number >= args.rounds:
            break
        threads = [threading.Thread(target=producer.put_many, args=(args.rows,)) for _ in range(args.threads - 1)]
        for thread in threads:
            thread.start()
        producer.put_many(args.rows)
        for thread in threads:
            thread.join()
        if not args.no_flush:
            try:
                scheduler.flush(args.flush_timeout)
            except Exception as error:  # noqa: BLE001  a fault of the test; the rows are on the disk all the same
                print(f"flush: {type(error).__name__}", flush=True)
        if number == 0:
            print("round", flush=True)
        if args.pause:
            time.sleep(args.pause)
    producer.put_many(args.more)
    print("ready", flush=True)
    WAYS[args.leave]()
    if args.leave == "stop":
        scheduler.stop()
        print("stopped", flush=True)


if __name__ == "__main__":
    main()
