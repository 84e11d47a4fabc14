"""The dataset card of what is published from a bucket (`hubspool publish`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from pathlib import Path

from hubspool import CommitOperationAdd, CommitPlan
from hubspool.extending import RemoteRepo
from hubspool_templates.archive.zip_encoding import ZipEncoding
from hubspool_templates.archive.zip_scheduler import ZipScheduler
from hubspool_templates.card import MONTH_GLOB, PART_GLOB, CardUpdater
from hubspool_templates.existing import columns_of_lines
from hubspool_templates.jsonl import JsonlScheduler
from hubspool_templates.parquet.parquet_encoding import columns_of_file
from hubspool_templates.parquet.parquet_scheduler import ParquetScheduler
from hubspool_templates.rows import RowScheduler
from hubspool_templates.schema import Schema


def _columns_of_archive(path: Path) -> Schema:
    encoding = ZipEncoding()
    encoding.reuse(path)
    return encoding.columns


_FORMS: dict[str, tuple[type[RowScheduler], Callable[[Path], Schema]]] = {
    "jsonl": (JsonlScheduler, columns_of_lines),
    "parquet": (ParquetScheduler, columns_of_file),
    "zip": (ZipScheduler, _columns_of_archive),
}


def card_of(
    repo: RemoteRepo, form: str, new: Mapping[tuple[str, str], Sequence[Path]], rows: int
) -> Callable[[str], Iterable[CommitOperationAdd]]:
    """Return what makes the README.md for a commit that adds files, if the card lacks a column or a pattern of them.

    Args:
        repo: the dataset.
        form: suffix of the files.
        new: folder and split → the files on this disk.
        rows: how many they have.
    """
    kind, columns_of = _FORMS[form]
    files = [path for paths in new.values() for path in paths]
    schema = reduce(Schema.extend if form == "parquet" else Schema.merge, map(columns_of, files), Schema())
    size = sum(path.stat().st_size for path in files)
    globs = {split: f"{folder}/{MONTH_GLOB}{split}-{PART_GLOB}.{form}".removeprefix("./") for folder, split in new}
    card = CardUpdater(
        repo.api,
        kind.card_sentence,
        kind.widenable,
        is_storable=kind.is_storable,
        features_in_config=kind.features_in_config,
        columns_of=kind.columns_of,
    )
    return lambda parent: card.operations(
        repo.target, CommitPlan((), size, size, rows, parent=parent), globs, schema, None
    )
