"""Front matter: the YAML at the top of a README.md, changed field by field with ruamel.yaml."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hubspool.errors import HFValidationError

if TYPE_CHECKING:
    from ruamel.yaml import YAML

_FENCE = "---"
_FRONT_MATTER = re.compile(r"\s*---[ \t]*\r?\n(.*?^)---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
_NUMBER = re.compile(r"[-+]?(0[ox][0-9a-fA-F]+|[\d_.]+([eE][-+]?\d+)?)")


def broken_card(problem: str) -> HFValidationError:
    """Return the error for a README.md that a person has to repair."""
    return HFValidationError(problem, hint="Fix README.md on the Hub.", path="README.md")


class FrontMatter:
    """The fields at the top of a README.md, and the text below them.

    Not promised: the layout inside the fields that change. All other lines stay, and so do all comments and the order
    of the fields; the text below stays byte for byte. Strings are quoted where YAML 1.1 (PyYAML, and so `datasets`) or
    YAML 1.2 (the Hub) would take them for a value of another type.

    Args:
        text: the README.md.

    Attributes:
        fields: name → value.
        body: the text after the front matter.

    Raises:
        HFValidationError: the front matter is not a YAML mapping.
    """

    def __init__(self, text: str) -> None:
        self._front, self.body = _split(text)
        self.fields = _parse(self._front)
        self._changed: dict[str, Any] = {}

    def set(self, name: str, value: Any) -> None:
        """Replace one field."""
        self.fields[name] = self._changed[name] = value

    def render(self) -> str | None:
        """Return the text of the changed README.md, or None if no field changed."""
        if not self._changed:
            return None
        front = self._front
        for name, value in self._changed.items():
            front = _with_field(front, name, value)
        try:
            is_right = _parse(front) == self.fields
        except HFValidationError:
            is_right = False
        if not is_right:  # an anchor, or all fields in braces: single lines cannot be replaced
            front = _with_fields(self._front, self._changed)
        return f"{_FENCE}\n{front}{_FENCE}\n{self.body}"


def _split(text: str) -> tuple[str, str]:
    """Return the lines of the front matter, and the body after it."""
    text = text.removeprefix("\ufeff")
    match = _FRONT_MATTER.match(text)
    if match is None:
        return "", f"\n{text}" if text else ""
    return match[1].replace("\r\n", "\n"), text[match.end() :]


def _yaml(kind: str) -> YAML:
    from ruamel.yaml import YAML

    yaml = YAML(typ=kind, pure=True)
    yaml.width = 10**6  # no line is wrapped
    yaml.preserve_quotes = True
    return yaml


def _parse(front: str) -> dict[str, Any]:
    """Return the fields of the front matter."""
    from ruamel.yaml.error import YAMLError

    try:
        fields = _yaml("safe").load(front)
    except (YAMLError, ValueError) as error:  # a date with a 13th month is a ValueError
        raise broken_card(f"The front matter of README.md is not YAML: {error}") from None
    if fields is not None and not isinstance(fields, dict):
        raise broken_card("The front matter of README.md is not a mapping.")
    return dict(fields or {})


def _with_field(front: str, name: str, value: Any) -> str:
    """Replace the lines of one top-level field, or add them at the end; all other lines stay as they are."""
    key = rf"(['\"]?){re.escape(name)}\1\s*:"
    lines = front.splitlines(keepends=True)
    first = next((n for n, line in enumerate(lines) if re.match(key, line)), len(lines))
    last = end = min(first + 1, len(lines))
    while end < len(lines) and re.match(r"[\s#-]", lines[end]):  # a list may have no indentation
        end += 1
        if not re.match(r"\s*$|#", lines[end - 1]):
            last = end  # comments before the next field belong to that field
    return "".join([*lines[:first], _with_fields("".join(lines[first:last]), {name: value}), *lines[last:]])


def _with_fields(front: str, changed: Mapping[str, Any]) -> str:
    """Return YAML with the changed fields; its comments stay, and the layout of every value that is still the same."""
    from ruamel.yaml.comments import CommentedMap
    from ruamel.yaml.error import YAMLError

    try:
        fields = _yaml("rt").load(front) or CommentedMap()
    except (YAMLError, ValueError):  # part of a document, with an alias for another part
        fields = CommentedMap()
    fields.fa.set_block_style()
    for name, value in changed.items():
        fields[name] = _updated(fields.get(name), _quoted(value))
    writer, out = _yaml("rt"), io.StringIO()
    writer.version = (1, 1)  # `datasets` reads YAML 1.1, where a column named no needs quotes
    writer.dump(fields, out)
    return out.getvalue().partition(f"{_FENCE}\n")[2]  # without the %YAML directive


def _quoted(value: Any) -> Any:
    """Return a value in which text is quoted that only YAML 1.2, which the Hub reads, takes for a number."""
    from ruamel.yaml.scalarstring import SingleQuotedScalarString

    if isinstance(value, Mapping):
        return {_quoted(name): _quoted(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_quoted(inner) for inner in value]
    return SingleQuotedScalarString(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value


def _updated(old: Any, new: Any) -> Any:
    """Change `old`, as ruamel.yaml read it, until it equals `new`."""
    if old == new:
        return old
    if not old or type(new) not in (dict, list) or not isinstance(old, type(new)) or old.anchor.value:
        return new
    if isinstance(new, dict):
        for name in [name for name in old if name not in new]:
            del old[name]
        for name, value in new.items():
            old[name] = _updated(old.get(name), value)
        return old
    kept = min(len(old), len(new))
    for number in range(kept):
        old[number] = _updated(old[number], new[number])
    del old[kept:]
    old.extend(new[kept:])
    return old
