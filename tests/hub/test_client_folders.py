"""A folder becomes one commit: what goes along, in which order, and what is refused before anything is sent."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hubspool.client import preupload, progress
from hubspool.client.defaults import DEFAULTS
from hubspool.client.hf_api import HfApi
from hubspool.client.operations import CommitOperationAdd
from hubspool.errors import FileReplacedError, FileShrankError, ForbiddenError, HFValidationError
from hubspool.local_hub import Fault, LocalHub

REPO = "local/folder"
SECONDS = 60


@pytest.fixture
def api(hub_api: HfApi, local_hub: LocalHub) -> HfApi:
    hub_api.create_repo(REPO)
    forget(local_hub)
    return hub_api


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


def forget(hub: LocalHub) -> None:
    assert hub.requests.wait_idle()
    hub.requests.clear()


def routes(hub: LocalHub) -> list[str]:
    assert hub.requests.wait_idle()
    return [record.route for record in hub.requests]


def sent_bytes(hub: LocalHub) -> int:
    assert hub.requests.wait_idle()
    return sum(record.bytes_in for record in hub.requests.of("xet-xorb", "lfs-put"))


def fill(folder: Path, count: int, size: int = 3000, suffix: str = "bin") -> None:
    for number in range(count):
        (folder / f"{number:04}.{suffix}").write_bytes(os.urandom(size))


def paths(api: HfApi) -> list[str]:
    return sorted(set(api.list_repo_files(REPO)) - {".gitattributes"})


def test_a_folder_is_one_commit_which_comes_last(api: HfApi, local_hub: LocalHub, folder: Path) -> None:
    fill(folder, 700)
    fill(folder, 20, suffix="txt")
    info = api.upload_folder(repo_id=REPO, folder_path=folder)
    asked = routes(local_hub)
    assert asked.count("preupload") == 3
    assert asked.count("xet-shard") == 2  # groups of at most 500 files
    assert asked.index("commit") == len(asked) - 1
    assert len(paths(api)) == 720
    assert [commit.commit_id for commit in api.list_repo_commits(REPO)][:1] == [info.oid]
    assert len(api.list_repo_commits(REPO)) == 2


def test_sending_begins_before_the_hub_was_asked_about_every_file(
    api: HfApi, local_hub: LocalHub, folder: Path
) -> None:
    fill(folder, 600)
    local_hub.faults.add(Fault(route="preupload", after=2, delay=math.inf))
    upload = api.upload_folder(repo_id=REPO, folder_path=folder, run_as_future=True)
    assert local_hub.requests.wait_for(lambda record: record.route == "xet-shard")
    assert len(local_hub.requests.of("preupload")) == 2
    assert not upload.done()
    local_hub.faults.clear()
    assert not upload.result(SECONDS).is_noop
    assert len(paths(api)) == 600


def test_a_second_call_sends_no_content(api: HfApi, local_hub: LocalHub, folder: Path) -> None:
    fill(folder, 20)
    fill(folder, 20, suffix="txt")
    first = api.upload_folder(repo_id=REPO, folder_path=folder)
    forget(local_hub)
    again = api.upload_folder(repo_id=REPO, folder_path=folder)
    assert (again.oid, again.is_noop) == (first.oid, True)
    assert set(routes(local_hub)) == {"preupload", "repo-info"}


@pytest.mark.parametrize("xet", ["0", "1"], ids=["xet", "lfs"])
def test_what_was_sent_before_a_call_broke_off_is_not_sent_again(
    api: HfApi, local_hub: LocalHub, folder: Path, monkeypatch: pytest.MonkeyPatch, xet: str
) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_XET", xet)
    fill(folder, 30, size=50_000)
    local_hub.faults.add(Fault(route="commit", status=403))
    with pytest.raises(ForbiddenError):
        api.upload_folder(repo_id=REPO, folder_path=folder)
    assert len(local_hub.faults.hits) == 1
    assert sent_bytes(local_hub) >= 1_500_000
    forget(local_hub)
    api.upload_folder(repo_id=REPO, folder_path=folder)
    assert sent_bytes(local_hub) == 0
    assert len(paths(api)) == 30


FEW_DESCRIPTORS = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
from hubspool import HfApi
HfApi().upload_folder(repo_id="local/folder", folder_path=sys.argv[1])
"""


