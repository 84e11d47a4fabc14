"""Reads the first rows of a Parquet file in a process of its own, whose memory and time are limited.

A page of 46 kB can unpack to gigabytes, whatever the sizes in the file say. The process runs this file alone, so that
it starts in a fraction of a second.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

_PROCESSES = threading.Semaphore(2)


def first_rows(content: bytes, *, rows: int, columns: int, memory: int, seconds: float) -> tuple[list[Any], int]:
    """Return the first rows as dictionaries, and how many rows the file has.

    Args:
        content: the file.
        rows: at most so many.
        columns: at most so many.
        memory: bytes of address space of the process; on Windows there is no limit.
        seconds: how long the process may take.

    Raises:
        ValueError: The file is broken, or takes too much memory or time.
        ImportError: pyarrow is not installed.
    """
    import pyarrow

    command = [sys.executable, "-I", __file__, str(rows), str(columns), str(memory)]
    if not _PROCESSES.acquire(timeout=seconds):
        raise ValueError("other files are being read")
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=seconds, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise ValueError("the file takes too long to read") from None
    finally:
        _PROCESSES.release()
    if done.returncode != 0:
        raise ValueError("the file is broken, or takes too much memory")
    with pyarrow.ipc.open_stream(done.stdout) as stream:
        found = stream.read_all()
    return found.to_pylist(), int(found.schema.metadata[b"rows"])


def _main(rows: int, columns: int, memory: int) -> None:
    try:
        import resource
    except ImportError:  # Windows
        pass
    else:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import pyarrow
    import pyarrow.parquet

    pyarrow.set_memory_pool(pyarrow.system_memory_pool())
    with pyarrow.parquet.ParquetFile(pyarrow.BufferReader(sys.stdin.buffer.read())) as parquet:
        names = parquet.schema_arrow.names[:columns]
        schema = pyarrow.schema([parquet.schema_arrow.field(name) for name in names])
        batches = parquet.iter_batches(batch_size=rows, columns=names, use_threads=False)
        first = next(batches, None)
        total = parquet.metadata.num_rows
    table = pyarrow.Table.from_batches([first] if first is not None else [], None if first is not None else schema)
    table = table.replace_schema_metadata({"rows": str(total)})
    if table.nbytes > memory // 16:
        raise SystemExit("the rows are too large")
    with pyarrow.ipc.new_stream(sys.stdout.buffer, table.schema) as stream:
        stream.write_table(table)


if __name__ == "__main__":
    _main(*map(int, sys.argv[1:]))
