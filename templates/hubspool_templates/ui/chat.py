"""ChatLogger: likes and whole conversations of a `gr.ChatInterface`, as rows of a dataset."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from gradio import ChatMessage, LikeData, Request

from hubspool_templates.parquet.media import as_texts
from hubspool_templates.rows import RowScheduler


class ChatLogger:
    """Stores likes and conversations of a chat as rows: one row per click or conversation.

    Not promised: the id of a conversation changes when the app restarts, and two conversations of one visitor that
    begin with the same words share one id. No user name, address or session is stored: the id is computed with a key
    that never leaves this process, so nobody can compute the session from it.

    Columns: ``event`` ("feedback" or "conversation"), ``conversation_id``, ``messages`` (a list of ``role``,
    ``content``, ``title`` of a thought or tool call, and ``files``), ``message_index`` (the first message that was
    liked), ``feedback`` ("Like", "Dislike", or another option of the chatbot; null if the visitor took it back: the
    newest row of a message counts), ``timestamp`` (UTC). A file is stored as its name; with a `ParquetScheduler` also
    as its bytes.

    Usage::

        logger = ChatLogger(JsonlScheduler("user/chats"))
        with gr.ChatInterface(respond) as chat:
            chat.chatbot.like(logger.like, [chat.chatbot], None, trigger_mode="multiple")

    (By default Gradio drops a click that comes before the last one is done; ``trigger_mode="multiple"`` keeps it.)

    Thread-safety: both methods may be called from any thread and from ``async def``.

    Args:
        scheduler: the scheduler that stores the rows.
    """

    def __init__(self, scheduler: RowScheduler) -> None:
        self.scheduler = scheduler
        self._key = secrets.token_bytes(32)

    def like(self, data: LikeData, messages: Sequence[Any], request: Request | None = None) -> None:
        """Store a like, a dislike or another choice, or that the visitor took it back; for `gr.Chatbot.like`.

        Args:
            data: the click; Gradio passes it.
            messages: the messages of the chatbot.
            request: the visitor's request; Gradio passes it. It only tells conversations apart.
        """
        words = {True: "Like", False: "Dislike"}
        feedback = words[data.liked] if isinstance(data.liked, bool) else data.liked or None
        index = data.index
        if isinstance(index, (list, tuple)):  # in Gradio 5 of a pair of messages, and which of the two
            index = 2 * index[0] + index[1] if messages and isinstance(messages[0], (list, tuple)) else index[0]
        self._store("feedback", messages, request, index, feedback)

    def log(self, messages: Sequence[Any], request: Request | None = None) -> None:
        """Store a whole conversation; the longest row of a conversation id has all messages.

        Args:
            messages: the messages of a `gr.Chatbot` or the history of a `gr.ChatInterface`: dicts or `gr.ChatMessage`.
            request: the visitor's request; without it each call is a new conversation.
        """
        self._store("conversation", messages, request, None, None)

    def _store(
        self, event: str, given: Sequence[Any], request: Request | None, index: int | None, feedback: str | None
    ) -> None:
        with_bytes = getattr(self.scheduler.encoding, "suffix", "") == "parquet"
        messages = [_message(message, with_bytes) for message in _singly(given)]
        row = {
            "event": event,
            "conversation_id": self._conversation(messages, request),
            "messages": messages,
            "message_index": index,
            "feedback": feedback,
            "timestamp": datetime.now(timezone.utc),
        }
        self.scheduler.append(as_texts(row))

    def _conversation(self, messages: Sequence[Mapping[str, Any]], request: Request | None) -> str:
        session = getattr(request, "session_hash", None) or secrets.token_hex()
        first = next((message["content"] for message in messages if message["role"] == "user"), "")
        return hmac.digest(self._key, f"{session}\0{first}".encode("utf-8", "replace"), "sha256")[:16].hex()


def _singly(given: Sequence[Any]) -> Iterable[Any]:
    """Yield the messages; by default Gradio 5 has pairs of a user's message and its answer."""
    for each in given:
        if isinstance(each, (list, tuple)):
            pair = zip(("user", "assistant"), each, strict=True)
            yield from ({"role": role, "content": text} for role, text in pair if text is not None)
        else:
            yield each


def _message(message: Any, with_bytes: bool) -> dict[str, Any]:
    """Return a message of any of Gradio's types as one kind of dict."""
    if isinstance(message, ChatMessage) or not isinstance(message, Mapping):
        message = {name: getattr(message, name, None) for name in ("role", "content", "metadata")}
    texts: list[str] = []
    files: list[dict[str, Any]] = []
    for part in _parts(message["content"]):
        if isinstance(part, str):
            texts.append(part)
        elif part.get("type") == "text":
            texts.append(part["text"])
        elif (file := part.get("file", part)).get("path"):
            path = Path(file["path"])
            name = Path(file.get("orig_name") or path.name).name
            files.append({"name": name, "bytes": path.read_bytes()} if with_bytes else {"name": name})
        else:
            texts.append(f"[{part.get('component') or part.get('type')}]")  # a plot or a gallery: no text to store
    title = (message.get("metadata") or {}).get("title")
    return {"role": message["role"], "content": "\n".join(texts), "title": title, "files": files}


def _parts(content: Any) -> Iterable[Any]:
    """Yield text as str, and any other content as a mapping."""
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, (str, Mapping)):
            yield part
        elif isinstance(part, tuple):
            yield {"path": part[0]}  # the older type of a file: path and alternative text
        elif hasattr(part, "model_dump"):
            yield part.model_dump()
        else:
            yield {"component": type(part).__name__.lower()}