def test_files_are_open_only_while_they_are_sent(api: HfApi, local_hub: LocalHub, folder: Path) -> None:
    fill(folder, 300)
    fill(folder, 300, suffix="txt")
    environment = {**os.environ, "HF_ENDPOINT": local_hub.endpoint, "HF_TOKEN": local_hub.token}
    done = subprocess.run(
        [sys.executable, "-c", FEW_DESCRIPTORS, str(folder)],
        env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(paths(api)) == 600


@pytest.mark.parametrize("limit", ["large_files_per_commit", "regular_bytes_per_commit"])
def test_what_one_commit_cannot_carry_is_refused_before_anything_is_sent(
    api: HfApi, local_hub: LocalHub, folder: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    number = {"large_files_per_commit": 9, "regular_bytes_per_commit": 29_000}[limit]
    monkeypatch.setattr(preupload, "DEFAULTS", replace(DEFAULTS, **{limit: number}))
    fill(folder, 10, suffix="bin" if limit == "large_files_per_commit" else "txt")
    with pytest.raises(HFValidationError, match="upload_large_folder"):
        api.upload_folder(repo_id=REPO, folder_path=folder)
    assert set(routes(local_hub)) == {"preupload"}
    (folder / "0003.bin").unlink(missing_ok=True)
    (folder / "0003.txt").unlink(missing_ok=True)
    api.upload_folder(repo_id=REPO, folder_path=folder)
    (folder / f"new.{'bin' if limit == 'large_files_per_commit' else 'txt'}").write_bytes(b"new" * 1000)
    api.upload_folder(repo_id=REPO, folder_path=folder)  # the others need no commit, so they do not count
    assert len(paths(api)) == 10


def test_a_folder_that_is_missing_or_a_file_is_an_error(api: HfApi, local_hub: LocalHub, folder: Path) -> None:
    (folder / "file").write_bytes(b"x")
    for bad, problem in ((folder / "absent", "does not exist"), (folder / "file", "is a file")):
        with pytest.raises(HFValidationError, match=problem):
            api.upload_folder(repo_id=REPO, folder_path=bad)
    with pytest.raises(HFValidationError, match="does not exist"):
        api.upload_file(repo_id=REPO, path_in_repo="x", path_or_fileobj=folder / "absent")
    assert routes(local_hub) == []


def test_an_empty_folder_makes_no_commit(api: HfApi, folder: Path) -> None:
    (folder / "in").mkdir()
    info = api.upload_folder(repo_id=REPO, folder_path=folder)
    assert (info.is_noop, info.oid) == (True, api.repo_info(REPO).sha)
    assert len(api.list_repo_commits(REPO)) == 1


def test_links_to_files_are_sent_and_links_to_folders_are_not_followed(
    api: HfApi, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"outside")
    (folder / "own").write_bytes(b"own")
    (folder / "link").symlink_to(folder / "own")
    (folder / "away").symlink_to(outside / "secret")
    (folder / "dir").symlink_to(outside)
    (folder / "loop").symlink_to(folder)
    (folder / "broken").symlink_to(folder / "absent")
    api.upload_folder(repo_id=REPO, folder_path=folder)
    assert paths(api) == ["away", "link", "own"]
    said = caplog.text
    assert "are followed: 1, first away" in said
    assert "broken is a broken link" in said


@pytest.mark.parametrize("name", ["back\\slash", "new\nline", "del\x7f", "\udcff"])
def test_names_that_the_hub_does_not_take_are_refused_before_anything_is_sent(
    api: HfApi, local_hub: LocalHub, folder: Path, name: str
) -> None:
    (folder / "good").write_bytes(b"x")
    (folder / name).write_bytes(b"x")
    with pytest.raises(HFValidationError, match="Not a path in a repository"):
        api.upload_folder(repo_id=REPO, folder_path=folder)
    assert routes(local_hub) == []
    api.upload_folder(repo_id=REPO, folder_path=folder, allow_patterns="good")
    assert paths(api) == ["good"]


@pytest.mark.parametrize("path", ["x" * 256, "a/" * 101 + "b", "a//b", "a/../b", ".git/config", "a/.cache/b"])
def test_paths_that_the_hub_does_not_take_are_refused(api: HfApi, local_hub: LocalHub, path: str) -> None:
    with pytest.raises(HFValidationError):
        api.upload_file(repo_id=REPO, path_in_repo=path, path_or_fileobj=b"x")
    with pytest.raises(HFValidationError):
        api.upload_folder(repo_id=REPO, folder_path=Path(__file__).parent, path_in_repo=path, allow_patterns="*.py")
    assert routes(local_hub) == []


def test_empty_files_arrive_empty(api: HfApi, folder: Path, tmp_path: Path) -> None:
    for name in ("a.txt", "b.bin", "c.parquet"):
        (folder / name).write_bytes(b"")
    api.upload_folder(repo_id=REPO, folder_path=folder)
    assert [entry.size for entry in api.get_paths_info(REPO, ["a.txt", "b.bin", "c.parquet"])] == [0, 0, 0]  # type: ignore[union-attr]


def test_a_file_too_large_for_a_regular_commit_goes_as_a_large_one(api: HfApi, folder: Path) -> None:
    (folder / "long.txt").write_bytes(b"a line of text\n" * 800_000)
    api.upload_folder(repo_id=REPO, folder_path=folder)
    (entry,) = api.get_paths_info(REPO, "long.txt")
    assert entry.lfs is not None  # type: ignore[union-attr]
    assert entry.size == 12_000_000  # type: ignore[union-attr]


def test_a_file_that_grows_meanwhile_arrives_as_it_was_listed(
    api: HfApi, local_hub: LocalHub, folder: Path, tmp_path: Path
) -> None:
    for name in ("log.txt", "log.bin"):
        (folder / name).write_bytes(b"first\n")
    local_hub.faults.add(Fault(route="preupload", delay=math.inf))
    upload = api.upload_folder(repo_id=REPO, folder_path=folder, run_as_future=True)
    assert local_hub.faults.wait_for_hits(1)
    for name in ("log.txt", "log.bin"):
        with (folder / name).open("ab") as file:
            file.write(b"second\n")
    local_hub.faults.clear()
    upload.result(SECONDS)
    for name in ("log.txt", "log.bin"):
        assert Path(api.hf_hub_download(REPO, name, local_dir=tmp_path / "down")).read_bytes() == b"first\n"


@pytest.mark.parametrize("name", ["x.txt", "x.bin"])
@pytest.mark.parametrize("change", ["shrinks", "is replaced"])
def test_a_file_that_is_another_one_meanwhile_is_not_committed(
    api: HfApi, local_hub: LocalHub, folder: Path, name: str, change: str
) -> None:
    (folder / name).write_bytes(b"0123456789")
    local_hub.faults.add(Fault(route="preupload", delay=math.inf))
    upload = api.upload_folder(repo_id=REPO, folder_path=folder, run_as_future=True)
    assert local_hub.faults.wait_for_hits(1)
    if change == "shrinks":
        os.truncate(folder / name, 4)
    else:
        (folder / "other").write_bytes(b"abcdefghij")
        (folder / "other").replace(folder / name)
    local_hub.faults.clear()
    with pytest.raises((FileShrankError, FileReplacedError), match=r"x\."):
        upload.result(SECONDS)
    assert paths(api) == []


def test_more_files_in_a_folder_than_the_hub_advises_is_a_warning(
    api: HfApi, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "many").mkdir()
    for number in range(10_001):
        os.link(folder / "many" / "0", folder / "many" / str(number)) if number else (folder / "many" / "0").touch()
    with caplog.at_level(logging.WARNING):
        api.upload_folder(repo_id=REPO, folder_path=folder)
    assert "many/ has 10001 entries" in caplog.text
    assert len(paths(api)) == 10_001


@pytest.mark.parametrize(
    ("pattern", "kept"),
    [
        ("**/logs/*.txt", ["a.txt", "in/a.txt"]),  # the guide means the folder's own logs/ too
        ("**/a.txt", ["in/logs/b.txt", "logs/b.txt"]),
        ("logs/", ["a.txt", "in/a.txt", "in/logs/b.txt"]),
        ("*.txt", []),
        ("*.TXT", ["a.txt", "in/a.txt", "in/logs/b.txt", "logs/b.txt"]),
    ],
)
def test_patterns_choose_what_goes_along(api: HfApi, folder: Path, pattern: str, kept: list[str]) -> None:
    for path in ("a.txt", "in/a.txt", "logs/b.txt", "in/logs/b.txt"):
        (folder / path).parent.mkdir(exist_ok=True, parents=True)
        (folder / path).write_bytes(b"x")
    api.upload_folder(repo_id=REPO, folder_path=folder, ignore_patterns=pattern)
    assert paths(api) == kept


def test_git_and_cache_folders_are_never_sent_wherever_they_are(api: HfApi, folder: Path) -> None:
    for path in (".git/a", "in/.git/a", ".cache/huggingface/a", "in/.cache/huggingface/a", "in/.GIT/a", "in/a"):
        (folder / path).parent.mkdir(exist_ok=True, parents=True)
        (folder / path).write_bytes(b"x")
    (folder / "sub").mkdir()
    (folder / "sub" / ".git").write_bytes(b"gitdir: elsewhere")
    api.upload_folder(repo_id=REPO, folder_path=folder, allow_patterns=["*", ".git/*"])
    assert paths(api) == ["in/a"]


def test_a_tree_of_many_files_has_one_bar(
    api: HfApi, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "0")
    monkeypatch.setattr(progress, "DEFAULTS", replace(DEFAULTS, bar_seconds=0))
    fill(folder, 40, size=300_000)
    fill(folder, 10, size=1000, suffix="txt")
    api.upload_folder(repo_id=REPO, folder_path=folder)
    shown = capsys.readouterr().err
    assert {line.partition(":")[0] for line in shown.replace("\r", "\n").splitlines() if line.strip()} == {"Uploading"}
    assert "12.0M/12.0M" in shown
    api.preupload_lfs_files(REPO, [CommitOperationAdd("x.bin", os.urandom(12_000_000))])  # as a scheduler does
    assert capsys.readouterr().err == ""
