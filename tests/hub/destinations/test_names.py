"""Rows follow a repository that got another name or address, and stay with the account that they are for."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hubspool import CommitScheduler
from hubspool.errors import HubspoolError, OtherAccountError
from hubspool.local_hub import Fault, LocalHub
from hubspool.spool.destination import SpoolFolder
from hubspool_templates import JsonlScheduler
from tests.support.destinations import KINDS, SECONDS, USERS, Make, client, ids_on, put
from tests.support.request_log import asked, forget


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "zip"])
def test_a_scheduler_with_the_new_name_of_a_renamed_repository_goes_on(
    kind: str, make: Make, hub: LocalHub, tmp_path: Path
) -> None:
    old = make(KINDS[kind], "alice/old")
    put(old, "one")
    old.flush(SECONDS)
    put(old, "two")
    old.stop(flush=False)
    client(hub).client().request(
        "POST",
        f"{hub.endpoint}/api/repos/move",
        json={"fromRepo": "alice/old", "toRepo": "alice/new", "type": "dataset"},
    )
    new = make(KINDS[kind], "alice/new")
    new.last_future.result(SECONDS)
    forget(hub)
    again = make(KINDS[kind], "alice/new")  # its destination is in another spool now than when the first was made
    assert (again.spool, again.spool_folder, len(asked(hub))) == (new.spool, old.spool_folder, 0)
    put(new, "three")
    new.flush(SECONDS)
    assert ids_on(hub, "alice/new") == ["one", "three", "two"]
    assert len(list((tmp_path / "folder").glob("*.spool"))) == 1


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "zip"])
def test_rows_follow_a_hub_to_its_new_address(kind: str, make: Make, hub: LocalHub, tmp_path: Path) -> None:
    old = make(KINDS[kind], keep_local=True)
    put(old, "one")
    old.flush(SECONDS)
    put(old, "two")
    old.stop(flush=False)
    hub.stop()
    with LocalHub(tmp_path / "hub", users=USERS) as moved:
        new = make(KINDS[kind], hf_api=client(moved), keep_local=True)
        put(new, "three")
        new.flush(SECONDS)
        assert ids_on(moved, "alice/first") == ["one", "three", "two"]
        assert len(list((tmp_path / "folder").glob("*.spool"))) == 1
        new.stop()


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "zip"])
def test_rows_follow_a_hub_that_was_away_at_the_start_and_has_a_new_address(
    kind: str, make: Make, hub: LocalHub, tmp_path: Path
) -> None:
    """The rows are in two spools then, until the first contact tells that both are for one repository."""
    old = make(KINDS[kind])
    put(old, "one")
    old.flush(SECONDS)
    put(old, "two")
    old.stop(flush=False)
    hub.stop()
    moved = LocalHub(tmp_path / "hub", users=USERS).start()
    try:
        api = client(moved)
        moved.stop()
        new = make(KINDS[kind], hf_api=api)
        put(new, "three")
        assert len(list((tmp_path / "folder").glob("*.spool"))) == 2
        moved.start()
        new.flush(SECONDS)
        assert ids_on(moved, "alice/first") == ["one", "three", "two"]
        new.stop()
    finally:
        moved.stop()


def test_a_name_is_bound_to_the_account_that_it_was_first_sent_with(make: Make, hub: LocalHub) -> None:
    first = make(JsonlScheduler, "votes")
    put(first, "one")
    first.flush(SECONDS)
    put(first, "two")
    first.stop(flush=False)
    with pytest.raises(OtherAccountError, match="alice/votes") as failed:
        make(JsonlScheduler, "votes", hf_api=client(hub, "bob"))
    assert "bob/votes" in failed.value.hint
    assert not client(hub, "bob").repo_exists("bob/votes", repo_type="dataset")
    make(JsonlScheduler, "alice/votes").flush(SECONDS)
    assert ids_on(hub, "alice/votes") == ["one", "two"]


def test_a_name_alone_and_the_full_name_share_a_spool_in_one_process(make: Make, hub: LocalHub) -> None:
    alone = make(JsonlScheduler, "votes")
    full = make(JsonlScheduler, "alice/votes")
    assert full.spool is alone.spool
    put(full, "one")
    alone.stop()
    assert ids_on(hub, "alice/votes") == ["one"]


def test_a_name_that_was_never_resolved_belongs_to_the_first_account_that_sends_it(make: Make, hub: LocalHub) -> None:
    hub.stop()
    first = make(JsonlScheduler, "votes")
    put(first, "one")
    first.stop(flush=False)
    hub.start()
    make(JsonlScheduler, "votes").flush(SECONDS)
    assert ids_on(hub, "alice/votes") == ["one"]


def test_the_spelling_of_a_destination_makes_no_other_one(make: Make, hub: LocalHub, tmp_path: Path) -> None:
    first = make(JsonlScheduler, path_in_repo="data")
    first.last_future.exception(SECONDS)
    put(first, "one")
    first.stop(flush=False)
    second = make(JsonlScheduler, "Alice/First", path_in_repo="/data/", revision="main")
    assert second.spool_folder == first.spool_folder
    second.stop(flush=False)
    make(JsonlScheduler).flush(SECONDS)
    assert ids_on(hub, "alice/first") == ["one"]
    assert len(list((tmp_path / "folder").glob("*.spool"))) == 1


def test_a_program_with_the_old_name_and_one_with_the_new_name_push_one_spool(
    make: Make, hub: LocalHub, tmp_path: Path
) -> None:
    """Both know what the other has sent, because the Hub's `_id` tells that it is one repository."""
    old = make(JsonlScheduler, "alice/old")
    put(old, "one")
    old.flush(SECONDS)
    client(hub).client().request(
        "POST",
        f"{hub.endpoint}/api/repos/move",
        json={"fromRepo": "alice/old", "toRepo": "alice/new", "type": "dataset"},
    )
    new, second = make(JsonlScheduler, "alice/new"), make(JsonlScheduler, "alice/old")
    assert {each.spool_folder for each in (old, new, second)} == {old.spool_folder}
    put(new, "two")
    for number, (each, other) in enumerate([(new, second), (second, new), (new, second)]):
        put(each, f"x{number}")
        each.flush(SECONDS)
        other.flush(SECONDS)
    assert ids_on(hub, "alice/new") == ["one", "two", "x0", "x1", "x2"]
    assert {new.status().pending_rows, second.status().pending_rows} == {0}


