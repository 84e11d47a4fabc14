"""A Space that trains and keeps the run's log folder on the Hub during the run."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from hubspool_templates import TrainingLogs

REPO = os.environ.get("HUBSPOOL_REPO", "your-name/digits")
RUN = Path("runs", "digits")


def train(epochs: float) -> Iterator[str]:
    """Train on handwritten digits; a line of the log per epoch."""
    images, digits = load_digits(return_X_y=True)
    model = MLPClassifier([32], random_state=0)
    with (RUN / "loss.csv").open("a", newline="") as log:
        for epoch in range(int(epochs)):
            model.partial_fit(images / 16, digits, classes=range(10))
            csv.writer(log).writerow([epoch, model.loss_])
            log.flush()
            yield f"Epoch {epoch + 1}: loss {model.loss_:.3f}"


def main() -> None:
    """Start the scheduler and serve the page; at the end the scheduler sends the last lines."""
    TrainingLogs(REPO, RUN, repo_type="dataset", every=5)
    epochs = gr.Slider(1, 50, 10, step=1, label="Epochs")
    gr.Interface(train, epochs, gr.Textbox(label="Progress"), title="Digits", flagging_mode="never").launch()


if __name__ == "__main__":
    main()
