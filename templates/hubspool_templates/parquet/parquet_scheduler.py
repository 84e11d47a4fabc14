"""ParquetScheduler: rows with images, audio, arrays and other values in a dataset of Parquet files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import orjson
import pyarrow.parquet as pq

from hubspool.extending import HFValidationError, read_text
from hubspool_templates.card import Card, OtherColumnsError
from hubspool_templates.parquet.arrow_types import is_storable, schema_of
from hubspool_templates.parquet.media import MediaEncoder
from hubspool_templates.parquet.parquet_encoding import ParquetEncoding, columns_of_file
from hubspool_templates.parquet.parquet_joiner import ParquetJoiner, refit
from hubspool_templates.parquet.tables import misfits
from hubspool_templates.rows import Row, RowOptions, RowScheduler
from hubspool_templates.schema import Schema, feature_of
from hubspool_templates.value_kinds import PARQUET_DTYPES

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from hubspool import CommitOperationAdd, CommitPlan


class ParquetScheduler(RowScheduler):
    """Stores rows in a dataset of Parquet files: `append` writes to disk and returns, the background thread commits.

    A row for which `append` returned reaches the Hub exactly once, through the end of the process, outages and several
    writers, as long as the local disk survives. Not promised: rows since the last push when the disk is wiped before
    the final push ended (a Space restart); any order of rows across writers; that an image object keeps the bytes of
    the file that it was opened from (its pixels stay; pass its path to keep the file).

    Pending rows are on the disk as lines, media in base64, so a push needs memory for one segment (64 MiB of lines), or
    for one row, if that is larger. A file on the Hub grows by row groups, up to 8 commits.

    Usage::

        scheduler = ParquetScheduler("user/drawings")
        scheduler.append({"prompt": "a cat", "image": image})  # a PIL image, or pathlib.Path("cat.png")

    Args:
        schema: the columns, as a pyarrow schema, `datasets.Features`, or a mapping such as
            ``{"prompt": "string", "image": "image"}``; a row with another column is then an error. None learns the
            columns from the rows and keeps them in the dataset card.
        check_media: `append` refuses image, audio and video files that are empty, truncated or something else.
        strip_exif: remove metadata (place, camera, comments) from pictures; their orientation stays. An image of PIL's
            is stored without metadata in any case.
        paths: "media" stores the image, audio or video file that a text or a `Path` names, and a `Path` with such a
            suffix and no file is an error; "text" stores names as text. Use "text" if visitors write the text: it
            could name a file of the app. With `schema`, the column's type decides.
        repo_id, folder_path, options: those of `RowScheduler` and `CommitScheduler`.

    Without pyarrow the import of this class raises an ImportError that names the extra to install.
    """

    card_sentence = "Rows of this dataset were appended one by one, as they came up, with `ParquetScheduler`."
    widenable = PARQUET_DTYPES
    _make_write_lock = nullcontext  # no thread waits while another one encodes its images
    is_storable = staticmethod(is_storable)
    _columns_in = staticmethod(columns_of_file)
    _refit = staticmethod(refit)

    def __init__(
        self,
        repo_id: str,
        folder_path: str | Path | None = None,
        *,
        schema: Any | None = None,
        check_media: bool = True,
        strip_exif: bool = False,
        paths: Literal["media", "text"] = "media",
        **options: Unpack[RowOptions],
    ) -> None:
        self._declared = None if schema is None else schema_of(schema)
        self._encoder = MediaEncoder(self._declared, check_media=check_media, strip_exif=strip_exif, paths=paths)
        self.encoding: ParquetEncoding = ParquetEncoding(self._columns_in_card, self._declared)
        self.encoding.joiner = ParquetJoiner()
        self._fixed = {"schema": None if self._declared is None else self._declared.to_features()}
        super().__init__(repo_id, folder_path, **options)

    def encode_row(self, row: Row) -> bytes:
        line = self._encoder.encode(row)
        if self._declared is not None and (wrong := misfits(line, self._declared)):
            raise HFValidationError(
                f"Cannot store {row[wrong[0]]!r} in {wrong[0]!r}: the schema says"
                f" {feature_of(self._declared.fields[wrong[0]])}.",
                hint="Convert it first, or change schema=…",
            )
        return line

    def encode_rows(self, rows: Sequence[Row]) -> Iterable[bytes]:
        return map(self._encoder.encode if self._declared is None else self.encode_row, rows)

    def recipe(self) -> dict[str, Any]:
        """Return the options that build this scheduler again, as JSON values."""
        declared = None if self._declared is None else self._declared.to_features()
        return {**super().recipe(), "schema": declared}

    def additional_operations(self, plan: CommitPlan) -> Iterable[CommitOperationAdd]:
        try:
            return super().additional_operations(plan)
        except OtherColumnsError as error:
            self.encoding.schema = error.schema  # the next attempt encodes the rows again
            raise

    @property
    def columns(self) -> Schema:
        return self.encoding.schema

    @staticmethod
    def columns_of(path: Path) -> Schema:
        schema = pq.read_schema(path)
        written = orjson.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features")
        return schema_of(written or schema)

    def _columns_in_card(self, new: Schema) -> Schema:
        """Return the columns of the config that rows with the columns `new` go to."""
        if self.repo_type != "dataset":
            return Schema()
        try:
            card = Card(read_text(self.api, self.target, "README.md"))
            return self._card.columns_before(card, self.target, self.name, self.glob_of(self.name), new)[1]
        except (UnicodeDecodeError, HFValidationError, AttributeError, KeyError, TypeError):
            # A broken card must not hold up the rows; the card's own update reports it.
            return Schema()
