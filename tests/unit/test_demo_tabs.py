"""The tabs of the sample Space show what is on the Hub, also what other programs put there."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd
import pytest
from PIL import Image

from arena import Arena
from bulk_images import BulkImages
from hubspool import HfApi
from hubspool_templates import JsonlScheduler, ParquetScheduler, TrainingLogs, ZipScheduler
from on_the_hub import CELL_LIMIT, OnTheHub, _rows, _table
from pictures import SCHEMA, Pictures
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


@pytest.mark.parametrize("prefix", ["local/", "hf://buckets/local/demo/a folder/"])
def test_the_last_rows_of_pictures_are_shown_without_the_pictures(hub_api: HfApi, tmp_path: Path, prefix: str) -> None:
    picture, text = tmp_path / "a.png", tmp_path / "a.txt"
    Image.new("RGB", (20, 10)).save(picture)
    text.write_text("no picture")
    for kind, save in ((Pictures, "save_picture"), (BulkImages, "save_images")):
        given: Any = str if kind is Pictures else lambda path: [str(path)]
        options = {"schema": SCHEMA} if kind is Pictures else {}
        scheduler: Any = TABS[kind]
        with scheduler(f"{prefix}{kind.name}", tmp_path / kind.name, hf_api=hub_api, every=600, **options) as made:
            tab: Any = kind(made)
            assert tab.place == f"{prefix}{kind.name}"
            assert "stored" in getattr(tab, save)(given(picture), "a label")
            with pytest.raises(gr.Error, match="not a picture that can be read"):
                getattr(tab, save)(given(text), "a label")
            made.flush(60)
            (row,) = tab.last_rows()
        assert tuple(row) == kind.columns
        assert row["label"] == "a label"
        assert all(row.values())


def test_the_last_tab_lists_the_folders_of_a_bucket(hub_api: HfApi, tmp_path: Path) -> None:
    place, log = "hf://buckets/local/logs/training", tmp_path / RUN / "metrics.csv"
    with TrainingLogs(place, tmp_path, path_in_repo="runs", hf_api=hub_api, every=600) as scheduler:
        page = OnTheHub([Training(scheduler)])
        assert "<td>none yet</td>" in page.load()[0]
        log.parent.mkdir()
        log.write_text("epoch,loss,accuracy\n1,0.5,0.75\n")
        scheduler.flush(60)
        foreign = [(b"a,b\n1,2\n", path) for path in ("training/runs/notes.csv", f"runs/{RUN}/metrics.csv")]
        hub_api.batch_bucket_files("local/logs", add=foreign)
        places, rows = page.load()
    assert f'href="{hub_api.endpoint}/buckets/local/logs/tree/training"' in places
    assert "<td>2</td>" in places, "files of this folder, not of the bucket"
    assert rows.count(f"<td>{RUN}</td>") == rows.count("<td>0.75</td>") == 1


def test_a_log_without_a_line_is_no_run(training: Training) -> None:
    folder = training.scheduler.folder_path
    for run, text in (("1", "epoch,loss,accuracy\n1,0.5,0.75\n"), ("2", "")):
        (folder / run).mkdir(parents=True)
        (folder / run / "metrics.csv").write_text(text)
    curve, words = training.newest_run()
    assert words.startswith("Run 1, epoch 1: 75.0%")
    assert isinstance(curve["value"], pd.DataFrame)


TABS = {Arena: JsonlScheduler, Pictures: ParquetScheduler, BulkImages: ZipScheduler, Training: TrainingLogs}


@pytest.mark.parametrize(("kind", "saves"), [(Arena, 2), (Pictures, 2), (BulkImages, 1), (Training, 1)])
def test_the_line_of_progress_is_written_again_after_each_save(
    kind: Any, saves: int, hub_api: HfApi, tmp_path: Path
) -> None:
    """Not only by the timer, which would say for seconds that nothing is pending."""
    scheduler: Any = TABS[kind]
    with scheduler(REPO, tmp_path / "rows", hf_api=hub_api, every=600) as made:
        page = asyncio.run(rendered(kind(made)))
    ids = {each["props"].get("elem_id"): each["id"] for each in page.config["components"]}
    events = page.config["dependencies"]
    shown = [event for event in events if ids[f"progress-{kind.name}"] in event["outputs"]]
    after = {event["trigger_after"] for event in shown} - {None}
    assert [event["targets"][0][1] for event in events if event["id"] in after] == ["click"] * saves
    assert len(shown) == 1 + saves
    assert not any(event["queue"] for event in shown), "it is written while a training runs"


async def rendered(tab: Any) -> gr.Blocks:
    with gr.Blocks() as page:
        tab.render(page)
    return page


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
