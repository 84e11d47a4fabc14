"""Where rows go, in normal form, and the folder that holds the rows of one destination."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hubspool.client.target import Target
from hubspool.errors import HFValidationError, StateFileError
from hubspool.files import StatePaths, is_spool_folder
from hubspool.spool.destination import Destination, SpoolFolder, spool_folders, spool_for

GIVEN: dict[str, Any] = {
    "endpoint": "https://huggingface.co",
    "repo_id": "u/votes",
    "repo_type": "dataset",
    "revision": None,
    "path_in_repo": "data",
    "name": "train",
    "form": "jsonl",
}
HERE = Destination.of(**GIVEN)
SPOOL = SpoolFolder(Path("votes-0123abcd.spool"), HERE, "u/votes", hub_id="1a")


@pytest.mark.parametrize(
    "spelling",
    [
        {"endpoint": "https://HuggingFace.co/"},
        {"endpoint": "HTTPS://huggingface.co:443"},
        {"repo_id": "U/Votes"},
        {"revision": "main"},
        {"path_in_repo": "/data/"},
        {"path_in_repo": "./data"},
        {"path_in_repo": "data/./"},
        {"path_in_repo": "data//"},
    ],
)
def test_two_spellings_are_one_destination(spelling: dict[str, Any]) -> None:
    other = Destination.of(**{**GIVEN, **spelling})
    assert other == HERE
    assert other.folder_name() == HERE.folder_name()


@pytest.mark.parametrize(
    "change",
    [
        {"endpoint": "http://huggingface.co"},
        {"endpoint": "https://huggingface.co:444"},
        {"endpoint": "http://127.0.0.1:443"},
        {"endpoint": "https://huggingface.co/hub"},
        {"repo_id": "votes"},
        {"repo_id": "w/votes"},
        {"repo_type": "model"},
        {"revision": "Main"},
        {"path_in_repo": "Data"},
        {"path_in_repo": None},
        {"name": "test"},
        {"form": "parquet"},
    ],
)
def test_what_differs_is_another_destination(change: dict[str, Any]) -> None:
    other = Destination.of(**{**GIVEN, **change})
    assert other != HERE
    assert other.folder_name() != HERE.folder_name()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("..", "leaves the repository"),
        ("data/../..", "leaves the repository"),
        ("../data", "leaves the repository"),
        ("data/.git", "is not for data"),
        ("data\n", "control character"),
    ],
)
def test_a_path_that_the_repository_cannot_hold_is_refused(path: str, reason: str) -> None:
    with pytest.raises(HFValidationError, match=reason):
        Destination.of(**{**GIVEN, "path_in_repo": path})


def test_the_folder_is_named_after_the_repository() -> None:
    name = HERE.folder_name()
    assert name.startswith("votes-")
    assert is_spool_folder(name)
    assert HERE.folder_name(1) != name


@pytest.mark.parametrize("name", ["reel.spool", "votes-0123abcd", "votes-0123ABCD.spool", "-0123abcd.spool"])
def test_other_names_are_folders_of_the_user(name: str) -> None:
    assert not is_spool_folder(name)


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    spool = replace(SPOOL, path=tmp_path / SPOOL.path, account="u", recipe={"class": "JsonlScheduler"}, state_dir="/s")
    assert SpoolFolder.read(spool.path) is None
    spool.save()
    assert SpoolFolder.read(spool.path) == spool
    assert spool_folders(tmp_path) == [spool]
    assert [path.name for path in spool.path.iterdir()] == ["destination.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"destination": {}}', b"\0" * 100])
def test_a_damaged_record_is_written_again_by_the_next_start(content: bytes, tmp_path: Path) -> None:
    spool = spool_for(tmp_path, HERE, "u/votes")
    spool.save()
    StatePaths(spool.path).destination.write_bytes(content)
    assert spool_folders(tmp_path) == []
    again = spool_for(tmp_path, HERE, "u/votes")
    assert again == spool
    again.save()
    assert spool_folders(tmp_path) == [spool]


def test_a_folder_that_cannot_be_written_is_an_error_that_can_pass(tmp_path: Path) -> None:
    (tmp_path / SPOOL.path).write_text("a file")
    with pytest.raises(StateFileError):
        replace(SPOOL, path=tmp_path / SPOOL.path).save()


def test_a_name_alone_finds_its_spool_before_and_after_the_account_is_known(tmp_path: Path) -> None:
    alone = Destination.of(**{**GIVEN, "repo_id": "votes"})
    spool = spool_for(tmp_path, alone, "votes")
    spool.save()
    assert spool_for(tmp_path, HERE, "u/votes").path != spool.path
    replace(spool, destination=HERE, account="u").save()
    assert spool_for(tmp_path, HERE, "u/votes").path == spool.path
    assert spool_for(tmp_path, alone, "votes").path == spool.path


def test_a_spool_that_followed_its_repository_leaves_the_old_name_to_others(tmp_path: Path) -> None:
    spool = spool_for(tmp_path, HERE, "u/votes")
    renamed = Destination.of(**{**GIVEN, "repo_id": "u/renamed"})
    replace(spool, destination=renamed, given="u/renamed").save()
    assert spool_for(tmp_path, renamed, "u/renamed").path == spool.path
    assert spool_for(tmp_path, HERE, "u/votes").path == tmp_path / HERE.folder_name(1)


@pytest.mark.parametrize(
    ("change", "hub_id", "same"),
    [
        ({}, "1a", True),
        ({"repo_id": "u/renamed"}, "1a", True),
        ({"endpoint": "http://127.0.0.1:4000"}, "1a", True),
        ({}, "2b", False),
        ({"repo_type": "model"}, "1a", False),
        ({"revision": "drafts"}, "1a", False),
        ({"path_in_repo": "more"}, "1a", False),
        ({"name": "test"}, "1a", False),
        ({"form": "zip"}, "1a", False),
    ],
)
def test_the_hubs_id_tells_that_rows_go_to_the_same_files(change: dict[str, Any], hub_id: str, same: bool) -> None:
    assert SPOOL.is_same_on_hub(hub_id, Destination.of(**{**GIVEN, **change})) is same


def test_a_target_of_the_ledger_is_compared_in_normal_form() -> None:
    target = Target("https://HuggingFace.co/", "U/votes", "dataset", "main")
    assert HERE.is_target(target, "data/")
    assert not HERE.is_target(target, "")
