"""huggingface_hub of five times, each with the hf_xet of its time, does its work here unchanged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hubspool.local_hub import LocalHub
from tests.support.other_clients import python_with

OPERATIONS = Path(__file__).with_name("operations.py")
VERSIONS = {"0.30.2": "1.0.4", "0.36.2": "1.2.0", "1.19.0": "1.5.2", "1.33.0": "1.7.1", "2.4.0": ""}
SECONDS = 100


def run(python: Path, hub: LocalHub, folder: Path, environment: dict[str, str]) -> None:
    folder.mkdir()
    ran = subprocess.run(
        [python, OPERATIONS, hub.endpoint, hub.token, folder],
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "done" in ran.stdout
    assert not [record for record in hub.requests if record.status >= 500]


@pytest.mark.timeout(500)
@pytest.mark.parametrize(
    ("version", "transfer"), [*((version, "xet") for version in VERSIONS), ("0.36.2", "lfs"), ("2.4.0", "lfs")]
)
def test_a_version_does_its_work(
    version: str, transfer: str, client_environment: dict[str, str], tmp_path: Path
) -> None:
    pinned = [f"huggingface_hub=={version}", f"hf_xet=={VERSIONS[version]}"]
    python = python_with(*pinned) if VERSIONS[version] else Path(sys.executable)
    if transfer == "lfs":
        client_environment["HF_HUB_DISABLE_XET"] = "1"
    with LocalHub(lfs_part_size=5_000_000) as hub:
        client_environment["HF_ENDPOINT"] = hub.endpoint  # before 1.0 HfApi(endpoint=...) was not enough
        run(python, hub, tmp_path / "files", client_environment)
        sent = {record.route for record in hub.requests if record.method in ("POST", "PUT") and record.status == 200}
        if transfer == "xet":
            assert {"xet-xorb", "xet-shard"} <= sent
            if version != "0.30.2":  # which sends only files on disk through Xet
                assert not {"lfs-put", "lfs-part"} & sent
            assert hub.requests.of("xet-reconstruction"), "it was read over plain HTTP"
        else:
            assert {"lfs-put", "lfs-part", "lfs-complete"} <= sent
            assert not hub.requests.of("xet-xorb")
