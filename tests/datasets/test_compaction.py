"""Old parts are joined into few files while schedulers go on: the same rows, none twice, whatever comes between."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from hashlib import sha256
from pathlib import Path

import pytest
from PIL import Image

from hubspool import CommitOperationAdd, HfApi
from hubspool.client.target import Target
from hubspool.local_hub import LocalHub
from hubspool.push.compaction import Compactor, Joiner
from hubspool.push.manifest import MANIFESTS, parse
from hubspool.push.remote import RemoteRepo
from hubspool_templates import JsonlScheduler, ParquetScheduler, ZipScheduler, read_rows
from hubspool_templates.joiners import JOINERS
from tests.support.days import TOMORROW
from tests.support.oracle import second_look_after

REPO = "local/votes"
pytestmark = pytest.mark.usefixtures("hub_is_ahead")
Make = Callable[..., JsonlScheduler]


def numbers(api: HfApi) -> list[int]:
    return sorted(row["n"] for row in read_rows(REPO, api))


def data_files(api: HfApi) -> list[str]:
    return sorted(path for path in api.list_repo_files(REPO, repo_type="dataset") if path.startswith("data/"))


@pytest.fixture
def compactor(hub_api: HfApi, local_hub: LocalHub) -> Compactor:
    repo = RemoteRepo(hub_api, Target(local_hub.endpoint, REPO, "dataset", "main"))
    return Compactor(repo, "data", {"jsonl": Joiner()})


def plant(api: HfApi, days: Iterable[int], parts: int, extra: Sequence[CommitOperationAdd] = ()) -> list[int]:
    """Commit parts of one row each, of days of January 2026; return the rows."""
    additions = [
        CommitOperationAdd(
            f"data/2026-01/train-202601{day:02d}-0123456789ab-{seq:05d}-p0000.jsonl",
            b'{"n":%d}\n' % (day * 1000 + seq),
        )
        for day in days
        for seq in range(parts)
    ]
    api.create_commit(REPO, [*additions, *extra], commit_message="planted", repo_type="dataset")
    return sorted(day * 1000 + seq for day in days for seq in range(parts))


def fresh(compactor: Compactor) -> Compactor:
    """Return a compactor that knows nothing yet, as in another process."""
    return Compactor(compactor.repo, "data", compactor.joiners)


def check_manifests(compactor: Compactor, parts: int) -> None:
    """Check that all manifests name so many parts, each once, and where their bytes are."""
    repo = compactor.repo
    files = repo.list_files(MANIFESTS, recursive=True)
    runs = [run for path in files for run in parse(repo.content(path))]
    named = [path for run in runs for path, _ in run.parts()]
    assert len(named) == len({*named}) == parts
    assert {run.path for run in runs} <= {*repo.list_files("data", recursive=True)}
    for run in runs:
        content = repo.read(run.path, run.offset, sum(run.sizes))
        assert (sha256(content).hexdigest(), content.count(b"\n")) == (run.sha256, run.rows)


def test_parts_of_a_day_become_one_file_with_the_same_rows(make: Make, hub_api: HfApi, compactor: Compactor) -> None:
    for n in range(5):
        scheduler = make(folder=f"copy-{n}")
        scheduler.extend({"n": 10 * n + i} for i in range(10))
        scheduler.stop()
    before = data_files(hub_api)
    report = compactor.run(TOMORROW)
    after = data_files(hub_api)
    assert (len(before), len(after), report.files_before, report.left) == (5, 1, 5, 0)
    assert "-joined." in after[0]
    assert numbers(hub_api) == list(range(50))
    assert compactor.run(TOMORROW).commits == []


def test_a_scheduler_goes_on_after_its_open_part_was_joined(make: Make, hub_api: HfApi, compactor: Compactor) -> None:
    writer, other = make(folder="a"), make(folder="b")
    for n in range(6):
        writer.append({"n": n})
        other.append({"n": 100 + n})
        writer.flush()
        other.flush()
        compactor.run(TOMORROW)
    joined = [c for c in hub_api.list_repo_commits(REPO, repo_type="dataset") if c.title.startswith("Join")]
    assert len(joined) == 6
    assert numbers(hub_api) == [*range(6), *range(100, 106)]
    writer.append({"n": 6})
    writer.flush()
    assert numbers(hub_api) == [*range(7), *range(100, 106)]
    assert writer.status().pending_rows == 0


def test_a_lost_ledger_finds_joined_parts_by_their_manifest(make: Make, hub_api: HfApi, compactor: Compactor) -> None:
    with second_look_after(0):
        first, other = make(folder="a", keep_local=True), make(folder="b")
        for n in range(3):
            first.append({"n": n})
            first.flush()
        other.append({"n": 100})
        other.flush()
        for scheduler in (first, other):
            scheduler.stop()
        assert compactor.run(TOMORROW).files_before == 2
        for path in first.spool_folder.glob("**/ledger.sqlite3*"):
            path.unlink()
        again = make(folder="a", keep_local=True)
        again.append({"n": 3})
        again.flush()
        again.stop()
    assert numbers(hub_api) == [*range(4), 100]


def test_a_part_that_lands_after_its_join_is_deleted_by_the_next_push(
    make: Make, hub_api: HfApi, compactor: Compactor
) -> None:
    writer, other = make(folder="a"), make(folder="b")
    for n, scheduler in enumerate((writer, other)):
        scheduler.append({"n": n})
        scheduler.flush()
    late = data_files(hub_api)[0]
    content = Path(hub_api.hf_hub_download(REPO, late, repo_type="dataset")).read_bytes()
    assert compactor.run(TOMORROW).files_before == 2
    # The commit that was lost on its way lands now, with its description.
    message = f"hubspool-push: {'0' * 32}\nhubspool-part: {late} 0 {len(content)} {'0' * 64}"
    hub_api.create_commit(
        REPO,
        [CommitOperationAdd(late, content)],
        commit_message="late",
        commit_description=message,
        repo_type="dataset",
    )
    assert late in data_files(hub_api)
    assert numbers(hub_api) == [0, 1]
    other.append({"n": 2})
    other.flush()
    assert late not in data_files(hub_api)
    assert numbers(hub_api) == [0, 1, 2]


def test_days_become_half_months(make: Make, hub_api: HfApi, compactor: Compactor) -> None:
    make(folder="a")
    wanted = plant(hub_api, range(1, 32), 3)
    for day in range(2, 20):
        fresh(compactor).run(date(2026, 1, day))
    assert [path.rpartition("-p")[2] for path in data_files(hub_api) if "joined" in path] == [
        "0002.jsonl", "0001.jsonl", "0001.jsonl", "0001.jsonl",
    ]  # fmt: skip
    assert numbers(hub_api) == wanted
    fresh(compactor).run(date(2026, 2, 3))
    assert len(data_files(hub_api)) == 2
    assert numbers(hub_api) == wanted
    assert len([*hub_api.list_repo_tree(REPO, f"{MANIFESTS}/2026-01", repo_type="dataset")]) == 2
    check_manifests(compactor, 93)


LOAD = """
import datasets, json, sys
print(json.dumps(sorted(datasets.load_dataset(sys.argv[1], split="train")["n"])))
"""
KINDS = {"parquet": ParquetScheduler, "zip": ZipScheduler}


@pytest.mark.parametrize("suffix", KINDS)
def test_a_scheduler_of_each_format_goes_on_after_its_parts_were_joined(
    make: Make, hub_api: HfApi, local_hub: LocalHub, reader: Callable[..., str], suffix: str
) -> None:
    for n in range(3):
        scheduler = make(folder=f"copy-{n}", kind=KINDS[suffix])
        for i in range(2):
            picture = Image.new("RGB", (4, 4), (n, i, 0))
            if suffix == "zip":
                scheduler.add(picture, "picture.png", n=10 * n + i)
            else:
                scheduler.append({"n": 10 * n + i, "image": picture, "words": {"a": [f"{i}"]}})
        scheduler.stop()
    assert len([path for path in data_files(hub_api) if path.endswith(suffix)]) == 3
    repo = RemoteRepo(hub_api, Target(local_hub.endpoint, REPO, "dataset", "main"))
    compactor = Compactor(repo, "data", {suffix: JOINERS[suffix]()})
    assert compactor.run(TOMORROW).files_before == 3
    assert len([path for path in data_files(hub_api) if path.endswith(suffix)]) == 1
    again = make(folder="copy-0", kind=KINDS[suffix])
    if suffix == "zip":
        again.add(Image.new("RGB", (4, 4)), "picture.png", n=100)
    else:
        again.append({"n": 100, "image": None, "words": None})
    again.stop()
    assert json.loads(reader(LOAD, REPO)) == [0, 1, 10, 11, 20, 21, 100]
