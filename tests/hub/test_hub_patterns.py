"""The rules of a `.gitignore` on the local Hub are those of git."""

from __future__ import annotations

import random
from pathlib import Path

from hubspool.local_hub.services.patterns import IgnoreRules, MatchBudget
from tests.support.git_runner import Git

_NAMES = ["a", "b", "ab", "a.txt", "b.log", ".x", "x y"]
_GLOBS = ["a", "*", "*.txt", "**", "?", "[ab]", "[!a]", "a*", "*b*", ".*", "\\*", "x\\ y"]


def test_git_ignores_the_same_files(git: Git, tmp_path: Path) -> None:
    choice = random.Random(2)
    git("init", "-q", "repo")
    for _ in range(60):  # git fails if it ignores none of the files: /zzz
        lines = []
        for _ in range(choice.randint(1, 3)):
            glob = "/".join(choice.choices(_GLOBS, k=choice.randint(1, 3)))
            lines.append(choice.choice(["", "", "!"]) + choice.choice(["", "/"]) + glob + choice.choice(["", "", "/"]))
        (tmp_path / "repo" / ".gitignore").write_text("\n".join([*lines, "/zzz"]) + "\n")
        paths = ["/".join(choice.choices(_NAMES, k=choice.randint(1, 4))) for _ in range(30)]
        shown = git(
            "-c", "core.quotePath=false", "check-ignore", "--no-index", "-v", "-n", "zzz", *paths, cwd=tmp_path / "repo"
        )
        theirs = {}
        for line in shown.splitlines():
            rule, _, path = line.partition("\t")
            theirs[path.strip('"')] = rule != "::" and not rule.split(":", 2)[2].startswith("!")
        rules = IgnoreRules([*lines, "/zzz"])
        assert {path: rules.ignores(path, MatchBudget()) for path in theirs} == theirs, lines
        assert set(theirs) == {"zzz", *paths}
