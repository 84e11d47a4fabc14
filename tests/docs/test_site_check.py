"""What `make docs` and `make build` refuse: broken links, what loads from other hosts, relative links on an index."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.reader import PAGES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def check(site: Path, **pages: str) -> tuple[int, str]:
    for name, text in pages.items():
        (site / f"{name}.html").write_text(text, encoding="utf-8")
    command = [sys.executable, str(ROOT / ".ci" / "check_site.py"), str(site)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout


def test_a_site_whose_links_exist_is_accepted(tmp_path: Path) -> None:
    code, said = check(
        tmp_path,
        index='<h1 id="top">a</h1><a href="other.html#part">b</a><a href="https://a.example">c</a><a href="#top">d</a>',
        other='<h2 id="part">e</h2><link rel="canonical" href="https://example.org/other.html">',
    )
    assert (code, said) == (0, "2 pages, no broken link, nothing loaded from elsewhere\n")


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        ('<a href="gone.html">a</a>', "index.html links gone.html, which does not exist"),
        ('<img src="gone.png">', "index.html links gone.png, which does not exist"),
        ('<a href="index.html#gone">a</a>', "index.html links index.html#gone, and that page has no such place"),
        ('<script src="https://cdn.example/a.js"></script>', "index.html loads https://cdn.example/a.js"),
        ('<link rel="stylesheet" href="//fonts.example/a.css">', "index.html loads //fonts.example/a.css"),
    ],
)
def test_a_site_with_a_problem_is_refused(page: str, problem: str, tmp_path: Path) -> None:
    assert check(tmp_path, index=page) == (1, problem + "\n")


def test_an_empty_site_is_refused(tmp_path: Path) -> None:
    assert check(tmp_path)[0] == 1


def long_description() -> str:
    """The README as the build writes it into the packages."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    text = PAGES["README.md"]
    for each in project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(each["pattern"], each["replacement"], text)
    return text


def check_wheel(folder: Path, text: str) -> tuple[int, str]:
    wheel = folder / "a-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("a-1.dist-info/METADATA", f"Metadata-Version: 2.4\nName: a\n\n{text}")
    command = [sys.executable, str(ROOT / ".ci" / "check_readme.py"), str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout.replace(wheel.name, "a.whl")


def test_on_an_index_every_link_of_the_readme_is_absolute_and_leads_to_what_exists(tmp_path: Path) -> None:
    text = long_description()
    assert check_wheel(tmp_path, text) == (0, "no relative link in the long description of a.whl\n")
    assert {*re.findall(r"!\[[^\]]*\]\((.*/)[^/)]+\)", text)} == {
        "https://raw.githubusercontent.com/hubspool/hubspool/main/docs/"
    }
    for start in ("github.com/hubspool/hubspool/blob", "raw.githubusercontent.com/hubspool/hubspool"):
        paths = re.findall(rf"\(https://{start}/main/([^)#]+)", text)
        assert paths
        assert [path for path in paths if not (ROOT / path).exists()] == []
    pages = re.findall(r"\(https://hubspool\.github\.io/hubspool/(\w+)\.html", text)
    assert len(pages) > 20
    assert [page for page in pages if f"{page}.md" not in PAGES] == []


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("see [it](docs/images.md)", "docs/images.md"),
        ("![a picture\nof it](docs/demo.png)", "docs/demo.png"),
        ('<p><img src="docs/demo.png"></p>', "docs/demo.png"),
        ('<a href="LICENSE">a</a>', "LICENSE"),
        ("see [it][1]\n\n[1]: CHANGELOG.md", "CHANGELOG.md"),
    ],
)
def test_a_package_with_a_relative_link_is_refused(text: str, address: str, tmp_path: Path) -> None:
    assert check_wheel(tmp_path, text) == (1, f"a.whl: {address} is relative\n")


def test_a_package_without_a_long_description_is_refused(tmp_path: Path) -> None:
    assert check_wheel(tmp_path, "\n") == (1, "a.whl has no long description\n")
    assert check_wheel(tmp_path, "[a](https://a.example) [b](#b) `[c](d)`\n\n```python\nrows[0](x)\n```\n")[0] == 0
