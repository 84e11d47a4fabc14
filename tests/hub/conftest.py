"""The client that people use today, against the local Hub."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import requests
from huggingface_hub import HfApi

from hubspool import HfApi as OurApi
from hubspool.client.retry import RetryPolicy
from hubspool.client.target import Target
from hubspool.local_hub import LocalHub
from tests.support.git_runner import Git, git_runner


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
def git(hub_environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    """Runs git with a home of its own."""
    return git_runner(tmp_path, monkeypatch)


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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """For large uploads: 20 regular files and 20 of the LFS class, in nested folders."""
    root = tmp_path / "folder"
    for number in range(20):
        (root / f"part-{number % 3}").mkdir(parents=True, exist_ok=True)
        (root / f"part-{number % 3}" / f"{number:02}.txt").write_text(f"text {number}\n" * number)
        (root / f"part-{number % 3}" / f"{number:02}.bin").write_bytes(os.urandom(5000))
    return root


@pytest.fixture
def upload(hub_api: OurApi, folder: Path) -> Callable[..., None]:
    """Uploads `folder` to the dataset local/docs with two workers."""
    # One attempt a request, so that what repeats is the queue.
    hub_api.session.retry = RetryPolicy(attempts=1)
    return partial(hub_api.upload_large_folder, "local/docs", folder, repo_type="dataset", num_workers=2)


@pytest.fixture
def held(hub_api: OurApi, folder: Path) -> Callable[[], bool]:
    """Whether local/docs holds exactly what the folder does."""

    def compare(revision: str = "main") -> bool:
        target = Target.of(hub_api.endpoint, "local/docs", "dataset", revision)
        paths = set(hub_api.list_repo_files("local/docs", repo_type="dataset", revision=revision)) - {".gitattributes"}
        local = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
        local = {path: file for path, file in local.items() if not path.startswith(".cache")}
        read = hub_api.client()
        return paths == set(local) and all(
            read.request("GET", target.file_url(path)).content == file.read_bytes() for path, file in local.items()
        )

    return compare
