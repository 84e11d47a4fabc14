"""A training run that mirrors its logs: a classifier of scikit-learn's digits, with TensorBoard, CSV and text logs.

Continues where the CSV file says that the last run ended. Prints "epoch N" once N is on the Hub.
"""

from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path

from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from tensorboardX import SummaryWriter

from hubspool import HfApi
from hubspool_templates import TrainingLogs


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, required=True)
    options = parser.parse_args()
    api = HfApi(endpoint=os.environ["HF_ENDPOINT"], token=os.environ["HF_TOKEN"])
    images, labels = load_digits(return_X_y=True)
    model = SGDClassifier(random_state=0)
    table = options.folder / "metrics.csv"
    with TrainingLogs("local/digits", options.folder, every=600, hf_api=api, exit_budget=60) as logs:
        first = len(table.read_text().splitlines()) if table.exists() else 1
        with (
            SummaryWriter(str(options.folder)) as writer,
            table.open("a", newline="") as rows,
            (options.folder / "train.log").open("a") as log,
        ):
            if first == 1:
                csv.writer(rows).writerow(["epoch", "accuracy"])
            for epoch in range(first, options.epochs + 1):
                model.partial_fit(images, labels, classes=range(10))
                accuracy = model.score(images, labels)
                writer.add_scalar("accuracy", accuracy, epoch)
                writer.add_histogram("weights", model.coef_, epoch)
                writer.add_image("digit", images[epoch].reshape(1, 8, 8) / 16, epoch)
                writer.flush()
                csv.writer(rows).writerow([epoch, accuracy])
                rows.flush()
                log.write(f"epoch {epoch} ")  # no line end until the next epoch
                log.flush()
                logs.trigger().result(60)
                print("epoch", epoch, flush=True)
                log.write(f"accuracy {accuracy:.3f}\n")
                (options.folder / "checkpoint.pt").write_bytes(os.urandom(1000))


if __name__ == "__main__":
    main()
