"""Whatever write is the last one, the folder can be served again and nothing that was answered is gone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import requests

from hubspool.local_hub import LocalHub
from hubspool.local_hub.storage.durable_files import DurableFiles

TIMEOUT = 20
WRITES = 14  # of the work below
LFS_OID = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"  # of b"foo"


class _Dies:
    """Lets `writes` writes happen, and none after."""

    def __init__(self, writes: int) -> None:
        self.left = writes
        self.adopt = DurableFiles.adopt

    def __call__(self, disk: DurableFiles, temporary: Path, path: Path, *synced: bool) -> None:
        if self.left == 0:
            raise OSError("the process died here")
        self.left -= 1
        self.adopt(disk, temporary, path, *synced)


def _work(hub: LocalHub, session: requests.Session) -> list[bool]:
    """A repository, an LFS object, and a commit with both forms of content in nested folders; what succeeded."""
    made = session.post(f"{hub.endpoint}/api/repos/create", json={"name": "m"}, timeout=TIMEOUT).ok
    batch = {"operation": "upload", "objects": [{"oid": LFS_OID, "size": 3}]}
    objects = session.post(f"{hub.endpoint}/local/m.git/info/lfs/objects/batch", json=batch, timeout=TIMEOUT)
    put = False
    if objects.ok and "actions" in objects.json()["objects"][0]:
        put = session.put(objects.json()["objects"][0]["actions"]["upload"]["href"], b"foo", timeout=TIMEOUT).ok
    lines = (
        '{"key": "header", "value": {"summary": "work"}}\n'
        '{"key": "file", "value": {"path": "a/b/c.txt", "content": "text"}}\n'
        f'{{"key": "lfsFile", "value": {{"path": "a/d.dat", "algo": "sha256", "oid": "{LFS_OID}", "size": 3}}}}'
    )
    committed = session.post(f"{hub.endpoint}/api/models/local/m/commit/main", data=lines, timeout=TIMEOUT).ok
    return [made, put, committed]


@pytest.mark.parametrize("writes", range(WRITES + 1))
def test_every_write_may_be_the_last(
    writes: int, hub_environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = requests.Session()
    session.headers["Authorization"] = "Bearer hf_local"
    LocalHub(tmp_path).start().stop()  # the keys of the root
    with monkeypatch.context() as dying, LocalHub(tmp_path) as hub:
        dies = _Dies(writes)
        dying.setattr(DurableFiles, "adopt", lambda *args: dies(*args))  # noqa: PLW0108 - a function becomes a method
        made, _, committed = _work(hub, session)
    assert committed == (writes == WRITES), "the work makes another number of writes now: change WRITES"
    with LocalHub(tmp_path) as hub:
        commits = session.get(f"{hub.endpoint}/api/models/local/m/commits/main", timeout=TIMEOUT)
        assert commits.ok == made
        if made:
            titles = [commit["title"] for commit in commits.json()]
            assert titles == [*(["work"] if committed else []), "initial commit"]
        assert _work(hub, session)[2]
        content = session.get(f"{hub.endpoint}/local/m/resolve/main/a/d.dat", timeout=TIMEOUT).content
        assert content == b"foo"
        repo = tmp_path / "repos" / "models" / "local" / "m.git"
        subprocess.run(
            ["git", "fsck", "--strict", "--full"], cwd=repo, check=True, timeout=TIMEOUT, capture_output=True
        )
