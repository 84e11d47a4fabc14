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
from tests.support.gradio_space import loaded, settings
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from hubspool.local_hub import LocalHub


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
