"""Parts of a Gradio page."""
