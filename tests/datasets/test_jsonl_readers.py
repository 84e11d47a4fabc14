"""100,000 rows of text in every language that CLDR has, read back row by row by what people read datasets with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from babel import Locale, localedata

from hubspool import HfApi
from hubspool_templates import JsonlScheduler

pytestmark = pytest.mark.slow

REPO = "local/names"
ROWS = 100_000

#: Reads the rows in every way, and prints how many ways gave just the expected ones; "missing" and null are one.
READ = """
import json, math, sys
from datetime import datetime
import datasets, duckdb, pandas, polars
from huggingface_hub import HfFileSystem

repo, expected_path = sys.argv[1:]
columns = ["n", "locale", "code", "text", "score", "tags", "meta", "note"]

def rows(found):
    clean = ({name: none(row.get(name)) for name in columns} for row in found)
    return sorted(clean, key=lambda row: row["n"])

def none(value):
    return None if isinstance(value, float) and math.isnan(value) else value

class Files(HfFileSystem):
    def modified(self, path):  # duckdb asks for it
        return datetime(2000, 1, 1)

files = Files()
pattern = f"datasets/{repo}/data/**/*.jsonl"

def by_pandas():
    frames = [pandas.read_json(f"hf://{path}", lines=True, precise_float=True) for path in files.glob(pattern)]
    return pandas.concat(frames).to_dict("records")

def by_polars():
    frames = [polars.read_ndjson(files.open(path), infer_schema_length=None) for path in files.glob(pattern)]
    return polars.concat(frames, how="diagonal_relaxed").to_dicts()

def by_duckdb():
    connection = duckdb.connect()
    connection.register_filesystem(files)
    found = connection.sql(f"select * from read_json('hf://{pattern}', union_by_name=true, sample_size=-1)")
    return [dict(zip(found.columns, row)) for row in found.fetchall()]

readers = {
    "datasets": lambda: datasets.load_dataset(repo)["train"],
    "streaming": lambda: datasets.load_dataset(repo, streaming=True)["train"],
    "pandas": by_pandas,
    "polars": by_polars,
    "duckdb": by_duckdb,
}
expected = rows(map(json.loads, open(expected_path, "rb")))
result = {}
for name, read in readers.items():
    found = rows(read())
    wrong = [pair for pair in zip(found, expected) if pair[0] != pair[1]]
    result[name] = len(found) if found == expected else wrong[:3]
print(json.dumps(result))
"""


def names() -> Iterator[dict[str, Any]]:
    """The names of languages and countries in one language after the other; two replicas' optional columns differ."""
    number = 0
    for identifier in localedata.locale_identifiers():
        locale = Locale.parse(identifier)
        for code, text in [*locale.languages.items(), *locale.territories.items()]:
            row = {"n": number, "locale": identifier, "code": code, "text": text, "score": number / 7}
            if number % 2:
                row["tags"] = list(text.split())
                row["meta"] = {"length": len(text), "first": text[:1]}
            elif number % 5 == 0:
                row["note"] = f"{text}\n\u2028“{text}”\t\\"
            yield row
            number += 1


@pytest.mark.timeout(400)
def test_every_reader_finds_every_row_as_it_was(
    make: Callable[..., JsonlScheduler], reader: Callable[..., str], hub_api: HfApi, tmp_path: Path
) -> None:
    rows = list(islice(names(), ROWS))
    assert len({row["locale"] for row in rows}) > 100
    with make(repo_id=REPO, folder="even") as even, make(repo_id=REPO, folder="odd") as odd:
        for start in range(0, ROWS, 10_000):
            block = rows[start : start + 10_000]
            even.extend(block[::2])
            for row in block[1::2]:
                odd.append(row)
            even.trigger()
            odd.trigger()
    assert len([path for path in hub_api.list_repo_files(REPO, repo_type="dataset") if path.endswith("jsonl")]) > 1
    expected = tmp_path / "expected.jsonl"
    expected.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = json.loads(reader(READ, REPO, str(expected)))
    assert found == dict.fromkeys(["datasets", "streaming", "pandas", "polars", "duckdb"], ROWS)
