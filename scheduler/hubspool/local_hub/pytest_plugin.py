"""Fixtures for tests that talk to a Hub. Load with `pytest_plugins = ["hubspool.local_hub.pytest_plugin"]`.

Not guaranteed: `huggingface_hub` reads HF_ENDPOINT and HF_HOME only when it is imported. Pass
`endpoint=hub.endpoint` to its HfApi, or use a subprocess.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from hubspool import HfApi
    from hubspool.local_hub import LocalHub

_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture
def hub_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Remove tokens, proxies and caches of the person who runs the tests; return an empty HF_HOME."""
    for name in list(os.environ):
        if name.startswith(("HF_", "HUGGING_FACE_", "HUGGINGFACE_", "HUBSPOOL_")) or name.lower() in _PROXIES:
            monkeypatch.delenv(name)
    home = tmp_path / "hf-home"
    monkeypatch.setenv("HF_HOME", str(home))
    monkeypatch.setenv("HF_XET_CACHE", str(home / "xet"))
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    return home


@pytest.fixture
def local_hub(hub_environment: Path) -> Iterator[LocalHub]:  # noqa: ARG001 - it changes the environment
    """A running Hub with the user `local`; it is removed after the test."""
    from hubspool.local_hub import LocalHub

    with LocalHub() as hub:
        yield hub


@pytest.fixture
def hub_api(local_hub: LocalHub) -> HfApi:
    """Our client with the token of `local_hub`."""
    from hubspool import HfApi

    return HfApi(endpoint=local_hub.endpoint, token=local_hub.token)
