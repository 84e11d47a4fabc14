"""`datasets` writes and reads here unchanged."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from hubspool import HfApi
from hubspool.client.target import Target
from hubspool.local_hub import LocalHub
from hubspool.push.compaction import Compactor
from hubspool.push.joiner import Joiner
from hubspool.push.remote import RemoteRepo
from hubspool_templates import JsonlScheduler, ParquetScheduler
from tests.support.oracle import hub_ahead
from tests.support.other_clients import python_with
from tests.support.paths import ROOT

SECONDS = 100

_SCRIPT = """
from datasets import Dataset, DatasetDict, load_dataset
rows = [{"id": number, "text": f"row {number}", "nested": {"a": [number]}} for number in range(1000)]
whole = Dataset.from_list(rows)
DatasetDict({"train": whole, "test": whole.select(range(10))}).push_to_hub("local/pushed", private=True)
whole.select(range(5)).push_to_hub("local/pushed", config_name="small", num_shards=2)
assert load_dataset("local/pushed", "default", split="train")[:] == whole[:]
assert list(load_dataset("local/pushed", "default", split="test", streaming=True)) == rows[:10]
assert list(load_dataset("local/pushed", "small", split="train", streaming=True)) == rows[:5]
whole.select(range(7)).push_to_hub("local/pushed", config_name="small")
assert len(load_dataset("local/pushed", "small", split="train")) == 7
print("done")
"""


@pytest.mark.timeout(180)
@pytest.mark.parametrize("xet", [True, False])
def test_what_datasets_pushes_it_loads_and_streams(xet: bool, client_environment: dict[str, str]) -> None:
    with LocalHub(xet=xet) as hub:
        environment = {**client_environment, "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": hub.token}
        environment["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
        if not xet:
            environment["HF_HUB_DISABLE_XET"] = "1"
        ran = subprocess.run(
            [sys.executable, "-c", _SCRIPT], env=environment, capture_output=True, text=True, timeout=150
        )
        assert ran.returncode == 0, ran.stderr
        assert "done" in ran.stdout
        assert not [record for record in hub.requests if record.status >= 500]
        assert bool(hub.requests.of("xet-shard")) == xet


_BUCKET = """
from datasets import Dataset, load_dataset
from huggingface_hub import HfApi
api = HfApi()
api.create_bucket("local/votes", private=True)
lines = [b'{"id": %d, "text": "row %d"}\\n' % (number, number) for number in range(100)]
files = [(b"".join(lines[:60]), "rows/a.jsonl"), (b"".join(lines[60:]), "rows/b.jsonl")]
api.batch_bucket_files("local/votes", add=files)
rows = load_dataset("buckets/local/votes/rows", split="train")
assert sorted(rows["id"]) == list(range(100))
streamed = load_dataset("buckets/local/votes/rows", split="train", streaming=True)
assert sorted(row["id"] for row in streamed) == list(range(100))
Dataset.from_list([{"id": 7}]).push_to_hub("buckets/local/pushed")
assert load_dataset("buckets/local/pushed", split="train")["id"] == [7]
print("done")
"""


@pytest.mark.timeout(180)
def test_a_bucket_is_loaded_streamed_and_pushed_to(client_environment: dict[str, str]) -> None:
    with LocalHub() as hub:
        environment = {**client_environment, "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": hub.token}
        environment["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
        ran = subprocess.run(
            [sys.executable, "-c", _BUCKET], env=environment, capture_output=True, text=True, timeout=150
        )
        assert ran.returncode == 0, ran.stderr
        assert "done" in ran.stdout
        assert not [record for record in hub.requests if record.status >= 500]


#: The first version that reads json columns: those whose values are lists, dicts and others in turn.
READS_JSON = "datasets==4.7.0"
LOAD = """
import datasets
for repo in ("local/lines", "local/tables"):
    print([row["v"] for row in datasets.load_dataset(repo, split="train")])
"""


@pytest.mark.timeout(500)
def test_the_oldest_datasets_that_we_name_reads_json_columns(
    client_environment: dict[str, str], tmp_path: Path
) -> None:
    assert f'"{READS_JSON.replace("==", ">=").removesuffix(".0")}"' in (ROOT / "pyproject.toml").read_text()
    assert "`datasets` 4.7" in (ROOT / "README.md").read_text(encoding="utf-8")
    with LocalHub() as hub:
        client_environment |= {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": hub.token, "HF_HOME": str(tmp_path / "cache")}
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        for kind, repo in ((JsonlScheduler, "local/lines"), (ParquetScheduler, "local/tables")):
            with kind(repo, tmp_path / "rows", hf_api=api) as rows:
                rows.extend([{"v": {"a": 1}}, {"v": [1, "b"]}, {"v": 2}])
        read = partial(subprocess.run, env=client_environment, capture_output=True, text=True, timeout=SECONDS)
        ran = read([python_with(READS_JSON), "-c", LOAD])
        assert ran.stdout.splitlines() == ["[{'a': 1}, [1, 'b'], 2]"] * 2, ran.stderr
        ran = read([python_with("datasets==4.6.1"), "-c", LOAD])
        assert "Json" in ran.stderr


@pytest.mark.timeout(500)
def test_the_oldest_datasets_that_we_name_reads_what_was_joined(
    client_environment: dict[str, str], tmp_path: Path
) -> None:
    with LocalHub() as hub:
        client_environment |= {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": hub.token, "HF_HOME": str(tmp_path / "cache")}
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        for copy, value in enumerate([1, 2, "a", "b"]):
            with JsonlScheduler("local/lines", tmp_path / f"rows-{copy}", hf_api=api) as rows:
                rows.append({"v": value})
        repo = RemoteRepo(api, Target.of(hub.endpoint, "local/lines", "dataset"))
        tomorrow = repo.head().at.date() + timedelta(days=1)
        with hub_ahead():
            report = Compactor(repo, "data", {"jsonl": Joiner()}).run(tomorrow)
        assert (report.files_before, len(report.paths)) == (4, 2)
        script = 'import datasets; print(sorted(datasets.load_dataset("local/lines", split="train")["v"]))'
        read = partial(subprocess.run, env=client_environment, capture_output=True, text=True, timeout=SECONDS)
        ran = read([python_with(READS_JSON), "-c", script])
        assert ran.stdout == "['1', '2', 'a', 'b']\n", ran.stderr
