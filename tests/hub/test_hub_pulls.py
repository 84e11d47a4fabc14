"""Pull requests, as the stock client makes them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.community import DiscussionComment, DiscussionCommit, DiscussionStatusChange
from huggingface_hub.errors import BadRequestError, HfHubHTTPError

from hubspool.local_hub import LocalHub

REPO = {"repo_type": "dataset"}


def put(api: HfApi, dataset: str, path: str, content: bytes, **options: object) -> object:
    return api.upload_file(path_or_fileobj=content, path_in_repo=path, repo_id=dataset, repo_type="dataset", **options)


def test_a_commit_can_open_a_pull_request_and_leaves_the_branch_alone(stock_api: HfApi, dataset: str) -> None:
    before = stock_api.repo_info(dataset, **REPO).sha
    made = stock_api.create_commit(
        dataset,
        [CommitOperationAdd("a.txt", b"1"), CommitOperationAdd("big.bin", b"\0x" * 600_000)],
        commit_message="Two files",
        commit_description="why",
        create_pr=True,
        **REPO,
    )
    assert (made.pr_num, made.pr_revision) == (1, "refs/pr/1")
    assert made.pr_url == f"{stock_api.endpoint}/datasets/{dataset}/discussions/1"
    assert stock_api.repo_info(dataset, **REPO).sha == before
    assert set(stock_api.list_repo_files(dataset, revision="refs/pr/1", **REPO)) == {
        ".gitattributes",
        "a.txt",
        "big.bin",
    }
    details = stock_api.get_discussion_details(dataset, 1, **REPO)
    assert (details.title, details.status, details.is_pull_request) == ("Two files", "open", True)
    assert (details.target_branch, details.conflicting_files) == ("refs/heads/main", [])
    assert "+1" in str(details.diff)
    opening, commit = details.events
    assert isinstance(opening, DiscussionComment)
    assert opening.content == "why"
    assert isinstance(commit, DiscussionCommit)
    assert (commit.oid, commit.summary) == (made.oid, "Two files")


def test_commits_to_a_pull_request_are_merged_as_one(
    stock_api: HfApi, dataset: str, fetch: Callable[[str], bytes]
) -> None:
    pull = stock_api.create_pull_request(dataset, "Better rows", description="please", **REPO)
    assert (pull.num, pull.status) == (1, "draft")
    put(stock_api, dataset, "rows.txt", b"new", revision=pull.git_reference)
    put(stock_api, dataset, "more.txt", b"more", revision=pull.git_reference)
    put(stock_api, dataset, "elsewhere.txt", b"main")
    stock_api.merge_pull_request(dataset, 1, comment="Thanks", **REPO)
    details = stock_api.get_discussion_details(dataset, 1, **REPO)
    newest, *_ = stock_api.list_repo_commits(dataset, **REPO)
    assert details.status == "merged"
    assert newest.commit_id == details.merge_commit_oid
    assert newest.title == "Better rows (#1)"
    assert {type(event) for event in details.events} == {DiscussionComment, DiscussionCommit, DiscussionStatusChange}
    assert [fetch(name) for name in ("rows.txt", "more.txt", "elsewhere.txt")] == [b"new", b"more", b"main"]
    with pytest.raises(BadRequestError, match="not an open pull request"):
        stock_api.merge_pull_request(dataset, 1, **REPO)


def test_a_conflict_is_named_and_not_merged(stock_api: HfApi, dataset: str) -> None:
    put(stock_api, dataset, "rows.txt", b"0")
    put(stock_api, dataset, "rows.txt", b"theirs", create_pr=True)
    put(stock_api, dataset, "rows.txt", b"ours")
    head = stock_api.repo_info(dataset, **REPO).sha
    assert stock_api.get_discussion_details(dataset, 1, **REPO).conflicting_files == ["rows.txt"]
    with pytest.raises(HfHubHTTPError) as caught:
        stock_api.merge_pull_request(dataset, 1, **REPO)
    assert caught.value.response.status_code == 409
    assert stock_api.repo_info(dataset, **REPO).sha == head


def test_a_pull_request_starts_from_its_parent_commit(stock_api: HfApi, dataset: str) -> None:
    base = stock_api.repo_info(dataset, **REPO).sha
    put(stock_api, dataset, "later.txt", b"x")
    put(stock_api, dataset, "a.txt", b"a", create_pr=True, parent_commit=base)
    assert stock_api.list_repo_files(dataset, revision="refs/pr/1", **REPO) == [".gitattributes", "a.txt"]
    stock_api.merge_pull_request(dataset, 1, **REPO)
    assert stock_api.list_repo_files(dataset, **REPO) == [".gitattributes", "a.txt", "later.txt"]


def test_a_pull_request_is_squashed_and_fetched_by_git(stock_api: HfApi, dataset: str, tmp_path: Path) -> None:
    put(stock_api, dataset, "a.txt", b"1", create_pr=True)
    put(stock_api, dataset, "a.txt", b"2", revision="refs/pr/1")
    stock_api.super_squash_history(dataset, branch="refs/pr/1", **REPO)
    assert len(stock_api.list_repo_commits(dataset, revision="refs/pr/1", **REPO)) == 1
    url = f"{stock_api.endpoint}/datasets/{dataset}"
    subprocess.run(["git", "init", "-q", tmp_path], check=True, timeout=30)
    subprocess.run(["git", "fetch", "-q", url, "refs/pr/1"], cwd=tmp_path, check=True, timeout=30)
    shown = subprocess.run(
        ["git", "show", "FETCH_HEAD:a.txt"], cwd=tmp_path, check=True, timeout=30, capture_output=True
    )
    assert shown.stdout == b"2"


def test_who_may_not_write_may_still_open_a_pull_request(hub_environment: Path) -> None:
    with LocalHub(users=["ada:hf_ada", "bob:hf_bob", "eve:hf_eve:read"]) as hub:
        ada, bob, eve = (HfApi(endpoint=hub.endpoint, token=token) for token in ("hf_ada", "hf_bob", "hf_eve"))
        for name, private in (("open", False), ("secret", True)):
            ada.create_repo(f"ada/{name}", private=private)
        bob.upload_file(path_or_fileobj=b"\0" * 2_000_000, path_in_repo="b.bin", repo_id="ada/open", create_pr=True)
        bob.upload_file(path_or_fileobj=b"2", path_in_repo="c.txt", repo_id="ada/open", revision="refs/pr/1")
        for client, change in (
            (bob, lambda api: api.merge_pull_request("ada/open", 1)),
            (bob, lambda api: api.upload_file(path_or_fileobj=b"2", path_in_repo="c", repo_id="ada/open")),
            (bob, lambda api: api.create_pull_request("ada/secret", "Let me in")),
            (eve, lambda api: api.create_pull_request("ada/open", "I only read")),
            (
                eve,
                lambda api: api.upload_file(path_or_fileobj=b"2", path_in_repo="c", repo_id="ada/open", create_pr=True),
            ),
        ):
            with pytest.raises(HfHubHTTPError) as caught:
                change(client)
            assert caught.value.response.status_code in (403, 404)
        ada.merge_pull_request("ada/open", 1)
        assert ada.list_repo_files("ada/open") == [".gitattributes", "b.bin", "c.txt"]


def test_two_revisions_are_compared(stock_api: HfApi, dataset: str, http: requests.Session) -> None:
    before = stock_api.repo_info(dataset, **REPO).sha
    put(stock_api, dataset, "a.txt", b"new line\n")
    answer = http.get(f"{stock_api.endpoint}/api/datasets/{dataset}/compare/{before}..main")
    assert "+new line" in answer.text


def test_a_discussion_that_is_no_pull_request_is_refused(stock_api: HfApi, dataset: str) -> None:
    with pytest.raises(BadRequestError, match="keeps pull requests, and no other discussions"):
        stock_api.create_discussion(dataset, "Where are the rows?", **REPO)
    assert stock_api.list_repo_refs(dataset, include_pull_requests=True, **REPO).pull_requests == []
