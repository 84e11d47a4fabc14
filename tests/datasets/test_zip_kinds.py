"""Archives of `ZipScheduler` load, whatever the metadata of their splits and the kinds of their files."""

from __future__ import annotations

import io
import json
import wave
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from hubspool import HfApi
from hubspool.cli import main
from hubspool.errors import NotStoredError
from hubspool.local_hub import LocalHub
from hubspool_templates import ZipScheduler, read_rows

REPO = "local/drawings"
SECONDS = 60
LOAD = """
import json, sys, datasets
repo, *configs = sys.argv[1:]
found = {}
for config in configs:
    for name, split in datasets.load_dataset(repo, config or None).items():
        rows = found[config + "/" + name] = []
        for row in split:
            media = [key for key in ("image", "audio") if row.pop(key, None) is not None]
            rows.append({**row, "media": media})
print(json.dumps(found))
"""


@pytest.fixture
def scheduler_kind() -> type[ZipScheduler]:
    return ZipScheduler


@pytest.fixture
def scheduler_options() -> dict[str, Any]:
    return {"repo_id": REPO}


@pytest.fixture
def loaded(reader: Callable[..., str]) -> Callable[..., dict[str, list[dict[str, Any]]]]:
    return lambda *configs: json.loads(reader(LOAD, REPO, *configs))


def image() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (4, 4)).save(content, "png")
    return content.getvalue()


def sound() -> bytes:
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(1600))
    return content.getvalue()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"k": 1}, {"j": "x"}),
        ({"k": 1}, {"k": "x"}),
        ({"k": 1}, {"k": 1, "j": 2}),
        ({}, {"k": 1}),
        ({"k": 1}, {}),
        ({"k": 1}, {"k": 1.5}),
        ({"at": "2026-01-02"}, {"at": "today"}),
        ({"k": None}, {"k": 1}),
        ({"k": [1]}, {"k": {"a": 1}}),
    ],
    ids=str,
)
def test_splits_whose_metadata_differ_both_load(
    make: Callable[..., ZipScheduler],
    loaded: Callable[..., dict[str, list[dict[str, Any]]]],
    first: dict[str, Any],
    second: dict[str, Any],
) -> None:
    for name, metadata in (("train", first), ("test", second)):
        scheduler = make(name=name, settle=False)
        scheduler.add(image(), f"{name}.png", **metadata)
        scheduler.flush(timeout=SECONDS)
    found = loaded("", "test")
    assert [row.keys() - {"media"} for row in found["/train"]] == [first.keys()]
    assert found["test/test"] == [{**second, "media": ["image"]}]


@pytest.mark.parametrize(("name", "content"), [("b.wav", sound()), ("b.txt", b"a cat"), ("b.json", b"{}")])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_file_of_another_kind_is_refused_and_the_others_load(
    make: Callable[..., ZipScheduler],
    loaded: Callable[..., dict[str, list[dict[str, Any]]]],
    name: str,
    content: bytes,
    restarted: bool,
) -> None:
    scheduler = make()
    scheduler.add(image(), "a.png", k=1)
    scheduler.flush(timeout=SECONDS)
    if restarted:
        scheduler.stop(timeout=SECONDS)
        scheduler = make(folder="again")
    with pytest.raises(
        ValueError,
        match=rf"'{name}' is of another kind \((audio|no media)\) than the other files of the dataset \(image\)",
    ):
        scheduler.add(content, name, k=2)
    (scheduler.folder_path / name).write_bytes(content)
    scheduler.add(image(), "c.png", k=3)
    with pytest.raises(NotStoredError, match="is of another kind"):
        scheduler.flush(timeout=SECONDS)
    assert sorted((row["k"], row["media"]) for row in loaded("")["/train"]) == [(1, ["image"]), (3, ["image"])]


def test_files_that_are_no_media_are_stored_together(make: Callable[..., ZipScheduler]) -> None:
    scheduler = make()
    for name in ("a.txt", "b.json", "c"):
        scheduler.add(b"{}", name)
    with pytest.raises(ValueError, match=r"'d\.png' is of another kind \(image\)"):
        scheduler.add(image(), "d.png")
    scheduler.flush(timeout=SECONDS)


@pytest.mark.parametrize("values", [
    (["a"], "x", "12"),
    ("x", ["a"], 5),
    ({"a": 1}, [1], "x"),
    (1, [1], None),
    ([1], {"a": "x"}, True),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("target", ["dataset", "bucket"])
def test_a_column_of_one_archive_may_have_values_of_several_kinds(
    target: str,
    values: tuple[Any, ...],
    make: Callable[..., ZipScheduler],
    loaded: Callable[..., dict[str, list[dict[str, Any]]]],
    local_hub: LocalHub,
    hub_api: HfApi,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    where = REPO if target == "dataset" else f"hf://buckets/{REPO}"
    hub_api.delete_bucket(REPO, missing_ok=True)
    scheduler = make(repo_id=where)
    scheduler.last_future.exception(SECONDS)  # so that all rows are in one archive
    for number, value in enumerate(values):
        scheduler.add(image(), f"{number}.png", v=value)
    scheduler.stop(timeout=SECONDS)
    assert [row["v"] for row in read_rows(where, hub_api)] == [*values]
    if target == "bucket":
        monkeypatch.setenv("HF_ENDPOINT", local_hub.endpoint)
        monkeypatch.setenv("HF_TOKEN", local_hub.token)
        assert main(["publish", where, REPO]) == 0
        assert [row["v"] for row in read_rows(REPO, hub_api)] == [*values]
    rows = loaded("")["/train"]
    assert [row["v"] for row in rows] == [*values]
