"""Reads the YAML metadata at the beginning of a README.md."""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.services.repositories import Repository
from hubspool.local_hub.storage.lru import LruCache

_FRONT_MATTER = re.compile(r"\A\s*---\r?\n(.*?)^---\s*$", re.DOTALL | re.MULTILINE)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # the class depends on the build
    """YAML 1.2, as the Hub reads it: `no` is a language, and a date or 12:30 is a text; a key occurs once.

    ruamel.yaml, which does that by itself, needs 7 s where libyaml needs 1 s.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        if len(keys) != len(set(keys)):
            raise yaml.constructor.ConstructorError(None, None, "a key occurs twice", node.start_mark)
        return dict(super().construct_mapping(node, deep))


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9]\d{0,18})", "-+0123456789"),
    ("float", r"[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?|[-+]?\.(?:inf|Inf)|\.(?:nan|NaN)", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_first))

_tag = "tag:yaml.org,2002:"
_kept = (f"{_tag}null", f"{_tag}str", f"{_tag}seq", f"{_tag}map", None)  # None: an error for unknown tags
_Loader.yaml_constructors = {name: yaml.SafeLoader.yaml_constructors[name] for name in _kept}
# PyYAML's own constructors fail in many ways for `!!bool x`, and take a minute for `!!int 1:1:1:…`
_Loader.add_constructor(f"{_tag}bool", lambda loader, node: loader.construct_scalar(node).lower() == "true")
_Loader.add_constructor(f"{_tag}int", lambda loader, node: int(loader.construct_scalar(node)))
_Loader.add_constructor(f"{_tag}float", lambda loader, node: float(_as_python(loader.construct_scalar(node))))

_cards: LruCache[str, tuple[dict[str, object] | None]] = LruCache(LIMITS.cached_cards)


def _as_python(number: str) -> str:
    """Return a float without the point that YAML writes before `inf` and `nan`."""
    return re.sub(r"^([-+]?)\.(?=[in])", r"\1", number.lower())


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
    if not isinstance(card.get("model-index", []), list):
        raise ValueError('"model-index" must be an array')  # noqa: TRY004 - of the text
    return card


def body(text: str) -> str:
    """Return a card without its metadata."""
    return _FRONT_MATTER.sub("", text, count=1)


def _load_yaml(text: str) -> object:
    if len(text.encode("utf-8", "replace")) > LIMITS.card:
        raise ValueError(f"The metadata of the card has more than {LIMITS.card} bytes")
    try:
        return _as_json(yaml.load(text, _Loader), [LIMITS.card_values])  # noqa: S506 - a safe loader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"Invalid YAML in the card: {error}") from None


def of(repo: Repository, root: str) -> dict[str, object] | None:
    """Return the metadata of a tree's README.md; None if there is none, or if it is invalid."""
    entry = repo.git.entry(root, "README.md")
    if entry is None or entry.is_folder:
        return None
    found = _cards.get(entry.oid)
    if found is None:
        try:
            found = (parse(repo.git.blob(entry.oid).decode("utf-8", "replace")) or None,)
        except ValueError:
            found = (None,)
        _cards.put(entry.oid, found)
    return found[0]


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
