"""What is pending shows in `status()`, with its reason, and two periods without success make it unhealthy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from filelock import FileLock

from hubspool import CommitScheduler, SchedulerStatus
from hubspool.local_hub import Fault, LocalHub
from hubspool.scheduling import folder_push, writer_lock

SECONDS = 60
Make = Callable[..., Any]
Trouble = Callable[[CommitScheduler, LocalHub], Any]
TROUBLES: dict[str, Trouble] = {}


def trouble(reason: str) -> Callable[[Any], Trouble]:
    return lambda function: TROUBLES.setdefault(reason, contextmanager(function))


@contextmanager
def fault(hub: LocalHub, **fault: Any) -> Iterator[None]:
    hub.faults.add(Fault(times=None, **fault))
    yield
    hub.faults.clear()


@trouble("403")
def refused(_: CommitScheduler, hub: LocalHub) -> Iterator[None]:
    with fault(hub, route="commit", status=403):
        yield


@trouble("503")
def down(_: CommitScheduler, hub: LocalHub) -> Iterator[None]:
    with fault(hub, route=("commit", "commits", "preupload"), status=503):
        yield


@trouble("not sent yet")
def silent(_: CommitScheduler, hub: LocalHub) -> Iterator[None]:
    with fault(hub, route="commit", delay=math.inf):
        yield


@trouble("scheduler.lock")
def held(scheduler: CommitScheduler, _: LocalHub) -> Iterator[None]:
    with scheduler.lock:
        yield


@trouble("another process")
def busy(scheduler: CommitScheduler, _: LocalHub) -> Iterator[None]:
    paths = scheduler._setup.ledger.paths
    with FileLock(paths.push_lock):
        paths.push_holder.unlink()
        yield


@trouble(".gitignore")
def ignored(scheduler: CommitScheduler, _: LocalHub) -> Iterator[None]:
    add = scheduler.api.upload_file
    where = {"path_in_repo": ".gitignore", "repo_id": scheduler.repo_id, "repo_type": "dataset"}
    add(path_or_fileobj=b"*.png\n", **where)
    yield
    add(path_or_fileobj=b"nothing\n", **where)


def _is_told(reason: str, status: SchedulerStatus) -> bool:
    said = f"{status.last_error} {status.postponed.get('a.png')} {status.skipped.get('a.png')}"
    return reason in said and not status.is_healthy and (status.pending_files, status.pending_bytes) == (1, 7)


@pytest.mark.parametrize("reason", TROUBLES)
def test_whatever_the_reason(
    reason: str, make: Make, local_hub: LocalHub, read: Callable[[str], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_lock, "DEFAULTS", replace(writer_lock.DEFAULTS, writer_lock_wait=0.1))
    monkeypatch.setattr(folder_push, "DEFAULTS", replace(folder_push.DEFAULTS, lock_wait=0.1))
    scheduler = make(every=0.005)
    with TROUBLES[reason](scheduler, local_hub):
        (scheduler.folder_path / "a.png").write_bytes(b"picture")
        while not _is_told(reason, scheduler.status()):
            assert scheduler.status().last_commit is None
    scheduler.flush(SECONDS)
    status = scheduler.status()  # healthy for two periods
    assert read("a.png") == b"picture"
    assert (status.pending_files, status.pending_bytes, status.postponed, status.is_healthy) == (0, 0, {}, True)
