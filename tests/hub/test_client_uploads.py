"""What our client commits, the stock client reads, byte for byte, and the other way round."""

from __future__ import annotations

import io
import os
from pathlib import Path

import huggingface_hub
import pytest

from hubspool.client.file_range import FileRange
from hubspool.client.hf_api import HfApi
from hubspool.client.operations import CommitOperationAdd, CommitOperationDelete
from hubspool.client.repo_info import DatasetInfo, RepoFile, RepoFolder
from hubspool.client.transfer.options import TransferOptions
from hubspool.errors import (
    ConflictError,
    HFValidationError,
    ParentCommitMismatchError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from hubspool.local_hub import LocalHub
from tests.support.request_log import asked, forget

REPO = "local/data"
BIG = os.urandom(30_000_000)
CONTENTS = {
    "notes/read me.txt": "naïve ö\n".encode(),
    "weights.bin": BIG,
    "empty.txt": b"",
    "empty.bin": b"",
    "rows.jsonl": b'{"a": 1}\n' * 50_000,
}


@pytest.fixture
def api(hub_api: HfApi) -> HfApi:
    hub_api.create_repo(REPO, repo_type="dataset")
    return hub_api


def commit(api: HfApi, *operations: CommitOperationAdd | CommitOperationDelete, **options: object):  # type: ignore[no-untyped-def]
    return api.create_commit(REPO, operations, commit_message="m", repo_type="dataset", **options)  # type: ignore[call-overload]


def read(api: HfApi, path: str, folder: Path) -> bytes:
    found = api.hf_hub_download(REPO, path, repo_type="dataset", local_dir=folder, force_download=True)
    return Path(found).read_bytes()


def paths(api: HfApi) -> set[str]:
    return set(api.list_repo_files(REPO, repo_type="dataset")) - {".gitattributes"}


def test_what_we_commit_the_stock_client_reads(api: HfApi, stock_api: huggingface_hub.HfApi, tmp_path: Path) -> None:
    info = commit(api, *(CommitOperationAdd(path, data) for path, data in CONTENTS.items()))
    assert stock_api.repo_info(REPO, repo_type="dataset").sha == info.oid
    assert paths(api) == set(CONTENTS)
    for path, data in CONTENTS.items():
        found = stock_api.hf_hub_download(REPO, path, repo_type="dataset", local_dir=tmp_path / "stock")
        assert Path(found).read_bytes() == data
        assert read(api, path, tmp_path / "ours") == data


def test_what_the_stock_client_commits_we_read(api: HfApi, stock_api: huggingface_hub.HfApi, tmp_path: Path) -> None:
    for path, data in CONTENTS.items():
        stock_api.upload_file(path_or_fileobj=data, path_in_repo=path, repo_id=REPO, repo_type="dataset")
    for path, data in CONTENTS.items():
        assert read(api, path, tmp_path) == data
    assert [c.title for c in api.list_repo_commits(REPO, repo_type="dataset")] == [
        c.title for c in stock_api.list_repo_commits(REPO, repo_type="dataset")
    ]


def test_every_kind_of_content_arrives(api: HfApi, tmp_path: Path) -> None:
    data = os.urandom(2_000_000)
    file = tmp_path / "file.bin"
    file.write_bytes(data)
    with file.open("rb") as opened:
        commit(
            api,
            CommitOperationAdd("bytes.bin", data + b"1"),
            CommitOperationAdd("path.bin", file),
            CommitOperationAdd("opened.bin", opened),
            CommitOperationAdd("memory.bin", io.BytesIO(data + b"2")),
            CommitOperationAdd("range.bin", FileRange(file, 100, 1_500_000)),
        )
    assert read(api, "bytes.bin", tmp_path) == data + b"1"
    assert read(api, "path.bin", tmp_path) == read(api, "opened.bin", tmp_path) == data
    assert read(api, "memory.bin", tmp_path) == data + b"2"
    assert read(api, "range.bin", tmp_path) == data[100:1_500_000]


def test_a_file_that_grew_sends_little_more_than_what_is_new(
    api: HfApi, local_hub: LocalHub, stock_api: huggingface_hub.HfApi, tmp_path: Path
) -> None:
    file = tmp_path / "log.bin"
    file.write_bytes(BIG)
    first, grown = FileRange(file, 0, 29_000_000), FileRange(file, 0, 30_000_000)
    commit(api, CommitOperationAdd("log.bin", first))
    forget(local_hub)
    commit(api, CommitOperationAdd("log.bin", grown))
    assert local_hub.requests.wait_idle()
    assert 1_000_000 <= sum(record.bytes_in for record in local_hub.requests) < 1_500_000
    found = stock_api.hf_hub_download(REPO, "log.bin", repo_type="dataset", local_dir=tmp_path / "stock")
    assert Path(found).read_bytes() == BIG


def test_a_push_of_one_file_needs_two_requests_to_the_hub(api: HfApi, local_hub: LocalHub) -> None:
    commit(api, CommitOperationAdd("a.bin", os.urandom(1_000_000)))
    forget(local_hub)
    commit(api, CommitOperationAdd("a.bin", os.urandom(1_000_000)))
    assert local_hub.requests.wait_idle()
    to_the_hub = [r.route for r in local_hub.requests if r.path.startswith("/api/")]
    assert to_the_hub == ["preupload", "commit"]


def test_the_report_of_a_transfer_says_what_travelled(api: HfApi, tmp_path: Path) -> None:
    seen: list[int] = []
    options = TransferOptions(small_appends=True, on_progress=seen.append)
    for size, least, most in ((2_000_000, 2_000_000, 2_100_000), (2_100_000, 100_000, 400_000)):
        report = api.preupload_lfs_files(
            REPO, [CommitOperationAdd("x.bin", BIG[:size])], repo_type="dataset", options=options
        )
        assert (report.files, report.total_bytes) == (1, size)
        assert least <= report.sent_bytes <= most
    assert all(count <= 2_100_000 for count in seen)


def test_a_commit_of_what_is_there_is_none(api: HfApi, local_hub: LocalHub) -> None:
    additions = {"a.txt": b"text", "b.bin": os.urandom(1_000_000), "empty": b""}
    made = commit(api, *(CommitOperationAdd(path, data) for path, data in additions.items()))
    assert not made.is_noop
    forget(local_hub)
    again = commit(api, *(CommitOperationAdd(path, data) for path, data in additions.items()))
    assert (again.is_noop, again.oid) == (True, made.oid)
    assert not asked(local_hub, "commit", "xet-xorb", "xet-shard")


def test_files_and_folders_are_deleted(api: HfApi) -> None:
    commit(api, *(CommitOperationAdd(path, b"x") for path in ("a", "b", "logs/1", "logs/2/3")))
    commit(api, CommitOperationDelete("a"), CommitOperationDelete("logs/"), CommitOperationAdd("c", b"y"))
    assert paths(api) == {"b", "c"}
    with pytest.raises(RemoteEntryNotFoundError):
        commit(api, CommitOperationDelete("absent"))


def test_a_commit_on_another_head_than_the_given_one_is_refused(api: HfApi) -> None:
    first = commit(api, CommitOperationAdd("a", b"1"))
    second = commit(api, CommitOperationAdd("a", b"2"), parent_commit=first.oid)
    with pytest.raises(ParentCommitMismatchError):
        commit(api, CommitOperationAdd("a", b"3"), parent_commit=first.oid)
    assert api.repo_info(REPO, repo_type="dataset").sha == second.oid


def test_message_and_description_arrive_as_they_are(api: HfApi) -> None:
    description = "id: 1234-abcd\n\n  kept  spaces\nlast"
    info = commit(api, CommitOperationAdd("a", b"1"), commit_description=description)
    newest = api.list_repo_commits(REPO, repo_type="dataset")[0]
    assert (newest.commit_id, newest.title, newest.message) == (info.oid, "m", description)
    assert info.repo_url.repo_id == REPO
    assert info.oid in info.commit_url


def test_a_gitignore_of_the_same_commit_leaves_files_out(api: HfApi) -> None:
    ignore = CommitOperationAdd(".gitignore", b"*.tmp\n")
    commit(api, ignore, CommitOperationAdd("a.tmp", b"1"), CommitOperationAdd("a.txt", b"1"))
    assert paths(api) == {".gitignore", "a.txt"}
    left_out = CommitOperationAdd("b.tmp", b"1")
    assert commit(api, left_out).is_noop
    assert left_out.should_ignore


def test_a_gitattributes_of_the_same_commit_decides_how_a_file_is_sent(api: HfApi, local_hub: LocalHub) -> None:
    rule = b"parts/*.jsonl filter=lfs diff=lfs merge=lfs -text\n"
    part = CommitOperationAdd("parts/1.jsonl", b'{"a": 1}\n')
    commit(api, CommitOperationAdd(".gitattributes", rule), part)
    assert part.upload_mode == "lfs"
    assert part.content_id == part.sha256
    [found] = api.get_paths_info(REPO, "parts/1.jsonl", repo_type="dataset")
    assert isinstance(found, RepoFile)
    assert found.content_id == part.sha256
    assert len(asked(local_hub, "xet-shard")) == 1


def test_a_readme_that_the_hub_would_refuse_is_refused_before_anything_is_sent(api: HfApi, local_hub: LocalHub) -> None:
    with pytest.raises(HFValidationError, match=r"README\.md"):
        commit(api, CommitOperationAdd("README.md", b"---\nlicense: [\n---\n"))
    with pytest.raises(HFValidationError, match="UTF-8"):
        commit(api, CommitOperationAdd("README.md", b"\xff\xfe"))
    assert not asked(local_hub, "preupload", "commit")
    commit(api, CommitOperationAdd("README.md", b"---\nlicense: mit\n---\n# Title\n"))
    assert paths(api) == {"README.md"}


def test_shards_are_sent_one_by_one_and_committed_once(api: HfApi, local_hub: LocalHub, tmp_path: Path) -> None:
    shards = [os.urandom(1_200_000) for _ in range(3)]
    operations = []
    for number, content in enumerate(shards):
        addition = CommitOperationAdd(f"shard_{number}.bin", content)
        api.preupload_lfs_files(REPO, additions=[addition], repo_type="dataset")
        assert addition.path_or_fileobj == b""
        operations.append(addition)
    assert paths(api) == set()
    before = len(asked(local_hub, "preupload"))
    commit(api, *operations)
    assert len(asked(local_hub, "preupload")) == before
    assert [read(api, f"shard_{n}.bin", tmp_path) for n in range(3)] == shards
    with pytest.raises(HFValidationError, match="committed already"):
        commit(api, operations[0])


def test_more_files_than_one_request_may_ask_about(api: HfApi, local_hub: LocalHub) -> None:
    commit(api, *(CommitOperationAdd(f"{n:04}", b"%d" % n) for n in range(600)))
    assert len(asked(local_hub, "preupload")) == 3
    assert len(paths(api)) == 600
    found = api.get_paths_info(REPO, [f"{n:04}" for n in range(600)] + ["absent"], repo_type="dataset")
    assert len(found) == 600


def test_uploads_in_the_background_run_in_order(api: HfApi) -> None:
    futures = [
        api.upload_file(
            path_or_fileobj=b"%d" % n, path_in_repo="a", repo_id=REPO, repo_type="dataset", run_as_future=True
        )
        for n in range(3)
    ]
    last = api.run_as_future(api.list_repo_commits, REPO, repo_type="dataset")
    made = [future.result(60).oid for future in futures]
    assert [entry.commit_id for entry in last.result(60)][:3] == made[::-1]
    failing = api.upload_file(path_or_fileobj=b"", path_in_repo="a", repo_id="local/absent", run_as_future=True)
    with pytest.raises(RepositoryNotFoundError):
        failing.result(60)


def test_repositories_are_made_found_and_deleted(api: HfApi) -> None:
    assert api.whoami()["name"] == "local"
    assert api.create_repo("data", repo_type="dataset", exist_ok=True).repo_id == REPO
    with pytest.raises(ConflictError):
        api.create_repo(REPO, repo_type="dataset")
    url = api.create_repo("local/space", repo_type="space", space_sdk="gradio", private=True)
    assert (url.repo_type, url.repo_id) == ("space", "local/space")
    assert api.repo_info("local/space", repo_type="space").private
    with pytest.raises(HFValidationError, match="SDK"):
        api.create_repo("x", repo_type="space")
    assert api.repo_exists(REPO, repo_type="dataset")
    assert not api.repo_exists(REPO)
    info = api.repo_info(REPO, repo_type="dataset")
    assert isinstance(info, DatasetInfo)
    api.delete_repo(REPO, repo_type="dataset")
    api.delete_repo(REPO, repo_type="dataset", missing_ok=True)
    with pytest.raises(RepositoryNotFoundError):
        api.delete_repo(REPO, repo_type="dataset")
    api.create_repo(REPO, repo_type="dataset")
    assert api.repo_info(REPO, repo_type="dataset").internal_id != info.internal_id


def test_trees_files_and_histories_are_listed(api: HfApi) -> None:
    commit(api, CommitOperationAdd("a/b/c.txt", b"c"), CommitOperationAdd("a/d.txt", b"d"))
    entries = {entry.path: type(entry) for entry in api.list_repo_tree(REPO, "a", repo_type="dataset")}
    assert entries == {"a/b": RepoFolder, "a/d.txt": RepoFile}
    assert api.file_exists(REPO, "a/d.txt", repo_type="dataset")
    assert not api.file_exists(REPO, "a/b", repo_type="dataset")
    assert not api.file_exists(REPO, "a/d.txt", repo_type="dataset", revision="absent")
    with pytest.raises(RevisionNotFoundError):
        api.list_repo_files(REPO, repo_type="dataset", revision="absent")
    with pytest.raises(RemoteEntryNotFoundError):
        list(api.list_repo_tree(REPO, "absent", repo_type="dataset"))


def test_a_download_is_complete_or_not_there(api: HfApi, local_hub: LocalHub, tmp_path: Path) -> None:
    commit(api, CommitOperationAdd("a/b.txt", b"new content"))
    assert read(api, "a/b.txt", tmp_path) == b"new content"
    target = tmp_path / "a" / "b.txt"
    stamp = target.stat().st_mtime_ns
    api.hf_hub_download(REPO, "b.txt", subfolder="a", repo_type="dataset", local_dir=tmp_path)
    assert target.stat().st_mtime_ns == stamp  # it is what the Hub has
    target.write_bytes(b"changed")
    assert api.hf_hub_download(REPO, "a/b.txt", repo_type="dataset", local_dir=tmp_path) == str(target)
    assert target.read_bytes() == b"new content"
    with pytest.raises(RemoteEntryNotFoundError):
        api.hf_hub_download(REPO, "absent", repo_type="dataset", local_dir=tmp_path)
    for bad in ("../x", "/x"):
        with pytest.raises(HFValidationError):
            api.hf_hub_download(REPO, bad, repo_type="dataset", local_dir=tmp_path)
    with pytest.raises(FileNotFoundError):
        api.hf_hub_download(REPO, "b", repo_type="dataset", local_dir=tmp_path, local_files_only=True)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b.txt"]
    assert local_hub.requests.wait_idle()
