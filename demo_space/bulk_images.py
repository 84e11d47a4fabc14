"""Bulk images: many files at once become members of zip archives, which load as an image folder."""

from __future__ import annotations

import json
import zipfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image, UnidentifiedImageError

from destination import Destination
from hubspool_templates import ZipScheduler
from saved import Saved
from tab import LAST_ROWS, Tab, keep, refusal
from vote import check_text

FILES_LIMIT = 50
"""Files of one click."""
BYTES_LIMIT = 5_000_000
"""Bytes of one file."""
LABEL_LIMIT = 100
"""Characters of a label."""


class BulkImages(Tab[ZipScheduler]):
    """The tab and its API event, on one scheduler."""

    title = "Bulk images"
    name = "images"
    noun = "image"
    lead = f"Up to {FILES_LIMIT} pictures with one label. They are packed into zip archives, a commit for many files."
    kept = "Each file, its name, and what the camera wrote into it (often the place) become part of the dataset"

    def __init__(self, scheduler: ZipScheduler, destination: Destination) -> None:
        super().__init__(scheduler, destination)
        self.saved = Saved(scheduler, ".zip", _read)

    def save_images(self, paths: list[str] | None, label: str) -> str:
        """Stores the files with their label; all of them or, if one is refused, none.

        Raises:
            gr.Error: what is wrong with them, for the visitor to read.
        """
        files = [Path(path) for path in paths or []]
        if not files:
            raise refusal("There is no picture yet.")
        if len(files) > FILES_LIMIT:
            raise refusal(f"These are {len(files)} files; please send at most {FILES_LIMIT} at once.")
        label = label.strip()
        if not label:
            raise refusal("Please write what they show: the label is empty.")
        check_text("label", label, LABEL_LIMIT)
        for file in files:
            _check(file)
        time = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        for file in files:
            keep(lambda file=file: self.scheduler.add(file, file.name, label=label, time=time))  # type: ignore[misc]  # mypy cannot infer a lambda's default
        return f"Thank you, {len(files)} image{'' if len(files) == 1 else 's'} stored."

    def last_rows(self) -> list[dict[str, Any]]:
        """The newest members of the archives on the Hub."""
        rows = [row for archive in self.saved.answers() for row in archive]
        return sorted(rows, key=lambda row: str(row.get("time")), reverse=True)[:LAST_ROWS]

    def build(self, _page: gr.Blocks) -> None:
        """The files, a label and a button."""
        label = gr.Textbox(label="What do they show?", max_length=LABEL_LIMIT, elem_id="images-label")
        files = gr.File(label="Pictures", file_count="multiple", file_types=["image"], elem_id="images")
        button = gr.Button("Save the images", variant="primary")
        outcome = gr.HTML(elem_id="images-outcome", js_on_load="element.setAttribute('role', 'status')")
        button.click(self.save_images, [files, label], outcome, api_name="save_images")


def _check(file: Path) -> None:
    size = file.stat().st_size
    if size > BYTES_LIMIT:
        raise refusal(f"{file.name} has {size / 1e6:.1f} MB; at most {BYTES_LIMIT / 1e6:.0f} MB a file are kept.")
    try:
        with Image.open(file) as image:
            image.verify()
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise refusal(f"{file.name} is not a picture that can be read. JPEG, PNG and WebP can.") from error


def _read(path: Path) -> list[dict[str, Any]]:
    """Return the last rows of one archive's table."""
    with zipfile.ZipFile(path) as archive:
        lines = archive.read("metadata.jsonl").splitlines()
    return [json.loads(line) for line in lines[-LAST_ROWS:]]
