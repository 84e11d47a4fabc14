"""What somebody reads who has not installed an extra; the package is hidden from the import system of a process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {package!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
"""
ADVICE = 'pip install "hubspool[local-hub]"'


def run(package: str, code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", HIDE.format(package=package) + code]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "dulwich", "blake3"])
def test_the_local_hub_names_its_extra(package: str) -> None:
    done = run(package, "import hubspool.local_hub")
    last_line = done.stderr.splitlines()[-1]
    assert last_line.startswith("ImportError")
    assert package in last_line
    assert ADVICE in last_line


def test_the_command_line_names_it_without_a_traceback(tmp_path: Path) -> None:
    done = run("dulwich", f"from hubspool.cli import main; sys.exit(main(['hub', '--root', {str(tmp_path)!r}]))")
    assert done.returncode not in (0, None)
    assert ADVICE in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("package", ["starlette", "dulwich", "pyarrow", "gradio", "huggingface_hub"])
def test_the_core_needs_no_extra(package: str) -> None:
    done = run(package, "import hubspool; hubspool.HfApi; hubspool.CommitScheduler; import hubspool_templates")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("package", "name"), [("gradio", "ChatLogger"), ("pyarrow", "ParquetScheduler")])
def test_a_star_import_of_the_templates_leaves_out_what_cannot_be_imported(package: str, name: str) -> None:
    done = run(package, f"from hubspool_templates import *; print(JsonlScheduler.__name__, {name!r} in dir())")
    assert (done.stdout, done.stderr) == ("JsonlScheduler False\n", "")


@pytest.mark.parametrize("package", ["fcntl", "resource", "pwd", "grp", "termios"])
def test_the_core_imports_where_unix_modules_are_missing(package: str) -> None:
    done = run(package, "import hubspool; hubspool.HfApi; hubspool.CommitScheduler; import hubspool_templates")
    assert done.returncode == 0, done.stderr
