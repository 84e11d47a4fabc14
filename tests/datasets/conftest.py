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
from tests.support.oracle import hub_ahead

REPO = "local/votes"
LOAD = """
import json, sys, datasets
streaming, *repos = sys.argv[1:]
loaded = [datasets.load_dataset(repo, streaming=streaming == "True") for repo in repos]
print(json.dumps([{name: [dict(row) for row in split] for name, split in each.items()} for each in loaded]))
"""


@pytest.fixture
def scheduler_kind() -> type[CommitScheduler]:
    return JsonlScheduler


@pytest.fixture
def scheduler_options() -> dict[str, Any]:
    return {"repo_id": REPO}


@pytest.fixture
def hub_is_ahead() -> Iterator[None]:
    """The Hub's clock is two months ahead, and parts of today may be joined."""
    with hub_ahead():
        yield


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
def load_all(reader: Callable[..., str]) -> Callable[..., list[dict[str, list[dict[str, Any]]]]]:
    """`datasets.load_dataset` of several repositories in one process: split → rows of each."""
    return lambda *repos, streaming=False: json.loads(reader(LOAD, str(streaming), *repos))


@pytest.fixture
def load(load_all: Callable[..., list[dict[str, list[dict[str, Any]]]]]) -> Callable[..., dict[str, Any]]:
    """The same of one repository."""
    return lambda repo_id=REPO, *, streaming=False: load_all(repo_id, streaming=streaming)[0]
