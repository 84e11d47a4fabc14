"""docs/architecture.md against the code: every file, name and table column on the page exists, and its examples run."""

from __future__ import annotations

import ast
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from hubspool import HfApi
from hubspool.files import StatePaths
from hubspool.local_hub import Fault, LocalHub
from hubspool.local_hub.routes.table import ROUTES
from hubspool.push.ledger import Ledger
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
_FILE = r"(?:[\w-]+/)*\w+\.py|(?:[\w-]+/){2,}"
_REFERENCE = re.compile(rf"(?<![\w./<-])({_FILE})(?:: (\w[\w.]*(?:, \w[\w.]*)*))?")
#: What a new maintainer must find at once.
QUESTIONS = [
    "the retry policy",
    "412 (the branch moved on)",
    "where a row is written",
    "who deletes a segment",
    "what closes a part",
    "where Parquet is encoded",
    "SIGTERM to push",
    "the defaults",
    "where the own Space is refused",
    "where the card's features come from",
]


def references(text: str) -> list[tuple[str, str | None]]:
    """The files that a text names, each with one name in it or without any."""
    found: dict[tuple[str, str | None], None] = {}
    for path, names in _REFERENCE.findall(re.sub(r"```python\n.*?```", "", text, flags=re.DOTALL)):
        for name in names.split(", ") if names else [None]:
            found[path, name] = None
    return [*found]


def place(path: str) -> Path:
    """A path of the page: relative to the root of the repository, or to the package."""
    inside = ROOT / "scheduler" / "hubspool" / path
    return inside if inside.exists() else ROOT / path


def defined(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    """Every class, function, method, constant and field, by its qualified name."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield prefix + node.name
            yield from defined(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield prefix + node.name
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (prefix + target.id for target in targets if isinstance(target, ast.Name))


@pytest.mark.parametrize(("path", "name"), references(PAGE), ids=str)
def test_what_the_page_names_exists(path: str, name: str | None) -> None:
    assert place(path).exists()
    if name is not None:
        assert name in {*defined(ast.parse(place(path).read_text(encoding="utf-8")).body)}


def test_a_name_that_does_not_exist_is_noticed() -> None:
    assert references("see `push/rules.py: landed, Gone.now`, `push/gone.py` and `a.py`") == [
        ("push/rules.py", "landed"),
        ("push/rules.py", "Gone.now"),
        ("push/gone.py", None),
        ("a.py", None),
    ]
    assert not place("push/gone.py").exists()


def test_each_question_of_a_new_maintainer_is_answered_with_a_file_and_a_name() -> None:
    table = PAGE.split("## Where is …?")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", table, re.MULTILINE))
    assert [*rows] == ["question", *QUESTIONS]
    assert [question for question in QUESTIONS if not any(name for _, name in references(rows[question]))] == []


def test_the_page_describes_each_column_of_the_ledger(tmp_path: Path) -> None:
    Ledger(tmp_path).close()
    with closing(sqlite3.connect(StatePaths(tmp_path).ledger)) as db:
        names = [row[0] for row in db.execute("select name from sqlite_master where type = 'table'")]
        columns = {name: [row[1] for row in db.execute(f"pragma table_info({name})")] for name in names}
    section = PAGE.split("## The ledger")[1].split("\n## ")[0]
    tables = re.findall(r"^\*\*(\w+)\*\*:(.*?)(?=^\*\*|\Z)", section, re.MULTILINE | re.DOTALL)
    cells = {name: re.findall(r"^\| ([\w, ]+) \|", rows, re.MULTILINE)[1:] for name, rows in tables}
    described = {name: ", ".join(found).split(", ") for name, found in cells.items()}
    assert {name: sorted(found) for name, found in described.items()} == {
        name: sorted(found) for name, found in columns.items()
    }


@pytest.fixture
def route(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the example's route, which every Hub that starts now has."""
    (code,) = [code for code in EXAMPLES if "ROUTES = [" in code]
    names: dict[str, Any] = {}
    exec(code, names)
    (added,) = names["ROUTES"]
    for module in ("app", "server"):
        monkeypatch.setattr(f"hubspool.local_hub.{module}.ROUTES", (*ROUTES, added))
    return str(added.name)


def test_the_route_of_the_page_answers_and_knows_faults(route: str) -> None:
    with LocalHub() as hub:
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        api.create_repo("local/counted")

        def count() -> int:
            address = f"{hub.endpoint}/api/models/local/counted/commit-count/main"
            answer = requests.get(address, headers={"Authorization": f"Bearer {hub.token}"}, timeout=30)
            return int(answer.json()["commits"])

        before = count()
        api.upload_file(path_or_fileobj=b"one", path_in_repo="a.txt", repo_id="local/counted")
        assert count() == before + 1
        hub.faults.add(Fault(route=route, stale=1))
        assert count() == before
        assert len(hub.faults.hits) == 1


def test_all_examples_are_run_here() -> None:
    assert len(EXAMPLES) == 1
