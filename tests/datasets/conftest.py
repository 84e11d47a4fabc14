"""Schedulers of rows, and what `datasets` reads of what they sent."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hubspool import CommitScheduler
from hubspool.local_hub import LocalHub
from hubspool_templates import JsonlScheduler
from tests.support.fork_server import ForkServer

REPO = "local/votes"
LOAD = """
import json, sys, datasets
loaded = datasets.load_dataset(sys.argv[1], streaming=sys.argv[2] == "True")
print(json.dumps({name: [dict(row) for row in split] for name, split in loaded.items()}))
"""


@pytest.fixture
def scheduler_kind() -> type[CommitScheduler]:
    return JsonlScheduler


@pytest.fixture
def scheduler_options() -> dict[str, Any]:
    return {"repo_id": REPO}


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture
def reader(fork_server: ForkServer, local_hub: LocalHub, tmp_path: Path) -> Callable[..., str]:
    """Run a script in a process that knows the Hub and has a cache of its own; returns the last line it printed."""
    environment = {
        "PATH": os.environ["PATH"],
        "HF_ENDPOINT": local_hub.endpoint,
        "HF_TOKEN": local_hub.token,
        "HF_HOME": str(tmp_path / "reader"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }

    def run(script: str, *arguments: str) -> str:
        return fork_server.run(script, *arguments, env=environment, cwd=tmp_path).splitlines()[-1]

    return run


@pytest.fixture
def load(reader: Callable[..., str]) -> Callable[..., dict[str, list[dict[str, Any]]]]:
    """`datasets.load_dataset(repo)` in a process of its own: split → rows."""

    def read(repo_id: str = REPO, *, streaming: bool = False) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = json.loads(reader(LOAD, repo_id, str(streaming)))
        return found

    return read
