"""`hubspool read REPO`: rows of a dataset on stdout."""

from __future__ import annotations

import codecs
import csv
import os
import sys
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from itertools import chain
from pathlib import Path
from shutil import copymode
from tempfile import TemporaryFile
from typing import Any, BinaryIO

import click
import orjson

from hubspool.cli.defaults import DEFAULTS
from hubspool.cli.options import Command, LocalPath, full_id, token_option
from hubspool.cli.output import print_line
from hubspool.scheduling.status import counted

Rows = Iterable[Mapping[str, Any]]
Lines = Iterable[list[str]]


@click.command("read", cls=Command)
@click.argument("repo_id", help="Dataset, as user/name; a name alone is in your own account. Or hf://buckets/….")
@click.option(
    "--since",
    metavar="WHEN",
    help="Only rows after a time, a commit, or the cursor of an earlier read; of a bucket a cursor.",
)
@click.option("--latest", metavar="KEY", help="Only the last row of each value of this column.")
@click.option(
    "--last",
    type=click.IntRange(min=1),
    metavar="N",
    help="Only the last N rows: those of the last day, of the writer that began last.",
)
@click.option("--config", help="Config of the dataset; the one that `datasets` loads by default.")
@click.option("--split", help="Split; all by default.")
@click.option(
    "--pending",
    type=LocalPath(exists=True, file_okay=False),
    metavar="FOLDER",
    help="Rows that wait in the folder of a scheduler on this machine come last.",
)
@click.option("--revision", default="main", help="Branch, tag or commit.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "csv", "parquet", "table"]),
    help="By default what the name of FILE ends with, or jsonl. Images and other bytes are base64 in jsonl and csv.",
)
@click.option("-o", "--output", type=LocalPath(dir_okay=False), metavar="FILE", help="Write there, not to stdout.")
@token_option
def read(
    repo_id: str, last: int | None, form: str | None, output: Path | None, token: str | None, **chosen: Any
) -> None:
    """Print the rows of a dataset, from JSON Lines, Parquet or zip files.

    What is not data goes to stderr: at the end the cursor, with which a later --since continues.

    Examples:
      hubspool read user/votes --last 5 --format table
      hubspool read user/votes --since 2026-11-01 --latest id > votes.jsonl
      hubspool read user/drawings --format parquet -o drawings.parquet
    """
    from hubspool.client.hf_api import HfApi

    try:
        reading = import_module("hubspool_templates.reading.rows")
    except ModuleNotFoundError as error:
        raise click.ClickException("hubspool read needs the package hubspool_templates.") from error
    form = form or {".csv": "csv", ".parquet": "parquet"}.get(output.suffix if output else "", "jsonl")
    if form == "parquet" and output is None and sys.stdout.isatty():
        raise click.UsageError("A terminal cannot show Parquet. Add -o FILE, or redirect the output.")
    api = HfApi(token=token, library_name="hubspool-cli")
    found = reading.read_rows(full_id(api, repo_id), api, **chosen)
    found.keeps_media = True
    rows: Rows = found if last is None else found.last(last)
    if output is None:
        number = _write(form, rows, lambda: reading.table_of(rows, found.columns), sys.stdout.buffer)
    else:
        with _replacing(output) as file:
            number = _write(form, rows, lambda: reading.table_of(rows, found.columns), file)
    note = counted(number, "row")
    print_line(f"{note}." if last else f"{note}. Read on later with --since {found.cursor}", err=True)


def _write(form: str, rows: Rows, as_arrow: Callable[[], Any], out: BinaryIO) -> int:
    if form == "parquet":
        found = as_arrow()
        import pyarrow.parquet as pq

        pq.write_table(found, out)
        return int(found.num_rows)
    if form == "jsonl":
        number = 0
        for number, row in enumerate(rows, start=1):  # noqa: B007  the last one is the count
            out.write(orjson.dumps(row, _plain, orjson.OPT_APPEND_NEWLINE))
        return number
    return _write_cells(rows, _text if form == "csv" else _short, _write_csv if form == "csv" else _write_aligned, out)


def _write_cells(
    rows: Rows, cell_of: Callable[[Any], str], write: Callable[[Lines, list[int], BinaryIO], None], out: BinaryIO
) -> int:
    """Write rows as lines of cells. They are on the disk first: all columns are known after the last row."""
    number = 0
    widths: dict[str, int] = {}
    with TemporaryFile() as kept:
        for number, row in enumerate(rows, start=1):  # noqa: B007  the last one is the count
            cells = {name: cell_of(value) for name, value in row.items()}
            for name, cell in cells.items():
                widths[name] = max(widths.get(name) or len(cell_of(name)), len(cell))
            kept.write(orjson.dumps(cells, option=orjson.OPT_APPEND_NEWLINE))
        kept.seek(0)
        lines = ([row.get(name, "") for name in widths] for row in map(orjson.loads, kept))
        write(chain([[*map(cell_of, widths)]], lines), [*widths.values()], out)
    return number


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the place of another once all is written; a device or a pipe is written to directly."""
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    final = path.resolve()
    hidden = final.with_name(f".{final.name}.{os.getpid()}")
    try:
        with hidden.open("wb") as file:
            yield file
        if final.exists():
            copymode(final, hidden)
        hidden.replace(final)
    finally:
        hidden.unlink(missing_ok=True)


def _plain(value: Any) -> str:
    return b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    text = orjson.dumps(value, _plain).decode()
    return text[1:-1] if text.startswith('"') else text


def _write_csv(lines: Lines, _: list[int], out: BinaryIO) -> None:
    csv.writer(codecs.getwriter("utf-8")(out)).writerows(lines)


def _write_aligned(lines: Lines, widths: list[int], out: BinaryIO) -> None:
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        out.write("  ".join(padded).rstrip().encode() + b"\n")


def _short(value: Any) -> str:
    # A text of a visitor may command the terminal.
    line = "".join(each if each.isprintable() else "?" for each in " ".join(_text(value).split()))
    return line if len(line) <= DEFAULTS.cell_characters else f"{line[: DEFAULTS.cell_characters - 1]}…"
