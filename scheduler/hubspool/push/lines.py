"""Line data: which files consist of rows, and where a growing file can be cut.

A file is cut at its last newline, because a writer in another thread or process may be in the middle of a line, and
half a row makes the whole dataset fail to load. A file of binary records is cut after its last whole record.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import orjson

from hubspool.files import BLOCK_BYTES, blocks, open_regular
from hubspool.push.defaults import DEFAULTS
from hubspool.push.tfrecord import last_record_end


class Kind(str, Enum):
    """The kind of content of a file; decides where the file can be cut."""

    JSON_LINES = "json-lines"
    """One JSON value per line."""
    TABLE = "table"
    """CSV: not cut at a newline inside quotes."""
    PLAIN_TABLE = "plain-table"
    """TSV, or a CSV whose quotes do not balance: cut at newlines, below a header."""
    TEXT = "text"
    """Other lines."""
    RECORDS = "records"
    """TensorBoard's event files: binary records (see `tfrecord`)."""
    WHOLE = "whole"
    """Anything else: committed whole, as a new version."""
    UNDECIDED = "undecided"
    """A ``.json`` file without a complete line: not cut until it has one, or until it no longer changes."""
    ONE_LINE = "one-line"
    """A ``.json`` file whose only complete line is an object: its first row, or a document. A change of it is a new
    version, but other content on the Hub is kept beside it."""

    @property
    def is_lines(self) -> bool:
        """Return True if the file only grows, so that its committed content stays its beginning."""
        return self in (Kind.JSON_LINES, Kind.TABLE, Kind.PLAIN_TABLE, Kind.TEXT, Kind.RECORDS)

    @property
    def may_be_lines(self) -> bool:
        """Return True if the file has rows, as far as its content tells."""
        return self.is_lines or self is Kind.ONE_LINE

    @property
    def has_rows(self) -> bool:
        """Return True if newlines end rows in the file: in images and event files they are bytes like any other."""
        return self.may_be_lines and self is not Kind.RECORDS


def kind_by_name(path: str) -> Kind:
    """Return the kind of a file by its name; UNDECIDED for ``.json``, whose content decides (`kind_of_json`)."""
    if "tfevents" in PurePosixPath(path).name:
        return Kind.RECORDS
    suffix = PurePosixPath(path).suffix.lower()
    if _is_log(path):
        return Kind.TEXT
    if suffix in (".jsonl", ".ndjson"):
        return Kind.JSON_LINES
    if suffix in (".csv", ".tsv"):
        return Kind.TABLE if suffix == ".csv" else Kind.PLAIN_TABLE
    if suffix == ".txt":
        return Kind.TEXT
    return Kind.UNDECIDED if suffix == ".json" else Kind.WHOLE


def _is_log(path: str) -> bool:
    return PurePosixPath(path).suffix.lower() == ".log" or PurePosixPath(path).match("slurm-*.out")


def kind_of_json(path: Path, size: int) -> Kind:
    """Return whether a ``.json`` file is JSON Lines (at least two complete lines, each an object) or a JSON document.

    A pretty-printed document must not be cut at a newline; its first line, ``{``, is not an object.
    """
    with open_regular(path) as file:
        head = file.read(min(size, DEFAULTS.json_probe_bytes))
    complete = head.rfind(b"\n") + 1
    if not complete:
        return Kind.UNDECIDED if len(head) < DEFAULTS.json_probe_bytes else Kind.WHOLE
    rows = head[:complete].splitlines()
    if not all(map(is_object, rows)):
        return Kind.WHOLE
    return Kind.JSON_LINES if len(rows) > 1 else Kind.ONE_LINE


def is_object(line: bytes) -> bool:
    """Return True if `line` is one complete JSON object."""
    try:
        return isinstance(orjson.loads(line), dict)
    except orjson.JSONDecodeError:
        return False


def cut(path: Path, kind: Kind, start: int, size: int) -> int:
    """Return the last position in (start, size] at which a line or record ends; `start` if there is none.

    A line of a log also ends at a carriage return.
    `start` must be 0 or such an end. Bytes from `size` on are not read.
    """
    if kind is Kind.UNDECIDED:
        return start
    if kind is Kind.RECORDS:
        return last_record_end(path, start, size)
    with open_regular(path) as file:
        if kind is Kind.TABLE:
            return max(_row_ends(file, start, size), default=start)
        # A progress bar writes one line for hours.
        marks = b"\n\r" if _is_log(path.name) else b"\n"
        end = size
        while end > start:
            begin = max(start, end - BLOCK_BYTES)
            file.seek(begin)
            block = file.read(end - begin)
            found = max(block.rfind(mark) for mark in marks)
            if found >= 0:
                return begin + found + 1
            end = begin
    return start


