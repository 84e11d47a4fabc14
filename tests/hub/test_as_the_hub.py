"""Answers that the Hub gives and that clients rely on: names, redirects, paths, revisions, numbers, git."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from hubspool.local_hub import LocalHub
from hubspool.local_hub.storage import git_store
from hubspool.local_hub.storage.accounts import User
from hubspool.local_hub.storage.git_store import GitStore
from tests.support.git_runner import Git

REPO = {"repo_type": "dataset"}
MANY_DIGITS = "9" * 5000


def _commit(http: requests.Session, hub: LocalHub, repo: str, *lines: tuple[str, dict[str, str]]) -> requests.Response:
    body = [{"key": "header", "value": {"summary": "a"}}, *({"key": key, "value": value} for key, value in lines)]
    url = f"{hub.endpoint}/api/datasets/{repo}/commit/main"
    return http.post(url, data="\n".join(json.dumps(line) for line in body))


@pytest.mark.parametrize("path", ["api/models/gpt2", "api/models/gpt2/tree/main", "gpt2/resolve/main/config.json"])
def test_an_id_without_a_namespace_is_a_missing_repository(
    local_hub: LocalHub, http: requests.Session, path: str
) -> None:
    known = http.get(f"{local_hub.endpoint}/{path}")
    assert (known.status_code, known.headers["X-Error-Code"]) == (404, "RepoNotFound")
    anonymous = requests.get(f"{local_hub.endpoint}/{path}", timeout=30)
    assert (anonymous.status_code, anonymous.headers["X-Error-Code"]) == (401, "RepoNotFound")


def test_an_id_without_a_namespace_does_not_exist(stock_api: HfApi) -> None:
    assert not stock_api.repo_exists("gpt2")
    assert not stock_api.file_exists("gpt2", "config.json")
    assert not stock_api.revision_exists("squad", "main", **REPO)


def test_a_repository_may_be_called_like_a_route(stock_api: HfApi) -> None:
    for name in ("tree", "resolve", "revision", "refs"):
        stock_api.create_repo(f"local/{name}", **REPO)
        stock_api.upload_file(path_or_fileobj=b"1", path_in_repo="main/a", repo_id=f"local/{name}", **REPO)
        assert stock_api.file_exists(f"local/{name}", "main/a", **REPO)
        assert stock_api.list_repo_files(f"local/{name}", **REPO) == [".gitattributes", "main/a"]


def test_the_revision_head_is_main(stock_api: HfApi, dataset: str) -> None:
    head = stock_api.repo_info(dataset, **REPO).sha
    assert stock_api.repo_info(dataset, revision="HEAD", **REPO).sha == head
    with pytest.raises(HfHubHTTPError) as caught:
        stock_api.create_branch(dataset, branch="HEAD", **REPO)
    assert caught.value.response.status_code == 400


def test_a_branch_is_created_anew_or_empty(
    local_hub: LocalHub, stock_api: HfApi, dataset: str, http: requests.Session
) -> None:
    first = stock_api.repo_info(dataset, **REPO).sha
    stock_api.create_branch(dataset, branch="next", **REPO)
    stock_api.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id=dataset, revision="next", **REPO)
    url = f"{local_hub.endpoint}/api/datasets/{dataset}/branch/next"
    assert http.post(url, json={}).status_code == 409
    assert http.post(url, json={"overwrite": True}).status_code == 200
    assert stock_api.repo_info(dataset, revision="next", **REPO).sha == first
    assert http.post(url, json={"overwrite": True, "emptyBranch": True}).status_code == 200
    assert stock_api.list_repo_files(dataset, revision="next", **REPO) == []
    assert len(stock_api.list_repo_commits(dataset, revision="next", **REPO)) == 1
    main = f"{local_hub.endpoint}/api/datasets/{dataset}/branch/main"
    assert http.post(main, json={"overwrite": True, "emptyBranch": True}).status_code == 400
    assert stock_api.repo_info(dataset, **REPO).sha == first


def test_commits_are_counted(local_hub: LocalHub, stock_api: HfApi, dataset: str, http: requests.Session) -> None:
    for number in range(3):
        stock_api.upload_file(path_or_fileobj=b"%d" % number, path_in_repo="a", repo_id=dataset, **REPO)
    page = http.get(f"{local_hub.endpoint}/api/datasets/{dataset}/commits/main?limit=1")
    assert (len(page.json()), page.headers["X-Total-Count"]) == (1, "4")
    following = http.get(page.links["next"]["url"])
    assert (len(following.json()), following.headers["X-Total-Count"]) == (1, "4")


def test_a_folder_is_deleted_under_either_name(
    local_hub: LocalHub, stock_api: HfApi, dataset: str, http: requests.Session
) -> None:
    add = [CommitOperationAdd(path, b"1") for path in ("a/b/1", "a/b/2", "a/3")]
    stock_api.create_commit(dataset, add, commit_message="add", **REPO)
    assert _commit(http, local_hub, dataset, ("deletedFile", {"path": "a/b"})).status_code == 200
    assert stock_api.list_repo_files(dataset, **REPO) == [".gitattributes", "a/3"]
    missing = _commit(http, local_hub, dataset, ("deletedFile", {"path": "a/b"}))
    assert (missing.status_code, missing.headers["X-Error-Code"]) == (404, "EntryNotFound")


def test_ids_do_not_depend_on_case(local_hub: LocalHub, stock_api: HfApi) -> None:
    stock_api.create_repo("local/Rows", **REPO)
    stock_api.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id="LOCAL/rows", **REPO)
    assert stock_api.repo_info("Local/ROWS", **REPO).id == "local/Rows"
    assert stock_api.list_repo_files("local/Rows", **REPO) == [".gitattributes", "a"]
    with pytest.raises(HfHubHTTPError) as caught:
        stock_api.create_repo("local/ROWS", **REPO)
    assert caught.value.response.status_code == 409
    stock_api.move_repo("local/rows", "local/Cols", **REPO)
    assert stock_api.repo_info("local/rOWS", **REPO).id == "local/Cols"
    stock_api.move_repo("local/cols", "local/COLS", **REPO)
    assert [repo.id for repo in stock_api.list_datasets(author="LOCAL")] == ["local/COLS"]
    stock_api.delete_repo("local/cols", **REPO)
    assert list(stock_api.list_datasets()) == []


@pytest.mark.parametrize(
    "path",
    [
        *(".git /x", "git~1", "GIT~1/x", "a/.git.", ".git. .", "a/.g\u200cit/x", ".git::$INDEX_ALLOCATION/x"),
        *("é" * 128, "..\\x", "a\\.git\\x", "a/..\\GIT~1\\x"),
    ],
)
def test_a_path_that_git_refuses_on_some_machine_is_refused(
    local_hub: LocalHub, dataset: str, http: requests.Session, stock_api: HfApi, path: str
) -> None:
    answer = _commit(http, local_hub, dataset, ("file", {"path": path, "content": "1", "encoding": "utf-8"}))
    assert answer.status_code == 422
    assert stock_api.list_repo_files(dataset, **REPO) == [".gitattributes"]


@pytest.mark.parametrize(
    "path", ["é" * 127, "a\\b.txt", "a/..\\..\\b", "a\\..\\b", ".gitignore", ".github/x", "git~10", "a.git"]
)
def test_a_path_that_git_checks_out_is_taken(
    local_hub: LocalHub, dataset: str, http: requests.Session, stock_api: HfApi, git: Git, tmp_path: Path, path: str
) -> None:
    answer = _commit(http, local_hub, dataset, ("file", {"path": path, "content": "1", "encoding": "utf-8"}))
    assert answer.status_code == 200
    git("clone", f"{local_hub.endpoint}/datasets/{dataset}", str(tmp_path / "clone"))
    assert (tmp_path / "clone" / path).read_text() == "1"


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", f"api/datasets/local/rows/tree/main?limit={MANY_DIGITS}", {}),
        ("GET", f"api/datasets?limit={MANY_DIGITS}", {}),
        ("GET", f"api/datasets?cursor={MANY_DIGITS}", {}),
        ("GET", f"api/datasets/local/rows/commits/main?limit={MANY_DIGITS}", {}),
        ("POST", f"api/datasets/local/rows/commit/refs%2Fpr%2F{MANY_DIGITS}", {}),
        ("GET", "datasets/local/rows/resolve/main/.gitattributes", {"Range": f"bytes={MANY_DIGITS}-"}),
        ("GET", "datasets/local/rows/resolve/main/.gitattributes", {"Range": f"bytes=-{MANY_DIGITS}"}),
    ],
)
@pytest.mark.usefixtures("dataset")
def test_a_number_of_many_digits_is_refused(
    local_hub: LocalHub, http: requests.Session, method: str, path: str, headers: dict[str, str]
) -> None:
    answer = http.request(method, f"{local_hub.endpoint}/{path}", headers=headers)
    assert answer.status_code in (400, 404, 416)


def test_a_user_name_may_begin_with_an_underscore() -> None:
    with LocalHub(users=[User("_me", "hf_me")]) as hub:
        api = HfApi(endpoint=hub.endpoint, token="hf_me")
        assert api.create_repo("rows", **REPO).repo_id == "_me/rows"
        assert api.list_repo_files("_me/rows", **REPO) == [".gitattributes"]


def test_telemetry_is_taken(local_hub: LocalHub, dataset: str, http: requests.Session) -> None:
    token = http.get(f"{local_hub.endpoint}/api/datasets/{dataset}/xet-write-token/main").json()
    answer = requests.post(f"{token['casUrl']}/v1/telemetry", data=b"anything", timeout=30)
    assert (answer.status_code, answer.content) == (204, b"")


def test_a_clone_without_blobs_has_a_checkout(
    local_hub: LocalHub, stock_api: HfApi, dataset: str, git: Git, tmp_path: Path
) -> None:
    stock_api.upload_file(path_or_fileobj=b"1", path_in_repo="a/b", repo_id=dataset, **REPO)
    git("clone", "--filter=blob:none", f"{local_hub.endpoint}/datasets/{dataset}", str(tmp_path / "clone"))
    assert (tmp_path / "clone" / "a" / "b").read_text() == "1"


@pytest.mark.parametrize("commits", [1, 3])
def test_a_pull_into_a_shallow_clone_works(
    local_hub: LocalHub, stock_api: HfApi, dataset: str, git: Git, tmp_path: Path, commits: int
) -> None:
    for number in range(3):
        stock_api.upload_file(path_or_fileobj=b"%d" % number, path_in_repo="a", repo_id=dataset, **REPO)
    clone = str(tmp_path / "clone")
    git("clone", "--depth=1", f"{local_hub.endpoint}/datasets/{dataset}", clone)
    for number in range(commits):
        stock_api.upload_file(path_or_fileobj=b"new %d" % number, path_in_repo="a", repo_id=dataset, **REPO)
    git("-C", clone, "pull")
    assert Path(clone, "a").read_text() == f"new {commits - 1}"
    git("-C", clone, "fsck")
    git("-C", clone, "fetch", "--unshallow")
    assert len(git("-C", clone, "log", "--oneline").splitlines()) == 4 + commits


def test_there_are_no_lfs_locks(
    local_hub: LocalHub, http: requests.Session, dataset: str, git: Git, tmp_path: Path
) -> None:
    base = f"{local_hub.endpoint}/datasets/{dataset}.git/info/lfs/locks"
    assert http.get(base).json() == {"locks": []}
    assert http.post(f"{base}/verify", json={}).json() == {"ours": [], "theirs": []}
    assert http.post(base, json={"path": "a"}).status_code == 404
    address = local_hub.endpoint.replace("//", f"//local:{local_hub.token}@")
    clone = str(tmp_path / "clone")
    git("clone", f"{address}/datasets/{dataset}", clone)
    assert git("-C", clone, "lfs", "locks") == ""


def test_a_listing_goes_on_behind_its_last_path(
    local_hub: LocalHub, stock_api: HfApi, dataset: str, http: requests.Session
) -> None:
    paths = ["a.txt", "a/1", "a/b/2", "a/b/3", "a/c", "a0", "z"]
    add = [CommitOperationAdd(path, path.encode()) for path in paths]
    stock_api.create_commit(dataset, add, commit_message="add", **REPO)
    first = f"{local_hub.endpoint}/api/datasets/{dataset}/tree/main"
    everything = [entry["path"] for entry in http.get(f"{first}?recursive=true").json()]
    for folder, query in (("", "recursive=true"), ("/a", "recursive=true"), ("/a", ""), ("", "")):
        whole = [entry["path"] for entry in http.get(f"{first}{folder}?{query}").json()]
        url, found = f"{first}{folder}?{query}&limit=1", []
        while url:
            page = http.get(url)
            found += [entry["path"] for entry in page.json()]
            assert found == whole[: len(found)]
            url = page.links.get("next", {}).get("url")
        assert found == whole
    page = http.get(f"{first}?recursive=true&limit=4")
    new = [CommitOperationAdd("a!", b"1"), CommitOperationAdd("b", b"2")]
    stock_api.create_commit(dataset, new, commit_message="meanwhile", **REPO)
    stock_api.delete_file("a.txt", dataset, **REPO)
    rest = []
    while "next" in page.links:
        page = http.get(page.links["next"]["url"])
        rest += [entry["path"] for entry in page.json()]
    assert rest == [*everything[4:-1], "b", "z"]


def test_a_blob_is_read_once_for_its_size(
    local_hub: LocalHub, stock_api: HfApi, dataset: str, http: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = [CommitOperationAdd(f"{number}.txt", b"%d" % number * 1000) for number in range(30)]
    stock_api.create_commit(dataset, add, commit_message="add", **REPO)
    reads = []
    read = GitStore.blob
    monkeypatch.setattr(GitStore, "blob", lambda store, oid: reads.append(oid) or read(store, oid))
    for _ in range(3):
        url = f"{local_hub.endpoint}/api/datasets/{dataset}/tree/main?limit=10"
        while url:
            page = http.get(url)
            url = page.links.get("next", {}).get("url")
    assert http.get(f"{local_hub.endpoint}/api/datasets/{dataset}?blobs=true").json()["siblings"][1]["size"] == 1000
    assert len(reads) == len(set(reads)) == 31


def test_objects_are_packed_and_stay_readable(
    local_hub: LocalHub, stock_api: HfApi, dataset: str, git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_store, "LIMITS", replace(git_store.LIMITS, object_files=20))
    stock_api.create_branch(dataset, branch="gone", **REPO)
    gone = stock_api.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id=dataset, revision="gone", **REPO).oid
    stock_api.delete_branch(dataset, branch="gone", **REPO)
    commits = []
    for number in range(30):
        operation = [CommitOperationAdd(f"{number}", b"%d" % number)]
        commits.append(stock_api.create_commit(dataset, operation, commit_message="a", **REPO).oid)
    objects = local_hub.root / "repos" / "datasets" / f"{dataset}.git" / "objects"
    assert len([path for path in objects.glob("*/*") if path.is_file()]) < 40  # of more than 90 objects
    for number, commit in enumerate(commits):
        assert len(stock_api.list_repo_files(dataset, revision=commit, **REPO)) == number + 2
    assert stock_api.list_repo_files(dataset, revision=gone, **REPO) == [".gitattributes", "x"]
    git("clone", f"{local_hub.endpoint}/datasets/{dataset}", str(tmp_path / "clone"))
    git("fsck", "--strict", "--full", cwd=objects.parent)


def test_who_may_read_or_write_is_told_without_a_change(local_hub: LocalHub, stock_api: HfApi, dataset: str) -> None:
    """What `auth_check` of huggingface_hub asks."""
    stock_api.auth_check(dataset, repo_type="dataset")
    with pytest.raises(RepositoryNotFoundError):
        stock_api.auth_check("local/none")
    for token, path, status in (
        ("hf_local", "auth-check/write", 200), ("", "auth-check", 200), ("", "auth-check/write", 401),
        ("hf_wrong", "auth-check", 401),
    ):  # fmt: skip
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        address = f"{local_hub.endpoint}/api/datasets/{dataset}/{path}"
        assert requests.get(address, headers=headers, timeout=20).status_code == status, (token, path)


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        ({"X-Request-Id": "custom-id"}, "custom-id"),
        ({"X-Amzn-Trace-Id": "d67e0a92-86e2"}, "d67e0a92-86e2"),
        ({"X-Request-Id": "a", "X-Amzn-Trace-Id": "b"}, "a"),
        ({"X-Request-Id": "x" * 5000}, None),
        ({}, None),
    ],
)
def test_a_request_keeps_the_id_that_its_client_gave(
    local_hub: LocalHub, sent: dict[str, str], answered: str | None
) -> None:
    found = requests.get(f"{local_hub.endpoint}/api/models", headers=sent, timeout=20).headers["X-Request-Id"]
    assert found == answered if answered else 20 < len(found) < 40


def test_a_repository_does_not_take_the_name_of_another(stock_api: HfApi, dataset: str) -> None:
    stock_api.create_repo("local/other", **REPO)
    with pytest.raises(HfHubHTTPError, match="A dataset repository called local/other already exists"):
        stock_api.move_repo(dataset, "local/other", **REPO)


@pytest.mark.parametrize(
    "card", ["\n---\nmodel-index: foo\n---\n", " ---\nmodel-index: {}\n---\n", "\n---\na: [\n---\n"]
)
def test_metadata_is_checked_as_the_hub_reads_it(
    local_hub: LocalHub, dataset: str, http: requests.Session, card: str
) -> None:
    answer = http.post(f"{local_hub.endpoint}/api/validate-yaml", json={"content": card})
    assert answer.status_code == 400
    assert answer.json()["errors"]
    answer = _commit(http, local_hub, dataset, ("file", {"path": "README.md", "content": card, "encoding": "utf-8"}))
    assert answer.status_code == 400
