"""`hubspool read REPO`: rows of a dataset on stdout."""

from __future__ import annotations

import csv
import io
import sys
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import click
import orjson

from hubspool.cli.defaults import DEFAULTS
from hubspool.cli.options import Command, LocalPath, token_option
from hubspool.cli.output import print_line
from hubspool.scheduling.status import counted

Rows = Iterable[Mapping[str, Any]]


@click.command("read", cls=Command)
@click.argument("repo_id", help="Dataset, as user/name; a name alone is in your own account. Or hf://buckets/….")
@click.option("--since", metavar="WHEN", help="Only rows after a time, a commit, or the cursor of an earlier read.")
@click.option("--latest", metavar="KEY", help="Only the last row of each value of this column.")
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Only the N newest rows.")
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
    default="jsonl",
    help="Images and other bytes are base64 in jsonl and csv.",
)
@click.option("-o", "--output", type=LocalPath(dir_okay=False), metavar="FILE", help="Write there, not to stdout.")
@token_option
def read(repo_id: str, last: int | None, form: str, output: Path | None, token: str | None, **chosen: Any) -> None:
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
    if form == "parquet" and output is None and sys.stdout.isatty():
        raise click.UsageError("A terminal cannot show Parquet. Add -o FILE, or redirect the output.")
    api = HfApi(token=token, library_name="hubspool-cli")
    if "/" not in repo_id:
        repo_id = f"{api.whoami(cache=True)['name']}/{repo_id}"
    found = reading.read_rows(repo_id, api, **chosen)
    found.keeps_media = True
    rows: Rows = found if last is None else found.last(last)
    if output is None:
        number = _write(form, rows, lambda: reading.table_of(rows, found.columns), sys.stdout.buffer)
    else:
        with output.open("wb") as file:
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
    table = [{name: _text(value) for name, value in row.items()} for row in rows]
    columns = [*dict.fromkeys(name for row in table for name in row)]
    lines = [columns, *([row.get(name, "") for name in columns] for row in table)]
    text = _csv(lines) if form == "csv" else _aligned(lines)
    out.write(text.encode())
    return len(table)


def _plain(value: Any) -> str:
    return b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    text = orjson.dumps(value, _plain).decode()
    return text[1:-1] if text.startswith('"') else text


def _csv(lines: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(lines)
    return text.getvalue()


def _aligned(lines: list[list[str]]) -> str:
    cells = [[_short(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in cells
    )


def _short(cell: str) -> str:
    line = " ".join(cell.split())
    return line if len(line) <= DEFAULTS.cell_characters else f"{line[: DEFAULTS.cell_characters - 1]}…"
