"""Globs choose files by their path, as huggingface_hub reads them."""

from __future__ import annotations

import pytest
from huggingface_hub.utils._paths import filter_repo_objects
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubspool.client.folder import folder_deletions
from hubspool.client.patterns import path_filter

PATHS = ["a.txt", "A.TXT", "b.csv", "logs/x.txt", "logs/deep/y.txt", "data/logs/z.txt", "data/[odd].csv", ".hidden"]

CASES: list[tuple[object, object]] = [
    (None, None),
    ("*.txt", None),
    (["*.txt", "*.csv"], None),
    (None, "*.txt"),
    (None, ["logs/*", "*.csv"]),
    ("*", ["*"]),
    ([], None),
    (None, []),
    ("logs/", None),
    (None, "logs/"),
    ("*.txt", "logs/*"),
    ("[ab]*", None),
    ("?.txt", None),
    ("data/[[]odd].csv", None),
    ("*/logs/*", None),
    ("nothing", None),
]


@pytest.mark.parametrize(("allow", "ignore"), CASES, ids=repr)
def test_the_choice_is_huggingface_hubs(allow: list[str] | str | None, ignore: list[str] | str | None) -> None:
    stock = list(filter_repo_objects(PATHS, allow_patterns=allow, ignore_patterns=ignore))
    assert [path for path in PATHS if path_filter(allow, ignore)(path)] == stock


def test_two_stars_also_match_no_folder() -> None:
    chosen = path_filter("**/logs/*.txt")
    assert chosen("logs/x.txt")
    assert chosen("a/b/logs/x.txt")
    assert not chosen("blogs/x.txt")
    assert not path_filter(None, "**/*.txt")("a.txt")


def test_a_tuple_of_patterns_is_a_list_of_them() -> None:
    assert path_filter(("*.a", "*.b"))("x.b")


@settings(deadline=None, suppress_health_check=[*HealthCheck])
@given(
    st.lists(st.text("ab*?[!]/\\.", min_size=1, max_size=8), max_size=3),
    st.lists(st.from_regex(r"[ab.]?[ab](/[ab]){0,3}", fullmatch=True), max_size=8),
)
def test_deletions_are_those_of_huggingface_hub(patterns: list[str], names: list[str]) -> None:
    """A pattern that selects more would delete files on the Hub that somebody means to keep."""
    stock = list(filter_repo_objects(names, allow_patterns=patterns))
    ours = [each.path_in_repo for each in folder_deletions(names, None, patterns)]
    assert ours == [name for name in stock if name != ".gitattributes"]


def test_a_deletion_below_every_folder_spares_the_top_one() -> None:
    assert [each.path_in_repo for each in folder_deletions(["a.log", "x/a.log"], None, "**/*.log")] == ["x/a.log"]
