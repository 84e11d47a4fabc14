"""Glob patterns that select files by their path in a folder, as huggingface_hub reads them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fnmatch import translate

Patterns = Sequence[str] | str | None


def path_filter(
    allow_patterns: Patterns = None, ignore_patterns: Patterns = None, *, as_git: bool = True
) -> Callable[[str], bool]:
    """Return a function that says whether a relative path with ``/`` is selected.

    A path is selected if it matches one of `allow_patterns` (None: all paths do) and none of `ignore_patterns`. As in
    huggingface_hub, ``*`` also matches ``/``, case counts, a pattern that ends in ``/`` means everything below that
    folder, and a backslash is a ``/``. Unlike there, a leading ``**/`` also matches no folder, as in git and in the
    Hub's documentation, unless `as_git` is False: what is deleted must be exactly what huggingface_hub would delete.
    """
    allowed = _compile(allow_patterns, as_git)
    ignored = _compile(ignore_patterns, as_git)

    def selected(path: str) -> bool:
        path = path.replace("\\", "/")
        if allowed is not None and not allowed.match(path):
            return False
        return ignored is None or not ignored.match(path)

    return selected


def _compile(patterns: Patterns, as_git: bool) -> re.Pattern[str] | None:
    if patterns is None:
        return None
    globs = [patterns] if isinstance(patterns, str) else list(patterns)
    expressions = []
    for glob in (str(each).replace("\\", "/") for each in globs):
        whole = f"{glob}*" if glob.endswith("/") else glob
        expressions.append(translate(whole))
        while as_git and whole.startswith("**/"):
            whole = whole[3:]
            expressions.append(translate(whole))
    # An empty list allows (or ignores) no path, so its expression matches none.
    return re.compile("|".join(expressions) if expressions else r"(?!)")
