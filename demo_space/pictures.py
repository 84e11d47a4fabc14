"""Picture and label: a sketch or a photo becomes a row of a Parquet dataset with an image column."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import gradio as gr
import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError

from hubspool_templates import ParquetScheduler
from tab import LAST_ROWS, PAGE_ONLY, Tab, disk_errors_shown, live, newest, outcome_line, refusal, utc_now
from vote import check_text

SCHEMA = {"image": "image", "label": "string", "kind": "string", "time": "string"}
LABEL_LIMIT = 100
"""Characters of a label."""
SIDE_LIMIT = 8_000
"""Pixels on one side of a picture that is read."""
SIDE_KEPT = 1_024
"""Pixels on the longer side of a picture that is stored."""
SHOWN = 12
"""Pictures in the gallery."""

UNREADABLE = "This file is not a picture that can be read. Please use JPEG, PNG or WebP."
_BAD_PICTURE = (UnidentifiedImageError, Image.DecompressionBombError, OSError)


class Pictures(Tab[ParquetScheduler]):
    """The tab and its API event."""

    title = "Picture and label"
    name = "pictures"
    noun = "picture"
    lead = "Draw something, or take a photo, and say what it is."
    kept = f"It is reduced to {SIDE_KEPT:,} pixels, without camera and place, and becomes one row of the dataset"
    suffix = ".parquet"

    def save_picture(self, path: str, label: str) -> str:
        """Stores a photo with its label: on this disk when this returns, on the Hub after a later push.

        Raises:
            gr.Error: the photo or the label is not valid; the visitor reads why.
        """
        if not path:
            raise refusal("Please choose a picture first.")
        try:
            with Image.open(path) as image:
                if max(image.size) > SIDE_LIMIT:
                    size = f"{image.width:,} by {image.height:,}"
                    raise refusal(f"The picture has {size} pixels; at most {SIDE_LIMIT:,} on a side are allowed.")
                return self._store(image.convert("RGB"), label, "photo")
        except _BAD_PICTURE as error:
            raise refusal(UNREADABLE) from error

    def save_sketch(self, sketch: dict[str, Any] | None, label: str) -> str:
        """Stores a drawing with its label, on a white background."""
        drawing = sketch and sketch["composite"]
        if not drawing or not drawing.getchannel("A").getbbox():
            raise refusal("The sketch is still empty: draw with the mouse or a finger.")
        return self._store(Image.alpha_composite(Image.new("RGBA", drawing.size, "white"), drawing), label, "sketch")

    def _store(self, image: Image.Image, label: str, kind: str) -> str:
        label = label.strip()
        if not label:
            raise refusal("Please write what it is: the label is empty.")
        check_text("label", label, LABEL_LIMIT)
        kept = Image.new("RGB", image.size)
        kept.paste(image)  # the pixels, without metadata
        kept.thumbnail((SIDE_KEPT, SIDE_KEPT))
        with disk_errors_shown():
            self.scheduler.append({"image": kept, "label": label, "kind": kind, "time": utc_now()})
        return "Thank you, the picture is stored. It will appear below once it is on the Hub."

    def gallery(self) -> list[tuple[Image.Image, str]]:
        """The newest pictures on the Hub."""
        return [(row["image"], row["label"]) for row in self._newest(SHOWN)]

    def last_rows(self) -> list[dict[str, Any]]:
        """The newest rows on the Hub, without the pictures."""
        return [{name: row[name] for name in SCHEMA if name != "image"} for row in self._newest(LAST_ROWS)]

    def _newest(self, count: int) -> list[dict[str, Any]]:
        return newest([row for part in self.saved.answers() for row in part], count)

    @staticmethod
    def read(path: Path) -> list[dict[str, Any]]:
        """Return the last rows of one file, with pictures as small as the gallery shows them."""
        table = pq.read_table(path)
        rows: list[dict[str, Any]] = table.slice(max(0, len(table) - SHOWN)).to_pylist()
        for row in rows:
            row["image"] = Image.open(io.BytesIO(row["image"]["bytes"]))
            row["image"].thumbnail((320, 320))
        return rows

    def build(self, page: gr.Blocks) -> None:
        """A label, a photo, a sketch, and the newest pictures."""
        label = gr.Textbox(label="What is it?", max_length=LABEL_LIMIT, elem_id="picture-label")
        with gr.Tabs():
            with gr.Tab("Photo"):
                photo = gr.Image(label="Photo", type="filepath", sources=["upload", "webcam"], height=300)
                _refuse_other_files(photo)
                save_photo = gr.Button("Save the photo", variant="primary")
            with gr.Tab("Sketch"):
                sketch = gr.Sketchpad(
                    label="Sketch: choose the brush, then draw",
                    type="pil",
                    canvas_size=(400, 300),
                    layers=False,
                    transforms=(),
                    elem_id="sketch",
                )
                save_sketch = gr.Button("Save the sketch", variant="primary")
        outcome = outcome_line("picture-outcome")
        gallery = gr.Gallery(
            label="Newest pictures on the Hub",
            columns=4,
            fit_columns=False,
            height="auto",
            interactive=False,
            elem_id="gallery",
        )
        save_photo.click(self.save_picture, [photo, label], outcome, api_name="save_picture")
        save_sketch.click(self.save_sketch, [sketch, label], outcome, **PAGE_ONLY)
        live(page, self.saved, self.gallery, gallery)


def _refuse_other_files(photo: gr.Image) -> None:
    """Answers a file that is no picture with a sentence, where Gradio would show an error of its code.

    Not with a subclass: Gradio writes a stub file beside the module of each subclass.
    """
    read = photo.preprocess

    def preprocess(payload: Any) -> Any:
        try:
            return read(payload)
        except _BAD_PICTURE as error:
            raise refusal(UNREADABLE) from error

    photo.preprocess = preprocess  # type: ignore[method-assign]
