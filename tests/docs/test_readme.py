"""The README: short, in the order in which a newcomer asks, and every snippet of it runs."""

from __future__ import annotations

import re

import pytest

from tests.support.paths import ROOT
from tests.support.reader import PAGES, Reader, make_targets

README = PAGES["README.md"]
ORDER = [
    "Install",
    "Log in",
    "Ten lines",
    "What you see on the Hub",
    "Two commands",
    "How it works",
    "Beside huggingface_hub's scheduler",
    "Ready-made schedulers",
    "Switch in one line",
    "A dataset or a Bucket",
    "Limits",
    "Documentation",
]


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_the_readme_does_what_it_says(reader: Reader) -> None:
    reader.read(README)
    assert "Pending: 1." in reader.said
    assert re.search(r"^Solaris True 20\d\d-", reader.said, re.MULTILINE)
    (row,) = reader.rows("film-votes")
    assert set(row) == {"film", "liked", "timestamp"}


def test_the_readme_is_short() -> None:
    assert len(README.split()) < 1500


def test_the_sections_are_in_the_order_of_a_newcomer() -> None:
    head, *_ = README.partition("\n## ")
    assert re.findall(r"^## (.+)$", README, re.MULTILINE) == ORDER
    assert re.search(r"^\*\*Keeps .+\*\*\n\n!\[", head, re.MULTILINE | re.DOTALL)


def test_the_first_example_has_ten_lines_and_a_time_in_each_row() -> None:
    (code,) = re.findall(r"## Ten lines\n\n```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 10
    assert "timestamp=True" in code


def test_five_cases_stand_for_the_table_of_losses() -> None:
    rows = re.findall(r"^\| L\d+.*$", README, re.MULTILINE)
    assert len(rows) == 5
    assert {*rows} <= {*PAGES["losses.md"].splitlines()}
    assert "](docs/losses.md)" in README


@pytest.mark.parametrize(
    ("said", "owner", "there"),
    [
        (r"about (\d+) commits an hour", "docs/limits.md", r"about (\d+) commits an hour"),
        (r"pending within (\d+) s", "docs/promises.md", r"`exit_budget` \((\d+) s\)"),
        (r"Python ([\d.]+) or newer", "docs/quick_start.md", r"Python ([\d.]+) or newer"),
        (r"`datasets` ([\d.]+) or newer", "docs/troubleshooting.md", r"need `datasets` ([\d.]+)\."),
        (r"(\d+) packages \((\d+) MB\)", "Makefile", r"(\d+) packages, (\d+) MB"),
        (
            r"\| ([\d.]+) bytes sent per byte, ([\d.]+) requests",
            "docs/benchmarks.md",
            r"\| a (?:dataset|Bucket) \| ([\d.]+) \| ([\d.]+) \|",
        ),
        (r"10,000 files in (\d+) s", "docs/benchmarks.md", r"of 10,000 files .* \| (\d+) s"),
        (r"\| huggingface_hub ([\d.]+) \|", "docs/losses.md", r"\| huggingface_hub ([\d.]+) \|"),
        (r"\| huggingface_hub ([\d.]+) \|", "docs/benchmarks.md", r"`huggingface_hub` ([\d.]+),"),
    ],
)
def test_a_number_is_that_of_its_page(said: str, owner: str, there: str) -> None:
    page = " ".join((ROOT / owner).read_text(encoding="utf-8").split())
    assert {*re.findall(said, " ".join(README.split()))} == {*re.findall(there, page)} != set()


def test_nothing_is_said_twice() -> None:
    lines = [line for line in README.splitlines() if line.startswith(("#", "| L")) or len(line) > 60]
    assert sorted({*lines}) == sorted(lines)


def test_links_and_pictures_exist() -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README)
    assert len(targets) > 20
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_its_commands_exist() -> None:
    assert {*re.findall(r"`make ([\w-]+)", README)} <= make_targets()
