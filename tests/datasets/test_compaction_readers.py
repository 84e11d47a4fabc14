"""What people read datasets with finds the same rows before and after old files were joined."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from hubspool import CommitOperationAdd, HfApi
from hubspool.client.target import Target
from hubspool.local_hub import LocalHub
from hubspool.push.compaction import Compactor, Joiner
from hubspool.push.remote import RemoteRepo
from hubspool_templates import JsonlScheduler, ParquetScheduler, ZipScheduler
from hubspool_templates.joiners import JOINERS
from hubspool_templates.rows import RowScheduler
from tests.support.days import TOMORROW

REPO = "local/votes"
pytestmark = pytest.mark.usefixtures("hub_is_ahead")
#: Prints what each way of reading finds: split → rows, or rows.
READ = """
import hashlib, io, json, math, sys, zipfile
from datetime import datetime
import datasets
from huggingface_hub import HfFileSystem

repo, suffix = sys.argv[1:]

class Files(HfFileSystem):
    def modified(self, path):  # duckdb asks for it
        return datetime(2000, 1, 1)

files = Files()
pattern = f"datasets/{repo}/data/*/*.{suffix}"

def plain(value):
    if isinstance(value, float) and math.isnan(value):
        return None
    if hasattr(value, "tobytes") and hasattr(value, "mode"):
        return hashlib.sha256(value.tobytes()).hexdigest()
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in sorted(value.items())}
    return [plain(item) for item in value] if isinstance(value, list) else value

def rows(found):
    clean = ({key: plain(value) for key, value in dict(row).items() if plain(value) is not None} for row in found)
    return sorted(clean, key=lambda row: row["n"])

def loaded(**options):
    return {
        f"{config}/{name}": rows(split)
        for config in datasets.get_dataset_config_names(repo)
        for name, split in datasets.load_dataset(repo, config, **options).items()
    }

def by_pandas():
    import pandas
    read = pandas.read_parquet if suffix == "parquet" else lambda path: pandas.read_json(path, lines=True)
    return rows(pandas.concat([read(f"hf://{path}") for path in files.glob(pattern)]).to_dict("records"))

def by_polars():
    import polars
    read = polars.read_parquet if suffix == "parquet" else polars.read_ndjson
    frames = [read(files.open(path)) for path in files.glob(pattern)]
    return rows(polars.concat(frames, how="diagonal_relaxed").to_dicts())

def by_duckdb():
    import duckdb
    connection = duckdb.connect()
    connection.register_filesystem(files)
    read = "read_parquet" if suffix == "parquet" else "read_json"
    found = connection.sql(f"select * from {read}('hf://{pattern}', union_by_name=true)")
    return rows(dict(zip(found.columns, row)) for row in found.fetchall())

def by_zipfile():
    found = []
    for path in files.glob(pattern):
        with zipfile.ZipFile(io.BytesIO(files.cat_file(path))) as archive:
            for row in map(json.loads, archive.read("metadata.jsonl").splitlines()):
                found.append({"n": row["n"], "word": row.get("word"), "content": archive.read(row["file_name"])})
    return rows(found)

result = {"load_dataset": loaded(), "streaming": loaded(streaming=True)}
if suffix == "zip":
    result["zipfile"] = by_zipfile()
else:
    result |= {"pandas": by_pandas(), "polars": by_polars(), "duckdb": by_duckdb()}
print(json.dumps(result))
"""


def picture(n: int) -> Image.Image:
    return Image.new("RGB", (4, 4), (n, 2 * n, 0))


def fill_jsonl(make: Callable[..., RowScheduler]) -> None:
    for copy in range(3):
        scheduler = make(JsonlScheduler, folder=f"copy-{copy}")
        more: dict[str, Any] = {"score": 0.5 + copy, "words": {"a": [str(copy)]}} if copy else {}
        scheduler.extend([{"n": 10 * copy + n, "text": f"ψ {n}\u2028", **more} for n in range(4)])
        scheduler.stop()


def fill_parquet(make: Callable[..., RowScheduler]) -> None:
    for copy in range(4):  # the first two have other columns than the others
        scheduler = make(ParquetScheduler, folder=f"copy-{copy}")
        more: dict[str, Any] = {"image": picture(copy), "words": {"a": [str(copy)]}} if copy > 1 else {}
        scheduler.extend([{"n": 10 * copy + n, "text": f"ψ {n}", **more} for n in range(4)])
        scheduler.stop()


def fill_zip(make: Callable[..., RowScheduler]) -> None:
    for copy in range(4):
        scheduler = make(ZipScheduler, folder=f"copy-{copy}", name=("train", "test")[copy % 2])
        for n in range(3):
            scheduler.add(picture(10 * copy + n), "same name.png", n=10 * copy + n, word=f"ψ{n}")  # type: ignore[attr-defined]
        scheduler.stop()


FILLS = {"jsonl": fill_jsonl, "parquet": fill_parquet, "zip": fill_zip}
JOINED = {"jsonl": (3, 1), "parquet": (4, 2), "zip": (4, 2)}  # files before, and after: one a schema, one a split


@pytest.mark.parametrize("suffix", FILLS)
def test_every_reader_finds_the_same_rows_after_files_were_joined(
    make: Callable[..., RowScheduler],
    reader: Callable[..., str],
    hub_api: HfApi,
    local_hub: LocalHub,
    suffix: str,
) -> None:
    FILLS[suffix](make)
    foreign = CommitOperationAdd("data/notes.txt", b"not ours\n")
    hub_api.create_commit(REPO, [foreign], commit_message="by a person", repo_type="dataset")
    before = json.loads(reader(READ, REPO, suffix))
    joiner = JOINERS[suffix]() if suffix in JOINERS else Joiner()
    repo = RemoteRepo(hub_api, Target(local_hub.endpoint, REPO, "dataset", "main"))
    report = Compactor(repo, "data", {suffix: joiner}).run(TOMORROW)
    assert (report.files_before, len(report.paths)) == JOINED[suffix]
    files = {path.rpartition("/")[2]: path for path in hub_api.list_repo_files(REPO, repo_type="dataset")}
    assert sum("-joined." in name for name in files) == JOINED[suffix][1]
    assert "notes.txt" in files
    after = json.loads(reader(READ, REPO, suffix))
    assert after == before
    ways = {name: sum(map(len, found.values())) if isinstance(found, dict) else len(found) for name, found in
            after.items()}  # fmt: skip
    assert len(ways) >= 3
    assert ways == dict.fromkeys(ways, 12 if suffix != "parquet" else 16)
    for path in filter(lambda path: "-joined." in path, files.values()):
        check_file(suffix, repo.content(path))


def check_file(suffix: str, content: bytes) -> None:
    """Check what a joined file keeps beside its rows."""
    if suffix == "parquet":
        metadata = pq.read_metadata(io.BytesIO(content))
        assert b"huggingface" in metadata.metadata
        assert all(metadata.row_group(0).column(n).has_offset_index for n in range(metadata.num_columns))
        assert metadata.row_group(0).column(0).has_column_index
    elif suffix == "zip":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            assert archive.testzip() is None
            assert sum(name.startswith("same name") for name in archive.namelist()) == 6
