"""What a transfer is asked to do, and what it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class TransferReport:
    """Sizes of a transfer, in bytes.

    Attributes:
        files: Files that were looked at.
        total_bytes: What they hold.
        sent_bytes: What travelled: with Xet, only chunks that the Hub did not have, compressed.
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
        num_threads: Files, or parts of a file, that LFS sends at the same time.
        stall_timeout: Seconds without any progress after which a Xet transfer is given up.
        small_appends: The files are known to grow by small appends: Xet looks for duplicates also where that
            fragments them (300 pushes of a growing file: 1.1 bytes sent per byte instead of 5.1).
        on_progress: Called with the bytes that are done so far, a few times a second, from a thread of the
            transfer. It must return quickly and not raise.
    """

    num_threads: int = 5
    stall_timeout: float = 120.0
    small_appends: bool = False
    on_progress: Callable[[int], None] | None = None
