"""The examples of docs/frameworks.md for Streamlit and for a notebook, in an environment that has both."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from hubspool import HfApi
from hubspool.local_hub import LocalHub
from hubspool_templates import read_rows
from tests.support.frameworks import example
from tests.support.other_clients import python_with
from tests.support.paths import ROOT
from tests.support.spools import send_the_rest

NEEDS = ("streamlit>=1.50", "nbclient>=0.10", "ipykernel>=7", "requests", "filelock", "hf_xet", "ruamel.yaml", "orjson")
SECONDS = 150

#: Three runs of the script, as Streamlit makes them: the page opens, a visitor writes, and clicks.
VISIT = """
from streamlit.testing.v1 import AppTest
page = AppTest.from_file("streamlit_app.py", default_timeout=60).run()
page.text_input[0].input("Good.").run()
page.button[0].click().run()
assert not page.exception, page.exception
assert page.success[0].value == "Thank you."
"""
#: A notebook of the two cells, of which the first one is run twice.
NOTEBOOK = """
import json, sys
import nbformat
from nbclient import NotebookClient
first, second = json.loads(sys.argv[1])
cells = [nbformat.v4.new_code_cell(source) for source in (first, first, second)]
NotebookClient(nbformat.v4.new_notebook(cells=cells), timeout=100, kernel_name="python3").execute()
"""


@pytest.fixture
def environment(local_hub: LocalHub, client_environment: dict[str, str]) -> dict[str, str]:
    """The packages under test, beside the framework."""
    return {
        **client_environment,
        "HF_ENDPOINT": local_hub.endpoint,
        "HF_TOKEN": local_hub.token,
        "PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in ("scheduler", "templates")),
    }


def run(code: str, *arguments: str, folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [python_with(*NEEDS), "-c", code, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    send_the_rest(folder, environment, done.stderr)


@pytest.mark.timeout(600)
def test_streamlit(environment: dict[str, str], hub_api: HfApi, tmp_path: Path) -> None:
    (tmp_path / "streamlit_app.py").write_text(example("streamlit_app.py"), encoding="utf-8")
    run(VISIT, folder=tmp_path, environment=environment)
    (row,) = read_rows("local/streamlit-votes", api=hub_api)
    assert row["text"] == "Good."


@pytest.mark.timeout(600)
def test_a_notebook(environment: dict[str, str], hub_api: HfApi, tmp_path: Path) -> None:
    cells = json.dumps([example("first cell"), example("second cell")])
    run(NOTEBOOK, cells, folder=tmp_path, environment=environment)
    assert sorted(row["learning_rate"] for row in read_rows("local/notebook-runs", api=hub_api)) == [0.01, 0.1]
