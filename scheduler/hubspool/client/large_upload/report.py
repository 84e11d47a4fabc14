"""The progress report of a large upload."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from hubspool.client.large_upload.queue import Job, LargeFile, Stage

_AFTER_HASH = frozenset({Stage.LARGE, Stage.READY, Stage.COMMITTED, Stage.IGNORED, Stage.HASHED})


def report(files: Sequence[LargeFile], running: Counter[Job], workers: int, started: datetime, now: datetime) -> str:
    """Return the report that is printed every minute: files and bytes by stage, and what each worker does.

    Args:
        files: all files. Workers may change them meanwhile, so the numbers may be of slightly different moments.
        running: number of tasks that workers have, by job.
        workers: number of workers.
        started, now: local times.
    """
    large = [file for file in files if file.is_large]
    counts = {
        "hashed": _share((file for file in files if file.stage in _AFTER_HASH), files),
        "pre-uploaded:": _share((file for file in large if file.is_sent), large),
        "committed:": _share((file for file in files if file.stage is Stage.COMMITTED), files),
    }
    ignored = sum(file.stage is Stage.IGNORED for file in files)
    doing = " | ".join(f"{job.value}: {running[job]}" for job in Job)
    elapsed = str(now - started).partition(".")[0]
    head = f"---------- {now:%Y-%m-%d %H:%M:%S} ({elapsed}) ----------"
    return "\n".join(
        [
            head,
            f"Files:   {' | '.join(f'{name} {share}' for name, share in counts.items())} | ignored: {ignored}",
            f"Workers: {doing} | waiting: {max(workers - running.total(), 0)}",
            "-" * len(head),
        ]
    )


def _share(done: Iterable[LargeFile], of: Sequence[LargeFile]) -> str:
    sizes = [file.stat.size for file in done]
    total = sum(file.stat.size for file in of)
    return f"{len(sizes)}/{len(of)} ({format_size(sum(sizes))}/{format_size(total)})"


def format_size(size: float) -> str:
    """Return bytes with one decimal and K, M, G … of a thousand, as tqdm writes them."""
    for unit in ("", "K", "M", "G", "T"):
        if size < 1000:
            return f"{size:.1f}{unit}"
        size /= 1000
    return f"{size:.1f}P"
