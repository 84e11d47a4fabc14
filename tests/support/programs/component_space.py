"""Flags every component of two interfaces, one without files, through Gradio's HTTP API; runs with Gradio 5 too.

``python component_space.py FOLDER`` prints component → the value that was flagged, as one line of JSON.
"""

from __future__ import annotations

import json
import sys
import wave
from pathlib import Path
from typing import Any

import gradio as gr
from gradio_client import Client, handle_file
from PIL import Image

from hubspool_templates import HubFlaggingCallback

SIX = gr.__version__ >= "6"


def without_files() -> dict[str, tuple[Any, Any]]:
    """Name of a component → the component, and a value as the browser sends it."""
    table = {"headers": ["x", "y"], "data": [[1, "one"], [2, "two"]], "metadata": None}
    guess = {"label": "cat", "confidences": [{"label": "cat", "confidence": 0.75}]}
    return {
        "Textbox": (gr.Textbox(), "two\nlines ✓"),
        "Number": (gr.Number(), 1.5),
        "Slider": (gr.Slider(0, 10), 3),
        "Checkbox": (gr.Checkbox(), True),
        "CheckboxGroup": (gr.CheckboxGroup(["a", "b"]), ["a", "b"]),
        "Radio": (gr.Radio(["a", "b"]), "a"),
        "Dropdown": (gr.Dropdown(["a", "b"]), "b"),
        "Dropdown(multiselect=True)": (gr.Dropdown(["a", "b"], multiselect=True), ["b"]),
        "DateTime": (gr.DateTime(), "2026-11-28 10:00:00"),
        "ColorPicker": (gr.ColorPicker(), "#ff0000"),
        "Code": (gr.Code(), "x = 1"),
        "JSON": (gr.JSON(), {"a": [1, {"b": None}]}),
        "Markdown": (gr.Markdown(), "# hi"),
        "HTML": (gr.HTML(), "<b>hi</b>"),
        "Label": (gr.Label(), guess),
        "HighlightedText": (gr.HighlightedText(), [{"token": "Rome", "class_or_confidence": "city"}]),
        "Dataframe": (gr.Dataframe(), table),
        "FileExplorer": (gr.FileExplorer(root_dir="."), [["a.txt"]]),
        "Plot": (gr.Plot(), {"type": "matplotlib", "plot": "data:image/png;base64,AA=="}),
    }


def with_files(folder: Path) -> dict[str, tuple[Any, Any]]:
    """The same of components that hold files."""
    names = ("a.png", "b.png", "c.wav", "d.mp4", "e.txt", "f.obj")
    for name, colour in zip(names[:2], ("red", "blue"), strict=True):
        Image.new("RGB", (4, 4), colour).save(folder / name)
    with wave.open(str(folder / "c.wav"), "wb") as out:
        out.setparams((1, 2, 8000, 0, "NONE", ""))
        out.writeframes(bytes(1600))
    (folder / "d.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(12))  # one whole box
    (folder / "e.txt").write_text("a note")
    (folder / "f.obj").write_text("v 0 0 0\n")
    picture, other, sound, clip, note, model = (
        {"path": handle_file(folder / name)["path"], "meta": {"_type": "gradio.FileData"}} for name in names
    )
    message = {"metadata": None, "options": None}
    chat = [{"role": role, "content": text, **message} for role, text in (("user", "hi"), ("assistant", "hello"))]
    if SIX:
        chat = [{**each, "content": [{"type": "text", "text": each["content"]}]} for each in chat]
    return {
        "Chatbot": (gr.Chatbot() if SIX else gr.Chatbot(type="messages"), chat),
        "Image": (gr.Image(), picture),
        "ImageEditor": (gr.ImageEditor(), {"background": picture, "layers": [other], "composite": picture}),
        "ImageSlider": (gr.ImageSlider(), [picture, other]),
        "AnnotatedImage": (gr.AnnotatedImage(), {"image": picture, "annotations": [{"image": other, "label": "x"}]}),
        "Gallery": (gr.Gallery(), [{"image": picture, "caption": "red"}, {"image": other, "caption": None}]),
        "Audio": (gr.Audio(), sound),
        "Video": (gr.Video(), clip if SIX else {"video": clip, "subtitles": None}),
        "File": (gr.File(), note),
        'File(file_count="multiple")': (gr.File(file_count="multiple"), [note, picture]),
        "MultimodalTextbox": (gr.MultimodalTextbox(), {"text": "see", "files": [picture, note]}),
        "Model3D": (gr.Model3D(), model),
    }


def main(folder: Path) -> None:
    callbacks = [HubFlaggingCallback(f"local/{name}", every=600) for name in ("lines", "tables")]
    values = []
    with gr.Blocks() as page:
        for callback, more in zip(callbacks, ({}, with_files(folder)), strict=True):
            found = {**without_files(), **more}
            for name, (component, _) in found.items():
                component.label = name
            components = [component for component, _ in found.values()]
            gr.Interface(
                lambda *_: "said",
                components,
                gr.Textbox(label="said"),
                flagging_callback=callback,
                flagging_dir=str(folder / "flagged"),
                flagging_options=None,
            )
            values.append({name: value for name, (_, value) in found.items()})
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True)
    client = Client(address, verbose=False)
    flags = [each["id"] for each in client.config["dependencies"] if str(each["api_name"]).lower().startswith("flag")]
    for number, sent in zip(flags, values, strict=True):
        for row in (sent.values(), [None] * len(sent)):
            assert "Error" not in str(client.predict(*row, "said", fn_index=number))
    for callback in callbacks:
        callback.scheduler.stop(timeout=60)
    client.close()
    page.close()
    print(gr.__version__, json.dumps(values[1]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
