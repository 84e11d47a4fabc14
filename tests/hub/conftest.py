"""The client that people use today, against the local Hub."""

from __future__ import annotations

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
