"""A spool in a fork's child, and in a process that is killed: nobody writes into another's segment, no row is torn."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

FORK = """
import fcntl, os, sys
from pathlib import Path
from hubspool.spool.spool import Spool
spool = Spool(sys.argv[1])
spool.write(b"parent\\n")
(parent,) = Path(sys.argv[1]).glob("*.jsonl")
end_read, end_write = os.pipe()
child = os.fork()
if child == 0:
    spool.after_fork_in_child()
    spool.write(b"child\\n")
    os.write(end_write, b".")
    os.read(end_read, 0)
    spool.close()
    os._exit(0)
os.read(end_read, 1)
spool.write(b"parent again\\n")
os.waitpid(child, 0)
with parent.open("rb") as file:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        print("unlocked")
    except BlockingIOError:
        print("locked")
for path in sorted(Path(sys.argv[1]).glob("*.jsonl"), key=lambda path: path.read_bytes()):
    print(path.read_bytes(), path.name.split("-")[2] == spool.writer)
"""


def test_a_forked_child_writes_to_a_segment_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == ["locked", r"b'child\n' False", r"b'parent\nparent again\n' True"], done.stderr


# One segment, however fast the disk is, and at most 240 MB of it; a writer that has written all waits for its end.
WRITER = """
import sys, threading
from hubspool.spool.spool import Spool
spool = Spool(sys.argv[1], roll_bytes=1 << 30)
row = b"x" * 20_000 + b"\\n"
def work(number):
    for _ in range(3_000):
        spool.write(b"%d " % number + row)
        if number == 0:
            sys.stdout.write("."); sys.stdout.flush()
    threading.Event().wait()
for number in range(4):
    threading.Thread(target=work, args=(number,)).start()
"""


def test_a_reader_that_cuts_at_the_last_newline_sees_whole_rows_whenever_the_writer_is_killed(tmp_path: Path) -> None:
    for rows in (1, 5, 20):
        folder = tmp_path / str(rows)
        writer = subprocess.Popen([sys.executable, "-c", WRITER, folder], stdout=subprocess.PIPE)
        try:
            assert writer.stdout is not None
            writer.stdout.read(rows)
        finally:
            writer.send_signal(signal.SIGKILL)
            writer.communicate(timeout=30)
        (path,) = folder.glob("*.jsonl")
        data = path.read_bytes()
        lines = data[: data.rfind(b"\n") + 1].splitlines()
        assert sum(line.startswith(b"0 ") for line in lines) >= rows
        assert {len(line) for line in lines} == {20_002}
