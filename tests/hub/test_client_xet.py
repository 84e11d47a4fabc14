"""Xet: what travels only once, where its cache lies, and what happens when it does not work."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hubspool import CommitOperationAdd, HfApi
from hubspool.client.file_range import FileRange
from hubspool.client.transfer import lfs, xet
from hubspool.client.transfer.options import TransferOptions
from hubspool.client.transfer.uploader import Uploader
from hubspool.errors import FileChangedError, ForbiddenError, UnauthorizedError, XetTransferError
from hubspool.local_hub import Fault, LocalHub

REPO = "local/xet"
SMALL, LARGE = os.urandom(300_000), os.urandom(2_500_000)


@pytest.fixture
def api(hub_api: HfApi) -> HfApi:
    hub_api.create_repo(REPO)
    return hub_api


def upload(api: HfApi, path: str, content: Any) -> None:
    api.upload_file(path_or_fileobj=content, path_in_repo=path, repo_id=REPO)


def read(api: HfApi, path: str, folder: Path) -> bytes:
    return Path(api.hf_hub_download(REPO, path, local_dir=folder / "down", force_download=True)).read_bytes()


def sent(hub: LocalHub, *routes: str) -> int:
    assert hub.requests.wait_idle()
    return sum(record.bytes_in for record in hub.requests.of(*(routes or ("xet-xorb", "lfs-put"))))


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
def test_the_same_content_as_bytes_path_object_and_range_travels_once(
    api: HfApi, local_hub: LocalHub, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "f").write_bytes(content)
    (tmp_path / "longer").write_bytes(b"head" + content + b"tail")
    kinds = {
        "bytes.bin": content,
        "path.bin": tmp_path / "f",
        "object.bin": io.BytesIO(content),
        "range.bin": FileRange(tmp_path / "longer", 4, 4 + len(content)),
    }
    for path, kind in kinds.items():
        upload(api, path, kind)
    assert len(content) <= sent(local_hub) < len(content) + 50_000
    assert {read(api, path, tmp_path) for path in kinds} == {content}


def test_content_of_another_repository_is_not_sent_again(api: HfApi, local_hub: LocalHub, tmp_path: Path) -> None:
    upload(api, "a.bin", LARGE)
    local_hub.requests.clear()
    api.create_repo("local/second")
    api.upload_file(path_or_fileobj=LARGE, path_in_repo="b.bin", repo_id="local/second")
    assert sent(local_hub) == 0


def small_files(folder: Path, count: int, seed: bytes) -> Path:
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.bin").write_bytes(seed * 20 + b"%d" % number)
    return folder


def test_many_small_files_are_asked_about_together(api: HfApi, local_hub: LocalHub, tmp_path: Path) -> None:
    local_hub.requests.clear()
    api.upload_folder(folder_path=small_files(tmp_path / "up", 300, os.urandom(100)), repo_id=REPO)
    assert local_hub.requests.wait_idle()
    assert len(local_hub.requests.of("lfs-batch")) == 2
    assert local_hub.requests.of("xet-chunk", "lfs-put") == []
    assert read(api, "299.bin", tmp_path) == (tmp_path / "up" / "299.bin").read_bytes()


def test_many_small_files_that_the_hub_has_under_other_names_are_not_sent_again(
    api: HfApi, local_hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small_files(tmp_path / "up", 40, os.urandom(100))
    api.upload_folder(folder_path=folder, repo_id=REPO, path_in_repo="a")
    (folder / "new.bin").write_bytes(new := os.urandom(3_000))
    local_hub.requests.clear()
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "another machine"))
    told: list[int] = []
    additions = [CommitOperationAdd(f"b/{path.name}", path) for path in sorted(folder.iterdir())]
    api.preupload_lfs_files(REPO, additions, options=TransferOptions(on_progress=told.append))
    api.create_commit(REPO, additions, commit_message="again")
    assert len(new) <= sent(local_hub) < len(new) + 100
    assert told[0] == sum(addition.size for addition in additions) - len(new)
    assert read(api, "b/39.bin", tmp_path) == (folder / "39.bin").read_bytes()


def test_a_small_file_that_is_rewritten_after_the_question_is_not_committed(
    api: HfApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small_files(tmp_path / "up", 40, os.urandom(100))
    answer = lfs.stored

    def rewritten(*arguments: Any) -> set[str]:
        found = answer(*arguments)
        content = (folder / "7.bin").read_bytes()
        (folder / "7.bin").write_bytes(content[::-1])
        return found

    monkeypatch.setattr(lfs, "stored", rewritten)  # the moment cannot be met from outside
    with pytest.raises(FileChangedError, match=r"7\.bin"):
        api.upload_folder(folder_path=folder, repo_id=REPO)
    assert api.list_repo_files(REPO) == [".gitattributes"]


def test_the_store_gets_no_report_of_a_transfer(api: HfApi, local_hub: LocalHub) -> None:
    upload(api, "a.bin", LARGE)
    assert local_hub.requests.wait_idle()
    assert [record.path for record in local_hub.requests if "telemetry" in record.path] == []


def test_the_cache_lies_below_hf_home_or_where_hf_xet_cache_says(
    api: HfApi, tmp_path: Path, hub_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "elsewhere"))
    upload(api, "a.bin", SMALL)
    assert any((tmp_path / "elsewhere").iterdir())
    assert not (hub_environment / "xet").exists()
    monkeypatch.delenv("HF_XET_CACHE")
    upload(api, "b.bin", SMALL[::-1])
    assert any((hub_environment / "xet").iterdir())


def test_a_cache_on_a_network_mount_is_warned_of_once(
    api: HfApi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from hubspool.files import Disk

    monkeypatch.setattr(xet, "disk_of", lambda folder: Disk("/mnt", "nfs4"))  # a network mount needs root
    xet._warn_of_network_mount.cache_clear()
    for content in (SMALL, LARGE):
        upload(api, "a.bin", content)
    xet._warn_of_network_mount.cache_clear()
    assert [record.message for record in caplog.records if "network mount (nfs4)" in record.message] != []
    assert caplog.text.count("network mount") == 1


def test_high_performance_is_honoured_when_it_is_switched_on_later(
    api: HfApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    upload(api, "a.bin", SMALL)
    monkeypatch.setenv("HF_XET_HIGH_PERFORMANCE", "1")
    plain = set(xet._sessions.by_options)
    upload(api, "a.bin", LARGE)
    assert {key[-1] for key in set(xet._sessions.by_options) - plain} == {"1"}
    assert read(api, "a.bin", tmp_path) == LARGE


def test_a_hub_without_xet_gets_lfs(api: HfApi, local_hub: LocalHub, tmp_path: Path) -> None:
    local_hub.faults.add(Fault(route="xet-token", status=404, times=None))
    upload(api, "a.bin", SMALL)
    assert len(local_hub.faults.hits) == 1
    assert sent(local_hub, "lfs-put") == len(SMALL)
    assert read(api, "a.bin", tmp_path) == SMALL


@pytest.mark.parametrize(("status", "error"), [(401, UnauthorizedError), (403, ForbiddenError)])
def test_a_refused_token_is_no_reason_to_try_lfs(
    api: HfApi, local_hub: LocalHub, status: int, error: type[Exception]
) -> None:
    local_hub.faults.add(Fault(route="xet-token", status=status, times=None))
    with pytest.raises(error):
        upload(api, "a.bin", SMALL)
    assert len(local_hub.faults.hits) == 1
    assert local_hub.requests.of("lfs-batch", "commit") == []


def test_with_a_cache_folder_that_cannot_be_used_the_content_arrives_through_lfs(
    api: HfApi, local_hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no-folder").write_bytes(b"")
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "no-folder"))
    upload(api, "a.bin", SMALL)
    assert len(local_hub.requests.of("xet-token")) == 2
    assert sent(local_hub, "lfs-put") == len(SMALL)
    assert read(api, "a.bin", tmp_path) == SMALL


class Broken:
    """A hf_xet that fails before it does anything; a real one does so only when it is damaged itself."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.calls = 0

    def new_upload_commit(self, **options: object) -> None:
        self.calls += 1
        raise self.error


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], Broken]:
    def break_with(error: Exception) -> Broken:
        session = Broken(error)
        monkeypatch.setattr(xet, "_session", lambda **_: session)
        return session

    return break_with


