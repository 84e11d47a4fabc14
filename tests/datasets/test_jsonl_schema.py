"""Rows whose columns differ, by writer, restart or row, still make a dataset that loads: the card knows them first."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from hubspool import CommitOperationAdd, HfApi
from hubspool.local_hub import Fault, LocalHub
from hubspool.push.events import CommitPlan
from hubspool_templates import JsonlScheduler, read_rows

REPO = "local/votes"
SECONDS = 60

Make = Callable[..., JsonlScheduler]
Load = Callable[..., dict[str, list[dict[str, Any]]]]
Card = Callable[..., dict[str, Any]]


@pytest.fixture
def card(local_hub: LocalHub) -> Card:
    """The front matter of the card at a revision."""

    def read(revision: str = "main", repo: str = REPO) -> dict[str, Any]:
        answer = requests.get(
            f"{local_hub.endpoint}/datasets/{repo}/resolve/{revision}/README.md",
            headers={"Authorization": f"Bearer {local_hub.token}"},
            timeout=SECONDS,
        )
        answer.raise_for_status()
        fields: dict[str, Any] = yaml.safe_load(answer.text.split("---\n")[1])
        return fields

    return read


def columns(fields: dict[str, Any]) -> dict[str, Any]:
    """Column → its type as the card has it."""
    features = fields["dataset_info"]["features"]
    return {each["name"]: each.get("dtype", {k: v for k, v in each.items() if k != "name"}) for each in features}


def push(scheduler: JsonlScheduler, *rows: dict[str, Any]) -> None:
    for row in rows:
        scheduler.append(row)
    scheduler.trigger().result(SECONDS)


def write(api: HfApi, text: str) -> None:
    """Edit the card as a person does."""
    operation = CommitOperationAdd("README.md", text.encode())
    api.create_commit(REPO, [operation], commit_message="by hand", repo_type="dataset")


def test_the_card_has_every_column_in_the_commit_that_needs_it(make: Make, hub_api: HfApi, card: Card) -> None:
    scheduler = make()
    for row in ({"n": 1, "none": None}, {"n": 2, "none": "x", "s": {"a": [1]}}, {"n": 0.5, "s": {"b": True}}):
        push(scheduler, row)
    oids = [commit.commit_id for commit in hub_api.list_repo_commits(REPO, repo_type="dataset")]
    assert [columns(card(oid)) for oid in reversed(oids[:3])] == [
        {"n": "int64", "none": "null"},
        {"n": "int64", "none": "string", "s": {"struct": [{"name": "a", "list": "int64"}]}},
        {
            "n": "float64",
            "none": "string",
            "s": {"struct": [{"name": "a", "list": "int64"}, {"name": "b", "dtype": "bool"}]},
        },
    ]


@pytest.mark.parametrize("streaming", [False, True])
def test_two_restarts_and_two_replicas_with_differing_fields_load(make: Make, load: Load, streaming: bool) -> None:
    rows = [
        {"n": 1, "a": 1},
        {"n": 2, "b": "x", "tags": []},
        {"n": 3, "a": 0.5, "tags": ["t"], "meta": {"p": 1}},
        {"n": 4, "meta": {"q": [{"r": None}]}},
        {"n": 5, "meta": {"q": [{"r": 1, "s": "x"}]}, "c": None},
    ]
    with make(folder="one") as one, make(folder="two") as two:
        push(one, rows[0])
        push(two, rows[1])
        push(one, rows[2])
    with make(folder="one") as one:
        push(one, rows[3])
    with make(folder="two") as two:
        push(two, rows[4])
    found = sorted(load(streaming=streaming)["train"], key=lambda row: row["n"])
    meta: dict[str, Any] = {"p": None, "q": None}
    empty = {"a": None, "b": None, "tags": None, "meta": None, "c": None}
    assert found == [
        {**empty, "n": 1, "a": 1.0},
        {**empty, "n": 2, "b": "x", "tags": []},
        {**empty, "n": 3, "a": 0.5, "tags": ["t"], "meta": {**meta, "p": 1}},
        {**empty, "n": 4, "meta": {**meta, "q": [{"r": None, "s": None}]}},
        {**empty, "n": 5, "meta": {**meta, "q": [{"r": 1, "s": "x"}]}},
    ]


def test_two_new_columns_at_the_same_time_are_both_in_the_card(make: Make, card: Card, load: Load) -> None:
    """Both replicas read the card before either commits: the second commit is refused, and reads again."""
    first = make(folder="one")
    push(first, {"n": 1})
    push(first, {"n": 2})
    meet = threading.Barrier(2)
    met: list[str] = []

    def wait(plan: CommitPlan) -> None:
        if len(met) < 2:
            met.append(plan.parent or "")
            meet.wait(SECONDS)

    one, two = (make(folder=name, on_before_commit=wait) for name in ("one-b", "two"))
    one.append({"n": 3, "a": 1})
    two.append({"n": 4, "b": "x"})
    for future in [one.trigger(), two.trigger()]:
        future.result(SECONDS)
    assert len(met) == 2
    assert met[0] == met[1]
    assert columns(card()) == {"n": "int64", "a": "int64", "b": "string"}
    assert sorted(row["n"] for row in load()["train"]) == [1, 2, 3, 4]


CRASHED = """
import os, sys
from hubspool import HfApi
from hubspool_templates import JsonlScheduler
scheduler = JsonlScheduler(sys.argv[2], sys.argv[3], every=600, hf_api=HfApi(endpoint=sys.argv[1], token=sys.argv[4]))
scheduler.last_future.exception(60)
scheduler.append({"n": 1, "extra": {"deep": [1]}})
scheduler.append({"n": 2, "extra": None, "other": "x"})
print("written", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("end", ["killed", "alive"])
def test_columns_of_another_process_reach_the_card_before_its_rows(
    end: str, make: Make, local_hub: LocalHub, card: Card, load: Load, tmp_path: Path
) -> None:
    """What is pushed may be an orphan's, or a living neighbour's: its columns are in its rows alone."""
    folder = tmp_path / "folder"
    command = [sys.executable, "-c", CRASHED, local_hub.endpoint, REPO, str(folder), local_hub.token]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        if end == "killed":
            process.send_signal(signal.SIGKILL)
            process.wait(SECONDS)
        push(make(), {"n": 3})
        assert (process.poll() is None) == (end == "alive")
    finally:
        process.kill()
        process.wait(SECONDS)
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
    assert set(columns(card())) == {"n", "extra", "other"}
    assert sorted(row["n"] for row in load()["train"]) == [1, 2, 3]


#: First value, second value, the column's type in the card, and both values as `datasets` reads them.
TWO_KINDS: list[tuple[object, object, str, list[object]]] = [
    (1, "a", "string", ["1", "a"]),
    (0.5, "a", "string", ["0.5", "a"]),
    (True, 2, "string", ["true", "2"]),
    (2**60, 0.5, "string", [str(2**60), "0.5"]),
    ("a", 1, "string", ["a", "1"]),
    ([1], "a", "json", [[1], "a"]),
    ({"k": 1}, "a", "json", [{"k": 1}, "a"]),
    ({"k": [1]}, [1], "json", [{"k": [1]}, [1]]),
    ("a", [1], "json", ["a", [1]]),
]


@pytest.mark.parametrize("where", ["one file", "the Hub"])
def test_a_column_of_two_kinds_loads_with_what_was_sent_before(
    where: str, make: Make, card: Card, load_all: Callable[..., list[dict[str, Any]]]
) -> None:
    """`where` the first value is when the second comes: beside it in the spool, or on the Hub since a restart."""
    repos = {f"local/kinds-{number}": case for number, case in enumerate(TWO_KINDS)}
    for repo, (before, after, dtype, _) in repos.items():
        rows = [{"n": 0, "v": before}, {"n": 1, "v": after}, {"n": 2, "v": None}, {"n": 3, "v": before}]
        given = {"repo_id": repo, "folder": repo.removeprefix("local/")}
        if where == "the Hub":
            with make(**given) as scheduler:
                push(scheduler, rows.pop(0))
        with make(**given) as scheduler:
            push(scheduler, *rows)
        assert columns(card(repo=repo))["v"] == dtype, repo
    for (_, _, _, expected), splits in zip(repos.values(), load_all(*repos), strict=True):
        found = sorted(splits["train"], key=lambda row: row["n"])
        assert [row["v"] for row in found] == [*expected, None, expected[0]]


def test_an_extend_with_numbers_and_text_is_one_file_of_text(make: Make, load: Load) -> None:
    scheduler = make()
    scheduler.append({"v": 1})
    scheduler.extend([{"v": 2}, {"v": "x"}, {"v": 3}])
    scheduler.flush(SECONDS)
    assert sorted(row["v"] for row in load()["train"]) == ["1", "2", "3", "x"]


def test_writers_in_threads_never_mix_numbers_and_text_in_one_file(make: Make, hub_api: HfApi) -> None:
    """Each file is of one kind, whenever the columns became text; four threads, four columns, no order."""
    scheduler = make(keep_local=True)

    def work(number: int) -> None:
        for n in range(300):
            scheduler.append({f"c{(number + n) % 4}": "x" if n == 150 + number else n})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    scheduler.flush(SECONDS)
    paths = [path for path in hub_api.list_repo_files(REPO, repo_type="dataset") if path.endswith(".jsonl")]
    assert len(paths) > 1
    assert len(list(read_rows(REPO, hub_api))) == 1200
    for path in scheduler.spool_folder.glob("train-*.jsonl"):
        kinds: dict[str, set[bool]] = {}
        for line in path.read_text().splitlines():
            for key, value in yaml.safe_load(line).items():
                kinds.setdefault(key, set()).add(isinstance(value, str))
        assert all(len(kind) == 1 for kind in kinds.values()), path


TEXTS = ["12", "-", "NaN", "null", '{"k": 1}', '"x"', "[1", "2026-11-28", "x", "", "1e5", "Ζεύς 🐈"]


def test_text_beside_lists_and_dicts_stays_text(make: Make, hub_api: HfApi, load: Load) -> None:
    """`datasets` reads all text of such a column as JSON, so it is stored as JSON."""
    rows = [{"n": 0, "a": [1], "b": ["x", {"c": 1}]}, {"n": 1, "a": {"k": "12"}, "b": None}]
    rows += [{"n": n, "a": text, "b": [text, None, [text]]} for n, text in enumerate(TEXTS, 2)]
    rows += [{"n": len(rows), "a": 5, "b": []}, {"n": len(rows) + 1, "a": True, "b": [2]}]
    push(make(), *rows)
    assert load()["train"] == rows
    assert list(read_rows(REPO, hub_api)) == rows


def test_text_beside_lists_stays_text_after_a_restart_and_in_another_replica(
    make: Make, hub_api: HfApi, load: Load
) -> None:
    rows = [{"n": n, "a": text} for n, text in enumerate(["", *TEXTS, *TEXTS])]
    rows[0]["a"] = [1]
    with make() as scheduler:
        scheduler.append(rows[0])
    with make(settle=False) as again:
        again.extend(rows[1 : len(TEXTS) + 1])
    with make(folder="replica") as replica:
        replica.append({"n": -1, "a": None})
        replica.flush(SECONDS)  # learns the columns of the card
        replica.extend(rows[len(TEXTS) + 1 :])
    assert sorted(load()["train"], key=lambda row: row["n"])[1:] == rows
    assert sorted(read_rows(REPO, hub_api), key=lambda row: row["n"])[1:] == rows


def test_numbers_are_text_at_once_after_a_restart_of_a_text_column(make: Make, hub_api: HfApi, load: Load) -> None:
    with make() as scheduler:
        scheduler.append({"a": "x"})
    with make(settle=False) as again:
        again.extend([{"a": 1}, {"a": "y"}])
    assert sorted(row["a"] for row in load()["train"]) == ["1", "x", "y"]
    assert sorted((row["a"] for row in read_rows(REPO, hub_api)), key=str) == [1, "x", "y"]
    assert len([path for path in hub_api.list_repo_files(REPO, repo_type="dataset") if ".jsonl" in path]) == 2


def test_what_datasets_changes_although_the_files_are_right(make: Make, hub_api: HfApi, load: Load) -> None:
    """Each limit of docs/values.md; `read_rows` gives what was appended."""
    from datetime import datetime, timezone

    with pytest.raises(AssertionError, match="int64 vs double"):  # pyarrow reads a null before another item wrongly
        push(make(repo_id="local/nulls"), {"x": 1, "list": [None, 1]}, {"x": 1.5, "list": None})
        load("local/nulls")
    assert list(read_rows("local/nulls", hub_api)) == [{"x": 1, "list": [None, 1]}, {"x": 1.5, "list": None}]
    before = [{"n": 0, "day": "2026-01-02", "late": "12", "x": 0.12345678901234567}]
    push(make(), *before)
    assert load()["train"] == [{**before[0], "day": "2026-01-02 00:00:00"}]  # all texts of the file are dates
    push(make(), {"n": 1, "day": "today", "late": [1], "x": 0.12345678901234567})
    push(make(), {"n": 2, "day": "2026-01-02", "late": "12", "x": 0.12345678901234567})
    found = sorted(load()["train"], key=lambda row: row["n"])
    assert [row["late"] for row in found] == [12, [1], "12"]  # stored before the column had a list
    assert [row["x"] for row in found] == [0.123456789] * 3  # ten digits, once any column is json
    assert [row["late"] for row in read_rows(REPO, hub_api)] == ["12", [1], "12"]
    assert {row["x"] for row in read_rows(REPO, hub_api)} == {0.12345678901234567}
    assert [row["day"] for row in read_rows(REPO, hub_api) if row["n"] == 0] == ["2026-01-02"]
    push(make(folder="times"), {"n": 3, "at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)})
    [at] = [row["at"] for row in load()["train"] if row["n"] == 3]
    assert at == "2026-01-02T03:04:05.000000+00:00"  # a datetime stays


def test_a_persons_edits_of_the_card_win_and_new_columns_join_them(
    make: Make, hub_api: HfApi, card: Card, load: Load
) -> None:
    scheduler = make()
    push(scheduler, {"n": 1, "choice": 0})
    push(scheduler, {"n": 2, "choice": 1})
    fields = card()
    label = {"name": "choice", "dtype": {"class_label": {"names": {"0": "left", "1": "right"}}}}
    fields["dataset_info"]["features"][1] = label
    fields["license"] = "mit"
    write(hub_api, f"---\n# mine\n{yaml.safe_dump(fields)}---\nMy text.\n")
    push(scheduler, {"n": 3, "choice": 1, "new": "x"})
    found = card()
    assert found["dataset_info"]["features"][1:] == [label, {"name": "new", "dtype": "string"}]
    assert found["license"] == "mit"
    assert sorted((row["n"], row["choice"]) for row in load()["train"]) == [(1, 0), (2, 1), (3, 1)]


def test_a_column_that_a_person_took_out_comes_back_with_the_next_row(make: Make, hub_api: HfApi, card: Card) -> None:
    """Rows that are on the Hub need it; without it nothing loads."""
    scheduler = make()
    push(scheduler, {"n": 1, "m": 1})
    push(scheduler, {"n": 2, "m": 1})
    write(hub_api, "# Only text\n")
    push(scheduler, {"n": 3})
    assert columns(card()) == {"n": "int64", "m": "int64"}


def test_a_card_that_holds_all_is_neither_read_nor_sent_again(make: Make, local_hub: LocalHub) -> None:
    scheduler = make()
    for n in range(2):
        push(scheduler, {"n": n})
    local_hub.wait_idle()
    local_hub.requests.clear()
    for n in range(3):
        push(scheduler, {"n": n})
    local_hub.wait_idle()
    paths = [record.path for record in local_hub.requests]
    assert paths
    assert len(local_hub.requests.of("commit")) == 3
    assert not [path for path in paths if "README.md" in path]


def test_the_size_tag_counts_what_is_on_the_hub_already(make: Make, card: Card) -> None:
    with make(folder="one") as one:
        one.extend([{"n": n} for n in range(990)])
    assert card()["size_categories"] == ["n<1K"]
    two = make(folder="two")
    two.extend([{"n": n} for n in range(100)])
    two.flush(SECONDS)
    assert card()["size_categories"] == ["1K<n<10K"]


def test_the_size_tag_grows_while_one_object_runs(make: Make, card: Card) -> None:
    scheduler = make()
    for start in range(0, 1200, 300):
        scheduler.extend([{"n": n} for n in range(start, start + 300)])
        scheduler.trigger().result(SECONDS)
    assert card()["size_categories"] == ["1K<n<10K"]


def test_retries_are_not_counted_as_rows(make: Make, local_hub: LocalHub, card: Card) -> None:
    scheduler = make()
    push(scheduler, {"n": 0})
    scheduler.extend([{"n": n} for n in range(400)])
    local_hub.faults.add(Fault(route="commit", status=403, times=3))
    for _ in range(3):
        assert scheduler.trigger().exception(SECONDS) is not None
    assert len(local_hub.faults.hits) == 3
    scheduler.flush(SECONDS)
    push(scheduler, {"n": 1, "new": 1})
    assert card()["size_categories"] == ["n<1K"]


def test_a_readme_in_the_folder_is_no_row(make: Make, card: Card) -> None:
    scheduler = make(path_in_repo="")
    (scheduler.folder_path / "README.md").write_text("# From the folder\n")
    push(scheduler, {"n": 1})
    assert "configs" in card()


def test_strays_beside_the_data_do_no_harm(make: Make, hub_api: HfApi, load: Load) -> None:
    scheduler = make()
    push(scheduler, {"n": 1})
    strays = {"data/empty.jsonl": b"", "data/other.csv": b"a,b\n1,2\n", "notes.txt": b"x\n", "x.json": b'[{"y": 1}]',
              "data/train.jsonl": b'{"z": 1}\n', "data/more/train-1.jsonl": b'{"z": 1}\n'}  # fmt: skip
    operations = [CommitOperationAdd(path, content) for path, content in strays.items()]
    hub_api.create_commit(REPO, operations, commit_message="strays", repo_type="dataset")
    (scheduler.folder_path / "empty.jsonl").touch()
    (scheduler.folder_path / "mine.txt").write_text("remember the milk\n")
    push(scheduler, {"n": 2})
    files = hub_api.list_repo_files(REPO, repo_type="dataset")
    assert "data/mine.txt" not in files
    assert sorted(row["n"] for row in load()["train"]) == [1, 2]


def test_no_empty_data_file_is_sent(make: Make, hub_api: HfApi) -> None:
    with make() as scheduler:
        scheduler.flush(SECONDS)
        with pytest.raises(ValueError, match="'v'"):
            scheduler.append({"v": object()})
        scheduler.extend([])
    assert not [path for path in hub_api.list_repo_files(REPO, repo_type="dataset") if "data" in path]
    assert not list(scheduler.spool_folder.glob("*.jsonl"))
