"""`make space`: a folder that can be pushed to a Space: the sample Space, or with APP=minimal/… a Space of one file.

Our packages are beside app.py, not in a wheel that requirements.txt names: a Space's builder sees only that file when
it installs from it (``RUN --mount=target=requirements.txt,source=requirements.txt pip install …``), and they are on no
index yet.
"""

from __future__ import annotations

import argparse
import ast
import shutil
import sys
from importlib.metadata import requires, version
from pathlib import Path

HERE = Path(__file__).resolve().parent
NOT_IN_A_SPACE = {"demo.py", "README.md", "space_readme.md", Path(__file__).name}
"""Files that only this repository uses."""
TABS = ("votes", "pictures", "images", "training")


def make(out: Path, app: Path, repo: str) -> Path:
    """Builds the folder and returns it; replaces a folder that was built before.

    Args:
        out: the folder.
        app: the program; ``app.py`` brings the other files of the sample Space along.
        repo: the dataset that the README names; for the sample Space the beginning of its datasets' names.

    Raises:
        FileExistsError: `out` is another folder.
    """
    if out.exists():
        if not (out / "app.py").is_file():
            raise FileExistsError(f"{out} is not a Space; name another folder with --out, or remove this one")
        shutil.rmtree(out)
    out.mkdir(parents=True)
    is_sample = app.parent == HERE
    for file in sorted(HERE.iterdir()) if is_sample else [app]:
        if file.is_file() and file.name not in NOT_IN_A_SPACE:
            shutil.copy(file, out / ("app.py" if file == app else file.name))
    for package in ("scheduler/hubspool", "templates/hubspool_templates"):
        unwanted = shutil.ignore_patterns("__pycache__")
        shutil.copytree(HERE.parent / package, out / Path(package).name, ignore=unwanted)
    code = app.read_text(encoding="utf-8")
    with_media = is_sample or "ParquetScheduler" in code or "HubFlaggingCallback" in code
    split = [each.replace("'", '"').partition(";")[::2] for each in requires("hubspool") or []]
    wanted = {""} | ({'extra == "parquet"'} if with_media else set())
    lines = [name.strip() for name, condition in split if condition.strip() in wanted]
    if is_sample:
        lines += (HERE / "requirements.txt").read_text(encoding="utf-8").splitlines()[2:]  # above: hubspool itself
    (out / "requirements.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    title = "A Space that keeps what people do" if is_sample else app.stem.replace("_", " ").capitalize()
    _write_readme(out, title, ast.get_docstring(ast.parse(code)) or "", repo, TABS if is_sample else ())
    return out


def _write_readme(out: Path, title: str, docstring: str, repo: str, tabs: tuple[str, ...]) -> None:
    """Writes what the Space's visitors read, with the facts that the Hub reads."""
    datasets = [f"{repo}-{tab}" for tab in tabs] or [repo]
    text = (
        (HERE / "space_readme.md")
        .read_text(encoding="utf-8")
        .format(
            title=title,
            gradio=version("gradio"),
            lead=docstring.splitlines()[0].replace("`", ""),
            listed="\n".join(f"- {name}" for name in datasets),
            linked=", ".join(f"[{name}](https://huggingface.co/datasets/{name})" for name in datasets),
            variable="the beginning of their names, `your-name/something`"
            if tabs
            else "its name, `your-name/something`",
        )
    )
    (out / "README.md").write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Builds a folder that deploys to a Space as it is.")
    parser.add_argument("--app", default="app.py", help="minimal/feedback.py, for example; default: the sample Space")
    parser.add_argument("--repo", default="", help="the dataset that the README names; default: a placeholder")
    parser.add_argument("--out", type=Path, help="default: dist/space, or dist/<name of the app>")
    given = parser.parse_args()
    app = (HERE / given.app).resolve()
    if not app.is_file():
        names = ", ".join(f"minimal/{path.name}" for path in sorted((HERE / "minimal").glob("*.py")))
        parser.error(f"there is no {given.app}: choose one of {names}")
    name = "space" if app.parent == HERE else app.stem
    out = make(given.out or HERE.parent / "dist" / name, app, given.repo or f"your-name/{name}")
    print(f"{out} is ready. Its README.md names the datasets. This makes a private Space of it:")
    print(
        f"    {Path(sys.executable).with_name('hubspool')} upload your-name/{name} {out} . --repo-type space --private"
    )
    print("Then add the secret HF_TOKEN in the Space's settings.")


if __name__ == "__main__":
    main()
