"""`read_rows` gives back what was appended: of every format, config and split, in order, as dicts or as tables."""

from __future__ import annotations

import builtins
import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hubspool import CommitOperationAdd, HfApi
from hubspool.client.target import Target
from hubspool.errors import HFValidationError, HubspoolError, RepositoryNotFoundError, RevisionNotFoundError
from hubspool.local_hub import LocalHub
from hubspool.push.compaction import Compactor
from hubspool.push.joiner import Joiner
from hubspool.push.manifest import MANIFESTS
from hubspool.push.remote import RemoteFile, RemoteRepo
from hubspool_templates import JsonlScheduler, ParquetScheduler, ZipScheduler, read_rows
from hubspool_templates.joiners import JOINERS
from hubspool_templates.reading import formats, on_hub
from hubspool_templates.reading import rows as reading_rows
from tests.support.days import TOMORROW

REPO = "local/votes"
NOON = datetime(2026, 1, 2, 12, tzinfo=timezone.utc)
Make = Callable[..., Any]


def compact(hub: LocalHub, api: HfApi) -> None:
    repo = RemoteRepo(api, Target(hub.endpoint, REPO, "dataset", "main"))
    joiners = {"jsonl": Joiner(), **{suffix: joiner() for suffix, joiner in JOINERS.items()}}
    assert Compactor(repo, "", joiners).run(TOMORROW).commits


def upload(api: HfApi, files: dict[str, bytes], repo: str = REPO) -> None:
    api.create_repo(repo, repo_type="dataset", exist_ok=True)
    adds = [CommitOperationAdd(path, content) for path, content in files.items()]
    api.create_commit(repo, adds, commit_message="files", repo_type="dataset")


@pytest.mark.usefixtures("hub_is_ahead")
def test_json_lines_come_as_they_were_appended_before_and_after_a_join(
    make: Make, hub_api: HfApi, local_hub: LocalHub
) -> None:
    rows = [{"n": n, "text": "é" * n, "list": [n, None], "dict": {"a": n / 2}, "late": n} for n in range(6)]
    scheduler = make()
    for row in rows:
        scheduler.append(row)
        scheduler.flush()
    scheduler.append({**rows[0], "n": 6, "late": "text"})  # the numbers before it are text from now on
    scheduler.append({**rows[0], "n": 7, "late": 7})
    scheduler.stop()
    rows += [{**rows[0], "n": 6, "late": "text"}, {**rows[0], "n": 7, "late": 7}]
    assert list(read_rows(REPO, hub_api)) == rows
    compact(local_hub, hub_api)
    assert list(read_rows(REPO, hub_api)) == rows


@pytest.mark.usefixtures("hub_is_ahead")
def test_parquet_rows_have_their_images_times_bytes_and_json(make: Make, hub_api: HfApi, local_hub: LocalHub) -> None:
    picture = Image.new("RGB", (3, 2), (255, 0, 0))
    rows = [
        {"n": n, "image": picture, "at": NOON, "raw": b"\x00", "mixed": [1, "x"] if n else {"a": 1}, "more": {"f": 1.5}}
        for n in range(4)
    ]
    for folder in ("a", "b"):
        with make(kind=ParquetScheduler, folder=folder) as scheduler:
            scheduler.extend(rows[:2])
            for row in rows[2:]:
                scheduler.flush()
                scheduler.append(row)
    for is_joined in (False, True):
        if is_joined:
            compact(local_hub, hub_api)
        found = list(read_rows(REPO, hub_api))
        assert [row.pop("image").tobytes() for row in found] == [picture.tobytes()] * 8
        assert found == [{name: value for name, value in row.items() if name != "image"} for row in rows * 2]


def test_images_are_bytes_without_pillow(make: Make, hub_api: HfApi, monkeypatch: pytest.MonkeyPatch) -> None:
    with make(kind=ParquetScheduler) as scheduler:
        scheduler.append({"image": Image.new("RGB", (3, 2))})
    load = builtins.__import__

    def without_pillow(name: str, *rest: Any) -> Any:
        if name == "PIL":
            raise ImportError(name)
        return load(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_pillow)
    (row,) = read_rows(REPO, hub_api)
    assert row["image"].startswith(b"\x89PNG")


