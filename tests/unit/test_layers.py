"""Which folder may import which: the table in CONTRIBUTING.md, compared with the import statements."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.import_graph import PACKAGES, cycles, import_graph, imported, modules
from tests.support.paths import ROOT

MODULES = modules()
EXTRAS = ["huggingface_hub", "pyarrow", "gradio", "starlette", "dulwich"]
NOT_LOADED = {"hubspool": [*EXTRAS, "requests", "hf_xet", "filelock", "yaml"], "hubspool_templates": EXTRAS}
#: Fixtures of a Hub and of a client for it: for pytest, which alone imports it; it stands above all folders.
PYTEST_PLUGIN = "hubspool.local_hub.pytest_plugin"
LINES = 600
MODULES_AT_THE_TOP = 8


def rows() -> dict[str, int]:
    """Return folder, or module with a row of its own → its row in the table, from the top; both as dotted names."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.split("<!-- layers -->")[1]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    names = [re.findall(r"`([\w/]+?)(?:/|\.py)`", cell) for cell in cells]
    return {name.replace("/", "."): row for row, found in enumerate(names) for name in found}


def folder_of(module: str) -> str:
    """Return the folder in the table that a module belongs to: the nearest one above its file, or itself."""
    path = MODULES[module]
    if module in rows():
        return module
    name = module if path.name == "__init__.py" else module.rpartition(".")[0]
    table = rows()
    while name not in table:
        assert name, f"{path} is in no folder of the table"
        name = name.rpartition(".")[0]
    return name


def upward(graph: dict[str, set[str]], table: dict[str, int]) -> list[str]:
    """Return the imports that point up, or to another folder of the same row."""
    return [
        f"{name} imports {target}"
        for name, targets in graph.items()
        for target in sorted(targets)
        if (here := folder_of(name)) != (there := folder_of(target)) and table[there] <= table[here]
    ]


def test_every_folder_has_a_row() -> None:
    """A folder inside one that is split in the table has a row of its own; the others belong to the row above them."""
    table = rows()
    split = {name for name in table if any(other.startswith(f"{name}.") for other in table)}
    folders = {module: folder_of(module) for module in MODULES}
    strays = [
        module
        for module, folder in folders.items()
        if folder in split
        and folder != module
        and module.count(".") > folder.count(".") + (MODULES[module].name != "__init__.py")
    ]
    assert strays == []
    assert set(folders.values()) == set(table)


def test_imports_point_downwards() -> None:
    graph = import_graph()
    del graph[PYTEST_PLUGIN]
    assert upward(graph, rows()) == []


def test_an_import_that_points_up_or_sideways_is_noticed() -> None:
    table = rows()
    assert upward({"hubspool.spool.spool": {"hubspool.push.rules"}}, table) != []
    assert upward({"hubspool.local_hub.storage.accounts": {"hubspool.local_hub.routes.page"}}, table) != []
    assert upward({"hubspool_templates.parquet.tables": {"hubspool_templates.archive.inbox"}}, table) != []


def test_no_modules_import_each_other() -> None:
    assert cycles(import_graph()) == []


def test_modules_that_import_each_other_are_noticed() -> None:
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]


def test_the_local_hub_and_the_client_do_not_know_each_other() -> None:
    graph = import_graph()
    assert PYTEST_PLUGIN not in {target for targets in graph.values() for target in targets}
    del graph[PYTEST_PLUGIN]
    uses = [(folder_of(name), folder_of(target)) for name, targets in graph.items() for target in targets]
    hub = "hubspool.local_hub"
    outside = {user for user, used in uses if used.startswith(hub) and not user.startswith(hub)}
    assert outside == {"hubspool.cli", "demo_space"}
    assert {used for user, used in uses if user.startswith(hub) and not used.startswith(hub)} <= {"hubspool"}


def test_the_rules_do_no_io() -> None:
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
    found = {module.split(".")[0] for module in imported(MODULES["hubspool.push.rules"], MODULES)}
    assert not found & forbidden


@pytest.mark.parametrize("package", NOT_LOADED)
def test_import_is_light(package: str) -> None:
    code = f"import sys, {package}; print(*[name for name in {NOT_LOADED[package]} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []


def test_the_scheduler_is_imported_without_what_its_first_request_or_push_needs() -> None:
    heavy = [*NOT_LOADED["hubspool"], "sqlite3", "ruamel.yaml", "tqdm", "click", "hubspool.client.hf_api"]
    code = (
        f"import sys; from hubspool import CommitScheduler; print(*[name for name in {heavy} if name in sys.modules])"
    )
    # Coverage starts in each child, and imports sqlite3 for itself.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, env=env)
    assert done.stdout.split() == []


def test_a_class_name_means_one_thing_in_the_whole_tree() -> None:
    found: dict[str, list[str]] = {}
    for module, path in MODULES.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name.lstrip("_"), []).append(module)
    assert {name: homes for name, homes in found.items() if len(homes) > 1} == {}


def test_few_modules_are_at_the_top() -> None:
    assert len(list(PACKAGES["hubspool"].glob("*.py"))) <= MODULES_AT_THE_TOP


@pytest.mark.parametrize("path", MODULES.values(), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_small(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES
