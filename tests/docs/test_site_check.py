"""`make docs` refuses a site with a broken link, or one that loads something from another host."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT


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
