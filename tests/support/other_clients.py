"""Installs clients of other times and languages, each where it cannot meet ours: `.venv-compat/`, kept between runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from tests.support.paths import ROOT

FOLDER = Path(os.environ.get("HUBSPOOL_COMPAT", ROOT / ".venv-compat"))
_INSTALL_SECONDS = 300


def _once(name: str, *commands: list[str]) -> Path:
    """A folder of this name that the commands, run in it, fill; a second process waits for the first."""
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(FOLDER / f"{name}.lock"):
        if not (folder / "stamp").exists():
            for command in commands:
                ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_INSTALL_SECONDS)
                assert ran.returncode == 0, f"{command} failed:\n{ran.stdout}\n{ran.stderr}"
            (folder / "stamp").touch()
    return folder


def python_with(*requirements: str) -> Path:
    """The interpreter of a virtual environment that holds these packages."""
    name = "_".join(requirement.replace("==", "-") for requirement in requirements)
    install = ["bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
    return _once(name, [sys.executable, "-m", "venv", "."], install) / "bin" / "python"


def node_with(package: str, version: str) -> Path:
    """A folder with this npm package."""
    manifest = json.dumps({"private": True, "dependencies": {package: version}})
    return _once(
        f"npm-{package.strip('@').replace('/', '-')}-{version}",
        [sys.executable, "-c", f"open('package.json', 'w').write({manifest!r})"],
        ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"],
    )
