"""A Space with every kind of component, for tests; its function returns its inputs."""

from __future__ import annotations

import os
from typing import Any

import gradio as gr

from hubspool_templates import HubFlaggingCallback


def main() -> None:
    def transform(row: dict[str, Any]) -> dict[str, Any] | None:
        return None if row["text"] == "secret" else {**row, "length": len(row["text"])}

    inputs = [
        gr.Textbox(label="text"),
        gr.Number(label="number"),
        gr.Checkbox(label="sure"),
        gr.CheckboxGroup(["a", "b"], label="choices"),
        gr.Dataframe(label="table"),
    ]
    if os.environ.get("MEDIA"):
        inputs += [
            gr.Image(label="image"),
            gr.Audio(label="audio", type="filepath"),
            gr.Video(label="video"),
            gr.File(label="file"),
        ]
    page = gr.Interface(
        lambda text, *_: text.upper(),
        inputs,
        gr.Textbox(label="text"),
        flagging_callback=HubFlaggingCallback("local/kept", transform=transform, every=600),
        flagging_options=["good", "bad"],
    )
    page.launch()


if __name__ == "__main__":
    main()
