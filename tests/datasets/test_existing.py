"""What loaded before a scheduler's first commit loads afterwards: the table of docs/existing_datasets.md."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hubspool import HfApi, HubspoolError
from hubspool.extending import Target, read_text
from hubspool_templates import JsonlScheduler, ParquetScheduler, RowScheduler, ZipScheduler
from hubspool_templates.defaults import TemplateDefaults
from hubspool_templates.existing import splits_of

REPO = "local/votes"
SECONDS = 60
DOC = Path(__file__).parents[2] / "docs" / "existing_datasets.md"
TABLE = [
    [cell.strip().strip("`") if n == 1 else cell.strip() for n, cell in enumerate(line.strip("|\n ").split("|"))]
    for line in DOC.read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| in the")
]
KINDS = {kind.__name__: kind for kind in (JsonlScheduler, ParquetScheduler, ZipScheduler)}
NEW: dict[str, dict[str, Any]] = {
    "any": {"q": "new"},
    "the same": {"q": "new"},
    "some more": {"q": "new", "more": 1},
    "others": {"n": 7},
    "of other types": {"q": 7},
}
LOAD = """
import json, sys, datasets
repo, *configs = sys.argv[1:]
found = {}
for config in configs:
    try:
        loaded = datasets.load_dataset(repo, config or None)
        for split in loaded:
            if "image" in loaded[split].features:
                loaded[split] = loaded[split].remove_columns("image")
        found[config] = {name: [dict(row) for row in split] for name, split in loaded.items()}
    except Exception as error:
        found[config] = f"{type(error).__name__}: {error}"
print(json.dumps(found))
"""


def lines(*values: str) -> bytes:
    return b"".join(json.dumps({"q": value}).encode() + b"\n" for value in values)


def image() -> bytes:
    from PIL import Image

    content = io.BytesIO()
    Image.new("RGB", (4, 4)).save(content, "png")
    return content.getvalue()


def parquet() -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = io.BytesIO()
    pq.write_table(pa.table({"q": ["old"]}), content)
    return content.getvalue()


def card(**config: Any) -> bytes:
    return f"---\nlicense: mit\n{yaml.safe_dump({'configs': [config]})}---\n# Mine\n".encode()


FILES: dict[str, dict[str, bytes]] = {
    "nothing": {},
    "rows of huggingface_hub's `CommitScheduler`": {
        "data/train-0a1b2c3d-1111-4222-8333-444455556666.jsonl": lines("old"),
        "data/train-9a1b2c3d-1111-4222-8333-444455556666.jsonl": lines("older"),
    },
    "JSON Lines in two splits": {"train.jsonl": lines("old"), "deep/test.jsonl": lines("older"), "notes.md": b"#"},
    "JSON Lines that a card names in short": {
        "rows.jsonl": lines("old"),
        "unnamed.jsonl": b'{"x": 1}\n',
        "README.md": card(config_name="default", data_files="rows.jsonl"),
    },
    "JSON Lines in a folder of the card": {
        "data/a.jsonl": lines("old"),
        "other/b.jsonl": b'{"x": 1}\n',
        "README.md": card(config_name="default", data_dir="data"),
    },
    "JSON Lines in a config with a name": {
        "rows.jsonl": lines("old"),
        "README.md": card(config_name="mine", data_files=[{"split": "train", "path": "*.jsonl"}]),
    },
    "a Parquet file without a card": {"votes.parquet": parquet()},
    "a CSV file": {"votes.csv": b"q\nold\n"},
    "images in a folder": {"a/1.png": image(), "a/2.png": image()},
}
PUSH_TO_HUB = "import datasets; datasets.Dataset.from_list([{'q': 'old'}]).push_to_hub('local/votes'); print(0)"


@pytest.fixture
def loaded(reader: Callable[..., str]) -> Callable[..., Any]:
    """Config → what loads, by split; the config "" is that of no name."""
    return lambda *configs: json.loads(reader(LOAD, REPO, *configs))


def append(scheduler: Any, row: dict[str, Any]) -> None:
    if isinstance(scheduler, ZipScheduler):
        scheduler.add(image(), f"{row.get('q', 'n')}.png", **row)
    else:
        scheduler.append(row)


@pytest.fixture
def prepare(hub_api: HfApi, make: Callable[..., Any], reader: Callable[..., str]) -> Callable[[str], None]:
    """Fill the repository with what was there before."""

    def fill(before: str) -> None:
        hub_api.create_repo(REPO, repo_type="dataset", private=True)
        if before == "rows of `Dataset.push_to_hub`":
            reader(PUSH_TO_HUB)
        elif before not in FILES:
            scheduler = make(
                KINDS[re.findall("`(.*)`", before)[0]], folder="before", name="test" if "another" in before else "train"
            )
            append(scheduler, {"q": "old"})
            scheduler.stop(timeout=SECONDS)
        for path, content in FILES.get(before, {}).items():
            hub_api.upload_file(path_or_fileobj=content, path_in_repo=path, repo_id=REPO, repo_type="dataset")

    return fill


@pytest.mark.parametrize(("before", "kind", "columns", "result"), TABLE, ids=lambda cell: cell.replace(" ", "_"))
def test_what_loaded_before_loads_afterwards(
    make: Callable[..., Any],
    prepare: Callable[[str], None],
    loaded: Callable[..., Any],
    hub_api: HfApi,
    before: str,
    kind: str,
    columns: str,
    result: str,
) -> None:
    prepare(before)
    old = {} if before == "nothing" else loaded("")[""]
    assert isinstance(old, dict), old
    new = NEW[columns]
    scheduler: RowScheduler = make(KINDS[kind])
    head = hub_api.repo_info(REPO, repo_type="dataset").sha
    append(scheduler, new)
    if result == "refused":
        with pytest.raises(HubspoolError, match="datasets reads only one format"):
            scheduler.flush(timeout=SECONDS)
        error = scheduler.status().last_error
        assert error is not None
        assert "datasets reads only one format" in str(error)
        assert scheduler.status().pending_rows == 1
        assert hub_api.repo_info(REPO, repo_type="dataset").sha == head
        assert loaded("")[""] == old
        return
    scheduler.flush(timeout=SECONDS)
    append(scheduler, new)
    scheduler.stop(timeout=SECONDS)
    again = make(KINDS[kind], folder="again")  # another machine
    append(again, new)
    again.stop(timeout=SECONDS)
    rows = [new] * 3
    if result == "a config of its own":
        assert loaded("", "train") == {"": old, "train": {"train": rows}}
        return
    names = dict.fromkeys([*(key for split in old.values() for row in split for key in row), *new])
    whole = [{**dict.fromkeys(names), **row} for row in [*old.get("train", []), *rows]]
    after = loaded("")[""]
    assert sorted(map(json.dumps, after.pop("train"))) == sorted(map(json.dumps, whole))
    assert after == {split: rows for split, rows in old.items() if split != "train"}


PATTERNS = """
import json, sys, pathlib
from datasets.data_files import DataFilesDict, get_data_patterns
found = []
for number, paths in enumerate(json.loads(sys.argv[1])):
    base = pathlib.Path(f"files-{number}").absolute()
    for path in paths:
        (base / path).parent.mkdir(parents=True, exist_ok=True)
        (base / path).write_text("{}")
    files = DataFilesDict.from_patterns(get_data_patterns(str(base)), str(base), allowed_extensions=[".jsonl"])
    found.append({str(split): sorted(path[len(str(base)) + 1:] for path in paths) for split, paths in files.items()})