def test_after_a_second_failure_of_this_machine_lfs_is_used_for_a_while(
    api: HfApi, local_hub: LocalHub, tmp_path: Path, broken: Callable[[Exception], Broken],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    now = [0.0]
    api._uploader = Uploader(clock=lambda: now[0])
    session = broken(RuntimeError("Internal error: the shard cache is damaged"))
    with caplog.at_level(logging.WARNING):
        upload(api, "a.bin", SMALL)
        upload(api, "b.bin", LARGE)
    assert session.calls == 2
    assert caplog.text.count("LFS is used in its place") == 1
    assert (read(api, "a.bin", tmp_path), read(api, "b.bin", tmp_path)) == (SMALL, LARGE)
    now[0] = 601.0
    upload(api, "c.bin", LARGE[::-1])
    assert session.calls == 4


@pytest.mark.parametrize(
    "error",
    [ConnectionError("error sending request"), RuntimeError("server error (503)"), TimeoutError("x")],
)
def test_a_failure_of_the_network_is_not_met_with_lfs(
    api: HfApi, local_hub: LocalHub, broken: Callable[[Exception], Broken], error: Exception
) -> None:
    session = broken(error)
    with pytest.raises(XetTransferError):
        upload(api, "a.bin", SMALL)
    assert session.calls == 2
    assert local_hub.requests.of("lfs-batch", "commit") == []


def test_many_small_and_large_contents_in_one_upload_arrive(api: HfApi, tmp_path: Path) -> None:
    contents = {f"{n}.bin": os.urandom(1_048_570 + n) for n in range(40)}
    additions = [CommitOperationAdd(path, content) for path, content in contents.items()]
    api.create_commit(REPO, additions, commit_message="m")
    for path in ("0.bin", "6.bin", "7.bin", "39.bin"):  # the border between both ways is at 1 MiB
        assert read(api, path, tmp_path) == contents[path]
    assert len(api.list_repo_files(REPO)) == 41
