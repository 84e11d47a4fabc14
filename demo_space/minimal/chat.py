"""A Space whose chat keeps conversations and what people like in them."""

import os
from typing import Any

import gradio as gr

from hubspool_templates import ChatLogger, JsonlScheduler

REPO = os.environ.get("HUBSPOOL_REPO", "your-name/chats")


def main() -> None:
    """Start the scheduler and serve the page; at the end the scheduler sends the last rows."""
    logger = ChatLogger(JsonlScheduler(REPO, folder_path="chats", every=5))

    async def respond(message: str, history: list[dict[str, Any]], request: gr.Request) -> str:
        reply = f"You said: {message}"  # call your model here
        new = [{"role": "user", "content": message}, {"role": "assistant", "content": reply}]
        logger.log([*history, *new], request)
        return reply

    with gr.ChatInterface(
        respond,
        title="Echo",
        description=f"The conversation and your likes are kept in {REPO} on the Hub, without a name.",
    ) as page:
        page.chatbot.like(logger.like, [page.chatbot], None, trigger_mode="multiple")
    page.launch()


if __name__ == "__main__":
    main()
