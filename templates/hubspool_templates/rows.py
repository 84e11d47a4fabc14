"""RowScheduler: the base class of the schedulers that store rows in a dataset."""

from __future__ import annotations

import math
import re
import secrets
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from hubspool import CommitOperationAdd, CommitPlan, CommitScheduler, HfApi
from hubspool.extending import (
    CommonOptions,
    Compact,
    Durability,
    HFValidationError,
    Patterns,
    PublishOptions,
    RemoteRepo,
    SchedulerOptions,
    SegmentName,
    Spool,
    read_text,
    renew_after_fork,
    split_destination,
)
from hubspool_templates.card import MONTH_GLOB, PART_GLOB, Card, CardUpdater
from hubspool_templates.defaults import DEFAULTS, folder_of
from hubspool_templates.existing import columns_of_lines
from hubspool_templates.schema import FieldType, Learner, Schema
from hubspool_templates.value_kinds import JSON_DTYPES

if TYPE_CHECKING:
    from concurrent.futures import Future

    from typing_extensions import Unpack

    from hubspool import CommitInfo

Row = Mapping[str, Any]


class RowOptions(SchedulerOptions, total=False):
    """All keyword arguments of `RowScheduler` but `repo_id` and `folder_path`; described there."""

    name: str
    push_after_rows: int | None
    push_after_bytes: int | None
    max_spool_bytes: int
    keep_local: bool
    compact: Compact
    retain_days: int | None
    redact: Callable[[Row], Row] | None
    durability: Durability
    timestamp: bool
    id: bool
    config: str | None
    publish_to: str | None
    publish_every: float


