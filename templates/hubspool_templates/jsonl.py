"""JsonlScheduler: rows of JSON in a dataset, exactly once each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from hubspool import CommitOperationAdd, CommitPlan
from hubspool.extending import StatePaths
from hubspool_templates.rows import Row, RowOptions, RowScheduler
from hubspool_templates.schema import Schema
from hubspool_templates.values import RowEncoder, appended

if TYPE_CHECKING:
    from typing_extensions import Unpack


class JsonlScheduler(RowScheduler):
    """Stores rows in a dataset on the Hub: `append` writes to disk and returns, the background thread commits.

    A row for which `append` returned reaches the Hub exactly once, through the end of the process, outages and several
    writers, as long as the local disk survives. Not promised: rows since the last push when the disk is wiped before
    the final push ended (a Space restart); any order of rows across writers.

    Once a column had text and also numbers or bools, it is stored as text; once it had text and also lists or dicts,
    its text is stored as JSON; see `schema.Schema`. `read_rows` gives every row as it was appended; docs/values.md says
    what `datasets` changes.

    Usage::

        scheduler = JsonlScheduler("user/feedback")
        scheduler.append({"input": "…", "choice": 1})

    The arguments are those of `RowScheduler`.
    """

    card_sentence = "Rows of this dataset were appended one by one, as they came up, with `JsonlScheduler`."

    def __init__(self, repo_id: str, folder_path: str | Path | None = None, **options: Unpack[RowOptions]) -> None:
        super().__init__(repo_id, folder_path, **options)
        self._encoder = self.shared("encoder", lambda: RowEncoder(on_widened=self.spool.close))

        # Without the file, or if it is damaged, the card tells the columns at the next commit.
        self._known = Schema()  # used by the pushing thread only
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            self._encoder.told = Schema.of_features(orjson.loads(self._columns_path.read_bytes()))

    @property
    def _columns_path(self) -> Path:
        return StatePaths(self.spool_folder).columns

    def additional_operations(self, plan: CommitPlan) -> Iterable[CommitOperationAdd]:
        """Add the dataset card where it is needed; from now on rows are written as its columns need it."""
        operations = super().additional_operations(plan)
        columns = self._card.columns
        if columns != self._known:
            self._known = self._encoder.told = columns  # not under the lock: a push waits for no write
            with suppress(OSError):  # the card tells it again; a torn file is not read
                self._columns_path.write_bytes(orjson.dumps(columns.to_features()))
        return operations

    def encode_row(self, row: Row) -> bytes:
        """Return a row as a line of JSON; once a column became text, later lines go to a new file."""
        return self._encoder.encode(row)

    def encode_rows(self, rows: Sequence[Row]) -> list[bytes]:
        """Return rows as lines of JSON, all with the widest types."""
        widenings = self._encoder.widenings
        lines = list(super().encode_rows(rows))
        if self._encoder.widenings == widenings:
            return lines
        return [self._encoder.encode(appended(line)) for line in lines]  # not `rows`: their iterators are read
