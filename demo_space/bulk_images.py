"""Bulk images: many files at once go into zip archives, which load as an image folder."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
from gradio.events import Dependency
from PIL import Image, UnidentifiedImageError

from hubspool_templates import ZipScheduler, save_button
from tab import Tab, refusal, utc_now
from vote import check_label

FILES_LIMIT = 50  # files per click
BYTES_LIMIT = 5_000_000  # bytes of one file


class BulkImages(Tab[ZipScheduler]):
    """The tab and its API event."""

    title = "Bulk images"
    name = "images"
    noun = "image"
    lead = f"Up to {FILES_LIMIT} pictures with one label. They go into zip archives, so one push sends many files."
    kept = "Each file, its name, and what the camera wrote into it (often the place) become part of"
    guide = "archives"
    columns = ("file_name", "label", "time")

    def save_images(self, paths: list[str] | None, label: str) -> str:
        """Stores the files with their label, except those that are refused, which the answer names."""
        files = [Path(path) for path in paths or []]
        if not files:
            raise refusal("Please choose a picture first.")
        if len(files) > FILES_LIMIT:
            raise refusal(f"These are {len(files)} files; please send at most {FILES_LIMIT} at once.")
        label = check_label("what they show", label)
        faults = {file: fault for file in files if (fault := _fault(file))}
        if len(faults) == len(files):
            raise refusal(" ".join(faults.values()))
        time = utc_now()
        good = [file for file in files if file not in faults]
        for file in good:
            self.scheduler.add(file, file.name, label=label, time=time)
        count = "1 image is" if len(good) == 1 else f"{len(good)} images are"
        return " ".join([f"Thank you, {count} stored.", *(f"Not stored: {fault}" for fault in faults.values())])

    def build(self, _page: gr.Blocks) -> list[Dependency]:
        """The files, a label and a button."""
        label = gr.Textbox(label="What do they show?", elem_id="images-label")
        files = gr.File(label="Pictures", file_count="multiple", file_types=["image"], elem_id="images")
        return [save_button("Save the images", self.save_images, [files, label], api_name="save_images")]


def _fault(file: Path) -> str:
    """Why a file is refused; an empty text for a good one."""
    size = file.stat().st_size
    if size > BYTES_LIMIT:
        return f"{file.name} has {size / 1e6:.1f} MB; a file may have at most {BYTES_LIMIT / 1e6:.0f} MB."
    try:
        with Image.open(file) as image:
            image.verify()
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError):
        return f"{file.name} is not a picture that can be read. Please use JPEG, PNG or WebP."
    return ""
