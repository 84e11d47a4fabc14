"""Columns whose values change their type: a Parquet dataset loads all the same, and has every value."""

from __future__ import annotations

import base64
import io
import pickle
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hubspool import HfApi
from hubspool.cli import main
from hubspool.local_hub import LocalHub
from hubspool_templates import JsonlScheduler, ParquetScheduler
from hubspool_templates import schema as schema_module
from hubspool_templates.parquet.media import Media

SECONDS = 60
#: Prints the rows of each repository; media as the bytes and names that were stored.
LOAD = """
import base64, pickle, sys, datasets
media = (datasets.Image, datasets.Audio, datasets.Video)
def undecoded(feature):
    if isinstance(feature, media):
        return type(feature)(decode=False)
    if isinstance(feature, dict):
        return {name: undecoded(each) for name, each in feature.items()}
    return datasets.List(undecoded(feature.feature), feature.length) if isinstance(feature, datasets.List) else feature
found = []
for repo in sys.argv[1:]:
    rows = datasets.load_dataset(repo, split="train")
    rows = rows.cast(datasets.Features({name: undecoded(each) for name, each in rows.features.items()}))
    found.append([dict(row) for row in rows])
print(base64.b64encode(pickle.dumps(found)).decode())
"""

Make = Callable[..., Any]
Load = Callable[..., list[list[dict[str, Any]]]]
AT = datetime(2026, 1, 2, 3, 4, 5, 6, timezone.utc)
PICTURE = Image.new("L", (2, 2))
STORED = io.BytesIO()
PICTURE.save(STORED, "PNG")
PNG = {"bytes": STORED.getvalue(), "path": None}
SOUND = Media("audio", b"RIFF0000WAVE", "a.wav")


@pytest.fixture
def load_all(reader: Callable[..., str]) -> Load:
    return lambda *repos: pickle.loads(base64.b64decode(reader(LOAD, *repos)))


