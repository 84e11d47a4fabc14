"""Rows of spools that the Hub does not have: opened before the Hub is asked, read after its rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path, PurePosixPath
from typing import IO, Any

from hubspool import CommitScheduler
from hubspool.extending import (
    Encoding,
    HFValidationError,
    PendingSegments,
    RangeName,
    RangeOnHub,
    RemoteBucket,
    RemoteFile,
    Target,
    pending_segments,
)
from hubspool_templates.archive.inbox import claimed_files, claimed_path
from hubspool_templates.archive.zip_encoding import ZipEncoding
from hubspool_templates.defaults import DEFAULTS
from hubspool_templates.parquet.media import Media
from hubspool_templates.reading import formats
from hubspool_templates.reading.on_hub import HubRows
from hubspool_templates.reading.plan import is_lines, pieces_of
from hubspool_templates.schema import Schema


def _encoding(form: str) -> Encoding:
    if form == "zip":
        return ZipEncoding()
    from hubspool_templates.parquet.parquet_encoding import ParquetEncoding

    return ParquetEncoding(lambda _: Schema())


class Waiting(ExitStack):
    """The spools whose rows are read: their segments, and the files that lines of `ZipScheduler` name, are open.

    Args:
        source: a scheduler, its folder, or None.
        target: the repository whose rows are read.
        inside: the folder of a bucket whose rows are read; empty for all of it.

    Raises:
        FileNotFoundError: there is no such folder.
        HFValidationError: `source` is neither; or it is the folder of schedulers whose rows go elsewhere.
    """

    def __init__(self, source: CommitScheduler | str | Path | None, target: Target, inside: str = "") -> None:
        super().__init__()
        self.spools: list[PendingSegments] = []
        self._claimed: dict[str, IO[bytes]] = {}
        if source is None:
            return
        if not isinstance(source, (CommitScheduler, str, Path)):
            raise HFValidationError(f"pending is {source!r}.", hint="Give one scheduler, or its folder.")
        folder = source.spool_folder if isinstance(source, CommitScheduler) else Path(source)
        for spool in (
            pending_segments(folder, target, inside)
            if folder.is_dir() or not isinstance(source, CommitScheduler)
            else ()
        ):
            self.spools.append(self.enter_context(spool))
            if spool.spool.destination.form == "zip":
                self._open_claimed(spool)

    def _open_claimed(self, spool: PendingSegments) -> None:
        for name in spool.files:
            for reference in claimed_files(spool.spool.path / name):
                if len(self._claimed) >= DEFAULTS.claimed_open:
                    return
                with suppress(OSError):
                    path = claimed_path(spool.spool.path, reference)
                    self._claimed[reference] = self.enter_context(path.open("rb"))

    def rows(
        self, reading: HubRows | None, split: str | None, as_value: Callable[[Media], Any]
    ) -> Iterator[formats.Row]:
        """Yield the rows that the commit which `reading` reads does not hold; None: no commit holds any."""
        times = [] if reading is None else formats.time_columns(reading.columns.fields)
        for spool in self.spools:
            there = spool.spool.destination
            if split not in (None, re.sub(r"\W", "_", there.name)) or not _is_of_config(reading, spool):
                continue
            held = self._held(spool, reading)
            commits = reading.commits if reading else []
            if reading is not None and reading.target.is_bucket and spool.last_commit is not None:
                commits = [spool.last_commit]  # it was listed after the ledger was read

            def claimed(reference: str, folder: Path = spool.spool.path) -> bytes | None:
                if (file := self._claimed.get(reference)) is not None:
                    file.seek(0)
                    return file.read()
                with suppress(OSError):
                    return claimed_path(folder, reference).read_bytes()
                return None  # beyond those that were open, and a push removed it

            for name in sorted(spool.files):
                for line in spool.lines(name, held.get(name, []), commits):
                    row = formats.pending_row(line, there.form, times, as_value, claimed)
                    if row is not None:
                        yield row

    def _held(self, spool: PendingSegments, reading: HubRows | None) -> dict[str, list[RangeOnHub]]:
        """Return what the commit holds of each segment."""
        held: dict[str, list[RangeOnHub]] = {}
        if reading is None:
            return held
        names = {*spool.files}
        for run in reading.listing.runs:
            if run.segment in names:
                held.setdefault(run.segment, []).extend(
                    RangeOnHub(part.number, part.size, part.start) for _, part in run.parts()
                )
        for piece in pieces_of(reading.listing.files.values(), reading.listing.runs):
            name = PurePosixPath(piece.key).name
            if name in names and piece.is_alone and (part := _part(spool, name, piece.first, piece.file, reading)):
                held.setdefault(name, []).append(part)
        repo = reading.listing.repo  # markers are read after the list: a file that is deleted has one before
        for name, ranges in repo.published().items() if isinstance(repo, RemoteBucket) else ():
            if name in names:
                held.setdefault(name, []).extend(RangeOnHub(-1, end - start, start) for start, end in ranges)
        return held


def _part(spool: PendingSegments, segment: str, number: int, file: RemoteFile, reading: HubRows) -> RangeOnHub | None:
    if (name := RangeName.parse(PurePosixPath(file.path).name)) is not None:
        return RangeOnHub(number, name.end - name.start, name.start)
    if known := spool.part_of(segment, file.content_id):
        return known
    if is_lines(file.path):
        return RangeOnHub(number, file.size)
    encoding = _encoding(file.path.rpartition(".")[2])
    repo = reading.listing.repo
    span = encoding.span_of(file.size, lambda start, length: repo.read(file.path, start, length))
    return None if span is None else RangeOnHub(number, span.end - span.start, span.start)


def _is_of_config(reading: HubRows | None, spool: PendingSegments) -> bool:
    """Whether the rows of a spool belong to the config that is read; those that no card has yet do."""
    if reading is None:
        return True
    there = spool.spool.destination
    folder = f"{there.path_in_repo}/" if there.path_in_repo else ""
    sample = f"{folder}2000-01/{there.name}-20000101-{'0' * 12}-00000-p0000.{there.form}"
    configs = [name for name in reading.card.configs if any(reading.card.files(name, [sample]).values())]
    return not configs or reading.config in configs
