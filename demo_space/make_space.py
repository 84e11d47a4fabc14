"""`make space`: a folder that can be pushed to a Space: the sample Space, or with APP=minimal/… a Space of one file.

Our packages are beside app.py, not in a wheel that requirements.txt names: a Space's builder sees only that file when
it installs from it (``RUN --mount=target=requirements.txt,source=requirements.txt pip install …``), and they are on no
index yet.
"""

from __future__ import annotations

import argparse
import ast
import re
import shutil
import sys
from importlib.metadata import requires, version
from pathlib import Path

from destination import kind_of, place_of

HERE = Path(__file__).resolve().parent
NOT_IN_A_SPACE = {"demo.py", "README.md", "space_readme.md", Path(__file__).name}
"""Files that only this repository uses."""
TABS = ("votes", "pictures", "images", "training")


def make(out: Path, app: Path, repo: str) -> Path:
    """Builds `out` from a program and returns it; replaces what was built before, and refuses any other folder.

    ``app.py`` brings the other files of the sample Space along. `repo` is what HUBSPOOL_REPO is to be, for the README.
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
        shutil.copytree(HERE.parent / package, out / Path(package).name, ignore=shutil.ignore_patterns("__pycache__"))
    code = app.read_text(encoding="utf-8")
    with_media = is_sample or "ParquetScheduler" in code or "HubFlaggingCallback" in code
    split = [each.replace("'", '"').partition(";")[::2] for each in requires("hubspool") or []]
    wanted = {""} | ({'extra == "parquet"'} if with_media else set())
    lines = [name.strip() for name, condition in split if condition.strip() in wanted]
    if is_sample:
        lines += (HERE / "requirements.txt").read_text(encoding="utf-8").splitlines()[2:]  # above: hubspool itself
    (out / "requirements.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    title = "A Space that keeps what people do" if is_sample else app.stem.replace("_", " ").capitalize()
    places = [place_of(tab, {"HUBSPOOL_REPO": repo}) for tab in TABS] if is_sample else [repo]
    if "publish_to=" in code:
        name = repo.removeprefix("hf://buckets/")
        places = [f"hf://buckets/{name}", name]
    text = (HERE / "space_readme.md").read_text(encoding="utf-8")
    facts = {
        "title": title,
        "gradio": version("gradio"),
        "lead": (ast.get_docstring(ast.parse(code)) or "").splitlines()[0].replace("`", ""),
        "listed": ", ".join(place for place in places if kind_of(place) == "dataset"),
        "linked": ", ".join(map(_link, places)),
    }
    (out / "README.md").write_text(text.format(**facts), encoding="utf-8")
    return out


def _link(place: str) -> str:
    page = place.removeprefix("hf://") if kind_of(place) == "bucket" else f"datasets/{place}"
    page = re.sub("^(buckets/[^/]+/[^/]+)/", r"\1/tree/", page)
    return f"[{place}](https://huggingface.co/{page})"


def main() -> None:
    parser = argparse.ArgumentParser(description="Builds a folder that deploys to a Space as it is.")
    parser.add_argument("--app", default="app.py", help="minimal/feedback.py, for example; default: the sample Space")
    parser.add_argument("--repo", default="", help="what HUBSPOOL_REPO is to be; default: a placeholder")
    parser.add_argument("--out", type=Path, help="default: dist/space, or dist/<name of the app>")
    given = parser.parse_args()
    app = (HERE / given.app).resolve()
    if not app.is_file():
        names = ", ".join(f"minimal/{path.name}" for path in sorted((HERE / "minimal").glob("*.py")))
        parser.error(f"there is no {given.app}: choose one of {names}")
    try:
        place_of("", {"HUBSPOOL_REPO": given.repo})
    except ValueError as error:
        parser.error(str(error))
    name = "space" if app.parent == HERE else app.stem
    repo = given.repo or f"your-name/{name}"
    out = make(given.out or HERE.parent / "dist" / name, app, repo)
    print(f"{out} is ready. Its README.md says where the data goes. This makes a private Space of it:")
    program = Path(sys.executable).with_name("hubspool")
    print(f"    {program} upload your-name/{name} {out} . --repo-type space --private")
    print(f"Then add the secret HF_TOKEN and the variable HUBSPOOL_REPO={repo} in the Space's settings.")


if __name__ == "__main__":
    main()
