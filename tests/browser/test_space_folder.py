"""`make space`: what it builds installs into an empty environment and runs as a Space would run it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from gradio_client import Client

from tests.support.demo_app import space_alone
from tests.support.environment import clean_environment
from tests.support.gradio_space import loaded, settings, space
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from hubspool.local_hub import LocalHub


@pytest.mark.parametrize("program", sorted((ROOT / "demo_space" / "minimal").glob("*.py")), ids=lambda path: path.stem)
def test_a_single_file_becomes_a_space_with_what_it_needs(program: Path, tmp_path: Path) -> None:
    folder = tmp_path / "space"
    options = ["--app", f"minimal/{program.name}", "--repo", "me/mine", "--out", str(folder)]
    command = [sys.executable, str(ROOT / "demo_space" / "make_space.py"), *options]
    done = subprocess.run(command, check=True, timeout=100, capture_output=True, text=True)
    assert f"{folder} . --repo-type space --private" in done.stdout
    names = {path.name for path in folder.iterdir()}
    assert names == {"app.py", "README.md", "requirements.txt", "hubspool", "hubspool_templates"}
    assert (folder / "app.py").read_bytes() == program.read_bytes()
    _, front, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    facts = yaml.safe_load(front)
    assert (facts["app_file"], facts["datasets"], facts["tags"]) == (
        "app.py",
        ["me/mine"],
        ["hubspool", "data-collection"],
    )
    assert len(facts["short_description"]) <= 60, "the Hub takes no longer one"
    assert "[me/mine](https://huggingface.co/datasets/me/mine)" in text
    is_live = program.stem == "live_votes"
    assert ("[hf://buckets/me/mine](https://huggingface.co/buckets/me/mine)" in text) == is_live
    needs_pyarrow = program.stem in ("images", "flagging")
    assert ("pyarrow" in (folder / "requirements.txt").read_text(encoding="utf-8")) == needs_pyarrow
    compile_all = [sys.executable, "-m", "compileall", "-q", str(folder)]
    subprocess.run(compile_all, check=True, timeout=100)


def test_a_space_of_one_file_keeps_a_vote(tmp_path: Path, local_hub: LocalHub) -> None:
    folder = tmp_path / "space"
    program = ROOT / "demo_space" / "make_space.py"
    command = [sys.executable, str(program), "--app", "minimal/feedback.py", "--out", str(folder)]
    subprocess.run(command, check=True, timeout=100)
    with space(folder / "app.py", tmp_path, local_hub) as running:
        client = Client(running.address, verbose=False, analytics_enabled=False)
        client.predict("abc", "cba", "Yes", api_name="/save")
        client.close()
        assert "Traceback" not in running.leave()
    _, rows = loaded(local_hub, tmp_path)
    assert [row["text"] for row in rows] == ["abc"]


def test_the_sample_space_can_name_a_bucket(tmp_path: Path) -> None:
    folder, repo = tmp_path / "space", "hf://buckets/me/arena"
    program = ROOT / "demo_space" / "make_space.py"
    command = [sys.executable, str(program), "--out", str(folder), "--repo", repo]
    assert f"the variable HUBSPOOL_REPO={repo}" in subprocess.check_output(command, timeout=100, text=True)
    _, front, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert yaml.safe_load(front)["datasets"] == []
    assert f"[{repo}/votes](https://huggingface.co/buckets/me/arena/tree/votes)" in text
    for wrong in ("hf://buckets/", "hf://datasets/a/b"):
        done = subprocess.run([*command[:-1], wrong], timeout=100, capture_output=True, text=True)
        assert done.returncode == 2
        assert f"HUBSPOOL_REPO is '{wrong}': set it to your-name/arena for datasets, or hf://buckets/" in done.stderr


def test_a_program_that_does_not_exist_is_answered_with_those_that_do() -> None:
    command = [sys.executable, str(ROOT / "demo_space" / "make_space.py"), "--app", "minimal/vote.py"]
    done = subprocess.run(command, timeout=100, capture_output=True, text=True)
    assert done.returncode == 2
    assert "there is no minimal/vote.py: choose one of minimal/archive.py" in done.stderr


@pytest.mark.timeout(300)  # pip installs gradio, pyarrow and scikit-learn from their wheels
def test_the_folder_installs_into_an_empty_environment_and_keeps_a_vote(tmp_path: Path, local_hub: LocalHub) -> None:
    folder, environment = tmp_path / "space", tmp_path / "environment"
    program = ROOT / "demo_space" / "make_space.py"
    subprocess.run([sys.executable, str(program), "--out", str(folder)], check=True, timeout=100)
    assert not (folder / "demo.py").exists()
    _, front, _ = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    facts = yaml.safe_load(front)
    assert facts["sdk"] == "gradio"
    assert (folder / facts["app_file"]).is_file()
    assert facts["datasets"] == [f"your-name/space-{tab}" for tab in ("votes", "pictures", "images", "training")]
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True, timeout=60)
    python = environment / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    # A Space's builder sees requirements.txt alone when it installs from it, and adds gradio by itself.
    builder = tmp_path / "builder"
    builder.mkdir()
    shutil.copy(folder / "requirements.txt", builder)
    wanted = ["-r", "requirements.txt", f"gradio=={facts['sdk_version']}"]
    subprocess.run([*pip, *wanted], cwd=builder, env=clean_environment(), check=True, timeout=240)
    place = settings(local_hub, tmp_path)
    with space_alone(
        folder, python=python, app=folder / facts["app_file"], SPACE_ID="local/mine", HUBSPOOL_EVERY="600", **place
    ) as (address, lines):
        client = Client(address, verbose=False, analytics_enabled=False)
        row_id = client.predict("как", "kak", "qaq", 1, api_name="/save_feedback")
        client.close()
    assert "Traceback" not in "".join(lines)
    _, rows = loaded(local_hub, tmp_path, "local/mine-votes")
    assert [row["id"] for row in rows] == [row_id]