def header_end(path: Path, kind: Kind, size: int) -> int:
    """Return the end of a table's first line in bytes; 0 if the line is incomplete, or the file is no table."""
    if kind not in (Kind.TABLE, Kind.PLAIN_TABLE):
        return 0
    with open_regular(path) as file:
        if kind is Kind.TABLE:
            return next(_row_ends(file, 0, size), 0)
        line = file.readline(size)
        return len(line) if line.endswith(b"\n") else 0


def line_ends(path: Path, start: int, end: int, step: int, first: int | None = None) -> tuple[int, ...]:
    """Return line ends in (start, end], each at most `step` bytes after the one before, unless one line is longer.

    `end` must be a line end, and is the last one returned. The first is at most `first` bytes after `start` (None:
    `step`).
    """
    found: list[int] = []
    position, limit = start, step if first is None else first
    while end - position > limit:
        cut_at = cut(path, Kind.TEXT, position, position + limit)
        if cut_at == position:  # one line is longer than the step, and is not cut
            with open_regular(path) as file:
                file.seek(position)
                cut_at += len(file.readline(end - position))
        found.append(cut_at)
        position, limit = cut_at, step
    if end > position:
        found.append(end)
    return tuple(found)


def damaged_lines(path: Path, start: int, end: int) -> tuple[tuple[int, int], ...]:
    """Return the ranges of the lines in [start, end) that are not JSON objects (a flipped bit, an unwritten block).

    They stay in the segment; the rows around them are sent without them.
    """
    found = []
    position = start
    with open_regular(path) as file:
        file.seek(start)
        for line in file:
            if position >= end:
                break
            try:  # not `is_object`: a call per line takes a third of the time
                healthy = type(orjson.loads(line)) is dict
            except orjson.JSONDecodeError:
                healthy = False
            if not healthy:
                found.append((position, position + len(line)))
            position += len(line)
    return tuple(found)


def removed_lines(path: Path, start: int, end: int) -> tuple[tuple[int, int], ...]:
    """Return the ranges of the lines in [start, end) that `overwrite` has removed: they consist of spaces."""
    with open_regular(path) as file:
        if not any(block[:1] == b" " or b"\n " in block for block in blocks(file, start, end)):
            return ()
    return tuple(_matching(path, start, end, lambda line: line[:1] == b" " and not line.strip()))


def overwrite(path: Path, ranges: Iterable[tuple[int, int]]) -> None:
    """Write spaces over lines of a segment, which keeps the positions of all others; durable when this returns.

    Its writer only appends, so that it may go on meanwhile.
    """
    with path.open("r+b", buffering=0) as file:
        for start, end in ranges:
            file.seek(start)
            file.write(b" " * (end - 1 - start))
        os.fsync(file.fileno())


def matching_lines(path: Path, end: int, matches: Callable[[bytes], bool]) -> list[tuple[int, int]]:
    """Return the ranges of the lines that match, of those that end in [0, end)."""
    return list(_matching(path, 0, cut(path, Kind.TEXT, 0, end), matches))


def _matching(path: Path, start: int, end: int, matches: Callable[[bytes], bool]) -> Iterator[tuple[int, int]]:
    with open_regular(path) as file:
        file.seek(start)
        for line in file:
            if start >= end:
                return
            if matches(line):
                yield start, start + len(line)
            start += len(line)


def tail_is_complete(path: Path, kind: Kind, start: int, size: int) -> bool:
    """Return True if the bytes [start, size) after the last newline may be sent once the file no longer changes.

    For JSON Lines only if they are a complete object; half a row or record is never sent.
    """
    if kind in (Kind.TEXT, Kind.TABLE, Kind.PLAIN_TABLE):
        return True
    if kind is Kind.RECORDS:
        return False
    with open_regular(path) as file:
        file.seek(start)
        return is_object(file.read(size - start)) or kind is Kind.UNDECIDED


def count_lines(path: Path, start: int, end: int) -> int:
    """Return the number of lines that end in [start, end)."""
    with open_regular(path) as file:
        return sum(block.count(b"\n") for block in blocks(file, start, end))


def _row_ends(file: BinaryIO, start: int, size: int) -> Iterator[int]:
    """Yield the ends of a table's rows in [start, size): newlines with an even number of quotes before them."""
    file.seek(start)
    position, odd = start, False
    while position < size and (line := file.readline(size - position)):
        position += len(line)
        odd ^= line.count(b'"') % 2 == 1
        if not odd and line.endswith(b"\n"):
            yield position
