"""The tabs of the sample Space show what is on the Hub, also what other programs put there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hubspool import HfApi
from hubspool_templates import TrainingLogs
from on_the_hub import CELL_LIMIT, _rows, _table
from training import Training

REPO = "local/logs"
RUN = "20250504-120000-abcdef"


@pytest.fixture
def training(hub_api: HfApi, tmp_path: Path) -> Any:
    scheduler = TrainingLogs(
        REPO, tmp_path / "logs", repo_type="dataset", path_in_repo="runs", hf_api=hub_api, every=600
    )
    yield Training(scheduler)
    scheduler.stop(flush=False)


def test_files_of_other_programs_are_left_out(training: Training, hub_api: HfApi) -> None:
    hub_api.create_repo(REPO, repo_type="dataset", exist_ok=True)
    files = {
        "prices.csv": b"a,b\n1,2\n",
        "runs/notes.csv": b"a\n1\n",
        f"runs/{RUN[:-1]}e/metrics.csv": b"",
        f"runs/{RUN}/metrics.csv": b"epoch,loss,accuracy\n1,0.5,0.75\n",
    }
    for path, content in files.items():
        hub_api.upload_file(path_or_fileobj=content, path_in_repo=path, repo_id=REPO, repo_type="dataset")
    assert [row["run"] for row in training.last_rows()] == [RUN]
    version = training.saved.version
    training.saved._next = 0.0
    training.saved.answer()
    assert training.saved.version == version, "a file that cannot be read is asked for once"


def test_a_log_without_a_line_is_no_run(training: Training) -> None:
    folder = training.scheduler.folder_path
    for run, text in (("1", "epoch,loss,accuracy\n1,0.5,0.75\n"), ("2", "")):
        (folder / run).mkdir(parents=True)
        (folder / run / "metrics.csv").write_text(text)
    curve, words = training.newest_run()
    assert words.startswith("Run 1, epoch 1: 75.0%")
    assert isinstance(curve["value"], pd.DataFrame)


class Rows:
    noun = "row"

    def __init__(self, *rows: dict[str, Any]) -> None:
        self.last_rows = lambda: list(rows)


def test_a_row_with_other_columns_stays_below_the_names_of_the_first() -> None:
    shown = _rows(Rows({"a": 1, "<b>": 2}, {"<b>": 3, "more": 4}))
    assert '<th scope="col">a</th>' in shown
    assert "&lt;b&gt;" in shown
    cells = [line.strip() for line in shown.splitlines() if "<td>" in line]
    assert cells == ["<td>1</td>", "<td>2</td>", "<td></td>", "<td>3</td>"]


def test_a_long_text_without_spaces_is_cut_and_not_dropped() -> None:
    text = "ก" * 200
    assert f"<td>{text[: CELL_LIMIT - 1]}…</td>" in _rows(Rows({"text": text}))
    assert f"<td>{text[:CELL_LIMIT]}</td>" in _rows(Rows({"text": text[:CELL_LIMIT]}))
    assert "…" not in _table(["name"], [["x" * 300]])