class RowScheduler(CommitScheduler):
    """Writes rows as lines to a spool on the disk; the background thread commits them to a dataset. To be subclassed.

    Not promised: rows since the last push when the disk is wiped before the final push ended (a Space restart); any
    order of rows across writers.

    A subclass defines the line of a row: `encode_row`, and `encode_rows` for many rows. If a line is no JSON object, it
    also overrides `learn`, which finds the columns of one line. A subclass that stores rows in another file format sets
    `encoding` before it calls the constructor, and overrides `columns`: the encoding learns them as it encodes the
    rows. `card_sentence`, `widenable`, `is_storable` and `features_in_config` change the card, as does `columns_of`,
    which reads a file of another program; `glob_of` names the files of a split. `spool` holds the rows on the disk.

    Args:
        repo_id: the dataset, ``user/name``; a name alone belongs to the token's user. Or a path in a bucket,
            ``hf://buckets/user/name/path``, where each push writes a file that never changes.
        folder_path: the spool is in a folder of its own below this one, so any number of schedulers may share it;
            ``hubspool_data/<repo>`` in the current folder by default. On a Space choose a folder on persistent
            storage, if it has any.
        every: minutes between pushes.
        repo_type, private: type and visibility of the repository, which is created if it is missing.
        name: the split, and the first part of the file names.
        path_in_repo: folder of the data in the repository.
        push_after_rows, push_after_bytes: push sooner, once that many rows or bytes were appended.
        max_spool_bytes: `append` raises `SpoolFull` when the spool would have more bytes.
        keep_local: keep segments in the spool after all their rows are on the Hub.
        compact: "daily" lets one of all replicas join the files of past days into few, once a day: a reader pays one or
            two requests for each file. False never does; `hubspool compact` can.
        retain_days: remove files from the repository once their newest rows are more days old, though never the newest
            file of a split; rows that have waited longer than that on this disk are not sent, and leave it. None keeps
            all. The history keeps them, unless `squash_history` is set.
        redact: called with each row before it is written to the disk; returns the row to store.
        timestamp: give each row a column ``timestamp``, the time of `append` (UTC, microseconds), unless it has one.
        id: give each row a column ``id``, unless it has one: text that no other row has, and that sorts in the order of
            `append` (of one process, and of several as far as their clocks agree).
        durability: "process" (rows survive the end of the process) or "disk" (and of the machine; slower).
        config: the dataset's config for rows whose columns are others than those of the rest; its name is added to
            `path_in_repo`. None: the config of the files with the same columns, or one that is called `name`.
        publish_to: the dataset to which one of all replicas publishes the rows of the bucket (of `repo_id`), which stay
            there; it is created, with the visibility of `private`, once there are rows. `hubspool publish --delete`
            removes them. It holds up pushes while the bucket is listed (a request for each 1,000 files) and a commit
            is made; its downloads, for two seconds if a push is requested and otherwise for a period, or 20 seconds.
        publish_every: minutes after which rows are published again; ten minutes more at most, at random.
        options: the options of `CommitScheduler`.

    Thread-safety: `append` and `extend` may be called from any thread and from ``async def``; neither makes a request
    nor waits for one.
    """

    keep_local = False
    compact: Compact = "daily"
    #: A sentence for a new card: where the data comes from.
    card_sentence = "Rows of this dataset were appended one by one, as they came up."
    #: Dtypes in the card that new rows may widen; any other dtype is a person's decision.
    widenable = JSON_DTYPES
    #: Whether a file can have a column of a type, where each file keeps types, which `datasets` casts to the card's.
    is_storable: Callable[[FieldType], bool] | None = None
    #: Reads the columns of a file on the Hub that another program wrote; raises ValueError if it cannot.
    columns_of = staticmethod(columns_of_lines)
    #: Reads the columns of a file that this class wrote.
    _columns_in: Callable[[Path], Schema] = staticmethod(columns_of_lines)
    #: Writes a file so that it fits the columns of a dataset, and returns its columns; None if all files fit.
    _refit: Callable[[Path, Schema], Schema] | None = None
    #: Whether the card's config has the columns too, as `datasets` needs it for archives.
    features_in_config = False
    #: Makes what `append` holds from the encoding of a row to its write.
    _make_write_lock: ClassVar[Callable[[], AbstractContextManager[object]]] = threading.Lock

    def __init__(
        self,
        repo_id: str,
        folder_path: str | Path | None = None,
        *,
        every: float = DEFAULTS.every_minutes,
        repo_type: str | None = "dataset",
        private: bool | None = True,
        name: str = "train",
        path_in_repo: str | None = "data",
        push_after_rows: int | None = None,
        push_after_bytes: int | None = None,
        max_spool_bytes: int = DEFAULTS.max_spool_bytes,
        keep_local: bool = False,
        compact: Compact = "daily",
        retain_days: int | None = None,
        redact: Callable[[Row], Row] | None = None,
        durability: Durability = "process",
        timestamp: bool = False,
        id: bool = False,  # noqa: A002  the name of the column
        config: str | None = None,
        publish_to: str | None = None,
        publish_every: float = DEFAULTS.publish_minutes,
        allow_patterns: Patterns = None,
        ignore_patterns: Patterns = None,
        **options: Unpack[CommonOptions],
    ) -> None:
        if type(self).encode_row is RowScheduler.encode_row:
            raise TypeError("RowScheduler is a base class. Use JsonlScheduler, or subclass it and define encode_row.")
        self._push_after_rows = _limit("push_after_rows", push_after_rows)
        self._push_after_bytes = _limit("push_after_bytes", push_after_bytes)
        _limit("max_spool_bytes", max_spool_bytes)
        folder = Path(folder_path) if folder_path is not None else Path("hubspool_data") / folder_of(repo_id)
        self.name = self.spool_name = name
        self.keep_local = keep_local
        if compact not in ("daily", False):
            raise HFValidationError(f"compact is {compact!r}.", hint="Give 'daily' or False.")
        self.compact = compact
        _limit("retain_days", retain_days)
        self.retain_days = retain_days
        if config is not None and not re.fullmatch(r"\w[\w.-]*", config):
            raise HFValidationError(f"config is {config!r}.", hint="Use letters, digits, '_', '-' and '.'.")
        self._config = config
        self._publishing = _publishing(type(self), repo_id, publish_to, publish_every, private)
        self._fixed = {**self._fixed, "durability": durability}
        super().__init__(
            repo_id=repo_id,
            folder_path=folder,
            every=every,
            repo_type=repo_type,
            private=private,
            path_in_repo="/".join(filter(None, [path_in_repo, config])),
            allow_patterns=allow_patterns,
            ignore_patterns=ignore_patterns,
            **options,
        )
        folder, suffix = self.spool_folder, self.encoding.suffix if self.encoding else ""
        self.spool = self.shared(
            "spool",
            lambda: Spool(folder, name=name, suffix=suffix, durability=durability, max_bytes=max_spool_bytes),
            Spool.stop,
        )
        self.spool.reopen()
        self.spool.max_bytes = max_spool_bytes
        self._rows = self.shared("rows", partial(_SharedRows, type(self)._make_write_lock))
        self._redact = redact
        self._timestamp, self._id = timestamp, id
        self._card = self.shared("card", lambda: _updater(self, self.api, config))  # used by the pushing thread only

    @abstractmethod
    def encode_row(self, row: Row) -> bytes:
        """Return a row as one line of the spool, with its newline.

        Called by the thread that appends; by one thread at a time, except in `ParquetScheduler`.

        Raises:
            ValueError: a value cannot be stored; the message names its key.
        """

    def encode_rows(self, rows: Sequence[Row]) -> Iterable[bytes]:
        """Return rows as lines; all rows are encoded before the first line is written."""
        return map(self.encode_row, rows)

    def append(self, row: Row) -> None:
        """Store one row; once this returns, the row survives the end of the process.

        After `stop` it is written to the disk all the same, for the next start.

        Raises:
            ValueError: a value cannot be stored; the message names its key.
            SpoolFull: the disk, or `max_spool_bytes`, is full.
        """
        row = self._completed(row)
        with self._rows.write_lock:
            line = self.encode_row(row)
            self.spool.write(line)
        self._count(1, len(line))

    def extend(self, rows: Iterable[Row]) -> None:
        """Store rows in one write; if one row cannot be stored, none is.

        Raises:
            ValueError: a value cannot be stored; the message names its key.
            SpoolFull: as in `append`; its `stored` says how many of the first rows were stored.
        """
        given = list(map(self._completed, rows))
        with self._rows.write_lock:
            size = self.spool.write_many(self.encode_rows(given))
        self._count(len(given), size)

    def _completed(self, row: Row) -> Row:
        """Return a row as it is stored: after `redact`, and with its time and id."""
        if self._redact is not None:
            row = self._redact(row)
        if (self._timestamp or self._id) and isinstance(row, Mapping):  # the error of another row comes later
            new: dict[str, Any] = {"timestamp": datetime.now(timezone.utc)} if self._timestamp else {}
            row = {**new, **({"id": self._rows.next_id()} if self._id else {}), **row}
        return row

    def pending_rows(self) -> int | None:
        """Return how many rows of the spool, of any process, are not known to be on the Hub."""
        written = self.spool.rows_kept()
        return sum(written.values()) - self.rows_on_hub(written) + self.waiting_rows(written)

    def appended(self) -> tuple[int | None, int | None]:
        """Return how many rows and bytes this process wrote to the spool."""
        return self.spool.written()

    def chosen_paths(self) -> Callable[[str], bool]:
        """Return a function that chooses segments only: other files in the folder are not rows."""
        return lambda path: SegmentName.parse(path) is not None

    def recipe(self) -> dict[str, Any]:
        """Return the options that build this scheduler again, as JSON values."""
        given = {"name": self.name, "keep_local": self.keep_local, "compact": self.compact, "config": self._config}
        given["retain_days"] = self.retain_days
        return {
            **super().recipe(),
            **given,
            "path_in_repo": self.path_in_repo.removesuffix(self._config or "").rstrip("/"),
        }

    def learn(self, line: bytes) -> None:
        """Learn the columns of one line of the next commit; called by the pushing thread."""
        self._rows.learner.add(orjson.loads(line))

    @property
    def columns(self) -> Schema:
        """The columns of all rows so far; read by the pushing thread."""
        return self._rows.learner.schema

    def additional_operations(self, plan: CommitPlan) -> Iterable[CommitOperationAdd]:
        """Add the dataset card to a commit whose rows need it: for a new split, a new column, a wider type.

        The columns are read from the rows of the commit, not noted in `append`: notes are lost after kill -9, and a
        push also sends segments of other processes.
        """
        if self.repo_type != "dataset":
            return ()
        files = self._files_of(plan)
        if not files:
            return ()
        own = self.last_commit.oid if self.last_commit else None
        self._card.api = self.api
        return self._card.operations(self.target, plan, files, self.columns, own)

    def glob_of(self, name: str) -> str:
        """Return the glob of the files, in the repository, that have the rows of a split."""
        glob = f"{MONTH_GLOB}{name}-{PART_GLOB}.{self.encoding.suffix if self.encoding else 'jsonl'}"
        return f"{self.path_in_repo}/{glob}" if self.path_in_repo else glob

    def _files_of(self, plan: CommitPlan) -> dict[str, str]:
        """Learn the columns of the plan's new rows; return the splits among them, each with the glob of its files."""
        files = {}
        for source, start, end in plan.new:
            segment = SegmentName.of(source)
            files[segment.name] = self.glob_of(segment.name)
            if self.encoding is None:
                with (self.spool.folder / source).open("rb") as lines:
                    lines.seek(start)
                    while lines.tell() < end:
                        self.learn(lines.readline())
        return files

    def _count(self, rows: int, size: int) -> None:
        new = self._rows
        new.rows_since += rows
        new.bytes_since += size
        if new.rows_since >= self._push_after_rows or new.bytes_since >= self._push_after_bytes:
            new.rows_since = new.bytes_since = 0
            last = self.last_future
            if last is new.requested and not (last.running() or last.done()):
                return  # that push has not begun, so it takes these rows too
            # After a failed push the next period tries again: a busy app would repeat a refused commit at each row.
            if not (last.done() and not last.cancelled() and last.exception()):
                new.requested = self.trigger()


