"""A Space that keeps many files: zip archives that load as an image folder."""

import os
from pathlib import Path

import gradio as gr

from hubspool_templates import ZipScheduler, save_button

REPO = os.environ.get("HUBSPOOL_REPO", "your-name/archive")


def main() -> None:
    """Start the scheduler and serve the page; at the end the scheduler sends the last files."""
    archive = ZipScheduler(REPO, folder_path="archive", every=5, strip_exif=True)

    def save(paths: list[str] | None, label: str) -> str:
        if not paths:
            raise gr.Error("Please choose pictures first.", title="Not stored", print_exception=False)
        for path in paths:
            archive.add(path, Path(path).name, label=label)
        return f"Thank you, {'1 file is' if len(paths) == 1 else f'{len(paths)} files are'} stored."

    with gr.Blocks(title="Archive") as page:
        gr.Markdown(f"# Many pictures at once\nThe files and the label are kept in {REPO} on the Hub.")
        files = gr.File(label="Pictures", file_count="multiple", file_types=["image"])
        label = gr.Textbox(label="Label for all of them", max_length=100)
        save_button("Save", save, [files, label], api_name="save")
    page.launch(max_file_size="10mb")


if __name__ == "__main__":
    main()
