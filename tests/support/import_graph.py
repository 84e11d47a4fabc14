"""The imports between our modules, read from their syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path

from tests.support.paths import ROOT

#: Import package → its folder.
PACKAGES = {
    "hubspool": ROOT / "scheduler" / "hubspool",
    "hubspool_templates": ROOT / "templates" / "hubspool_templates",
    "demo_space": ROOT / "demo_space",
}

#: Modules that only name what other modules define, for users: they stand above all folders.
PUBLIC_FACES = ("hubspool", "hubspool.extending", "hubspool_templates")


def modules() -> dict[str, Path]:
    """Return module → file, for every module of ours; a package is named like its folder."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join((package, *(part for part in parts if part != "__init__")))] = path
    return found


def imported(path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """Yield every module that a file imports, in its functions too, but not what only a type checker reads.

    A name that is imported from a package's public face counts as the module that defines it.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute, so that this test can read them"
            for alias in node.names:
                yield _home(str(node.module), alias.name, known)


def _home(module: str, name: str, known: Mapping[str, Path]) -> str:
    if f"{module}.{name}" in known:
        return f"{module}.{name}"
    if module in PUBLIC_FACES:
        return str(getattr(getattr(import_module(module), name), "__module__", module))
    return module


def import_graph() -> dict[str, set[str]]:
    """Return module → the modules of ours that it imports.

    The public faces are left out.
    """
    known = modules()
    bare = {name.removeprefix("demo_space."): name for name in known if name.startswith("demo_space.")}
    graph = {}
    for name, path in known.items():
        if name not in PUBLIC_FACES:
            targets = {bare.get(target, target) for target in imported(path, known)}
            graph[name] = (targets & set(known)) - {name, *PUBLIC_FACES}
    return graph


def cycles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the sets of modules that import each other, directly or through others."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            new = graph.get(waiting.pop(), set()) - seen
            seen |= new
            waiting += new
        reached[start] = seen
    groups = {
        frozenset(other for other in reached[name] if name in reached.get(other, ()))
        for name in graph
        if name in reached[name]
    }
    return sorted(sorted(group) for group in groups)