class _SharedRows:
    """What the schedulers of one spool share beside it."""

    def __init__(self, make_lock: Callable[[], AbstractContextManager[object]]) -> None:
        # Lines are written to the disk in the order in which they were encoded.
        self.write_lock = make_lock()
        renew_after_fork(self, "write_lock", make_lock)  # a thread that the child does not have may hold it
        self.learner = Learner()  # used by the pushing thread only
        self.rows_since = self.bytes_since = 0  # approximate under threads: one trigger too many is harmless
        self.requested: Future[CommitInfo | None] | None = None  # by the last trigger
        self._last_id = 0

    def next_id(self) -> str:
        """Return an id: the time in nanoseconds, later than that of the last id if the clock went back; and chance."""
        # Without a lock: rows that threads append at once have no order, and chance tells them apart.
        self._last_id = max(self._last_id + 1, time.time_ns())
        return f"{self._last_id:016x}{secrets.token_hex(8)}"


def _limit(name: str, given: int | None) -> float:
    if given is None:
        return math.inf
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise HFValidationError(f"{name} is {given!r}.", hint="Give a whole number of 1 or more, or None.")
    return given


def _publishing(
    kind_of_scheduler: type[RowScheduler], bucket: str, to: str | None, minutes: float, private: bool | None
) -> PublishOptions | None:
    if to is None:
        if minutes != DEFAULTS.publish_minutes:
            raise HFValidationError(f"publish_every is {minutes!r} without publish_to.", hint="Give a dataset, too.")
        return None
    _, kind, inside = split_destination(bucket, None, None)
    if kind != "bucket" or not isinstance(to, str) or split_destination(to, None, None)[1] == "bucket":
        raise HFValidationError(
            f"publish_to is {to!r}, and repo_id {bucket!r}.",
            hint="Rows are published from a bucket, hf://buckets/OWNER/NAME, to a dataset.",
        )
    if isinstance(minutes, bool) or not isinstance(minutes, int | float) or not 0 < minutes < math.inf:
        raise HFValidationError(f"publish_every is {minutes!r}.", hint="Give a number of minutes.")
    card_of = partial(published_card, kind_of_scheduler)
    return PublishOptions(to, inside or "", minutes * 60, private is not False, card_of)


