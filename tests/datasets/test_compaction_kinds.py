"""What may be joined, and into which file: a dataset loads the same rows afterwards."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hubspool import CommitOperationAdd, CommitOperationDelete, HfApi
from hubspool.cli import main as hubspool
from hubspool.cli.compact import joiners
from hubspool.cli.verify import check
from hubspool.client.target import Target
from hubspool.local_hub import LocalHub
from hubspool.push.compaction import Compactor, Joiner
from hubspool.push.defaults import DEFAULTS
from hubspool.push.manifest import MANIFESTS, parse
from hubspool.push.remote import RemoteRepo
from hubspool.push.removal import Removal
from hubspool.push.remover import Remover
from hubspool.push.verify import Severity
from hubspool_templates import JsonlScheduler, ParquetScheduler, ZipScheduler
from hubspool_templates.card import MONTH_GLOB
from hubspool_templates.defaults import DEFAULTS as TEMPLATES
from hubspool_templates.joiners import JOINERS
from hubspool_templates.rows import RowScheduler
from tests.datasets.test_compaction import REPO, data_files, numbers
from tests.support.days import TOMORROW

pytestmark = pytest.mark.usefixtures("hub_is_ahead")

Make = Callable[..., RowScheduler]
JOINERS_OF = {"jsonl": Joiner(), **{suffix: kind() for suffix, kind in JOINERS.items()}}
KINDS = {"jsonl": JsonlScheduler, "parquet": ParquetScheduler, "zip": ZipScheduler}


@pytest.fixture
def compactor(hub_api: HfApi, local_hub: LocalHub) -> Callable[..., Any]:
    """Return a compactor that knows nothing yet, as in another process."""

    def of(repo_id: str = REPO, kind: type[Compactor] = Compactor, **options: Any) -> Compactor:
        repo = RemoteRepo(hub_api, Target(local_hub.endpoint, repo_id, "dataset", "main"))
        return kind(repo, "data", JOINERS_OF, **options)

    return of


#: Columns that two replicas fill with different kinds of values, and columns of which one file may hold both.
APART = [
    {"number": 1, "flag": True, "list": [1], "dict": {"k": 1}, "words": "a"},
    {"number": "a", "flag": 2, "list": ["a"], "dict": {"k": "a"}, "words": ["a"]},
]
LARGE = [{"number": 2**53 + 1}, {"number": 0.5}]
TOGETHER: list[dict[str, Any]] = [
    {"number": 1, "list": [], "dict": {"k": 1}, "text": None},
    {"number": 0.5, "list": ["a"], "dict": {"j": "a"}, "text": "a"},
]


def test_rows_load_as_before_where_replicas_gave_a_column_different_kinds_of_values(
    make: Make, load_all: Callable[..., Any], compactor: Callable[..., Compactor]
) -> None:
    repos = {"local/apart": APART, "local/large": LARGE, "local/together": TOGETHER}
    for repo_id, rows in repos.items():
        for copy, row in enumerate(rows):
            for again in range(2):
                scheduler = make(repo_id=repo_id, folder=f"{repo_id[6:]}-{copy}-{again}")
                scheduler.append({"n": 2 * copy + again, **row})
                scheduler.stop()

    def loaded() -> list[Any]:
        return [sorted(each["train"], key=lambda row: row["n"]) for each in load_all(*repos)]

    before = loaded()
    files = [len(compactor(repo_id).run(TOMORROW).paths) for repo_id in repos]
    assert loaded() == before
    assert files == [2, 2, 1]


LOAD = """
import datasets, json, sys
loaded = [datasets.load_dataset(repo, split="train").remove_columns("image") for repo in sys.argv[1:]]
print(json.dumps([sorted(map(list, map(dict.items, split))) for split in loaded]))
"""


def test_archives_load_as_before_where_replicas_gave_a_column_different_kinds_of_values(
    make: Make, reader: Callable[..., str], compactor: Callable[..., Compactor]
) -> None:
    repos: dict[str, list[dict[str, Any]]] = {"local/apart": [{"x": 1}, {"x": "a"}], "local/together": [{}, {"x": 1}]}
    for repo_id, rows in repos.items():
        for copy, row in enumerate(rows):
            for again in range(2):
                scheduler = make(ZipScheduler, repo_id=repo_id, folder=f"{repo_id[6:]}-{copy}-{again}")
                scheduler.add(Image.new("RGB", (4, 4)), "picture.png", n=2 * copy + again, **row)  # type: ignore[attr-defined]
                scheduler.stop()
    before = reader(LOAD, *repos)
    files = [len(compactor(repo_id).run(TOMORROW).paths) for repo_id in repos]
    assert reader(LOAD, *repos) == before
    assert files == [2, 1]


def make_flat(api: HfApi) -> None:
    """Put the files of a repository where version 0.1 put them, with its card: no folders of months."""
    repo = RemoteRepo(api, Target.of(api.endpoint, REPO, "dataset"))
    card = repo.text("README.md")
    assert card is not None
    assert MONTH_GLOB in card
    adds = [CommitOperationAdd("README.md", card.replace(MONTH_GLOB, "").encode())]
    adds += [CommitOperationAdd(f"data/{path.rpartition('/')[2]}", repo.content(path)) for path in data_files(api)]
    deletions = [CommitOperationDelete(path) for path in data_files(api)]
    api.create_commit(REPO, [*adds, *deletions], commit_message="as in 0.1", repo_type="dataset")


def test_a_dataset_of_the_first_version_loads_as_before(
    make: Make, hub_api: HfApi, load: Callable[..., Any], compactor: Callable[..., Any]
) -> None:
    def loaded() -> list[int]:
        return sorted(row["n"] for row in load()["train"])

    for n in range(3):
        scheduler = make(folder=f"copy-{n}")
        scheduler.extend([{"n": 10 * n}, {"n": 10 * n + 1}])
        scheduler.stop()
    make_flat(hub_api)
    assert loaded() == [0, 1, 10, 11, 20, 21]
    assert compactor().run(TOMORROW).files_before == 3
    (joined,) = data_files(hub_api)
    assert joined.count("/") == 1
    assert loaded() == numbers(hub_api) == [0, 1, 10, 11, 20, 21]
    remover = compactor(kind=Remover)
    assert remover.remove([Removal.of({"n": 11}, remover.repo.head().at)]).rows == 1
    scheduler = make(folder="copy-0")
    scheduler.append({"n": 2})
    scheduler.stop()
    assert loaded() == numbers(hub_api) == [0, 1, 2, 10, 20, 21]
    manifests = hub_api.list_repo_tree(REPO, MANIFESTS, recursive=True, repo_type="dataset")
    runs = [run for entry in manifests if entry.path.endswith("l") for run in parse(remover.repo.content(entry.path))]
    assert sorted((run.folder, run.rows, run.removed) for run in runs) == [
        ("data", 2, 0),
        ("data", 2, 0),
        ("data", 2, 1),
    ]


@pytest.mark.parametrize("most", [500, 2])
def test_files_that_go_with_no_other_one_are_looked_at_once(
    hub_api: HfApi, local_hub: LocalHub, compactor: Callable[..., Compactor], most: int
) -> None:
    hub_api.create_repo(REPO, repo_type="dataset")
    values = [1, "a", True, [1], ["a"], 2]
    name = "data/2026-01/train-20260101-0123456789ab-{:05d}-p0000.jsonl"
    parts = [
        CommitOperationAdd(name.format(n), json.dumps({"n": n, "x": x}).encode() + b"\n") for n, x in enumerate(values)
    ]
    hub_api.create_commit(REPO, parts, commit_message="planted", repo_type="dataset")
    limits = replace(DEFAULTS, join_files=most)
    assert len(compactor(limits=limits).run().commits) == (2 if most == 500 else 6)  # days, then half a month
    known = len(local_hub.requests)
    assert compactor(limits=limits).due() == ([], [])
    assert compactor(limits=limits).run().commits == []
    assert not [each for each in list(local_hub.requests)[known:] if each.route == "resolve" and "/data/" in each.path]
    assert numbers(hub_api) == list(range(6))
    # In twos, it depends on the random names of the files of days whether both numbers meet.
    assert len(data_files(hub_api)) in ((5,) if most == 500 else (5, 6))


@pytest.mark.parametrize(
    "content", [b'{"n":1}\n{"n"', b'{"n":1}', b'{"n":1}\n[2]\n', b""], ids=["cut", "end", "list", "empty"]
)
def test_a_file_that_somebody_changed_stays_and_is_downloaded_once(
    hub_api: HfApi, local_hub: LocalHub, compactor: Callable[..., Compactor], content: bytes
) -> None:
    hub_api.create_repo(REPO, repo_type="dataset")
    name = "data/2026-01/train-20260101-0123456789ab-{:05d}-p0000.jsonl"
    parts = [CommitOperationAdd(name.format(n), content or b"") for n in range(3)]
    hub_api.create_commit(REPO, parts, commit_message="planted", repo_type="dataset")
    refused: set[tuple[str, str]] = set()
    for downloads in (3, 0):
        known = len(local_hub.requests)
        assert compactor(refused=refused).run().commits == []
        found = [each for each in list(local_hub.requests)[known:] if each.route == "resolve" and "/data/" in each.path]
        assert len(found) == downloads
    assert len(refused) == 3
    assert compactor(refused=refused).due() == ([], [])
    # A file that is changed once more is looked at again.
    good = [CommitOperationAdd(name.format(n), b'{"n":%d}\n' % n) for n in range(2)]
    hub_api.create_commit(REPO, good, commit_message="mended", repo_type="dataset")
    assert compactor(refused=refused).run().files_before == 2
    assert len(refused) == 1


@pytest.mark.parametrize("suffix", ["parquet", "zip"])
def test_a_file_under_the_name_of_another_part_is_left_alone(
    make: Make, hub_api: HfApi, compactor: Callable[..., Any], suffix: str
) -> None:
    """Its metadata tells a range of another segment; a manifest with it would call rows acknowledged."""
    for copy in range(3):
        scheduler = make(KINDS[suffix], folder=f"copy-{copy}")
        if suffix == "zip":
            scheduler.add(b"1", "note.txt", n=copy)  # type: ignore[attr-defined]
        else:
            scheduler.append({"n": copy})
        scheduler.stop()
    first, second, _ = data_files(hub_api)
    content = RemoteRepo(hub_api, Target.of(hub_api.endpoint, REPO, "dataset")).content(first)
    copied = [CommitOperationAdd(second, content)]
    hub_api.create_commit(REPO, copied, commit_message="copied", repo_type="dataset")
    refused: set[tuple[str, str]] = set()
    assert compactor(refused=refused).run(TOMORROW).files_before == 2
    assert [path for path in data_files(hub_api) if "joined" not in path] == [second]
    assert {path for path, _ in refused} == {second}
    remover = compactor(kind=Remover)
    report = remover.remove([Removal.by(lambda row: True, remover.repo.head().at)])
    assert (report.unread, report.files) == ([second], 1)


@pytest.fixture
def command(
    local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run `hubspool`; returns what it printed on both streams."""
    for name, value in (("ENDPOINT", local_hub.endpoint), ("TOKEN", local_hub.token), ("HOME", str(tmp_path / "home"))):
        monkeypatch.setenv(f"HF_{name}", value)

    def run(*words: str) -> str:
        assert hubspool(words) == 0
        return "".join(capsys.readouterr())

    return run


