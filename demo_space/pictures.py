"""Picture and label: a sketch or a photo becomes a row of a Parquet dataset with an image column."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr
from gradio.events import Dependency
from PIL import Image, UnidentifiedImageError

from hubspool_templates import ParquetScheduler, save_button
from tab import Tab, live, newest, refusal, utc_now
from vote import check_label

SCHEMA = {"image": "image", "label": "string", "kind": "string", "time": "string"}
SIDE_LIMIT = 8_000  # pixels on one side of a picture that is read
SIDE_KEPT = 1_024  # pixels on the longer side of a picture that is stored
SHOWN = 12  # pictures in the gallery


class Pictures(Tab[ParquetScheduler]):
    """The tab and its API event."""

    title = "Picture and label"
    name = "pictures"
    noun = "picture"
    lead = "Draw something, or take a photo, and say what it is."
    kept = f"It is reduced to {SIDE_KEPT:,} pixels, without camera and place, and becomes one row of"
    guide = "images"
    columns = ("label", "kind", "time")

    def save_picture(self, path: str, label: str) -> str:
        """Stores a photo with its label: on this disk when this returns, on the Hub after a later push."""
        if not path:
            raise refusal("Please choose a picture first.")
        with _readable(), Image.open(path) as image:
            if max(image.size) > SIDE_LIMIT:
                size = f"{image.width:,} by {image.height:,}"
                raise refusal(f"The picture has {size} pixels; at most {SIDE_LIMIT:,} on a side are allowed.")
            photo = image.convert("RGB")
        return self._store(photo, label, "photo")

    def save_sketch(self, sketch: dict[str, Any] | None, label: str) -> str:
        """Stores a drawing with its label, on a white background."""
        drawing = sketch and sketch["composite"]
        if not drawing or not drawing.getchannel("A").getbbox():
            raise refusal("The sketch is still empty: draw with the mouse or a finger.")
        return self._store(Image.alpha_composite(Image.new("RGBA", drawing.size, "white"), drawing), label, "sketch")

    def _store(self, image: Image.Image, label: str, kind: str) -> str:
        label = check_label("what it is", label)
        kept = Image.new("RGB", image.size)
        kept.paste(image)  # the pixels, without metadata
        kept.thumbnail((SIDE_KEPT, SIDE_KEPT))
        self.scheduler.append({"image": kept, "label": label, "kind": kind, "time": utc_now()})
        return "Thank you, the picture is stored. It appears below."

    def gallery(self) -> list[tuple[Image.Image, str]]:
        """The newest pictures."""
        return [(row["image"], row["label"]) for row in self.rows()]

    def read(self) -> list[dict[str, Any]]:
        """Return the newest rows, with pictures as small as the gallery shows them."""
        rows = newest(self.all_rows(), SHOWN)
        for row in rows:
            row["image"].thumbnail((320, 320))
        return rows

    def build(self, page: gr.Blocks) -> list[Dependency]:
        """A label, a photo, a sketch, and the newest pictures."""
        label = gr.Textbox(label="What is it?", elem_id="picture-label")
        with gr.Tabs():
            with gr.Tab("Photo"):
                photo = gr.Image(label="Photo", type="filepath", sources=["upload", "webcam"], height=300)
                # Not with a subclass: Gradio writes a stub file beside the module of each subclass.
                photo.preprocess = _readable()(photo.preprocess)  # type: ignore[method-assign]
                photos = save_button("Save the photo", self.save_picture, [photo, label], api_name="save_picture")
            with gr.Tab("Sketch"):
                sketch = gr.Sketchpad(
                    label="Sketch", type="pil", canvas_size=(400, 300), layers=False, transforms=(), elem_id="sketch"
                )
                given = [sketch, label]
                sketches = save_button("Save the sketch", self.save_sketch, given, api_visibility="private")
        look: dict[str, Any] = {"columns": 4, "fit_columns": False, "height": "auto", "interactive": False}
        gallery = gr.Gallery(label="Newest pictures", visible=False, elem_id="gallery", **look)
        live(page, self.saved, self.gallery, gallery, "No picture yet. Yours will appear here.")
        return [photos, sketches]


@contextmanager
def _readable() -> Iterator[None]:
    """Answers a file that is no picture with a sentence, where Gradio would show an error of its code."""
    try:
        yield
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError) as error:
        raise refusal("This file is not a picture that can be read. Please use JPEG, PNG or WebP.") from error
