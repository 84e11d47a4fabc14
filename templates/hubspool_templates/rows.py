"""RowScheduler: what the schedulers that store rows in a dataset have in common."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubspool import CommitOperationAdd, CommitScheduler, fork
from hubspool.client.patterns import Patterns
from hubspool.push.events import CommitPlan
from hubspool.scheduling.options import CommonOptions, SchedulerOptions
from hubspool.spool.segment_name import SegmentName
from hubspool.spool.spool import Durability, Spool
from hubspool_templates.card_keeper import CardKeeper
from hubspool_templates.schema import JSON_DTYPES, Schema

if TYPE_CHECKING:
    from typing_extensions import Unpack

Row = Mapping[str, Any]
#: What follows the name in a part's file name. As exact as a glob can be: "train-2" must not be read as "train" too.
_PART_GLOB = "-".join(["[0-9]" * 8, "*", "[0-9]" * 5, f"p{'[0-9]' * 4}"])


class RowOptions(SchedulerOptions, total=False):
    """All keyword arguments of `RowScheduler` but `repo_id` and `folder_path`; described there."""

    name: str
    push_after_rows: int | None
    push_after_bytes: int | None
    max_spool_bytes: int
    keep_local: bool
    redact: Callable[[Row], Row] | None
    durability: Durability


class RowScheduler(CommitScheduler):
    """Rows wait as lines in a spool on the disk; the background thread commits them to a dataset. To be subclassed.

    A subclass says what a line is (`encode_row`) and what columns the rows have (`learn`, `columns`). One that stores
    rows in another form has an `encoding`, which learns their columns as it encodes them.

    Args:
        repo_id: the dataset, ``user/name``; a name alone is the token's user's.
        folder_path: where rows wait; ``hubspool_data/<repo>`` in the current folder by default. On a Space choose a
            folder on persistent storage, if it has any.
        every: minutes between pushes.
        repo_type, private: of the repo, made if missing.
        name: the split, and the first part of the file names.
        path_in_repo: folder of the data in the repo.
        push_after_rows, push_after_bytes: push sooner once so much has been appended.
        max_spool_bytes: `append` raises `SpoolFull` beyond this.
        keep_local: keep files in the folder after all of them is on the Hub.
        redact: called with each row before it touches the disk; returns the row to store.
        durability: "process" (rows survive the end of the process) or "disk" (and of the machine; slower).
        options: those of `CommitScheduler`.

    Thread-safety: `append` and `extend` may be called from any thread and from ``async def``; neither makes a request
    nor waits for one.
    """

    keep_local = False
    #: That of the `encoding`: what the names of the parts on the Hub end in; empty where rows are stored as they are.
    form = ""
    #: A sentence for a new card: how the data comes to be.
    origin = "Rows of this dataset were appended one by one, as they came up."
    #: Dtypes in the card that new rows may widen; any other is a person's decision.
    inferred = JSON_DTYPES

    def __init__(
        self,
        repo_id: str,
        folder_path: str | Path | None = None,
        *,
        every: float = 5,
        repo_type: str | None = "dataset",
        private: bool | None = True,
        name: str = "train",
        path_in_repo: str | None = "data",
        push_after_rows: int | None = None,
        push_after_bytes: int | None = None,
        max_spool_bytes: int = 10 * 1024**3,
        keep_local: bool = False,
        redact: Callable[[Row], Row] | None = None,
        durability: Durability = "process",
        allow_patterns: Patterns = None,
        ignore_patterns: Patterns = None,
        **options: Unpack[CommonOptions],
    ) -> None:
        folder = Path(folder_path) if folder_path is not None else Path("hubspool_data") / repo_id.replace("/", "--")
        self.name = name
        self.keep_local = keep_local
        super().__init__(
            repo_id=repo_id,
            folder_path=folder,
            every=every,
            repo_type=repo_type,
            private=private,
            path_in_repo=path_in_repo,
            allow_patterns=allow_patterns,
            ignore_patterns=ignore_patterns,
            **options,
        )
        self.spool = Spool(
            self.folder_path, name=name, form=self.form, durability=durability, max_bytes=max_spool_bytes
        )
        self._redact = redact
        self._push_after_rows = push_after_rows
        self._push_after_bytes = push_after_bytes
        # Lines reach the disk in the order in which they were encoded.
        self._order: AbstractContextManager[object] = threading.Lock()
        fork.renew(self, "_order", threading.Lock)  # a thread that the child does not have may hold it
        self._card = CardKeeper(self.api, self.origin, self.inferred)
        self._rows_since = self._bytes_since = 0  # approximate under threads: a trigger too many is harmless

    @abstractmethod
    def encode_row(self, row: Row) -> bytes:
        """Return a row as one line, with its newline, as it waits on the disk; called by who appends, one at a time.

        Raises:
            ValueError: a value cannot be stored; the message names its key.
        """

    def encode_rows(self, rows: Sequence[Row]) -> Iterable[bytes]:
        """Return rows that are written at once as lines; the last one is made before the first one is written."""
        return map(self.encode_row, rows)

    def append(self, row: Row) -> None:
        """Store one row; when this returns it survives the end of the process.

        Raises:
            ValueError: a value cannot be stored; the message names its key.
            SpoolFull: the disk, or `max_spool_bytes`, is full.
        """
        if self._redact is not None:
            row = self._redact(row)
        with self._order:
            line = self.encode_row(row)
            self.spool.write(line)
        if self._push_after_rows or self._push_after_bytes:
            self._count(1, len(line))

    def extend(self, rows: Iterable[Row]) -> None:
        """Store rows in one write; a row that cannot be stored refuses all of them.

        Raises:
            SpoolFull: as in `append`; its `stored` says how many of the first rows were stored.
        """
        given = [row if self._redact is None else self._redact(row) for row in rows]
        with self._order:
            size = self.spool.write_many(self.encode_rows(given))
        if self._push_after_rows or self._push_after_bytes:
            self._count(len(given), size)

    def stop(self, flush: bool = True, timeout: float | None = None) -> None:
        """Send what is left, then end the thread; a later `append` still writes to disk, for the next start."""
        self.spool.close()  # first, so that the final push may remove what it has sent
        try:
            super().stop(flush, timeout)
        finally:
            self.spool.close()

    def pending_rows(self) -> int | None:
        """Return how many rows of this object are not known to be on the Hub."""
        written = {name: rows for name, rows in self.spool.rows_written().items() if (self.folder_path / name).exists()}
        return sum(written.values()) - self.rows_on_hub(written)

    def recipe(self) -> dict[str, Any]:
        """Return the options that make this scheduler again, as JSON values."""
        return {**super().recipe(), "name": self.name, "keep_local": self.keep_local}

    def learn(self, line: bytes) -> None:
        """Take note of the columns of one line that is about to be committed; called by the pushing thread."""
        raise NotImplementedError

    @property
    @abstractmethod
    def columns(self) -> Schema:
        """The columns of all rows that were learned; read by the pushing thread."""

    def additional_operations(self, plan: CommitPlan) -> Iterable[CommitOperationAdd]:
        """Add the dataset card to the commit whose rows need it: its split, a new column, a wider type.

        The columns are read from the rows that are about to be committed, whoever wrote them: what the appending
        process knew is gone after kill -9, and a push takes other processes' segments along.
        """
        if self.repo_type != "dataset" or (not self.path_in_repo and (self.folder_path / "README.md").is_file()):
            return ()
        files = self._learn(plan)
        if not files:
            return ()
        own = self.last_commit.oid if self.last_commit else None
        return self._card.operations(self.target, plan, files, self.columns, own)

    def _learn(self, plan: CommitPlan) -> dict[str, str]:
        """Read the plan's new rows; returns the name of each split among them, and the glob of its files."""
        files = {}
        for source, start, end in plan.new:
            segment = SegmentName.parse(source)
            if segment is None:
                continue  # a file of the user's, or in a folder below
            glob = f"{segment.name}-{_PART_GLOB}.{self.form or 'jsonl'}"
            files[segment.name] = f"{self.path_in_repo}/{glob}" if self.path_in_repo else glob
            if self.encoding is None:
                with (self.folder_path / source).open("rb") as lines:
                    lines.seek(start)
                    while lines.tell() < end:
                        self.learn(lines.readline())
        return files

    def _count(self, rows: int, size: int) -> None:
        self._rows_since += rows
        self._bytes_since += size
        if self._rows_since >= (self._push_after_rows or float("inf")) or self._bytes_since >= (
            self._push_after_bytes or float("inf")
        ):
            self._rows_since = self._bytes_since = 0
            self.trigger()
