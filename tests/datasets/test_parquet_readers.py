"""100,000 rows of text in every language that CLDR has, with digits and photographs, read back by every reader."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from babel import Locale, localedata
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from hubspool import HfApi
from hubspool_templates import ParquetScheduler

pytestmark = pytest.mark.slow

REPO = "local/names"
ROWS = 100_000

#: Reads the rows in every way, and prints for each how many were just the expected ones; "missing" and null are one.
READ = """
import json, math, pickle, sys
from datetime import datetime, timezone
import datasets, duckdb, numpy, pandas, polars
from huggingface_hub import HfFileSystem

repo, expected_path = sys.argv[1:]
expected = pickle.load(open(expected_path, "rb"))

def plain(value):
    if isinstance(value, float) and math.isnan(value) or value is pandas.NaT:
        return None
    if isinstance(value, numpy.ndarray):
        value = value.tolist()
    if isinstance(value, pandas.Timestamp):
        value = value.to_pydatetime()
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value

class Files(HfFileSystem):
    def modified(self, path):  # duckdb asks for it
        return datetime(2000, 1, 1)

files = Files()
pattern = f"datasets/{repo}/data/**/*.parquet"

def by_datasets(**options):
    found = datasets.load_dataset(repo, split="train", **options)
    assert isinstance(found.features["image"], datasets.Image), found.features
    return found.cast_column("image", datasets.Image(decode=False))

def by_pandas():
    return pandas.concat([pandas.read_parquet(f"hf://{path}") for path in files.glob(pattern)]).to_dict("records")

def by_polars():
    frames = [polars.read_parquet(files.open(path)) for path in files.glob(pattern)]
    return polars.concat(frames, how="diagonal_relaxed").to_dicts()

def by_duckdb():
    connection = duckdb.connect()
    connection.register_filesystem(files)
    found = connection.sql(f"select * from read_parquet('hf://{pattern}', union_by_name=true)")
    return [dict(zip(found.columns, row)) for row in found.fetchall()]

readers = {
    "datasets": by_datasets,
    "streaming": lambda: by_datasets(streaming=True),
    "pandas": by_pandas,
    "polars": by_polars,
    "duckdb": by_duckdb,
}
result = {}
for name, read in readers.items():
    found = {row["n"]: row for row in read()}
    wrong = [
        (n, key, found[n].get(key), value)
        for n, row in expected.items()
        for key, value in row.items()
        if plain(found[n].get(key)) != value
    ]
    extra = [n for n, row in found.items() for key in row if plain(row[key]) is not None and key not in expected[n]]
    result[name] = len(found) if not wrong and not extra and len(found) == len(expected) else repr((wrong, extra))[:500]
print(json.dumps(result))
"""


def png(pixels: Any) -> Image.Image:
    out = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(out, "PNG")
    return Image.open(out)


def rows() -> Iterator[dict[str, Any]]:
    """Names of languages and countries in one language after the other; two replicas' optional columns differ."""
    digits, number = load_digits().images, 0
    for identifier in localedata.locale_identifiers():
        locale = Locale.parse(identifier)
        for text in [*locale.languages.values(), *locale.territories.values()]:
            row = {"n": number, "locale": identifier, "text": text, "score": number / 7}
            if number % 2:
                row["tags"] = list(text.split())
                row["meta"] = {"length": len(text), "first": text[:1]}
                row["at"] = datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=number)
            elif number % 5 == 0:
                row["note"] = f"{text}\n\u2028“{text}”\t\\"
            if number % 20 == 3:
                row["image"] = png(digits[number % len(digits)])
            yield row
            number += 1


def stored(value: Any) -> Any:
    """What a value is in the file."""
    if not isinstance(value, Image.Image):
        return value
    out = io.BytesIO()
    value.save(out, "PNG")
    return {"bytes": out.getvalue(), "path": None}


@pytest.mark.timeout(400)
def test_every_reader_finds_every_row_as_it_was(
    make: Callable[..., ParquetScheduler], reader: Callable[..., str], hub_api: HfApi, tmp_path: Path
) -> None:
    given = list(islice(rows(), ROWS))
    assert len({row["locale"] for row in given}) > 100
    for row, photograph in zip(given[1::2], load_sample_images().images, strict=False):
        row["image"] = png(photograph)
    with (
        make(ParquetScheduler, repo_id=REPO, folder="even") as even,
        make(ParquetScheduler, repo_id=REPO, folder="odd") as odd,
    ):
        for start in range(0, ROWS, 10_000):
            block = given[start : start + 10_000]
            even.extend(block[::2])
            for row in block[1::2]:
                odd.append(row)
            even.trigger()
            odd.trigger()
        for scheduler in (even, odd):
            scheduler.flush(120)
    assert len([path for path in hub_api.list_repo_files(REPO, repo_type="dataset") if path.endswith("parquet")]) > 1
    expected = tmp_path / "expected"
    kept = {row["n"]: {name: stored(value) for name, value in row.items()} for row in given}
    expected.write_bytes(pickle.dumps(kept))
    found = json.loads(reader(READ, REPO, str(expected)))
    assert found == dict.fromkeys(["datasets", "streaming", "pandas", "polars", "duckdb"], ROWS)
