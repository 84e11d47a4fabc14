"""The YAML at the head of a README.md."""

from __future__ import annotations

import math
import re

import yaml

from hubspool.local_hub.services.repositories import Repository

_FRONT_MATTER = re.compile(r"\A---\r?\n(.*?)^---\s*$", re.DOTALL | re.MULTILINE)
_MAX_VALUES = 100_000  # aliases of aliases make billions of a few lines


def parse(text: str) -> dict[str, object]:
    """The metadata of a card as JSON can say it, empty when there is none.

    Raises:
        ValueError: It is not a mapping in YAML.
    """
    match = _FRONT_MATTER.match(text)
    try:
        card = yaml.safe_load(match[1]) if match else None
        as_json = _as_json(card if card is not None else {}, [_MAX_VALUES])
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that no calendar has
        raise ValueError(f"Invalid YAML in the card: {error}") from None
    if not isinstance(as_json, dict):
        raise ValueError("The metadata between the two lines '---' must be a mapping")  # noqa: TRY004 - of the text
    return as_json


def of(repo: Repository, root: str) -> dict[str, object] | None:
    """The metadata of a tree's README.md, None when it has none that can be read."""
    entry = repo.git.entry(root, "README.md")
    if entry is None or entry.is_folder:
        return None
    try:
        return parse(repo.git.blob(entry.oid).decode("utf-8", "replace")) or None
    except ValueError:
        return None


def tags(card: dict[str, object] | None) -> list[str]:
    """What listings are filtered by."""
    found: list[str] = []
    for name, prefix in (("tags", ""), ("license", "license:"), ("language", "language:"), ("task_categories", "")):
        value = (card or {}).get(name)
        found += [
            f"{prefix}{item}" for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)
        ]
    return found


def _as_json(value: object, left: list[int]) -> object:
    """The value with what JSON cannot say (dates, above all) as text."""
    left[0] -= 1
    if left[0] < 0:
        raise ValueError(f"more than {_MAX_VALUES} values")
    if isinstance(value, dict):
        return {str(key): _as_json(item, left) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_json(item, left) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no such numbers
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
