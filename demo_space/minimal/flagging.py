"""A Space whose `gr.Interface` keeps what people flag: inputs, outputs and the reason, media too."""

import os

import gradio as gr
import numpy as np

from hubspool_templates import HubFlaggingCallback

REPO = os.environ.get("HUBSPOOL_REPO", "your-name/flagged")


def brightness(image: np.ndarray | None) -> dict[str, float]:
    """Return how sure we are that an image is light or dark."""
    light = 0.0 if image is None else float(image.mean() / 255)
    return {"light": light, "dark": 1 - light}


def main() -> None:
    """Serve the page; the scheduler starts with the interface, and sends the last rows at the end."""
    page = gr.Interface(
        brightness,
        gr.Image(label="image"),
        gr.Label(label="guess"),
        title="Light or dark?",
        description=f"What you flag is kept in {REPO} on the Hub: the picture, our guess and your choice.",
        flagging_options=["wrong", "unclear"],
        flagging_callback=HubFlaggingCallback(REPO, every=5),
    )
    page.launch(max_file_size="10mb")


if __name__ == "__main__":
    main()
