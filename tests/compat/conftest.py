"""The environment of clients that are not ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def client_environment(hub_environment: Path) -> dict[str, str]:
    """The environment of a client process: nothing of the person's, a fresh cache, no telemetry."""
    return {**os.environ, "HOME": str(hub_environment.parent), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
