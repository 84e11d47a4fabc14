"""Repositories are real git repositories, for git itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

from hubspool.local_hub import LocalHub
from hubspool.local_hub.storage import git_program
from tests.support.git_runner import NOISE, needs_git_lfs


@pytest.fixture
def filled(stock_api: HfApi, dataset: str) -> str:
    contents = {"a.txt": b"one\n", "sub/b.txt": b"two\n", "big.bin": NOISE}
    first = [CommitOperationAdd(path, content) for path, content in contents.items()]
    stock_api.create_commit(dataset, first, commit_message="first", repo_type="dataset")
    second = [CommitOperationAdd("a.txt", b"1\n"), CommitOperationDelete("sub/")]
    stock_api.create_commit(
        dataset, second, commit_message="second", commit_description="more\nwords", repo_type="dataset"
    )
    stock_api.create_branch(dataset, branch="side", repo_type="dataset")
    stock_api.create_tag(dataset, tag="v1", repo_type="dataset")
    return dataset


@pytest.mark.parametrize("suffix", ["", ".git"])
def test_git_clones_the_repository_with_its_history(
    suffix: str, git, filled: str, local_hub: LocalHub, tmp_path: Path
) -> None:
    git("clone", f"{local_hub.endpoint}/datasets/{filled}{suffix}", "clone")
    clone = tmp_path / "clone"
    assert git("log", "--format=%s", cwd=clone).split() == ["second", "first", "initial", "commit"]
    assert (clone / "a.txt").read_bytes() == b"1\n"
    assert not (clone / "sub").exists()
    assert "origin/side" in git("branch", "-r", cwd=clone)
    assert git("tag", cwd=clone).strip() == "v1"
    git("fsck", "--strict", "--full", cwd=clone)
    git("fsck", "--strict", "--full", cwd=local_hub.root / "repos" / "datasets" / f"{filled}.git")


def test_git_fetches_what_is_new(git, filled: str, local_hub: LocalHub, stock_api: HfApi, tmp_path: Path) -> None:
    git("clone", f"{local_hub.endpoint}/datasets/{filled}", "clone")
    for number in range(2):
        new = f"{number}.txt"
        stock_api.upload_file(path_or_fileobj=b"new\n", path_in_repo=new, repo_id=filled, repo_type="dataset")
        git("pull", "--ff-only", cwd=tmp_path / "clone")
        assert (tmp_path / "clone" / new).read_bytes() == b"new\n"


def test_without_git_a_clone_is_refused_before_anything_is_written(
    git, filled: str, local_hub: LocalHub, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(git_program, "exists", lambda: False)
    url = f"{local_hub.endpoint}/datasets/{filled}"
    for options in ([], ["--depth=1"]):
        assert "install git where it runs" in git("clone", *options, url, "clone", ok=False)
        assert not (tmp_path / "clone").exists()


@needs_git_lfs
def test_git_lfs_brings_the_large_files_and_the_clone_is_clean(
    git, filled: str, local_hub: LocalHub, tmp_path: Path
) -> None:
    git("lfs", "install")
    git("clone", f"{local_hub.endpoint}/datasets/{filled}", "clone")
    assert (tmp_path / "clone" / "big.bin").read_bytes() == NOISE
    assert git("status", "--porcelain", cwd=tmp_path / "clone") == ""


def test_a_private_repository_is_cloned_with_a_token_only(
    git, local_hub: LocalHub, stock_api: HfApi, tmp_path: Path
) -> None:
    stock_api.create_repo("local/secret", private=True)
    git("clone", f"{local_hub.endpoint}/local/secret", ok=False)
    git("clone", f"{local_hub.endpoint}/local/secret".replace("://", f"://anybody:{local_hub.token}@"))
    assert (tmp_path / "secret" / ".gitattributes").exists()