print(json.dumps(found))
"""
NAMES = [
    [
        "data/train-00000-of-00002.jsonl",
        "data/train-00001-of-00002-x.jsonl",
        "data/my_set-00000-of-00001.jsonl",
        "b.jsonl",
    ],
    ["data/train-0a1b.jsonl", "data/more.jsonl"],
    ["train/a.jsonl", "test/b.jsonl", "c/train.jsonl"],
    ["x/my train 1/a.jsonl", "val/b.jsonl", "evaluation/deep/c.jsonl"],
    ["a-train.jsonl", "training.jsonl", "dev_2.jsonl", "trained.jsonl", "contest.jsonl"],
    ["train-test.jsonl", "x/eval.jsonl"],
    ["rows.jsonl", "deep/er/more.jsonl", ".hidden/a.jsonl", "__pycache__/b.jsonl", "deep/.c.jsonl"],
    ["latest.jsonl", "strain.jsonl"],
]


def test_splits_are_those_that_datasets_finds(reader: Callable[..., str]) -> None:
    assert [splits_of(paths) for paths in NAMES] == json.loads(reader(PATTERNS, json.dumps(NAMES)))


def test_rows_of_two_configs_are_loaded_by_their_names(
    make: Callable[..., Any], loaded: Callable[..., Any], hub_api: HfApi
) -> None:
    votes, errors = make(), make(config="errors")
    for scheduler, row in ((errors, {"code": 500}), (votes, {"q": "old"}), (errors, {"code": 404})):
        scheduler.append(row)
        scheduler.flush(timeout=SECONDS)
    assert votes.spool_folder != errors.spool_folder
    assert loaded("", "errors") == {
        "": {"train": [{"q": "old"}]},
        "errors": {"train": [{"code": 500}, {"code": 404}]},
    }
    paths = hub_api.list_repo_files(REPO, repo_type="dataset")
    folders = {path.rpartition("/")[0].rpartition("/")[0] for path in paths if path.endswith(".jsonl")}
    assert folders == {"data", "data/errors"}
    with pytest.raises(ValueError, match="config is 'a/b'"):
        make(config="a/b")


def test_rows_stay_in_the_config_of_the_first_ones(make: Callable[..., Any], loaded: Callable[..., Any]) -> None:
    """A restart whose first row has another type must not begin a config of its own."""
    for row in ({"q": 1}, {"q": "text", "r": 1}, {"s": True}):
        scheduler = make(folder=f"folder-{row}")
        scheduler.append(row)
        scheduler.stop(timeout=SECONDS)
    rows = loaded("")[""]["train"]
    assert sorted(row["q"] or "" for row in rows) == ["", "1", "text"]


@pytest.mark.parametrize("before", ["JSON Lines in two splits", "JSON Lines in a config with a name"])
def test_a_config_that_is_asked_for_may_have_other_types_than_what_is_there(
    before: str, prepare: Callable[[str], None], make: Callable[..., Any], loaded: Callable[..., Any]
) -> None:
    prepare(before)
    old = loaded("")[""]
    scheduler = make(JsonlScheduler, config="errors")
    scheduler.append({"q": 7})
    scheduler.stop(timeout=SECONDS)
    assert loaded("errors")["errors"] == {"train": [{"q": 7}]}
    configs = loaded("default", "mine")
    assert old in configs.values()


def test_flush_makes_a_scheduler_of_the_same_config_again(make: Callable[..., Any]) -> None:
    recipe = make(config="errors").recipe()
    assert (recipe["config"], recipe["path_in_repo"]) == ("errors", "data")


def test_push_to_hub_goes_to_another_config_of_ours_only(
    make: Callable[..., Any], reader: Callable[..., str], loaded: Callable[..., Any]
) -> None:
    """`datasets` expects counts in the card wherever it has columns, and compares them with what it loads."""
    scheduler = make(ParquetScheduler)
    scheduler.append({"q": "old"})
    scheduler.flush(timeout=SECONDS)
    script = """
