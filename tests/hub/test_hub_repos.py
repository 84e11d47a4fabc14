"""Names, settings, listings and copies of repositories."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, HfApi, HfFileSystem
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from hubspool.local_hub import LocalHub

REPO = {"repo_type": "dataset"}
RANDOM = bytes(range(256)) * 8192  # 2 MiB, binary


def test_a_moved_repository_answers_under_both_names(
    local_hub: LocalHub, stock_api: HfApi, dataset: str, http: requests.Session
) -> None:
    stock_api.move_repo(dataset, "local/better", **REPO)
    assert stock_api.repo_info(dataset, **REPO).id == "local/better"
    old = http.get(f"{local_hub.endpoint}/api/datasets/{dataset}/revision/main?blobs=True", allow_redirects=False)
    assert old.status_code == 307
    # huggingface_hub 1.28 follows a redirect only within its origin
    assert old.headers["Location"] == "/api/datasets/local/better/revision/main?blobs=True"
    stock_api.upload_file(path_or_fileobj=b"1", path_in_repo="a.txt", repo_id=dataset, **REPO)
    assert "a.txt" in stock_api.list_repo_files("local/better", **REPO)
    assert [found.id for found in stock_api.list_datasets()] == ["local/better"]
    stock_api.move_repo("local/better", "local/best", **REPO)
    assert stock_api.repo_info(dataset, **REPO).id == "local/best"
    stock_api.move_repo("local/best", dataset, **REPO)
    assert {stock_api.repo_info(name, **REPO).id for name in (dataset, "local/better", "local/best")} == {dataset}


def test_a_new_repository_takes_the_old_name_back(stock_api: HfApi, dataset: str) -> None:
    stock_api.move_repo(dataset, "local/better", **REPO)
    stock_api.create_repo(dataset, **REPO)
    stock_api.upload_file(path_or_fileobj=b"1", path_in_repo="a.txt", repo_id=dataset, **REPO)
    assert stock_api.list_repo_files("local/better", **REPO) == [".gitattributes"]
    stock_api.delete_repo(dataset, **REPO)
    with pytest.raises(RepositoryNotFoundError):
        stock_api.repo_info(dataset, **REPO)


@pytest.mark.parametrize(("name", "status"), [("local/taken", 409), ("other/rows", 403), ("local/a..b", 400)])
def test_a_move_to_a_bad_name_changes_nothing(stock_api: HfApi, dataset: str, name: str, status: int) -> None:
    stock_api.create_repo("local/taken", **REPO)
    with pytest.raises(HfHubHTTPError) as caught:
        stock_api.move_repo(dataset, name, **REPO)
    assert caught.value.response.status_code == status
    assert {found.id for found in stock_api.list_datasets()} == {dataset, "local/taken"}


def test_settings_are_kept(local_hub: LocalHub, stock_api: HfApi, dataset: str, http: requests.Session) -> None:
    stock_api.update_repo_settings(dataset, private=True, gated="manual", **REPO)
    info = stock_api.repo_info(dataset, **REPO)
    assert (info.private, info.gated) == (True, "manual")
    stock_api.update_repo_settings(dataset, visibility="public", **REPO)
    info = stock_api.repo_info(dataset, **REPO)
    assert (info.private, info.gated) == (False, "manual")
    url = f"{local_hub.endpoint}/api/datasets/{dataset}/settings"
    refused = http.put(url, json={"visibility": "hidden"})
    assert (refused.status_code, "visibility" in refused.json()["error"]) == (400, True)


def test_listings_are_filtered_sorted_and_paged(local_hub: LocalHub, stock_api: HfApi, http: requests.Session) -> None:
    for name, tag in (("a-rows", "x"), ("b-rows", "y"), ("c-cols", "x")):
        stock_api.create_repo(f"local/{name}", **REPO)
        stock_api.upload_file(
            path_or_fileobj=f"---\ntags: [{tag}]\nlicense: mit\n---\n".encode(),
            path_in_repo="README.md",
            repo_id=f"local/{name}",
            **REPO,
        )
    assert [repo.id for repo in stock_api.list_datasets(search="rows")] == ["local/a-rows", "local/b-rows"]
    assert [repo.id for repo in stock_api.list_datasets(filter=["x", "license:mit"])] == [
        "local/a-rows",
        "local/c-cols",
    ]
    assert next(iter(stock_api.list_datasets(sort="created_at"))).id == "local/c-cols"
    assert next(iter(stock_api.list_datasets(expand=["cardData"]))).card_data.license == "mit"
    first = http.get(f"{local_hub.endpoint}/api/datasets", params={"limit": 2, "author": "local"})
    rest = http.get(first.links["next"]["url"])
    assert [repo["id"] for answer in (first, rest) for repo in answer.json()] == [
        "local/a-rows",
        "local/b-rows",
        "local/c-cols",
    ]
    assert "next" not in rest.links


def test_files_are_copied_within_and_between_repositories(
    stock_api: HfApi, dataset: str, fetch: Callable[[str], bytes]
) -> None:
    stock_api.create_repo("local/source", private=True)
    stock_api.create_commit(
        "local/source",
        [CommitOperationAdd("big.bin", RANDOM), CommitOperationAdd("small.txt", b"small")],
        commit_message="Source",
    )
    stock_api.create_commit(
        dataset,
        [
            CommitOperationCopy(path, f"copies/{path}", src_repo_id="local/source", src_repo_type="model")
            for path in ("big.bin", "small.txt")
        ],
        commit_message="Copies",
        **REPO,
    )
    stock_api.create_commit(
        dataset, [CommitOperationCopy("copies/big.bin", "again.bin")], commit_message="Again", **REPO
    )
    assert [fetch(path) for path in ("copies/big.bin", "copies/small.txt", "again.bin")] == [RANDOM, b"small", RANDOM]


def test_content_that_the_source_does_not_hold_is_not_duplicated(
    local_hub: LocalHub, stock_api: HfApi, dataset: str, http: requests.Session
) -> None:
    stock_api.create_repo("local/source")
    answer = http.post(
        f"{local_hub.endpoint}/api/models/local/source/lfs-files/duplicate",
        json={
            "target": {"type": "dataset", "name": dataset},
            "files": [{"sha256": "0" * 64, "xetHash": "0" * 64, "filename": "x"}],
        },
    )
    assert [failure["sha256"] for failure in answer.json()["failed"]] == ["0" * 64]


def test_the_file_system_reads_writes_and_copies(local_hub: LocalHub, stock_api: HfApi, dataset: str) -> None:
    files = HfFileSystem(endpoint=local_hub.endpoint, token=local_hub.token, skip_instance_cache=True)
    with files.open(f"datasets/{dataset}/a/big.bin", "wb") as out:
        out.write(RANDOM)
    files.cp_file(f"datasets/{dataset}/a/big.bin", f"datasets/{dataset}/b.bin")
    files.invalidate_cache()
    with files.open(f"datasets/{dataset}/b.bin", "rb") as opened:
        opened.seek(1 << 20)
        assert opened.read(1000) == RANDOM[1 << 20 :][:1000]
    assert [Path(path).name for path in files.glob(f"datasets/{dataset}/**/*.bin")] == ["big.bin", "b.bin"]
    files.rm(f"datasets/{dataset}/a/big.bin")
    assert not files.exists(f"datasets/{dataset}/a/big.bin")