def test_rows_of_a_program_that_still_runs_under_the_old_address_follow_once_it_has_ended(
    make: Make, hub: LocalHub, tmp_path: Path
) -> None:
    old = make(JsonlScheduler)
    put(old, "one")
    old.flush(SECONDS)
    put(old, "two")
    hub.stop()
    moved = LocalHub(tmp_path / "hub", users=USERS).start()
    try:
        api = client(moved)
        moved.stop()
        new = make(JsonlScheduler, hf_api=api)
        put(new, "three")
        moved.start()
        new.flush(SECONDS)
        assert ids_on(moved, "alice/first") == ["one", "three"]
        old.stop(flush=False)
        new.flush(SECONDS)
        assert ids_on(moved, "alice/first") == ["one", "three", "two"]
        new.stop()
    finally:
        moved.stop()


def test_another_process_bound_the_name_while_this_one_waited(make: Make, hub: LocalHub, tmp_path: Path) -> None:
    hub.faults.add(Fault(status=503, times=None))
    first = make(JsonlScheduler, "votes", hf_api=client(hub, "bob"))
    put(first, "one")
    (path,) = (tmp_path / "folder").glob("*.spool")
    spool = SpoolFolder.read(path)
    assert spool is not None
    replace(spool, account="alice").save()
    seen, ends = len(hub.faults.hits), time.monotonic() + SECONDS
    while len(hub.faults.hits) < seen + 2:  # the attempt that ran at the save is over, and another one has begun
        assert time.monotonic() < ends
        threading.Event().wait(0.02)
    hub.faults.clear()
    with pytest.raises(OtherAccountError):
        first.flush(SECONDS)
    assert not client(hub, "bob").repo_exists("bob/votes", repo_type="dataset")