def test_the_commands_work_in_every_type_of_repository_and_say_which_formats_they_leave(
    hub_api: HfApi, command: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_api.create_repo(REPO, repo_type="model")
    name = "data/2026-01/train-20260101-0123456789ab-{:05d}-p0000.{}"
    parts = [
        CommitOperationAdd(name.format(n, suffix), b'{"n":%d}\n' % n)
        for suffix in ("jsonl", "parquet", "other")
        for n in range(2)
    ]
    hub_api.create_commit(REPO, parts, commit_message="planted")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for module in ("joiners", "parquet.parquet_joiner"):
        monkeypatch.delitem(sys.modules, f"hubspool_templates.{module}", raising=False)
    left = "*.other: 2 files left alone, what reads them is not installed.\n"
    left += "*.parquet: 2 files left alone, pyarrow is not installed.\n"
    assert left in command("compact", REPO, "--repo-type", "model", "--dry-run")
    found = command("compact", REPO, "--repo-type", "model")
    assert left in found
    assert "2 files became 1 file" in found
    assert left in command("verify", REPO, "--repo-type", "model")
    found = command("forget", REPO, "--repo-type", "model", "--where", "n=1", "--dry-run")
    assert "1 row of 1 file would be removed" in found
    assert f"Not searched: {name.format(0, 'parquet')}" in found


def test_a_missing_package_is_no_missing_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "hubspool_templates.joiners")
    monkeypatch.setitem(sys.modules, "hubspool_templates.archive.zip_joiner", None)
    with pytest.raises(ModuleNotFoundError, match="zip_joiner"):
        joiners()


