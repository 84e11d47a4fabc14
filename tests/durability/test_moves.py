"""Rows that move from one spool to another are in exactly one of them, wherever the move is killed."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from hubspool.client.target import Target
from hubspool.push import rules
from hubspool.push.backlog import spool_backlog
from hubspool.push.ledger import Ledger
from hubspool.push.moves import finish_moves, reroute
from hubspool.push.part import Part
from hubspool.spool.destination import Destination, SpoolFolder, spool_for
from hubspool.spool.segment_name import SegmentName, new_writer_id
from tests.support.paths import ROOT
from tests.support.processes import strace

TARGET = Target.of("https://huggingface.co", "u/old", "dataset")
OLD = Destination.of(TARGET.endpoint, "u/old", "dataset", None, "data", "train", "jsonl")
CALLS = ("rename", "write", "pwrite64", "fsync", "fdatasync", "unlink")
MOVE = """
import sys
from pathlib import Path
import filelock, sqlite3
from hubspool.push.moves import reroute
from tests.durability.test_moves import spools
reroute(*spools(Path(sys.argv[1])), include_doubtful=sys.argv[2] == "True")
"""


def spools(folder: Path) -> tuple[SpoolFolder, SpoolFolder]:
    """The old spool and the new one."""
    return spool_for(folder, OLD, "u/old"), spool_for(folder, replace(OLD, repo_id="u/new"), "u/new")


def row(name: str) -> bytes:
    return b'{"id": "%s"}\n' % name.encode()


def a_folder(folder: Path) -> None:
    """A spool with a segment that was never sent, and one of which some rows are on the Hub, and some in doubt."""
    old, _ = spools(folder)
    old.save()
    whole, partly = (str(SegmentName("train", "20260102", new_writer_id(), 0)) for _ in range(2))
    (old.path / whole).write_bytes(row("a") + row("b"))
    (old.path / partly).write_bytes(row("sent") + row("doubt") + row("c") + row("d") + b'{"id": "torn')
    ends = (len(row("sent")), len(row("sent") + row("doubt")))
    sent = Part(partly, 0, "data/0", 0, ends[0], 1.0, rows=1, sha256="0" * 64, content_id="1", commits=1)
    with closing(Ledger(old.state)) as ledger:
        doubtful = Part(partly, 1, "data/1", ends[0], ends[0], 1.0)
        parts = [sent, doubtful.sending(ends[1], "0" * 64, "2", "push", 1.0)]
        ledger.save(ledger.target(TARGET, "data"), parts)


def rows_to_send(folder: Path) -> Counter[bytes]:
    """The rows that the old and the new spool would send now, and those in doubt."""
    found: Counter[bytes] = Counter()
    for spool in spools(folder):
        if not spool.path.exists():
            continue
        with closing(Ledger(spool.state)) as ledger:
            finish_moves(ledger, spool.path)
            known = {name: parts for key in ledger.targets() for name, parts in ledger.parts(key).items()}
        for path in spool.path.glob("*.jsonl"):
            parts, content = known.get(path.name, []), path.read_bytes()
            ranges = [(part.end, part.sent_end) for part in parts if part.in_doubt]
            for start, end in [*ranges, (rules.position_of(parts), len(content))]:
                found.update(content[start:end].splitlines(keepends=True))
    return Counter({line: count for line, count in found.items() if line.endswith(b"\n")})


@pytest.mark.slow
@pytest.mark.parametrize("include_doubtful", [False, True])
@pytest.mark.parametrize("call", CALLS)
def test_a_move_that_is_killed_at_any_call_neither_loses_nor_doubles(
    call: str, include_doubtful: bool, tmp_path: Path
) -> None:
    """The call is made on every file of the folder, and on none before the first row could move."""
    all_rows = Counter({row(name): 1 for name in ("doubt", "a", "b", "c", "d")})
    stays = int(not include_doubtful)
    for number in itertools.count(1):
        folder = tmp_path / str(number)
        a_folder(folder)
        inject = ("-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={number}")
        command = [*strace(*inject, output=tmp_path / "trace"), sys.executable, "-B", "-c", MOVE, folder]
        done = subprocess.run(
            [*map(str, command), str(include_doubtful)], cwd=ROOT, capture_output=True, timeout=60, check=False
        )
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        assert rows_to_send(folder) == all_rows, number
        moved = reroute(*spools(folder), include_doubtful=include_doubtful)
        assert rows_to_send(folder) == all_rows, number
        old, new = spools(folder)
        with closing(Ledger(old.state)) as ledger:
            left = spool_backlog(old, ledger, counts_rows=True)
        assert (left.pending_rows, left.in_doubt, len(moved.in_doubt)) == (0, stays, stays)
        assert (old.moved_to, new.path.exists()) == ("u/new", True)
        if done.returncode == 0:
            break
    assert number > 1, "no call was killed"