@pytest.mark.parametrize("order", [("alice/votes", "votes"), ("votes", "alice/votes")])
def test_a_name_and_its_full_name_share_everything_in_either_order(
    order: tuple[str, str], make: Make, hub: LocalHub, tmp_path: Path
) -> None:
    first, second = (make(JsonlScheduler, name) for name in order)
    assert second.spool is first.spool
    assert second._worker is first._worker
    put(first, "one")
    put(second, "two")
    first.stop()
    put(second, "three")
    second.flush(SECONDS)
    assert ids_on(hub, "alice/votes") == ["one", "three", "two"]
    assert len(list((tmp_path / "folder").glob("*.spool"))) == 1


def test_the_old_and_the_new_name_of_a_repository_share_everything(make: Make, hub: LocalHub) -> None:
    old = make(JsonlScheduler, "alice/old")
    put(old, "one")
    old.flush(SECONDS)
    rename(hub, "alice/old", "alice/new")
    new = make(JsonlScheduler, "alice/new")
    assert new.spool is old.spool
    put(new, "two")
    put(old, "three")
    old.stop()
    put(new, "four")
    new.flush(SECONDS)
    assert ids_on(hub, "alice/new") == ["four", "one", "three", "two"]


def rename(hub: LocalHub, old: str, new: str) -> None:
    body = {"fromRepo": old, "toRepo": new, "type": "dataset"}
    client(hub).client().request("POST", f"{hub.endpoint}/api/repos/move", json=body)


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "zip"])
def test_a_token_of_another_account_does_not_join(kind: str, make: Make, hub: LocalHub) -> None:
    first = make(KINDS[kind], "votes")
    put(first, "one")
    with pytest.raises(OtherAccountError, match="alice/votes"):
        make(KINDS[kind], "votes", hf_api=client(hub, "bob"))
    put(first, "two")
    first.flush(SECONDS)
    assert ids_on(hub, "alice/votes") == ["one", "two"]
    assert not client(hub, "bob").repo_exists("bob/votes", repo_type="dataset")


def test_files_of_a_name_alone_go_to_the_account_of_each_token(make: Make, hub: LocalHub) -> None:
    first = make(CommitScheduler, "votes")
    second = make(CommitScheduler, "votes", hf_api=client(hub, "bob"))
    put(first, "one")
    assert (first.repo_id, second.repo_id) == ("alice/votes", "bob/votes")
    assert second._worker is not first._worker
    first.flush(SECONDS)
    assert ids_on(hub, "alice/votes") == ["one"]


def test_another_account_does_not_join_while_the_first_has_not_reached_the_hub(make: Make, hub: LocalHub) -> None:
    hub.faults.add(Fault(status=503, times=None))
    first = make(JsonlScheduler, "votes")
    put(first, "one")
    with pytest.raises(HubspoolError, match="503"):
        make(JsonlScheduler, "votes", hf_api=client(hub, "bob"))
    assert hub.faults.hits
    hub.faults.clear()
    with pytest.raises(OtherAccountError):
        make(JsonlScheduler, "votes", hf_api=client(hub, "bob"))
    first.flush(SECONDS)
    assert ids_on(hub, "alice/votes") == ["one"]


def test_the_right_token_after_one_that_may_not_create_the_repository(make: Make, hub: LocalHub) -> None:
    client(hub).create_repo("alice/votes", repo_type="dataset")
    hub.faults.add(Fault(route="repo-create", status=403, times=None))
    wrong = make(JsonlScheduler, "votes", hf_api=client(hub, "bob"))
    assert wrong.last_future.exception(SECONDS) is not None
    assert hub.faults.hits
    right = make(JsonlScheduler, "votes")
    put(right, "one")
    right.flush(SECONDS)
    assert right.repo_id == "alice/votes"
    assert ids_on(hub, "alice/votes") == ["one"]
