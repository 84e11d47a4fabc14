"""`make space`: a folder that can be pushed to a Space, with our packages beside the files of the sample Space.

Not with a wheel that requirements.txt names: a Space's builder sees only that file when it installs from it (``RUN
--mount=target=requirements.txt,source=requirements.txt pip install …``), and our packages are on no index yet.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import requires
from pathlib import Path

HERE = Path(__file__).resolve().parent
NOT_IN_A_SPACE = {"demo.py", Path(__file__).name}
"""Files that only this repository's Makefile runs."""


def make(out: Path) -> Path:
    """Builds the folder and returns it; replaces a folder that was built before.

    Raises:
        FileExistsError: `out` is another folder.
    """
    if out.exists():
        if not (out / "app.py").is_file():
            raise FileExistsError(f"{out} is not a Space; name another folder with --out, or remove this one")
        shutil.rmtree(out)
    out.mkdir(parents=True)
    for file in sorted(HERE.iterdir()):
        if file.is_file() and file.name not in NOT_IN_A_SPACE:
            shutil.copy(file, out)
    _unpack_packages(out)
    requirements = out / "requirements.txt"
    lines = requirements.read_text(encoding="utf-8").splitlines()[1:]  # the first line describes this step
    place = lines.index("hubspool[parquet]")
    lines[place : place + 1] = [line for each in requires("hubspool") or [] if (line := _for_a_space(each))]
    requirements.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return out


def _unpack_packages(out: Path) -> None:
    """Copies the packages of our wheel beside app.py, where `import` finds them."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*command, "--wheel-dir", folder, str(HERE.parent)], check=True)  # noqa: S603 - our own package
        (wheel,) = Path(folder).glob("hubspool-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(out, [name for name in archive.namelist() if ".dist-info/" not in name])


def _for_a_space(requirement: str) -> str:
    """Returns a requirement for requirements.txt; an empty text for an extra that a Space does not need."""
    name, _, condition = requirement.partition(";")
    return name.strip() if condition.strip() in ("", 'extra == "parquet"', "extra == 'parquet'") else ""


def main() -> None:
    parser = argparse.ArgumentParser(description="Builds a folder that deploys to a Space as it is.")
    parser.add_argument("--out", type=Path, default=HERE.parent / "dist" / "space", help="default: dist/space")
    print(f"{make(parser.parse_args().out)} is ready: its README.md says how it becomes a Space.")


if __name__ == "__main__":
    main()
