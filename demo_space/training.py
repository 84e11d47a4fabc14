"""Training logs: a small network learns scikit-learn's digits, and its event files go to the Hub meanwhile."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
import pandas as pd
from tensorboardX import SummaryWriter
from tensorboardX.proto.event_pb2 import Event

from hubspool_templates import TrainingLogs
from tab import Tab, frame, newest, outcome_line, refusal

F = TypeVar("F", bound=Callable[..., Any])
EPOCHS_LIMIT = 30


def on_gpu(function: F) -> F:
    """On ZeroGPU, run the function in a process of its own with a GPU; elsewhere return it unchanged."""
    try:
        from spaces import GPU
    except ModuleNotFoundError:
        return function
    decorated: F = GPU(function)
    return decorated


@on_gpu
def train(epochs: int) -> Iterator[tuple[float, float]]:
    """Yield loss and accuracy after each epoch; the scheduler and the files stay in the calling process."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier

    images, digits = load_digits(return_X_y=True)
    known, unseen, answers, expected = train_test_split(images / 16, digits, random_state=0)
    model = MLPClassifier([32], learning_rate_init=0.005)
    for _ in range(epochs):
        model.partial_fit(known, answers, classes=range(10))
        yield float(model.loss_), float(model.score(unseen, expected))


class Training(Tab[TrainingLogs]):
    """The tab and its API event; each run has a folder of its own."""

    title = "Training logs"
    name = "training"
    noun = "run"
    lead = "Train a small network on 1,797 handwritten digits. TensorBoard can read what it writes."
    kept = "Loss and accuracy of each epoch go into an event file of the dataset"
    suffix = ".hubspool"

    def start_training(self, epochs: float) -> Iterator[tuple[pd.DataFrame | None, str]]:
        """Trains, and shows the curve from the event file after each epoch.

        Raises:
            gr.Error: the number of epochs is out of range; the visitor reads why.
        """
        if not 1 <= epochs <= EPOCHS_LIMIT:
            raise refusal(f"epochs is {epochs}: it must be from 1 to {EPOCHS_LIMIT}.")
        run = f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
        with SummaryWriter(str(self.scheduler.folder_path / run), filename_suffix=".hubspool") as writer:
            for epoch, (loss, accuracy) in enumerate(train(int(epochs)), start=1):
                writer.add_scalar("loss", loss, epoch)
                writer.add_scalar("accuracy", accuracy, epoch)
                writer.flush()
                words = f"Epoch {epoch} of {int(epochs)}: {accuracy:.1%} of the unseen digits are right."
                yield self._curve(run), words
        yield self._curve(run), f"Run {run} has ended. {words}"

    def _curve(self, run: str) -> pd.DataFrame | None:
        (path,) = (self.scheduler.folder_path / run).glob("*tfevents*")
        points = [(step, value) for tag, step, value in scalars(path) if tag == "loss"]
        return frame(points, ["epoch", "loss"])

    def last_rows(self) -> list[dict[str, Any]]:
        """The newest runs on the Hub, with their last values."""
        return newest(self.saved.answers())

    @staticmethod
    def read(path: Path) -> dict[str, Any]:
        """Return the last values of one event file."""
        values = {"loss": 0.0, "accuracy": 0.0}
        epochs = 0
        for tag, step, value in scalars(path):
            values[tag], epochs = round(value, 4), step
        started = datetime.fromtimestamp(int(path.name.split(".")[3]), timezone.utc)
        return {"run": path.parent.name, "epochs": epochs, **values, "time": started.isoformat()}

    def build(self, _page: gr.Blocks) -> None:
        """The number of epochs, a button, and the curve."""
        epochs = gr.Slider(1, EPOCHS_LIMIT, 15, step=1, label="Epochs", elem_id="epochs")
        button = gr.Button("Start training", variant="primary")
        outcome = outcome_line("training-outcome")
        curve = gr.LinePlot(
            x="epoch",
            y="loss",
            title="Loss, from the event file",
            x_title="Epoch",
            y_title="Loss",
            height=280,
            elem_id="curve",
        )
        button.click(
            self.start_training,
            epochs,
            [curve, outcome],
            api_name="start_training",
            concurrency_limit=1,  # other runs wait for their turn
        )


def scalars(path: Path) -> Iterator[tuple[str, int, float]]:
    """Yield tag, step and value of each scalar in an event file, up to its last whole record."""
    with path.open("rb") as file:
        while len(header := file.read(12)) == 12:
            (length,) = struct.unpack("<Q4x", header)
            record = file.read(length)
            if len(record) < length or len(file.read(4)) < 4:
                return
            event = Event.FromString(record)
            for value in event.summary.value:
                yield value.tag, event.step, value.simple_value
