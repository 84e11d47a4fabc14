"""read_rows: the rows of a dataset, of any format; all of them, or those that came after an earlier read."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import date
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubspool import CommitScheduler, HfApi
from hubspool.extending import HFValidationError, RepositoryNotFoundError, Target, split_destination
from hubspool_templates.defaults import DEFAULTS
from hubspool_templates.parquet.media import Media, stored_value
from hubspool_templates.reading.formats import Row, plain
from hubspool_templates.reading.on_hub import NEVER, HubRows
from hubspool_templates.reading.pending import Waiting
from hubspool_templates.schema import Schema

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa


def read_rows(
    repo_id: str,
    api: HfApi | None = None,
    *,
    config: str | None = None,
    split: str | None = None,
    since: str | date | None = None,
    pending: CommitScheduler | str | Path | None = None,
    latest: str | None = None,
    revision: str | None = None,
    repo_type: str = "dataset",
) -> Rows:
    """Return the rows of a dataset, with the values that were appended: of JSON Lines, Parquet and zip files.

    The order is that of `append` within a writer (a scheduler object). Rows of several writers come by day, then in the
    order in which the writers began: those of an app that was restarted are in the order of time, by the clocks of its
    machines. Not promised: an order in time across writers that run side by side. Rows of files that other programs
    wrote come first.

    Everything is read at one commit, the newest at the time of the call. Files come into the cache of
    `huggingface_hub`, two ahead, and are not asked for again while they are there. Memory: the rows that are worked on,
    and with `latest` one row for each key.

    Images are PIL images if Pillow is installed, else bytes, as audio and video are. JSON Lines keep a datetime as
    text, unless the card calls its column a timestamp. A member of an archive is a row with `file_name`, its content as
    `image`, `audio`, `video` or `file`, and its columns.

    Args:
        repo_id: the dataset, ``user/name``, or a folder of a bucket, ``hf://buckets/user/name/folder``.
        api: the client; by default that of `pending`, or one with the token of the environment.
        config: by default the one that `datasets` loads; a bucket has none, and its folders in their place.
        split: by default all.
        since: only rows that came after it: `Rows.cursor` of an earlier read, a commit, or a time (that of the commit
            that brought the row; without a time zone it is UTC) as a datetime, a date or ISO 8601 text; of a bucket a
            cursor only. An empty text is a time before all commits. A file of another program that did not only grow is
            read again.
        pending: a scheduler, or its folder: its rows that the Hub does not have yet come last. The repository may be
            missing. A cursor does not count them: they come again with a later read.
        latest: a column: only the last row of each of its values, and all rows without a value. If rows have other
            columns alone, reading them ends in an HFValidationError.
        revision: branch, tag or commit.
        repo_type: type of the repository.

    Raises:
        RepositoryNotFoundError: the dataset does not exist, or the token may not read it.
        CursorTooOldError: since a squash of the history it is not known which rows came after `since`.
        HFValidationError: there is no such config or split; a file has another format; a bucket has several forms;
            `since` is of no use; a folder of schedulers whose rows go elsewhere.
    """
    for name, value in {"config": config, "split": split, "latest": latest, "revision": revision}.items():
        if not isinstance(value, (str, type(None))):
            raise HFValidationError(f"{name} is {value!r}.", hint="Give one name, or None.")
    api = api or (pending.api if isinstance(pending, CommitScheduler) else HfApi())
    repo_id, kind, folder = split_destination(repo_id, repo_type, None)
    target = Target.of(api.endpoint, repo_id, kind, revision)
    with ExitStack() as opened:
        waiting = opened.enter_context(Waiting(pending, target, folder or ""))
        try:
            reading = HubRows(api, target, config, split, since, folder or "")
        except RepositoryNotFoundError:
            if not waiting.spools:
                raise
            reading = None
        opened.pop_all()
    return Rows(reading, waiting, split, latest)


class Rows(Iterator[Row]):
    """The rows that `read_rows` found: an iterator that is used once, and then empty. Threads: one at a time.

    Attributes:
        keeps_media: set it to get media as objects with `bytes` and `path`, and images not as PIL images.
        columns: those of the card.
    """

    def __init__(self, reading: HubRows | None, waiting: Waiting, split: str | None, latest: str | None) -> None:
        self._reading, self._waiting, self._split, self._latest = reading, waiting, split, latest
        self.keeps_media = False
        self.columns = reading.columns if reading else Schema()
        self._is_read = False
        self._rows: Iterator[Row] | None = None  # made by the first `next`: it refers to this object
        weakref.finalize(self, waiting.close)  # not at the end: `last` and a loop may both read

    def __next__(self) -> Row:
        self._rows = self._all() if self._rows is None else self._rows
        return next(self._rows)

    @property
    def cursor(self) -> str:
        """A text for `since`: everything up to the commit that was read, without rows that were pending.

        Some 4 kB for 100 writers. Rows of a segment that is older than 35 days are found by looking at that commit; if
        a squash removed it, and in a bucket, what came late to such a segment counts as read.

        Raises:
            HFValidationError: rows are left: read them first.
        """
        if not self._is_read:
            raise HFValidationError("The cursor is known after the last row.", hint="Read all rows first.")
        return str(NEVER if self._reading is None else self._reading.cursor())

    def last(self, count: int) -> list[Row]:
        """Return the last rows; only the files that hold them are read, except with `latest`. `cursor` is not known."""
        if not isinstance(count, int) or count < 1:
            raise HFValidationError(f"The number of rows is {count!r}.", hint="Give a whole number of 1 or more.")
        if self._latest is not None:
            return list(deque(self, maxlen=count))
        found = list(deque(self._pending_rows(), maxlen=count))
        pieces = self._reading.new if self._reading else []
        for piece in reversed(pieces):
            if len(found) >= count:
                break
            assert self._reading is not None
            found = [*deque(self._reading.rows([piece], self._as_value), maxlen=count - len(found)), *found]
        return found

    def to_arrow(self) -> pa.Table:
        """Return the rows as a table with the columns of the card; images as structs of `bytes` and `path`.

        Raises:
            HFValidationError: some of the rows were read already.
            ImportError: pyarrow is not installed.
        """
        _need("pyarrow", "to_arrow", "hubspool[parquet]")
        if self._rows is not None:
            raise HFValidationError(
                "Rows were read already, and the table would lack them.", hint="Call read_rows again."
            )
        self.keeps_media = True
        return table_of(self, self.columns)

    def to_pandas(self) -> pd.DataFrame:
        """Return the rows as a pandas table; json columns are text.

        Raises:
            ImportError: pandas or pyarrow is not installed.
        """
        _need("pandas", "to_pandas", "pandas")
        return self.to_arrow().to_pandas()

    def to_polars(self) -> pl.DataFrame:
        """Return the rows as a polars table; json columns are text.

        Raises:
            ImportError: polars or pyarrow is not installed.
        """
        _need("polars", "to_polars", "polars")
        import polars as pl

        found = pl.from_arrow(self.to_arrow())
        assert isinstance(found, pl.DataFrame)
        return found

    def _as_value(self, media: Media) -> Any:
        return media if self.keeps_media else plain(media)

    def _all(self) -> Iterator[Row]:
        hub = self._reading.rows(self._reading.new, self._as_value) if self._reading else iter(())
        rows = chain(hub, self._pending_rows())
        yield from rows if self._latest is None else _last_of_each(rows, self._latest)
        self._is_read = True

    def _pending_rows(self) -> Iterator[Row]:
        return self._waiting.rows(self._reading, self._split, self._as_value)


def table_of(rows: Iterable[Row], columns: Schema) -> pa.Table:
    """Return rows, whose media are `Media`, as a table with these columns and those that the rows have beside them."""
    import pyarrow as pa

    from hubspool_templates.parquet.tables import arrow_schema, arrow_table, learned

    tables: list[tuple[pa.Table, Schema]] = []
    left = iter(rows)
    while some := list(islice(left, DEFAULTS.batch_rows)):
        table, columns = arrow_table(some, learned(some, columns))
        tables.append((table, columns))
    if not tables:
        return arrow_schema(columns).empty_table()
    joined = pa.concat_tables([_widened(*each, columns) for each in tables], promote_options="permissive")
    return joined.replace_schema_metadata(arrow_schema(columns).metadata)


def _widened(table: pa.Table, before: Schema, columns: Schema) -> pa.Table:
    """Return a table whose columns have the types of `columns`, which later rows have widened."""
    from hubspool_templates.parquet.tables import arrow_table

    for name, kind in before.fields.items():
        if (wider := columns.fields[name]) != kind:
            rows = [{name: stored_value(value, kind, lambda media: media)} for value in table[name].to_pylist()]
            column = arrow_table(rows, Schema({name: wider}))[0][name]
            table = table.set_column(table.column_names.index(name), name, column)
    return table


def _last_of_each(rows: Iterable[Row], column: str) -> Iterator[Row]:
    found: dict[object, Row] = {}
    others: set[str] | None = set()  # columns of rows, as long as none has this one
    for row in rows:
        if others is not None:
            others = None if column in row else others | row.keys()
        key = object() if row.get(column) is None else _key(row[column])
        found.pop(key, None)
        found[key] = row
    if others:
        raise HFValidationError(f"No row has the column {column}.", hint=f"Columns: {', '.join(sorted(others))}.")
    yield from found.values()


def _key(value: Any) -> object:
    """Return what is equal for equal values: 1 and 1.0, but not 1 and true; an object in any order."""
    if isinstance(value, dict):
        return dict, frozenset((name, _key(each)) for name, each in value.items())
    if isinstance(value, list):
        return list, tuple(map(_key, value))
    return float if isinstance(value, int) and not isinstance(value, bool) else type(value), value


def _need(module: str, method: str, package: str) -> None:
    if find_spec(module) is None:
        raise ImportError(f'{method}() needs {module}: pip install "{package}"')
