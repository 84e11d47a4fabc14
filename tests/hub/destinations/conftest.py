"""A Hub with two accounts, and schedulers that share one folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hubspool import CommitScheduler
from hubspool.local_hub import LocalHub
from tests.support.destinations import USERS, Make, client


@pytest.fixture
def hub(hub_environment: Path, tmp_path: Path) -> Iterator[LocalHub]:
    """A Hub with two accounts, and a folder that another Hub can serve later."""
    del hub_environment
    with LocalHub(tmp_path / "hub", users=USERS) as hub:
        yield hub


@pytest.fixture
def env(hub: LocalHub, tmp_path: Path) -> dict[str, str]:
    """The environment of alice at a shell, for `run`."""
    home = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUBSPOOL_"))}
    return {**kept, **home, "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": "hf_alice"}


@pytest.fixture
def make(hub: LocalHub, tmp_path: Path) -> Iterator[Make]:
    """Build schedulers that share one folder; stop each without a flush when the test ends."""
    made: list[CommitScheduler] = []

    def build(kind: type[CommitScheduler], repo_id: str = "alice/first", **options: Any) -> Any:
        given = {"folder_path": tmp_path / "folder", "repo_type": "dataset", "every": 600, "hf_api": client(hub)}
        made.append(kind(**{"repo_id": repo_id, **given, **options}))
        return made[-1]

    yield build
    for scheduler in made:
        scheduler.stop(flush=False)
