"""A Space that keeps what people think of a result: one JSON row per vote."""

import os

import gradio as gr

from hubspool_templates import JsonlScheduler, save_button

REPO = os.environ.get("HUBSPOOL_REPO", "your-name/feedback")


def main() -> None:
    """Start the scheduler and serve the page; at the end the scheduler sends the last rows."""
    votes = JsonlScheduler(REPO, folder_path="votes", every=5, timestamp=True)  # minutes

    def save(text: str, result: str, liked: str) -> str:
        if not text.strip():
            raise gr.Error("Please enter a text first.", title="Not stored", print_exception=False)
        votes.append({"text": text, "result": result, "liked": liked == "Yes"})  # on the disk once it returns
        return "Thank you, your vote is stored."

    with gr.Blocks(title="Feedback") as page:
        gr.Markdown(f"# Upside down\nText, result and your vote are kept in {REPO} on the Hub.")
        text = gr.Textbox(label="Text", max_length=1000)
        result = gr.Textbox(label="Result", interactive=False)
        text.change(lambda text: text[::-1], text, result, api_visibility="private")
        liked = gr.Radio(["Yes", "No"], label="Is it right?", value="Yes")
        save_button("Vote", save, [text, result, liked], api_name="save")
    page.launch()


if __name__ == "__main__":
    main()
