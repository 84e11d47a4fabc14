"""Rows given to `ParquetScheduler` are a dataset of Parquet files: what went in comes out, whatever it was."""

from __future__ import annotations

import base64
import io
import json
import pickle
import subprocess
import sys
import wave
from collections.abc import Callable
from datetime import date, datetime, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from hubspool import HfApi, HubspoolError
from hubspool.cli import main as run_command
from hubspool.spool.segment_name import SegmentName
from hubspool_templates import JsonlScheduler, ParquetScheduler, read_rows

REPO = "local/votes"
SECONDS = 60
#: Prints features and rows; media as the bytes that were stored.
LOAD = """
import base64, pickle, sys, datasets
loaded = datasets.load_dataset(sys.argv[1])["train"]
features = {name: repr(feature) for name, feature in loaded.features.items()}
media = (datasets.Image, datasets.Audio, datasets.Video)
for name, feature in loaded.features.items():
    if isinstance(feature, media):
        loaded = loaded.cast_column(name, type(feature)(decode=False))
print(base64.b64encode(pickle.dumps((features, [dict(row) for row in loaded]))).decode())
"""

Make = Callable[..., Any]
Load = Callable[..., tuple[dict[str, str], list[dict[str, Any]]]]


@pytest.fixture
def load_all(reader: Callable[..., str]) -> Load:
    """`datasets.load_dataset(repo)` in a process of its own: features and rows."""
    return lambda repo_id=REPO: pickle.loads(base64.b64decode(reader(LOAD, repo_id)))


@pytest.fixture
def parts(hub_api: HfApi, tmp_path: Path) -> Callable[..., dict[str, bytes]]:
    """Part name → bytes, at a revision."""

    def fetch(revision: str = "main") -> dict[str, bytes]:
        paths = hub_api.list_repo_files(REPO, repo_type="dataset", revision=revision)
        found = {}
        for path in sorted(path for path in paths if path.endswith(".parquet")):
            local = hub_api.hf_hub_download(
                REPO, path, repo_type="dataset", revision=revision, local_dir=tmp_path / "parts" / revision
            )
            found[Path(path).name] = Path(local).read_bytes()
        return found

    return fetch


def sealed(scheduler: ParquetScheduler) -> list[str]:
    folder = scheduler.spool_folder / "sealed"
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def footer_start(data: bytes) -> int:
    return len(data) - 8 - int.from_bytes(data[-8:-4], "little")


def test_every_kind_of_value_comes_back_as_it_was(make: Make, load_all: Load) -> None:
    row = {
        "n": 2**62 + 1,
        "text": "Ζεύς, Ünïcödé \u2028 \x00 \n 漢字 🐈",
        "odd": float("inf"),
        "flag": True,
        "none": None,
        "tags": ["a", None],
        "empty": [],
        "meta": {"x": 1, "inner": {"y": [1.5, float("-inf")]}},
        "blob": bytes(range(256)),
        "blobs": [b"", b"\n"],
        "array": np.arange(6, dtype=np.int32).reshape(2, 3),
        "scalar": np.float32(0.5),
        "at": datetime(2026, 1, 2, 3, 4, 5, 678901, timezone.utc),
    }
    scheduler = make(kind=ParquetScheduler)
    scheduler.append(row)
    scheduler.append({"odd": float("nan"), "n": -1})
    scheduler.stop()
    features, (first, second) = load_all()
    assert first == {**row, "array": [[0, 1, 2], [3, 4, 5]], "scalar": 0.5}
    assert second["odd"] != second["odd"]
    assert {name: second[name] for name in row if name not in ("odd", "n")} == dict.fromkeys(
        [name for name in row if name not in ("odd", "n")]
    )
    assert features["at"] == "Value('timestamp[us, tz=UTC]')"


def test_nan_where_a_text_is_missing_is_null_as_in_pandas(make: Make, load_all: Load) -> None:
    scheduler = make(kind=ParquetScheduler)
    scheduler.extend([{"a": float("nan")}, {"a": "text"}, {"a": float("inf")}])
    scheduler.stop()
    assert [row["a"] for row in load_all()[1]] == [None, "text", "inf"]


