"""`make space`: a folder to push to a Space as it is, with our wheel beside the files of the sample Space."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
NOT_IN_A_SPACE = {"demo.py", Path(__file__).name}
"""What only this repository's Makefile runs."""


def make(out: Path) -> Path:
    """Builds the folder and returns it; one that was built before is replaced.

    Raises:
        FileExistsError: there is another folder.
    """
    if out.exists():
        if not (out / "app.py").is_file():
            raise FileExistsError(f"{out} is no Space; name another folder with --out, or remove it")
        shutil.rmtree(out)
    out.mkdir(parents=True)
    for file in sorted(HERE.iterdir()):
        if file.is_file() and file.name not in NOT_IN_A_SPACE:
            shutil.copy(file, out)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*command, "--wheel-dir", str(out), str(HERE.parent)], check=True)  # noqa: S603 - our own package
    (wheel,) = out.glob("hubspool-*.whl")
    requirements = out / "requirements.txt"
    lines = requirements.read_text(encoding="utf-8").splitlines()[1:]  # the first one speaks of this step
    lines[lines.index("hubspool[parquet]")] = f"./{wheel.name}[parquet]"
    requirements.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description="Builds a folder that deploys to a Space as it is.")
    parser.add_argument("--out", type=Path, default=HERE.parent / "dist" / "space", help="default: dist/space")
    print(f"{make(parser.parse_args().out)} is ready: its README.md says how it becomes a Space.")


if __name__ == "__main__":
    main()