def published_card(
    kind: type[RowScheduler], repo: RemoteRepo, form: str, new: Mapping[tuple[str, str], Sequence[Path]], rows: int
) -> Callable[[str], Iterable[CommitOperationAdd]]:
    """Return what makes the README.md for a commit that adds files, if the card lacks a column or a pattern of them.

    A file that cannot be read with the columns of the dataset, or of the other files, is written in these columns. The
    files of each folder have a config of their own, with a number behind its name if another folder has that name;
    those in ``data`` the default one.

    Args:
        kind: what wrote the rows.
        repo: the dataset.
        form: suffix of the files.
        new: folder and split → the files on this disk.
        rows: how many they have.
    """
    merge = Schema.extend if kind.is_storable else Schema.merge
    text = Card(read_text(repo.api, repo.target, "README.md")) if kind._refit else Card(None)
    cards: list[tuple[CardUpdater, int, dict[str, str], Schema]] = []
    for (folder, split), paths in sorted(new.items()):
        schemas, glob = [*map(kind._columns_in, paths)], f"{folder}/{MONTH_GLOB}{split}-{PART_GLOB}.{form}"
        card = replace(_updater(kind, repo.api, _config_of(folder)), is_numbered=True, way_out=_other_dataset)
        if kind._refit is not None:
            config, known = card.columns_before(text, repo.target, split, glob, reduce(merge, schemas, Schema()))
            schemas = _fitted(paths, schemas, known, kind._refit)
            text.set_features(config, reduce(merge, schemas, known).to_features(), in_config=card.features_in_config)
        size = sum(path.stat().st_size for path in paths)
        cards.append((card, size, {split: glob}, reduce(merge, schemas, Schema())))

    def operations(parent: str) -> Iterable[CommitOperationAdd]:
        found: Iterable[CommitOperationAdd] = ()
        for card, size, globs, schema in cards:
            plan = CommitPlan((), size, size, rows, parent=parent)
            found = [*card.operations(repo.target, plan, globs, schema, None, after=found)] or found
        return found

    return operations


