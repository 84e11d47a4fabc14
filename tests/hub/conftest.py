"""The client that people use today, against the local Hub."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from huggingface_hub import HfApi

from hubspool.local_hub import LocalHub


@pytest.fixture
def stock_api(local_hub: LocalHub) -> HfApi:
    return HfApi(endpoint=local_hub.endpoint, token=local_hub.token)


@pytest.fixture
def dataset(stock_api: HfApi) -> str:
    """An empty dataset repository."""
    return stock_api.create_repo("local/rows", repo_type="dataset").repo_id


@pytest.fixture
def fetch(stock_api: HfApi, dataset: str, tmp_path: Path) -> Callable[[str], bytes]:
    """Downloads a file of the dataset with the stock client."""

    def download(path: str) -> bytes:
        target = tmp_path / "downloads"
        found = stock_api.hf_hub_download(dataset, path, repo_type="dataset", local_dir=target, force_download=True)
        return Path(found).read_bytes()

    return download


@pytest.fixture
def http(local_hub: LocalHub) -> requests.Session:
    """Plain HTTP with the user's token."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {local_hub.token}"
    session.trust_env = False
    return session


@pytest.fixture
def env(local_hub: LocalHub, tmp_path: Path) -> dict[str, str]:
    """The environment of a person at a shell who uses the local Hub."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUBSPOOL_"))}
    return {
        **kept,
        "HF_ENDPOINT": local_hub.endpoint,
        "HF_TOKEN": local_hub.token,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


@pytest.fixture
def run(env: dict[str, str], tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs one command of ours; a keyword is a change of the environment, None takes a variable away."""

    def command(*args: object, **changes: str | None) -> subprocess.CompletedProcess[str]:
        environ = {**env, **{name: value for name, value in changes.items() if value is not None}}
        for name in [name for name, value in changes.items() if value is None]:
            environ.pop(name, None)
        argv = [sys.executable, "-m", "hubspool.cli", *map(str, args)]
        return subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=90, cwd=tmp_path)

    return command
