"""What joins the old files of each format that the ready-made schedulers write; JSON Lines are `hubspool`'s own."""

from __future__ import annotations

from hubspool.extending import Joiner
from hubspool_templates.archive.zip_joiner import ZipJoiner
from hubspool_templates.parquet.parquet_joiner import ParquetJoiner

JOINERS: dict[str, type[Joiner]] = {"parquet": ParquetJoiner, "zip": ZipJoiner}
