"""`upload_large_folder` against the local Hub: what it sends, in which order, and what stops it."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hubspool import HfApi
from hubspool.client.defaults import DEFAULTS, TaskLimits
from hubspool.client.large_upload import upload as large_folder
from hubspool.client.large_upload.queue import LargeFile, LargeQueue, Task
from hubspool.errors import ForbiddenError, HFValidationError, LocalFileError, NotStoredError, RevisionNotFoundError
from hubspool.local_hub import Fault, LocalHub

REPO = "local/docs"
SECONDS = 60


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes tasks small, so that few files are many tasks."""

    def limit(**numbers: Any) -> None:
        monkeypatch.setattr(large_folder, "LargeQueue", partial(LargeQueue, limits=TaskLimits(**numbers)))

    return limit


def count(hub: LocalHub, *routes: str) -> int:
    hub.wait_idle()
    return len(hub.requests.of(*routes) if routes else list(hub.requests))


def test_guide_6_the_whole_folder_gets_there_and_the_repo_is_made(
    upload: Callable[..., None], held: Callable[..., bool], local_hub: LocalHub
) -> None:
    upload()
    assert held()
    assert count(local_hub, "commit") == 1


def test_guide_7_the_report_says_what_is_done_at_the_start_meanwhile_and_at_the_end(
    upload: Callable[..., None], local_hub: LocalHub, capfd: pytest.CaptureFixture[str]
) -> None:
    local_hub.faults.add(Fault(route="commit", delay=float("inf")))
    thread = threading.Thread(target=upload, kwargs={"print_report_every": 0.1})
    thread.start()
    said = ""
    deadline = time.monotonic() + SECONDS
    while "committing: 1" not in said and time.monotonic() < deadline:
        said += capfd.readouterr().err
        thread.join(0.05)
    local_hub.faults.clear()
    thread.join(SECONDS)
    said += capfd.readouterr().err
    lines = said.splitlines()
    assert lines[0] == f"Repo created: {local_hub.endpoint}/datasets/{REPO}"
    assert lines[1] == "Found 40 candidate files to upload"
    assert re.search(r"Recovering from metadata files: 100%\|.*\| 40/40 \[", said)
    blocks = re.findall(
        r"^(-{10} \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(\d:\d\d:\d\d\) -{10})\n(Files: .*)\n(Workers: .*)\n(-+)$", said, re.M
    )
    assert all(len(head) == len(foot) for head, _, _, foot in blocks)
    size = r"\d+\.\d[KMG]?"
    line = (
        rf"Files:   hashed \d+/40 \({size}/{size}\) \| pre-uploaded: \d+/\d+ \({size}/{size}\)"
        rf" \| committed: \d+/40 \({size}/{size}\) \| ignored: 0"
    )
    assert all(re.fullmatch(line, files) for _, files, _, _ in blocks)
    first, last = blocks[0], blocks[-1]
    assert "hashed 0/40 (0.0/" in first[1]
    assert first[2] == ("Workers: hashing: 0 | get upload mode: 0 | pre-uploading: 0 | committing: 0 | waiting: 2")
    assert any("committing: 1 | waiting: 1" in workers for _, _, workers, _ in blocks)
    assert "pre-uploaded: 20/20 (100.0K/100.0K) | committed: 40/40" in last[1]


def test_without_a_report_nothing_is_printed(upload: Callable[..., None], capfd: pytest.CaptureFixture[str]) -> None:
    upload(print_report=False)
    assert capfd.readouterr() == ("", "")


def test_commits_are_bounded_and_several(
    upload: Callable[..., None], limits: Callable[..., None], held: Callable[..., bool], local_hub: LocalHub
) -> None:
    limits(hash_files=7, ask_files=7, send_files=3, commit_files=8)
    upload()
    assert held()
    assert count(local_hub, "commit") == 5


