"""The real huggingface_hub client works against the local Hub unchanged."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants
from huggingface_hub.errors import BadRequestError, EntryNotFoundError, HfHubHTTPError, RevisionNotFoundError

from hubspool.local_hub import LocalHub

Fetch = Callable[[str], bytes]
BIG = os.urandom(30_000_000)
SHAPES = {
    "text": ("notes.txt", b"one\ntwo\n"),
    "no-bytes": ("empty.txt", b""),
    "no-bytes-in-a-large-file-format": ("empty.bin", b""),
    "30-MB": ("weights.bin", BIG),
    "compressible": ("rows.parquet", b"id,name,value\n" * 400_000),
    "floats": ("f.npy", b"".join(i.to_bytes(2, "little") + b"\x80\x3f" for i in range(40_000)) * 20),
    "spaces-and-accents": ("a folder/déjà vu.txt", "déjà vu".encode()),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_what_was_uploaded_is_downloaded_byte_for_byte(
    shape: str, stock_api: HfApi, dataset: str, fetch: Fetch
) -> None:
    path, content = SHAPES[shape]
    stock_api.upload_file(path_or_fileobj=content, path_in_repo=path, repo_id=dataset, repo_type="dataset")
    assert fetch(path) == content
    assert path in stock_api.list_repo_files(dataset, repo_type="dataset")


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's use of its HTTP library
@pytest.mark.parametrize("part_size", [1 << 40, 5_000_000], ids=["basic", "multipart"])
def test_large_files_go_through_lfs_when_the_client_has_no_xet(
    part_size: int, hub_environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with LocalHub(lfs_part_size=part_size, xet=False) as hub:
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        api.create_repo("local/model")
        api.upload_file(path_or_fileobj=BIG[:12_000_000], path_in_repo="w.bin", repo_id="local/model")
        found = api.hf_hub_download("local/model", "w.bin", local_dir=tmp_path / "down")
        assert Path(found).read_bytes() == BIG[:12_000_000]
        assert len(hub.requests.of("lfs-part")) == (3 if part_size < 12_000_000 else 0)
        hub.requests.clear()
        api.upload_file(path_or_fileobj=BIG[:12_000_000], path_in_repo="again.bin", repo_id="local/model")
        assert not hub.requests.of("lfs-part", "lfs-put")  # content that is here is not sent again


def test_a_grown_file_costs_little_more_than_what_was_added(
    local_hub: LocalHub, stock_api: HfApi, dataset: str, fetch: Fetch, tmp_path: Path
) -> None:
    log = tmp_path / "log.bin"
    for size in (20_000_000, 20_500_000):
        log.write_bytes(BIG[:size])
        local_hub.requests.clear()
        stock_api.upload_file(path_or_fileobj=log, path_in_repo="log.bin", repo_id=dataset, repo_type="dataset")
        assert fetch("log.bin") == BIG[:size]
    assert sum(request.bytes_in for request in local_hub.requests.of("xet-xorb")) < 1_500_000


def test_a_folder_is_one_commit_and_gitignore_leaves_files_out(stock_api: HfApi, dataset: str, tmp_path: Path) -> None:
    for name in ("a.txt", "sub/b.bin", "sub/deep/c.jsonl", "skip.log", ".gitignore"):
        file = tmp_path / "folder" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("*.log\n")
    stock_api.upload_folder(folder_path=tmp_path / "folder", repo_id=dataset, repo_type="dataset")
    assert len(stock_api.list_repo_commits(dataset, repo_type="dataset")) == 2
    files = stock_api.list_repo_files(dataset, repo_type="dataset")
    assert files == [".gitattributes", ".gitignore", "a.txt", "sub/b.bin", "sub/deep/c.jsonl"]


def test_an_unchanged_file_makes_no_commit(stock_api: HfApi, dataset: str) -> None:
    for path, content in (("a.txt", b"text"), ("a.bin", BIG[:2_000_000])):
        for _ in range(2):
            stock_api.upload_file(path_or_fileobj=content, path_in_repo=path, repo_id=dataset, repo_type="dataset")
    assert len(stock_api.list_repo_commits(dataset, repo_type="dataset")) == 3


def test_files_and_folders_are_deleted_and_empty_folders_vanish(stock_api: HfApi, dataset: str) -> None:
    add = [CommitOperationAdd(path, b"x") for path in ("a.txt", "d/e/f.txt", "d/g.txt", "h/i.txt")]
    stock_api.create_commit(dataset, add, commit_message="add", repo_type="dataset")
    delete = [CommitOperationDelete("d/"), CommitOperationDelete("h/i.txt")]
    stock_api.create_commit(dataset, delete, commit_message="delete", repo_type="dataset")
    paths = [entry.path for entry in stock_api.list_repo_tree(dataset, repo_type="dataset", recursive=True)]
    assert paths == [".gitattributes", "a.txt"]
    with pytest.raises(EntryNotFoundError):
        stock_api.delete_file("d/g.txt", dataset, repo_type="dataset")


def test_listings_are_paged_and_say_which_commit_changed_an_entry(stock_api: HfApi, dataset: str) -> None:
    add = [CommitOperationAdd(f"many/{number:04}.txt", b"x") for number in range(1100)]
    many = stock_api.create_commit(dataset, add, commit_message="many", repo_type="dataset")
    add = [CommitOperationAdd("many/0007.txt", b"new")]
    one = stock_api.create_commit(dataset, add, commit_message="one", repo_type="dataset")
    listed = list(stock_api.list_repo_tree(dataset, "many", repo_type="dataset"))
    assert len(listed) == 1100
    expanded = list(stock_api.list_repo_tree(dataset, "many", repo_type="dataset", expand=True))
    assert [entry.last_commit.oid for entry in expanded[6:9]] == [many.oid, one.oid, many.oid]
    info = stock_api.get_paths_info(dataset, ["many/0007.txt", "many", "none"], repo_type="dataset", expand=True)
    assert [entry.path for entry in info] == ["many/0007.txt", "many"]
    assert {entry.last_commit.oid for entry in info} == {one.oid}


def test_history_is_paged_newest_first(stock_api: HfApi, dataset: str) -> None:
    for number in range(60):
        stock_api.upload_file(
            path_or_fileobj=b"%d" % number, path_in_repo="n.txt", repo_id=dataset, repo_type="dataset",
            commit_message=f"number {number}", commit_description="why",
        )  # fmt: skip
    commits = stock_api.list_repo_commits(dataset, repo_type="dataset")
    assert [commit.title for commit in commits] == [*(f"number {n}" for n in range(59, -1, -1)), "initial commit"]
    assert commits[0].message == "why"
    assert commits[0].authors == ["local"]


def test_parent_commit_guards_against_a_change_in_between(stock_api: HfApi, dataset: str) -> None:
    old = stock_api.repo_info(dataset, repo_type="dataset").sha
    stock_api.upload_file(path_or_fileobj=b"1", path_in_repo="a.txt", repo_id=dataset, repo_type="dataset")
    with pytest.raises(HfHubHTTPError) as caught:
        stock_api.upload_file(
            path_or_fileobj=b"2", path_in_repo="b.txt", repo_id=dataset, repo_type="dataset", parent_commit=old
        )
    assert caught.value.response.status_code == 412


def test_branches_tags_and_squashing(stock_api: HfApi, dataset: str) -> None:
    def put(content: bytes, revision: str) -> None:
        stock_api.upload_file(
            path_or_fileobj=content, path_in_repo="a.txt", repo_id=dataset, repo_type="dataset", revision=revision
        )

    put(b"1", "main")
    stock_api.create_branch(dataset, branch="feature/x", repo_type="dataset")
    stock_api.create_tag(dataset, tag="v1", repo_type="dataset")
    put(b"2", "feature/x")
    refs = stock_api.list_repo_refs(dataset, repo_type="dataset")
    assert [branch.name for branch in refs.branches] == ["feature/x", "main"]
    assert refs.tags[0].target_commit == refs.branches[1].target_commit != refs.branches[0].target_commit
    with pytest.raises(HfHubHTTPError, match="already exists"):
        stock_api.create_branch(dataset, branch="feature/x", repo_type="dataset")
    with pytest.raises(BadRequestError, match="Invalid reference"):
        stock_api.create_branch(dataset, branch="a..b", repo_type="dataset")
    with pytest.raises(HfHubHTTPError, match="Cannot delete"):
        stock_api.delete_branch(dataset, branch="main", repo_type="dataset")
    with pytest.raises(RevisionNotFoundError):
        stock_api.create_branch(dataset, branch="y", revision="nowhere", repo_type="dataset")
    stock_api.super_squash_history(dataset, branch="feature/x", repo_type="dataset")
    assert len(stock_api.list_repo_commits(dataset, revision="feature/x", repo_type="dataset")) == 1
    stock_api.delete_branch(dataset, branch="feature/x", repo_type="dataset")
    stock_api.delete_tag(dataset, tag="v1", repo_type="dataset")
    with pytest.raises(RevisionNotFoundError):
        put(b"3", "feature/x")


def test_repositories_are_made_listed_and_deleted(local_hub: LocalHub, stock_api: HfApi) -> None:
    for kind in ("model", "dataset", "space"):
        url = stock_api.create_repo("thing", repo_type=kind, space_sdk="gradio" if kind == "space" else None)
        assert (url.repo_id, url.repo_type, url.endpoint) == ("local/thing", kind, local_hub.endpoint)
        info = stock_api.repo_info("local/thing", repo_type=kind, files_metadata=True)
        assert info.sha
        assert ".gitattributes" in [file.rfilename for file in info.siblings]
    with pytest.raises(HfHubHTTPError, match="already created"):
        stock_api.create_repo("thing", repo_type="dataset")
    assert stock_api.create_repo("thing", repo_type="dataset", exist_ok=True).repo_id == "local/thing"
    assert [repo.id for repo in stock_api.list_datasets(author="local")] == ["local/thing"]
    stock_api.delete_repo("thing", repo_type="dataset")
    assert not stock_api.repo_exists("local/thing", repo_type="dataset")
    assert stock_api.repo_exists("local/thing")
    stock_api.create_repo("thing", repo_type="dataset")


def test_a_card_is_checked_and_read(stock_api: HfApi, dataset: str) -> None:
    card = b"---\nlicense: mit\nconfigs:\n- config_name: default\n---\n# Rows\n"
    stock_api.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id=dataset, repo_type="dataset")
    assert stock_api.repo_info(dataset, repo_type="dataset").card_data["license"] == "mit"
    with pytest.raises(ValueError, match="Invalid"):
        stock_api.upload_file(
            path_or_fileobj=b"---\na: [\n---\n", path_in_repo="README.md", repo_id=dataset, repo_type="dataset"
        )
