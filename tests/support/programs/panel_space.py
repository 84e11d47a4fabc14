"""A Space with two panels, for tests: rows come through its API, and each panel has a scheduler of its own."""

from __future__ import annotations

import os

import gradio as gr

from hubspool_templates import JsonlScheduler, status_panel


def main() -> None:
    every = float(os.environ.get("EVERY", "600"))
    schedulers = [JsonlScheduler(f"local/{name}", folder_path=name, every=every) for name in ("votes", "notes")]

    def add(which: float, count: float) -> None:
        schedulers[int(which)].extend({"text": f"row {number} " * 5} for number in range(int(count)))

    def stop() -> None:
        schedulers[1].stop(flush=False)

    with gr.Blocks(title="Panels") as page:
        for scheduler in schedulers:
            status_panel(scheduler)
        gr.api(add, api_name="add")
        gr.api(stop, api_name="stop")
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    page.launch(theme=theme)


if __name__ == "__main__":
    main()
