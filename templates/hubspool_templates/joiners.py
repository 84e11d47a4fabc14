"""What joins the old files of each format that the ready-made schedulers write; JSON Lines are `hubspool`'s own."""

from __future__ import annotations

from contextlib import suppress

from hubspool.extending import Joiner
from hubspool_templates.archive.zip_joiner import ZipJoiner

#: The packages without which there is no joiner of a format.
NEEDS = {"parquet": "pyarrow"}
JOINERS: dict[str, type[Joiner]] = {"zip": ZipJoiner}
with suppress(ImportError):
    from hubspool_templates.parquet.parquet_joiner import ParquetJoiner

    JOINERS["parquet"] = ParquetJoiner
