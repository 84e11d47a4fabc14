"""A fresh disk fetches what the repo has before the scheduler begins, when it is asked to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hubspool import CommitScheduler, HfApi
from hubspool.client.target import Target
from hubspool.local_hub import Fault, LocalHub
from hubspool.push.compaction import Compactor
from hubspool.push.joiner import Joiner
from hubspool.push.remote import RemoteRepo
from hubspool_templates import JsonlScheduler, ParquetScheduler, ZipScheduler
from tests.support.oracle import hub_ahead

REPO = "local/kept"
Make = Callable[..., CommitScheduler]


@pytest.fixture
def settles() -> bool:
    return False


@pytest.fixture
def scheduler_options() -> dict[str, Any]:
    return {"path_in_repo": "data", "every": 60}


@pytest.fixture
def text(hub_api: HfApi) -> Callable[[str], str | None]:
    hub = RemoteRepo(hub_api, Target.of(hub_api.endpoint, REPO, "dataset"))
    return hub.text


def test_the_app_appends_to_what_it_had_before_the_disk_was_wiped(make: Make, text: Callable[..., Any]) -> None:
    first = make(folder="before")
    with first.lock:
        (first.folder_path / "sub").mkdir()
        (first.folder_path / "sub" / "rows.jsonl").write_text('{"n": 1}\n')
    first.stop()
    second = make(folder="after", restore=True)
    rows = second.folder_path / "sub" / "rows.jsonl"
    assert rows.read_text() == '{"n": 1}\n'
    with second.lock, rows.open("a") as file:
        file.write('{"n": 2}\n')
    second.flush(60)
    assert text("data/sub/rows.jsonl") == '{"n": 1}\n{"n": 2}\n'


def test_local_files_stay_as_they_are_and_parts_of_rows_are_not_fetched(
    make: Make, hub_api: HfApi, tmp_path: Path, text: Callable[..., Any]
) -> None:
    rows = JsonlScheduler(REPO, tmp_path / "rows", hf_api=hub_api, every=60)
    rows.append({"n": 1})
    rows.stop()
    hub_api.upload_file(path_or_fileobj=b"hub", path_in_repo="data/note.md", repo_id=REPO, repo_type="dataset")
    (tmp_path / "after").mkdir()
    (tmp_path / "after" / "note.md").write_text("local")
    scheduler = make(folder="after", restore=True)
    assert [path.name for path in scheduler.folder_path.glob("[!.]*")] == ["note.md"]
    scheduler.flush(60)
    assert text("data/note.md") == "local"


def test_what_cannot_be_fetched_is_told_and_nothing_on_the_hub_is_lost(
    make: Make, local_hub: LocalHub, text: Callable[..., Any]
) -> None:
    first = make(folder="before")
    (first.folder_path / "rows.jsonl").write_text('{"n": 1}\n')
    first.stop()
    local_hub.faults.add(Fault(route="resolve", status=403, times=None))
    (first.folder_path.parent / "after").mkdir()
    with pytest.raises(Exception, match="403"):
        make(folder="after", restore=True, strict=True)
    second = make(folder="after", restore=True)
    assert local_hub.faults.hits
    local_hub.faults.clear()
    (second.folder_path / "rows.jsonl").write_text('{"n": 2}\n')
    second.flush(60)
    assert text("data/rows.jsonl") == '{"n": 1}\n'
    status = second.status()
    assert (status.last_error, list(status.skipped)) == (None, ["data"])
    assert "403" in status.skipped["data"], "a push that succeeds does not hide it"


@pytest.mark.parametrize("kind", [JsonlScheduler, ParquetScheduler, ZipScheduler])
def test_parts_are_not_fetched_in_any_form(kind: Any, hub_api: HfApi, tmp_path: Path) -> None:
    row = {"file": b"x" * 10, "name": "a.bin"} if kind is ZipScheduler else {"n": 1}
    options = {"hf_api": hub_api, "every": 60, "handle_signals": False}
    with kind(REPO, tmp_path / "before", **options) as first:
        first.append(row)
    stored = {path for path in hub_api.list_repo_files(REPO, repo_type="dataset") if path.startswith("data/")}
    assert stored
    with kind(REPO, tmp_path / "after", restore=True, **options):
        left = [path.name for path in (tmp_path / "after").rglob("*") if path.is_file()]
    assert not {Path(path).name for path in stored} & set(left)
    assert stored == {path for path in hub_api.list_repo_files(REPO, repo_type="dataset") if path.startswith("data/")}


@pytest.mark.parametrize("path_in_repo", ["", "data"])
def test_joined_files_and_their_manifests_are_neither_fetched_nor_sent(
    make: Make, hub_api: HfApi, tmp_path: Path, path_in_repo: str
) -> None:
    """Once more under another name, their rows would be in the dataset twice."""
    options: dict[str, Any] = {"hf_api": hub_api, "every": 60, "handle_signals": False}
    for n in range(2):
        with JsonlScheduler(REPO, tmp_path / f"rows-{n}", **options) as rows:
            rows.append({"n": n})
    repo = RemoteRepo(hub_api, Target.of(hub_api.endpoint, REPO, "dataset"))
    tomorrow = repo.head().at.date() + timedelta(days=1)
    with hub_ahead():
        assert Compactor(repo, "data", {"jsonl": Joiner()}).run(tomorrow).files_before == 2
    stored = repo.list_files("", recursive=True)
    assert any("-joined." in path for path in stored)
    assert any(path.startswith(".hubspool/") for path in stored)
    scheduler = make(folder="after", restore=True, path_in_repo=path_in_repo)
    assert [path.name for path in scheduler.folder_path.rglob("*.jsonl")] == []
    for path in filter(lambda path: path.endswith(".jsonl"), stored):  # as an earlier version fetched them
        local = scheduler.folder_path / path.removeprefix(f"{path_in_repo}/" if path_in_repo else "")
        local.parent.mkdir(parents=True, exist_ok=True)
        local.write_bytes(repo.content(path) + b'{"n":9}\n')
    (scheduler.folder_path / "votes.jsonl").write_text('{"n":2}\n')
    scheduler.flush(60)
    assert repo.list_files("", recursive=True).keys() - stored.keys() == {f"{path_in_repo}/votes.jsonl".lstrip("/")}
    after = repo.list_files("", recursive=True)
    assert {path: after[path] for path in stored if path != ".gitattributes"} == {
        path: file for path, file in stored.items() if path != ".gitattributes"
    }
    assert scheduler.status().skipped == {}
