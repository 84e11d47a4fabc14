"""The sample Space: one page with one file per tab. An import of this module starts nothing."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from arena import Arena
from bulk_images import BulkImages
from destination import minutes_between_pushes, place_of
from hubspool import CommitScheduler
from hubspool_templates import JsonlScheduler, ParquetScheduler, TrainingLogs, ZipScheduler
from on_the_hub import OnTheHub
from pictures import SCHEMA, Pictures
from tab import Tab
from training import Training

HERE = Path(__file__).resolve().parent

THEME = gr.themes.Default(
    primary_hue="indigo",
    neutral_hue="slate",
    radius_size="lg",
    font=["system-ui", "sans-serif"],  # no web fonts: the page loads nothing from other hosts
    font_mono=["ui-monospace", "monospace"],
).set(
    button_primary_background_fill="*primary_600",  # white on the default shade has too little contrast
    button_primary_background_fill_hover="*primary_700",
)


def build(tabs: Sequence[Tab[Any]]) -> gr.Blocks:
    """Returns the page."""
    page = gr.Blocks(title="A Space that keeps what people do", analytics_enabled=False)
    with page:
        gr.HTML("<h1>A Space that keeps what people do</h1>")
        with gr.Tabs():
            for tab in tabs:
                with gr.Tab(tab.title):
                    tab.render(page)
            hub = OnTheHub(tabs)
            with gr.Tab(hub.title) as opened:
                hub.render(opened)
    return page


def start(environment: dict[str, str]) -> list[Tab[Any]]:
    """Starts one scheduler per tab, each with a dataset, or a folder in the bucket, and a folder on this disk."""
    every = minutes_between_pushes(environment)

    def tab(kind: type[Tab[Any]], scheduler: type[CommitScheduler], **options: Any) -> Tab[Any]:
        place = place_of(kind.name, environment)
        folder = Path("spool", place.removeprefix("hf://"))
        made = kind(scheduler(repo_id=place, folder_path=folder, every=every, **options))
        if made.missing_token:
            print(made.missing_token, flush=True)
        return made

    return [
        tab(Arena, JsonlScheduler),
        tab(Pictures, ParquetScheduler, schema=SCHEMA),
        tab(BulkImages, ZipScheduler),
        tab(Training, TrainingLogs, repo_type="dataset", path_in_repo="runs"),
    ]


def main() -> None:
    """Reads the environment, starts the schedulers and serves; at the end the schedulers send the last rows."""
    logging.basicConfig(level=os.environ.get("HUBSPOOL_LOG", "WARNING").upper())
    page, port = build(start(dict(os.environ))), os.environ.get("PORT")
    labels = (HERE / "labels.js").read_text(encoding="utf-8")
    page.queue(default_concurrency_limit=20)
    page.launch(
        server_port=int(port) if port else None,
        quiet=True,
        theme=THEME,
        css_paths=HERE / "style.css",
        head=f'<meta name="color-scheme" content="light dark"><script>{labels}</script>',
        footer_links=["api", "gradio"],
        max_file_size="10mb",
    )


if __name__ == "__main__":
    main()
