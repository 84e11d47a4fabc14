"""`datasets` writes and reads here unchanged."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hubspool.local_hub import LocalHub

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
