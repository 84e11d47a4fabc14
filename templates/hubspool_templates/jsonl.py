"""JsonlScheduler: rows of JSON in a dataset, exactly once each."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from hubspool import CommitOperationAdd, CommitPlan, HfApi
from hubspool.extending import HFValidationError, StatePaths, Target, ghosts_among
from hubspool_templates.existing import form_of
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


def read_rows(
    repo_id: str, api: HfApi | None = None, *, repo_type: str = "dataset", revision: str = "main"
) -> Iterator[dict[str, Any]]:
    """Return an iterator of every row of a dataset of JSON Lines files, from the Hub, file by file.

    Not promised: the order in which the rows were appended. Files are downloaded one at a time, never the whole
    dataset.

    Args:
        repo_id: the dataset, ``user/name``.
        api: the client; by default one with the token of the environment.
        repo_type: type of the repository.
        revision: branch, tag or commit.

    Raises:
        RepositoryNotFoundError: the dataset does not exist, or the token may not read it.
        HFValidationError: its files have another format (Parquet, zip).
    """
    api = api or HfApi()
    files = api.list_repo_files(repo_id, repo_type=repo_type, revision=revision)
    ghosts = ghosts_among(api, Target(api.endpoint, repo_id, repo_type, revision), files)
    paths = sorted(
        path
        for path in files
        if path.endswith((".jsonl", ".ndjson")) and not path.startswith(".") and path not in ghosts
    )
    if not paths and (form := form_of(files)):
        raise HFValidationError(
            f"{repo_id} has {form} files, and read_rows reads JSON Lines only.",
            hint=f"Use datasets.load_dataset({repo_id!r}).",
        )
    return _rows_of(repo_id, api, paths, repo_type, revision)


def _rows_of(repo_id: str, api: HfApi, paths: list[str], repo_type: str, revision: str) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            local = Path(api.hf_hub_download(repo_id, path, repo_type=repo_type, revision=revision, local_dir=folder))
            with local.open("rb") as lines:
                for line in lines:
                    yield appended(line)
            local.unlink()
