"""A Space whose votes are in a bucket within seconds, and in a dataset once a day."""

import os

import gradio as gr

from hubspool_templates import JsonlScheduler, save_button

REPO = os.environ.get("HUBSPOOL_REPO", "your-name/live-votes").removeprefix("hf://buckets/")
DATASET = "/".join(REPO.split("/")[:2])  # has the name of the bucket, which may have a folder behind it


def main() -> None:
    """Start the scheduler and serve the page; at the end the scheduler sends the last rows."""
    votes = JsonlScheduler(  # every six seconds, and once a day; in minutes
        f"hf://buckets/{REPO}", folder_path="votes", every=0.1, timestamp=True, publish_to=DATASET, publish_every=1440
    )

    def save(film: str, stars: int) -> str:
        if not film.strip():
            raise gr.Error("Please name a film first.", title="Not stored", print_exception=False)
        votes.append({"film": film.strip(), "stars": stars})
        return "Thank you, your vote is stored."

    with gr.Blocks(title="Live votes") as page:
        gr.Markdown(f"# How was the film?\nFilm and stars are kept in the bucket {REPO}, and later in a dataset.")
        film = gr.Textbox(label="Film", max_length=100)
        stars = gr.Slider(1, 5, 3, step=1, label="Stars")
        save_button("Vote", save, [film, stars], api_name="save")
    page.launch()


if __name__ == "__main__":
    main()