def test_a_second_call_reads_and_sends_nothing(
    upload: Callable[..., None], local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload()
    local_hub.requests.clear()
    hashed: list[LargeFile] = []
    monkeypatch.setattr(large_folder._LargeUpload, "_hash_one", lambda _, file: hashed.append(file))
    upload()
    assert hashed == []
    assert {record.route for record in local_hub.requests} == {"repo-create", "repo-info"}


def test_what_somebody_removed_since_is_sent_again(
    upload: Callable[..., None], held: Callable[..., bool], hub_api: HfApi
) -> None:
    upload()
    hub_api.delete_file("part-0/00.bin", REPO, repo_type="dataset")
    assert not held()
    upload()
    assert held()


def test_a_repo_that_was_made_again_gets_everything(
    upload: Callable[..., None], held: Callable[..., bool], hub_api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload()
    hub_api.delete_repo(REPO, repo_type="dataset")
    sent: list[LargeFile] = []
    send = large_folder._LargeUpload._send

    def spy(self: large_folder._LargeUpload, task: Task) -> None:
        sent.extend(task.files)
        send(self, task)

    monkeypatch.setattr(large_folder._LargeUpload, "_send", spy)
    upload()
    assert held()
    assert len(sent) == 20


def test_what_changed_since_is_hashed_and_sent_and_nothing_else(
    upload: Callable[..., None], held: Callable[..., bool], folder: Path, local_hub: LocalHub
) -> None:
    upload()
    (folder / "part-1" / "01.txt").write_text("other\n")
    local_hub.requests.clear()
    upload()
    assert held()
    assert count(local_hub, "xet-xorb") == 0
    (commit,) = local_hub.requests.of("commit")
    assert commit.bytes_in < 1000


@pytest.mark.parametrize("route", ["preupload", "xet-token", "commit"])
@pytest.mark.parametrize("fault", [{"status": 429}, {"status": 500}, {"drop": True}])
def test_a_passing_failure_is_repeated_until_it_has_passed(
    route: str, fault: dict[str, Any], upload: Callable[..., None], held: Callable[..., bool], local_hub: LocalHub
) -> None:
    local_hub.faults.add(Fault(route=route, times=2, **fault))
    upload()
    assert len(local_hub.faults.hits) == 2
    assert held()


def test_a_commit_whose_answer_is_lost_is_not_made_twice(
    upload: Callable[..., None], held: Callable[..., bool], hub_api: HfApi, local_hub: LocalHub
) -> None:
    local_hub.faults.add(Fault(route="commit", status=500, applied=True))
    upload()
    assert len(local_hub.faults.hits) == 1
    assert held()
    assert len(hub_api.list_repo_commits(REPO, repo_type="dataset")) == 2
    assert count(local_hub, "commit") == 1


def test_a_token_that_may_not_write_stops_it(folder: Path, hub_environment: Path) -> None:
    with LocalHub(users=["ada:hf_w", "eve:hf_r:read"]) as hub:
        HfApi(endpoint=hub.endpoint, token="hf_w").create_repo("ada/open", repo_type="dataset", private=False)
        reader = HfApi(endpoint=hub.endpoint, token="hf_r")
        with pytest.raises(ForbiddenError):
            reader.upload_large_folder("ada/open", folder, repo_type="dataset")
        assert count(hub, "commit") == 0
        assert count(hub, "preupload") <= 1


def test_a_permission_that_is_taken_away_meanwhile_stops_it(upload: Callable[..., None], local_hub: LocalHub) -> None:
    local_hub.faults.add(Fault(route="commit", status=403, times=None))
    with pytest.raises(ForbiddenError):
        upload()
    assert len(local_hub.faults.hits) == 1


def test_a_revision_that_is_not_there_stops_it(upload: Callable[..., None]) -> None:
    with pytest.raises(RevisionNotFoundError):
        upload(revision="nowhere")


def test_a_file_that_the_hub_refuses_is_set_aside_and_named(
    upload: Callable[..., None], hub_api: HfApi, local_hub: LocalHub, capfd: pytest.CaptureFixture[str]
) -> None:
    # On the Hub a folder stands where the file is to go.
    hub_api.create_repo(REPO, repo_type="dataset")
    hub_api.upload_file(path_or_fileobj=b"x", path_in_repo="part-0/06.txt/x", repo_id=REPO, repo_type="dataset")
    local_hub.requests.clear()
    with pytest.raises(NotStoredError, match=r"1 file is not stored on the Hub: part-0/06\.txt: .*06\.txt") as raised:
        upload()
    assert list(raised.value.reasons) == ["part-0/06.txt"]
    assert len(set(hub_api.list_repo_files(REPO, repo_type="dataset")) - {".gitattributes"}) == 40
    assert "Not stored: part-0/06.txt: " in capfd.readouterr().err
    assert any(record.status == 422 for record in local_hub.requests.of("commit"))


def test_a_hub_that_refuses_everything_stops_it_soon(upload: Callable[..., None], local_hub: LocalHub) -> None:
    local_hub.faults.add(Fault(route="commit", status=400, times=None))
    with pytest.raises(ValueError, match="answered 400"):
        upload()
    assert len(local_hub.faults.hits) < 40


def test_what_the_hub_dropped_since_an_earlier_run_is_sent_again(
    upload: Callable[..., None], held: Callable[..., bool], local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    fault = local_hub.faults.add(Fault(route="commit", status=403, times=None))
    with pytest.raises(ForbiddenError):
        upload()
    assert local_hub.faults.hits[0].fault is fault
    local_hub.faults.clear()
    sent = [path for path in (local_hub.root / "lfs").rglob("*") if path.is_file()]
    assert len(sent) == 20
    for path in sent[:3]:
        path.unlink()
    local_hub.requests.clear()
    upload()
    assert held()
    assert count(local_hub, "lfs-put") == 3


def test_a_pull_request_can_be_the_target(
    upload: Callable[..., None], held: Callable[..., bool], hub_api: HfApi
) -> None:
    hub_api.create_repo(REPO, repo_type="dataset")
    pull = hub_api.create_pull_request(REPO, "Everything", repo_type="dataset")
    upload(revision=pull.git_reference)
    assert held("refs/pr/1")
    assert not held()


def test_ignored_files_are_counted_and_left_out(
    upload: Callable[..., None], folder: Path, hub_api: HfApi, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / ".gitignore").write_text("*.bin\n")
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("ref")
    upload(ignore_patterns="*1*.txt")
    files = hub_api.list_repo_files(REPO, repo_type="dataset")
    assert [path for path in files if path.endswith(".bin") or ".git/" in path or "1" in path.rpartition("/")[2]] == []
    assert "ignored: 20" in capfd.readouterr().err


def test_limits_are_looked_at_before_anything_is_sent(
    upload: Callable[..., None], folder: Path, local_hub: LocalHub, caplog: pytest.LogCaptureFixture
) -> None:
    many = folder / "many"
    many.mkdir()
    for number in range(10_001):
        (many / str(number)).touch()
    with (folder / "huge.bin").open("wb") as file:
        file.truncate(200 * 10**9 + 1)
    with caplog.at_level(logging.WARNING), pytest.raises(HFValidationError, match=r"huge\.bin has 200000000001 bytes"):
        upload()
    assert "many/ has 10001 entries; the Hub takes 10000 in a folder." in caplog.text
    assert count(local_hub, "repo-create") == 0


def test_more_files_than_a_repo_should_have_are_warned_of(
    upload: Callable[..., None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(large_folder, "DEFAULTS", replace(DEFAULTS, files_per_repo=39))
    upload()
    assert "40 files; the Hub advises at most 39 a repository." in caplog.text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"repo_type": None}, "repo_type is missing"),
        ({"repo_type": "models"}, "Not a repository type"),
        ({"num_workers": 0}, "num_workers is 0"),
        ({"folder_path": "nowhere"}, "does not exist"),
    ],
)
def test_bad_values_are_refused_before_anything_is_sent(
    options: dict[str, Any], said: str, hub_api: HfApi, folder: Path, local_hub: LocalHub
) -> None:
    given = {"repo_id": REPO, "folder_path": folder, "repo_type": "dataset", **options}
    with pytest.raises(HFValidationError, match=said):
        hub_api.upload_large_folder(**given)
    assert count(local_hub) == 0


def test_an_empty_folder_makes_the_repo_and_no_commit(hub_api: HfApi, tmp_path: Path, local_hub: LocalHub) -> None:
    (tmp_path / "empty").mkdir()
    hub_api.upload_large_folder(REPO, tmp_path / "empty", repo_type="model", private=True)
    assert hub_api.repo_info(REPO).private
    assert count(local_hub, "commit", "preupload") == 0


def test_a_folder_that_cannot_keep_what_is_done_is_refused_first(
    upload: Callable[..., None], folder: Path, local_hub: LocalHub
) -> None:
    (folder / ".cache").touch()
    with pytest.raises(LocalFileError, match=r"The progress cannot be recorded in .*/folder: .* use upload_folder\."):
        upload()
    assert count(local_hub) == 0


def test_links_count_as_the_files_that_they_lead_to_and_empty_files_are_files(
    upload: Callable[..., None], held: Callable[..., bool], folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside.txt").write_text("outside")
    (folder / "link.txt").symlink_to(tmp_path / "outside.txt")
    (folder / "nothing.bin").touch()
    upload()
    assert held()
