"""The options of a transfer, and its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hubspool.client.defaults import DEFAULTS


@dataclass(frozen=True)
class TransferReport:
    """The result of a transfer.

    Attributes:
        files: number of files that were checked.
        total_bytes: their size in bytes.
        sent_bytes: bytes that were sent: with Xet only compressed chunks that the Hub did not have.
    """

    files: int = 0
    total_bytes: int = 0
    sent_bytes: int = 0

    def __add__(self, other: TransferReport) -> TransferReport:
        return TransferReport(
            self.files + other.files, self.total_bytes + other.total_bytes, self.sent_bytes + other.sent_bytes
        )


@dataclass(frozen=True)
class TransferOptions:
    """How to transfer.

    Attributes:
        num_threads: files, or parts of a file, that LFS sends at the same time.
        stall_timeout: seconds in which a Xet transfer must move 32 kB; otherwise it is aborted.
        small_appends: the files grow by small appends: Xet then looks for duplicates even where that fragments the
            files (300 pushes of a growing file: 1.1 bytes sent per byte instead of 5.1).
        on_progress: called with the number of bytes that are done, a few times a second, from a thread of the
            transfer. It must return quickly and not raise.
    """

    num_threads: int = DEFAULTS.lfs_threads
    stall_timeout: float = DEFAULTS.xet_stall_seconds
    small_appends: bool = False
    on_progress: Callable[[int], None] | None = None
