"""A range of a file that may still grow, described without holding it open."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from hubspool.errors import FileReplacedError, FileShrankError
from hubspool.files import open_regular


@dataclass(frozen=True, slots=True)
class FileRange:
    """The bytes [start, end) of a file, preceded by the file's first `head` bytes.

    Not guaranteed: that the bytes in the range stay the same; use it for files that only grow. The file is open only
    while a reader of `open` is, so thousands of ranges hold no descriptors.

    Attributes:
        path: the file.
        start: offset of the first byte.
        end: offset after the last byte.
        identity: ``(st_dev, st_ino)`` that the file must have when it is opened; None checks nothing.
        head: number of the file's first bytes (a table's header) that come before the range.
    """

    path: Path
    start: int
    end: int
    identity: tuple[int, int] | None = None
    head: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.path, Path):
            object.__setattr__(self, "path", Path(self.path))
        if not 0 <= self.start <= self.end or not 0 <= self.head <= self.start:
            raise ValueError(f"Not a range of {self.path}: [{self.start}, {self.end}) after {self.head} bytes.")

    @property
    def size(self) -> int:
        """Size of the range and its head, bytes."""
        return self.head + self.end - self.start

    def open(self) -> IO[bytes]:
        """Open the range for reading; position 0 is its first byte.

        Raises:
            FileReplacedError: the path holds another file.
            FileShrankError: the file ends before the range does.
            OSError: the file cannot be opened, or is no regular file any more.
        """
        raw = cast(io.FileIO, open_regular(self.path, buffering=0))
        try:
            self._check(os.fstat(raw.fileno()))
            return io.BufferedReader(_RangeReader(raw, self))
        except BaseException:
            raw.close()
            raise

    def _check(self, stat: os.stat_result) -> None:
        if self.identity is not None and (stat.st_dev, stat.st_ino) != self.identity:
            raise FileReplacedError(f"{self.path} was replaced by another file.", path=self.path)
        if stat.st_size < self.end:
            raise self._shrank(stat.st_size)

    def _shrank(self, size: int) -> FileShrankError:
        return FileShrankError(
            f"{self.path} has {size} bytes, but {self.end} when the upload was prepared.", path=self.path
        )


class _RangeReader(io.RawIOBase):
    """Reads one range; a file that ends early raises, so a short content never looks complete."""

    def __init__(self, raw: io.FileIO, source: FileRange) -> None:
        self._raw = raw
        self._source = source
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._source.size}[whence]
        if base + offset < 0:
            raise ValueError(f"negative seek position {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), max(0, self._source.size - self._position))
        if wanted == 0:
            return 0
        head = self._source.head
        if self._position < head:
            wanted = min(wanted, head - self._position)
            self._raw.seek(self._position)
        else:
            self._raw.seek(self._source.start + self._position - head)
        count = self._raw.readinto(memoryview(buffer)[:wanted])  # a slice of a bytearray is a copy
        if not count:
            raise self._source._shrank(self._raw.seek(0, os.SEEK_END))
        self._position += count
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
