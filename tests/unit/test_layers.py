"""Who may import whom: the layer table of CONTRIBUTING.md, held against the import statements."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

SOURCES = {
    "hubspool": ROOT / "scheduler" / "hubspool",
    "hubspool_templates": ROOT / "templates" / "hubspool_templates",
}
EXTRAS = ["huggingface_hub", "pyarrow", "gradio", "starlette", "dulwich"]
NOT_LOADED = {"hubspool": [*EXTRAS, "requests", "hf_xet", "filelock", "yaml"], "hubspool_templates": EXTRAS}


def layers() -> dict[str, int]:
    """Module → its row in the table, from the top; a package is one entry."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.split("<!-- layers -->")[1]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {name: number for number, row in enumerate(rows) for name in re.findall(r"`(\w+)`", row)}


def modules() -> Iterator[tuple[str, Path]]:
    """Each source file with the name of its entry in the table."""
    for package, folder in SOURCES.items():
        for path in sorted(folder.rglob("*.py")):
            inner = path.relative_to(folder).with_suffix("").parts[0]
            yield (package if package != "hubspool" or inner == "__init__" else inner), path


def imported(path: Path) -> Iterator[str]:
    """Every imported module, in functions too, but not what only a type checker reads."""
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
                yield f"{node.module}.{alias.name}" if node.module == "hubspool" else str(node.module)


def entry(module: str) -> str | None:
    """The table's entry of an imported module; None for one that is not ours."""
    parts = module.split(".")
    if parts[0] == "hubspool_templates":
        return "hubspool_templates"
    if parts[0] != "hubspool":
        return None
    name = parts[1] if len(parts) > 1 else "hubspool"
    folder = SOURCES["hubspool"]
    return name if (folder / f"{name}.py").exists() or (folder / name).is_dir() else "hubspool"


def test_every_module_has_a_layer() -> None:
    assert {name for name, _ in modules()} == set(layers())


def test_imports_point_downwards() -> None:
    table = layers()
    wrong = [
        f"{path.relative_to(ROOT)} ({name}) imports {target}"
        for name, path in modules()
        for target in filter(None, map(entry, imported(path)))
        if target != "hubspool" and table[target] < table[name]
    ]
    assert wrong == []


def test_the_local_hub_and_the_client_do_not_know_each_other() -> None:
    uses = [(name, entry(module)) for name, path in modules() for module in imported(path)]
    assert {name for name, used in uses if used == "local_hub"} <= {"local_hub", "cli"}
    assert {used for name, used in uses if name == "local_hub"} <= {"local_hub", "hubspool", None}


def test_plan_does_no_io() -> None:
    forbidden = {
        "os",
        "io",
        "socket",
        "sqlite3",
        "subprocess",
        "shutil",
        "tempfile",
        "threading",
        "requests",
        "time",
    }
    found = {module.split(".")[0] for module in imported(SOURCES["hubspool"] / "plan.py")}
    assert not found & forbidden


@pytest.mark.parametrize("package", SOURCES)
def test_import_is_light(package: str) -> None:
    code = f"import sys, {package}; print(*[name for name in {NOT_LOADED[package]} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("path", [path for _, path in modules()], ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_small(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 420
