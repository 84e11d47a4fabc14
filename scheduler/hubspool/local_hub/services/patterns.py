"""Patterns of `.gitattributes` and `.gitignore` files, matched within a budget.

The regular expressions of dulwich and pathspec try every way to share a path among the stars of a pattern: one pattern
with six of them took 50 s. Here a star never gives back what it took, and each request may cost so much in total.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable

from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.services.api_errors import ApiError

_SPECIAL = re.compile(r"[*?\[\\]")


class MatchBudget:
    """What the matches of one request cost together, in characters of patterns."""

    def __init__(self) -> None:
        self._left = LIMITS.pattern_characters

    def spend(self, characters: int) -> None:
        """Count one match.

        Raises:
            ApiError: 422 if the request costs too much.
        """
        self._left -= characters
        if self._left < 0:
            raise ApiError(422, "The .gitattributes and .gitignore have too many patterns for so many files")


class PathPattern:
    """One pattern, without the `!` or the attributes of its line.

    Attributes:
        folders_only: it ends in a slash.
    """

    def __init__(self, text: str) -> None:
        self.folders_only = text.endswith("/")
        names = text.strip("/").split("/")
        self._names = names if "/" in text.rstrip("/") else ["**", *names]  # without a slash: at any depth
        self._compiled: dict[str, re.Pattern[str]] = {}

    def match(self, path: str, budget: MatchBudget) -> bool:
        """Whether the pattern matches exactly this path.

        Raises:
            ApiError: as `MatchBudget.spend`.
        """
        parts, names = path.split("/"), self._names
        part = name = 0
        star, resume = -1, 0  # of the last `**`: where the pattern goes on behind it, and where the path does
        while part < len(parts):
            if name < len(names) and names[name] == "**":
                star, resume, name = name + 1, part, name + 1
            elif name < len(names) and self._name_matches(names[name], parts[part], budget):
                name, part = name + 1, part + 1
            elif star >= 0:
                resume += 1
                name, part = star, resume
            else:
                return False
        return name == len(names)

    def _name_matches(self, glob: str, name: str, budget: MatchBudget) -> bool:
        budget.spend(len(glob))
        if not _SPECIAL.search(glob):
            return glob == name
        if glob not in self._compiled:
            budget.spend(20 * len(glob))  # about what it takes to compile
            self._compiled[glob] = re.compile(fnmatch.translate(_as_fnmatch(glob)))
        return self._compiled[glob].match(name) is not None


def _as_fnmatch(glob: str) -> str:
    """Return the pattern in the syntax of `fnmatch`, whose expressions do not backtrack into a star."""
    glob = re.sub(r"\\(.?)", lambda found: f"[{found[1]}]" if found[1] in "*?[" else found[1], glob)
    return glob.replace("[[:space:]]", "[ \t]").replace("[^", "[!")


class IgnoreRules:
    """The rules of one `.gitignore`: the last that matches decides, and what is in an ignored folder is ignored."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._rules: list[tuple[bool, PathPattern]] = []
        for raw in lines:
            line = re.sub(r"(?<!\\)[ \t]+$", "", raw)
            is_negated = line.startswith("!")
            text = line[1:] if is_negated else line
            if text.strip("/") and not line.startswith("#"):
                self._rules.append((not is_negated, PathPattern(text)))
        self._rules.reverse()
        self._folders: dict[str, bool] = {}

    def ignores(self, path: str, budget: MatchBudget) -> bool:
        """Whether a file is ignored.

        Raises:
            ApiError: as `MatchBudget.spend`.
        """
        for end in (found.start() for found in re.finditer("/", path)):
            folder = path[:end]
            if folder not in self._folders:
                self._folders[folder] = self._decide(folder, budget, is_folder=True)
            if self._folders[folder]:
                return True
        return self._decide(path, budget, is_folder=False)

    def _decide(self, path: str, budget: MatchBudget, *, is_folder: bool) -> bool:
        for is_ignored, pattern in self._rules:
            if (is_folder or not pattern.folders_only) and pattern.match(path, budget):
                return is_ignored
        return False
