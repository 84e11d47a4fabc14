"""JsonlScheduler: rows of JSON in a dataset, exactly once each."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from hubspool import CommitOperationAdd, CommitScheduler, HfApi
from hubspool.card import with_config
from hubspool.hub_view import HubView
from hubspool.spool import Durability, Spool
from hubspool.status import CommitPlan
from hubspool.target import Target
from hubspool_templates.values import RowEncoder

Row = Mapping[str, Any]
#: What follows the name in a part's file name. As exact as a glob can be: "train-2" must not be read as "train" too.
_PART_GLOB = "-".join(["[0-9]" * 8, "*", "[0-9]" * 5, f"p{'[0-9]' * 4}"])


class JsonlScheduler(CommitScheduler):
    """Stores rows in a dataset on the Hub: `append` writes to disk and returns, the background thread commits.

    A row for which `append` returned reaches the Hub exactly once, through the end of the process, outages and several
    writers, for as long as the local disk lives. Not promised: rows since the last push when the disk is wiped before
    the final flush ended (a Space restart); any order of rows across writers.

    Usage::

        scheduler = JsonlScheduler("user/feedback")
        scheduler.append({"input": "…", "choice": 1})

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

    def __init__(
        self,
        repo_id: str,
        folder_path: str | Path | None = None,
        *,
        every: int | float = 5,
        repo_type: str = "dataset",
        private: bool | None = True,
        name: str = "train",
        path_in_repo: str = "data",
        push_after_rows: int | None = None,
        push_after_bytes: int | None = None,
        max_spool_bytes: int = 10 * 1024**3,
        keep_local: bool = False,
        redact: Callable[[Row], Row] | None = None,
        durability: Durability = "process",
        **options: Any,
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
            **options,
        )
        self.spool = Spool(self.folder_path, name=name, durability=durability, max_bytes=max_spool_bytes)
        self._redact = redact
        self._encoder = RowEncoder()
        self._push_after_rows = push_after_rows
        self._push_after_bytes = push_after_bytes
        self._rows_since = self._bytes_since = 0  # approximate under threads: a trigger too many is harmless
        self._has_card = False  # written by the pushing thread

    def append(self, row: Row) -> None:
        """Store one row; when this returns it survives the end of the process.

        Raises:
            ValueError: a value is no JSON; the message names its key.
            SpoolFull: the disk, or `max_spool_bytes`, is full.
        """
        line = self._encoder.encode(row if self._redact is None else self._redact(row))
        self.spool.write(line)
        if self._push_after_rows or self._push_after_bytes:
            self._count(1, len(line))

    def extend(self, rows: Iterable[Row]) -> None:
        """Store rows in one write; a row that is no JSON refuses all of them.

        Raises:
            SpoolFull: as in `append`; its `stored` says how many of the first rows were stored.
        """
        lines = [self._encoder.encode(row if self._redact is None else self._redact(row)) for row in rows]
        self.spool.write_many(lines)
        if self._push_after_rows or self._push_after_bytes:
            self._count(len(lines), sum(map(len, lines)))

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

    def additional_operations(self, plan: CommitPlan) -> Iterable[CommitOperationAdd]:  # noqa: ARG002
        """Add the dataset card, in the commit with the first data that needs it."""
        if self._has_card or self.repo_type != "dataset":
            return ()
        hub = HubView(self.api, Target.of(self.api.endpoint, self.repo_id, self.repo_type, self.revision))
        folder = f"{self.path_in_repo}/" if self.path_in_repo else ""
        card = with_config(
            hub.text("README.md"),
            split=re.sub(r"\W", "_", self.name),
            path=f"{folder}{self.name}-{_PART_GLOB}.jsonl",
            title=self.repo_id.split("/")[-1],
        )
        if card is None:
            self._has_card = True
            return ()
        return (CommitOperationAdd("README.md", card.encode()),)

    def _count(self, rows: int, size: int) -> None:
        self._rows_since += rows
        self._bytes_since += size
        if self._rows_since >= (self._push_after_rows or float("inf")) or self._bytes_since >= (
            self._push_after_bytes or float("inf")
        ):
            self._rows_since = self._bytes_since = 0
            self.trigger()


def read_rows(
    repo_id: str, api: HfApi | None = None, *, repo_type: str = "dataset", revision: str = "main"
) -> Iterator[dict[str, Any]]:
    """Yield every row of a dataset of JSON Lines files, from the Hub, file by file.

    Not promised: the order in which they were appended. Files are downloaded one at a time, never the whole dataset.

    Raises:
        RepositoryNotFoundError: there is no such dataset, or the token may not see it.
    """
    api = api or HfApi()
    files = api.list_repo_files(repo_id, repo_type=repo_type, revision=revision)
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(path for path in files if path.endswith((".jsonl", ".ndjson"))):
            local = Path(api.hf_hub_download(repo_id, path, repo_type=repo_type, revision=revision, local_dir=folder))
            with local.open("rb") as lines:
                for line in lines:
                    yield orjson.loads(line)
            local.unlink()
