"""Operations of a commit beyond adding: copies, deletions, pull requests, and the memory that additions take."""

from __future__ import annotations

import os
import tracemalloc
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from hubspool import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi
from hubspool.errors import EntryNotFoundError, HFValidationError, ParentCommitMismatchError, RequestError
from hubspool.local_hub import Fault, LocalHub

REPO, OTHER = "local/here", "local/there"
BIG = os.urandom(3_000_000)


@pytest.fixture
def api(hub_api: HfApi) -> HfApi:
    hub_api.create_repo(REPO)
    hub_api.create_repo(OTHER, repo_type="dataset")
    return hub_api


@pytest.fixture
def traffic(api: HfApi, local_hub: LocalHub) -> Iterator[LocalHub]:
    """The Hub, with no request on record once the repositories hold `big.bin` and `small.txt`."""
    files = [CommitOperationAdd("big.bin", BIG), CommitOperationAdd("small.txt", b"small")]
    api.create_commit(REPO, files, commit_message="m")
    files = [CommitOperationAdd("big.bin", BIG[::-1]), CommitOperationAdd("small.txt", b"there")]
    api.create_commit(OTHER, files, commit_message="m", repo_type="dataset")
    assert local_hub.requests.wait_idle()
    local_hub.requests.clear()
    yield local_hub


def read(api: HfApi, path: str, folder: Path, revision: str | None = None) -> bytes:
    target = folder / "down"
    return Path(api.hf_hub_download(REPO, path, revision=revision, local_dir=target, force_download=True)).read_bytes()


def test_a_copied_large_file_does_not_travel(api: HfApi, traffic: LocalHub, tmp_path: Path) -> None:
    copies = [
        CommitOperationCopy("big.bin", "copies/here.bin"),
        CommitOperationCopy("big.bin", "copies/there.bin", src_repo_id=OTHER, src_repo_type="dataset"),
    ]
    api.create_commit(REPO, copies, commit_message="m")
    assert traffic.requests.wait_idle()
    assert sum(record.bytes_in + record.bytes_out for record in traffic.requests) < 20_000
    assert len(traffic.requests.of("lfs-duplicate")) == 1
    assert read(api, "copies/here.bin", tmp_path) == BIG
    assert read(api, "copies/there.bin", tmp_path) == BIG[::-1]


def test_a_copied_regular_file_is_fetched_and_sent(api: HfApi, traffic: LocalHub, tmp_path: Path) -> None:
    source = {"src_repo_id": OTHER, "src_repo_type": "dataset"}
    copies = [CommitOperationCopy("small.txt", "a.txt"), CommitOperationCopy("small.txt", "b.txt", **source)]
    api.create_commit(REPO, copies, commit_message="m")
    assert len(traffic.requests.of("resolve")) == 2
    assert (read(api, "a.txt", tmp_path), read(api, "b.txt", tmp_path)) == (b"small", b"there")


def test_a_copy_of_what_is_there_is_no_commit(api: HfApi, traffic: LocalHub) -> None:
    operations = [CommitOperationCopy("big.bin", "2.bin"), CommitOperationCopy("small.txt", "2.txt")]
    first = api.create_commit(REPO, operations, commit_message="m")
    again = api.create_commit(REPO, operations, commit_message="m")
    assert (again.is_noop, again.oid) == (True, first.oid)


def test_a_file_is_renamed_by_a_copy_and_a_deletion(api: HfApi, traffic: LocalHub) -> None:
    operations = [CommitOperationCopy("big.bin", "new.bin"), CommitOperationDelete("big.bin")]
    api.create_commit(REPO, operations, commit_message="rename")
    assert set(api.list_repo_files(REPO)) == {".gitattributes", "new.bin", "small.txt"}


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        (CommitOperationCopy("absent", "x"), EntryNotFoundError),
        (CommitOperationCopy("small.txt", "x", src_revision="absent"), RequestError),
        (CommitOperationCopy("folder", "x"), HFValidationError),
    ],
)
def test_what_cannot_be_copied_is_named(
    api: HfApi, traffic: LocalHub, operation: CommitOperationCopy, error: type[Exception]
) -> None:
    api.upload_file(path_or_fileobj=b"x", path_in_repo="folder/x", repo_id=REPO)
    traffic.requests.clear()
    with pytest.raises(error):
        api.create_commit(REPO, [operation], commit_message="m")
    assert traffic.requests.wait_idle()
    assert traffic.requests.of("commit") == []


def test_an_object_that_the_other_repository_may_not_give_is_an_error(api: HfApi, traffic: LocalHub) -> None:
    body = '{"failed": [{"sha256": "abc", "error": "other region"}]}'
    traffic.faults.add(Fault(route="lfs-duplicate", status=200, body=body))
    copy = CommitOperationCopy("big.bin", "x.bin", src_repo_id=OTHER, src_repo_type="dataset")
    with pytest.raises(RequestError, match="abc: other region"):
        api.create_commit(REPO, [copy], commit_message="m")
    assert len(traffic.faults.hits) == 1


