"""`upload_large_folder` in a process that is killed, or interrupted, and called again: nothing is done twice."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from hubspool import HfApi
from hubspool.client.defaults import TaskLimits
from hubspool.client.large_upload import upload as large_folder
from hubspool.client.large_upload.queue import LargeFile, LargeQueue, Task
from hubspool.client.target import Target
from hubspool.local_hub import Fault, LocalHub

REPO = "local/docs"
SMALL = {"hash_files": 10, "ask_files": 10, "send_files": 4, "commit_files": 12}
UPLOADS = f"""
import sys
from functools import partial
from hubspool import HfApi
from hubspool.client.large_upload import upload as large_folder
from hubspool.client.defaults import TaskLimits
from hubspool.client.large_upload.queue import LargeQueue
large_folder.LargeQueue = partial(LargeQueue, limits=TaskLimits(**{SMALL!r}))
HfApi().upload_large_folder({REPO!r}, sys.argv[1], repo_type="dataset", num_workers=1)
"""
SIZE = 20_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """15 regular files and 25 of the LFS class."""
    root = tmp_path / "folder"
    root.mkdir()
    for number in range(40):
        name, content = (f"{number}.txt", b"%d\n" % number) if number < 15 else (f"{number}.bin", os.urandom(SIZE))
        (root / name).write_bytes(content)
    return root


@pytest.fixture
def env(local_hub: LocalHub) -> dict[str, str]:
    return {**os.environ, "HF_ENDPOINT": local_hub.endpoint, "HF_TOKEN": local_hub.token}


def recorded(folder: Path) -> tuple[int, int]:
    """How many files the ledger knows the hash of, and how many it knows to be sent."""
    path = folder / ".cache" / "huggingface" / "hubspool" / "large_upload.sqlite3"
    if not path.exists():
        return 0, 0
    with sqlite3.connect(path) as db:
        found = db.execute("select count(*), coalesce(sum(sent), 0) from large_file").fetchone()
    db.close()
    return found[0], found[1]


@pytest.mark.parametrize("xet", [True, False], ids=["xet", "lfs"])
@pytest.mark.parametrize(
    ("route", "after"), [("preupload", 0), ("preupload", 2), ("send", 0), ("send", 2), ("commit", 0), ("commit", 1)]
)
def test_a_killed_upload_goes_on_where_it_was(
    route: str,
    after: int,
    xet: bool,
    folder: Path,
    env: dict[str, str],
    local_hub: LocalHub,
    hub_api: HfApi,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not xet:
        env["HF_HUB_DISABLE_XET"] = "1"
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    if route == "send":  # Xet sends a group in one shard, LFS each file by itself
        route, after = ("xet-shard", after) if xet else ("lfs-put", 4 * after)
    local_hub.faults.add(Fault(route=route, after=after, delay=float("inf")))
    process = subprocess.Popen([sys.executable, "-c", UPLOADS, str(folder)], env=env, stderr=subprocess.PIPE)
    try:
        assert local_hub.faults.wait_for_hits(1), process.communicate(timeout=10)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    local_hub.faults.clear()
    local_hub.wait_idle()
    hashes, sent = recorded(folder)
    assert hashes > 0
    assert (sent > 0) == (route == "commit" or after > 0)
    before = len(local_hub.requests.of("xet-xorb", "lfs-put"))

    hashed: list[LargeFile] = []
    hash_one = large_folder._LargeUpload._hash_one

    def spy(self: large_folder._LargeUpload, file: LargeFile) -> None:
        hashed.append(file)
        hash_one(self, file)

    offered: list[LargeFile] = []
    send = large_folder._LargeUpload._send

    def spy_on_send(self: large_folder._LargeUpload, task: Task) -> None:
        offered.extend(task.files)
        send(self, task)

    monkeypatch.setattr(large_folder._LargeUpload, "_hash_one", spy)
    monkeypatch.setattr(large_folder._LargeUpload, "_send", spy_on_send)
    monkeypatch.setattr(large_folder, "LargeQueue", partial(LargeQueue, limits=TaskLimits(**SMALL)))
    hub_api.upload_large_folder(REPO, folder, repo_type="dataset", num_workers=2)

    assert len(hashed) == 40 - hashes
    assert len(offered) == 25 - sent
    target = Target.of(hub_api.endpoint, REPO, "dataset")
    for path in folder.glob("*.*"):
        if path.is_file():
            assert hub_api.client().request("GET", target.file_url(path.name)).content == path.read_bytes()
    records = local_hub.requests.of("xet-xorb", "lfs-put")
    # What was on its way when the process died is sent again where the Hub did not have it whole: a group at most.
    unfinished = SIZE * (SMALL["send_files"] if xet else 1) if route in ("xet-shard", "lfs-put") else 0
    sent_bytes = sum(record.bytes_in for record in records)
    assert sent_bytes <= 25 * SIZE * 1.02 + unfinished
    assert sum(record.bytes_in for record in records[before:]) <= (25 - sent) * SIZE * 1.02
    if not xet:
        assert max(Counter(record.path for record in records if record.status == 200).values()) == 1
    sizes = [record.bytes_in for record in local_hub.requests.of("commit") if record.status == 200]
    commits = hub_api.list_repo_commits(REPO, repo_type="dataset")
    assert len(commits) == len(sizes) + 1
    assert sum(int(commit.title.split()[1]) for commit in commits[:-1]) == 40  # each file in one commit only


def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(
    folder: Path, env: dict[str, str], local_hub: LocalHub, hub_api: HfApi
) -> None:
    local_hub.faults.add(Fault(route="commit", delay=float("inf")))
    argv = [sys.executable, "-m", "hubspool.cli", "upload-large-folder", REPO, "--repo-type=dataset", str(folder)]
    process = subprocess.Popen(argv, env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert local_hub.faults.wait_for_hits(1)
        process.send_signal(signal.SIGINT)
        local_hub.faults.clear()
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "run the same command again to resume" in said
    assert "Traceback" not in said
    local_hub.requests.clear()
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"{local_hub.endpoint}/datasets/{REPO}/tree/main\n")
    assert len(hub_api.list_repo_files(REPO, repo_type="dataset")) == 41
    assert local_hub.requests.of("xet-xorb", "lfs-put") == []
