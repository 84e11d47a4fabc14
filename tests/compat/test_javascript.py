"""The JavaScript client does its work here unchanged."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from hubspool.local_hub import LocalHub
from tests.support.other_clients import node_with


@pytest.mark.timeout(400)
@pytest.mark.parametrize("transfer", ["xet", "lfs"])
def test_the_javascript_client_does_its_work(transfer: str, client_environment: dict[str, str]) -> None:
    assert shutil.which("npm"), "this suite needs Node.js 20 and npm"
    folder = node_with("@huggingface/hub", "2.17.5")
    with LocalHub() as hub:
        ran = subprocess.run(
            ["node", Path(__file__).with_name("client.mjs"), folder, hub.endpoint, hub.token, transfer],
            env=client_environment,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "done" in ran.stdout
        assert not [record for record in hub.requests if record.status >= 500]
        assert bool(hub.requests.of("xet-shard")) == (transfer == "xet")
        assert bool(hub.requests.of("lfs-put")) == (transfer == "lfs")