@pytest.mark.usefixtures("hub_is_ahead")
def test_members_of_archives_come_with_their_columns(make: Make, hub_api: HfApi, local_hub: LocalHub) -> None:
    with make(kind=ZipScheduler) as scheduler:
        for n in range(3):
            scheduler.add(Image.new("RGB", (4, 4), (n, 0, 0)), f"{n}.png", n=n, label="a")
            scheduler.flush()
    for joined in (False, True):
        if joined:
            compact(local_hub, hub_api)
        found = list(read_rows(REPO, hub_api))
        assert [row["image"].getpixel((0, 0))[0] for row in found] == [0, 1, 2]
        assert [(row["file_name"], row["n"], row["label"]) for row in found] == [(f"{n}.png", n, "a") for n in range(3)]


def test_the_order_is_that_of_append_in_each_writer_and_by_day_between_them(make: Make, hub_api: HfApi) -> None:
    names = ["train-20260102-aaaaaaaaaaaa-00000-p0000", "train-20260101-bbbbbbbbbbbb-00000-p0000"]
    names += ["train-20260102-aaaaaaaaaaaa-00001-p0000", "train-20260102-aaaaaaaaaaaa-00000-p0001"]
    files = {f"data/2026-01/{name}.jsonl": b'{"n":%d}\n' % n for n, name in enumerate(names)}
    upload(hub_api, {**files, "data/train-foreign.jsonl": b'{"n":9}\n'})
    assert [row["n"] for row in read_rows(REPO, hub_api)] == [9, 1, 0, 3, 2]


@pytest.mark.usefixtures("hub_is_ahead")
def test_an_app_that_was_restarted_is_read_in_the_order_of_time(
    make: Make, hub_api: HfApi, local_hub: LocalHub
) -> None:
    for n in range(6):
        with make(folder=f"container-{n % 2 and n}") as app:  # a new container has an empty disk
            app.append({"id": "a", "n": n})
            app.append({"id": n, "n": n})
    for is_joined in (False, True):
        if is_joined:
            compact(local_hub, hub_api)
        assert [row["n"] for row in read_rows(REPO, hub_api)] == [n for n in range(6) for _ in "ab"]
        assert [row["n"] for row in read_rows(REPO, hub_api).last(3)] == [4, 5, 5]
        assert {row["id"]: row["n"] for row in read_rows(REPO, hub_api, latest="id")}["a"] == 5


def test_configs_and_splits_are_chosen_and_unknown_ones_are_errors(make: Make, hub_api: HfApi) -> None:
    with make() as train, make(name="test-2") as test, make(config="errors", path_in_repo="errors") as errors:
        train.append({"n": 1})
        test.append({"n": 2})
        train.flush()
        errors.append({"code": 500})
    assert sorted(row["n"] for row in read_rows(REPO, hub_api)) == [1, 2]
    assert list(read_rows(REPO, hub_api, split="test_2")) == [{"n": 2}]
    assert list(read_rows(REPO, hub_api, config="errors")) == [{"code": 500}]
    with pytest.raises(HFValidationError, match=r"no split 'dev'.*train"):
        read_rows(REPO, hub_api, split="dev")
    with pytest.raises(HFValidationError, match=r"no config 'other'.*errors"):
        read_rows(REPO, hub_api, config="other")


