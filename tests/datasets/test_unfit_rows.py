"""A row that an encoding cannot store is kept as text, is counted and told, and holds up no other row."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from hubspool.errors import UnfitRowsError
from hubspool_templates import ParquetScheduler, ZipScheduler
from hubspool_templates.archive import zip_encoding
from hubspool_templates.parquet import parquet_encoding, tables

SECONDS = 60
Make = Callable[..., Any]


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the encodings fail for rows that have the text "poison"."""
    array, member = tables._array, zip_encoding._write_member

    def fail(row: dict[str, Any]) -> None:
        if row.get("v") == "poison" or row.get("metadata", {}).get("v") == "poison":
            raise RuntimeError("no such codec")

    def read(data: bytes, schema: Any) -> pa.Table | None:
        return None  # Arrow's own reader would not see our failure

    def column(rows: list[dict[str, Any]], *arguments: Any) -> pa.Array | None:
        for row in rows:
            fail(row)
        return array(rows, *arguments)

    def write(archive: Any, name: str, row: dict[str, Any], spool: Path) -> None:
        fail(row)
        member(archive, name, row, spool)

    monkeypatch.setattr(parquet_encoding, "fast_table", read)
    monkeypatch.setattr(tables, "_array", column)
    monkeypatch.setattr(zip_encoding, "_write_member", write)


@pytest.mark.usefixtures("poisoned")
def test_a_row_that_parquet_cannot_store_is_kept_as_text_and_its_neighbours_arrive(
    make: Make, load: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Any] = []
    scheduler = make(kind=ParquetScheduler, on_error=told.append)
    for start in (0, 20):
        for n in range(start, start + 20):
            scheduler.append({"n": n, "v": "poison" if n in (3, 4, 17, 25) else f"text {n}"})
        scheduler.flush(SECONDS)
    status = scheduler.status()
    scheduler.append({"n": 40, "v": "fine"})
    scheduler.stop(timeout=SECONDS)
    rows = load()["train"]
    assert sorted(row["n"] for row in rows if row["n"] is not None) == [n for n in range(41) if n not in (3, 4, 17, 25)]
    assert [row["v"] for row in rows if row["n"] == 20] == ["text 20"]
    texts = [json.loads(row["_unfit"]) for row in rows if row["_unfit"] is not None]
    assert sorted(texts, key=lambda row: row["n"]) == [{"n": n, "v": "poison"} for n in (3, 4, 17, 25)]
    assert [event.error.rows for event in told] == [3, 4]
    assert all(isinstance(event.error, UnfitRowsError) and "no such codec" in str(event.error) for event in told)
    assert "4 rows could not be stored" in status.skipped["#unfit"]
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 2


@pytest.mark.usefixtures("poisoned")
def test_a_file_that_an_archive_cannot_store_as_it_is_keeps_its_content(
    make: Make, load: Callable[..., Any], tmp_path: Path
) -> None:
    told: list[Any] = []
    scheduler = make(kind=ZipScheduler, on_error=told.append)
    for n in range(6):
        scheduler.add(f"picture {n}".encode(), f"{n}.txt", v="poison" if n == 2 else f"text {n}")
    (tmp_path / "large.txt").write_bytes(b"large" * 100_000)
    scheduler.add(tmp_path / "large.txt", v="poison")
    scheduler.flush(SECONDS)
    assert "2 rows" in scheduler.status().skipped["#unfit"]
    scheduler.stop(timeout=SECONDS)
    assert [event.error.rows for event in told] == [2]
    members = unpacked(scheduler, tmp_path)
    table = [json.loads(line) for line in members.pop("metadata.jsonl").splitlines()]
    assert sorted(row["v"] for row in table if "v" in row) == [f"text {n}" for n in (0, 1, 3, 4, 5)]
    unfit = [row for row in table if "_unfit" in row]
    texts = [json.loads(row["_unfit"]) for row in unfit]
    assert sorted((text["name"], text["metadata"]["v"]) for text in texts) == [
        ("2.txt", "poison"),
        ("large.txt", "poison"),
    ]
    assert sorted(members[row["file_name"]] for row in unfit) == [b"large" * 100_000, b"picture 2"]


def unpacked(scheduler: Any, tmp_path: Path) -> dict[str, bytes]:
    import zipfile

    api, repo = scheduler.api, scheduler.repo_id
    found = {}
    for path in api.list_repo_files(repo, repo_type="dataset"):
        if path.endswith(".zip"):
            with zipfile.ZipFile(
                api.hf_hub_download(repo, path, repo_type="dataset", local_dir=tmp_path / "zip")
            ) as file:
                found.update({name: file.read(name) for name in file.namelist()})
    return found


def test_an_encoding_that_fails_for_every_line_keeps_them_for_a_later_push(
    make: Make, monkeypatch: pytest.MonkeyPatch, load: Callable[..., Any]
) -> None:
    scheduler = make(kind=ParquetScheduler)
    scheduler.append({"n": 1})
    with monkeypatch.context() as broken:
        broken.setattr(parquet_encoding, "_write", lambda *given: 1 / 0)
        with pytest.raises(OSError, match="ZeroDivisionError"):
            scheduler.flush(SECONDS)
    scheduler.stop(timeout=SECONDS)
    assert load()["train"] == [{"n": 1}]
