"""The dataset card: front matter that tells `datasets` which files are data, and what their columns are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hubspool.errors import HFValidationError

_FENCE = "---"
_BODY = """
# {title}

{origin} Rows are added while the app or the training run goes on, by `hubspool`, which also keeps the fields at the top
of this card up to date; everything else here is yours to edit.
"""
_SIZES = [
    "n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B", "10B<n<100B",
    "100B<n<1T", "n>1T",
]  # fmt: skip


class Card:
    """A card as it stands, and what is to be added to it.

    Without `configs` `datasets` guesses the data files from all names in the repo, and a stray file beside the data
    keeps the whole dataset from loading; without `features` a column that only later files have does.

    Not promised: comments and layout inside those front-matter fields that change. The body, the other fields with
    their comments, and what a person wrote in a form of their own stay as they are.

    Args:
        text: the card, or None where there is none.
        title: heading of a new card.
        origin: a sentence for a new card: how the data comes to be.

    Raises:
        HFValidationError: the front matter is not a YAML mapping, so nothing can be added to it.
    """

    def __init__(self, text: str | None, *, title: str, origin: str = "") -> None:
        self._front, self._body = _split(text or "")
        if not text:
            self._body = _BODY.format(title=title, origin=origin)
        self._fields = _parse(self._front)
        self._changed: dict[str, Any] = {}

    def data(self, split: str, path: str) -> str:
        """Make sure that a config has the files of one split; returns the config's name.

        Nothing is added where a pattern covers them already: `datasets` would load their rows twice.

        Args:
            split: name of the split.
            path: glob of its files, relative to the repo's root.
        """
        configs = self._list("configs")
        for config in configs:
            if any(_covers(pattern, path) for pattern in _patterns(config.get("data_files"))):
                return str(config.get("config_name", "default"))
        named = [each for each in configs if each.get("config_name", "default") == "default"]
        config = named[0] if named else {"config_name": "default"}
        configs = configs if named else [*configs, config]
        files = config.get("data_files") or []
        if not isinstance(files, list) or not all(isinstance(entry, dict) for entry in files):
            return "default"  # written by a person in the short form: theirs is the say
        entry = next((entry for entry in files if entry.get("split") == split), None)
        if entry is None:
            files = [*files, {"split": split, "path": path}]
        else:
            files = [{**each, "path": [*_patterns([each]), path]} if each is entry else each for each in files]
        self._set("configs", [{**each, "data_files": files} if each is config else each for each in configs])
        return "default"

    def features(self, config_name: str) -> list[dict[str, Any]]:
        """Return the columns of a config as the card has them, or nothing."""
        features = self._info(config_name).get("features") or []
        if not isinstance(features, list) or not all(isinstance(each, dict) and "name" in each for each in features):
            raise _broken("`features` in README.md is no list of columns.")
        return features

    def set_features(self, config_name: str, features: Sequence[Mapping[str, Any]], *, in_config: bool = False) -> None:
        """Replace the columns of a config, beside what else is known of it.

        Args:
            in_config: in the config itself too, the only place where `datasets` looks for those of a folder of images.
        """
        if features == self.features(config_name):
            return
        if in_config:
            configs = self._list("configs")
            at = [each.get("config_name", "default") for each in configs].index(config_name)
            configs[at] = {**configs[at], "features": [dict(each) for each in features]}
            self._set("configs", configs)
        info = {**self._info(config_name), "features": [dict(each) for each in features]}
        known = self._fields.get("dataset_info")
        if isinstance(known, list):
            others = [each for each in known if each.get("config_name", "default") != config_name]
            self._set("dataset_info", [*others, {"config_name": config_name, **info}])
        elif known and known.get("config_name", "default") != config_name:
            self._set("dataset_info", [known, {"config_name": config_name, **info}])
        else:
            self._set("dataset_info", info if config_name == "default" else {"config_name": config_name, **info})

    def set_size(self, rows: int) -> None:
        """Set the tag for so many rows; a larger one, or several, stay."""
        known = self._fields.get("size_categories") or []
        tag = next((tag for power, tag in enumerate(_SIZES) if rows < 10 ** (power + 3)), _SIZES[-1])
        if known == [] or known in ([smaller] for smaller in _SIZES[: _SIZES.index(tag)]):
            self._set("size_categories", [tag])

    def render(self) -> str | None:
        """Return the text of the changed card, or None where nothing has changed."""
        import yaml

        if not self._changed:
            return None
        front = self._front
        for name, value in self._changed.items():
            front = _with_field(front, name, yaml.safe_dump({name: value}, sort_keys=False, allow_unicode=True))
        try:
            kept = _parse(front) == self._fields
        except HFValidationError:
            kept = False
        if not kept:  # an anchor, a field in braces: lines cannot be exchanged
            front = yaml.safe_dump(self._fields, sort_keys=False, allow_unicode=True)
        return f"{_FENCE}\n{front}{_FENCE}\n{self._body}"

    def _set(self, name: str, value: Any) -> None:
        self._fields[name] = self._changed[name] = value

    def _list(self, name: str) -> list[dict[str, Any]]:
        value = self._fields.get(name) or []
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise _broken(f"`{name}` in README.md is no list of mappings.")
        return value

    def _info(self, config_name: str) -> dict[str, Any]:
        info = self._fields.get("dataset_info") or {}
        infos = [info] if isinstance(info, dict) else self._list("dataset_info")
        return next((each for each in infos if each.get("config_name", "default") == config_name), {})


def _broken(message: str) -> HFValidationError:
    return HFValidationError(message, hint="Mend it on the Hub.")


def _patterns(files: Any) -> list[str]:
    """Return every path of a config's `data_files`, which may be a text, a list, or splits of either."""
    if isinstance(files, str):
        return [files]
    if isinstance(files, dict):
        return _patterns(files["path"] if "path" in files else list(files.values()))
    return [path for each in files for path in _patterns(each)] if isinstance(files, list) else []


