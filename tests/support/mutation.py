"""Mutants: small changes of the source code, each of which breaks one mechanism.

A change is made in the syntax tree, so that it does not depend on how the code is formatted or where it stands in the
file: it names a function and the code in it that is replaced. See `tests/mutants/catalog.py` for all of them.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches
from pathlib import Path

#: Import package → the folder of the repository that holds it.
SOURCES = {"hubspool": "scheduler", "hubspool_templates": "templates"}


class NoMatchError(Exception):
    """The code that a mutant replaces is not there, or is there more than once."""


@dataclass(frozen=True)
class Edit:
    """Replaces code in one function.

    Args:
        file: path that begins with the import package, such as `hubspool/push/rules.py`.
        function: qualified name, such as `Committer._commit`.
        old: one expression, or one or more statements, found exactly once in the function.
        new: what replaces it; the empty text removes statements.
    """

    file: str
    function: str
    old: str
    new: str

    def path(self, root: Path) -> Path:
        """Return the file below `root`, which holds the source folders of the repository."""
        return root / SOURCES[self.file.partition("/")[0]] / self.file

    def applied(self, source: str) -> str:
        """Return the source code with the change, formatted anew and without its comments.

        Raises:
            NoMatchError: the function or the code is not there; the message shows the nearest.
        """
        tree = ast.parse(source)
        function = _functions(tree).get(self.function)
        if function is None:
            raise NoMatchError(f"there is no such function; {_elsewhere(tree, self)}")
        found = _replace(function, self)
        if found != 1:
            there = f"is there {found} times" if found else f"is not there; {_elsewhere(tree, self)}"
            raise NoMatchError(f"{self.old!r} {there}")
        return ast.unparse(ast.fix_missing_locations(tree))


@dataclass(frozen=True)
class Mutant:
    """One broken mechanism.

    Args:
        breaks: what the changed program does, in one sentence.
        edits: made together.
        killed_by: the tests at least one of which must fail by an assertion; paths from the root of the repository.
    """

    name: str
    breaks: str
    edits: tuple[Edit, ...]
    killed_by: tuple[str, ...]

    def apply(self, root: Path) -> None:
        """Make the change in the sources below `root`.

        Raises:
            NoMatchError: the code has changed; the message names the mutant.
        """
        for edit in self.edits:
            path = edit.path(root)
            try:
                path.write_text(edit.applied(path.read_text(encoding="utf-8")), encoding="utf-8")
            except FileNotFoundError:
                raise NoMatchError(f"The mutant {self.name} no longer matches: there is no file {edit.file}") from None
            except NoMatchError as error:
                where = f"{edit.file}:{edit.function}"
                raise NoMatchError(f"The mutant {self.name} no longer matches {where}: {error}") from None


def _functions(tree: ast.Module) -> dict[str, ast.AST]:
    found: dict[str, ast.AST] = {}

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = prefix
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                inner = f"{prefix}{child.name}."
                found[inner[:-1]] = child
            visit(child, inner)

    visit(tree, "")
    return found


def _parsed(code: str) -> list[ast.stmt]:
    return ast.parse(textwrap.dedent(code)).body


def _expression(statements: list[ast.stmt]) -> ast.expr | None:
    only = statements[0] if len(statements) == 1 else None
    return only.value if isinstance(only, ast.Expr) else None


def _replace(function: ast.AST, edit: Edit) -> int:
    """Make the change; return how often the old code is in the function."""
    old, new = _parsed(edit.old), _parsed(edit.new)
    old_value, new_value = _expression(old), _expression(new)
    if old_value is not None and new_value is not None:
        replacer = _Replacer(ast.dump(old_value), new_value)
        replacer.visit(function)
        return replacer.found
    wanted = [ast.dump(statement) for statement in old]
    places = [
        (block, slice(start, start + len(wanted)))
        for block in _blocks(function)
        for start in range(len(block))
        if [ast.dump(statement) for statement in block[start : start + len(wanted)]] == wanted
    ]
    for block, place in places[:1]:
        block[place] = new or [ast.Pass()]
    return len(places)


class _Replacer(ast.NodeTransformer):
    def __init__(self, old: str, new: ast.expr) -> None:
        self.old = old
        self.new = new
        self.found = 0

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.expr) and ast.dump(node) == self.old:
            self.found += 1
            return self.new
        return self.generic_visit(node)


def _blocks(function: ast.AST) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(function):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list):
                yield block


def _elsewhere(tree: ast.Module, edit: Edit) -> str:
    """Say where the old code stands now, or which code looks most like it."""
    functions = _functions(tree)
    there = [
        name
        for name, node in functions.items()
        if not isinstance(node, ast.ClassDef) and any(_same(edit.old, candidate) for _, candidate in _candidates(node))
    ]
    if there:
        return f"it is in {' and in '.join(there)}"
    function = functions.get(edit.function)
    if function is None:
        names = get_close_matches(edit.function, functions, n=3, cutoff=0.3)
        return f"its functions with similar names: {', '.join(names) or 'none'}"
    line, code = max(
        _candidates(function), key=lambda each: SequenceMatcher(None, edit.old.strip(), each[1], autojunk=False).ratio()
    )
    return f"the nearest code is in line {line}: {code!r}"


def _same(old: str, candidate: str) -> bool:
    return ast.unparse(_parsed(old)) == candidate  # type: ignore[call-overload]


def _candidates(node: ast.AST) -> Iterator[tuple[int, str]]:
    for child in ast.walk(node):
        if child is not node and isinstance(child, (ast.expr, ast.stmt)):
            yield child.lineno, ast.unparse(child)
