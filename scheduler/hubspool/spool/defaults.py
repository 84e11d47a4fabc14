"""The spool's numbers: sizes, intervals and limits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SpoolDefaults:
    """Sizes in bytes, durations in seconds.

    Args:
        roll_bytes: size at which a segment ends and the next one begins: two parts, so that the disk space of sent rows
            is freed soon.
        max_bytes: size of all segments of a folder at which `append` raises `SpoolFull`.
        sync_seconds: interval of the background fdatasync; a power loss takes at most the rows of one interval.
        close_seconds: how long `close` waits for a disk that does not answer.
        join_rows: rows that `write_many` joins at a time. Joining all at once took twice as long: the second 50 MB of
            new memory cost as much as encoding 100,000 rows.
        foreign_rest_seconds: how long a segment of another host must not change before this host sends it.
        held_segments: number of segments that a process keeps open, to write them again if they are removed.
        restores: how often one push restores removed files and begins again.
    """

    roll_bytes: int = 64 * 1024 * 1024
    max_bytes: int = 10 * 1024**3
    sync_seconds: float = 1.0
    close_seconds: float = 5.0
    join_rows: int = 256
    foreign_rest_seconds: int = 15 * 60
    held_segments: int = 64
    restores: int = 3


DEFAULTS = SpoolDefaults()
