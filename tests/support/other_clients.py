"""Installs older, newer and JavaScript clients into `.venv-compat/`, apart from ours; later runs use them again."""

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
    """Return a folder of this name, filled once by the commands; a second process waits for the first."""
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
    """Return the interpreter of a virtual environment with these packages.

    Our pip fills it and compiles nothing: a pip of its own and modules that nobody imports took half of the time.
    """
    name = "_".join(requirement.replace("==", "-") for requirement in requirements)
    create = [sys.executable, "-m", "venv", "--without-pip", "."]
    install = [sys.executable, "-m", "pip", "--python", "bin/python", "install", "--no-compile", *requirements]
    return _once(name, create, [*install, "--quiet", "--disable-pip-version-check"]) / "bin" / "python"


def node_with(package: str, version: str) -> Path:
    """Return a folder with this npm package."""
    manifest = json.dumps({"private": True, "dependencies": {package: version}})
    return _once(
        f"npm-{package.strip('@').replace('/', '-')}-{version}",
        [sys.executable, "-c", f"open('package.json', 'w').write({manifest!r})"],
        ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"],
    )