def _fitted(
    files: Sequence[Path], schemas: Iterable[Schema], known: Schema, refit: Callable[[Path, Schema], Schema]
) -> list[Schema]:
    """Write the files that cannot be read with the columns of the dataset and of those before; return their columns."""
    fitted = []
    for path, schema in zip(files, schemas, strict=True):
        own, merged = schema, known.extend(schema)
        if not merged.can_read(schema):
            own = refit(path, merged)
        fitted.append(own)
        known = merged.extend(own)
    return fitted


def _other_dataset(form: str | None) -> str:
    other = f"Publish with --format {form.lower()}, or to" if form == "Parquet" else "Publish to"
    return f"{other} another dataset; the rows stay in the bucket."


def _config_of(folder: str) -> str | None:
    """Return the config of the files in a folder, as of a scheduler there; None for ``data``, as without `config=`."""
    return re.sub(r"[^\w.-]+", "-", "-".join(part for part in folder.split("/") if part != "data")) or None


def _updater(rows: RowScheduler | type[RowScheduler], api: HfApi, config: str | None = None) -> CardUpdater:
    return CardUpdater(
        api,
        rows.card_sentence,
        rows.widenable,
        is_storable=rows.is_storable,
        features_in_config=rows.features_in_config,
        config=config,
        columns_of=rows.columns_of,
    )
