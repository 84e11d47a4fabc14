"""The table of docs/gradio_components.md: what a flag of each Gradio component is in a dataset.

``python -m tests.support.gradio_components`` prints it for the Gradio that is installed.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hubspool.local_hub import LocalHub
from tests.support.environment import clean_environment
from tests.support.paths import PROGRAMS, ROOT

DOCUMENT = ROOT / "docs" / "gradio_components.md"
SECONDS = 200
#: Repository of the program → the scheduler that the callback chose.
REPOS = {"local/lines": "JsonlScheduler", "local/tables": "ParquetScheduler"}
LOAD = """
import datasets, sys
found = []
for repo in sys.argv[1:]:
    data = datasets.load_dataset(repo, split="train")
    found.append((repr(data.features.to_dict()), data.with_format("arrow")[:].to_pylist()))
print([(features, [dict(row, timestamp=None) for row in rows]) for features, rows in found])
"""


def documented(version: str) -> set[tuple[str, ...]]:
    """Return the rows of the document's table for a version of Gradio."""
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    cells = [tuple(cell.strip().strip("`") for cell in line.strip("|").split("|")) for line in lines if line[:1] == "|"]
    rows = {name: (name, *others) for name, *others in cells[2:] if not name.endswith("Gradio 5")}
    older = {name.removesuffix("`, Gradio 5"): others for name, *others in cells if name.endswith("Gradio 5")}
    return {*rows.values()} if version >= "6" else {(name, *older.get(name, others)) for name, *others in rows.values()}


def measured(python: str | Path, folder: Path, hub: LocalHub) -> tuple[str, set[tuple[str, ...]]]:
    """Flag all components in a page that this interpreter runs; return Gradio's version, and the rows of the table.

    A value that does not arrive as it was sent stands in the row.
    """
    environment = {
        **clean_environment(),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "scheduler"), str(ROOT / "templates")]),
        "HF_ENDPOINT": hub.endpoint,
        "HF_TOKEN": hub.token,
        "HF_HOME": str(folder / "home"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(folder / "uploads"),
    }

    def run(*command: str | Path) -> str:
        ran = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout.splitlines()[-1]

    version, _, flagged = run(python, PROGRAMS / "component_space.py", folder).partition(" ")
    loaded = ast.literal_eval(run(sys.executable, "-c", LOAD, *REPOS))
    sent, rows = json.loads(flagged), []
    for name, value in sent.items():
        cells = []
        for features, (first, second) in loaded:
            kind = ast.literal_eval(features).get(name)
            cells.append("" if kind is None else _cell(kind, value, first[name], second[name]))
        rows.append((name, *cells))
    others = {name for _, found in loaded for row in found for name in row} - {*sent, "said", "timestamp"}
    assert not others, f"columns of values that did not fit: {others}"
    return version, set(rows)


def _cell(kind: Any, sent: Any, found: Any, empty: Any) -> str:
    text = _text_of(kind)
    if text == "string" and not isinstance(sent, str) and json.loads(found) == sent:
        text, found = "JSON in a string", sent
    if not _is_same(sent, found) or empty is not None:
        text += f": {found!r}, {empty!r}"
    return text


def _text_of(kind: Any) -> str:
    """Return a feature as the document has it: ``[string]``, ``{image: image, caption: string}``."""
    if "_type" not in kind:
        return f"{{{', '.join(f'{name}: {_text_of(inner)}' for name, inner in sorted(kind.items()))}}}"
    if kind["_type"] == "List":
        return f"[{_text_of(kind['feature'])}]"
    return str(kind.get("dtype", kind["_type"].lower()))


def _is_same(sent: Any, found: Any) -> bool:
    """Whether a value is what was sent: a file with its content and name, a key that was not sent as null."""
    if isinstance(sent, Mapping) and isinstance(found, Mapping):
        if "path" in sent:
            path = Path(sent["path"])
            return found["bytes"] == path.read_bytes() and path.name in found.values()
        return all(_is_same(sent.get(name), found.get(name)) for name in {*sent, *found})
    if isinstance(sent, list) and isinstance(found, list):
        return len(sent) == len(found) and all(map(_is_same, sent, found))
    return bool(sent == found)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, LocalHub() as hub:
        _, rows = measured(sys.executable, Path(folder), hub)
    for row in sorted(rows):
        print("|", " | ".join(f"`{cell}`" if cell else "" for cell in row), "|")


if __name__ == "__main__":
    main()
