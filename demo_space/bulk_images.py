"""Bulk images: many files at once go into zip archives, which load as an image folder."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image, UnidentifiedImageError

from hubspool_templates import ZipScheduler
from tab import LAST_ROWS, Tab, disk_errors_shown, newest, outcome_line, refusal, utc_now
from vote import check_text

FILES_LIMIT = 50
"""Files per click."""
BYTES_LIMIT = 5_000_000
"""Bytes of one file."""
LABEL_LIMIT = 100
"""Characters of a label."""


class BulkImages(Tab[ZipScheduler]):
    """The tab and its API event."""

    title = "Bulk images"
    name = "images"
    noun = "image"
    lead = f"Up to {FILES_LIMIT} pictures with one label. They go into zip archives, so one commit holds many files."
    kept = "Each file, its name, and what the camera wrote into it (often the place) become part of the dataset"
    suffix = ".zip"

    def save_images(self, paths: list[str] | None, label: str) -> str:
        """Stores the files with their label; if one is refused, none is stored.

        Raises:
            gr.Error: a file or the label is not valid; the visitor reads why.
        """
        files = [Path(path) for path in paths or []]
        if not files:
            raise refusal("Please choose a picture first.")
        if len(files) > FILES_LIMIT:
            raise refusal(f"These are {len(files)} files; please send at most {FILES_LIMIT} at once.")
        label = label.strip()
        if not label:
            raise refusal("Please write what they show: the label is empty.")
        check_text("label", label, LABEL_LIMIT)
        for file in files:
            _check(file)
        time = utc_now()
        with disk_errors_shown():
            for file in files:
                self.scheduler.add(file, file.name, label=label, time=time)
        return f"Thank you, {len(files)} image{'' if len(files) == 1 else 's'} stored."

    def last_rows(self) -> list[dict[str, Any]]:
        """The newest members of the archives on the Hub."""
        return newest([row for archive in self.saved.answers() for row in archive])

    @staticmethod
    def read(path: Path) -> list[dict[str, Any]]:
        """Return the last rows of the table in one archive."""
        with zipfile.ZipFile(path) as archive:
            lines = archive.read("metadata.jsonl").splitlines()
        return [json.loads(line) for line in lines[-LAST_ROWS:]]

    def build(self, _page: gr.Blocks) -> None:
        """The files, a label and a button."""
        label = gr.Textbox(label="What do they show?", max_length=LABEL_LIMIT, elem_id="images-label")
        files = gr.File(label="Pictures", file_count="multiple", file_types=["image"], elem_id="images")
        button = gr.Button("Save the images", variant="primary")
        outcome = outcome_line("images-outcome")
        button.click(self.save_images, [files, label], outcome, api_name="save_images")


def _check(file: Path) -> None:
    size = file.stat().st_size
    if size > BYTES_LIMIT:
        raise refusal(f"{file.name} has {size / 1e6:.1f} MB; a file may have at most {BYTES_LIMIT / 1e6:.0f} MB.")
    try:
        with Image.open(file) as image:
            image.verify()
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise refusal(f"{file.name} is not a picture that can be read. Please use JPEG, PNG or WebP.") from error
