"""Renders a README.md as HTML in which nothing runs: Markdown, then a filter that knows only harmless elements."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache, partial
from urllib.parse import urlsplit

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup

from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.services import cards

_MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
_ATTRIBUTES = {
    "a": {"href", "title"},
    "img": {"src", "alt", "title", "width", "height"},
    "td": {"align"},
    "th": {"align"},
}


@dataclass(frozen=True)
class RenderedCard:
    """A README.md: its metadata as text, and the rest of it as safe HTML."""

    metadata: dict[str, str]
    html: Markup


@lru_cache(LIMITS.cached_pages)
def render(text: str, base: str, rev: str) -> RenderedCard:
    """Return a card as a page shows it; metadata that cannot be read stays in the text.

    The text is cut after `HubLimits.preview_card` characters.

    Args:
        text: the whole README.md.
        base: path of the repository's page, which relative links lead to.
        rev: revision of the links; "" for a bucket, which has none.
    """
    try:
        metadata, body = cards.parse(text), cards.body(text)
    except ValueError:
        metadata, body = {}, text
    clean = nh3.clean(
        _MARKDOWN.render(body[: LIMITS.preview_card]), attributes=_ATTRIBUTES, link_rel="noopener noreferrer nofollow",
        attribute_filter=partial(_resolve, base, rev),
    )  # fmt: skip
    shown = {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in metadata.items()
    }
    return RenderedCard(shown, Markup(clean))  # noqa: S704 - nh3 has cleaned it


def _resolve(base: str, rev: str, _element: str, attribute: str, value: str) -> str | None:
    """Let relative links lead to the files of the repository."""
    if attribute not in ("href", "src"):
        return value
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    if parts.scheme or parts.netloc or value.startswith(("#", "/")):
        return value
    names = base, "blob" if attribute == "href" else "resolve", rev, value.removeprefix("./")
    return "/".join(filter(None, names))
