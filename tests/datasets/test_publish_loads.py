"""What `hubspool publish` makes of a bucket loads with `datasets`, in each form, with several splits and configs."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from hubspool import HfApi
from hubspool.cli import main
from hubspool.local_hub import LocalHub
from hubspool_templates import JsonlScheduler, ParquetScheduler, ZipScheduler

COUNT = """
import json, sys, datasets
loaded = [datasets.load_dataset(repo, config) for repo in sys.argv[1:] for config in (None, "errors")]
def told(split): return [split.num_rows, sorted(split.column_names)]
print(json.dumps([{name: told(split) for name, split in each.items()} for each in loaded]))
"""
SECONDS = 60


def test_published_datasets_load(
    local_hub: LocalHub,
    hub_api: HfApi,
    make: Callable[..., Any],
    reader: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", local_hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", local_hub.token)
    picture = io.BytesIO()
    Image.new("RGB", (2, 2)).save(picture, "PNG")
    forms = {"a": JsonlScheduler, "b": ParquetScheduler, "c": ZipScheduler}
    for name, kind in forms.items():
        hub_api.delete_repo(f"local/{name}", repo_type="dataset", missing_ok=True)
        bucket = f"hf://buckets/local/{name}"
        hub_api.delete_bucket(f"local/{name}", missing_ok=True)
        schedulers = [make(kind, repo_id=bucket, name=split, folder=f"{name}-{split}") for split in ("train", "test")]
        schedulers.append(make(kind, repo_id=bucket, config="errors", folder=f"{name}-errors"))
        for number in range(2):
            for scheduler in schedulers:
                if kind is ZipScheduler:
                    scheduler.add(picture.getvalue(), f"{number}.png", n=number)
                else:
                    scheduler.append({"n": number} if number else {"n": number, "m": 1.5})
                scheduler.flush(SECONDS)
            assert main(["publish", bucket, f"local/{name}"]) == 0
    counts = json.loads(reader(COUNT, *(f"local/{name}" for name in forms)))
    of_rows = {split: [2, ["m", "n"]] for split in ("train", "test")}
    of_images = {split: [2, ["image", "n"]] for split in ("train", "test")}
    expected = [
        {split: found[split] for split in splits}
        for found in (of_rows, of_rows, of_images)
        for splits in (("train", "test"), ("train",))
    ]
    assert counts == expected
