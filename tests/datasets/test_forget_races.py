"""`hubspool forget` beside writers, other commits, late answers and the Hub's limits: it ends complete, or says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hubspool import CommitOperationAdd, HfApi
from hubspool.cli import group
from hubspool.client.target import Target
from hubspool.errors import ConflictError, FlushTimeout, HubspoolError
from hubspool.local_hub import Fault, LocalHub, RateLimit
from hubspool.push.joiner import Joiner
from hubspool.push.remote import RemoteRepo
from hubspool.push.removal import Removal
from hubspool.push.remover import RemovalReport, Remover
from hubspool_templates import JsonlScheduler, read_rows
from tests.datasets.test_compaction import data_files
from tests.support.oracle import SECONDS, second_look_after

REPO = "local/votes"
VALUE = "anna-4711"
Make = Callable[..., JsonlScheduler]


def rows(api: HfApi) -> list[tuple[str, int]]:
    return sorted((row["user"], row["n"]) for row in read_rows(REPO, api))


@pytest.fixture
def remover(hub_api: HfApi, local_hub: LocalHub) -> Remover:
    repo = RemoteRepo(hub_api, Target(local_hub.endpoint, REPO, "dataset", "main"))
    return Remover(repo, "", {"jsonl": Joiner()}, pause=lambda _: False)


def written(make: Make, *, folder: str = "a") -> JsonlScheduler:
    """A scheduler that has sent one row with the value and one without."""
    writer = make(folder=folder)
    writer.extend([{"user": "ben", "n": 1}, {"user": VALUE, "n": 2}])
    writer.flush()
    return writer


def asked(remover: Remover) -> Removal:
    return Removal.of({"user": VALUE}, remover.repo.head().at)


def test_a_download_that_answers_with_an_older_version_loses_no_row(
    make: Make, hub_api: HfApi, local_hub: LocalHub, remover: Remover
) -> None:
    writer = written(make)
    writer.append({"user": "ben", "n": 3})
    writer.flush()
    [part] = data_files(hub_api)
    local_hub.faults.add(Fault(route="resolve", path=r"resolve/main/.*jsonl", stale=1, times=None))
    url = remover.repo.target.file_url(part)
    assert b'"n":3' not in remover.repo.api.client().content(url)  # the fault answers
    assert remover.remove([asked(remover)]).rows == 1
    local_hub.faults.clear()
    assert rows(hub_api) == [("ben", 1), ("ben", 3)]


def test_a_part_that_grows_while_it_is_read_is_read_again(make: Make, hub_api: HfApi, remover: Remover) -> None:
    writer = written(make)
    grow_once(remover, lambda: (writer.append({"user": "ben", "n": 3}), writer.flush()))
    report = remover.remove([asked(remover)])
    assert (report.rows, report.files, report.left) == (1, 1, 0)
    assert rows(hub_api) == [("ben", 1), ("ben", 3)]


def grow_once(remover: Remover, act: Callable[[], object]) -> None:
    """Let something happen between the first search for rows and its commit."""
    real = remover._commit
    acts = [act]

    def commit(*arguments: object) -> None:
        if acts:
            acts.pop()()
        real(*arguments)  # type: ignore[arg-type]

    remover._commit = commit  # type: ignore[method-assign]


def test_a_part_that_is_joined_while_it_is_read_is_read_again(
    make: Make, hub_api: HfApi, remover: Remover, hub_is_ahead: None
) -> None:
    from hubspool.push.compaction import Compactor

    for folder in ("a", "b"):
        written(make, folder=folder).stop()
    grow_once(remover, lambda: Compactor(remover.repo, "data", remover.joiners).run())
    report = remover.remove([asked(remover)])
    assert (report.rows, report.left) == (2, 0)
    assert rows(hub_api) == [("ben", 1), ("ben", 1)]


def test_it_fails_where_other_commits_come_first_each_time_and_keeps_its_second_look(
    make: Make, hub_api: HfApi, remover: Remover
) -> None:
    written(make).stop()
    removal = asked(remover)
    remover.note([removal])
    real = remover.repo.commit
    overtaken: list[str] = []

    def commit(operations: object, message: str, *rest: str) -> object:
        if message.startswith("Remove rows from"):
            overtaken.append(message)
            note = CommitOperationAdd("note.txt", str(len(overtaken)).encode())
            hub_api.create_commit(REPO, [note], commit_message="another", repo_type="dataset")
        return real(operations, message, *rest)  # type: ignore[arg-type]

    remover.repo.commit = commit  # type: ignore[method-assign,assignment]
    before = len(hub_api.list_repo_commits(REPO, repo_type="dataset"))
    with second_look_after(0), pytest.raises(ConflictError, match=r"1 file .* run it again"):
        remover.check()
    assert overtaken
    assert len(hub_api.list_repo_commits(REPO, repo_type="dataset")) == before + len(overtaken)
    [found] = Removal.read_all(remover.repo, {}).values()
    assert not found.is_checked
    del remover.repo.commit
    assert remover.remove([removal]).rows == 1
    assert rows(hub_api) == [("ben", 1)]


def planted(api: HfApi, files: int, folder: str = "data/2026-01") -> None:
    lines = [f'{{"user":"{VALUE}","n":{n}}}\n{{"user":"ben","n":{n}}}\n'.encode() for n in range(files)]
    names = [f"{folder}/train-20260101-0123456789ab-{n:05d}-p0000.jsonl" for n in range(files)]
    parts = [CommitOperationAdd(name, line) for name, line in zip(names, lines, strict=True)]
    api.create_repo(REPO, repo_type="dataset", exist_ok=True)
    api.create_commit(REPO, parts, commit_message="planted", repo_type="dataset")


def commits_of(hub: LocalHub, since: int) -> int:
    return sum(request.route == "commit" for request in [*hub.requests][since:])


def test_many_files_are_replaced_in_one_commit(hub_api: HfApi, local_hub: LocalHub, remover: Remover) -> None:
    planted(hub_api, 12)
    since = len([*local_hub.requests])
    report = remover.remove([asked(remover)])
    assert (report.rows, report.files, report.commits) == (12, 12, 1)
    assert commits_of(local_hub, since) == 1
    assert rows(hub_api) == [("ben", n) for n in range(12)]


def test_a_limit_of_commits_says_what_was_done_and_that_the_command_goes_on(
    hub_api: HfApi, local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", local_hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", local_hub.token)
    for month in ("2026-01", "2026-02"):
        planted(hub_api, 2, f"data/{month}")
    for path in data_files(hub_api):  # a month has a manifest, and so a commit, of its own
        if "2026-02/" in path:
            content = Path(hub_api.hf_hub_download(REPO, path, repo_type="dataset")).read_bytes()
            move = CommitOperationAdd(path.replace("-20260101-", "-20260201-"), content)
            hub_api.create_commit(REPO, [move], commit_message="moved", repo_type="dataset")
            hub_api.delete_file(path, REPO, repo_type="dataset")
    before = rows(hub_api)
    local_hub.faults.add(Fault(route="commit", limit=RateLimit(2), times=None))
    command = ["forget", REPO, "--where", f"user={VALUE}", "--yes"]
    result = CliRunner().invoke(group, command)
    assert result.exit_code == 1
    assert "2 rows of 2 files are removed, in 1 commit. Run the same command again" in str(result.exception)
    local_hub.faults.clear()
    assert "2 rows of 2 files removed" in CliRunner().invoke(group, command).output
    assert rows(hub_api) == [row for row in before if row[0] != VALUE]


def test_a_scheduler_counts_the_commits_of_a_removal(make: Make, hub_api: HfApi) -> None:
    writer = written(make)
    noted: list[int] = []
    turns = writer._worker.turns
    turns.note_beside = noted.append  # type: ignore[method-assign]
    assert writer.forget({"user": VALUE}, timeout=SECONDS).rows == 1
    assert sum(noted) == 2  # the request, and the files


def test_a_file_that_an_editor_left_without_its_last_newline_keeps_its_other_rows(
    make: Make, hub_api: HfApi, remover: Remover
) -> None:
    written(make).stop()
    [part] = data_files(hub_api)
    for edited in (
        f'{{"user":"ben","n":1}}\n{{"user":"{VALUE}","n":2}}',
        f'{{"user":"{VALUE}","n":2}}\n{{"user":"ben","n":1}}',
    ):
        edit = CommitOperationAdd(part, edited.encode())
        hub_api.create_commit(REPO, [edit], commit_message="edited", repo_type="dataset")
        assert remover.remove([asked(remover)]).rows == 1
        assert rows(hub_api) == [("ben", 1)]
        part = part.replace("-p0000", "-p0001")
        hub_api.delete_files(REPO, data_files(hub_api), repo_type="dataset")


def an_hour_passes(writer: JsonlScheduler) -> None:
    """Let the last look of a scheduler at the repository be an hour old."""
    assert writer._worker.pusher is not None
    writer._worker.pusher.memory.looked_at -= 3600


def looks_of(hub: LocalHub) -> int:
    return sum("/commits/" in request.path for request in [*hub.requests])


def test_a_scheduler_without_new_rows_removes_them_from_its_disk_and_makes_the_second_look(
    make: Make, hub_api: HfApi, local_hub: LocalHub, remover: Remover
) -> None:
    writer = written(make)
    removal = asked(remover)
    remover.note([removal])
    assert remover.remove([removal]).rows == 1
    looks = looks_of(local_hub)
    writer.trigger().result(SECONDS)
    assert looks_of(local_hub) == looks
    an_hour_passes(writer)
    writer.trigger().result(SECONDS)
    [segment] = writer.spool_folder.glob("*.jsonl")
    assert VALUE not in segment.read_text()
    [found] = Removal.read_all(remover.repo, {}).values()
    assert not found.is_checked
    with second_look_after(0):
        writer.trigger().result(SECONDS)
    [found] = Removal.read_all(remover.repo, {}).values()
    assert found.is_checked
    looks = looks_of(local_hub)
    with second_look_after(0):
        writer.trigger().result(SECONDS)
    assert looks_of(local_hub) == looks
    writer.append({"user": "ben", "n": 3})
    writer.flush()
    assert rows(hub_api) == [("ben", 1), ("ben", 3)]


def test_a_scheduler_without_new_rows_needs_no_hub(make: Make, local_hub: LocalHub) -> None:
    writer = written(make)
    an_hour_passes(writer)
    local_hub.faults.add(Fault(route="commits", status=404, times=None))
    writer.trigger().result(SECONDS)
    an_hour_passes(writer)
    writer.flush(SECONDS)
    assert [each.status for each in local_hub.requests if each.route == "commits"][-1] == 404
    local_hub.faults.clear()
    assert writer.status().last_error is None


def test_a_scheduler_that_is_stopped_meanwhile_says_so(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = written(make)
    real = Remover.remove

    def remove(self: Remover, *arguments: Any, **options: Any) -> RemovalReport:
        writer._runner.loop.stopping.set()
        return real(self, *arguments, **options)

    monkeypatch.setattr(Remover, "remove", remove)
    with pytest.raises(FlushTimeout, match="stopped before the rows were removed"):
        writer.forget({"user": VALUE}, SECONDS)


def test_a_read_meanwhile_says_that_files_were_changed(make: Make, hub_api: HfApi, remover: Remover) -> None:
    for n in range(6):
        writer = make(folder=f"copy-{n}")
        writer.extend([{"user": "ben", "n": n}, {"user": VALUE, "n": n}])
        writer.stop()
    reading = iter(read_rows(REPO, hub_api))
    next(reading)
    report = remover.remove([asked(remover)])
    assert (report.rows, report.large_files) == (6, 6)
    with pytest.raises(HubspoolError, match=r"was changed while it was read.*Read again"):
        list(reading)
    assert rows(hub_api) == [("ben", n) for n in range(6)]
