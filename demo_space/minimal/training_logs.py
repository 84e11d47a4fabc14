"""A Space that trains and keeps the run's log folder on the Hub during the run."""

import os
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import numpy as np

from hubspool_templates import TrainingLogs

REPO = os.environ.get("HUBSPOOL_REPO", "your-name/line")
RUN = Path("runs", "line")


def train(epochs: float) -> Iterator[str]:
    """Fit a line to points; a line of the log per epoch."""
    x = np.linspace(0, 1)
    slope = offset = 0.0
    with (RUN / "loss.csv").open("a", encoding="utf-8") as log:
        if not log.tell():
            print("epoch,loss", file=log)
        for epoch in range(1, int(epochs) + 1):
            error = slope * x + offset - (3 * x + 1)
            slope, offset = slope - 0.5 * (error * x).mean(), offset - 0.5 * error.mean()
            print(f"{epoch},{(error**2).mean():.6f}", file=log, flush=True)
            yield f"Epoch {epoch}: loss {(error**2).mean():.4f}"


def main() -> None:
    """Start the scheduler and serve the page; at the end the scheduler sends the last lines."""
    TrainingLogs(REPO, RUN, repo_type="dataset", every=5)
    epochs = gr.Slider(1, 50, 10, step=1, label="Epochs")
    gr.Interface(train, epochs, gr.Textbox(label="Progress"), title="Line", flagging_mode="never").launch()


if __name__ == "__main__":
    main()
