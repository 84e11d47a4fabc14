"""The sample Space: one page, built from one file per tab. Nothing starts at import."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import gradio as gr

from arena import Arena
from destination import Destination
from hubspool_templates import JsonlScheduler

HERE = Path(__file__).resolve().parent

THEME = gr.themes.Default(
    primary_hue="indigo",
    neutral_hue="slate",
    radius_size="lg",
    font=["system-ui", "sans-serif"],  # no web fonts: the page asks no other host
    font_mono=["ui-monospace", "monospace"],
).set(
    button_primary_background_fill="*primary_600",  # white on the usual shade has too little contrast
    button_primary_background_fill_hover="*primary_700",
)


def build(arena: Arena) -> gr.Blocks:
    """The page; give it to `launch`."""
    page = gr.Blocks(title="Romanisation arena", analytics_enabled=False)
    with page:
        arena.render(page)
    return page


def launch(page: gr.Blocks, port: int | None) -> None:
    """Serves the page until the process is asked to end."""
    page.queue(default_concurrency_limit=20)
    page.launch(
        server_port=port,
        quiet=True,
        theme=THEME,
        css_paths=HERE / "style.css",
        head='<meta name="color-scheme" content="light dark">',
        footer_links=["api", "gradio"],
    )


def main() -> None:
    """Reads the environment, starts the scheduler and serves; the scheduler itself sends the last votes on leaving."""
    logging.basicConfig(level=os.environ.get("HUBSPOOL_LOG", "WARNING").upper())
    destination = Destination.of("votes", os.environ)
    if destination.local_only:
        print(destination.missing_token, flush=True)
    folder = Path("spool", destination.repo_id)  # one per dataset: rows for one never go to another
    every = float(os.environ.get("HUBSPOOL_EVERY", "5"))
    scheduler = JsonlScheduler(destination.repo_id, folder_path=folder, every=every)
    port = os.environ.get("PORT")
    launch(build(Arena(scheduler, destination)), int(port) if port else None)


if __name__ == "__main__":
    main()