@pytest.mark.usefixtures("hub_is_ahead")
def test_in_a_repository_of_another_type_each_scheduler_has_a_split(
    hub_api: HfApi, local_hub: LocalHub, tmp_path: Path
) -> None:
    for number, name in enumerate(["likes", "train", "likes"]):
        with JsonlScheduler(REPO, tmp_path / name, repo_type="model", hf_api=hub_api, name=name) as scheduler:
            scheduler.append({"n": number})
    repo = RemoteRepo(hub_api, Target(local_hub.endpoint, REPO, "model", "main"))
    for is_joined in (False, True):
        if is_joined:
            assert Compactor(repo, "", {"jsonl": Joiner()}).run(TOMORROW).commits
        assert sorted(row["n"] for row in read_rows(REPO, hub_api, repo_type="model")) == [0, 1, 2]
        likes = read_rows(REPO, hub_api, repo_type="model", split="likes")
        assert sorted(row["n"] for row in likes) == [0, 2]


def test_what_is_missing_or_of_another_format_is_an_error_at_the_call(hub_api: HfApi) -> None:
    with pytest.raises(RepositoryNotFoundError):
        read_rows("local/none", hub_api)
    hub_api.create_repo(REPO, repo_type="dataset")
    assert list(read_rows(REPO, hub_api)) == []
    upload(hub_api, {"c.csv": b"a\n1\n"})
    with pytest.raises(ValueError, match=r"c.csv is a file of CSV; read_rows reads JSON Lines, Parquet and zip"):
        read_rows(REPO, hub_api)
    upload(hub_api, {"a.json": b'\n  [{"n": 1},\n {"n": 2}]', "b.json": b'{"n": 3}\n\n{"n": 4}'}, "local/json")
    assert [row["n"] for row in read_rows("local/json", hub_api)] == [1, 2, 3, 4]


def test_a_damaged_file_is_named(hub_api: HfApi) -> None:
    upload(hub_api, {"a.jsonl": b'{"n":1}\n{"n":\n'})
    with pytest.raises(HFValidationError, match=r"a.jsonl of local/votes cannot be read"):
        list(read_rows(REPO, hub_api))


def zipped(members: dict[str, bytes], is_encrypted: bool = False) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    content = bytearray(file.getvalue())
    if is_encrypted:
        content[6] |= 1
        content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def damaged_parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"a": [1, 2, 3]}), file)
    content = bytearray(file.getvalue())
    content[-60:-20] = b"\xff" * 40
    return bytes(content)


def damaged_member() -> bytes:
    content = bytearray(zipped({"1.txt": b"x" * 5000}))
    content[36:40] = b"\xff" * 4
    return bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.parquet", damaged_parquet(), "thrift"),
        ("a.zip", damaged_member(), "decompressing"),
        (
            "a.zip",
            zipped({"1.txt": b"", "metadata.jsonl": b'{"name":"1.txt"}'}),
            "line 1 of metadata.jsonl has no file_name",
        ),
        ("a.zip", zipped({"metadata.jsonl": b'{"file_name":"1.txt"}'}), "There is no item named '1.txt'"),
        ("a.zip", zipped({"1.txt": b"", "metadata.jsonl": b"[1]"}), "in metadata.jsonl, line 1 is no object"),
        ("a.zip", zipped({"1.txt": b"x"}, is_encrypted=True), "encrypted"),
        ("a.jsonl", b'{"a":1}\n1\n', "the line at byte 8 is no object"),
        ("a.jsonl", b'"x"\n', "the line at byte 0 is no object"),
        ("a.json", b'[{"a":1},[1]]', "item 2 is no object"),
        ("a.json", b'[{"a":1}', "unexpected end"),
    ],
)
def test_a_file_that_is_damaged_is_named_and_says_why(name: str, content: bytes, reason: str, hub_api: HfApi) -> None:
    upload(hub_api, {name: content})
    with pytest.raises(HFValidationError, match=rf"{name} of local/votes cannot be read: .*{reason}.*Repair or remove"):
        list(read_rows(REPO, hub_api))


def test_a_damaged_manifest_is_named(hub_api: HfApi) -> None:
    path = f"{MANIFESTS}/2026-11/20261129T000000-0123456789ab.jsonl"
    upload(hub_api, {"a.jsonl": b'{"n":1}\n', path: b'{"segment'})
    with pytest.raises(HubspoolError, match=rf"{path} on the Hub is damaged: .*Put back the version"):
        read_rows(REPO, hub_api)


