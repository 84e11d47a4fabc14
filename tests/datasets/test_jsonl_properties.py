"""Rows of every kind of value, from two replicas that restart: `datasets` and `read_rows` give what was appended.

``HUBSPOOL_EXAMPLES=500 pytest tests/datasets/test_jsonl_properties.py`` tries other rows, for about ten minutes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hubspool import HfApi
from hubspool_templates import JsonlScheduler, read_rows
from tests.support.value_kinds import LISTS, RECORDS, SCALARS

SECONDS = 60
EXAMPLES = int(os.environ.get("HUBSPOOL_EXAMPLES", "0"))
DATASETS = 5  # one process loads those of an example


#: Text that `datasets` takes for dates if a whole file has nothing else is left out; docs/values.md says so.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["12", "-", "NaN", "null", "true", "1e5", '"x"', '{"k": 1}', "[1]", "\\u0033", "a.png", "\u2028\n\x00"]
)
ints = st.integers(-(2**53), 2**53)
floats = st.integers(-(10**6), 10**6).map(
    lambda n: n / 8
)  # datasets keeps ten digits beside a json column, and adds 1e-17
numbers = ints | floats
#: Text that is a date in whole seconds is left out here too.
OTHERS = [pair for pair in SCALARS if pair[1] is None or (isinstance(pair[1], str) and pair[1][:4] != "2026")] + [
    (lambda: datetime(2026, 1, 2, 3, tzinfo=timezone.utc), "2026-01-02T03:00:00.000000+00:00"),
    (lambda: np.datetime64("2026-01-02T03:00"), "2026-01-02T03:00:00.000000+00:00"),
]
NUMBERS = [pair for pair in SCALARS if isinstance(pair[1], (int, float)) and pair[1] is not True]
NUMERIC = [pair for pair in LISTS if all(isinstance(item, (int, float, type(None))) for item in pair[1])]


def plain(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Callable[[], Any], Any]]:
    return strategy.map(lambda value: (lambda: value, value))


COLUMNS: dict[str, st.SearchStrategy[tuple[Callable[[], Any], Any]]] = {
    "flag": plain(st.booleans() | st.none()),
    "number": plain(numbers | st.none()) | st.sampled_from(NUMBERS),
    "text": plain(texts | st.none()) | st.sampled_from(OTHERS),
    "mixed": plain(texts | numbers | st.booleans()),
    # A null before another item: pyarrow reads it wrongly; docs/values.md says so.
    "list": plain(st.lists(numbers | st.none(), max_size=3).filter(lambda items: None not in items[:-1]))
    | st.sampled_from(NUMERIC),
    "record": st.sampled_from(RECORDS),
    "json": plain(texts | numbers | st.lists(texts | numbers, max_size=2)) | st.sampled_from([*LISTS, *RECORDS]),
}
rows = st.fixed_dictionaries({}, optional=COLUMNS)
#: What a replica does: append rows, push, or end and begin again.
steps = st.lists(
    st.tuples(st.integers(0, 1), st.lists(rows, max_size=4) | st.sampled_from(["push", "restart"])), max_size=8
)


def loaded(value: Any) -> Any:
    """What `datasets` gives for a value: no null in a struct; one type of number."""
    if isinstance(value, dict):
        return {name: loaded(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return list(map(loaded, value))
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def same(found: Any, expected: Any, column: str) -> bool:
    if column == "mixed" and isinstance(found, str) and not isinstance(expected, str):  # numbers beside text are text
        return found == str(expected).lower() or float(found) == expected
    return bool(loaded(found) == loaded(expected))


numbers_of_repos = count()


@pytest.mark.slow
@pytest.mark.timeout(0 if EXAMPLES else 400)
@settings(
    max_examples=EXAMPLES or 4,
    derandomize=not EXAMPLES,
    deadline=None,
    phases=[Phase.generate, *([Phase.shrink] if EXAMPLES else [])],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(steps, min_size=DATASETS, max_size=DATASETS))
def test_what_was_appended_is_read(
    hub_api: HfApi, tmp_path: Path, load_all: Callable[..., list[dict[str, list[dict[str, Any]]]]], given_steps: Any
) -> None:
    expected = {}
    for todo in given_steps:
        repo = f"local/values-{next(numbers_of_repos)}"
        expected[repo] = run(repo, todo, hub_api, tmp_path)
        found = {row["n"]: row for row in read_rows(repo, hub_api)}
        assert found == expected[repo]
        assert all(type(found[n][name]) is type(row[name]) for n, row in expected[repo].items() for name in row)
    for (repo, appended), splits in zip(expected.items(), load_all(*expected), strict=True):
        given_back = {row["n"]: row for row in splits["train"]}
        assert given_back.keys() == appended.keys()
        for n, row in given_back.items():
            for column, value in row.items():
                assert same(value, appended[n].get(column), column), (repo, column, value, appended[n].get(column))


def run(repo: str, todo: Any, hub_api: HfApi, tmp_path: Path) -> dict[int, dict[str, Any]]:
    """Append the rows; return them by number."""

    def begin(replica: int) -> JsonlScheduler:
        folder = tmp_path / "spools" / repo / str(replica)  # `datasets` would read a folder of the repository's name
        return JsonlScheduler(repo, folder, every=600, hf_api=hub_api)

    number, appended = count(), {}
    schedulers = [begin(0), begin(1)]

    def append(replica: int, values: dict[str, Callable[[], Any]], stored: dict[str, Any]) -> None:
        n = next(number)
        schedulers[replica].append({"n": n, **{name: value() for name, value in values.items()}})
        appended[n] = {"n": n, **stored}

    for stored in ({"json": [1]}, {"json": {"x": 1.5}}):  # text before the first list is read as JSON
        append(0, {"json": lambda stored=stored: stored["json"]}, stored)  # type: ignore[misc]
    for replica in (0, 1):
        schedulers[replica].flush(SECONDS)
        append(replica, {}, {})
        schedulers[replica].flush(SECONDS)
    for replica, step in todo:
        if step == "push":
            schedulers[replica].flush(SECONDS)
        elif step == "restart":
            schedulers[replica].stop(timeout=SECONDS)
            schedulers[replica] = begin(replica)
        else:
            for row in step:
                append(replica, {name: pair[0] for name, pair in row.items()}, {k: pair[1] for k, pair in row.items()})
    for scheduler in schedulers:
        scheduler.stop(timeout=SECONDS)
    return appended