def _covers(pattern: str, path: str) -> bool:
    """Whether a glob in a config matches the files of another one, as `datasets` reads it."""
    sample = path.replace("[0-9]", "0").replace("*", "x")
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    expression = re.sub(r"\*\*/|\*\*|\*|\?|\[[^\]]+\]|.", lambda m: words.get(m[0]) or _literal(m[0]), pattern)
    return re.fullmatch(expression, sample) is not None


def _literal(text: str) -> str:
    return text.replace("[!", "[^", 1) if len(text) > 1 else re.escape(text)


def _with_field(front: str, name: str, text: str) -> str:
    """Exchange the lines of one field at the top level, or add them at the end; the other lines stay as they are."""
    lines = front.splitlines(keepends=True)
    first = next((n for n, line in enumerate(lines) if re.match(rf"(['\"]?){name}\1\s*:", line)), len(lines))
    last = end = min(first + 1, len(lines))
    while end < len(lines) and re.match(r"[\s#-]", lines[end]):  # a list may stand without indentation
        end += 1
        if not re.match(r"\s*$|#", lines[end - 1]):
            last = end  # comments before the next field are that one's
    return "".join([*lines[:first], text, *lines[last:]])


def _split(text: str) -> tuple[str, str]:
    """Return the lines of the front matter and the body after it."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    match = re.match(r"---\n(.*?^)---(?:\n|$)", text, re.DOTALL | re.MULTILINE)
    if match is None:
        return "", f"\n{text}" if text else ""
    return match[1], text[match.end() :]


def _parse(front: str) -> dict[str, Any]:
    import yaml

    try:
        fields = yaml.safe_load(front)
    except (yaml.YAMLError, ValueError) as error:  # a date with a 13th month is a ValueError
        raise _broken(f"The front matter of README.md is not YAML: {error}") from None
    if fields is not None and not isinstance(fields, dict):
        raise _broken("The front matter of README.md is not a mapping.")
    return dict(fields or {})
