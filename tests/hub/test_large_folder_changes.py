"""`upload_large_folder` of files that change or vanish while it works."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hubspool import HfApi
from hubspool.client.large_upload import upload as large_folder
from hubspool.errors import NotStoredError
from hubspool.local_hub import Fault, LocalHub

REPO = "local/docs"
SECONDS = 60


@pytest.mark.parametrize("name", ["part-1/01.txt", "part-1/01.bin"])
def test_a_file_that_changes_after_it_was_hashed_is_hashed_anew(
    name: str, upload: Callable[..., None], held: Callable[..., bool], folder: Path, local_hub: LocalHub
) -> None:
    fault = local_hub.faults.add(Fault(route="preupload", delay=float("inf")))
    thread = threading.Thread(target=upload)
    thread.start()
    assert local_hub.faults.wait_for_hits(1)
    assert local_hub.faults.hits[0].fault is fault
    size = (folder / name).stat().st_size
    (folder / name).write_bytes(b"x" * size)
    local_hub.faults.clear()
    thread.join(SECONDS)
    assert held()


@pytest.mark.parametrize("name", ["part-1/01.txt", "part-1/01.bin"])
@pytest.mark.parametrize("times", [1, 1000])
def test_a_file_that_changes_while_it_is_sent_is_hashed_anew_or_set_aside_if_it_never_rests(
    times: int,
    name: str,
    upload: Callable[..., None],
    held: Callable[..., bool],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changes = 0

    def changing(call: Callable[..., Any]) -> Callable[..., Any]:
        def change_and_call(*args: Any, **options: Any) -> Any:
            nonlocal changes
            if changes < times:
                changes += 1
                (folder / name).write_bytes(b"%07d" % changes)
            return call(*args, **options)

        return change_and_call

    (folder / name).write_bytes(b"%07d" % changes)
    if name.endswith("bin"):
        monkeypatch.setattr(HfApi, "preupload_lfs_files", changing(HfApi.preupload_lfs_files))
    else:
        monkeypatch.setattr(large_folder, "post_commit", changing(large_folder.post_commit))
    if times == 1:
        upload()
        assert held()
    else:
        with pytest.raises(NotStoredError, match=rf"1 file .*: {name}: it keeps changing while it is uploaded"):
            upload()
        assert changes > 1  # one may count twice: the file is seen empty, and then written
        (folder / name).unlink()
        assert held()


def test_a_file_that_changes_between_its_transfer_and_its_commit_is_sent_anew(
    upload: Callable[..., None], held: Callable[..., bool], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transfers = 0
    preupload = HfApi.preupload_lfs_files

    def send_and_change(*args: Any, **options: Any) -> Any:
        nonlocal transfers
        transfers += 1
        report = preupload(*args, **options)
        if transfers == 1:
            (folder / "part-1" / "01.bin").write_bytes(os.urandom(5000))
        return report

    monkeypatch.setattr(HfApi, "preupload_lfs_files", send_and_change)
    upload()
    assert transfers == 2
    assert held()


def test_names_that_are_none_for_the_hub_and_files_that_vanish_are_named(
    upload: Callable[..., None], folder: Path, hub_api: HfApi, local_hub: LocalHub
) -> None:
    (folder / "back\\slash.txt").write_text("x")
    local_hub.faults.add(Fault(route="preupload", delay=float("inf")))
    failed: list[NotStoredError] = []

    def run() -> None:
        try:
            upload()
        except NotStoredError as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert local_hub.faults.wait_for_hits(1)
    (folder / "part-0" / "03.txt").unlink()
    local_hub.faults.clear()
    thread.join(SECONDS)
    assert sorted(failed[0].reasons) == ["back\\slash.txt", "part-0/03.txt"]
    assert len(hub_api.list_repo_files(REPO, repo_type="dataset")) == 40


@pytest.mark.parametrize("name", ["part-1/01.txt", "part-1/01.bin"])
def test_a_file_that_a_pipe_replaces_is_named_and_the_others_are_stored(
    name: str,
    upload: Callable[..., None],
    hub_api: HfApi,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To open a pipe waits for its writer, for ever."""
    real = large_folder.find_files

    def swap(*args: Any) -> Any:
        found = real(*args)
        (folder / name).unlink()
        os.mkfifo(folder / name)
        return found

    monkeypatch.setattr(large_folder, "find_files", swap)
    with pytest.raises(NotStoredError, match=f"{name}.*not a regular file"):
        upload()
    assert len(hub_api.list_repo_files(REPO, repo_type="dataset")) == 1 + 39
