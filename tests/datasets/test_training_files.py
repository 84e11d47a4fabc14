"""Which files of a run `TrainingLogs` mirrors, also those that loggers rename, rewrite or leave empty."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboardX import SummaryWriter

from hubspool import HfApi
from hubspool.local_hub import LocalHub
from hubspool_templates import TrainingLogs

REPO = "local/digits"
SECONDS = 60
RANKS = """
import sys
from hubspool_templates import TrainingLogs
with TrainingLogs("local/digits", sys.argv[1], every=600) as logs:
    print(logs.is_sending)
"""

Make = Callable[..., TrainingLogs]


@pytest.fixture
def scheduler_kind() -> type[TrainingLogs]:
    return TrainingLogs


@pytest.fixture
def scheduler_options(tmp_path: Path) -> dict[str, Any]:
    return {"repo_id": REPO, "repo_type": "model", "folder_path": tmp_path / "first"}


@pytest.fixture
def on_hub(hub_api: HfApi, tmp_path: Path) -> Callable[[], dict[str, bytes]]:
    """Path below ``runs/`` → content."""

    def fetch() -> dict[str, bytes]:
        paths = [path for path in hub_api.list_repo_files(REPO) if path != ".gitattributes"]
        return {
            path.removeprefix("runs/"): Path(
                hub_api.hf_hub_download(REPO, path, local_dir=tmp_path / "hub")
            ).read_bytes()
            for path in paths
        }

    return fetch


def write(folder: Path, *names: str, text: str = "{}\n") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_what_belongs_to_a_run_is_mirrored_and_what_gives_away_its_machine_is_not(
    make: Make, on_hub: Callable[[], dict[str, bytes]]
) -> None:
    logs = make()
    wanted = [
        "wandb/run-2026/run-abc.wandb", "wandb/run-2026/files/output.log", "slurm-1234.out", "sub/slurm-1_2.out",
        "pyproject.toml", "report.html", "train.log.1", "train.log.2026-11-28", "a.log",
        "slurm-1234.err", "sub/nohup.out", "steps.ndjson",
    ]  # fmt: skip
    unwanted = [
        ".env.json", ".secrets.yaml", ".hidden/config.json", "sub/.env.txt", "sub/.git/x/config.log", "a.out",
        "wandb/run-2026/files/wandb-metadata.json", "model.wandb", "credentials.json", "sub/client_secret.json",
    ]  # fmt: skip
    write(logs.folder_path, *wanted, *unwanted)
    logs.flush(SECONDS)
    assert sorted(on_hub()) == sorted(f"first/{name}" for name in wanted)


def test_hidden_files_stay_also_where_a_pattern_allows_them(make: Make, on_hub: Callable[[], dict[str, bytes]]) -> None:
    logs = make(allow_patterns="*")
    write(logs.folder_path, ".env", "sub/.netrc", "wandb-metadata.json", "code.py")
    logs.flush(SECONDS)
    assert [*on_hub()] == ["first/code.py"]


def test_every_line_of_a_log_that_rotates_is_on_the_hub(make: Make, on_hub: Callable[[], dict[str, bytes]]) -> None:
    logs = make()
    handler = RotatingFileHandler(logs.folder_path / "train.log", maxBytes=2000, backupCount=20)
    logger = logging.getLogger("rotating")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    for number in range(400):
        logger.info("line %d of the run", number)
        if number % 37 == 0:
            logs.trigger().result(SECONDS)
    logger.removeHandler(handler)
    handler.close()
    logs.stop(timeout=SECONDS)
    found = on_hub()
    assert len(found) > 3
    lines = b"".join(found.values()).splitlines()
    assert sorted(lines) == sorted(f"line {number} of the run".encode() for number in range(400))


def test_a_table_with_a_new_header_becomes_a_new_version(make: Make, on_hub: Callable[[], dict[str, bytes]]) -> None:
    logs = make()
    for text in ("epoch,loss\n0,1.0\n", "epoch,loss,val\n0,1.0,\n1,0.5,0.9\n", "epoch,val\n2,0.9\n"):
        write(logs.folder_path, "metrics.csv", text=text)
        logs.flush(SECONDS)
        assert on_hub() == {"first/metrics.csv": text.encode()}


@pytest.mark.parametrize("name", ["train.log", "slurm-7.out"])
def test_progress_with_carriage_returns_is_sent_while_it_runs(
    name: str, make: Make, on_hub: Callable[[], dict[str, bytes]]
) -> None:
    logs = make()
    with (logs.folder_path / name).open("wb") as progress:
        for percent in (1, 2, 3):
            progress.write(f"\r{percent}% done".encode())
            progress.flush()
            logs.trigger().result(SECONDS)
    assert on_hub() == {f"first/{name}": b"\r1% done\r2% done\r"}


def test_empty_files_are_sent(make: Make, on_hub: Callable[[], dict[str, bytes]]) -> None:
    logs = make()
    marks = ["done.txt", "failed.log", "state.json", "config.yaml", "slurm-1.out"]
    write(logs.folder_path, *marks, "rows.jsonl", "metrics.csv", text="")
    logs.flush(SECONDS)
    assert on_hub() == {f"first/{name}": b"" for name in marks}  # an empty table would keep a dataset from loading
    write(logs.folder_path, "done.txt", "state.json", text="{}\n")
    logs.flush(SECONDS)
    assert on_hub() == {f"first/{name}": b"{}\n" if name in ("done.txt", "state.json") else b"" for name in marks}


def test_two_runs_side_by_side_are_read_by_tensorboard(make: Make, on_hub: Callable[..., Any], tmp_path: Path) -> None:
    def train(logs: TrainingLogs) -> None:
        with logs, SummaryWriter(str(logs.folder_path)) as writer:
            for step in range(20):
                writer.add_scalar("loss", step / 2, step)
                writer.flush()
                if step % 7 == 0:
                    logs.trigger().result(SECONDS)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(train, [make(folder_path=tmp_path / name) for name in ("first", "second")]))
    assert {path.partition("/")[0] for path in on_hub()} == {"first", "second"}
    for name in ("first", "second"):
        accumulator = EventAccumulator(str(tmp_path / "hub" / "runs" / name))
        accumulator.Reload()
        assert [event.step for event in accumulator.Scalars("loss")] == list(range(20))


def test_of_eight_ranks_one_sends(local_hub: LocalHub, hub_api: HfApi, tmp_path: Path) -> None:
    write(tmp_path / "run", "train.log")
    environment = {**os.environ, "HF_ENDPOINT": local_hub.endpoint, "HF_TOKEN": local_hub.token}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANKS, str(tmp_path / "run")],
            env={**environment, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(8)
    ]
    assert [rank.communicate(timeout=SECONDS)[0].strip() for rank in ranks] == ["True", *["False"] * 7]
    assert [commit.title for commit in hub_api.list_repo_commits(REPO)].count("Log train.log") == 1
