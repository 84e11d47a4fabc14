"""A Space that keeps pictures with their labels: a Parquet dataset with an Image column."""

import os

import gradio as gr

from hubspool_templates import ParquetScheduler, save_button

REPO = os.environ.get("HUBSPOOL_REPO", "your-name/pictures")


def main() -> None:
    """Start the scheduler and serve the page; at the end the scheduler sends the last rows."""
    columns = {"image": "image", "label": "string"}
    pictures = ParquetScheduler(REPO, folder_path="pictures", every=5, schema=columns, strip_exif=True)

    def save(path: str | None, label: str) -> str:
        if not path or not label.strip():
            raise gr.Error("Please give a picture and a label.", title="Not stored", print_exception=False)
        pictures.append({"image": path, "label": label.strip()})
        return "Thank you, the picture is stored."

    with gr.Blocks(title="Pictures") as page:
        gr.Markdown(f"# What is in it?\nPicture and label are kept in {REPO} on the Hub.")
        picture = gr.Image(label="Picture", type="filepath")
        label = gr.Textbox(label="Label", max_length=100)
        save_button("Save", save, [picture, label], api_name="save")
    page.launch(max_file_size="10mb")


if __name__ == "__main__":
    main()
