"""Large files through LFS, where the Hub has no Xet or the person has switched it off."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest

from hubspool.client.file_range import FileRange
from hubspool.client.hf_api import HfApi
from hubspool.client.operations import CommitOperationAdd
from hubspool.client.transfer.options import TransferOptions
from hubspool.errors import BadRequestError, HfHubHTTPError
from hubspool.local_hub import Fault, LocalHub
from tests.support.request_log import asked, forget

BIG = os.urandom(30_000_000)
PART = 8_000_000


@pytest.fixture(params=[1 << 40, PART], ids=["basic", "multipart"])
def hub(request: pytest.FixtureRequest, hub_environment: Path) -> Iterator[LocalHub]:
    with LocalHub(xet=False, lfs_part_size=request.param) as running:
        yield running


@pytest.fixture
def api(hub: LocalHub) -> HfApi:
    api = HfApi(hub.endpoint, hub.token)
    api.create_repo("local/model")
    return api


def upload(api: HfApi, content: bytes | Path | FileRange, path: str = "w.bin") -> CommitOperationAdd:
    addition = CommitOperationAdd(path, content)
    api.create_commit("local/model", [addition], commit_message="m")
    return addition


def stock_read(hub: LocalHub, folder: Path, path: str = "w.bin") -> bytes:
    stock = huggingface_hub.HfApi(endpoint=hub.endpoint, token=hub.token)
    return Path(stock.hf_hub_download("local/model", path, local_dir=folder, force_download=True)).read_bytes()


def test_large_files_arrive_and_are_verified(hub: LocalHub, api: HfApi, tmp_path: Path) -> None:
    upload(api, BIG)
    assert stock_read(hub, tmp_path) == BIG
    assert asked(hub, "lfs-verify") or asked(hub, "lfs-complete")
    sent = sum(record.bytes_in for record in asked(hub, "lfs-put", "lfs-part"))
    assert sent == len(BIG)


def test_a_file_that_grew_arrives_as_the_range_it_was(hub: LocalHub, api: HfApi, tmp_path: Path) -> None:
    file = tmp_path / "log.bin"
    file.write_bytes(BIG)
    for end in (20_000_000, 20_000_001):
        upload(api, FileRange(file, 0, end))
        assert stock_read(hub, tmp_path / str(end)) == BIG[:end]


def test_objects_that_the_hub_has_are_not_sent_again(hub: LocalHub, api: HfApi) -> None:
    upload(api, BIG)
    forget(hub)
    upload(api, BIG, "copy.bin")
    assert not asked(hub, "lfs-put", "lfs-part")
    assert asked(hub, "commit")


def test_file_objects_are_read_from_their_beginning(hub: LocalHub, api: HfApi, tmp_path: Path) -> None:
    file = tmp_path / "f.bin"
    file.write_bytes(BIG)
    with file.open("rb") as opened:
        opened.seek(1000)
        api.upload_file(path_or_fileobj=opened, path_in_repo="w.bin", repo_id="local/model")
    assert stock_read(hub, tmp_path / "down") == BIG


def test_several_files_are_sent_by_several_threads(hub: LocalHub, api: HfApi, tmp_path: Path) -> None:
    contents = {f"{n}.bin": os.urandom(1_500_000) for n in range(6)}
    additions = [CommitOperationAdd(path, content) for path, content in contents.items()]
    done: list[int] = []
    options = TransferOptions(num_threads=3, on_progress=done.append)
    report = api.preupload_lfs_files("local/model", additions, options=options, free_memory=False)
    assert (report.files, report.sent_bytes, max(done)) == (6, 9_000_000, 9_000_000)
    api.create_commit("local/model", additions, commit_message="m")
    assert all(stock_read(hub, tmp_path, path) == content for path, content in contents.items())


@pytest.mark.parametrize("status", [500, 503])
def test_a_transfer_that_failed_for_a_moment_is_repeated(
    hub: LocalHub, api: HfApi, tmp_path: Path, status: int
) -> None:
    for route in (("lfs-put", "lfs-part"), "lfs-batch", ("lfs-verify", "lfs-complete")):
        hub.faults.add(Fault(route=route, status=status))
    upload(api, BIG[: 2 * PART])
    assert len(hub.faults.hits) == 3
    assert stock_read(hub, tmp_path) == BIG[: 2 * PART]


def test_a_transfer_that_is_refused_ends_at_once(hub: LocalHub, api: HfApi) -> None:
    hub.faults.add(Fault(route=("lfs-put", "lfs-part"), status=403, times=None))
    with pytest.raises(HfHubHTTPError) as caught:
        upload(api, BIG)
    assert caught.value.status_code == 403
    assert not asked(hub, "commit")


def test_an_object_that_the_batch_refuses_names_its_file(hub: LocalHub, api: HfApi) -> None:
    addition = CommitOperationAdd("w.bin", BIG)
    body = '{"objects": [{"oid": "%s", "size": 1, "error": {"code": 422, "message": "too large"}}]}'
    headers = {"Content-Type": "application/json"}
    hub.faults.add(Fault(route="lfs-batch", status=200, headers=headers, body=body % addition.sha256))
    with pytest.raises(BadRequestError, match=r"refused w\.bin: too large") as caught:
        api.create_commit("local/model", [addition], commit_message="m")
    assert caught.value.path == "w.bin"


def test_xet_can_be_switched_off(hub_environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    with LocalHub() as hub:
        api = HfApi(hub.endpoint, hub.token)
        api.create_repo("local/model")
        upload(api, BIG[:2_000_000])
        assert asked(hub, "lfs-batch")
        assert not asked(hub, "xet-token", "xet-xorb")


def test_a_hub_without_xet_is_asked_once(hub: LocalHub, api: HfApi) -> None:
    upload(api, BIG[:2_000_000])
    upload(api, BIG[1:2_000_000])
    asked = [record for record in hub.requests if "xet-write-token" in record.path]
    assert [record.status for record in asked] == [404]
