"""Each recipe of docs/training_logs.md runs as it stands, and TensorBoard's reader opens what it sent.

Those that need torch run where it is installed; ``make recipes`` installs it, and sets REQUIRE_TORCH.
"""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from hubspool import HfApi
from hubspool.local_hub import LocalHub
from tests.support.paths import ROOT

REPO = "local/digits"
SECONDS = 100
TEXT = (ROOT / "docs" / "training_logs.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(python|bash)\n(.*?)```", TEXT, re.DOTALL)
NEEDS = ("torch", "transformers", "lightning")

Environment = dict[str, str]


def recipe(word: str, kind: str = "python") -> str:
    """The one block with `word` in it, for the local Hub's user."""
    (code,) = [code for language, code in BLOCKS if language == kind and word in code]
    missing = [name for name in NEEDS if f"import {name}\n" in code or f"from {name}" in code]
    missing = [name for name in missing if importlib.util.find_spec(name) is None]
    if missing and not os.environ.get("REQUIRE_TORCH"):
        pytest.skip(f"{missing[0]} is not installed: make recipes")
    return code.replace("your-name/", "local/")


@pytest.fixture
def environment(local_hub: LocalHub, tmp_path: Path) -> Environment:
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "HF_HOME": str(tmp_path / "home"),
        "HF_ENDPOINT": local_hub.endpoint,
        "HF_TOKEN": local_hub.token,
        "CUDA_VISIBLE_DEVICES": "",
    }


@pytest.fixture
def run(environment: Environment, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(code: str, **more: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "train.py").write_text(code, encoding="utf-8")
        (tmp_path / "runs" / "loop").mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [sys.executable, "train.py"], cwd=tmp_path, env={**environment, **more}, capture_output=True, text=True,
            timeout=SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return done

    return run


@pytest.fixture
def stored(hub_api: HfApi, local_hub: LocalHub, tmp_path: Path) -> Callable[[], dict[str, bytes]]:
    """Path → content of everything on the Hub."""

    def read() -> dict[str, bytes]:
        headers = {"Authorization": f"Bearer {local_hub.token}"}
        base = f"{local_hub.endpoint}/{REPO}/resolve/main"
        paths = [path for path in hub_api.list_repo_files(REPO) if path != ".gitattributes"]
        return {path: requests.get(f"{base}/{path}", headers=headers, timeout=SECONDS).content for path in paths}

    return read


def steps(files: dict[str, bytes], tag: str, folder: Path) -> list[int]:
    """The steps at which a scalar was logged, read by TensorBoard."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: list[int] = []
    for path, content in files.items():
        if "tfevents" in path:
            copy = folder / "read" / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)
            accumulator = EventAccumulator(str(copy))
            accumulator.Reload()
            if tag in accumulator.Tags()["scalars"]:
                found += [event.step for event in accumulator.Scalars(tag)]
    return found


def test_any_loop(run: Callable[..., object], stored: Callable[[], dict[str, bytes]]) -> None:
    run(recipe("metrics.csv"))
    assert stored() == {"runs/loop/metrics.csv": b"epoch,accuracy\n0,0.80\n1,0.85\n2,0.90\n"}


@pytest.mark.parametrize(
    ("word", "expected"),
    [("HubSummaryWriter", [*range(10)]), ("from tensorboardX", [1]), ("from torch.utils.tensorboard", [1])],
    ids=["HubSummaryWriter", "tensorboardX", "torch"],
)
def test_summary_writers(
    word: str, expected: list[int], run: Callable[..., object], stored: Callable[[], dict[str, bytes]], tmp_path: Path
) -> None:
    run(recipe(word))
    assert steps(stored(), "loss", tmp_path) == expected


def test_transformers_trainer(
    run: Callable[..., object], stored: Callable[[], dict[str, bytes]], tmp_path: Path
) -> None:
    run(recipe("from transformers"))
    files = stored()
    assert steps(files, "train/loss", tmp_path) == [*range(5, 41, 5)]
    assert (tmp_path / "trainer" / "checkpoint-40").is_dir()
    assert not [path for path in files if "checkpoint" in path]


def test_lightning(run: Callable[..., object], stored: Callable[[], dict[str, bytes]], tmp_path: Path) -> None:
    run(recipe("import lightning"))
    files = stored()
    assert len(steps(files, "loss", tmp_path)) == 29
    assert [path for path in files if path.endswith("metrics.csv")]
    assert [path for path in files if path.endswith("hparams.yaml")]
    assert list(tmp_path.rglob("*.ckpt"))
    assert not [path for path in files if "checkpoints" in path]


def test_from_the_shell(
    environment: Environment, stored: Callable[[], dict[str, bytes]], hub_api: HfApi, tmp_path: Path
) -> None:
    (tmp_path / "runs" / "loop").mkdir(parents=True)
    (tmp_path / "runs" / "loop" / "train.log").write_text("one\n")
    command = recipe("hubspool upload", "bash").split()
    run = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        assert run.stdout is not None
        read = b""
        while not (hub_api.repo_exists(REPO) and "runs/loop/train.log" in hub_api.list_repo_files(REPO)):
            assert run.poll() is None, read
        (tmp_path / "runs" / "loop" / "train.log").write_text("one\ntwo\n")
        run.send_signal(signal.SIGTERM)
        read, _ = run.communicate(timeout=SECONDS)
    finally:
        os.killpg(run.pid, signal.SIGKILL) if run.poll() is None else None
    assert stored() == {"runs/loop/train.log": b"one\ntwo\n"}, read