def test_photographs_and_digits_keep_their_pixels_and_files_their_bytes(
    make: Make, load_all: Load, parts: Callable[..., dict[str, bytes]], tmp_path: Path
) -> None:
    photographs, digits = load_sample_images().images, load_digits().images[:50]
    file = tmp_path / "photo.jpg"
    Image.fromarray(photographs[0]).save(file)
    scheduler = make(kind=ParquetScheduler)
    for number, digit in enumerate(digits):
        scheduler.append({"n": number, "image": Image.fromarray((digit * 15).astype(np.uint8)), "digit": digit})
    scheduler.append({"n": 50, "image": Image.fromarray(photographs[1]).convert("CMYK")})
    scheduler.append({"n": 51, "image": file})
    scheduler.stop()
    features, rows = load_all()
    assert features["image"].startswith("Image(")
    rows.sort(key=lambda row: row["n"])
    for row, digit in zip(rows, digits, strict=False):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))), digit * 15)
        assert np.array_equal(row["digit"], digit)
    cmyk = Image.open(io.BytesIO(rows[50]["image"]["bytes"]))
    assert np.array_equal(np.asarray(cmyk), np.asarray(Image.fromarray(photographs[1]).convert("CMYK")))
    assert rows[51]["image"] == {"bytes": file.read_bytes(), "path": "photo.jpg"}
    (data,) = parts().values()
    group = pq.read_metadata(io.BytesIO(data)).row_group(0)
    codecs = {(c := group.column(number)).path_in_schema: c.compression for number in range(group.num_columns)}
    assert codecs["image.bytes"] == "UNCOMPRESSED"
    assert codecs["n"] == "ZSTD"
    assert all(group.column(number).has_offset_index for number in range(group.num_columns))
    assert b'"_type":"Image"' in pq.read_schema(io.BytesIO(data)).metadata[b"huggingface"]


