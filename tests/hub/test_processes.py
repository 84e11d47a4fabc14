"""Several clients in several processes, and the libraries that read what they wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hubspool.local_hub import LocalHub

TIMEOUT = 100

_UPLOAD = """
import hashlib, sys
from huggingface_hub import HfApi
api, name = HfApi(), sys.argv[1]
shared = hashlib.sha256(b"shared").digest() * 60_000
for number in range(2):
    own = hashlib.sha256(f"{name} {number}".encode()).digest() * 30_000
    content = {f"{name}-{number}.bin": shared + own, f"{name}-{number}.txt": name.encode()}
    for path, data in content.items():
        api.upload_file(path_or_fileobj=data, path_in_repo=path, repo_id="local/rows", repo_type="dataset")
        found = api.hf_hub_download("local/rows", path, repo_type="dataset", force_download=True)
        assert open(found, "rb").read() == data, path
"""

_LOAD = """
import json, sys
from datasets import load_dataset
rows = load_dataset("local/rows", split="train")
streamed = list(load_dataset("local/rows", split="train", streaming=True))
assert streamed == list(rows)
print(json.dumps(list(rows)))
"""


def environment(hub: LocalHub, home: Path) -> dict[str, str]:
    more = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": hub.token, "HF_HOME": str(home), "HF_XET_CACHE": str(home / "xet")}
    return {**os.environ, **more}


@pytest.mark.timeout(TIMEOUT + 20)
def test_eight_processes_upload_at_once(local_hub: LocalHub, stock_api: HfApi, dataset: str, tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _UPLOAD, f"w{number}"],
            env=environment(local_hub, tmp_path / f"home{number}"),
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(8)
    ]
    for writer in writers:
        _, errors = writer.communicate(timeout=TIMEOUT)
        assert writer.returncode == 0, errors
    files = stock_api.list_repo_files(dataset, repo_type="dataset")
    assert len(files) == 1 + 8 * 2 * 2
    assert len(stock_api.list_repo_commits(dataset, repo_type="dataset")) == 1 + 8 * 2 * 2
    repo = local_hub.root / "repos" / "datasets" / "local" / "rows.git"
    subprocess.run(["git", "fsck", "--strict", "--full"], cwd=repo, check=True, timeout=TIMEOUT, capture_output=True)


@pytest.mark.timeout(TIMEOUT + 20)
def test_datasets_loads_json_lines_whole_and_streamed(
    local_hub: LocalHub, stock_api: HfApi, dataset: str, tmp_path: Path
) -> None:
    rows = [{"id": number, "text": f"row {number}"} for number in range(5)]
    for part in (rows[:2], rows[2:]):
        stock_api.upload_file(
            path_or_fileobj="".join(json.dumps(row) + "\n" for row in part).encode(),
            path_in_repo=f"data/train-{part[0]['id']}.jsonl",
            repo_id=dataset,
            repo_type="dataset",
        )
    done = subprocess.run(
        [sys.executable, "-c", _LOAD],
        env=environment(local_hub, tmp_path / "home"),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == rows
