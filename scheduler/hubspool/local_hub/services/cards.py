"""Reads the YAML metadata at the beginning of a README.md."""

from __future__ import annotations

import math
import re
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.services.repositories import Repository

_FRONT_MATTER = re.compile(r"\A---\r?\n(.*?)^---\s*$", re.DOTALL | re.MULTILINE)


def parse(text: str) -> dict[str, object]:
    """Return the metadata of a card as JSON values; empty if there is none.

    Raises:
        ValueError: The metadata is not a mapping in YAML.
    """
    match = _FRONT_MATTER.match(text)
    card = _load_yaml(match[1]) if match else None
    if card is None:
        return {}
    if not isinstance(card, dict):
        raise ValueError("The metadata between the two lines '---' must be a mapping")  # noqa: TRY004 - of the text
    return card


def body(text: str) -> str:
    """Return a card without its metadata."""
    return _FRONT_MATTER.sub("", text, count=1)


def _load_yaml(text: str) -> object:
    try:
        return _as_json(YAML(typ="safe", pure=True).load(text), [LIMITS.card_values])
    except (YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that no calendar has
        raise ValueError(f"Invalid YAML in the card: {error}") from None


def of(repo: Repository, root: str) -> dict[str, object] | None:
    """Return the metadata of a tree's README.md; None if there is none, or if it is invalid."""
    try:
        return parse(repo.git.text(root, "README.md") or "") or None
    except ValueError:
        return None


def tags(card: dict[str, Any] | None) -> list[str]:
    """Return the tags by which listings are filtered."""
    found: list[str] = []
    for name, prefix in (("tags", ""), ("license", "license:"), ("language", "language:"), ("task_categories", "")):
        value = (card or {}).get(name)
        items = value if isinstance(value, list) else [value]
        found += [f"{prefix}{item}" for item in items if isinstance(item, str)]
    return found


def _as_json(value: object, left: list[int]) -> object:
    """Return the value with text in place of what JSON does not have: dates, above all."""
    left[0] -= 1
    if left[0] < 0:
        raise ValueError(f"more than {LIMITS.card_values} values")
    if isinstance(value, dict):
        return {str(key): _as_json(item, left) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_json(item, left) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