def test_declared_media_are_taken_in_every_form(make: Make, load_all: Load, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x10ftypmp42\0\0\0\0")
    schema = {"image": "image", "sound": {"_type": "Audio"}, "clip": "video", "pages": ["image"]}
    pixels = np.zeros((4, 4, 3), np.uint8)
    samples = np.array([0, 1, -32768, 32767], np.int16)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    picture = (tmp_path / "picture.png").read_bytes()
    scheduler = make(kind=ParquetScheduler, schema=schema)
    scheduler.append({"image": pixels, "sound": (8000, samples), "clip": str(tmp_path / "clip.mp4"), "pages": [pixels]})
    scheduler.append({"image": picture, "sound": {"bytes": b"OggS", "path": "a.ogg"}, "clip": None})
    with pytest.raises(ValueError, match=r"'image'.*no such file"):
        scheduler.append({"image": "nowhere.png"})
    scheduler.stop()
    features, (first, second) = load_all()
    assert [features[name].split("(")[0] for name in schema] == ["Image", "Audio", "Video", "List"]
    with wave.open(io.BytesIO(first["sound"]["bytes"])) as sound:
        assert (sound.getframerate(), sound.getnchannels()) == (8000, 1)
        assert np.array_equal(np.frombuffer(sound.readframes(4), np.int16), samples)
    assert first["clip"] == {"bytes": b"\0\0\0\x10ftypmp42\0\0\0\0", "path": "clip.mp4"}
    assert second["sound"] == {"bytes": b"OggS", "path": "a.ogg"}
    assert second["image"]["bytes"] == picture


@pytest.mark.parametrize("form", ["pyarrow", "features", "mapping"])
def test_a_given_schema_decides_the_types_and_refuses_the_rest(form: str, make: Make, load_all: Load) -> None:
    import datasets

    schemas = {
        "pyarrow": pa.schema([("n", pa.int16()), ("vector", pa.list_(pa.float32())), ("label", pa.int64())]),
        "features": datasets.Features(
            n=datasets.Value("int16"),
            vector=datasets.List(datasets.Value("float32")),
            label=datasets.ClassLabel(names=["no", "yes"]),
        ),
        "mapping": {"n": "int16", "vector": ["float32"], "label": {"names": ["no", "yes"], "_type": "ClassLabel"}},
    }
    scheduler = make(kind=ParquetScheduler, schema=schemas[form])
    scheduler.append({"n": 7, "vector": [0.5, 1], "label": 1})
    scheduler.append({"n": None})
    for wrong, name in [({"n": "x"}, "n"), ({"n": 40_000}, "n"), ({"other": 1}, "other"), ({"vector": 1}, "vector")]:
        with pytest.raises(ValueError, match=f"'{name}'"):
            scheduler.append(wrong)
    scheduler.stop()
    features, rows = load_all()
    assert features["n"] == "Value('int16')"
    assert features["vector"] == "List(Value('float32'))"
    assert ("ClassLabel" in features["label"]) is (form != "pyarrow")
    assert rows == [{"n": 7, "vector": [0.5, 1.0], "label": 1}, {"n": None, "vector": None, "label": None}]


def test_columns_of_arrow_types_load(make: Make, load_all: Load) -> None:
    types = {
        "day": (pa.date32(), date(2026, 1, 2)),
        "milliseconds": (pa.date64(), date(2026, 1, 2)),
        "half": (pa.float16(), 0.5),
        "long": (pa.large_string(), "text"),
        "small": (pa.uint8(), 7),
    }
    scheduler = make(kind=ParquetScheduler, schema=pa.schema([(name, kind) for name, (kind, _) in types.items()]))
    scheduler.append({name: value for name, (_, value) in types.items()})
    scheduler.stop()
    features, rows = load_all()
    assert features["day"] == "Value('date32')"
    assert [row["half"] for row in rows] == [0.5]


@pytest.mark.parametrize(
    ("row", "name"),
    [({"a": 1 + 2j}, "a"), ({"a": 2**63}, "a"), ({"a": [object()]}, "a"), ({}, "row"), ({"a": {1: 2}}, "a")],
    ids=["complex", "large int", "object", "no column", "key"],
)
def test_what_cannot_be_stored_is_refused_with_the_name_of_its_key(row: Any, name: str, make: Make) -> None:
    scheduler = make(kind=ParquetScheduler)
    with pytest.raises(ValueError, match=name):
        scheduler.append(row)
    assert scheduler.pending_rows() == 0


def test_a_part_grows_by_row_groups_whose_bytes_stay_and_rolls_after_eight_commits(
    make: Make, hub_api: HfApi, parts: Callable[..., dict[str, bytes]]
) -> None:
    scheduler = make(kind=ParquetScheduler)
    for n in range(10):
        scheduler.append({"n": n, "text": f"row {n}"})
        scheduler.flush(SECONDS)
    commits = [commit.commit_id for commit in hub_api.list_repo_commits(REPO, repo_type="dataset")]
    versions = [parts(commit) for commit in reversed(commits[:10])]
    names = list(versions[-1])
    assert [name[-13:] for name in names] == ["p0000.parquet", "p0001.parquet"]
    grown = [version[names[0]] for version in versions[:8]]
    assert [pq.read_metadata(io.BytesIO(data)).num_row_groups for data in grown] == list(range(1, 9))
    for before, after in pairwise(grown):
        kept = footer_start(before)
        assert before[:kept] == after[:kept]
    assert versions[-1][names[0]] == grown[-1]
    assert [row["n"] for data in versions[-1].values() for row in pq.read_table(io.BytesIO(data)).to_pylist()] == [
        *range(10)
    ]


def test_a_new_column_begins_the_next_part_and_the_one_before_keeps_its_bytes(
    make: Make, parts: Callable[..., dict[str, bytes]]
) -> None:
    scheduler = make(kind=ParquetScheduler)
    versions = []
    for row in ({"n": 0}, {"n": 1, "late": "x"}, {"n": 2}):
        scheduler.append(row)
        commit = scheduler.flush(SECONDS)
        versions.append(parts(commit.oid))
    first, second = versions[-1]
    assert versions[0][first] == versions[-1][first]
    assert pq.read_table(io.BytesIO(versions[-1][second])).to_pylist() == [
        {"n": 1, "late": "x"},
        {"n": 2, "late": None},
    ]


def test_what_was_sealed_is_removed_with_the_segments_once_it_is_on_the_hub(make: Make) -> None:
    scheduler = make(kind=ParquetScheduler)
    scheduler.append({"n": 1})
    scheduler.flush(SECONDS)
    assert len(sealed(scheduler)) == 2  # for the open part's growth: the file and its manifest
    scheduler.append({"n": 2})
    scheduler.flush(SECONDS)
    assert len(sealed(scheduler)) == 2
    scheduler.stop()
    assert sealed(scheduler) == []
    assert [path for path in scheduler.spool_folder.iterdir() if SegmentName.parse(path.name)] == []


def test_optional_columns_of_two_restarts_and_two_replicas_load(make: Make, load_all: Load) -> None:
    rows: list[dict[str, Any]] = [
        {"n": 0, "score": 1},
        {"n": 1, "late": "x", "score": 2.5},
        {"n": 2, "mixed": 1, "meta": {"a": 1}},
        {"n": 3, "mixed": "one", "meta": {"b": [1]}},
        {"n": 4, "mixed": True, "late": None, "many": [1]},
        {"n": 5, "many": {"x": 1}, "image": Image.new("L", (2, 2))},
    ]
    for start in (0, 3):  # each folder is a replica; every row is a start of its own, the last two at the same time
        for row in rows[start : start + 2]:
            with make(kind=ParquetScheduler, folder=f"folder{start}") as scheduler:
                scheduler.append(row)
    both = [make(kind=ParquetScheduler, folder=f"folder{start}") for start in (0, 3)]
    for scheduler, row in zip(both, rows[2::3], strict=True):
        scheduler.append(row)
    futures = [scheduler.trigger() for scheduler in both]
    for future in futures:
        future.result(SECONDS)
    for scheduler in both:
        scheduler.stop()
    features, found = load_all()
    by_number = {row["n"]: row for row in found}
    assert sorted(row["n"] for row in found) == list(range(6))
    assert [by_number[n]["score"] for n in range(3)] == [1.0, 2.5, None]
    assert [by_number[n]["mixed"] for n in (2, 3, 4)] == ["1", "one", "true"]
    assert by_number[3]["meta"] == {"a": None, "b": [1]}
    assert [by_number[n]["many"] for n in (4, 5)] == [[1], {"x": 1}]
    assert features["many"].startswith("Json(")


def test_values_that_a_decided_column_cannot_hold_are_kept_beside_it(make: Make, load_all: Load) -> None:
    with make(kind=ParquetScheduler, schema={"n": "int8", "image": "image"}) as scheduler:
        scheduler.append({"n": 1, "image": Image.new("1", (1, 1))})
    with make(kind=ParquetScheduler, folder="another") as scheduler:  # knows the card's columns, not who decided them
        scheduler.extend([{"n": 1000}, {"n": 2, "image": [1, 2]}])
    features, rows = load_all()
    assert features["n"] == "Value('int8')"
    found = [(row["n"], row["n_unfit"], row["image_unfit"]) for row in rows]
    assert sorted(found, key=str) == sorted([(1, None, None), (None, 1000, None), (2, None, [1, 2])], key=str)


def test_a_card_that_somebody_broke_holds_no_row_up(make: Make, hub_api: HfApi, parts: Callable[..., Any]) -> None:
    fields = "dataset_info:\n  features:\n  - name: n\n    dtype: nonsense\n  - name: words\n    sequence: string\n"
    make().flush(SECONDS)
    hub_api.upload_file(
        path_or_fileobj=f"---\n{fields}---\n".encode(), path_in_repo="README.md", repo_id=REPO, repo_type="dataset"
    )
    scheduler = make(kind=ParquetScheduler)
    scheduler.append({"n": 1, "words": ["a"]})
    scheduler.stop(timeout=SECONDS)
    (data,) = parts().values()
    assert pq.read_table(io.BytesIO(data)).to_pylist() == [{"n": 1, "words": ["a"]}]


def test_schedulers_of_two_forms_share_a_folder(make: Make, hub_api: HfApi, load_all: Load) -> None:
    lines = make(repo_id="local/lines", folder="both")
    table = make(folder="both", kind=ParquetScheduler)
    for n in range(4):
        lines.append({"n": n})
        table.append({"n": n + 10})
        lines.flush(SECONDS)
        table.flush(SECONDS)
    lines.stop()
    table.stop()
    for repo, suffix in (("local/lines", "jsonl"), (REPO, "parquet")):
        paths = [path for path in hub_api.list_repo_files(repo, repo_type="dataset") if path.startswith("data/")]
        assert {path.rsplit(".")[-1] for path in paths} == {suffix}
    assert [row["n"] for row in read_rows("local/lines", hub_api)] == [0, 1, 2, 3]
    assert [row["n"] for row in load_all()[1]] == [10, 11, 12, 13]


def test_the_command_line_sends_what_a_process_left(
    make: Make, load_all: Load, local_hub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", local_hub.token)
    scheduler = make(kind=ParquetScheduler, schema={"n": "int8"})
    scheduler.append({"n": 5})
    scheduler.stop(flush=False)
    assert run_command(["flush", str(scheduler.folder_path)]) == 0
    assert load_all() == ({"n": "Value('int8')"}, [{"n": 5}])


def test_rows_of_eight_threads_arrive_once(make: Make, load_all: Load) -> None:
    from concurrent.futures import ThreadPoolExecutor

    scheduler = make(kind=ParquetScheduler, push_after_rows=60)

    def work(start: int) -> None:
        for n in range(start, start + 50):
            scheduler.append({"n": n, "image": Image.new("L", (3, 3), n % 256)})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(0, 400, 50)))
    scheduler.stop(timeout=SECONDS)
    assert sorted(row["n"] for row in load_all()[1]) == list(range(400))


