"""What the Hub's guide does at a command line, with our command in place of its own."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hubspool import HfApi
from hubspool.local_hub import LocalHub

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "net.safetensors").write_bytes(os.urandom(300_000))
    (folder / "settings.json").write_text('{"layers": 2}')
    return folder


@pytest.mark.usefixtures("weights")
def test_guide_5_a_file_and_then_its_folder(run: Run, hub_api: HfApi, local_hub: LocalHub) -> None:
    one = run("upload", "local/small-net", "./checkpoints/net.safetensors", "net.safetensors")
    assert one.returncode == 0, one.stderr
    assert one.stdout.splitlines()[-1] == f"{local_hub.endpoint}/local/small-net/blob/main/net.safetensors"
    assert hub_api.list_repo_files("local/small-net") == [".gitattributes", "net.safetensors"]
    whole = run("upload", "local/small-net", "./checkpoints", ".")
    assert whole.stdout.splitlines()[-1] == f"{local_hub.endpoint}/local/small-net/tree/main"
    assert hub_api.list_repo_files("local/small-net") == [".gitattributes", "net.safetensors", "settings.json"]


def test_guide_8_a_large_folder_with_an_option_between_the_arguments(
    run: Run, weights: Path, hub_api: HfApi, local_hub: LocalHub
) -> None:
    done = run("upload-large-folder", "local/Papers", "--repo-type=dataset", weights, "--num-workers=3")
    assert done.returncode == 0, done.stderr
    assert hub_api.list_repo_files("local/Papers", repo_type="dataset")[1:] == ["net.safetensors", "settings.json"]
    lines = done.stderr.splitlines()
    assert lines[:2] == [
        f"Repo created: {local_hub.endpoint}/datasets/local/Papers",
        "Found 2 candidate files to upload",
    ]
    assert "Workers: hashing: 0 | get upload mode: 0 | pre-uploading: 0 | committing: 0 | waiting: 3" in lines
    assert re.search(r"pre-uploaded: 1/1 \(300\.0K/300\.0K\) \| committed: 2/2 \(300\.0K/300\.0K\)", done.stderr)
