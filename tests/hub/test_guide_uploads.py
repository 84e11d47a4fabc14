"""The upload guide's pieces that commit: the same calls with other values."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hubspool import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi
from hubspool.local_hub import LocalHub

SECONDS = 60


@pytest.fixture
def api(local_hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HfApi:
    """A client that finds address and token in the environment, as on a person's machine."""
    monkeypatch.setenv("HF_ENDPOINT", local_hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", local_hub.token)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return HfApi()


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of files."""

    def make(name: str, **contents: bytes) -> Path:
        for path, content in contents.items():
            target = tmp_path / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        return tmp_path / name

    return make


def paths(api: HfApi, repo_id: str, repo_type: str | None = None) -> list[str]:
    return sorted(set(api.list_repo_files(repo_id, repo_type=repo_type)) - {".gitattributes"})


def test_guide_1_a_file(api: HfApi, files: Callable[..., Path]) -> None:
    api.create_repo("local/notes", repo_type="dataset")
    card = files("data", **{"README.md": b"# Notes\n"}) / "README.md"
    api.upload_file(path_or_fileobj=str(card), path_in_repo="README.md", repo_id="local/notes", repo_type="dataset")
    assert paths(api, "local/notes", "dataset") == ["README.md"]


def test_guide_2_a_folder_to_the_root_of_a_space(api: HfApi, files: Callable[..., Path]) -> None:
    api.create_repo("local/cool-space", repo_type="space", space_sdk="gradio")
    folder = files("space", **{"app.py": b"import gradio\n", "assets/logo.svg": b"<svg/>"})
    before = set(paths(api, "local/cool-space", "space"))
    api.upload_folder(folder_path=str(folder), repo_id="local/cool-space", repo_type="space")
    assert set(paths(api, "local/cool-space", "space")) - before == {"app.py", "assets/logo.svg"}
    assert len(api.list_repo_commits("local/cool-space", repo_type="space")) == 2


def test_guide_3_a_folder_into_a_folder_with_what_to_leave_out(api: HfApi, files: Callable[..., Path]) -> None:
    api.create_repo("local/set", repo_type="dataset")
    folder = files("set", **{"rows.csv": b"a\n1\n", "logs/1.txt": b"", "in/logs/2.txt": b"", "in/logs/3.json": b"{}"})
    api.upload_folder(
        folder_path=str(folder),
        path_in_repo="my-set/train",
        repo_id="local/set",
        repo_type="dataset",
        ignore_patterns="**/logs/*.txt",
    )
    assert paths(api, "local/set", "dataset") == ["my-set/train/in/logs/3.json", "my-set/train/rows.csv"]


def test_guide_4_remote_logs_are_replaced_in_one_commit(api: HfApi, files: Callable[..., Path]) -> None:
    api.create_repo("local/model")
    old = [f"experiment/logs/{name}" for name in ("old.txt", "same.txt", "old.csv")]
    operations = [CommitOperationAdd(path, b"old") for path in [*old, "other.txt"]]
    api.create_commit("local/model", operations, commit_message="before")
    folder = files("logs", **{"same.txt": b"old", "new.txt": b"new", "new.csv": b"left out"})
    api.upload_folder(
        folder_path=str(folder),
        repo_id="local/model",
        path_in_repo="experiment/logs/",
        allow_patterns="*.txt",
        delete_patterns="*.txt",
    )
    logs = "experiment/logs"
    assert paths(api, "local/model") == [f"{logs}/new.txt", f"{logs}/old.csv", f"{logs}/same.txt", "other.txt"]
    assert len(api.list_repo_commits("local/model")) == 3


def test_guide_9_in_the_background(api: HfApi, files: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    api.create_repo("local/model")
    monkeypatch.chdir(files("checkpoints-007", **{"weights.bin": os.urandom(2_000_000)}).parent)
    future = api.upload_folder(repo_id="local/model", folder_path="checkpoints-007", run_as_future=True)
    assert future.done() in (True, False)
    assert future.result(SECONDS).oid == api.repo_info("local/model").sha
    assert future.done()


def test_guide_10_anything_in_the_background_in_order(api: HfApi) -> None:
    api.run_as_future(api.create_repo, "local/later", exist_ok=True)
    last = api.upload_file(
        repo_id="local/later", path_in_repo="note.txt", path_or_fileobj=b"a note", run_as_future=True
    )
    last.result(SECONDS)
    assert paths(api, "local/later") == ["note.txt"]


def test_guide_13_and_14_operations_then_one_commit(api: HfApi, files: Callable[..., Path], tmp_path: Path) -> None:
    api.create_repo("local/network")
    before = {"old-weights.h5": os.urandom(3000), "logs/1": b"1", "logs/2": b"2", "picture.png": os.urandom(3000)}
    operations = [CommitOperationAdd(path, content) for path, content in before.items()]
    api.create_commit("local/network", operations, commit_message="before")
    weights = os.urandom(1_500_000)
    files("home", **{"repo/LICENSE.md": b"licence", "repo/weights-final.h5": weights})
    operations = [
        CommitOperationAdd(path_in_repo="LICENSE.md", path_or_fileobj="~/repo/LICENSE.md"),
        CommitOperationAdd(path_in_repo="weights.h5", path_or_fileobj="~/repo/weights-final.h5"),
        CommitOperationDelete(path_in_repo="old-weights.h5"),
        CommitOperationDelete(path_in_repo="logs/"),
        CommitOperationCopy(src_path_in_repo="picture.png", path_in_repo="same_picture.png"),
    ]
    api.create_commit(repo_id="local/network", operations=operations, commit_message="Weights and licence")
    assert paths(api, "local/network") == ["LICENSE.md", "picture.png", "same_picture.png", "weights.h5"]
    for path, content in {"weights.h5": weights, "same_picture.png": before["picture.png"]}.items():
        found = api.hf_hub_download("local/network", path, local_dir=tmp_path / "down")
        assert Path(found).read_bytes() == content


@pytest.mark.usefixtures("api")
def test_guide_15_shards_are_sent_one_by_one_and_committed_once(local_hub: LocalHub, tmp_path: Path) -> None:
    from hubspool import create_commit, create_repo, preupload_lfs_files  # bound to the address of the Hub by now

    repo_id = create_repo("sharded").repo_id
    operations, contents = [], [os.urandom(1_200_000) for _ in range(5)]
    for i, content in enumerate(contents):
        addition = CommitOperationAdd(path_in_repo=f"part_{i}_of_5.bin", path_or_fileobj=content)
        preupload_lfs_files(repo_id, additions=[addition])
        operations.append(addition)
        assert addition.path_or_fileobj == b""
    assert local_hub.requests.of("commit") == []
    info = create_commit(repo_id, operations=operations, commit_message="All parts")
    api = HfApi()
    assert api.list_repo_commits(repo_id)[0].commit_id == info.oid
    for i, content in enumerate(contents):
        found = api.hf_hub_download(repo_id, f"part_{i}_of_5.bin", local_dir=tmp_path / "down")
        assert Path(found).read_bytes() == content
    assert len(local_hub.requests.of("commit")) == 1
