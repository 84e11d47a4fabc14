"""Takes splits without a file out of a dataset card: beside one, `datasets` loads nothing of its config."""

from __future__ import annotations

import re
from collections.abc import Collection
from fnmatch import fnmatchcase
from typing import Any

from hubspool.client.front_matter import FrontMatter

#: The end of a pattern that a scheduler wrote, of all its parts; what a person wrote is not ours to change.
_OF_PARTS = re.compile(r"-p(\[0-9\]){4}\.\w+$")


def without_empty_splits(text: str, paths: Collection[str]) -> str | None:
    """Return a README.md without the splits of schedulers that have no file, and without configs that then have none.

    The columns of a config stay: its rows may come back.

    Args:
        text: the README.md.
        paths: all files of the repository.

    Returns:
        None if nothing changes, or no config would be left.

    Raises:
        HFValidationError: a person has to repair the front matter.
    """
    front = FrontMatter(text)
    configs = front.fields.get("configs")
    if not isinstance(configs, list):
        return None
    left = [kept for config in configs if (kept := _with_files(config, paths)) is not None]
    if not left or left == configs:
        return None
    front.set("configs", left)
    return front.render()


def _with_files(config: Any, paths: Collection[str]) -> Any:
    """Return a config without its empty splits; None if no split is left."""
    entries = config.get("data_files") if isinstance(config, dict) else None
    if not isinstance(entries, list):
        return config
    left = [entry for entry in entries if not _is_empty(entry, paths)]
    return {**config, "data_files": left} if left else None


def _is_empty(entry: Any, paths: Collection[str]) -> bool:
    patterns = entry.get("path") if isinstance(entry, dict) else None
    found = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(found, list) or not found or not all(isinstance(each, str) for each in found):
        return False
    is_ours = all(_OF_PARTS.search(each) for each in found)
    return is_ours and not any(fnmatchcase(path, each) for each in found for path in paths)
