"""Training logs: a small network learns the inside of a ring, and its log goes to the Hub meanwhile."""

from __future__ import annotations

import io
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any, TypeVar, cast

import gradio as gr
import numpy as np
import pandas as pd
from gradio.events import Dependency

from hubspool.extending import RemoteBucket, RemoteRepo
from hubspool_templates import TrainingLogs
from hubspool_templates.ui.save_button import outcome_line
from tab import LAST_ROWS, PAGE_ONLY, Tab, refusal

F = TypeVar("F", bound=Callable[..., Any])
EPOCHS_LIMIT = 30
COLUMNS = ["epoch", "loss", "accuracy"]
LOG = re.compile(r"(?:.*/)?\d{8}-\d{6}-[^/]*/metrics\.csv")  # the path of a log on the Hub


try:
    import spaces
except ModuleNotFoundError:
    spaces = None


def on_gpu(function: F) -> F:
    """On ZeroGPU, run the function in a process of its own with a GPU; elsewhere return it unchanged."""
    return function if spaces is None else cast("F", spaces.GPU(function))


@on_gpu
def train(epochs: int) -> Iterator[tuple[float, float]]:
    """Yield loss and accuracy after each epoch; the scheduler and the files stay in the calling process."""
    random = np.random.default_rng(0)
    points = random.uniform(-1, 1, (2_000, 2))
    inside = np.hypot(points[:, :1], points[:, 1:]) < 0.7
    inner, shift, outer = random.normal(0, 2, (2, 32)), random.normal(0, 1, 32), np.zeros((32, 1))
    for _ in range(epochs):
        for batch in np.split(random.permutation(1_600), 50):
            hidden = np.tanh(points[batch] @ inner + shift)
            error = (_sigmoid(hidden @ outer) - inside[batch]) / len(batch)
            back = (error @ outer.T) * (1 - hidden**2)
            outer -= hidden.T @ error
            inner -= points[batch].T @ back
            shift -= back.sum(axis=0)
        guess, answer = _sigmoid(np.tanh(points[1_600:] @ inner + shift) @ outer), inside[1_600:]
        loss = -np.log(np.where(answer, guess, 1 - guess)).mean()
        yield float(loss), float(((guess > 0.5) == answer).mean())


def _sigmoid(values: Any) -> Any:
    return 1 / (1 + np.exp(-values))


class Training(Tab[TrainingLogs]):
    """The tab and its API event; each run has a folder of its own."""

    title = "Training logs"
    name = "training"
    noun = "run"
    lead = "Train a small network to tell the inside of a ring from the outside."
    kept = "Loss and accuracy of each epoch become lines of a CSV file in"
    guide = "training_logs"
    columns = ("run", *COLUMNS, "time")

    def start_training(self, epochs: float) -> Iterator[tuple[Any, str]]:
        """Trains, and shows the curve from the log after each epoch."""
        if not 1 <= epochs <= EPOCHS_LIMIT:
            raise refusal(f"epochs is {epochs}: it must be from 1 to {EPOCHS_LIMIT}.")
        folder = self.scheduler.folder_path / f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
        folder.mkdir(parents=True)
        with (folder / "metrics.csv").open("w", encoding="utf-8") as log:
            print(*COLUMNS, sep=",", file=log, flush=True)
            for epoch, (loss, accuracy) in enumerate(train(int(epochs)), start=1):
                print(epoch, f"{loss:.4f}", f"{accuracy:.4f}", sep=",", file=log, flush=True)
                yield self.newest_run()

    def newest_run(self) -> tuple[Any, str]:
        """The curve and the last words of the newest run on this disk; for a page that is opened again."""
        logs = sorted(log for log in self.scheduler.folder_path.glob("*/metrics.csv") if log.stat().st_size)
        if not logs or not len(curve := pd.read_csv(logs[-1])):
            return gr.skip(), "No run yet: the curve of the first one will appear here."
        last = curve.iloc[-1]
        name = logs[-1].parent.name
        words = f"Run {name}, epoch {last.epoch:.0f}: {last.accuracy:.1%} of the unseen points are right."
        return gr.update(value=curve, visible=True), words

    def read(self) -> list[dict[str, Any]]:
        """Return the last values of the newest logs on the Hub; a file of another program is left out."""
        target = self.scheduler.target
        remote = (RemoteBucket if target.is_bucket else RemoteRepo)(self.scheduler.api, target)
        logs = remote.list_files(self.scheduler.path_in_repo, recursive=True)
        found = []
        for path in sorted(filter(LOG.fullmatch, logs))[-LAST_ROWS:]:
            run = path.split("/")[-2]
            with suppress(ValueError):
                log = pd.read_csv(io.BytesIO(remote.content(path)))
                last = log.iloc[-1:].to_dict("records") or [dict.fromkeys(COLUMNS, 0)]
                started = datetime.strptime(run[:15], "%Y%m%d-%H%M%S").replace(tzinfo=timezone.utc)
                found.append({"run": run, **last[0], "time": started.isoformat()})
        return found

    def build(self, page: gr.Blocks) -> list[Dependency]:
        """The number of epochs, a button, and the curve."""
        epochs = gr.Slider(1, EPOCHS_LIMIT, 15, step=1, label="Epochs", elem_id="epochs")
        button = gr.Button("Start training", variant="primary")
        outcome = outcome_line("training-outcome")
        axes: dict[str, Any] = {"x": "epoch", "y": "loss", "x_title": "Epoch", "y_title": "Loss", "x_axis_format": "~g"}
        curve = gr.LinePlot(title="Loss, from the log", height=280, visible=False, elem_id="curve", **axes)
        page.load(self.newest_run, None, [curve, outcome], **PAGE_ONLY)
        shown = [curve, outcome]  # one run at a time; others get their turn
        return [button.click(self.start_training, epochs, shown, api_name="start_training", concurrency_limit=1)]