def test_redact_sees_the_row_before_it_is_encoded(make: Make, load_all: Load) -> None:
    scheduler = make(kind=ParquetScheduler, redact=lambda row: {"n": row["n"], "image": row["image"].convert("L")})
    scheduler.extend([{"n": 1, "image": Image.new("RGB", (2, 2)), "name": "secret"}])
    scheduler.stop()
    ((row,),) = load_all()[1:]
    assert Image.open(io.BytesIO(row["image"]["bytes"])).mode == "L"


def test_a_switch_of_the_template_in_one_folder_loses_nothing(make: Make, load_all: Load) -> None:
    first = make(name="lines", path_in_repo="lines")
    first.append({"n": 1})
    first.stop(flush=False)
    with make(kind=ParquetScheduler) as scheduler:
        scheduler.append({"n": 2})
    assert [row["n"] for row in load_all()[1]] == [2]
    again = make(kind=JsonlScheduler, name="lines", path_in_repo="lines")
    with pytest.raises(HubspoolError, match="datasets reads only one format"):
        again.flush(SECONDS)
    assert again.status().pending_rows is not None
    assert [json.loads(path.read_bytes())["n"] for path in again.spool_folder.glob("lines-*.jsonl")] == [1]
    assert [row["n"] for row in load_all()[1]] == [2]


