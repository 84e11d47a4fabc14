"""Which files of JSON rows may be joined: a column of one file holds one kind of values."""

from __future__ import annotations

import itertools
from functools import reduce
from typing import Any

import orjson
import pytest

from hubspool.push.kinds import Columns, columns_of, together

#: Name → values of files of one column. Those of one name go together, those of two do not.
KINDS: dict[str, list[list[Any]]] = {
    "bool": [[True], [False, None]],
    "text": [["a"], ["1", "2026-01-01"]],
    "numbers": [[1, 2**53], [0.5], [1, 0.5]],
    "list of text": [[["a"]], [["b", None], None]],
    "list of numbers": [[[1]], [[0.5, 2]], [[], [3]]],
    "list of lists": [[[["a"]]], [[[], ["b"]]]],
    "dict": [[{"k": "a"}], [{"k": None, "j": 1}], [{"k": "b"}, {"j": 0.5}]],
    "list of dicts": [[[{"k": "a"}]], [[{"j": 1}, {"k": "b"}]]],
    "text and lists": [["a", ["a"]], [["a"], "a"]],
}


def columns(*values: Any) -> Columns:
    found = columns_of(orjson.dumps({"n": 1, "x": value}) + b"\n" for value in values)
    assert found is not None
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_files_with_the_same_kind_of_values_go_together(kind: str) -> None:
    files = [columns(None), *(columns(*values) for values in KINDS[kind])]
    for order in itertools.permutations(files):
        assert reduce(together, order) is not None  # type: ignore[arg-type]


@pytest.mark.parametrize(("one", "other"), [*itertools.combinations(KINDS, 2)])
def test_files_with_different_kinds_of_values_do_not(one: str, other: str) -> None:
    for a, b in itertools.product(KINDS[one], KINDS[other]):
        assert together(columns(*a), columns(*b)) is together(columns(*b), columns(*a)) is None


def test_what_was_joined_before_counts() -> None:
    joined = together(columns(None), columns({"k": 1}))
    assert together(joined, columns({"k": "a"})) is None
    assert together(columns([{"k": 1}]), columns([{"k": "a"}])) is None


def test_a_number_that_a_fraction_does_not_hold_goes_with_whole_numbers_only() -> None:
    large = columns(2**53 + 1)
    assert together(large, columns(1)) == together(columns(1), large) == columns(1, 2**53 + 1)
    assert together(large, columns(0.5)) is None
    assert together(columns(0.5, 1), columns(1, -(2**53) - 1)) is None
    assert together(columns(1, 2**60, 0.5), columns(0.5)) is None


def test_dicts_whose_keys_are_data_take_no_memory_and_go_with_all_dicts() -> None:
    users = [columns(*({f"user-{600 * n + each}": each} for each in range(600))) for n in range(3)]
    joined = reduce(together, users)  # type: ignore[arg-type]
    assert joined == {"n": "int", "x": "many"}
    assert together(joined, columns({"k": "a"})) == joined
    assert together(joined, columns("a")) is None
    assert columns({str(n): n for n in range(1001)}) == columns(*({str(n): n} for n in range(1001))) == joined


@pytest.mark.parametrize(
    "lines", [b"", b'{"n":1}\n{"n":2', b'{"n":1}\n{"n":2}', b"[1]\n", b"1\n", b"\n", b'{"n":\n', b"[" * 2000 + b"\n"]
)
def test_a_file_with_a_line_that_is_no_row_is_not_joined(lines: bytes) -> None:
    assert columns_of(lines.splitlines(keepends=True)) is None


@pytest.mark.parametrize(("opening", "closing"), [(b'{"k":', b"}"), (b"[", b"]")])
def test_values_that_nest_deeply_are_no_error(opening: bytes, closing: bytes) -> None:
    def key(depth: int) -> object:
        return columns_of([b'{"x":' + opening * depth + b"1" + closing * depth + b"}\n"])

    assert together(key(20), key(20)) == key(20) is not None
    for depth in (300, 700, 1000):
        assert together(key(depth), key(depth)) in (None, key(depth))
