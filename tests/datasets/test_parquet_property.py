"""Rows of any values, whatever came before them: `datasets` loads the files, and every value is there."""

from __future__ import annotations

import base64
import os
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from math import isclose, isnan
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubspool.client.file_range import FileRange
from hubspool.errors import HFValidationError
from hubspool.local_hub import LocalHub
from hubspool.push.encodings import Span
from hubspool_templates import ParquetScheduler
from hubspool_templates.parquet.media import Media, MediaEncoder
from hubspool_templates.parquet.parquet_encoding import ParquetEncoding
from hubspool_templates.schema import Schema
from tests.datasets.test_parquet_drift import LOAD
from tests.support import value_kinds

#: Raised by hand: ``HUBSPOOL_EXAMPLES=3000 pytest tests/datasets/test_parquet_property.py`` runs for minutes.
RAISED = "HUBSPOOL_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("HUBSPOOL_EXAMPLES", "60"))
UNHURRIED = {"deadline": None, "suppress_health_check": [*HealthCheck], "derandomize": not RAISED}
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
MEDIA = [
    Media("image", b"\x89PNG 1", "a.png"),
    Media("image", b"\x89PNG 2"),
    Media("audio", b"RIFF", "b.wav"),
    Media("video", b"\0\0\0\x18ftypmp42", "c.mp4"),
]


@dataclass(frozen=True)
class Kind:
    """A value of another class; `stored` is what a row holds in its place."""

    make: Callable[[], Any]
    stored: Any

    def __repr__(self) -> str:
        return f"Kind({self.make()!r})"


KINDS = [Kind(*pair) for pair in (*value_kinds.SCALARS, *value_kinds.LISTS, *value_kinds.RECORDS)]
SCALARS = st.one_of(
    st.sampled_from(KINDS),
    st.just("\ud83d"),  # half an emoji, which `append` refuses
    st.none(),
    st.booleans(),
    st.integers(-3, 3) | st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([0.5, -0.0, 0.1234567890123, 1e300]) | st.floats(),
    st.sampled_from(["", "x", "12", "null", "NaN", "[1]", '{"a": 1}', "gone.png", "2026-01-02"])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    st.integers(-(10**16), 10**16).map(lambda n: EPOCH + timedelta(microseconds=n)),
    st.sampled_from([b"", b"\xff", b"text"]),
    st.sampled_from(MEDIA),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=5,
)
ROWS = st.dictionaries(st.sampled_from(["a", "b", "a_unfit", "b_image"]), VALUES, max_size=3)
COMMITS = st.lists(st.lists(ROWS, min_size=1, max_size=3), min_size=1, max_size=4)


def made(value: Any) -> Any:
    """Return a value as it is appended."""
    return _mapped(value, lambda kind: kind.make())


def stored(value: Any) -> Any:
    """Return a value as a row holds it."""
    return _mapped(value, lambda kind: kind.stored)


def _mapped(value: Any, convert: Callable[[Kind], Any]) -> Any:
    if isinstance(value, dict):
        return {name: _mapped(inner, convert) for name, inner in value.items()}
    if isinstance(value, list):
        return [_mapped(inner, convert) for inner in value]
    return convert(value) if isinstance(value, Kind) else value