def test_integers_that_a_float_does_not_hold_stay_exact_beside_later_floats(make: Make, load_all: Load) -> None:
    large = 2**60 + 1
    with make(kind=ParquetScheduler) as scheduler:
        scheduler.extend([{"n": n, "id": n} for n in [*range(200), large]])
        scheduler.flush(SECONDS)
        scheduler.append({"n": 0.5, "id": -1})
    _, rows = load_all()
    found = {str(row["id"]): str(row["n"]) for row in rows}
    assert found[str(large)] == str(large)
    assert found["-1"] == "0.5"
    assert len(rows) == 202


def test_a_user_row_that_looks_like_ours_is_refused_or_kept(make: Make, load_all: Load) -> None:
    scheduler = make(kind=ParquetScheduler)
    for row in ({"$hubspool": 1}, {"a": b"x", "b": {"$hubspool": "float", "is": "nan"}}):
        with pytest.raises(ValueError, match=r"\$hubspool"):
            scheduler.append(row)
    scheduler.append({"b": {"$hubspool": "float", "is": "nan"}})  # in a plain row it means nothing
    scheduler.stop()
    assert load_all()[1] == [{"b": {"$hubspool": "float", "is": "nan"}}]


def test_without_pyarrow_the_scheduler_names_the_extra(tmp_path: Path) -> None:
    hide = "import sys; sys.modules['pyarrow'] = None; import hubspool_templates as t; t.ParquetScheduler('u/r', '.')"
    done = subprocess.run([sys.executable, "-c", hide], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stderr.splitlines()[-1].startswith("ImportError")
    assert 'pip install "hubspool[parquet]"' in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_rows_have_a_time_and_an_id_where_they_are_asked_for(make: Make, load_all: Load) -> None:
    before = datetime.now(timezone.utc)
    with make(kind=ParquetScheduler, timestamp=True, id=True) as scheduler:
        scheduler.extend([{"n": 0}, {"n": 1}])
    features, rows = load_all()
    assert features["timestamp"] == "Value('timestamp[us, tz=UTC]')"
    times = [before, *(row["timestamp"] for row in rows), datetime.now(timezone.utc)]
    assert times == sorted(times)
    assert [row["n"] for row in sorted(rows, key=lambda row: row["id"])] == [0, 1]


def test_pictures_sounds_and_values_of_other_classes_load_as_they_were(
    make: Make, load_all: Load, tmp_path: Path
) -> None:
    """What kept the other rows of a file off the Hub, or was stored as the path of a file that dies with the disk."""
    import pandas as pd

    Image.new("RGB", (4, 2), "red").save(tmp_path / "a.jfif", "jpeg")
    with make(kind=ParquetScheduler) as scheduler:
        scheduler.append({"id": 1, "at": pd.NaT, "picture": str(tmp_path / "a.jfif"), "tags": {"a", "b"}})
        scheduler.append({"id": 2, "at": pd.Timestamp("2026-01-02", tz="UTC"), "picture": tmp_path / "a.jfif"})
        scheduler.append({"id": 3, "picture": Image.new("YCbCr", (4, 2)), "tags": (tag for tag in "c")})
    features, rows = load_all()
    assert features["picture"].startswith("Image(")
    assert [row["at"] for row in rows] == [None, datetime(2026, 1, 2, tzinfo=timezone.utc), None]
    assert [row["tags"] for row in rows] == [["a", "b"], None, ["c"]]
    content = (tmp_path / "a.jfif").read_bytes()
    assert [row["picture"]["bytes"] for row in rows[:2]] == [content, content]
    assert Image.open(io.BytesIO(rows[2]["picture"]["bytes"])).mode == "RGB"