@pytest.mark.parametrize("is_removed", [False, True])
def test_a_file_that_is_changed_by_a_squash_during_a_read_is_not_taken_for_another(
    is_removed: bool, hub_api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(hub_api, {"a.jsonl": b'{"n":1}\n', "b.jsonl": b'{"n":2}\n'})
    rows = read_rows(REPO, hub_api)
    download = HfApi.hf_hub_download
    missed: list[str] = []

    def not_at_a_commit(self: HfApi, *args: Any, revision: str, **options: Any) -> str:
        if revision != "main":
            missed.append(revision)
            raise RevisionNotFoundError("squashed")
        return download(self, *args, revision=revision, **options)

    monkeypatch.setattr(HfApi, "hf_hub_download", not_at_a_commit)
    if is_removed:
        hub_api.delete_file("a.jsonl", REPO, repo_type="dataset")
    else:
        upload(hub_api, {"a.jsonl": b'{"n":5}\n{"n":6}\n'})
    with pytest.raises(HubspoolError, match=r"a.jsonl of local/votes was changed while it was read.*the same cursor"):
        list(rows)
    assert missed


def test_a_squash_during_a_read_takes_nothing_from_it(
    make: Make, hub_api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Hub may forget the old commits at once; ours keeps them, so that it is played here."""
    with make() as scheduler:
        scheduler.append({"n": 0})
        scheduler.flush()
        gone: list[str] = []
        target_of = RemoteRepo.list_files

        def list_files(self: RemoteRepo, *folder: Any, **options: Any) -> Any:
            if not gone:
                gone.append(self.target.revision)
                scheduler.append({"n": 1})
                scheduler.flush()
                raise RevisionNotFoundError("squashed")
            return target_of(self, *folder, **options)

        monkeypatch.setattr(RemoteRepo, "list_files", list_files)
        rows = read_rows(REPO, hub_api)
        download = HfApi.hf_hub_download

        def not_at_a_commit(self: HfApi, *args: Any, revision: str, **options: Any) -> str:
            if revision != "main":
                gone.append(revision)
                raise RevisionNotFoundError("squashed")
            return download(self, *args, revision=revision, **options)

        monkeypatch.setattr(HfApi, "hf_hub_download", not_at_a_commit)
        scheduler.append({"n": 2})
        scheduler.flush()
        assert [row["n"] for row in rows] == [0, 1]  # the part has three by now
        assert len(gone) == 2


def test_a_column_that_the_card_calls_a_timestamp_holds_datetimes(hub_api: HfApi) -> None:
    card = b"---\nconfigs:\n- config_name: default\n  data_files: '*.jsonl'\ndataset_info:\n  features:\n"
    card += b"  - name: at\n    dtype: timestamp[us, tz=UTC]\n---\n"
    line = orjson.dumps({"at": NOON, "other": NOON.isoformat()}) + b"\n"
    upload(hub_api, {"README.md": card, "a.jsonl": line})
    assert list(read_rows(REPO, hub_api)) == [{"at": NOON, "other": NOON.isoformat()}]


def test_latest_keeps_the_last_row_of_each_key(make: Make, hub_api: HfApi) -> None:
    with make() as votes:
        for row in ({"id": 1, "v": "a"}, {"id": 2, "v": "b"}, {"v": "x"}, {"id": 1, "v": "c"}, {"id": [1], "v": "d"}):
            votes.append(row)
            votes.flush()
        votes.append({"id": [1], "v": "e"})
        votes.append({"v": "y"})
    assert [row["v"] for row in read_rows(REPO, hub_api, latest="id")] == ["b", "x", "c", "e", "y"]


def test_latest_takes_equal_keys_for_one(hub_api: HfApi) -> None:
    keys = [1, {"a": 1, "b": [2]}, True, "1", [1], 1.0, {"b": [2.0], "a": 1}, False, 0]
    upload(hub_api, {"a.jsonl": b"".join(orjson.dumps({"id": key, "n": n}) + b"\n" for n, key in enumerate(keys))})
    assert [row["n"] for row in read_rows(REPO, hub_api, latest="id")] == [2, 3, 4, 5, 6, 7, 8]


def test_the_last_rows_are_read_from_the_last_files_alone(make: Make, hub_api: HfApi) -> None:
    for n in range(4):
        with make(folder=f"copy-{n}") as copy:
            copy.extend({"n": 10 * n + i} for i in range(3))
    everything = [row["n"] for row in read_rows(REPO, hub_api)]
    before = hub_api.session.counts["requests"]
    cold = HfApi(endpoint=hub_api.endpoint, token=hub_api.token)
    assert [row["n"] for row in read_rows(REPO, cold).last(4)] == everything[-4:]
    assert before == hub_api.session.counts["requests"]


def test_files_that_are_in_the_cache_are_not_asked_for_again(make: Make, hub_api: HfApi) -> None:
    scheduler = make()
    for n in range(3):
        scheduler.append({"n": n})
        scheduler.flush()
    scheduler.stop()
    assert len(list(read_rows(REPO, hub_api))) == 3
    api = HfApi(endpoint=hub_api.endpoint, token=hub_api.token)
    assert len(list(read_rows(REPO, api))) == 3
    assert api.session.counts["requests"] == 2  # the commits and the list of files


def test_files_are_fetched_two_ahead_and_a_bar_shows_how_far_it_is(
    hub_api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"data/train-{n}.jsonl": b'{"n":%d}\n' % n for n in range(6)}
    upload(hub_api, files)
    fetched: list[str] = []
    shown: list[int] = []
    fetch = on_hub.cached_file

    def cached_file(api: HfApi, target: Target, file: RemoteFile, **options: Any) -> Path | None:
        found = fetch(api, target, file, **options)
        fetched.append(file.path)
        return found

    class Bar(on_hub.Progress):
        def update(self, done: int) -> None:
            shown.append(done)

    monkeypatch.setattr(on_hub, "cached_file", cached_file)
    monkeypatch.setattr(on_hub, "Progress", Bar)
    rows = read_rows(REPO, hub_api)
    assert fetched == []
    assert next(rows) == {"n": 0}
    assert {*fetched} <= {*[*files][:3]}
    assert [row["n"] for row in rows] == [1, 2, 3, 4, 5]
    assert sorted(fetched) == sorted(files)
    size = sum(map(len, files.values()))
    assert shown[-1] == size
    assert shown == sorted(shown)


def test_a_half_read_dataset_has_no_cursor_and_leaves_no_thread(make: Make, hub_api: HfApi) -> None:
    with make() as scheduler:
        scheduler.extend({"n": n} for n in range(3))
    rows = read_rows(REPO, hub_api)
    assert next(rows) == {"n": 0}
    with pytest.raises(HFValidationError, match="Read all rows first"):
        rows.cursor  # noqa: B018
    assert [row["n"] for row in rows] == [1, 2]
    assert rows.cursor


def test_tables_have_the_columns_of_the_card(make: Make, hub_api: HfApi) -> None:
    picture = Image.new("RGB", (3, 2), (255, 0, 0))
    with make(kind=ParquetScheduler) as scheduler:
        scheduler.append({"n": 1, "image": picture, "at": NOON})
        scheduler.append({"n": 2})
        scheduler.flush()
    arrow = read_rows(REPO, hub_api, pending=scheduler).to_arrow()
    assert arrow.column_names == ["n", "image", "at"]
    assert b'"Image"' in arrow.schema.metadata[b"huggingface"]
    stored = arrow.to_pylist()[0]
    assert Image.open(io.BytesIO(stored["image"]["bytes"])).tobytes() == picture.tobytes()
    assert stored["at"] == NOON
    assert read_rows(REPO, hub_api).to_pandas()["n"].tolist() == [1, 2]
    assert read_rows(REPO, hub_api).to_polars()["n"].to_list() == [1, 2]
    assert read_rows(REPO, hub_api).to_polars().columns == ["n", "image", "at"]


def test_a_table_has_columns_that_widen_late(make: Make, hub_api: HfApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_rows, "DEFAULTS", replace(reading_rows.DEFAULTS, batch_rows=3))
    values = [1, 2, 3, 4, {"a": 5}, None, "six", 7]
    upload(hub_api, {"train.jsonl": b"".join(orjson.dumps({"a": each}) + b"\n" for each in values)})
    table = read_rows(REPO, hub_api).to_arrow()
    assert table["a"].to_pylist() == ["1", "2", "3", "4", '{"a":5}', None, '"six"', "7"]
    assert table.schema.field("a").type == pa.string()
    upload(hub_api, {"train.jsonl": b'{"n":1}\n' * 4 + b'{"n":1.5,"b":"x"}\n'})
    table = read_rows(REPO, hub_api).to_arrow()
    assert table.to_pydict() == {"n": [1.0, 1.0, 1.0, 1.0, 1.5], "b": [None] * 4 + ["x"]}


def test_an_empty_table_has_the_columns_too(make: Make, hub_api: HfApi) -> None:
    with make() as scheduler:
        scheduler.append({"n": 1, "text": "a"})
    rows = read_rows(REPO, hub_api)
    assert [*rows] == [{"n": 1, "text": "a"}]
    table = read_rows(REPO, hub_api, since=rows.cursor).to_arrow()
    assert (table.num_rows, table.column_names) == (0, ["n", "text"])
    assert str(table.schema.field("n").type) == "int64"


@pytest.mark.parametrize(
    ("method", "library"), [("to_arrow", "pyarrow"), ("to_pandas", "pandas"), ("to_polars", "polars")]
)
def test_a_missing_library_is_named(
    method: str, library: str, make: Make, hub_api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make() as scheduler:
        scheduler.append({"n": 1})
    rows = read_rows(REPO, hub_api)
    monkeypatch.setattr("hubspool_templates.reading.rows.find_spec", lambda name: None if name == library else name)
    with pytest.raises(ImportError, match=rf"{method}\(\) needs {library}: pip install"):
        getattr(rows, method)()


def test_a_file_in_lines_is_read_from_any_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"n":1}\n{"n":2}\n{"n":3}\n')
    assert [row["n"] for row in formats.lines_of(path, 8, 16, {})] == [2]
    assert [row["n"] for row in formats.lines_of(path, 8, 24, {})] == [2, 3]


def test_wrong_names_are_errors_and_not_all_rows(make: Make, hub_api: HfApi) -> None:
    with make() as scheduler:
        scheduler.extend([{"id": 1, "n": 1}, {"id": 1, "n": 2}])
    with pytest.raises(HFValidationError, match=r"No row has the column ID.*Columns: id, n"):
        list(read_rows(REPO, hub_api, latest="ID"))
    options: dict[str, Any] = {"latest": ["id"], "split": ["train"], "config": 5, "pending": True}
    for name, wrong in options.items():
        with pytest.raises(HFValidationError, match=rf"{name} is .*Give one"):
            read_rows(REPO, hub_api, **{name: wrong})
    for count in (-1, 0, "3"):
        with pytest.raises(HFValidationError, match=f"number of rows is {count!r}"):
            read_rows(REPO, hub_api).last(count)


def test_a_table_never_lacks_rows_that_were_read_before(make: Make, hub_api: HfApi) -> None:
    with make() as scheduler:
        scheduler.extend([{"n": 1}, {"n": 2}])
    rows = read_rows(REPO, hub_api)
    assert next(rows) == {"n": 1}
    for table in (rows.to_arrow, rows.to_pandas):
        with pytest.raises(HFValidationError, match=r"read already.*Call read_rows again"):
            table()
    assert list(rows) == [{"n": 2}]
