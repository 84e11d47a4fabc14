"""Counts lines of code, without blank lines, comments and docstrings: ``python .ci/loc.py [FOLDER …]``."""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import Counter
from pathlib import Path

FOLDERS = ("scheduler", "templates", "demo_space")
_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def docstring_lines(tree: ast.Module) -> set[int]:
    """Return the lines of docstrings, and of other statements that are only a text."""
    return {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }


def code_lines(source: str) -> int:
    """Return how many lines of a module hold code; a text of several lines counts with each of them."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {line for token in tokens if token.type not in _NO_CODE for line in range(token.start[0], token.end[0] + 1)}
    return len(lines - docstring_lines(ast.parse(source)))


def declaration_lines(source: str) -> dict[str, int]:
    """Return how many lines of a module are imports, signatures of functions, and typed fields."""
    found = {"imports": 0, "signatures": 0, "fields": 0}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found["imports"] += (node.end_lineno or node.lineno) - node.lineno + 1
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            named = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            ends = [part.end_lineno or node.lineno for part in (*named, node.returns) if part is not None]
            found["signatures"] += max(ends, default=node.lineno) - node.lineno + 1
        elif isinstance(node, ast.ClassDef):
            found["fields"] += sum(isinstance(part, ast.AnnAssign) for part in node.body)
    return found


def main(folders: list[str]) -> None:
    """Print a line for each folder, the sum, and how much of it is declarations."""
    total = files = lines = 0
    declared = Counter[str]()
    for folder in folders or FOLDERS:
        sources = [path.read_text(encoding="utf-8") for path in sorted(Path(folder).rglob("*.py"))]
        code, all_lines = sum(map(code_lines, sources)), sum(len(source.splitlines()) for source in sources)
        print(f"{folder:12} {len(sources):5} files {all_lines:7,} lines {code:7,} of code")
        files, lines, total = files + len(sources), lines + all_lines, total + code
        for source in sources:
            declared.update(declaration_lines(source))
    print(f"{'total':12} {files:5} files {lines:7,} lines {total:7,} of code")
    print("of it " + ", ".join(f"{count:,} {kind}" for kind, count in declared.items()))


if __name__ == "__main__":
    main(sys.argv[1:])