def is_refused(value: Any) -> bool:
    """Whether text in a value is no Unicode."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return value == "\ud83d" or any(map(is_refused, inner))


def is_same(given: Any, found: Any, *, json: bool = False) -> bool:
    """Whether a value is what was appended, or what it becomes beside values of other types: text, or JSON."""
    if isinstance(given, float) and isinstance(found, str) and re.fullmatch(r"-?\d+(e[+]?\d+)?", found):
        return repr(float(found)) == repr(given)  # a whole number of an earlier file, as Arrow writes it
    if isinstance(given, (bool, int, float)) and isinstance(found, str):
        return found == (str(given) if given - given != 0 else orjson.dumps(given).decode())
    if isinstance(given, float) and isinstance(found, float | None) and (isnan(given) or json):
        if given - given != 0 or found is None:
            return found is None or isnan(found)
        return isclose(given, found, rel_tol=1e-14, abs_tol=1e-15)  # the reader of JSON reads 15 places after the point
    if isinstance(given, datetime) and isinstance(found, str):
        return found in (given.isoformat(), f"{given:%Y-%m-%d %H:%M:%S.%f}Z")
    if isinstance(given, bytes) and json:
        return found == base64.b64encode(given).decode()
    if isinstance(given, Media):
        content = base64.b64encode(given.bytes).decode() if json else given.bytes
        return isinstance(found, dict) and (found.get("bytes"), found.get("path")) == (content, given.path)
    if isinstance(given, list):
        return (
            isinstance(found, list)
            and len(found) == len(given)
            and all(is_same(a, b, json=json) for a, b in zip(given, found, strict=True))
        )
    if isinstance(given, dict):
        return isinstance(found, dict) and all(
            is_same(given.get(name), found.get(name), json=json) for name in {*given, *found}
        )
    return bool(found == given) and isinstance(found, bool) == isinstance(given, bool)


def check(given: dict[str, Any], found: dict[str, Any], features: dict[str, str]) -> None:
    """Check that each value of a row is in its column, or in one of those for values that do not fit there."""
    left = {name: value for name, value in found.items() if value is not None}
    for name, value in given.items():
        places = [each for each in left if each == name or each.startswith(f"{name}_")]
        fitting = [each for each in places if is_same(value, left[each], json=features[each] == "Json")]
        if isinstance(value, float) and isnan(value) and not fitting:
            continue  # null in a column of JSON
        assert value is None or fitting, (name, value, found)
        if value is not None:
            left.pop(min(fitting, key=len))
    assert not left, (given, found)


def undecoded(datasets: Any, feature: Any) -> Any:
    if isinstance(feature, (datasets.Image, datasets.Audio, datasets.Video)):
        return type(feature)(decode=False)
    if isinstance(feature, dict):
        return {name: undecoded(datasets, each) for name, each in feature.items()}
    return datasets.List(undecoded(datasets, feature.feature)) if isinstance(feature, datasets.List) else feature


@pytest.mark.timeout(0 if RAISED else 120)
@settings(max_examples=EXAMPLES, **UNHURRIED)
@given(commits=COMMITS, restarts=st.booleans())
def test_files_of_any_rows_are_read_with_the_columns_of_the_card(
    commits: list[list[dict[str, Any]]], restarts: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import datasets
    from datasets.table import table_cast

    folder, card, encoder = tmp_path_factory.mktemp("files"), Schema(), MediaEncoder(check_media=False)
    encoding = ParquetEncoding(lambda _: Schema())
    files, rows = [], []
    for number, commit in enumerate(commits):
        encoded = []
        for row in commit:
            each = {"n": len(rows), **row}
            if is_refused(row):
                with pytest.raises(HFValidationError, match="lone surrogate"):
                    encoder.encode(made(each))
            else:
                encoded.append(encoder.encode(made(each)))
                rows.append(stored(each))
        if not encoded:
            continue
        lines = folder / f"{number}.jsonl"
        lines.write_bytes(b"".join(encoded))
        files.append(str(folder / f"{number}.parquet"))
        if restarts:
            encoding = ParquetEncoding(lambda _, known=card: known)
        content = FileRange(lines, 0, lines.stat().st_size)
        encoding.damaged(content)
        assert encoding.encode(Span(lines.name, 0, content.end), content, None, Path(files[-1]))
        card = card.extend(encoding.schema)
        assert card.can_read(encoding.schema)
        assert card.extend(encoding.schema) == card
    features = datasets.Features._from_yaml_list(card.to_features())
    raw = datasets.Features(undecoded(datasets, features))
    tables = [table_cast(pq.read_table(file), raw.arrow_schema) for file in files]  # as `load_dataset` does
    loaded = [row for table in tables for row in datasets.Dataset(table)]
    for row, found in zip(rows, loaded, strict=True):
        check(row, found, {name: type(feature).__name__ for name, feature in raw.items()})


@pytest.mark.slow
@pytest.mark.timeout(0 if RAISED else 420)
def test_what_any_replicas_append_is_what_load_dataset_gives(
    local_hub: LocalHub, reader: Callable[..., str], make: Callable[..., Any]
) -> None:
    number = 0

    @settings(max_examples=max(EXAMPLES // 5, 1), **UNHURRIED)
    @given(commits=COMMITS, data=st.data())
    def run(commits: list[list[dict[str, Any]]], data: st.DataObject) -> None:
        nonlocal number
        number += 1
        repo = f"local/any-{number}"
        options = {"kind": ParquetScheduler, "repo_id": repo, "check_media": False}
        both = [make(**options, folder=f"any-{number}-{each}") for each in range(2)]
        rows: list[dict[str, Any]] = []
        for commit in commits:
            at = data.draw(st.integers(0, 1), label="replica")
            for row in commit:
                each = {"n": len(rows), **row}
                if is_refused(row):
                    with pytest.raises(HFValidationError, match="lone surrogate"):
                        both[at].append(made(each))
                else:
                    both[at].append(made(each))
                    rows.append(stored(each))
            step = data.draw(st.sampled_from(["go on", "flush", "restart"]), label="step")
            if step == "flush":
                both[at].flush(60)
            elif step == "restart":
                both[at].stop(timeout=60)
                both[at] = make(**options, folder=f"any-{number}-{at}")
        for scheduler in both:
            scheduler.stop(timeout=60)
        if not rows:
            return
        found, features = pickle.loads(base64.b64decode(reader(LOAD_WITH_FEATURES, repo)))
        for row, each in zip(rows, sorted(found, key=lambda row: row["n"]), strict=True):
            check(row, each, features)

    run()


LOAD_WITH_FEATURES = LOAD.replace(
    "found.append([dict(row) for row in rows])",
    "found += [[dict(row) for row in rows], {name: type(each).__name__ for name, each in rows.features.items()}]",
)
