"""Glob patterns that choose files by their path in the folder, as huggingface_hub reads them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fnmatch import translate

Patterns = Sequence[str] | str | None


def path_filter(allow_patterns: Patterns = None, ignore_patterns: Patterns = None) -> Callable[[str], bool]:
    """Return a function that tells whether a relative path with ``/`` is chosen.

    A path is chosen when it matches any of `allow_patterns` (None: all do) and none of `ignore_patterns`. ``*`` crosses
    folders and case counts, as in huggingface_hub; a pattern that ends in ``/`` means all below that folder. Unlike
    there, a leading ``**/`` also matches no folder, as git and the Hub's documentation have it.
    """
    allowed = _compile(allow_patterns)
    ignored = _compile(ignore_patterns)

    def chosen(path: str) -> bool:
        if allowed is not None and not allowed.match(path):
            return False
        return ignored is None or not ignored.match(path)

    return chosen


def _compile(patterns: Patterns) -> re.Pattern[str] | None:
    if patterns is None:
        return None
    globs = [patterns] if isinstance(patterns, str) else list(patterns)
    expressions = []
    for glob in globs:
        whole = f"{glob}*" if glob.endswith("/") else glob
        expressions.append(translate(whole))
        while whole.startswith("**/"):
            whole = whole[3:]
            expressions.append(translate(whole))
    # An empty list allows (or ignores) nothing: an expression that matches no path.
    return re.compile("|".join(expressions) if expressions else r"(?!)")