def test_archives_with_much_metadata_become_several(
    make: Make, hub_api: HfApi, compactor: Callable[..., Compactor]
) -> None:
    """The metadata and the names of all members of a joined archive are in memory at once."""
    for copy in range(4):
        scheduler = make(ZipScheduler, folder=f"copy-{copy}")
        for n in range(3):
            scheduler.add(b"1", "note.txt", n=3 * copy + n)  # type: ignore[attr-defined]
        scheduler.stop()
    first, *_ = data_files(hub_api)
    local = Path(hub_api.hf_hub_download(REPO, first, repo_type="dataset"))
    memory = JOINERS_OF["zip"].memory_of(local)
    assert memory > 3 * TEMPLATES.member_memory
    assert len(compactor(limits=replace(DEFAULTS, join_memory=2 * memory + 100)).run(TOMORROW).paths) == 2


@pytest.mark.parametrize("suffix", KINDS)
def test_a_file_that_goes_with_no_other_one_keeps_its_content(
    make: Make, hub_api: HfApi, compactor: Callable[..., Compactor], suffix: str
) -> None:
    for copy in range(2):
        scheduler = make(KINDS[suffix], folder=f"copy-{copy}")
        if suffix == "zip":
            scheduler.add(b"1", "note.txt", n=copy, x=(1, "a")[copy])  # type: ignore[attr-defined]
        else:
            scheduler.append({"n": copy, **({"x": 1}, {"x": "a", "y": 1})[copy]})
        scheduler.stop()
    repo = compactor().repo
    before = {repo.content(path) for path in data_files(hub_api)}
    assert compactor().run(TOMORROW).files_before == 2
    joined = data_files(hub_api)
    assert all("-joined." in path for path in joined)
    assert {repo.content(path) for path in joined} == before
    assert compactor().due(TOMORROW) == ([], [])
    seen, found = check(repo, None)
    assert [each for each in found if each.kind.severity is Severity.DAMAGE] == []
    assert sum(facts.rows for facts in seen.facts.values()) == 2


def test_a_joined_parquet_file_without_a_row_repeats_the_bytes_of_the_file_with_it(
    make: Make, hub_api: HfApi, local_hub: LocalHub, compactor: Callable[..., Any]
) -> None:
    """Pages begin where the content says, so that Xet knows all pages after the row that is gone."""
    chance = random.Random(1)
    rows = [{"n": n, "text": chance.randbytes(2000).hex()} for n in range(4000)]
    for half in (rows[:2000], rows[2000:]):
        with make(ParquetScheduler, folder=f"from-{half[0]['n']}") as scheduler:
            scheduler.extend(half)
    assert len(compactor().run(TOMORROW).paths) == 1
    [whole] = data_files(hub_api)
    size = hub_api.get_paths_info(REPO, [whole], repo_type="dataset")[0].size
    before = len(local_hub.requests)
    removal = Removal.of({"n": 1}, datetime.now(timezone.utc))
    assert compactor(kind=Remover).remove([removal]).rows == 1
    sent = sum(each.bytes_in for each in [*local_hub.requests][before:] if each.route == "xet-xorb")
    assert 0 < sent < 0.4 * size
