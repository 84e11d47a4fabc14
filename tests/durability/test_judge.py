"""The judge can say no."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from hubspool import CommitOperationAdd, CommitOperationDelete
from tests.support.env import Open, Place
from tests.support.oracle import REPO
from tests.support.producer import make_row

Doctor = Callable[[Place, list[str]], None]


def commit(place: Place, path: str, content: bytes) -> None:
    operation = CommitOperationAdd(path, content)
    place.api.create_commit(REPO, [operation], commit_message="doctored", repo_type="dataset")


def remove_rows(place: Place, ids: list[str]) -> None:
    paths = [path for path in place.api.list_repo_files(REPO, repo_type="dataset") if path.endswith(".jsonl")]
    operations = [CommitOperationDelete(path) for path in paths]
    place.api.create_commit(REPO, operations, commit_message="doctored", repo_type="dataset")


def double_a_row(place: Place, ids: list[str]) -> None:
    commit(place, "data/more.jsonl", json.dumps(make_row(ids[0], 400)).encode() + b"\n")


def add_a_row(place: Place, ids: list[str]) -> None:
    commit(place, "data/more.jsonl", json.dumps(make_row("nobody-1", 400)).encode() + b"\n")


def spoil_a_payload(place: Place, ids: list[str]) -> None:
    commit(place, "data/more.jsonl", json.dumps({**make_row(ids[0], 400), "payload": "x"}).encode() + b"\n")


def break_a_version(place: Place, ids: list[str]) -> None:
    commit(place, "data/more.jsonl", b'{"id": "ha')
    place.api.create_commit(
        REPO, [CommitOperationDelete("data/more.jsonl")], commit_message="mended", repo_type="dataset"
    )


def test_nothing_is_found_where_nothing_is_wrong(place: Place, open_here: Open) -> None:
    here = open_here()
    here.producer.put_many(5)
    here.scheduler.stop()
    verdict = place.judge().check()
    assert (verdict.acknowledged, verdict.on_hub) == (6, 6)
    assert verdict.commits == 3


@pytest.mark.parametrize(
    ("doctor", "found"),
    [
        (remove_rows, {"lost", "vanished"}),
        (double_a_row, {"doubled"}),
        (add_a_row, {"never_issued"}),
        (spoil_a_payload, {"never_issued"}),
        (break_a_version, {"unparsed"}),
    ],
)
def test_a_doctored_repo_is_found_out(place: Place, open_here: Open, doctor: Doctor, found: set[str]) -> None:
    here = open_here()
    ids = [here.producer.put() for _ in range(3)]
    here.scheduler.stop()
    doctor(place, ids)
    verdict = place.judge()
    assert set(verdict.faults) == found
    with pytest.raises(AssertionError):
        verdict.check()


def test_what_is_not_sent_is_found_out(place: Place, open_here: Open) -> None:
    here = open_here()
    here.scheduler.flush(60)  # the push that every scheduler begins with would take the rows along
    here.producer.put_many(3)
    here.scheduler.stop(flush=False)
    place.api.create_repo(REPO, repo_type="dataset", exist_ok=True)
    assert set(place.judge(start=False).faults) == {"lost"}
    place.judge().check()
