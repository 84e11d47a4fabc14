"""Every Python snippet of the README runs against a local Hub, and every command that it names exists."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import clean_environment

from hubspool import HfApi
from hubspool.local_hub import LocalHub
from hubspool_templates import read_rows

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = [code.replace("your-name/", "local/") for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL)]
SETTINGS = [name for row in re.findall(r"^\| `(.*?)` \|", README, re.MULTILINE) for name in row.split("`, `")]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    with LocalHub(root=tmp_path / "hub") as hub:
        yield hub


def run(code: str, hub: LocalHub, folder: Path) -> str:
    environment = {
        **clean_environment(),
        "HF_ENDPOINT": hub.endpoint,
        "HF_TOKEN": hub.token,
        "HF_HOME": str(folder / "home"),
        "HOME": str(folder),
        "GRADIO_ANALYTICS_ENABLED": "False",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def snippet(word: str) -> str:
    (code,) = [code for code in PYTHON if word in code]
    return code


def test_the_app_stores_votes_that_can_be_read_back(hub: LocalHub, tmp_path: Path) -> None:
    app = snippet("gr.Interface")
    assert len([line for line in app.splitlines() if line]) <= 10
    served, use = "gr.Interface.launch = lambda self: None", "print(save('Solaris', True)); votes.flush(); votes.stop()"
    said = run(f"import gradio as gr; {served}\n{app}\n{use}", hub, tmp_path)
    assert "1 votes wait" in said
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    assert list(read_rows("local/film-votes", api=api)) == [{"film": "Solaris", "liked": True}]
    assert run(snippet("read_rows"), hub, tmp_path) == "Solaris True\n"


def test_the_base_scheduler_pushes_what_was_written(hub: LocalHub, tmp_path: Path) -> None:
    run(snippet("CommitScheduler("), hub, tmp_path)
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    assert "data/today.jsonl" in api.list_repo_files("local/reports", repo_type="dataset")


def test_the_local_hub_snippet_lists_its_file(hub: LocalHub, tmp_path: Path) -> None:
    assert "notes.txt" in run(snippet("LocalHub()"), hub, tmp_path)


def test_all_snippets_are_run_here() -> None:
    assert len(PYTHON) == 4


def test_the_commands_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w[\w-]*)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_is_read_somewhere(name: str) -> None:
    folders = [ROOT / "scheduler", ROOT / "templates", ROOT / "demo_space"]
    assert any(name in path.read_text(encoding="utf-8") for folder in folders for path in folder.rglob("*.py"))


def test_links_and_pictures_exist() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).is_file(), target