import datasets, sys
try:
    datasets.load_dataset("local/votes", split="train").push_to_hub("local/votes", **eval(sys.argv[1]))
    print("pushed")
except TypeError as error:
    print("TypeError", error)
"""
    assert reader(script, "dict(split='clean')").startswith("TypeError")
    assert reader(script, "dict(config_name='clean')") == "pushed"
    scheduler.append({"q": "new"})
    scheduler.flush(timeout=SECONDS)
    assert loaded("default", "clean") == {
        "default": {"train": [{"q": "old"}, {"q": "new"}]},
        "clean": {"train": [{"q": "old"}]},
    }


def test_counts_that_somebody_wrote_later_go_with_the_next_rows(
    make: Callable[..., Any], loaded: Callable[..., Any], hub_api: HfApi
) -> None:
    scheduler = make()
    scheduler.append({"q": "old"})
    scheduler.flush(timeout=SECONDS)
    text = read_text(hub_api, Target.of(hub_api.endpoint, REPO, "dataset"), "README.md") or ""
    assert "dataset_info:\n" in text
    counts = "dataset_info:\n  splits:\n  - name: train\n    num_bytes: 3\n    num_examples: 1\n  dataset_size: 3\n"
    text = text.replace("dataset_info:\n", counts)
    hub_api.upload_file(path_or_fileobj=text.encode(), path_in_repo="README.md", repo_id=REPO, repo_type="dataset")
    scheduler.append({"q": "new"})
    scheduler.flush(timeout=SECONDS)
    assert loaded("")[""] == {"train": [{"q": "old"}, {"q": "new"}]}


def test_two_new_schedulers_of_two_forms_do_not_both_commit(
    make: Callable[..., Any], loaded: Callable[..., Any]
) -> None:
    first, second = make(name="train"), make(ParquetScheduler, name="test")
    first.append({"q": "old"})
    second.append({"q": "new"})
    first.flush(timeout=SECONDS)
    with pytest.raises(HubspoolError, match="use JsonlScheduler"):
        second.flush(timeout=SECONDS)
    assert loaded("")[""] == {"train": [{"q": "old"}]}


def test_files_too_large_to_learn_from_stay_alone(
    make: Callable[..., Any],
    prepare: Callable[[str], None],
    loaded: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepare("rows of huggingface_hub's `CommitScheduler`")
    monkeypatch.setattr("hubspool_templates.card.DEFAULTS", TemplateDefaults(learned_bytes=20))
    scheduler = make()
    scheduler.append({"q": "new"})
    scheduler.flush(timeout=SECONDS)
    found = loaded("", "train")
    assert [row["q"] for row in found[""]["train"]] == ["old", "older"]
    assert found["train"] == {"train": [{"q": "new"}]}
