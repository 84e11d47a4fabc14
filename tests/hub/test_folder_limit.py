"""A folder of a repository takes 10,000 entries: the local Hub can refuse more, and people are warned before."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from hubspool import CommitOperationAdd, CommitScheduler, HfApi
from hubspool.cli.doctor import doctor
from hubspool.client.folder import full_folders
from hubspool.errors import BadRequestError
from hubspool.local_hub import LocalHub
from hubspool_templates import JsonlScheduler, read_rows
from tests.support.git_runner import Git

REPO = "local/rows"


@pytest.fixture
def hub(hub_environment: Path, request: pytest.FixtureRequest) -> Iterator[LocalHub]:
    limit = getattr(request, "param", 3)
    with LocalHub(folder_limit=limit) as hub:
        HfApi(endpoint=hub.endpoint, token=hub.token).create_repo(REPO, repo_type="dataset")
        yield hub


@pytest.fixture
def api(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> HfApi:
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    return HfApi(endpoint=hub.endpoint, token=hub.token)


def commit(api: HfApi, *paths: str) -> None:
    operations = [CommitOperationAdd(path, path.encode()) for path in paths]
    api.create_commit(REPO, operations, commit_message="add", repo_type="dataset")


def test_one_entry_too_many_is_refused_as_the_hub_does_and_nothing_changes(api: HfApi) -> None:
    commit(api, "a/1", "a/2", "a/b/1")
    with pytest.raises(BadRequestError, match=r"only contain up to 3 files. Offending directories: /a/ "):
        commit(api, "a/3", "other")
    assert sorted(api.list_repo_files(REPO, repo_type="dataset")) == [".gitattributes", "a/1", "a/2", "a/b/1"]
    commit(api, "a/1", "a/b/2", "a/b/3")  # what is there may change, and folders inside count for themselves


def test_a_push_with_git_is_refused_too(git: Git, hub: LocalHub, api: HfApi, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git("clone", f"{hub.endpoint}/datasets/{REPO}".replace("://", f"://local:{hub.token}@"), str(clone))
    (clone / "many").mkdir()
    for number in range(4):
        (clone / "many" / str(number)).write_text("x")
    git("add", ".", cwd=clone)
    git("commit", "-m", "four", cwd=clone)
    refused = git("push", cwd=clone, ok=False)
    assert "too many files per directory" in refused
    assert "Offending directories: many" in refused
    assert api.list_repo_files(REPO, repo_type="dataset") == [".gitattributes"]


@pytest.mark.parametrize("hub", [100], indirect=True)
def test_a_dataset_whose_folder_is_full_goes_on_in_the_folder_of_the_month(
    hub: LocalHub, api: HfApi, tmp_path: Path
) -> None:
    """Versions before the folders of months wrote all parts into one folder."""
    with JsonlScheduler(REPO, tmp_path / "rows", every=5) as scheduler:
        scheduler.append({"n": 0})
        scheduler.flush()
        (month,) = {path for path in api.list_repo_files(REPO, repo_type="dataset") if path.startswith("data/")}
        old = [f"data/train-20240101-{number:012x}-00000-p0000.jsonl" for number in range(99)]
        operations = [CommitOperationAdd(path, b'{"n": -1}\n') for path in old]
        api.create_commit(REPO, operations, commit_message="old", repo_type="dataset")
        with pytest.raises(BadRequestError, match="100 files"):
            commit(api, "data/one-too-many")
        scheduler.append({"n": 1})
        scheduler.flush()
    with JsonlScheduler(REPO, tmp_path / "other", every=5) as scheduler:
        scheduler.append({"n": 2})
    newest = {path.rpartition("/")[0] for path in api.list_repo_files(REPO, repo_type="dataset")} - {"", "data"}
    assert newest == {month.rpartition("/")[0]}
    assert sorted(row["n"] for row in read_rows(REPO, api) if row["n"] >= 0) == [0, 1, 2]


@pytest.mark.parametrize("hub", [None], indirect=True)
def test_status_and_doctor_warn_before_a_folder_of_the_user_is_full(
    api: HfApi, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("push.pusher", "client.folder"):  # 8,000 real files would take a minute
        monkeypatch.setattr(f"hubspool.{module}.full_folders", partial(full_folders, least=8))
    folder = tmp_path / "runs"
    (folder / "images").mkdir(parents=True)
    for number in range(8):
        (folder / "images" / f"{number}.txt").touch()
        # As changed in the moment of the first push: such a file is never known as settled.
        os.utime(folder / "images" / f"{number}.txt", (time.time() + 3600,) * 2)
    scheduler = CommitScheduler(repo_id=REPO, repo_type="dataset", folder_path=folder, path_in_repo="x", every=5)
    with caplog.at_level(logging.WARNING), scheduler:
        scheduler.flush()
        (folder / "more.txt").write_text("more")
        scheduler.flush()
        status = scheduler.status()
    assert status.full_folders == {"x/images": 8}
    words = "The folder x/images of the repository has 8 entries; the Hub refuses more than 10,000."
    assert words in str(status)
    assert [record.message for record in caplog.records if words in record.message] == [
        f"{REPO}: {status.warnings[0]}"
    ], "told once"
    done = CliRunner().invoke(doctor, [REPO, "--folder", str(tmp_path)])
    assert f"warn  files     {words}" in done.output
    assert done.exit_code == 0


def test_folders_count_what_is_directly_in_them() -> None:
    paths = [*(f"a/{n}" for n in range(7)), "a/b/1", "a/b/2", *(f"c/{n}/1" for n in range(9))]
    assert full_folders(paths, 8) == {"a": 8, "c": 9}
    assert full_folders(paths) == {}