@pytest.fixture
def call_publish(hub_api: HfApi, local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Publishes a bucket, which does not exist yet."""
    monkeypatch.setenv("HF_ENDPOINT", local_hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", local_hub.token)
    hub_api.delete_bucket("local/votes", missing_ok=True)
    hub_api.delete_repo("local/votes", repo_type="dataset", missing_ok=True)
    return lambda: main(["publish", "hf://buckets/local/votes", "local/votes"])


#: Values of one column, in one commit each → what each row has in columns that begin with the name of the first.
CASES: dict[str, tuple[list[Any], list[dict[str, Any]]]] = {
    "mixed list later": ([None, [1, "a", {"x": 1}]], [{}, {"v": [1, "a", {"x": 1}]}]),
    "mixed dict later": ([None, {"k": [1, {"x": 1}]}], [{}, {"v": {"k": [1, {"x": 1}]}}]),
    "text, then an image": (["gone.png", PICTURE], [{"v": "gone.png"}, {"v_image": PNG}]),
    "an image, then text": ([PICTURE, "gone.png"], [{"v": PNG}, {"v_unfit": "gone.png"}]),
    "an int, then bytes": ([1, b"\xff"], [{"v": 1}, {"v_binary": b"\xff"}]),
    "text, then bytes": (["x", b"y"], [{"v": "x"}, {"v_binary": b"y"}]),
    "bytes, then an image": ([b"y", PICTURE], [{"v": b"y"}, {"v_image": PNG}]),
    "bytes, then text": ([b"y", "x"], [{"v": b"y"}, {"v_unfit": "x"}]),
    "no items, then an image": ([[], PICTURE], [{"v": []}, {"v_image": PNG}]),
    "no items, then images": ([[], [PICTURE]], [{"v": []}, {"v": [PNG]}]),
    "an image, then audio": ([PICTURE, SOUND], [{"v": PNG}, {"v_audio": {"bytes": SOUND.bytes, "path": "a.wav"}}]),
    "a dict, then an image": ([{"a": 1}, PICTURE], [{"v": {"a": 1}}, {"v_image": PNG}]),
    "json, then an image": ([[1, {}], PICTURE], [{"v": [1, {}]}, {"v_image": PNG}]),
    "text in lists, then images": ([["a.png"], [PICTURE]], [{"v": ["a.png"]}, {}]),
    "text, then a list": (["12", [1], "NaN"], [{"v": "12"}, {"v_unfit": [1]}, {"v": "NaN"}]),
    "a number, then a list": ([0.1234567890123, [1]], [{"v": 0.1234567890123}, {"v_unfit": [1]}]),
    "a time, then a dict": ([AT, {"a": 1}], [{"v": AT}, {"v_unfit": {"a": 1}}]),
    "a time in a dict, then others": (
        [{"a": AT}, {"a": 60.0}, {"a": "x"}],
        [{"v": {"a": AT}}, {"v_unfit": {"a": 60.0}}, {"v_unfit": {"a": "x"}}],
    ),
    "a whole number, then text": ([60.0, "x"], [{"v": "60"}, {"v": "x"}]),  # as Arrow writes it: docs/values.md
    "an int, then a list": ([1, [1]], [{"v": 1}, {"v": [1]}]),
    "a list, then a dict": ([["a"], {"a": 1}], [{"v": ["a"]}, {"v": {"a": 1}}]),
    "an image in a dict, then json": (
        [{"i": PICTURE, "x": 1}, {"i": None, "x": [1]}],
        [{"v": {"i": PNG, "x": 1}}, {"v_unfit": {"i": None, "x": [1]}}],
    ),
    "no arguments": ([{"f": 1, "args": {}}, [{"args": {}}]], [{"v": {"f": 1, "args": {}}}, {"v": [{"args": {}}]}]),
    "no keys": ([{}, {"a": 1}], [{"v": {}}, {"v": {"a": 1}}]),
    "keys that are always None": (
        [[{"a": None, "b": 1}, {"a": None, "b": 2}], [{"a": "x", "b": 3}]],
        [{"v": [{"a": None, "b": 1}, {"a": None, "b": 2}]}, {"v": [{"a": "x", "b": 3}]}],
    ),
}


def append_all(make: Make, values: list[Any], *, at_once: bool, **options: Any) -> None:
    scheduler = make(kind=ParquetScheduler, check_media=False, **options)
    for number, value in enumerate(values):
        scheduler.append({"n": number, "v": value} if value is not None else {"n": number})
        if not at_once:
            scheduler.flush(SECONDS)
    scheduler.stop(timeout=SECONDS)


def columns_of(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "n" and value is not None}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("order", ["in commits", "in one commit"])
def test_a_column_that_changes_its_type_loads_with_every_value(order: str, make: Make, load_all: Load) -> None:
    repos = {name: f"local/drift-{number}" for number, name in enumerate(CASES)}
    for name, (values, _) in CASES.items():
        append_all(
            make, values, at_once=order == "in one commit", repo_id=repos[name], folder=repos[name].replace("/", "-")
        )
    for (name, (values, expected)), rows in zip(CASES.items(), load_all(*repos.values()), strict=True):
        found = [columns_of(row) for row in sorted(rows, key=lambda row: row["n"])]
        assert len(found) == len(values), name
        if order == "in commits" and name != "text in lists, then images":
            assert found == expected, name
        assert all(len(row) == (value is not None) for row, value in zip(found, values, strict=True)), name


JSON_CASES = ["mixed list later", "text, then a list", "a number, then a list", "an int, then a list", "no arguments"]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("publishes", ["one for each file", "one for all"])
def test_files_of_a_bucket_whose_columns_differ_load_once_they_are_published(
    publishes: str, make: Make, load_all: Load, hub_api: HfApi, local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each value is from a replica of its own, which knows no columns of the others."""
    monkeypatch.setenv("HF_ENDPOINT", local_hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", local_hub.token)
    kinds = [*((name, ParquetScheduler) for name in CASES), *((name, JsonlScheduler) for name in JSON_CASES)]
    repos = [f"local/drift-{number}" for number in range(len(kinds))]
    for repo, (name, kind) in zip(repos, kinds, strict=True):
        values, bucket = CASES[name][0], f"hf://buckets/{repo}"
        hub_api.delete_bucket(repo, missing_ok=True)
        hub_api.delete_repo(repo, repo_type="dataset", missing_ok=True)
        for number, value in enumerate(values):
            options = {"check_media": False} if kind is ParquetScheduler else {}
            with make(kind=kind, repo_id=bucket, folder=f"{repo[6:]}-{number}", **options) as scheduler:
                scheduler.append({"n": number, "v": value} if value is not None else {"n": number})
            if publishes == "one for each file" or number == len(values) - 1:
                assert main(["publish", bucket, repo, "--format", "parquet"]) == 0, name
    for (name, kind), rows in zip(kinds, load_all(*repos), strict=True):
        values, expected = CASES[name]
        found = [columns_of(row) for row in sorted(rows, key=lambda row: row["n"])]
        assert all(len(row) == (value is not None) for row, value in zip(found, values, strict=True)), (name, kind)
        if publishes == "one for each file" and name != "text in lists, then images":
            assert found == expected, (name, kind)


#: Rows of one file each; the last two do not fit the columns of the first.
TAKEN = {
    "the dataset": [{"v": "a", "v_unfit": "mine"}, {"v": [1]}],
    "the file": [{"v": "a"}, {"v": [1], "v_unfit": "mine", "v_image": 1.5}],
    "both": [{"v": "a", "v_unfit": "mine"}, {"v": [1], "v_unfit": [2]}, {"v": {"a": 1}, "v_unfit_2": True}],
}


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("taken", TAKEN)
def test_a_published_file_keeps_columns_that_have_the_name_for_misfits(
    taken: str, at_once: bool, make: Make, load_all: Load, hub_api: HfApi, call_publish: Callable[[], int]
) -> None:
    for number, row in enumerate(TAKEN[taken]):
        options = {"repo_id": "hf://buckets/local/votes", "folder": str(number)}
        with make(kind=ParquetScheduler, **options) as scheduler:
            scheduler.append({"n": number, **row})
        if not at_once or number == len(TAKEN[taken]) - 1:
            assert call_publish() == 0
    (rows,) = load_all("local/votes")
    for row in rows:
        found, appended = columns_of(row), TAKEN[taken][row["n"]]
        assert sorted(map(repr, found.values())) == sorted(map(repr, appended.values())), row
        assert found.get("v_image") == appended.get("v_image")


def test_splits_of_one_publish_fit_the_columns_of_their_own_configs(
    make: Make, load_all: Load, hub_api: HfApi, call_publish: Callable[[], int], reader: Callable[..., str]
) -> None:
    def put(name: str, value: Any) -> None:
        folder = f"{name}-{value!r}".replace("/", "")[:20]
        with make(kind=ParquetScheduler, repo_id="hf://buckets/local/votes", folder=folder, name=name) as scheduler:
            scheduler.append({"v": value})

    for name, value in (("train", [1]), ("likes", "x")):  # types that make two configs
        put(name, value)
        assert call_publish() == 0
    put("train", b"raw")
    put("likes", b"raw")
    assert call_publish() == 0
    (rows,) = load_all("local/votes")
    assert sorted(map(columns_of, rows), key=repr) == [{"v": [1]}, {"v_binary": b"raw"}]
    script = "import datasets; print([*datasets.load_dataset('local/votes', 'likes')['likes']])"
    assert "'v_binary': b'raw'" in reader(script)


def test_a_row_that_has_the_column_for_misfits_itself_loses_neither_value(make: Make, load_all: Load) -> None:
    scheduler = make(kind=ParquetScheduler, check_media=False)
    scheduler.append({"v": "x", "v_image": "mine", "v_unfit": 1})
    scheduler.flush(SECONDS)
    scheduler.append({"v": PICTURE, "v_image": "mine too", "v_unfit": [1]})
    scheduler.append({"v": [2], "v_image": PICTURE})
    scheduler.stop(timeout=SECONDS)
    ((first, second, third),) = load_all("local/votes")
    assert columns_of(first) == {"v": "x", "v_image": "mine", "v_unfit": 1}
    assert columns_of(second) == {"v_image_2": PNG, "v_image": "mine too", "v_unfit": [1]}
    assert columns_of(third) == {"v_unfit_2": [2], "v_image_image": PNG}


def test_replicas_that_store_one_column_in_two_ways_at_the_same_time_load(make: Make, load_all: Load) -> None:
    both = [make(kind=ParquetScheduler, folder=f"replica{number}", check_media=False) for number in range(2)]
    for number, scheduler in enumerate(both):
        scheduler.append({"n": number})
        scheduler.flush(SECONDS)
    for scheduler, value in zip(both, ["gone.png", PICTURE], strict=True):
        scheduler.append({"n": 2 + both.index(scheduler), "v": value})
    for scheduler in both:
        scheduler.flush(SECONDS)
    for scheduler in both:
        scheduler.stop(timeout=SECONDS)
    (rows,) = load_all("local/votes")
    found = {row["n"]: columns_of(row) for row in rows}
    assert found == {0: {}, 1: {}, 2: {"v": "gone.png"}, 3: {"v_image": PNG}}


@pytest.mark.parametrize(
    ("declared", "fits", "wrong"),
    [
        ({"_type": "List", "feature": {"_type": "Value", "dtype": "int32"}, "length": 2}, [1, 2], [1, 2, 3]),
        ([{"_type": "List", "feature": "int32", "length": 1}], [[1], [2]], [[1], []]),
        ({"a": {"_type": "List", "feature": "string", "length": 1}}, {"a": ["x"]}, {"a": ["x", "y"]}),
        ({"_type": "Array2D", "shape": (2, 2), "dtype": "int32"}, [[1, 2], [3, 4]], [[1, 2], [3]]),
        ({"_type": "Array2D", "shape": (None, 2), "dtype": "int32"}, [[1, 2]] * 3, [[1, 2, 3]]),
        ({"_type": "ClassLabel", "names": ["no", "yes"]}, 1, 2),
    ],
    ids=str,
)
def test_a_declared_shape_is_checked_in_append(
    declared: Any, fits: Any, wrong: Any, make: Make, load_all: Load
) -> None:
    scheduler = make(kind=ParquetScheduler, schema={"n": "int64", "v": declared})
    scheduler.append({"n": 0, "v": fits})
    scheduler.append({"n": 1, "v": None})
    with pytest.raises(ValueError, match="'v'"):
        scheduler.append({"n": 2, "v": wrong})
    with pytest.raises(ValueError, match="'v'"):
        scheduler.extend([{"n": 2, "v": np.asarray(wrong) if isinstance(wrong, int) else wrong}])
    scheduler.stop(timeout=SECONDS)
    ((first, _),) = load_all("local/votes")
    assert first["v"] == fits


def nested(depth: int) -> Any:
    return 1 if depth == 0 else [nested(depth - 1)] if depth % 2 else {"a": nested(depth - 1)}


@pytest.mark.parametrize("kind", [JsonlScheduler, ParquetScheduler])
def test_columns_whose_keys_are_data_or_that_are_deep_are_json_and_load(
    kind: type[Any],
    make: Make,
    load_all: Load,
    hub_api: HfApi,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    schema_module._warn_of_keys.cache_clear()
    scheduler = make(kind=kind)
    rows = [{"n": n, "scores": {f"user-{n}": n}, "by_day": {f"day-{n % 20}": {f"user-{n}": 1}}} for n in range(250)]
    for commit in (rows[:100], rows[100:150], [*rows[150:], {"n": 250, "deep": nested(200)}]):
        scheduler.extend(commit)
        scheduler.flush(SECONDS)
    scheduler.stop(timeout=SECONDS)
    card = hub_api.hf_hub_download("local/votes", "README.md", repo_type="dataset", local_dir=tmp_path / "card")
    assert "user-" not in Path(card).read_text(encoding="utf-8")
    assert "scores: its dicts have more than 200 keys" in caplog.text
    assert "list of pairs" in caplog.text
    (stored,) = load_all("local/votes")
    found = sorted(stored, key=lambda row: row["n"])
    for row, given in zip(found, rows, strict=False):
        assert {key: value for key, value in row["scores"].items() if value is not None} == given["scores"]
    assert len(found) == 251
    assert found[250]["deep"] == nested(200)