def test_operations_that_overwrite_each_other_are_warned_of(api: HfApi, traffic: LocalHub, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Two operations of one commit write 'a'"):
        operations = [CommitOperationAdd("a", b"1"), CommitOperationAdd("a", b"2")]
        api.create_commit(REPO, operations, commit_message="m")
    assert read(api, "a", tmp_path) == b"2"
    for deletion in ("in/", "in/a"):
        with pytest.warns(UserWarning, match="writes and then deletes"):
            operations = [CommitOperationAdd("in/a", b"1"), CommitOperationDelete(deletion)]
            api.create_commit(REPO, operations, commit_message="m")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        operations = [CommitOperationDelete("a"), CommitOperationAdd("a", b"2"), CommitOperationAdd("in/b", b"2")]
        api.create_commit(REPO, operations, commit_message="m")
    assert read(api, "a", tmp_path) == b"2"


def test_of_two_additions_the_last_one_counts_also_where_it_is_what_the_hub_has(api: HfApi, tmp_path: Path) -> None:
    api.upload_file(path_or_fileobj=b"old", path_in_repo="a", repo_id=REPO)
    with pytest.warns(UserWarning, match="Two operations"):
        operations = [CommitOperationAdd("a", b"new"), CommitOperationAdd("a", b"old")]
        api.create_commit(REPO, operations, commit_message="m")
    assert read(api, "a", tmp_path) == b"old"


def pull_requests(api: HfApi) -> list[str]:
    return [pull.ref for pull in api.list_repo_refs(REPO, include_pull_requests=True).pull_requests or []]


def test_a_pull_request_is_opened_first_so_that_a_repeated_commit_cannot_open_two(
    api: HfApi, traffic: LocalHub, tmp_path: Path
) -> None:
    traffic.faults.add(Fault(route="commit", status=429, headers={"Retry-After": "0"}))
    info = api.upload_file(path_or_fileobj=b"new", path_in_repo="small.txt", repo_id=REPO, create_pr=True)
    assert len(traffic.faults.hits) == 1
    asked = [record.route for record in traffic.requests]
    assert asked.index("discussion-create") < asked.index("commit")
    assert pull_requests(api) == ["refs/pr/1"]
    assert (info.pr_num, info.pr_revision) == (1, "refs/pr/1")
    assert read(api, "small.txt", tmp_path, revision="refs/pr/1") == b"new"
    assert read(api, "small.txt", tmp_path) == b"small"


def test_a_commit_to_a_pull_request_that_fails_says_where_to_go_on(api: HfApi, traffic: LocalHub) -> None:
    traffic.faults.add(Fault(route="commit", drop=True, applied=True))
    with pytest.raises(RequestError, match="revision='refs/pr/1'"):
        api.upload_file(path_or_fileobj=b"new", path_in_repo="small.txt", repo_id=REPO, create_pr=True)
    again = api.upload_file(path_or_fileobj=b"new", path_in_repo="small.txt", repo_id=REPO, revision="refs/pr/1")
    assert again.is_noop
    assert pull_requests(api) == ["refs/pr/1"]


def test_a_pull_request_of_nothing_new_is_not_opened(api: HfApi, traffic: LocalHub) -> None:
    info = api.upload_file(path_or_fileobj=BIG, path_in_repo="big.bin", repo_id=REPO, create_pr=True)
    assert (info.is_noop, info.pr_url) == (True, None)
    assert pull_requests(api) == []


def test_a_pull_request_against_a_branch_or_a_parent_is_one_request(api: HfApi, traffic: LocalHub) -> None:
    head = api.repo_info(REPO).sha
    info = api.upload_file(
        path_or_fileobj=b"1", path_in_repo="a", repo_id=REPO, create_pr=True, parent_commit=head, commit_message="mine"
    )
    assert traffic.requests.wait_idle()
    assert traffic.requests.of("discussion-create") == []
    assert api.get_discussion_details(REPO, info.pr_num or 0).title == "mine"


def test_an_addition_that_a_new_pull_request_contains_cannot_be_committed_again(api: HfApi) -> None:
    addition = CommitOperationAdd("new.txt", b"new")
    api.create_commit(REPO, [addition], commit_message="m", create_pr=True)
    with pytest.raises(HFValidationError, match="committed already"):
        api.create_commit(REPO, [addition], commit_message="m")


def test_another_parent_has_an_error_of_its_own(api: HfApi, traffic: LocalHub) -> None:
    head = api.repo_info(REPO).sha
    api.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id=REPO, parent_commit=head)
    with pytest.raises(ParentCommitMismatchError, match="head as parent_commit"):
        api.upload_file(path_or_fileobj=b"2", path_in_repo="a", repo_id=REPO, parent_commit=head)


def test_a_sent_addition_holds_no_content(api: HfApi, traffic: LocalHub) -> None:
    def shard(number: int) -> CommitOperationAdd:
        return CommitOperationAdd(f"{number}.bin", os.urandom(4_000_000))

    api.preupload_lfs_files(REPO, [shard(99)])  # what is loaded once is not counted
    tracemalloc.start()
    operations, before = [], tracemalloc.get_traced_memory()[0]
    for number in range(5):
        operations.append(shard(number))
        api.preupload_lfs_files(REPO, [operations[-1]])
        assert operations[-1].path_or_fileobj == b""
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert held < 1_000_000
    api.create_commit(REPO, operations, commit_message="m")
    sizes = {entry.size for entry in api.get_paths_info(REPO, [f"{n}.bin" for n in range(5)])}  # type: ignore[union-attr]
    assert sizes == {4_000_000}


def test_additions_of_a_folder_are_small(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 4000)
    CommitOperationAdd("x", tmp_path / "f")
    tracemalloc.start()
    additions = [CommitOperationAdd(f"a/folder/in/the/repo/{n}", tmp_path / "f") for n in range(2000)]
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held / len(additions) < 1200
