"""A model of power loss: what a disk may hold after it, for every moment of a spool's life.

    python -m tests.durability.power_loss --states 20000

A write reaches the disk at the latest when a sync of its file returns, and a new name when a sync of its folder does.
Before that any of it may be there or not: a file may end anywhere behind what was synced, a page that was written may
read as zeros, a name may be missing. The spool runs for real on a temporary folder while its calls are noted; then each
prefix of them becomes many possible disks. On each, rows that had to survive must be readable as whole lines, and no
row may be there twice or altered. Some of the disks are pushed and judged at a local Hub.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import orjson

from hubspool.local_hub import LocalHub
from hubspool.spool import segment_file
from hubspool.spool.segment_name import SegmentName
from hubspool.spool.spool import Durability, Spool
from tests.support.oracle import REPO, judge
from tests.support.producer import is_intact, make_row
from tests.support.spools import default_spool

PAGE = 4096


@dataclass
class Disk:
    """Files by inode: what is written, and how much of it is synced; names, and those that are."""

    written: dict[int, bytes] = field(default_factory=dict)
    synced: dict[int, bytes] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    synced_names: dict[str, int] = field(default_factory=dict)
    must: frozenset[str] = frozenset()

    def copy(self) -> Disk:
        return Disk(dict(self.written), dict(self.synced), dict(self.names), dict(self.synced_names), self.must)

    def after_loss(self, chance: random.Random) -> dict[str, bytes]:
        """Return one of the disks that may be found."""
        found = {}
        for name, inode in self.names.items():
            if name in self.synced_names or chance.random() < 0.5:
                safe, all_of_it = self.synced.get(inode, b""), self.written.get(inode, b"")
                if not all_of_it.startswith(safe):  # cut back since: either may be there
                    found[name] = chance.choice([safe, all_of_it])
                    continue
                content = bytearray(all_of_it[: chance.randint(len(safe), len(all_of_it))])
                for page in range(len(safe) // PAGE, len(content) // PAGE + 1):
                    if chance.random() < 0.2:
                        begin, end = max(page * PAGE, len(safe)), min((page + 1) * PAGE, len(content))
                        content[begin:end] = bytes(max(end - begin, 0))
                found[name] = bytes(content)
        return found


class Recorder:
    """Notes the calls of a spool and the disk after each."""

    def __init__(self) -> None:
        self.now = Disk()
        self.history: list[Disk] = []

    def note(self) -> None:
        self.history.append(self.now.copy())

    @contextmanager
    def watching(self) -> Iterator[None]:
        write, truncate, sync = os.write, os.ftruncate, segment_file.sync
        publish, sync_folder = vars(segment_file)["publish"], vars(segment_file)["sync_folder"]

        def content(fd: int) -> bytes:
            return Path(f"/proc/self/fd/{fd}").read_bytes()

        def after(call: Callable[..., Any]) -> Callable[..., Any]:
            def run(fd: int, *args: Any) -> Any:
                result = call(fd, *args)
                self.now.written[os.fstat(fd).st_ino] = content(fd)
                self.note()
                return result

            return run

        def synced(fd: int) -> None:
            before = content(fd)
            sync(fd)
            self.now.synced[os.fstat(fd).st_ino] = before
            self.note()

        def published(hidden: Path, final: Path) -> None:
            publish(hidden, final)
            self.now.names[final.name] = final.stat().st_ino
            self.note()

        def folder_synced(folder: Path) -> None:
            sync_folder(folder)
            self.now.synced_names = dict(self.now.names)
            self.note()

        with (
            mock.patch.object(os, "write", after(write)),
            mock.patch.object(os, "ftruncate", after(truncate)),
            mock.patch.object(segment_file, "sync", synced),
            mock.patch.object(segment_file, "publish", published),
            mock.patch.object(segment_file, "sync_folder", folder_synced),
        ):
            yield


def live(durability: Durability, seed: int) -> Recorder:
    """Let a spool write rows of many sizes, roll, and close, and return every disk on the way."""
    chance, recorder = random.Random(seed), Recorder()
    with tempfile.TemporaryDirectory() as name, recorder.watching():
        spool = Spool(Path(name), durability=durability, roll_bytes=chance.choice([3_000, 30_000, 1 << 20]))
        count = 0
        for _ in range(chance.randint(4, 10)):
            ids = [f"m{seed}-{count + i}" for i in range(chance.choice([1, 1, 1, 3]))]
            count += len(ids)
            rows = [orjson.dumps(make_row(row_id, chance.choice([50, 400, 5_000]))) + b"\n" for row_id in ids]
            if len(rows) == 1:
                spool.write(rows[0])
            else:
                spool.write_many(rows)
            if durability == "disk":
                recorder.now.must |= set(ids)
            recorder.note()
        spool.close()
        if durability == "process":  # all that a sync has confirmed must be there from now on
            recorder.now.must |= {f"m{seed}-{i}" for i in range(count)}
            recorder.note()
    return recorder


def readable(files: dict[str, bytes]) -> list[str]:
    """Return the rows in the whole lines of the segments, as a push would send them."""
    found = []
    for name, content in files.items():
        assert SegmentName.parse(name), name
        for line in content[: content.rfind(b"\n") + 1].splitlines():
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if isinstance(row, dict):
                assert is_intact(row), f"{name}: an altered row would be sent: {line[:80]!r}"
                found.append(str(row["id"]))
    return found


def check(disk: Disk, files: dict[str, bytes]) -> None:
    """Raise AssertionError where the promise is broken on this disk."""
    rows = readable(files)
    assert len(rows) == len(set(rows)), "a row is there twice"
    missing = disk.must - set(rows)
    assert not missing, f"rows that had to survive are gone: {sorted(missing)[:5]}"


def push_and_judge(disk: Disk, files: dict[str, bytes]) -> None:
    """Start a scheduler on such a disk and judge what reaches a Hub."""
    with tempfile.TemporaryDirectory() as name, LocalHub() as hub:
        folder, records = Path(name) / "folder", Path(name) / "records"
        spool = default_spool(folder, hub.endpoint, REPO)
        spool.mkdir(parents=True)
        records.mkdir()
        for path, content in files.items():
            (spool / path).write_bytes(content)
        (records / "model.issued").write_text("".join(f"{row}\n" for row in readable(files)))
        (records / "model.acknowledged").write_text("".join(f"{row}\n" for row in disk.must))
        verdict = judge(hub, folder, records)
        broken = {kind: found for kind, found in verdict.faults.items() if kind != "left"}  # damage is told
        assert not broken, broken


def run(states: int, pushes: int, seed: int) -> int:
    """Check so many disks; return how many were."""
    chance, checked, number = random.Random(seed), 0, seed
    while checked < states:
        recorder = live("disk" if number % 2 else "process", number)
        number += 1
        for disk in recorder.history:
            for _ in range(4):
                check(disk, disk.after_loss(chance))
                checked += 1
        if pushes:
            pushes -= 1
            disk = chance.choice(recorder.history[len(recorder.history) // 2 :])
            push_and_judge(disk, disk.after_loss(chance))
    return checked


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description="a model of power loss under the spool")
    parser.add_argument("--states", type=int, default=20_000)
    parser.add_argument("--pushes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    checked = run(args.states, args.pushes, args.seed)
    print(f"{checked:,} disks after a loss of power, {args.pushes} of them pushed: every synced row is there once")
    return 0


if __name__ == "__main__":
    sys.exit(main())
