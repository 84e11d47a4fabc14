"""Feedback of a Space, and a scheduler of one's own, in the calls that the Hub's guide makes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from hubspool import CommitScheduler, HfApi
from hubspool.local_hub import LocalHub

SECONDS = 60
READ = """
import json, sys, datasets
rows = datasets.load_dataset(sys.argv[1], split="train")
print(json.dumps([dict(row) for row in rows]))
"""


def load_dataset(hub: LocalHub, repo_id: str, home: Path) -> list[dict[str, object]]:
    environment = {
        "PATH": os.environ["PATH"],
        "HF_ENDPOINT": hub.endpoint,
        "HF_TOKEN": hub.token,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    command = [sys.executable, "-c", READ, repo_id]
    done = subprocess.run(
        command, env=environment, cwd=home.parent, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, object]] = json.loads(done.stdout.splitlines()[-1])
    return rows


@pytest.fixture
def as_user(local_hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of an app: nothing is passed, all is found."""
    monkeypatch.setenv("HF_ENDPOINT", local_hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", local_hub.token)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("as_user")
def test_guide_11_feedback_of_a_space_reads_back_as_a_dataset(local_hub: LocalHub, tmp_path: Path) -> None:
    votes_file = Path("collected/") / f"votes_{uuid.uuid4()}.json"
    scheduler = CommitScheduler(
        repo_id="report-romanisation-feedback",
        repo_type="dataset",
        folder_path=votes_file.parent,
        path_in_repo="data",
        every=10,
    )

    def save_vote(source: str, left: str, right: str, choice: int) -> None:
        with scheduler.lock, votes_file.open("a") as file:
            row = {"input": source, "output_1": left, "output_2": right, "user_choice": choice}
            file.write(json.dumps(row))
            file.write("\n")

    assert scheduler.repo_id == "local/report-romanisation-feedback"
    scheduler.last_future.result(SECONDS)
    save_vote("Ελλάδα", "Ellada", "Ellas", 1)
    save_vote("日本\n", "Ri Ben", 'Nihon "', 2)
    scheduler.trigger().result(SECONDS)
    first = scheduler.status().last_commit  # of this push, or of the one that every scheduler begins with
    save_vote("мир", "mir", "meer", 1)
    with scheduler.lock, votes_file.open("a") as file:
        file.write('{"input": "half a')  # a writer that is in the middle of a line
        file.flush()
        held = scheduler.trigger()
    assert held.result(SECONDS) is not None
    assert first not in (None, scheduler.status().last_commit)
    with votes_file.open("a") as file:
        file.write(' row", "output_1": "", "output_2": "", "user_choice": 2}\n')
    scheduler.stop()

    api = HfApi()
    assert api.list_repo_files(scheduler.repo_id, repo_type="dataset") == [".gitattributes", f"data/{votes_file.name}"]
    assert api.repo_info(scheduler.repo_id, repo_type="dataset").private
    assert load_dataset(local_hub, scheduler.repo_id, tmp_path / "home") == [
        {"input": "Ελλάδα", "output_1": "Ellada", "output_2": "Ellas", "user_choice": 1},
        {"input": "日本\n", "output_1": "Ri Ben", "output_2": 'Nihon "', "user_choice": 2},
        {"input": "мир", "output_1": "mir", "output_2": "meer", "user_choice": 1},
        {"input": "half a row", "output_1": "", "output_2": "", "user_choice": 2},
    ]


class ZipScheduler(CommitScheduler):
    """As the guide has it: drawings are packed into one archive and removed."""

    def push_to_hub(self) -> None:
        drawings = list(self.folder_path.glob("*.png"))
        if len(drawings) == 0:
            return
        with TemporaryDirectory() as folder:
            archive_path = Path(folder) / "pack.zip"
            with zipfile.ZipFile(archive_path, "w", zipfile.ZIP_DEFLATED) as archive:
                for drawing in drawings:
                    archive.write(filename=drawing, arcname=drawing.name)
            self.api.upload_file(
                repo_id=self.repo_id,
                repo_type=self.repo_type,
                revision=self.revision,
                path_in_repo=f"{self.path_in_repo}/pack-{uuid.uuid4()}.zip",
                path_or_fileobj=archive_path,
            )
        for drawing in drawings:
            drawing.unlink()


@pytest.mark.usefixtures("as_user")
def test_guide_12_an_own_scheduler_packs_archives(fetch_from: Callable[[str, str], bytes]) -> None:
    scheduler = ZipScheduler(repo_id="drawings", repo_type="dataset", folder_path="sketches", path_in_repo="packs")
    scheduler.last_future.result(SECONDS)
    drawn: dict[str, bytes] = {}
    for batch in range(2):
        for number in range(3):
            name = f"{batch}-{number}.png"
            drawn[name] = os.urandom(2000)
            (scheduler.folder_path / name).write_bytes(drawn[name])
        if batch == 0:
            scheduler.trigger().result(SECONDS)
        else:
            scheduler.stop()
    assert list(scheduler.folder_path.glob("*.png")) == []

    api = HfApi()
    packs = [path for path in api.list_repo_files("local/drawings", repo_type="dataset") if path.endswith(".zip")]
    assert len(packs) == 2
    found: dict[str, bytes] = {}
    for path in packs:
        with zipfile.ZipFile(io.BytesIO(fetch_from("local/drawings", path))) as archive:
            found.update({name: archive.read(name) for name in archive.namelist()})
    assert found == drawn
    assert len(api.list_repo_commits("local/drawings", repo_type="dataset")) == 3


@pytest.fixture
def fetch_from(tmp_path: Path) -> Callable[[str, str], bytes]:
    def fetch(repo_id: str, path: str) -> bytes:
        target = HfApi().hf_hub_download(repo_id, path, repo_type="dataset", local_dir=tmp_path / "fetched")
        return Path(target).read_bytes()

    return fetch


@pytest.mark.usefixtures("as_user")
def test_guide_12_with_nothing_to_pack_no_request_is_made(local_hub: LocalHub) -> None:
    with ZipScheduler(repo_id="drawings", repo_type="dataset", folder_path="sketches") as scheduler:
        scheduler.last_future.result(SECONDS)
        local_hub.requests.clear()
        scheduler.trigger().result(SECONDS)
    assert list(local_hub.requests) == []
